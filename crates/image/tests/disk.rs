//! Disk images are what the tools that people check and convert them with say they should be.

mod common;

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::grub::add_grub;
use common::{EPOCH, checker, full_tree, have, run, sbin};
use image::{BootMedia, Disk, DiskFormat, Error, MenuWords, RootFilesystem, Store, Tree, WriteOptions, write_disk};

/// Where the root begins on the disk.
const ROOT_AT: u64 = 34 << 20;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    tree: Tree,
    boot: BootMedia,
}

impl Place {
    /// `None`, with a line that says so, where the host lacks GRUB.
    fn new() -> Option<Place> {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        let mut tree = full_tree(&store);
        if !add_grub(&mut tree, &store) {
            return None;
        }
        let boot = BootMedia {
            kernel: store.put_bytes(b"a kernel").unwrap().0,
            initramfs: b"an initramfs".to_vec(),
            volume_id: "TEST".into(),
            title: "Test".into(),
            release: "6.1-test".into(),
            cmdline: "quiet".into(),
            words: MenuWords::Hatchery,
            grub_dir: "usr/lib/grub".into(),
        };
        Some(Place { dir, store, tree, boot })
    }

    fn write(&self, format: DiskFormat, name: &str) -> PathBuf {
        self.write_root(Disk { format, root: RootFilesystem::Ext4 }, name)
    }

    fn write_root(&self, disk: Disk, name: &str) -> PathBuf {
        let out = self.dir.path().join(name);
        let report = write_disk(&self.tree, &self.store, &self.boot, disk, &WriteOptions::at(EPOCH), &out, &|_, _| true);
        assert_eq!(report.unwrap().notes, [""; 0]);
        out
    }
}

fn text(command: &mut Command) -> String {
    String::from_utf8_lossy(&run(command).stdout).into_owned()
}

/// The table, both filesystems and the boot files of a raw disk.
fn check_raw(disk: &Path) {
    let table = text(sbin("sfdisk").arg("--verify").arg(disk));
    assert!(table.contains("No errors detected"), "{table}");
    let dump = text(sbin("sfdisk").arg("--dump").arg(disk));
    for kind in ["21686148-6449-6E6F-744E-656564454649", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "name=\"root\""] {
        assert!(dump.contains(kind), "{kind}: {dump}");
    }
    run(sbin("e2fsck").args(["-f", "-n"]).arg(format!("{}?offset={ROOT_AT}", disk.display())));
    let efi = text(Command::new("mdir").args(["-b", "-i"]).arg(format!("{}@@2M", disk.display())).arg("::EFI/BOOT"));
    assert!(efi.contains("BOOTX64.EFI") && efi.contains("BOOTIA32.EFI"), "{efi}");
    let debugfs = |request: &str| text(sbin("debugfs").args(["-R", request]).arg(format!("{}?offset={ROOT_AT}", disk.display())));
    assert_eq!(debugfs("cat /boot/vmlinuz-6.1-test"), "a kernel");
    assert_eq!(debugfs("cat /boot/initramfs-6.1-test.img"), "an initramfs");
    let uuid = text(sbin("dumpe2fs").arg("-h").arg(format!("{}?offset={ROOT_AT}", disk.display())));
    let uuid = uuid.lines().find_map(|line| line.strip_prefix("Filesystem UUID:")).unwrap().trim().to_owned();
    let menu = debugfs("cat /boot/grub/grub.cfg");
    assert!(menu.contains(&format!("linux /boot/vmlinuz-6.1-test root=UUID={uuid} ")), "{menu}");
    assert!(debugfs("cat /etc/fstab").contains(&format!("UUID={uuid} / ext4 ")));
    let serial = text(Command::new("minfo").arg("-i").arg(format!("{}@@2M", disk.display())).arg("::"));
    let serial = serial.lines().find_map(|line| line.strip_prefix("serial number: ")).unwrap().to_owned();
    let serial = format!("{}-{}", &serial[..4], &serial[4..]);
    assert!(debugfs("cat /etc/fstab").contains(&format!("UUID={serial} /boot/efi ")), "{serial}");
}

