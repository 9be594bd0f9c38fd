//! Squashfs images of trees that nobody thought of, read back by squashfs-tools-ng and by the kernel, made anew and from what was kept.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::random::{crowd, random_tree, tree_for_the_kernel};
use common::seen::{Seen, assert_same, by_the_kernel, expected};
use common::{EPOCH, Place, add_file, content, run};
use image::{Entry, Error, SquashCompressor, Store, Tree, WriteOptions, write_squashfs};

impl Place {
    /// Writes an image, and tells what it lost.
    fn write(&self, tree: &Tree, name: &str) -> (PathBuf, Vec<String>) {
        self.write_with(tree, name, SquashCompressor::Zstd, 0)
    }

    fn write_with(&self, tree: &Tree, name: &str, compressor: SquashCompressor, threads: usize) -> (PathBuf, Vec<String>) {
        let (out, options) = (self.path(name), WriteOptions { threads, ..WriteOptions::at(EPOCH) });
        let report = write_squashfs(tree, &self.store, compressor, &options, &out, &|_, _| true).unwrap();
        (out, report.notes)
    }

    /// How many forms are kept.
    fn forms(&self) -> u64 {
        let entries = fs::read_dir(self.path("store/forms")).unwrap().map(|entry| entry.unwrap());
        entries
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "index"))
            .map(|e| e.metadata().unwrap().len() / 64)
            .sum()
    }
}

/// What squashfs-tools-ng sees in an image.
fn by_sqfs2tar(image: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut names = BTreeMap::<Vec<u8>, Seen>::new();
    let output = run(Command::new("sqfs2tar").args(["--root-becomes", "."]).arg(image));
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let plain = |path: &[u8]| {
            let path = path.strip_prefix(b".").unwrap_or(path);
            path.strip_prefix(b"/").unwrap_or(path).strip_suffix(b"/").unwrap_or(path.strip_prefix(b"/").unwrap_or(path)).to_vec()
        };
        let path = plain(&entry.path_bytes());
        let pax: Vec<(Vec<u8>, Vec<u8>)> = (entry.pax_extensions().unwrap().into_iter().flatten())
            .map(|pair| pair.map(|pair| (pair.key_bytes().to_vec(), pair.value_bytes().to_vec())).unwrap())
            .collect();
        let xattrs = pax.iter().filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())));
        let target = entry.link_name_bytes().map(|name| name.to_vec()).unwrap_or_default();
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Char => 'c',
            tar::EntryType::Block => 'b',
            tar::EntryType::Fifo => 'p',
            tar::EntryType::Link => {
                let first = names[&plain(&target)].clone();
                names.insert(path, first);
                continue;
            }
            _ => 'f',
        };
        let device = match kind {
            'c' | 'b' => (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap()),
            _ => (0, 0),
        };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let seen = Seen {
            kind,
            mode: header.mode().unwrap() & 0o7777,
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap() as i64,
            device,
            target: if kind == 'l' { target } else { Vec::new() },
            content: image::BlobId::of(&bytes),
            xattrs: xattrs.collect(),
            inode: path.clone(),
        };
        names.insert(path, seen);
    }
    // Inodes by the least name of theirs, whichever came first in the archive.
    let mut least = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    names.iter().rev().for_each(|(path, seen)| _ = least.insert(seen.inode.clone(), path.clone()));
    names.values_mut().for_each(|seen| seen.inode = least[&seen.inode].clone());
    names
}

#[test]
fn random_trees_come_back() {
    for seed in 1..5 {
        let place = Place::new();
        let tree = random_tree(&place.store, seed);
        let wanted = expected(&tree);
        for compressor in SquashCompressor::ALL.into_iter().take(if seed == 1 { 2 } else { 1 }) {
            let (image, notes) = place.write_with(&tree, "image", compressor, 3);
            assert_eq!(notes, [""; 0]);
            assert_same(&by_sqfs2tar(&image), &wanted);
            let forms = place.forms();
            let (again, _) = place.write_with(&tree, "again", compressor, 1);
            assert!(fs::read(&image).unwrap() == fs::read(again).unwrap(), "the same from what was kept");
            assert_eq!(place.forms(), forms, "nothing is compressed again");
        }
    }
}

#[test]
fn crowded_directories_come_back() {
    let place = Place::new();
    let mut tree = Tree::new();
    crowd(&mut tree, &place.store);
    let (image, _) = place.write(&tree, "image");
    assert_same(&by_sqfs2tar(&image), &expected(&tree));
}

