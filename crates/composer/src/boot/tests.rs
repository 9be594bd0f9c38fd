use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

use image::{BlobId, Entry};

use flate2::{Compression, GzBuilder};

use super::cpio::Archive;
use super::dracut;
use super::initramfs::{INIT, MEDIA, MODPROBE, MODULE_FUNCTIONS};
use super::modules::Modules;
use super::*;
use crate::Unobserved;

/// A root as small as can be: a kernel, four drivers, busybox (not a working one), an init and a folder for GRUB.
struct Root {
    _dir: tempfile::TempDir,
    store: Store,
    tree: Tree,
}

const MODULES: &str = "usr/lib/modules/6.1.9-test";

impl Root {
    fn new() -> Root {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root { store: Store::open(dir.path()).unwrap(), tree: Tree::new(), _dir: dir };
        root.tree.insert("lib", Entry::symlink("usr/lib")).unwrap();
        root.put("boot/vmlinuz-6.1.9-test", &kernel::tests::bzimage("6.1.9-test"));
        root.put(&format!("{MODULES}/modules.builtin"), b"kernel/drivers/block/loop.ko\nkernel/drivers/scsi/scsi-mod.ko\n");
        root.module("isofs.ko", "depends=\0alias=fs-iso9660\0alias=iso9660\0");
        root.module("overlay.ko", "depends=\0");
        root.module("squashfs.ko", "depends=lzo-decompress\0");
        root.module("lzo_decompress.ko", "depends=\0");
        root.module("usb-storage.ko", "depends=usbcore,scsi-mod\0alias=usb:v*p*d*dc*dsc*dp*ic08isc06ip50in*\0alias=usb:$(rm)\0");
        root.module("usbcore.ko", "softdep=pre: usb-common\0depends=\0");
        root.module("usb-common.ko", "");
        root.module("radeon.ko", "depends=not-there\0");
        root.put("bin/busybox", &busybox());
        root.put("sbin/openrc-init", b"\x7fELF");
        root.tree.insert("usr/lib/grub", Entry::dir(0o755)).unwrap();
        root
    }

    fn put(&mut self, path: &str, content: &[u8]) {
        let (blob, size) = self.store.put_bytes(content).unwrap();
        self.tree.insert(path, Entry::file(blob, size, 0o755)).unwrap();
    }

    fn module(&mut self, file: &str, modinfo: &str) {
        self.put(&format!("{MODULES}/kernel/{file}"), &module_with(modinfo.as_bytes()));
    }

    fn prepare(&self) -> Result<BootMedia, ComposeError> {
        Ok(self.prepare_all(&[Start::Medium])?.remove(&Start::Medium).unwrap())
    }

    fn prepare_all(&self, starts: &[Start]) -> Result<BTreeMap<Start, BootMedia>, ComposeError> {
        let request = BootRequest {
            volume_id: "HATCHERY_1".into(),
            title: "Test".into(),
            image_name: "test-$(x)".into(),
            starts: starts.to_vec(),
            kernel_cmdline: "nosmt ".into(),
            arch: "amd64".into(),
            work_dir: self._dir.path().to_owned(),
        };
        prepare(&self.tree, &self.store, &request, &Unobserved)
    }
}

/// A static ELF file that has the names of busybox's applets in it.
fn busybox() -> Vec<u8> {
    let mut file = module_with(b"");
    for applet in ["", "cat", "cp", "dd", "insmod", "mkdir", "mount", "sh", "sleep", "switch_root", "umount", ""] {
        file.extend_from_slice(applet.as_bytes());
        file.push(0);
    }
    file
}