#[test]
fn a_raw_disk_is_sound() {
    let Some(place) = Place::new() else { return };
    let compressed = place.write(DiskFormat::RawGzip, "disk.img.gz");
    let disk = place.dir.path().join("disk.img");
    run(Command::new("gzip").args(["-d", "-c"]).arg(&compressed).stdout(Stdio::from(File::create(&disk).unwrap())));
    check_raw(&disk);
}

/// The root's own tools find nothing wrong with it, and the kernel is told what it is.
#[test]
fn a_disk_with_another_root_is_sound() {
    let Some(place) = Place::new() else { return };
    if !have("qemu-img") {
        return;
    }
    for root in RootFilesystem::ALL.into_iter().filter(|root| *root != RootFilesystem::Ext4) {
        let disk = place.write_root(Disk { format: DiskFormat::Qcow2, root }, &format!("{}.qcow2", root.name()));
        let part = place.dir.path().join("root.img");
        let inside = format!("driver=raw,offset={ROOT_AT},file.driver=qcow2,file.file.filename={}", disk.display());
        run(Command::new("qemu-img").args(["convert", "-O", "raw", "--image-opts", &inside]).arg(&part));
        run(&mut checker(root, &part));
        let found = text(sbin("blkid").args(["-p", "-o", "export"]).arg(&part));
        let value = |key: &str| found.lines().find_map(|line| line.strip_prefix(key)).unwrap().to_owned();
        assert_eq!((value("LABEL="), value("TYPE=")), ("hatchery".into(), root.name().into()));
        let (uuid, kind) = (value("UUID="), root.name());
        let mut start = Vec::new();
        File::open(&part).unwrap().take(128 << 20).read_to_end(&mut start).unwrap();
        for wanted in [format!("root=UUID={uuid} rootfstype={kind} rw "), format!("UUID={uuid} / {kind} ")] {
            assert!(start.windows(wanted.len()).any(|bytes| bytes == wanted.as_bytes()), "{wanted}");
        }
    }
}

#[test]
fn containers_hold_the_disk() {
    let Some(place) = Place::new() else { return };
    if !have("qemu-img") {
        return;
    }
    let qcow2 = place.write(DiskFormat::Qcow2, "disk.qcow2");
    let vmdk = place.write(DiskFormat::Vmdk, "disk.vmdk");
    let said = text(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&qcow2));
    assert!(said.contains("No errors were found"), "{said}");
    for (path, size) in [(&qcow2, 40), (&vmdk, 40)] {
        assert!(fs::metadata(path).unwrap().len() < size << 20, "{}", path.display());
    }
    run(Command::new("qemu-img").args(["compare", "-f", "qcow2", "-F", "vmdk"]).arg(&qcow2).arg(&vmdk));
    let disk = place.dir.path().join("disk.img");
    run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(&qcow2).arg(&disk));
    check_raw(&disk);
}

#[test]
fn other_content_has_other_identifiers() {
    let Some(mut place) = Place::new() else { return };
    if !have("qemu-img") {
        return;
    }
    let table = |place: &Place, name: &str| {
        let (path, disk) = (place.write(DiskFormat::Qcow2, name), place.dir.path().join("disk.img"));
        run(Command::new("qemu-img").args(["convert", "-f", "qcow2", "-O", "raw"]).arg(path).arg(&disk));
        text(sbin("sfdisk").args(["--dump"]).arg(&disk)).lines().filter(|line| line.contains("label-id")).collect::<String>()
    };
    let first = table(&place, "a.qcow2");
    place.tree.get_mut("etc/hostname").unwrap().mode = 0o600;
    assert_ne!(first, table(&place, "b.qcow2"));
}

#[test]
fn an_image_without_a_boot_loader_is_refused() {
    let Some(mut place) = Place::new() else { return };
    place.tree.remove_all("usr/lib/grub");
    let out = place.dir.path().join("disk");
    let (options, disk) = (WriteOptions::at(EPOCH), Disk { format: DiskFormat::Qcow2, root: RootFilesystem::Ext4 });
    let result = write_disk(&place.tree, &place.store, &place.boot, disk, &options, &out, &|_, _| true);
    assert!(matches!(result, Err(Error::Boot(_))), "{result:?}");
    assert!(!out.exists());
}
