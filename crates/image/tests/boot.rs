//! An ISO boots in QEMU: as CD, as disk and as USB stick, on SeaBIOS and on OVMF.
//!
//! Slow (a minute or more), so it is only run when asked for:
//!
//!     cargo test -p image --test boot -- --ignored --nocapture
//!
//! Kernel, busybox and GRUB are Debian's, fetched once by `apt-get download` into $HATCHERY_TEST_CACHE (target/test-cache otherwise).
//! Screenshots of the boot menus are left there as boot-*.ppm.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{EPOCH, add_file, have, run};
use image::{BootMedia, MenuWords, Store, Tree, WriteOptions, write_iso};

const MARKER: &str = "HATCHERY MARKER: the medium's root is readable";
const TITLE: &str = "Hatchery test";
/// Far more than a boot takes even on a busy machine; only a hang gets here.
const PATIENCE: Duration = Duration::from_secs(240);

/// Modules that the kernel needs for the devices and filesystems of the test, without those that it has built in.
const MODULES: [&str; 12] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sr_mod",
    "sd_mod",
    "ahci",
    "xhci_pci",
    "usb_storage",
    "uas",
    "isofs",
    "loop",
    "squashfs",
];

const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /medium /root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in MODULES; do insmod /modules/$module.ko; done
try=0
while [ $try -lt 60 ]; do
    for device in /dev/sr0 /dev/vda /dev/sda; do
        [ -b $device ] && mount -t iso9660 -o ro $device /medium 2>/dev/null && break 2
    done
    try=$((try + 1))
    sleep 1
done
echo "medium: $device"
mount -t squashfs -o loop,ro /medium/image.squashfs /root
cat /root/etc/marker
ls -l /medium/boot
poweroff -f
"#;

fn cache() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-cache");
    let cache = std::env::var_os("HATCHERY_TEST_CACHE").map_or(target, PathBuf::from);
    fs::create_dir_all(cache.join("debs")).unwrap();
    cache.canonicalize().unwrap()
}

/// A Debian package's files, unpacked below the cache.
fn unpacked(package: &str) -> PathBuf {
    let (cache, prefix) = (cache(), format!("{package}_"));
    let find = || {
        let entries = fs::read_dir(cache.join("debs")).unwrap().map(|entry| entry.unwrap());
        entries.map(|e| e.path()).find(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(&prefix)))
    };
    let deb = find().unwrap_or_else(|| {
        run(Command::new("apt-get").args(["download", "-q", package]).current_dir(cache.join("debs")));
        find().unwrap()
    });
    let dir = cache.join("boot-test").join(package);
    if !dir.exists() {
        let fresh = tempfile::tempdir_in(&cache).unwrap();
        run(Command::new("dpkg-deb").arg("-x").arg(deb).arg(fresh.path()));
        fs::create_dir_all(dir.parent().unwrap()).unwrap();
        fs::rename(fresh.keep(), &dir).unwrap();
    }
    dir
}

fn kernel_package() -> String {
    let output = run(Command::new("apt-cache").args(["depends", "linux-image-amd64"]));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.trim().strip_prefix("Depends: ")).expect("the kernel's package").to_owned()
}

