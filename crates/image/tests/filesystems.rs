//! The filesystems that a disk's root can be: their own tools find nothing wrong with them, and the kernel finds the tree in them and
//! writes to them.

mod common;

use std::path::{Path, PathBuf};

use common::random::tree_for_the_kernel;
use common::seen::{by_the_kernel, expected_since, mounted as look};
use common::{EPOCH, Place, add_file, checker, content, go_on, run};
use image::{Entry, Kind, RootFilesystem, Store, Tree, WriteOptions, write_filesystem};

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