/// Does nothing unless it is called by the test below.
#[test]
fn mounted() {
    common::seen::mounted(tree_for_the_kernel, expected, false);
}

#[test]
fn the_kernel_reads_it() {
    let place = Place::new();
    let tree = tree_for_the_kernel(&place.store);
    for compressor in SquashCompressor::ALL {
        let (image, _) = place.write_with(&tree, &format!("image-{compressor:?}"), compressor, 0);
        if !by_the_kernel(&image, "squashfs") {
            return;
        }
    }
}

/// Some hundred small files in folders of packages.
fn packages(tree: &mut Tree, store: &Store, names: impl Iterator<Item = u64>) {
    for package in names {
        for n in 0..8 {
            let path = format!("usr/share/doc/package-{package:03}/file-{n}");
            add_file(tree, store, path.as_bytes(), &content(5000 + 1000 * n as usize, package * 100 + n), 0o644);
        }
        let path = format!("usr/bin/command-{package:03}");
        add_file(tree, store, path.as_bytes(), &content(20_000, package * 100 + 9), 0o755);
        let path = format!("usr/lib/library-{package:03}");
        add_file(tree, store, path.as_bytes(), &content(140_000, package * 100 + 10), 0o755);
    }
}

#[test]
fn five_new_packages_leave_the_rest_alone() {
    let place = Place::new();
    let mut tree = Tree::new();
    packages(&mut tree, &place.store, (0..120).filter(|n| n % 24 != 12));
    place.write(&tree, "before");
    let before = place.forms();
    packages(&mut tree, &place.store, (12..120).step_by(24));
    let (warm, _) = place.write(&tree, "after");
    let new = place.forms() - before;
    // Five libraries; the others are five folders and five commands that fall into fragments, each with some neighbours.
    assert!(new <= 60 && before > 200, "{new} of {before}");
    let elsewhere = Place::new();
    packages(&mut Tree::new(), &elsewhere.store, 0..120);
    let (cold, _) = elsewhere.write(&tree, "after");
    assert!(fs::read(warm).unwrap() == fs::read(cold).unwrap(), "what was kept is what would be made");
}

#[test]
fn damaged_forms_are_made_again() {
    let place = Place::new();
    let mut tree = Tree::new();
    packages(&mut tree, &place.store, 0..20);
    add_file(&mut tree, &place.store, b"large", &content(9_000_001, 1), 0o644);
    let (image, _) = place.write(&tree, "image");
    let image = fs::read(image).unwrap();
    let entries = fs::read_dir(place.path("store/forms")).unwrap().map(|entry| entry.unwrap().path());
    let pack = entries.filter(|path| path.extension().is_some_and(|e| e == "pack")).max().unwrap();
    for at in [10, 500_000, 2_000_000] {
        let mut bytes = fs::read(&pack).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        fs::write(&pack, bytes).unwrap();
        // A handle of its own, as another process has.
        let options = WriteOptions::at(EPOCH);
        let store = Store::open(place.path("store")).unwrap();
        let out = place.path("again");
        write_squashfs(&tree, &store, SquashCompressor::Zstd, &options, &out, &|_, _| true).unwrap();
        assert!(fs::read(&out).unwrap() == image, "{at}");
    }
}

#[test]
fn what_it_cannot_carry_is_said() {
    let place = Place::new();
    let mut tree = Tree::new();
    add_file(&mut tree, &place.store, b"etc/acl", b"x", 0o644);
    tree.get_mut("etc/acl").unwrap().xattrs.insert(b"system.posix_acl_access".to_vec(), b"\x02\0\0\0".to_vec());
    assert_eq!(place.write(&tree, "image").1, ["squashfs: /etc/acl loses the attribute system.posix_acl_access"]);

    for id in 0..33_000 {
        tree.insert(format!("{id}"), Entry::dir(0o755).with_owner(id, 100_000 + id)).unwrap();
    }
    let out = place.path("too-many");
    let options = WriteOptions::at(EPOCH);
    let error = write_squashfs(&tree, &place.store, SquashCompressor::Zstd, &options, &out, &|_, _| true).unwrap_err();
    assert!(matches!(&error, Error::Boot(said) if said.contains("65535 different owners")), "{error}");
    assert!(File::open(out).is_err());
}
