//! The filesystems that a disk's root can be: their own tools find nothing wrong with them, and the kernel finds the tree in them and
//! writes to them.

mod common;

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use common::random::tree_for_the_kernel;
use common::seen::{by_the_kernel, expected_since, mounted as look};
use common::{EPOCH, Place, add_file, checker, content, go_on, run};
use image::{Entry, Kind, RootFilesystem, Store, Tree, WriteOptions, extract_xfs, write_filesystem};

fn write(place: &Place, tree: &Tree, filesystem: RootFilesystem, name: &str) -> (PathBuf, Vec<String>) {
    let (out, options) = (place.path(name), WriteOptions::at(EPOCH));
    let report = write_filesystem(tree, &place.store, filesystem, &options, &out, &go_on).unwrap();
    (out, report.notes)
}

/// The filesystem's own tools find nothing wrong.
fn check(image: &Path, filesystem: RootFilesystem) {
    run(&mut checker(filesystem, image));
}

/// What is at the borders of the formats, besides all else.
fn hard_tree(store: &Store) -> Tree {
    let mut tree = tree_for_the_kernel(store);
    let devices: Vec<_> = tree.iter().filter(|(_, entry)| matches!(entry.kind, Kind::CharDevice { .. })).collect();
    let devices: Vec<Vec<u8>> = devices.into_iter().map(|(path, _)| path.to_vec()).collect();
    for path in devices {
        // The largest that XFS has room for.
        tree.get_mut(path).unwrap().kind = Kind::CharDevice { major: 511, minor: 0x3_ffff };
    }
    tree.symlink("long", "l".repeat(1000)).unwrap();
    for size in [2047, 2048, 2049, 4095, 4096, 4097, (70 << 20) + 1] {
        add_file(&mut tree, store, format!("sizes/{size}").as_bytes(), &content(size, size as u64), 0o644);
    }
    // More names than the item, or the block, for an inode's names holds.
    (0..100).for_each(|n| tree.hard_link("sizes/4096", format!("names/{n}{}", "n".repeat(200))).unwrap());
    // More inodes than one block of their tree has.
    for n in 0..14_000 {
        tree.insert(format!("many/{}/{n}", n / 1000), Entry::new(Kind::Fifo, 0o600)).unwrap();
    }
    let acl = b"\x02\0\0\0\x01\0\x06\0\xff\xff\xff\xff\x02\0\x04\0\xe8\x03\0\0\x04\0\x04\0\xff\xff\xff\xff\x10\0\x04\0\xff\xff\xff\xff\x20\0\x04\0\xff\xff\xff\xff";
    let entry = tree.get_mut("sizes/2047").unwrap();
    // The group's permissions are the mask's.
    entry.xattrs.insert(b"system.posix_acl_access".to_vec(), acl.to_vec());
    entry.mode = 0o644;
    tree
}

/// Does nothing unless it is called by the test below.
#[test]
fn mounted() {
    look(hard_tree, |tree| expected_since(tree, -1), true);
}

#[test]
fn the_kernel_reads_and_writes_them() {
    let place = Place::new();
    let tree = hard_tree(&place.store);
    for filesystem in RootFilesystem::ALL.into_iter().filter(|filesystem| *filesystem != RootFilesystem::Ext4) {
        let (image, notes) = write(&place, &tree, filesystem, &format!("image-{filesystem:?}"));
        assert_eq!(notes, [""; 0]);
        check(&image, filesystem);
        if by_the_kernel(&image, filesystem.name()) {
            check(&image, filesystem);
        }
    }
}

/// Directories of each form, and files from nothing to several extents, come back without the kernel.
#[test]
fn an_xfs_filesystem_is_read_without_mounting_it() {
    let place = Place::new();
    let mut tree = hard_tree(&place.store);
    add_file(&mut tree, &place.store, b"a/folder/with/empty", b"", 0o644);
    let (image, _) = write(&place, &tree, RootFilesystem::Xfs, "image");
    let image = File::open(image).unwrap();
    for folder in ["sizes", "names", "a/folder", "many"] {
        let out = place.path("out");
        fs::create_dir(&out).unwrap();
        extract_xfs(&image, 0, folder, &out).unwrap();
        let mut files = 0;
        for (path, entry) in tree.iter() {
            let below = std::str::from_utf8(path).ok().and_then(|path| path.strip_prefix(folder)?.strip_prefix('/'));
            let (Some(below), Kind::File { blob, .. }) = (below, &entry.kind) else { continue };
            assert!(fs::read(out.join(below)).unwrap() == place.store.read(blob).unwrap(), "{folder}/{below}");
            files += 1;
        }
        assert_eq!(files > 0, folder != "many", "{folder}");
        fs::remove_dir_all(&out).unwrap();
    }
    let missing = extract_xfs(&image, 0, "a/nothing", &place.path("out")).unwrap_err().to_string();
    assert_eq!(missing, "there is no a/nothing in the xfs filesystem");
}

/// Whatever a disk says, reading it ends, and well or with an error. Checksums are made anew, as who wants to do harm would.
#[test]
fn a_hostile_xfs_filesystem_is_only_refused() {
    const INODES: u64 = 8 * 4096;
    let place = Place::new();
    let mut tree = Tree::new();
    (0..4).for_each(|n| add_file(&mut tree, &place.store, format!("a/{n}/file").as_bytes(), &content(5000, n), 0o644));
    (0..8).for_each(|n| tree.hard_link("a/0/file", format!("a/names/{n}{}", "n".repeat(120))).unwrap());
    let (image, _) = write(&place, &tree, RootFilesystem::Xfs, "image");
    let image = File::options().read(true).write(true).open(image).unwrap();
    let mut start = vec![0; 1 << 20];
    image.read_exact_at(&mut start, 0).unwrap();
    let names = start.chunks(4096).position(|block| block.starts_with(b"XDB3")).expect("a directory in a block") as u64 * 4096;
    // Where each structure begins, how long it is, where its checksum is, and where what is read of it begins and ends.
    let mut places = vec![(0, 512, 224, 4..128), (names, 4096, 4, 64..400), (names, 4096, 4, 3900..4096)];
    places.extend(
        (0..16).filter(|n| ![1, 2].contains(n)).map(|n| (INODES + n * 512, 512, 100, if n % 2 == 0 { 2..84 } else { 176..260 })),
    );
    let out = place.path("out");
    let mut refused = 0;
    for round in 0..300u64 {
        let drawn = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let (at, length, checksum, read) = places[round as usize % places.len()].clone();
        let mut before = vec![0; length];
        image.read_exact_at(&mut before, at).unwrap();
        let mut after = before.clone();
        after[read.start + (drawn >> 10) as usize % read.len()] ^= (drawn >> 20) as u8 | 1 << (round % 8);
        after[checksum..checksum + 4].fill(0);
        let sum = crc32c::crc32c(&after);
        after[checksum..checksum + 4].copy_from_slice(&sum.to_le_bytes());
        image.write_all_at(&after, at).unwrap();
        fs::create_dir(&out).unwrap();
        refused += u32::from(extract_xfs(&image, 0, "a", &out).is_err());
        fs::remove_dir_all(&out).unwrap();
        image.write_all_at(&before, at).unwrap();
    }
    assert!(refused > 10, "{refused}");
    fs::create_dir(&out).unwrap();
    extract_xfs(&image, 0, "a", &out).unwrap();
}
