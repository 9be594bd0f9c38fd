//! The one program of an initramfs: busybox, taken from the image's own packages, with its libraries where it is not static.

use std::collections::BTreeSet;

use gentoo::elf::{Elf, ElfError};
use image::{Kind, Store, Tree};

use super::cpio::Archive;
use crate::ComposeError;

/// What /init and the rescue shell call. A busybox without the first ones cannot do the work; the rest is for the person in the shell.
const NEEDED: &[&str] = &["sh", "mount", "umount", "mkdir", "cat", "dd", "sleep", "insmod", "switch_root", "cp"];
const HANDY: &[&str] = &[
    "setsid",
    "cttyhack",
    "ls",
    "dmesg",
    "reboot",
    "poweroff",
    "grep",
    "find",
    "lsmod",
    "ps",
    "vi",
    "blkid",
    "findfs",
    "mv",
    "rm",
    "ln",
    // For keeping changes, checking the medium, and fetching the root.
    "losetup",
    "od",
    "head",
    "sha256sum",
    "chroot",
    "ip",
    "udhcpc",
    "wget",
];

/// Programs and libraries are some MB; more is not what it says it is.
const MAX_PROGRAM: u64 = 64 << 20;
/// More libraries than any busybox links to.
const MAX_LIBRARIES: usize = 64;

const ADVICE: &str = "Add sys-apps/busybox (with USE=static, if there is such a build).";

/// Puts busybox, links for its applets, and the libraries it needs into the archive.
///
/// # Errors
/// No busybox in the tree, one for another kind of machine, one without a needed applet, or a library that is absent.
pub(super) fn add_busybox(archive: &mut Archive, tree: &Tree, store: &Store) -> Result<(), ComposeError> {
    let places = ["bin/busybox", "usr/bin/busybox", "sbin/busybox", "usr/sbin/busybox", "bin/busybox.static"];
    let path = places
        .iter()
        .find(|place| tree.lookup(place).is_ok_and(|(_, entry)| entry.is_file()))
        .ok_or_else(|| ComposeError::new("There is no busybox in the image, and the start from a medium needs it.", ADVICE))?;
    let content = read(tree, store, path)?;
    let unusable = |why: String| ComposeError::new(format!("/{path} cannot be used to start the image: {why}."), ADVICE);
    let applets = applets(&content);
    if let Some(missing) = NEEDED.iter().find(|applet| !applets.contains(applet.as_bytes())) {
        return Err(unusable(format!("it was built without “{missing}”")));
    }
    for applet in NEEDED.iter().chain(HANDY).filter(|applet| applets.contains(applet.as_bytes())) {
        archive.symlink(&format!("bin/{applet}"), "busybox");
    }
    add_libraries(archive, tree, store, &content).map_err(unusable)?;
    archive.file("bin/busybox", 0o755, content);
    Ok(())
}

/// The interpreter and all libraries a program leads to, at the paths the image has them.
pub(super) fn add_libraries(archive: &mut Archive, tree: &Tree, store: &Store, program: &[u8]) -> Result<(), String> {
    let elf = Elf::parse(program).map_err(|e| e.to_string())?;
    let machine = elf.machine().map_err(|e| e.to_string())?;
    let Some(interpreter) = elf.interpreter().map_err(|e| e.to_string())? else { return Ok(()) };
    let interpreter = sane(String::from_utf8(interpreter).map_err(|_| "its interpreter has no name in UTF-8")?)?;
    let content = read(tree, store, &interpreter).map_err(|e| e.message)?;
    archive.file(interpreter.trim_start_matches('/'), 0o755, content);
    let mut ahead = needed(&elf).map_err(|e| e.to_string())?;
    let mut seen = BTreeSet::new();
    while let Some(name) = ahead.pop() {
        if !seen.insert(name.clone()) || interpreter.ends_with(&name) {
            continue;
        }
        if seen.len() > MAX_LIBRARIES {
            return Err("it needs too many libraries".into());
        }
        let name = sane(name)?;
        let (path, content) =
            find_library(tree, store, &name, machine).ok_or(format!("its library {name} is not in the image"))?;
        ahead.extend(Elf::parse(&content).and_then(|e| needed(&e)).map_err(|e| format!("its library {name}: {e}"))?);
        archive.file(&path, 0o755, content);
        // The loader's own folders differ from system to system, and there is no cache here to tell it more.
        for folder in ["lib64", "lib", "usr/lib64", "usr/lib"] {
            let link = format!("{folder}/{name}");
            if !archive.contains(&link) {
                archive.symlink(&link, &format!("/{path}"));
            }
        }
    }
    Ok(())
}

/// A library by its name, of the program's own kind of machine, in the folders loaders look in.
fn find_library(tree: &Tree, store: &Store, name: &str, machine: u64) -> Option<(String, Vec<u8>)> {
    let folders = [
        "lib64",
        "usr/lib64",
        "lib",
        "usr/lib",
        "lib/x86_64-linux-gnu",
        "usr/lib/x86_64-linux-gnu",
        "lib/i386-linux-gnu",
        "lib32",
        "usr/lib32",
    ];
    folders.iter().find_map(|folder| {
        let path = format!("{folder}/{name}");
        let content = read(tree, store, &path).ok()?;
        (Elf::parse(&content).ok()?.machine().ok()? == machine).then_some((path, content))
    })
}

/// The names of applets compiled in: busybox keeps them as one table of zero-terminated words, next to other words, so this is what
/// the program may know, and never less.
fn applets(program: &[u8]) -> BTreeSet<&[u8]> {
    let known: BTreeSet<&[u8]> = NEEDED.iter().chain(HANDY).map(|name| name.as_bytes()).collect();
    program.split(|byte| *byte == 0).filter(|word| known.contains(word)).collect()
}

fn read(tree: &Tree, store: &Store, path: &str) -> Result<Vec<u8>, ComposeError> {
    let (_, entry) = tree.lookup(path)?;
    match &entry.kind {
        Kind::File { blob, size, .. } if *size <= MAX_PROGRAM => Ok(store.read(blob)?),
        _ => Err(ComposeError::new(format!("/{} is not a program.", path.trim_start_matches('/')), "")),
    }
}

fn needed(elf: &Elf) -> Result<Vec<String>, ElfError> {
    Ok(elf.dynamic()?.unwrap_or_default().needed)
}

/// A path or name that leads nowhere unexpected.
fn sane(text: String) -> Result<String, String> {
    match text.split('/').any(|part| part == "..") || text.bytes().any(|b| b < b' ') {
        true => Err(format!("it names a strange library “{}”", text.escape_debug())),
        false => Ok(text),
    }
}
