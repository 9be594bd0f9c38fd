//! Real Gentoo Prefix packages, moved by us and by Portage's own chpathtool.py: the same files, byte for byte.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use composer::prefix::{Content, Relocation};
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;

const BUILT_AT: &str = "/tmp/gentoo";
/// Four characters shorter, so that texts shrink and programs are filled up.
const WANTED_AT: &str = "/opt/gp";
/// Bytes of files to compare in an ordinary run, as chpathtool.py asks the system for each byte. All of them (some minutes) with
/// HATCHERY_ALL_PREFIX_PACKAGES set.
const BUDGET: u64 = 1_500_000;

fn tool() -> Option<(PathBuf, PathBuf)> {
    let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME").map(PathBuf::from)?;
        Some(home.join(".cache/hatchery-oracle/venv/bin/python"))
    })?;
    let tool = python.parent()?.parent()?.join("lib/portage/bin/chpathtool.py");
    (python.exists() && tool.exists()).then_some((python, tool))
}

fn packages() -> Vec<PathBuf> {
    let binhost = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real/prefix-x86");
    let mut found = Vec::new();
    for category in fs::read_dir(binhost).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
        found.extend(fs::read_dir(category.path()).into_iter().flatten().flatten().map(|entry| entry.path()));
    }
    found.retain(|path| path.extension().is_some_and(|extension| extension == "tbz2"));
    found.sort();
    found
}

enum Moved {
    File(Vec<u8>),
    Link(Vec<u8>),
}

#[test]
fn files_are_moved_as_chpathtool_moves_them() {
    let (packages, Some((python, tool))) = (packages(), tool()) else {
        println!("skipped: there is no Portage here");
        return;
    };
    if packages.is_empty() {
        println!("skipped: no prefix packages at ../shared/real");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let everything = std::env::var_os("HATCHERY_ALL_PREFIX_PACKAGES").is_some();
    let relocation = Relocation::new(BUILT_AT, WANTED_AT).unwrap();
    let mut ours = BTreeMap::new();
    let (mut bytes, mut count) = (0, 0);
    for path in packages {
        let package = BinaryPackage::open(File::open(&path).unwrap(), "p", Signatures::Ignored).unwrap();
        let size: u64 = package.text("SIZE").and_then(|size| size.trim().parse().ok()).unwrap_or(u64::MAX);
        if !everything && bytes + size > BUDGET {
            continue;
        }
        (bytes, count) = (bytes + size, count + 1);
        let place = dir.path().join(path.file_stem().unwrap());
        tar::Archive::new(package.image().unwrap()).unpack(&place).unwrap();
        remember(&place, &relocation, &mut ours);
    }
    let status =
        Command::new(python).arg(tool).arg(dir.path()).args([BUILT_AT, WANTED_AT]).env("PYTHONUTF8", "1").status().unwrap();
    assert!(status.success());
    let mut changed = BTreeMap::from([("text", 0), ("binary", 0), ("link", 0)]);
    let mut differences = Vec::new();
    for (path, (kind, was, moved)) in &ours {
        let now = match moved {
            Moved::File(_) => fs::read(path).unwrap(),
            Moved::Link(_) => fs::read_link(path).unwrap().into_os_string().into_encoded_bytes(),
        };
        let (Moved::File(bytes) | Moved::Link(bytes)) = moved;
        if *bytes != now {
            differences.push(format!("{} ({kind})", path.strip_prefix(dir.path()).unwrap().display()));
        }
        *changed.entry(*kind).or_default() += usize::from(*bytes != *was);
    }
    eprintln!("{count} packages, {bytes} bytes, {} files and links; moved {changed:?}; differ: {differences:#?}", ours.len());
    assert!(changed["text"] > 0 && changed["binary"] > 0, "these should occur: {changed:?}");
    assert!(differences.is_empty(), "{differences:#?}");
}

/// What we make of every file and link below a folder, and what it was.
fn remember(dir: &Path, relocation: &Relocation, ours: &mut BTreeMap<PathBuf, (&'static str, Vec<u8>, Moved)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
        if kind.is_dir() {
            remember(&path, relocation, ours);
        } else if kind.is_symlink() {
            let was = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            let moved = relocation.symlink(&was).unwrap_or_else(|| was.clone());
            ours.insert(path, ("link", was, Moved::Link(moved)));
        } else if kind.is_file() {
            let was = fs::read(&path).unwrap();
            let kind = Content::of(&was);
            let moved = relocation.bytes(&was, kind).into_owned();
            ours.insert(path, (if kind == Content::Text { "text" } else { "binary" }, was, Moved::File(moved)));
        }
    }
}
