//! What goes wrong is said, and leaves nothing behind.

mod common;

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{EPOCH, plain_tree};
use image::{
    BootMedia, Entry, Error, Kind, MenuWords, Progress, SquashCompressor, Store, StoreError, Tree, WriteOptions, WriteReport,
};
use image::{Compression, write_iso, write_squashfs, write_tar, write_zip};

type Writer = fn(&Tree, &Store, &WriteOptions, &Path, Progress) -> Result<WriteReport, Error>;

const WRITERS: [(&str, Writer); 3] = [
    ("tar", |tree, store, options, out, progress| write_tar(tree, store, Compression::Bzip2, options, out, progress)),
    ("zip", write_zip),
    ("squashfs", |tree, store, options, out, progress| {
        write_squashfs(tree, store, SquashCompressor::Zstd, options, out, progress)
    }),
];

fn place() -> (tempfile::TempDir, Store, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let out = dir.path().join("out");
    fs::create_dir(&out).unwrap();
    (dir, store, out)
}

fn media(store: &Store) -> BootMedia {
    BootMedia {
        kernel: store.put_bytes(b"kernel").unwrap().0,
        initramfs: Vec::new(),
        volume_id: "X".into(),
        title: "X".into(),
        release: "6.1".into(),
        cmdline: String::new(),
        words: MenuWords::Hatchery,
        grub_dir: "usr/lib/grub".into(),
    }
}

fn is_empty(dir: &Path) -> bool {
    fs::read_dir(dir).unwrap().next().is_none()
}

#[test]
fn a_stop_leaves_nothing() {
    let (_dir, store, out) = place();
    let tree = plain_tree(&store);
    for (name, write) in WRITERS {
        for stop_after in [0, 1, 20] {
            let calls = Cell::new(0);
            let progress = |_, _| calls.replace(calls.get() + 1) < stop_after;
            let result = write(&tree, &store, &WriteOptions::at(EPOCH), &out.join("image"), &progress);
            assert!(matches!(result, Err(Error::Cancelled)), "{name}: {result:?}");
            assert!(is_empty(&out), "{name}");
        }
    }
}

#[test]
fn progress_grows_to_its_total() {
    let (_dir, store, out) = place();
    let tree = plain_tree(&store);
    for (name, write) in WRITERS {
        let last = Cell::new((0, 0));
        let progress = |done, total| {
            assert!(done >= last.get().0 && done <= total, "{name}");
            last.set((done, total));
            true
        };
        write(&tree, &store, &WriteOptions::at(EPOCH), &out.join("image"), &progress).unwrap();
        assert!(last.get().0 == last.get().1 && last.get().1 >= tree.totals().bytes, "{name}: {:?}", last.get());
    }
}

#[test]
fn damaged_content_is_found() {
    let (_dir, store, out) = place();
    let tree = plain_tree(&store);
    let Kind::File { blob, .. } = tree.get("usr/share/large").unwrap().kind else { panic!("a file") };
    for (name, write) in WRITERS {
        plain_tree(&store);
        let mut content = fs::read(store.path(&blob)).unwrap();
        content[3_000_000] ^= 1;
        fs::write(store.path(&blob), content).unwrap();
        let write = || write(&tree, &store, &WriteOptions::at(EPOCH), &out.join("image"), &|_, _| true).unwrap_err();
        let error = write();
        assert!(matches!(error, Error::Content { source: StoreError::Damaged { .. }, .. }), "{name}: {error}");
        assert!(error.to_string().starts_with("/usr/share/large: "), "{name}: {error}");
        let error = write();
        assert!(matches!(error, Error::Content { source: StoreError::Missing { .. }, .. }), "{name}: {error}");
        assert!(is_empty(&out), "{name}");
    }
}

#[test]
fn a_wrong_size_is_found() {
    let (_dir, store, out) = place();
    let (blob, _) = store.put_bytes(b"five!").unwrap();
    for claimed in [0, 4, 6, 1 << 40] {
        let mut tree = Tree::new();
        tree.insert("file", Entry::file(blob, claimed, 0o644)).unwrap();
        for (name, write) in WRITERS {
            let result = write(&tree, &store, &WriteOptions::at(EPOCH), &out.join("image"), &|_, _| true);
            assert!(matches!(result, Err(Error::WrongSize { .. })), "{name}, {claimed}: {result:?}");
            assert!(is_empty(&out), "{name}");
        }
    }
}