/// The files of an initramfs, read back by `cpio` of busybox or GNU; none when neither is installed.
fn unpacked(initramfs: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let dir = tempfile::tempdir().unwrap();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(initramfs).read_to_end(&mut plain).unwrap();
    let programs: [&[&str]; 2] = [&["cpio", "-id", "--quiet"], &["busybox", "cpio", "-id"]];
    let mut child = programs.iter().find_map(|program| {
        Command::new(program[0])
            .args(&program[1..])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    })?;
    child.stdin.take().unwrap().write_all(&plain).unwrap();
    child.wait().unwrap();
    let mut files = BTreeMap::new();
    let mut ahead = vec![dir.path().to_path_buf()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = entry.path().strip_prefix(dir.path()).unwrap().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            } else if entry.file_type().unwrap().is_file() {
                files.insert(name, std::fs::read(entry.path()).unwrap());
            }
        }
    }
    Some(files)
}

#[test]
fn the_initramfs_holds_what_it_takes_and_no_more() {
    let root = Root::new();
    let media = root.prepare().unwrap();
    assert_eq!(media, root.prepare().unwrap(), "the same tree gives the same bytes");
    assert_eq!(media.cmdline, "quiet nosmt");
    assert_eq!(media.grub_dir, "usr/lib/grub");
    let Some(files) = unpacked(&media.initramfs) else {
        println!("skipped: neither cpio nor busybox is installed");
        return;
    };
    let modules: Vec<&str> = files.keys().filter_map(|name| name.strip_prefix("lib/modules/")).collect();
    assert_eq!(
        modules,
        ["isofs.ko", "lzo_decompress.ko", "overlay.ko", "squashfs.ko", "usb_common.ko", "usb_storage.ko", "usbcore.ko"]
    );
    assert_eq!(files["bin/busybox"], busybox());
    let settings = String::from_utf8(files["lib/hatchery/settings.sh"].clone()).unwrap();
    assert!(settings.contains("label=HATCHERY_1\nname=test-x\ninit=/sbin/openrc-init\n"), "{settings}");
}

/// Runs the generated shell functions in a real shell, with `insmod` replaced by a word that says what would be loaded.
fn loaded_for(functions: &str, wanted: &str) -> Vec<String> {
    let script = format!("{MODULE_FUNCTIONS}{functions}\ninsmod() {{ echo \"$1\"; }}\nmatch \"$1\"");
    let output = Command::new("/bin/sh").args(["-euc", &script, "sh", wanted]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_start_matches("/lib/modules/").to_string()).collect()
}

#[test]
fn devices_and_names_load_a_module_and_all_it_needs_in_order() {
    let root = Root::new();
    let modules = Modules::collect(&root.tree, &root.store, MODULES).unwrap();
    let functions = modules.shell_functions();
    assert!(!functions.contains("rm)"), "an alias that means something to the shell got in: {functions}");
    let usb = ["usb_common.ko", "usbcore.ko", "usb_storage.ko"];
    assert_eq!(loaded_for(&functions, "usb:v0951p1666d0110dc00dsc00dp00ic08isc06ip50in00"), usb);
    assert_eq!(loaded_for(&functions, "usb-storage"), usb);
    assert_eq!(loaded_for(&functions, "usb:v0951p1666d0110dc00dsc00dp00ic03isc06ip50in00"), [""; 0]);
    assert_eq!(loaded_for(&functions, "fs-iso9660"), ["isofs.ko"]);
    assert_eq!(loaded_for(&functions, "squashfs"), ["lzo_decompress.ko", "squashfs.ko"]);
}

#[test]
fn the_init_s_folders_are_resolved_and_its_name_is_kept() {
    let mut root = Root::new();
    root.put("usr/bin/sysvinit", b"\x7fELF");
    root.tree.insert("usr/bin/init", Entry::symlink("sysvinit")).unwrap();
    root.tree.remove_all("sbin");
    root.tree.insert("sbin", Entry::symlink("/usr/bin")).unwrap();
    assert_eq!(init_of(&root.tree).unwrap(), "/usr/bin/init");
}

