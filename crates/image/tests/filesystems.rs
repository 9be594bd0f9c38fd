//! The filesystems that a disk's root can be: their own tools find nothing wrong with them, and the kernel finds the tree in them and
//! writes to them.

mod common;

use std::path::{Path, PathBuf};

use common::random::tree_for_the_kernel;
use common::seen::{by_the_kernel, expected_since, mounted as look};
use common::{EPOCH, Place, checker, go_on, run};
use image::{RootFilesystem, Tree, WriteOptions, write_filesystem};

fn write(place: &Place, tree: &Tree, filesystem: RootFilesystem, name: &str) -> (PathBuf, Vec<String>) {
    let (out, options) = (place.path(name), WriteOptions::at(EPOCH));
    let report = write_filesystem(tree, &place.store, filesystem, &options, &out, &go_on).unwrap();
    (out, report.notes)
}

/// The filesystem's own tools find nothing wrong.
fn check(image: &Path, filesystem: RootFilesystem) {
    run(&mut checker(filesystem, image));
}

/// Does nothing unless it is called by the test below.
#[test]
fn mounted() {
    look(tree_for_the_kernel, |tree| expected_since(tree, -1), true);
}

#[test]
fn the_kernel_reads_and_writes_them() {
    let place = Place::new();
    let tree = tree_for_the_kernel(&place.store);
    for filesystem in RootFilesystem::ALL.into_iter().filter(|filesystem| *filesystem != RootFilesystem::Ext4) {
        let (image, notes) = write(&place, &tree, filesystem, &format!("image-{filesystem:?}"));
        assert_eq!(notes, [""; 0]);
        check(&image, filesystem);
        if by_the_kernel(&image, filesystem.name()) {
            check(&image, filesystem);
        }
    }
}
