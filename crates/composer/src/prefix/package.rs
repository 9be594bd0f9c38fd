//! One prefix package, moved: its image, and the metadata that becomes its entry in the database of installed packages.

use std::collections::BTreeMap;
use std::io::Read;

use bzip2::Compression;
use bzip2::read::{BzEncoder, MultiBzDecoder};
use gentoo::Cpv;
use image::{Kind, Store, Tree};

use super::relocate::{Content, Relocation};
use crate::ComposeError;
use crate::merge::package::{Image, shown};

/// Most bytes of a saved environment, unpacked.
const MAX_ENVIRONMENT: u64 = 64 * 1024 * 1024;
/// Longest EPREFIX that is believed (Linux' PATH_MAX).
const MAX_PREFIX: usize = 4096;
const ENVIRONMENT: &str = "environment.bz2";
/// What an ordinary user must be able to do with what is his, or he could neither run nor remove it.
const OWN_FILE: u32 = 0o400;
const OWN_DIR: u32 = 0o700;

/// The EPREFIX that a package was built for (the file EPREFIX of its metadata, which Portage writes always).
///
/// # Errors
/// When it has none: then it is a package for `/`.
pub fn built_at(cpv: &Cpv, metadata: &BTreeMap<String, Vec<u8>>) -> Result<String, ComposeError> {
    let said = metadata.get("EPREFIX").map(|bytes| String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned());
    match said.filter(|path| !path.is_empty() && path.len() <= MAX_PREFIX) {
        Some(path) => Ok(path),
        None => Err(ComposeError::new(
            format!("{cpv} was not built for a prefix, and only packages that were can be moved to another path"),
            "Take a binhost of Gentoo Prefix packages, or order without a prefix.",
        )),
    }
}

/// Moves an image, and gives all of it to the user who unpacks it. Returns what a person should know of it.
///
/// # Errors
/// Of the store, and for images that hold a file in a directory's place.
pub fn move_image(image: &mut Image, relocation: &Relocation, store: &Store) -> Result<Vec<String>, ComposeError> {
    let mut remarks = Vec::new();
    let mut moved = Tree::new();
    moved.make_dirs(relocation.new_dir())?;
    let mut links = BTreeMap::new();
    for (path, entry) in image.tree.iter() {
        let Some(rest) = below(path, relocation.old_dir()) else {
            if !entry.is_dir() {
                remarks.push(format!("{} is outside of the prefix the package was built for, and is left out", shown(path)));
            }
            continue;
        };
        let mut entry = entry.clone();
        match &mut entry.kind {
            Kind::Symlink(target) => *target = relocation.symlink(target).unwrap_or_else(|| target.clone()),
            Kind::File { blob, size, link } => {
                if let Some(new) = relocation.blob(store, blob)? {
                    (*blob, *size) = new;
                }
                *link = link.map(|old| *links.entry(old).or_insert_with(|| moved.new_link()));
            }
            Kind::Dir | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {}
        }
        let path = [relocation.new_dir(), rest].concat();
        if entry.mode & 0o6000 != 0 && entry.is_file() {
            remarks.push(format!("{} loses its set-id bits: it belongs to an ordinary user here", shown(&path)));
        }
        if !entry.xattrs.is_empty() {
            remarks.push(format!("{} loses its capabilities and attributes, which only root could set", shown(&path)));
        }
        give_to_user(&mut entry);
        moved.insert(path, entry)?;
    }
    image.tree = moved;
    Ok(remarks)
}

/// All is its unpacker's: numbers of owners mean nothing there, and neither do rights over other users.
fn give_to_user(entry: &mut image::Entry) {
    (entry.uid, entry.gid) = (0, 0);
    entry.xattrs.clear();
    match entry.kind {
        Kind::Dir => entry.mode |= OWN_DIR,
        Kind::File { .. } => entry.mode = entry.mode & 0o777 | OWN_FILE,
        Kind::Symlink(_) | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {}
    }
}

/// The rest of a path below a directory, with its leading slash; empty for the directory itself.
fn below<'a>(path: &'a [u8], dir: &[u8]) -> Option<&'a [u8]> {
    path.strip_prefix(dir).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Moves the metadata. Portage changes the file EPREFIX alone; then the saved environment, NEEDED and the like would go on to speak of a
/// place that is not there, and later emerges would look for it.
///
/// # Errors
/// When the saved environment cannot be read.
pub fn move_metadata(metadata: &mut BTreeMap<String, Vec<u8>>, relocation: &Relocation) -> Result<(), ComposeError> {
    for (name, content) in metadata.iter_mut() {
        if name == ENVIRONMENT {
            if let Some(moved) = move_environment(content, relocation)? {
                *content = moved;
            }
        } else if Content::of(content) == Content::Text {
            *content = relocation.bytes(content, Content::Text).into_owned();
        }
    }
    let prefix = [b"/", relocation.new_dir(), b"\n"].concat();
    metadata.insert("EPREFIX".into(), prefix);
    Ok(())
}

