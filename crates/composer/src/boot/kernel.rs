//! Finds the kernel of a root: the file a boot loader starts, and the folder of its modules.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use image::{BlobId, Kind, Store, Tree};

use crate::ComposeError;

/// A kernel with its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kernel {
    /// What `uname -r` will say, like `6.1.38-gentoo-dist`.
    pub(super) release: String,
    /// The bzImage.
    pub(super) image: BlobId,
    /// The folder of its modules in the tree, links resolved, like `usr/lib/modules/6.1.38-gentoo-dist`.
    pub(super) modules_dir: String,
}

/// Finds the newest kernel that has both an image and modules.
///
/// The image may be where a distribution kernel ships it (`/lib/modules/RELEASE/vmlinuz`, `/usr/src/linux-RELEASE/arch/x86/boot/bzImage`)
/// or where installkernel puts it (`/boot/vmlinuz-RELEASE`, `/boot/kernel-RELEASE`).
///
/// # Errors
/// No kernel at all, or one that is not a bzImage of the release its modules are for.
pub(super) fn find(tree: &Tree, store: &Store) -> Result<Kernel, ComposeError> {
    let mut problems = Vec::new();
    for (release, modules_dir) in module_folders(tree) {
        let Some((path, image)) = image_of(tree, &release) else {
            problems.push(format!("/{modules_dir} holds modules, but no kernel for them was found"));
            continue;
        };
        match release_of(&store.read(&image)?) {
            Some(found) if found == release => return Ok(Kernel { release, image, modules_dir }),
            Some(found) => problems.push(format!("/{path} is a kernel {found}, not {release}")),
            None => problems.push(format!("/{path} is not a bzImage")),
        }
    }
    let why = if problems.is_empty() { String::new() } else { format!(": {}", problems.join("; ")) };
    Err(ComposeError::new(
        format!("There is no kernel this image could start with{why}."),
        "Add a kernel with its modules, such as sys-kernel/gentoo-kernel-bin.",
    ))
}

/// The folders of modules, newest release first.
fn module_folders(tree: &Tree) -> Vec<(String, String)> {
    let parents: BTreeSet<Vec<u8>> =
        ["usr/lib/modules", "lib/modules"].iter().filter_map(|parent| tree.resolve(parent).ok()).collect();
    let mut folders = Vec::new();
    for parent in parents {
        for (name, entry) in tree.children(&parent) {
            if let (true, Ok(parent), Ok(name)) = (entry.is_dir(), std::str::from_utf8(&parent), std::str::from_utf8(name)) {
                folders.push((name.to_string(), format!("{parent}/{name}")));
            }
        }
    }
    folders.sort_by(|a, b| compare_releases(&b.0, &a.0));
    folders
}

fn image_of(tree: &Tree, release: &str) -> Option<(String, BlobId)> {
    let places = [
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
        format!("boot/vmlinuz-{release}"),
        format!("boot/kernel-{release}"),
        format!("usr/src/linux-{release}/arch/x86/boot/bzImage"),
    ];
    places.into_iter().find_map(|place| match &tree.lookup(&place).ok()?.1.kind {
        Kind::File { blob, .. } => Some((place, *blob)),
        _ => None,
    })
}

/// The release a bzImage says it is; none for anything but a bzImage. Source: the kernel's Documentation/arch/x86/boot.rst
/// (`header` at 0x202, `kernel_version` at 0x20e, counted from 0x200).
fn release_of(image: &[u8]) -> Option<String> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    let offset = u16::from_le_bytes(image.get(0x20e..0x210)?.try_into().ok()?);
    let text = image.get(0x200 + usize::from(offset)..)?;
    let text = text.get(..256).unwrap_or(text);
    let word = text.split(|byte| *byte == b' ' || *byte == 0).next()?;
    Some(String::from_utf8_lossy(word).into_owned())
}

/// Compares releases as people read them: runs of digits by their number, all else by its letters.
fn compare_releases(a: &str, b: &str) -> Ordering {
    runs(a).cmp(&runs(b))
}

/// A release as a list of runs: (number, letters). A number too large to be one counts as the largest.
fn runs(release: &str) -> Vec<(u64, &str)> {
    let mut runs = Vec::new();
    let mut rest = release;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (text, tail) = tail.split_at(letters);
        runs.push((if number.is_empty() { 0 } else { number.parse().unwrap_or(u64::MAX) }, text));
        rest = tail;
    }
    runs
}

#[cfg(test)]
pub(super) mod tests {
    use image::Entry;

    use super::*;

    /// The smallest file that passes for a bzImage of a release.
    pub(in crate::boot) fn bzimage(release: &str) -> Vec<u8> {
        let mut image = vec![0u8; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x20e..0x210].copy_from_slice(&0x100u16.to_le_bytes());
        let text = format!("{release} (someone@example) #1 SMP");
        image[0x300..0x300 + text.len()].copy_from_slice(text.as_bytes());
        image
    }

    fn put(tree: &mut Tree, store: &Store, path: &str, content: &[u8]) {
        let (blob, size) = store.put_bytes(content).unwrap();
        tree.insert(path, Entry::file(blob, size, 0o644)).unwrap();
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tree = Tree::new();
        tree.insert("lib", Entry::symlink("usr/lib")).unwrap();
        for (release, place) in [
            ("6.9.1-gentoo-dist", "boot/vmlinuz-6.9.1-gentoo-dist"),
            ("6.12.3-gentoo-dist", "usr/src/linux-6.12.3-gentoo-dist/arch/x86/boot/bzImage"),
            ("5.15.0", "usr/lib/modules/5.15.0/vmlinuz"),
        ] {
            put(&mut tree, &store, place, &bzimage(release));
            put(&mut tree, &store, &format!("usr/lib/modules/{release}/modules.builtin"), b"");
        }
        tree.insert("usr/lib/modules/7.0", Entry::dir(0o755)).unwrap();
        let kernel = find(&tree, &store).unwrap();
        assert_eq!(kernel.release, "6.12.3-gentoo-dist");
        assert_eq!(kernel.modules_dir, "usr/lib/modules/6.12.3-gentoo-dist");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tree = Tree::new();
        let error = find(&tree, &store).unwrap_err();
        assert!(error.advice.contains("sys-kernel/gentoo-kernel-bin"), "{error}");
        put(&mut tree, &store, "boot/vmlinuz-6.1", &bzimage("6.2"));
        tree.insert("usr/lib/modules/6.1", Entry::dir(0o755)).unwrap();
        assert!(find(&tree, &store).unwrap_err().message.contains("is a kernel 6.2, not 6.1"));
        put(&mut tree, &store, "boot/vmlinuz-6.1", b"MZ");
        assert!(find(&tree, &store).unwrap_err().message.contains("/boot/vmlinuz-6.1 is not a bzImage"));
    }
}