#[test]
fn compressed_modules_are_carried_plain() {
    let mut root = Root::new();
    let module = module_with(b"depends=\0");
    root.tree.remove_all(format!("{MODULES}/kernel/overlay.ko"));
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&module).unwrap();
    let mut gz = GzBuilder::new().write(Vec::new(), Compression::fast());
    gz.write_all(&module).unwrap();
    for (name, packed) in [
        ("overlay.ko.xz", xz.finish().unwrap()),
        ("ext4.ko.zst", zstd::encode_all(module.as_slice(), 1).unwrap()),
        ("vfat.ko.gz", gz.finish().unwrap()),
    ] {
        root.put(&format!("{MODULES}/kernel/{name}"), &packed);
    }
    let modules = Modules::collect(&root.tree, &root.store, MODULES).unwrap();
    for name in ["overlay", "ext4", "vfat"] {
        assert_eq!(modules.0[name].content, module, "{name}");
    }
}

#[test]
fn what_is_missing_is_named_with_the_package_to_add() {
    type Change = fn(&mut Root);
    let cases: [(Change, &str, &str); 7] = [
        (|r| assert!(r.tree.remove_all("boot") > 0), "no kernel", "sys-kernel/gentoo-kernel-bin"),
        (|r| assert!(r.tree.remove_all("bin") > 0), "no busybox", "sys-apps/busybox"),
        (|r| assert!(r.tree.remove_all("sbin") > 0), "no init", "sys-apps/openrc"),
        (|r| assert!(r.tree.remove_all("usr/lib/grub") > 0), "no boot loader", "sys-boot/grub"),
        (|r| assert!(r.tree.remove_all(format!("{MODULES}/kernel/isofs.ko")) > 0), "“isofs”", "sys-kernel/"),
        (|r| assert!(r.tree.remove_all(format!("{MODULES}/kernel/usbcore.ko")) > 0), "needs usbcore", "kernel"),
        (|r| r.put("bin/busybox", &module_with(b"")), "without “sh”", "sys-apps/busybox"),
    ];
    for (change, what, package) in cases {
        let mut root = Root::new();
        change(&mut root);
        let error = root.prepare().unwrap_err();
        assert!(error.message.contains(what) && error.advice.contains(package), "{what}: {error:?}");
    }
}

#[test]
fn a_dynamic_busybox_brings_its_libraries() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let mut root = Root::new();
    let libraries = Command::new("ldd").arg(std::env::current_exe().unwrap()).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for path in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = if path.contains("/ld-") {
            path.trim_start_matches('/').to_string()
        } else {
            format!("usr/lib64/{}", path.rsplit('/').next().unwrap())
        };
        let place = String::from_utf8(root.tree.resolve_parent(&place).unwrap()).unwrap();
        root.put(&place, &std::fs::read(path).unwrap());
    }
    let mut archive = Archive::default();
    programs::add_libraries(&mut archive, &root.tree, &root.store, &program).unwrap();
    assert!(archive.contains("usr/lib64/libc.so.6") && archive.contains("lib/libc.so.6"));
    root.tree.remove_all("usr/lib64/libc.so.6");
    let error = programs::add_libraries(&mut Archive::default(), &root.tree, &root.store, &program).unwrap_err();
    assert!(error.contains("libc.so.6 is not in the image"), "{error}");
}

/// A disk starts by what its kernel's package ships; a medium and the network do not, as it knows neither.
#[test]
fn a_kernel_s_own_initramfs_starts_disks() {
    let mut root = Root::new();
    let starts = [Start::Medium, Start::Disk, Start::Network];
    let own = root.prepare().unwrap();
    let shipped = b"\x28\xb5\x2f\xfd what gentoo-kernel-bin[generic-uki] ships";
    let in_boot = b"\x1f\x8b what genkernel made";
    let record = "var/db/pkg/sys-kernel/x-1/CONTENTS";
    let line = b"dir /boot\nobj /boot/initramfs-6.1.9-test.img 0123456789abcdef 1\n";
    type Change<'a> = &'a dyn Fn(&mut Root);
    let steps: [(Change, &[u8]); 4] = [
        (&|root| root.put("usr/src/linux-6.1.9-test/arch/x86/boot/initrd", b""), &own.initramfs),
        (&|root| root.put("boot/initramfs-6.1.9-test.img", in_boot), &own.initramfs),
        (&|root| root.put(record, line), in_boot),
        (&|root| root.put("usr/src/linux-6.1.9-test/arch/x86/boot/initrd", shipped), shipped),
    ];
    for (change, expected) in steps {
        change(&mut root);
        let all = root.prepare_all(&starts).unwrap();
        assert!(all[&Start::Disk].initramfs == expected);
        assert!(all[&Start::Medium] == own && all[&Start::Network] == own);
    }
    assert_eq!(root.prepare_all(&starts).unwrap()[&Start::Disk].words, image::MenuWords::None);
}

