//! Boots the initramfs for real: Debian's kernel and busybox, a root that says it runs, in QEMU without acceleration.
//!
//! It takes some minutes and fetches Debian packages (27 to 98 MB, kept in `target/test-cache`), so it runs on demand:
//! `cargo test -p composer --test boot_initramfs -- --ignored --nocapture`

mod support;

use composer::Unobserved;
use composer::boot::{self, BootRequest, Start};
use image::{BootMedia, Store};
use support::{Machine, iso, put, root_of};

/// Says what the system sees, then the marker; it is process 1.
const INIT: &str = "#!/bin/sh
mount | grep -v cgroup
echo written >/usr/written && cat /usr/written
echo 'MARKER: the system runs' $(id -u) $$ $(grep -c image.squashfs /sys/block/loop0/loop/backing_file)
poweroff -f
";

fn run(kernel: &str, drives: &[&[&str]]) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let Some(mut tree) = root_of(&store, &["busybox-static", kernel]) else {
        println!("skipped: Debian's packages cannot be fetched here");
        return;
    };
    for applet in ["sh", "mount", "cat", "grep", "id", "poweroff"] {
        tree.symlink(format!("bin/{applet}"), "busybox").unwrap();
    }
    put(&mut tree, &store, "usr/sbin/init", 0o755, INIT.as_bytes());
    let request = BootRequest {
        volume_id: "HATCHERY_TEST".into(),
        title: "Test".into(),
        image_name: "tiny".into(),
        starts: vec![Start::Medium],
        kernel_cmdline: String::new(),
        arch: "amd64".into(),
        work_dir: dir.path().join("work"),
    };
    let media = boot::prepare(&tree, &store, &request, &Unobserved).unwrap().remove(&Start::Medium).unwrap();
    for words in ["", "hatchery.toram"] {
        let media = BootMedia { cmdline: format!("{} {words} console=ttyS0", media.cmdline), ..media.clone() };
        let iso = iso(&tree, &store, &media, dir.path());
        for drive in drives {
            println!("{drive:?} {words}");
            let mut machine = Machine::start(drive, &iso);
            machine.wait_for("MARKER: the system runs 0 1 1");
            let lines: Vec<&str> = machine.seen.lines().collect();
            assert!(lines.iter().any(|line| line.starts_with("hatchery on / type overlay (rw")), "{lines:#?}");
            assert!(lines.contains(&"written"), "{lines:#?}");
            assert_eq!(machine.seen.contains("on /run/hatchery/medium type iso9660 (ro"), words.is_empty(), "{lines:#?}");
        }
    }
    let wrong = BootMedia { cmdline: "hatchery.label=ANOTHER hatchery.wait=2 console=ttyS0".into(), ..media };
    let mut machine = Machine::start(drives[0], &iso(&tree, &store, &wrong, dir.path()));
    machine.wait_for("no medium with the label ANOTHER");
    machine.wait_for("a shell follows");
    machine.wait_for("# ");
    machine.send("echo shell-$((6*7))\n");
    machine.wait_for("shell-42");
}

#[test]
#[ignore = "boots a machine several times; see the top of the file"]
fn the_cloud_kernel_boots_from_virtio_and_scsi() {
    run(
        "@linux-image-cloud-amd64",
        &[
            &["-drive", "file=ISO,format=raw,if=virtio,readonly=on"],
            &[
                "-device",
                "virtio-scsi-pci",
                "-drive",
                "file=ISO,format=raw,if=none,id=cd,media=cdrom",
                "-device",
                "scsi-cd,drive=cd",
            ],
        ],
    );
}

#[test]
#[ignore = "boots a machine several times; see the top of the file"]
fn the_standard_kernel_boots_from_cd_and_usb() {
    run(
        "@linux-image-amd64",
        &[
            &["-cdrom", "ISO"],
            &["-machine", "q35", "-cdrom", "ISO"],
            &["-device", "qemu-xhci", "-drive", "file=ISO,format=raw,if=none,id=stick", "-device", "usb-storage,drive=stick"],
        ],
    );
}

/// What dracut and its module for live media call.
const DRACUT: &[&str] = &[
    "dracut-core",
    "dracut-live",
    "kmod",
    "libkmod2",
    "udev",
    "libudev1",
    "cpio",
    "dmsetup",
    "libdevmapper1.02.1",
    "gzip",
    "tar",
    "busybox-static",
    "util-linux",
    "mount",
    "libc6",
    "libc-bin",
    "bash",
    "coreutils",
    "grep",
    "sed",
    "findutils",
    "mawk",
    "procps",
    "libselinux1",
    "libpcre2-8-0",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libblkid1",
    "libmount1",
    "libuuid1",
    "libsmartcols1",
    "libtinfo6",
    "libncursesw6",
    "libcap2",
    "libcrypt1",
    "libsystemd0",
    "liblz4-1",
    "libgcrypt20",
    "libgpg-error0",
    "liblzma5",
    "libzstd1",
    "libgcc-s1",
    "libssl3",
    "zlib1g",
    "@linux-image-cloud-amd64",
];

const DRACUT_INIT: &str = "#!/bin/busybox sh
busybox grep ' / ' /proc/mounts
busybox cat /sys/block/loop*/loop/backing_file
echo 'MARKER: the system runs'
busybox poweroff -f
";

#[test]
#[ignore = "boots a machine; see the top of the file"]
fn the_image_s_own_dracut_is_used_where_there_is_one() {
    composer::sandbox::use_helper(env!("CARGO_BIN_EXE_phase-host"));
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let Some(mut tree) = root_of(&store, DRACUT) else {
        println!("skipped: Debian's packages cannot be fetched here");
        return;
    };
    tree.symlink("bin/sh", "bash").unwrap();
    tree.symlink("usr/bin/awk", "mawk").unwrap();
    tree.remove_all("usr/sbin/init");
    put(&mut tree, &store, "usr/sbin/init", 0o755, DRACUT_INIT.as_bytes());
    put(&mut tree, &store, "etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/bash\n");
    put(&mut tree, &store, "etc/group", 0o644, b"root:x:0:\n");
    for folder in ["dev", "proc", "sys", "run", "tmp", "root"] {
        tree.make_dirs(folder).unwrap();
    }
    let request = BootRequest {
        volume_id: "HATCHERY_TEST".into(),
        title: "Test".into(),
        image_name: "dracut".into(),
        starts: vec![Start::Medium],
        kernel_cmdline: String::new(),
        arch: "amd64".into(),
        work_dir: dir.path().join("work"),
    };
    let media = boot::prepare(&tree, &store, &request, &Unobserved).unwrap().remove(&Start::Medium).unwrap();
    // The menu's second way, which goes all of the usual one's.
    let media = BootMedia { cmdline: format!("{} rd.live.ram=1", media.cmdline), ..media };
    let iso = iso(&tree, &store, &media, dir.path());
    let mut machine = Machine::start(&["-drive", "file=ISO,format=raw,if=virtio,readonly=on"], &iso);
    machine.wait_for("MARKER: the system runs");
    assert!(machine.seen.contains("/run/initramfs/squashed.img"), "{}", machine.seen);
    assert!(machine.seen.contains("LiveOS_rootfs / overlay rw"), "{}", machine.seen);
}
