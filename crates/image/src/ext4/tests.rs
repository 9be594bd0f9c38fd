//! The reference tools find nothing wrong with a filesystem, and find the tree in it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;
use crate::entry::Entry;
use crate::sparse::Run;
use crate::store::Store;
use crate::write::Meter;

const EPOCH: i64 = 1_700_000_000;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Place { dir, store }
    }

    fn add(&self, tree: &mut Tree, path: &str, content: &[u8]) {
        tree.write_file(&self.store, path, content, 0o644).unwrap();
    }

    fn write(&self, tree: &Tree, size: u64) -> (PathBuf, Vec<String>) {
        self.write_with(tree, size, |sparse| sparse)
    }

    fn write_with(&self, tree: &Tree, size: u64, change: fn(Sparse) -> Sparse) -> (PathBuf, Vec<String>) {
        let ext4 = Ext4 { size, uuid: *b"uuid-of-the-test", hash_seed: [7; 16], label: "hatchery".into() };
        let mut notes = Vec::new();
        let sparse = change(filesystem(tree, &WriteOptions::at(EPOCH), &ext4, &mut notes).unwrap());
        let path = self.dir.path().join("ext4.img");
        let mut file = File::create(&path).unwrap();
        file.set_len(sparse.size()).unwrap();
        let mut meter = Meter::new(&|_, _| true, 0);
        let mut write = |run: Run| {
            match run {
                Run::Zeros(count) => drop(file.seek(SeekFrom::Current(count as i64)).unwrap()),
                Run::Bytes(bytes) => file.write_all(bytes).unwrap(),
            }
            Ok(())
        };
        sparse.emit(&self.store, &mut meter, &mut write).unwrap();
        (path, notes)
    }
}

/// e2fsck is in /sbin, which an ordinary user's PATH may lack.
fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command.env("LC_ALL", "C").env("TZ", "UTC");
    command
}

fn check(image: &Path) {
    let output = tool("e2fsck").args(["-f", "-n"]).arg(image).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
}

fn debugfs(image: &Path, request: &str) -> String {
    let output = tool("debugfs").args(["-R", request]).arg(image).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn content(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

#[test]
fn metadata_is_what_the_tree_says() {
    let place = Place::new();
    let mut tree = Tree::new();
    place.add(&mut tree, "etc/hostname", b"hatchery");
    place.add(&mut tree, "usr/bin/ping", b"ping");
    let ping = tree.get_mut("usr/bin/ping").unwrap();
    (ping.mode, ping.uid, ping.gid, ping.mtime) = (0o4711, 70_000, 80_000, EPOCH - 5);
    ping.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    place.add(&mut tree, "many", b"attributes");
    let many = tree.get_mut("many").unwrap();
    for n in 0..20 {
        many.xattrs.insert(format!("user.number-{n}").into_bytes(), content(n * 7));
    }
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    many.xattrs.insert(b"system.posix_acl_access".to_vec(), acl.to_vec());
    place.add(&mut tree, "odd", b"");
    tree.get_mut("odd").unwrap().xattrs.insert(b"system.nobody-knows".to_vec(), b"1".to_vec());
    tree.insert("dev/null", Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666)).unwrap();
    tree.insert("dev/far", Entry::new(Kind::BlockDevice { major: 259, minor: 70_000 }, 0o660)).unwrap();
    tree.insert("run/fifo", Entry::new(Kind::Fifo, 0o600)).unwrap();
    tree.symlink("short", "s".repeat(59)).unwrap();
    tree.symlink("long", "l".repeat(60)).unwrap();
    tree.hard_link("etc/hostname", "etc/alias").unwrap();

    let (image, notes) = place.write(&tree, least_size(&tree));
    check(&image);
    assert_eq!(notes, ["ext4: /odd loses the attribute system.nobody-knows"]);
    let stat = debugfs(&image, "stat /usr/bin/ping");
    for text in ["Mode:  04711", "User: 70000", "Group: 80000", "mtime: 0x6553f0fb", "security.capability (20)"] {
        assert!(stat.contains(text), "{text}: {stat}");
    }
    assert!(
        debugfs(&image, "stat /dev/null").contains("(New-style) 01:03") || debugfs(&image, "stat /dev/null").contains("01:03")
    );
    assert!(debugfs(&image, "stat /dev/far").contains("259:70000"), "{}", debugfs(&image, "stat /dev/far"));
    assert!(debugfs(&image, "stat /run/fifo").contains("FIFO"));
    assert!(debugfs(&image, "stat /etc/alias").contains("Links: 2"));
    let list = debugfs(&image, "ea_list /many");
    assert!(list.contains("user.number-19 (133)") && list.contains("system.posix_acl_access"), "{list}");
    assert_eq!(debugfs(&image, "cat /long"), "l".repeat(60));
}

#[test]
fn contents_come_back() {
    let place = Place::new();
    let mut tree = Tree::new();
    for size in [0, 1, 4095, 4096, 4097, 3 << 20] {
        place.add(&mut tree, &format!("files/{size}"), &content(size));
    }
    // More names than a block of a directory holds.
    (0..600).for_each(|n| place.add(&mut tree, &format!("crowd/name-that-is-not-so-short-{n}"), b"x"));
    let (image, _) = place.write(&tree, least_size(&tree));
    check(&image);
    let dump = place.dir.path().join("dump");
    std::fs::create_dir(&dump).unwrap();
    debugfs(&image, &format!("rdump /files {}", dump.display()));
    for size in [0, 1, 4095, 4096, 4097, 3 << 20] {
        assert!(std::fs::read(dump.join(format!("files/{size}"))).unwrap() == content(size), "{size}");
    }
    assert_eq!(debugfs(&image, "ls -p /crowd").lines().filter(|line| line.contains("/name-that")).count(), 600);
}

/// A file that fills several groups is in pieces around the copies of the superblock, and needs a block for its map.
#[test]
fn a_file_across_groups() {
    let place = Place::new();
    let mut tree = Tree::new();
    let entry = Entry::file(crate::store::BlobId::of(b"not read here"), 700 << 20, 0o644);
    tree.insert("large", entry).unwrap();
    place.add(&mut tree, "after", b"the end");
    let (image, _) = place.write_with(&tree, least_size(&tree), |sparse| sparse.without_files());
    check(&image);
    let extents = debugfs(&image, "ex /large");
    assert!(extents.lines().count() > 6, "{extents}");
}

#[test]
fn it_can_grow() {
    let place = Place::new();
    let mut tree = Tree::new();
    place.add(&mut tree, "file", &content(100_000));
    let (image, _) = place.write(&tree, least_size(&tree));
    // 17 GiB take more blocks of descriptors than the first has.
    File::options().write(true).open(&image).unwrap().set_len(17 << 30).unwrap();
    let output = tool("resize2fs").arg("-f").arg(&image).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    check(&image);
}

#[test]
fn too_much_is_refused() {
    let place = Place::new();
    let mut tree = Tree::new();
    place.add(&mut tree, "file", b"x");
    let entry = Entry::file(crate::store::BlobId::of(b"never read"), 1 << 40, 0o644);
    tree.insert("large", entry).unwrap();
    let ext4 = Ext4 { size: GROUP * 2, uuid: [0; 16], hash_seed: [0; 16], label: String::new() };
    let result = filesystem(&tree, &WriteOptions::at(EPOCH), &ext4, &mut Vec::new());
    assert!(matches!(result, Err(Error::Boot(_))));
}
