//! Boots the initramfs for real: Debian's kernel and busybox, a root that says it runs, in QEMU without acceleration.
//!
//! It takes about half a minute and fetches two Debian packages (27 MB, kept in `target/test-cache`), so it runs on demand:
//! `cargo test -p composer --test boot_initramfs -- --ignored --nocapture`

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use composer::boot::{self, BootRequest};
use image::{Entry, Kind, Store, Tree};

const MARKER: &str = "MARKER: the system runs";

/// Says what the system sees, then the marker; it is process 1.
const INIT: &str = "#!/bin/sh
mount | grep -v cgroup
ls /run/hatchery
echo written >/usr/written && cat /usr/written
echo 'MARKER: the system runs' $(id -u) $$ $(grep -c image.squashfs /sys/block/loop0/loop/backing_file)
poweroff -f
";

/// The newest kernel of one kind (`cloud-amd64`, `amd64`) and busybox, as folders of unpacked packages.
fn debian_package(name: &str) -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-cache/debs");
    std::fs::create_dir_all(&cache).ok()?;
    let find = || {
        let mut files: Vec<_> = std::fs::read_dir(&cache).ok()?.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&format!("{name}_"))));
        files.pop()
    };
    if find().is_none() {
        Command::new("apt-get").args(["download", name]).current_dir(&cache).status().ok()?;
    }
    find()
}

/// The name of the kernel package that a meta package such as `linux-image-cloud-amd64` depends on.
fn kernel_package(meta: &str) -> Option<String> {
    let output = Command::new("apt-cache").args(["depends", meta]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).map(String::from)
}

fn add_package(tree: &mut Tree, store: &Store, deb: &Path) {
    let mut child = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped()).spawn().unwrap();
    let mut archive = tar::Archive::new(child.stdout.take().unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path_bytes().into_owned();
        let path = String::from_utf8(path).unwrap().trim_start_matches("./").trim_end_matches('/').to_string();
        let mode = entry.header().mode().unwrap();
        if entry.header().entry_type().is_file() {
            let (blob, size) = store.put(&mut entry).unwrap();
            let path = tree.resolve_parent(&path).unwrap();
            tree.insert(path, Entry::file(blob, size, mode)).unwrap();
        } else if entry.header().entry_type().is_symlink() {
            let target = entry.link_name_bytes().unwrap().into_owned();
            tree.symlink(&path, target).unwrap();
        }
    }
    assert!(child.wait().unwrap().success());
}

fn tiny_root(store: &Store, kernel: &str) -> Option<Tree> {
    let mut tree = Tree::new();
    tree.symlink("bin", "usr/bin").unwrap();
    tree.symlink("sbin", "usr/bin").unwrap();
    tree.symlink("lib", "usr/lib").unwrap();
    for dir in ["usr/bin", "usr/lib/grub", "tmp", "etc"] {
        tree.make_dirs(dir).unwrap();
    }
    add_package(&mut tree, store, &debian_package("busybox-static")?);
    add_package(&mut tree, store, &debian_package(&kernel_package(kernel)?)?);
    for applet in ["sh", "mount", "ls", "cat", "grep", "id", "poweroff"] {
        tree.symlink(format!("bin/{applet}"), "busybox").unwrap();
    }
    let (blob, size) = store.put_bytes(INIT.as_bytes()).unwrap();
    tree.insert("usr/bin/init", Entry::file(blob, size, 0o755)).unwrap();
    Some(tree)
}

/// The tree as a squashfs on an ISO 9660 volume, which is all the initramfs wants to see.
fn medium(tree: &Tree, store: &Store, volume_id: &str, dir: &Path) -> PathBuf {
    let content = dir.join("content");
    std::fs::create_dir(&content).unwrap();
    let mut packer = Command::new("tar2sqfs")
        .args(["-q", "-c", "zstd"])
        .arg(content.join("image.squashfs"))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut tar = tar::Builder::new(packer.stdin.take().unwrap());
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        let path = std::str::from_utf8(path).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_mode(entry.mode);
        header.set_size(0);
        match &entry.kind {
            Kind::Dir => {
                header.set_entry_type(tar::EntryType::Directory);
                tar.append_data(&mut header, path, std::io::empty()).unwrap();
            }
            Kind::File { blob, size, .. } => {
                header.set_size(*size);
                tar.append_data(&mut header, path, store.open_blob(blob).unwrap()).unwrap();
            }
            Kind::Symlink(target) => {
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, std::str::from_utf8(target).unwrap()).unwrap();
            }
            _ => unreachable!("the tiny root has no devices"),
        }
    }
    drop(tar.into_inner().unwrap());
    assert!(packer.wait().unwrap().success());
    let iso = dir.join("medium.iso");
    let made = Command::new("xorriso")
        .args(["-as", "mkisofs", "-quiet", "-V", volume_id, "-r", "-iso-level", "3", "-o"])
        .args([&iso, &content])
        .status()
        .unwrap();
    assert!(made.success());
    iso
}