#[test]
fn an_old_image_stays_when_a_new_one_fails() {
    let (_dir, store, out) = place();
    let image = out.join("image");
    fs::write(&image, "old").unwrap();
    let mut tree = Tree::new();
    tree.insert("file", Entry::file(image::BlobId::of(b"never stored"), 12, 0o644)).unwrap();
    for (name, write) in WRITERS {
        let result = write(&tree, &store, &WriteOptions::at(EPOCH), &image, &|_, _| true);
        assert!(matches!(result, Err(Error::Content { .. })), "{name}: {result:?}");
        assert_eq!(fs::read(&image).unwrap(), b"old", "{name}");
    }
}

#[test]
fn an_iso_without_grub_says_what_to_add() {
    let (_dir, store, out) = place();
    let mut tree = plain_tree(&store);
    let boot = media(&store);
    let write = |tree: &Tree| write_iso(tree, &store, &boot, &WriteOptions::at(EPOCH), &out.join("image"), &|_, _| true);
    let error = write(&tree).unwrap_err().to_string();
    assert!(error.contains("/usr/lib/grub") && error.contains("sys-boot/grub"), "{error}");

    common::add_file(&mut tree, &store, b"usr/lib/grub/i386-pc/kernel.img", b"x", 0o644);
    let error = write(&tree).unwrap_err().to_string();
    assert!(error.contains("i386-pc") && error.contains("normal.mod"), "{error}");
    assert!(is_empty(&out));
}

/// Set for a process whose PATH has no programs; says where to write.
const NO_PROGRAMS: &str = "HATCHERY_TEST_NO_PROGRAMS";

/// Does nothing unless it is called by the test below.
#[test]
fn with_no_programs() {
    let Some(out) = std::env::var_os(NO_PROGRAMS).map(PathBuf::from) else { return };
    let store = Store::open(out.join("store")).unwrap();
    let mut tree = plain_tree(&store);
    if !common::grub::add_grub(&mut tree, &store) {
        return println!("no GRUB");
    }
    let result = write_iso(&tree, &store, &media(&store), &WriteOptions::at(EPOCH), &out.join("image"), &|_, _| true);
    println!("{}", result.unwrap_err());
}

#[test]
fn missing_programs_are_named() {
    let (_dir, _store, out) = place();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "with_no_programs", "--nocapture"]).env(NO_PROGRAMS, &out).env("PATH", &out);
    let said = String::from_utf8(common::run(&mut command).stdout).unwrap();
    let named = said.contains("grub-mkimage is missing") && said.contains("apt-get install grub-common");
    assert!(named || said.contains("no GRUB"), "{said}");
    assert!(!out.join("image").exists());
}

/// Set for the process that runs inside a namespace of its own; says where to mount a small disk.
const SMALL_DISK: &str = "HATCHERY_TEST_SMALL_DISK";

/// Does nothing unless it is called by the test below.
#[test]
fn on_a_small_disk() {
    let Some(disk) = std::env::var_os(SMALL_DISK).map(PathBuf::from) else { return };
    common::run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&disk));
    let elsewhere = Store::open(disk.with_extension("store")).unwrap();
    let tree = plain_tree(&elsewhere);
    for (name, write) in WRITERS {
        let result = write(&tree, &elsewhere, &WriteOptions::at(EPOCH), &disk.join("image"), &|_, _| true);
        assert!(matches!(result, Err(Error::DiskFull { .. })), "{name}: {result:?}");
        assert!(is_empty(&disk), "{name}");
    }
    let store = Store::open(disk.join("store")).unwrap();
    for size in [1 << 20, 3 << 20] {
        let result = (0..4).try_for_each(|seed| store.put(&mut common::content(size, seed).as_slice()).map(drop));
        assert!(matches!(result, Err(StoreError::DiskFull { .. })), "{size}: {result:?}");
        assert!(is_empty(&disk.join("store/tmp")), "{size}");
    }
}

#[test]
fn a_full_disk_is_called_so() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    // A user namespace lets anybody mount a tmpfs; where there is none this cannot be tested.
    let namespace = ["--user", "--map-root-user", "--mount"];
    if !Command::new("unshare").args(namespace).arg("true").status().is_ok_and(|status| status.success()) {
        return println!("skipped: this user may not make namespaces");
    }
    let mut command = Command::new("unshare");
    command.args(namespace).arg(std::env::current_exe().unwrap()).args(["--exact", "on_a_small_disk"]).env(SMALL_DISK, &disk);
    common::run(&mut command);
}
