//! Equal trees give equal bytes: whatever the umask, the time zone, the number of threads, the folder, or the order of insertion.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::grub::add_grub;
use common::{EPOCH, full_tree};
use image::{
    BootMedia, Compression, Disk, DiskFormat, MenuWords, RootFilesystem, SquashCompressor, Store, Tree, WriteOptions, write_disk,
    write_iso, write_squashfs, write_tar, write_zip,
};
use nix::sys::stat::{Mode, umask};

const BOOTABLE: [&str; 6] = ["image.iso", "image.img.gz", "image.qcow2", "image.vmdk", "btrfs.qcow2", "xfs.qcow2"];
const OTHERS: [&str; 6] = ["image.zip", "image.squashfs", "image.tar.gz", "image.tar.bz2", "image.tar.xz", "image.tar.zst"];
/// Set for the processes that write; says where.
const OUT: &str = "HATCHERY_TEST_OUT";
const THREADS: &str = "HATCHERY_TEST_THREADS";
const UMASK: &str = "HATCHERY_TEST_UMASK";

/// Does nothing unless it is called by the test below, in a process of its own.
#[test]
fn write_all_formats() {
    let Some(out) = std::env::var_os(OUT).map(PathBuf::from) else { return };
    let number = |name: &str| std::env::var(name).unwrap().parse::<usize>().unwrap();
    umask(Mode::from_bits_truncate(number(UMASK) as u32));
    let options = WriteOptions { threads: number(THREADS), ..WriteOptions::at(EPOCH) };
    let store = Store::open(out.join("store")).unwrap();
    let mut tree = full_tree(&store);
    let go_on = |_, _| true;
    for compression in Compression::ALL {
        let out = out.join(format!("image.tar.{}", compression.extension()));
        write_tar(&tree, &store, compression, &options, &out, &go_on).unwrap();
    }
    let with_grub = add_grub(&mut tree, &store);
    let (kernel, _) = store.put_bytes(b"a kernel").unwrap();
    let boot = BootMedia {
        kernel,
        initramfs: b"an initramfs".to_vec(),
        volume_id: "SAME".into(),
        title: "Same".into(),
        release: "6.1".into(),
        cmdline: String::new(),
        words: MenuWords::Hatchery,
        grub_dir: "usr/lib/grub".into(),
    };
    write_zip(&tree, &store, &options, &out.join("image.zip"), &go_on).unwrap();
    write_squashfs(&tree, &store, SquashCompressor::Zstd, &options, &out.join("image.squashfs"), &go_on).unwrap();
    if with_grub {
        write_iso(&tree, &store, &boot, &options, &out.join("image.iso"), &go_on).unwrap();
        for (name, format, root) in [
            ("image.img.gz", DiskFormat::RawGzip, RootFilesystem::Ext4),
            ("image.qcow2", DiskFormat::Qcow2, RootFilesystem::Ext4),
            ("image.vmdk", DiskFormat::Vmdk, RootFilesystem::Ext4),
            ("btrfs.qcow2", DiskFormat::Qcow2, RootFilesystem::Btrfs),
            ("xfs.qcow2", DiskFormat::Qcow2, RootFilesystem::Xfs),
        ] {
            write_disk(&tree, &store, &boot, Disk { format, root }, &options, &out.join(name), &go_on).unwrap();
        }
    }
}

#[test]
fn the_machine_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let variants = [("1", "63", "Pacific/Auckland"), ("5", "0", "America/St_Johns")];
    let outs: Vec<PathBuf> = (variants.iter().enumerate())
        .map(|(i, (threads, umask, zone))| {
            let out = dir.path().join(format!("{i}-{}", "x".repeat(i * 9)));
            fs::create_dir(&out).unwrap();
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "write_all_formats"]).env(OUT, &out).env(THREADS, threads).env(UMASK, umask).env("TZ", zone);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            out
        })
        .collect();
    for format in BOOTABLE.into_iter().chain(OTHERS) {
        let images: Vec<_> = outs.iter().map(|out| fs::read(out.join(format)).ok()).collect();
        assert!(images.windows(2).all(|pair| pair[0] == pair[1]), "{format} differs");
        assert!(images[0].is_some() || BOOTABLE.contains(&format), "{format} was not written");
    }
}

#[test]
fn the_order_of_insertion_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let tree = full_tree(&store);
    let mut other = Tree::new();
    for (path, entry) in tree.iter().collect::<Vec<_>>().into_iter().rev() {
        other.insert(path, entry.clone()).unwrap();
    }
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write_zip(&tree, &store, &WriteOptions::at(EPOCH), &a, &|_, _| true).unwrap();
    write_zip(&other, &store, &WriteOptions::at(EPOCH), &b, &|_, _| true).unwrap();
    assert!(fs::read(a).unwrap() == fs::read(b).unwrap());
}