/// Everything the machine printed on its serial line until it switched off, or for at most this long.
fn boot(dir: &Path, media: &image::BootMedia, store: &Store, drive: &[&str], cmdline: &str) -> Vec<String> {
    let initramfs = dir.join("initramfs");
    std::fs::write(&initramfs, &media.initramfs).unwrap();
    let mut machine = Command::new("qemu-system-x86_64")
        .args(["-m", "768", "-display", "none", "-no-reboot", "-serial", "stdio", "-monitor", "none", "-nic", "none"])
        .arg("-kernel")
        .arg(store.path(&media.kernel))
        .arg("-initrd")
        .arg(&initramfs)
        .args(["-append", &format!("{} console=tty0 console=ttyS0,115200 {cmdline}", media.cmdline)])
        .args(drive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = machine.id();
    let lines = BufReader::new(machine.stdout.take().unwrap()).lines();
    let started = Instant::now();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if stopped.recv_timeout(Duration::from_secs(300)).is_err() {
            let _ = Command::new("kill").arg(pid.to_string()).status();
        }
    });
    let mut seen = Vec::new();
    for line in lines.map_while(Result::ok) {
        println!("{:6.1} {line}", started.elapsed().as_secs_f32());
        let last = line.contains("a shell follows");
        seen.push(line);
        if last {
            let _ = machine.kill();
        }
    }
    let _ = machine.wait();
    let _ = stop.send(());
    watchdog.join().unwrap();
    seen
}

fn run(kernel: &str, drives: &[&[&str]]) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let Some(tree) = tiny_root(&store, kernel) else {
        println!("skipped: Debian's packages cannot be fetched here");
        return;
    };
    let request = BootRequest { volume_id: "HATCHERY_TEST".into(), title: "Test".into(), image_name: "tiny".into() };
    let media = boot::prepare(&tree, &store, &request).unwrap();
    println!("initramfs: {} bytes", media.initramfs.len());
    let iso = medium(&tree, &store, &request.volume_id, dir.path());
    for drive in drives {
        let drive: Vec<String> = drive.iter().map(|arg| arg.replace("ISO", iso.to_str().unwrap())).collect();
        let drive: Vec<&str> = drive.iter().map(String::as_str).collect();
        for words in ["", "hatchery.toram"] {
            let seen = boot(dir.path(), &media, &store, &drive, words);
            let marker =
                seen.iter().find(|line| line.starts_with(MARKER)).unwrap_or_else(|| panic!("{drive:?} {words}: {seen:#?}"));
            assert_eq!(marker, &format!("{MARKER} 0 1 1"));
            assert!(seen.iter().any(|line| line.starts_with("hatchery on / type overlay (rw")), "{seen:#?}");
            assert!(seen.iter().any(|line| line == "written"), "{seen:#?}");
            assert_eq!(
                seen.iter().any(|line| line.contains("/run/hatchery/medium type iso9660 (ro")),
                words.is_empty(),
                "{seen:#?}"
            );
        }
    }
    let missing = boot(dir.path(), &media, &store, &[], "hatchery.wait=2");
    let text = missing.join("\n");
    assert!(text.contains("no medium with the label HATCHERY_TEST") && text.contains("a shell follows"), "{text}");
}

#[test]
#[ignore = "boots a machine several times; see the top of the file"]
fn the_cloud_kernel_boots_from_virtio_and_scsi() {
    run(
        "linux-image-cloud-amd64",
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
        "linux-image-amd64",
        &[
            &["-cdrom", "ISO"],
            &["-machine", "q35", "-cdrom", "ISO"],
            &["-device", "qemu-xhci", "-drive", "file=ISO,format=raw,if=none,id=stick", "-device", "usb-storage,drive=stick"],
        ],
    );
}