/// The environment, moved and packed again; `None` when the old path is not in it.
fn move_environment(packed: &[u8], relocation: &Relocation) -> Result<Option<Vec<u8>>, ComposeError> {
    let unreadable = |error: std::io::Error| {
        ComposeError::new(
            format!("its saved environment cannot be read: {error}"),
            "The file may be damaged: fetch it again, or take another build.",
        )
    };
    let mut plain = Vec::new();
    MultiBzDecoder::new(packed).take(MAX_ENVIRONMENT + 1).read_to_end(&mut plain).map_err(unreadable)?;
    if plain.len() as u64 > MAX_ENVIRONMENT {
        return Err(unreadable(std::io::Error::other(format!("it unpacks to more than {MAX_ENVIRONMENT} bytes"))));
    }
    let moved = relocation.bytes(&plain, Content::Text);
    if moved.as_ref() == plain.as_slice() {
        return Ok(None);
    }
    let mut packed = Vec::new();
    BzEncoder::new(moved.as_ref(), Compression::best()).read_to_end(&mut packed).map_err(unreadable)?;
    Ok(Some(packed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Entry;

    fn relocation() -> Relocation {
        Relocation::new("/tmp/gentoo", "/opt/gp").unwrap()
    }

    #[test]
    fn an_image_moves_and_becomes_its_unpackers() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tree = Tree::new();
        for (path, text, mode) in [
            ("tmp/gentoo/bin/su", "\0/tmp/gentoo/etc\0", 0o4711),
            ("tmp/gentoo/etc/secret", "at /tmp/gentoo\n", 0o040),
            ("tmp/gentoo-other/x", "not ours", 0o644),
            ("etc/host", "not ours", 0o644),
        ] {
            tree.make_dirs(path.rsplit_once('/').unwrap().0).unwrap();
            let (blob, size) = store.put_bytes(text.as_bytes()).unwrap();
            tree.insert(path, Entry::file(blob, size, mode).with_owner(250, 250)).unwrap();
        }
        tree.hard_link("tmp/gentoo/etc/secret", "tmp/gentoo/etc/again").unwrap();
        tree.symlink("tmp/gentoo/sh", "/tmp/gentoo/bin/sh").unwrap();
        tree.get_mut("tmp/gentoo/etc").unwrap().mode = 0o555;
        let mut image = Image::of(tree);
        let remarks = move_image(&mut image, &relocation(), &store).unwrap();

        let tree = &image.tree;
        let entry = |path: &str| tree.get(path).unwrap_or_else(|| panic!("{path} is gone"));
        let paths: Vec<String> = tree.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
        assert!(paths.iter().all(|path| path.is_empty() || path.starts_with("opt")), "{paths:?}");
        assert_eq!(tree.read_file(&store, "opt/gp/bin/su").unwrap().unwrap(), b"\0/////opt/gp/etc\0");
        assert_eq!(tree.read_file(&store, "opt/gp/etc/secret").unwrap().unwrap(), b"at /opt/gp\n");
        assert_eq!(entry("opt/gp/sh").kind, Kind::Symlink(b"/opt/gp/bin/sh".to_vec()));
        assert_eq!((entry("opt/gp/bin/su").mode, entry("opt/gp/bin/su").uid), (0o711, 0));
        assert_eq!((entry("opt/gp/etc/secret").mode, entry("opt/gp/etc").mode), (0o440, 0o755));
        assert!(entry("opt/gp/etc/secret").link().is_some());
        assert_eq!(entry("opt/gp/etc/secret").link(), entry("opt/gp/etc/again").link());
        assert_eq!(remarks.iter().filter(|remark| remark.contains("outside of the prefix")).count(), 2, "{remarks:?}");
        assert!(remarks.iter().any(|remark| remark.contains("/opt/gp/bin/su loses its set-id bits")), "{remarks:?}");
    }

    #[test]
    fn the_record_speaks_of_the_new_place() {
        let mut packed = Vec::new();
        BzEncoder::new(&b"declare -x EPREFIX=\"/tmp/gentoo\"\n"[..], Compression::best()).read_to_end(&mut packed).unwrap();
        let mut metadata: BTreeMap<String, Vec<u8>> = [
            ("EPREFIX", b"/tmp/gentoo\n".to_vec()),
            ("NEEDED", b"/tmp/gentoo/bin/sed libc.so.6\n".to_vec()),
            ("SLOT", b"0\n".to_vec()),
            (ENVIRONMENT, packed),
        ]
        .map(|(name, content)| (name.to_owned(), content))
        .into();
        let cpv = Cpv::parse("sys-apps/sed-4.7").unwrap();
        assert_eq!(built_at(&cpv, &metadata).unwrap(), "/tmp/gentoo");
        move_metadata(&mut metadata, &relocation()).unwrap();
        let text = |name: &str| String::from_utf8_lossy(&metadata[name]).into_owned();
        assert_eq!((text("EPREFIX").as_str(), text("NEEDED").as_str()), ("/opt/gp\n", "/opt/gp/bin/sed libc.so.6\n"));
        let mut plain = String::new();
        MultiBzDecoder::new(metadata[ENVIRONMENT].as_slice()).read_to_string(&mut plain).unwrap();
        assert_eq!(plain, "declare -x EPREFIX=\"/opt/gp\"\n");

        metadata.insert(ENVIRONMENT.into(), b"no bzip2".to_vec());
        assert!(move_metadata(&mut metadata, &relocation()).unwrap_err().message.contains("saved environment"));
        metadata.insert("EPREFIX".into(), b"\n".to_vec());
        assert!(built_at(&cpv, &metadata).unwrap_err().message.contains("was not built for a prefix"));
    }
}