/// A cpio archive (newc) of files and folders, with hardly any metadata.
fn cpio(entries: &[(String, u32, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let trailer = ("TRAILER!!!".to_owned(), 0, Vec::new());
    for (inode, (name, mode, content)) in entries.iter().chain([&trailer]).enumerate() {
        let fields = [inode as u32 + 1, *mode, 0, 0, 1, 0, content.len() as u32, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        bytes.extend(b"070701");
        fields.iter().for_each(|field| bytes.extend(format!("{field:08x}").bytes()));
        bytes.extend(name.bytes());
        bytes.push(0);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

/// All modules below a folder by name, with `_` for `-` as the kernel has it.
fn find_modules(dir: &Path, found: &mut BTreeMap<String, PathBuf>) {
    for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match path.extension().is_some_and(|extension| extension == "ko") {
            true => drop(found.insert(path.file_stem().unwrap().to_str().unwrap().replace('-', "_"), path)),
            false if path.is_dir() && !path.is_symlink() => find_modules(&path, found),
            false => (),
        }
    }
}

/// Adds a module after all that it depends on (`depends=a,b` in its .modinfo section).
fn add_module(name: &str, all: &BTreeMap<String, PathBuf>, order: &mut Vec<(String, Vec<u8>)>) {
    let Some(path) = all.get(name).filter(|_| order.iter().all(|(known, _)| known != name)) else { return };
    let content = fs::read(path).unwrap();
    let depends = content.split(|b| *b == 0).find_map(|text| text.strip_prefix(b"depends=")).unwrap_or_default();
    for dependency in String::from_utf8_lossy(depends).split(',') {
        add_module(&dependency.replace('-', "_"), all, order);
    }
    order.push((name.to_owned(), content));
}

fn initramfs(kernel: &Path) -> Vec<u8> {
    let (mut all, mut modules) = (BTreeMap::new(), Vec::new());
    find_modules(&kernel.join("lib/modules"), &mut all);
    MODULES.iter().for_each(|module| add_module(module, &all, &mut modules));
    let names: Vec<&str> = modules.iter().map(|(name, _)| name.as_str()).collect();
    let dir = |name: &str| (name.to_owned(), 0o040_755, Vec::new());
    let mut entries = vec![
        dir("bin"),
        dir("modules"),
        ("init".to_owned(), 0o100_755, INIT.replace("MODULES", &names.join(" ")).into_bytes()),
        ("bin/busybox".to_owned(), 0o100_755, fs::read(unpacked("busybox-static").join("bin/busybox")).unwrap()),
    ];
    entries.extend(modules.into_iter().map(|(name, content)| (format!("modules/{name}.ko"), 0o100_644, content)));
    cpio(&entries)
}

fn make_iso(work: &Path) -> PathBuf {
    let store = Store::open(work.join("store")).unwrap();
    let mut tree = Tree::new();
    add_file(&mut tree, &store, b"etc/marker", format!("{MARKER}\n").as_bytes(), 0o644);
    for (package, folder) in [("grub-pc-bin", "i386-pc"), ("grub-efi-amd64-bin", "x86_64-efi"), ("grub-efi-ia32-bin", "i386-efi")]
    {
        let dir = unpacked(package).join("usr/lib/grub").join(folder);
        for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()).filter(|e| e.path().is_file()) {
            let path = format!("usr/lib/grub/{folder}/{}", entry.file_name().to_str().unwrap());
            add_file(&mut tree, &store, path.as_bytes(), &fs::read(entry.path()).unwrap(), 0o644);
        }
    }
    let kernel = unpacked(&kernel_package());
    let image = fs::read_dir(kernel.join("boot")).unwrap().map(|e| e.unwrap().path());
    let image = image.into_iter().find(|p| p.file_name().unwrap().to_string_lossy().starts_with("vmlinuz")).unwrap();
    let boot = BootMedia {
        kernel: store.put(&mut File::open(image).unwrap()).unwrap().0,
        initramfs: initramfs(&kernel),
        volume_id: "HATCHERY_BOOT_TEST".into(),
        title: TITLE.into(),
        release: "6.1".into(),
        cmdline: "panic=5 console=ttyS0".into(),
        words: MenuWords::Hatchery,
        grub_dir: "usr/lib/grub".into(),
    };
    let out = work.join("test.iso");
    let report = write_iso(&tree, &store, &boot, &WriteOptions::at(EPOCH), &out, &|_, _| true).unwrap();
    assert_eq!(report.notes, [""; 0]);
    out
}

/// A QEMU that is ended with the test.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn boot(iso: &Path, work: &Path, name: &str, machine: &[String]) {
    let serial = work.join(format!("{name}.log"));
    let mut command = Command::new("qemu-system-x86_64");
    command.args([
        "-machine",
        "q35",
        "-m",
        "768",
        "-display",
        "none",
        "-nic",
        "none",
        "-no-reboot",
        "-monitor",
        "stdio",
        "-serial",
    ]);
    command.arg(format!("file:{}", serial.display())).arg("-drive");
    command.arg(format!("if=none,id=medium,format=raw,readonly=on,file={}", iso.display())).args(machine);
    let started = Instant::now();
    let mut machine = Machine(command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap());
    let read = || String::from_utf8_lossy(&fs::read(&serial).unwrap_or_default()).into_owned();
    let mut shot = false;
    while !read().contains(MARKER) {
        assert!(machine.0.try_wait().unwrap().is_none(), "{name}: ended without the marker\n{}", read());
        assert!(started.elapsed() < PATIENCE, "{name}: no marker\n{}", read());
        if !shot && read().contains("(serial console only)") {
            // The menu is on the serial line; a moment later it is on the screen too.
            thread::sleep(Duration::from_secs(1));
            let picture = cache().join(format!("boot-{name}.ppm"));
            writeln!(machine.0.stdin.as_mut().unwrap(), "screendump {}", picture.display()).unwrap();
            shot = true;
        }
        thread::sleep(Duration::from_millis(200));
    }
    let log = read();
    assert!(shot, "{name}: the menu was not on the serial line");
    assert!(log.contains("image") || log.contains("kernel"), "{log}");
    println!("{name}: booted after {:.0} s", started.elapsed().as_secs_f64());
}

const CD: [&str; 4] = ["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=medium,bootindex=1"];
const DISK: [&str; 2] = ["-device", "virtio-blk-pci,drive=medium,bootindex=1"];
const USB: [&str; 4] = ["-device", "qemu-xhci", "-device", "usb-storage,drive=medium,bootindex=1"];

fn boot_all(firmware: &str, machine: &[String], media: &[(&str, &[&str])]) {
    if !have("qemu-system-x86_64") || !have("apt-get") {
        return;
    }
    let work = tempfile::tempdir().unwrap();
    let iso = make_iso(work.path());
    for (medium, device) in media {
        let arguments: Vec<String> = machine.iter().cloned().chain(device.iter().map(|word| word.to_string())).collect();
        boot(&iso, work.path(), &format!("{firmware}-{medium}"), &arguments);
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[test]
#[ignore = "slow: boots QEMU several times; see the top of this file"]
fn iso_boots_on_bios() {
    boot_all("bios", &words("-machine q35"), &[("cd", &CD), ("disk", &DISK), ("usb", &USB)]);
}

#[test]
#[ignore = "slow: boots QEMU several times; see the top of this file"]
fn iso_boots_on_64_bit_uefi() {
    let machine = "-machine q35 -drive if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE.fd";
    boot_all("efi64", &words(machine), &[("cd", &CD), ("disk", &DISK), ("usb", &USB)]);
}

#[test]
#[ignore = "slow: boots QEMU several times; see the top of this file"]
fn iso_boots_on_32_bit_uefi() {
    const FIRMWARE: &str = "/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd";
    if !Path::new(FIRMWARE).exists() {
        return println!("skipped: there is no {FIRMWARE} (Debian's package ovmf-ia32)");
    }
    // This build of the firmware insists on system management mode and on a place for its variables.
    let vars = tempfile::NamedTempFile::new().unwrap();
    fs::copy("/usr/share/OVMF/OVMF32_VARS_4M.fd", vars.path()).unwrap();
    let machine = format!(
        "-machine q35,smm=on -global driver=cfi.pflash01,property=secure,value=on \
         -drive if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE} -drive if=pflash,format=raw,unit=1,file={}",
        vars.path().display()
    );
    boot_all("efi32", &words(&machine), &[("cd", &CD), ("disk", &DISK)]);
}