#[test]
fn the_scripts_are_shell() {
    let own = [("init.sh", INIT), ("modprobe.sh", MODPROBE), ("modules.sh", MODULE_FUNCTIONS)];
    for (name, script) in own.iter().chain(dracut::OWN_FILES) {
        for shell in [&["/bin/sh"][..], &["busybox", "sh"]] {
            let Ok(mut child) = Command::new(shell[0]).args(&shell[1..]).arg("-n").stdin(Stdio::piped()).spawn() else {
                println!("skipped: {} is not installed", shell[0]);
                continue;
            };
            child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(child.wait().unwrap().success(), "{name} in {shell:?}");
        }
    }
}

/// What the check of a medium in this folder ends with, by each shell that is there.
fn checked(folder: &std::path::Path) -> Vec<String> {
    let script =
        format!("base=$1\ncheck=yes\nsay() {{ echo \"$*\"; }}\nrescue() {{ echo \"$*\"; exit; }}\n{MEDIA}\ncheck_medium");
    let shells = [&["/bin/sh"][..], &["busybox", "sh"]].into_iter();
    let outputs = shells
        .filter_map(|shell| Command::new(shell[0]).args(&shell[1..]).args(["-uc", &script, "sh"]).arg(folder).output().ok());
    outputs.map(|output| String::from_utf8_lossy(&output.stdout).lines().last().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_check_finds_what_is_wrong_with_a_medium() {
    let dir = tempfile::tempdir().unwrap();
    let medium = dir.path().join("medium");
    std::fs::create_dir(&medium).unwrap();
    let mut root = vec![7; (8 << 20) + 5000];
    let sums: String = root.chunks(4 << 20).map(|part| format!("{}\n", BlobId::of(part))).collect();
    let all_say = |root: &[u8], expected: &str| {
        std::fs::write(medium.join("image.squashfs"), root).unwrap();
        let said = checked(dir.path());
        assert!(!said.is_empty() && said.iter().all(|said| said.contains(expected)), "{said:?}");
    };
    all_say(&root, "image.squashfs.sums is missing");
    std::fs::write(medium.join("image.squashfs.sums"), sums).unwrap();
    all_say(&root, "the medium is sound");
    all_say(&root[..root.len() - 1], "the medium is damaged: image.squashfs is not what it should be.");
    for at in [0, 5 << 20, root.len() - 1] {
        root[at] ^= 1;
        all_say(&root, "the medium is damaged: image.squashfs is not what it should be.");
        root[at] ^= 1;
    }
}

/// A 64-bit relocatable file with one section, `.modinfo`, as a kernel module has it.
fn module_with(modinfo: &[u8]) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let mut file = vec![0u8; 64];
    file[..6].copy_from_slice(b"\x7fELF\x02\x01");
    file[18] = 62;
    let modinfo_at = file.len() as u64;
    file.extend_from_slice(modinfo);
    let names_at = file.len() as u64;
    file.extend_from_slice(names);
    let table = file.len() as u64;
    for (name, offset, size) in [(0u32, 0u64, 0u64), (1, modinfo_at, modinfo.len() as u64), (10, names_at, names.len() as u64)] {
        let mut header = [0u8; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
        header[0x20..0x28].copy_from_slice(&size.to_le_bytes());
        file.extend_from_slice(&header);
    }
    file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    file[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
    file[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
    file[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
    file
}
