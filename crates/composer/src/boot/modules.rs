//! The kernel modules an initramfs carries: chosen by name, with all they need, and a table that says which device asks for which.
//!
//! What a module needs and which devices it serves is read from the module itself (`.modinfo`, see the kernel's
//! include/linux/module.h), so it does not matter whether depmod has run in the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read;

use gentoo::elf::Elf;
use image::{BlobId, Kind, Store, Tree};

use crate::ComposeError;

/// Loaded before any device is looked at: what the root is made of, and buses that announce nothing.
pub(super) const EARLY: &[&str] = &["loop", "isofs", "squashfs", "overlay", "sr_mod", "sd_mod", "i8042", "atkbd"];

/// Without these, as modules or built in, the medium cannot be used at all.
const REQUIRED: &[&str] = &["loop", "isofs", "squashfs", "overlay"];

/// Loaded when a device asks for them. Those a kernel does not have are left out.
const ON_DEMAND: &[&str] = &[
    // Virtual machines.
    "virtio_pci",
    "virtio_mmio",
    "virtio_blk",
    "virtio_scsi",
    "virtio_net",
    "hv_vmbus",
    "hv_storvsc",
    "hyperv_keyboard",
    "xen_blkfront",
    "vmw_pvscsi",
    "mptspi",
    "mptsas",
    "e1000",
    // Disks and their controllers.
    "ahci",
    "ata_piix",
    "ata_generic",
    "pata_acpi",
    "sata_nv",
    "sata_sil",
    "sata_via",
    "nvme",
    "vmd",
    "megaraid_sas",
    "mpt3sas",
    "sdhci_pci",
    "sdhci_acpi",
    "mmc_block",
    "rtsx_pci",
    "rtsx_pci_sdmmc",
    // USB and keyboards, for the rescue shell.
    "xhci_pci",
    "ehci_pci",
    "uhci_hcd",
    "ohci_pci",
    "usb_storage",
    "uas",
    "usbhid",
    "hid_generic",
    // Network cards, and the packets that ask for an address.
    "af_packet",
    "e1000e",
    "igb",
    "igc",
    "r8169",
    "tg3",
    "atlantic",
    "8139cp",
    "8139too",
    "vmxnet3",
    "xen_netfront",
    "hv_netvsc",
    // Filesystems and what they want by name.
    "udf",
    "ext4",
    "btrfs",
    "xfs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "nls_iso8859_1",
    "nls_utf8",
    "crc32c_generic",
    "crc32c_intel",
];

/// A module is some MB at the very most; more is a bomb.
const MAX_MODULE: u64 = 64 << 20;

/// One module that goes into the initramfs.
#[derive(Debug)]
pub(super) struct Module {
    /// The ELF file, decompressed.
    pub(super) content: Vec<u8>,
    /// All it needs, direct and indirect, in an order that can be loaded; itself last.
    pub(super) closure: Vec<String>,
    /// Patterns over the modaliases of devices, and other names the kernel asks for it by.
    aliases: Vec<String>,
}

/// The modules of an initramfs, by normalized name (`usb_storage`).
#[derive(Debug, Default)]
pub(super) struct Modules(pub(super) BTreeMap<String, Module>);

/// The module files below one kernel's folder, and what is built in.
struct Available<'a> {
    dir: &'a str,
    store: &'a Store,
    files: BTreeMap<String, BlobId>,
    builtin: BTreeSet<String>,
}

/// What `.modinfo` says.
#[derive(Default)]
struct Info {
    depends: Vec<String>,
    soft_depends: Vec<String>,
    aliases: Vec<String>,
}

impl Modules {
    /// Collects the modules an image needs to boot from the folder of one kernel (`usr/lib/modules/6.1.38-gentoo-dist`).
    ///
    /// # Errors
    /// A kernel without a needed driver, a damaged module, a module whose dependency is absent.
    pub(super) fn collect(tree: &Tree, store: &Store, dir: &str) -> Result<Modules, ComposeError> {
        let available = Available::list(tree, store, dir)?;
        if let Some(missing) = REQUIRED.iter().find(|name| !available.has(name)) {
            return Err(ComposeError::new(
                format!("The kernel in /{dir} has no “{missing}” driver, so it cannot start from a medium."),
                "Choose another kernel, such as sys-kernel/gentoo-kernel-bin.",
            ));
        }
        let mut infos = BTreeMap::new();
        let mut contents = BTreeMap::new();
        let mut ahead: Vec<String> =
            EARLY.iter().chain(ON_DEMAND).filter(|name| available.files.contains_key(**name)).map(|n| n.to_string()).collect();
        while let Some(name) = ahead.pop() {
            if infos.contains_key(&name) {
                continue;
            }
            let content = available.read(&name)?;
            let mut info = Info::read(&content).map_err(|why| available.damaged(&name, why))?;
            info.soft_depends.retain(|dep| available.files.contains_key(dep));
            info.depends.retain(|dep| !available.builtin.contains(dep));
            if let Some(absent) = info.depends.iter().find(|dep| !available.files.contains_key(*dep)) {
                return Err(available.damaged(&name, format!("it needs {absent}, which is not there")));
            }
            ahead.extend(info.depends.iter().chain(&info.soft_depends).cloned());
            contents.insert(name.clone(), content);
            infos.insert(name, info);
        }
        let closures: BTreeMap<String, Vec<String>> = infos.keys().map(|name| (name.clone(), closure(name, &infos))).collect();
        let modules = infos
            .into_iter()
            .zip(contents)
            .zip(closures)
            .map(|(((name, info), (_, content)), (_, closure))| (name, Module { content, closure, aliases: info.aliases }));
        Ok(Modules(modules.collect()))
    }

    /// The shell functions `match` and `closure` (see modules.sh) for these modules.
    ///
    /// Every word of a module that ends up in the shell text is checked character by character: a pattern with anything but the
    /// letters of real aliases is left out.
    pub(super) fn shell_functions(&self) -> String {
        let mut text = String::from("match() {\n    case $1 in\n");
        let by_bus = self.patterns_by_bus();
        for (bus, modules) in &by_bus {
            let _ = writeln!(text, "        {bus}:*)");
            for (name, patterns) in modules {
                let _ = writeln!(text, "            case $1 in {}) load {name} ;; esac", patterns.join("|"));
            }
            text.push_str("            ;;\n");
        }
        text.push_str("        *)\n");
        for (name, module) in &self.0 {
            let mut patterns = vec![name.replace('_', "[-_]")];
            patterns.extend(module.aliases.iter().filter(|a| is_pattern(a) && !a.contains(':')).cloned());
            let _ = writeln!(text, "            case $1 in {}) load {name} ;; esac", patterns.join("|"));
        }
        text.push_str("            ;;\n    esac\n}\n\nclosure() {\n    case $1 in\n");
        for (name, module) in &self.0 {
            let _ = writeln!(text, "        {name}) modules=\"{}\" ;;", module.closure.join(" "));
        }
        text.push_str("        *) ;;\n    esac\n}\n");
        text
    }

    /// Patterns of the kind `bus:…`, grouped by the bus and the module, so that a device is compared with those of its own bus only.
    fn patterns_by_bus(&self) -> BTreeMap<&str, BTreeMap<&str, Vec<&str>>> {
        let mut by_bus: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
        for (name, module) in &self.0 {
            for alias in module.aliases.iter().filter(|alias| is_pattern(alias)) {
                if let Some((bus, _)) = alias.split_once(':')
                    && is_module_name(bus)
                {
                    by_bus.entry(bus).or_default().entry(name).or_default().push(alias);
                }
            }
        }
        by_bus
    }
}

impl<'a> Available<'a> {
    fn list(tree: &Tree, store: &'a Store, dir: &'a str) -> Result<Available<'a>, ComposeError> {
        let mut files = BTreeMap::new();
        for (path, entry) in tree.below(dir) {
            let Kind::File { blob, .. } = &entry.kind else { continue };
            let path = String::from_utf8_lossy(path);
            let file = path.rsplit('/').next().unwrap_or_default();
            let Some((stem, "ko" | "ko.xz" | "ko.zst" | "ko.gz")) = file.split_once('.') else { continue };
            let name = normalized(stem);
            if is_module_name(&name) {
                files.insert(name, *blob);
            }
        }
        let builtin = tree.read_file(store, format!("{dir}/modules.builtin"))?.unwrap_or_default();
        let builtin = String::from_utf8_lossy(&builtin)
            .lines()
            .filter_map(|line| line.rsplit('/').next()?.strip_suffix(".ko").map(normalized))
            .collect();
        Ok(Available { dir, store, files, builtin })
    }

    fn has(&self, name: &str) -> bool {
        self.files.contains_key(name) || self.builtin.contains(name)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, ComposeError> {
        let blob = self.files.get(name).ok_or_else(|| self.damaged(name, "it is not there".into()))?;
        let raw = self.store.read(blob)?;
        decompressed(raw).map_err(|why| self.damaged(name, why))
    }

    fn damaged(&self, name: &str, why: String) -> ComposeError {
        ComposeError::new(
            format!("The kernel module {name} in /{} cannot be used: {why}.", self.dir),
            "Choose another build of the kernel.",
        )
    }
}

impl Info {
    fn read(module: &[u8]) -> Result<Info, String> {
        let section = Elf::parse(module).and_then(|elf| elf.section(".modinfo")).map_err(|e| e.to_string())?;
        let section = section.ok_or("it has no .modinfo section")?;
        let mut info = Info::default();
        for line in section.split(|byte| *byte == 0) {
            let line = String::from_utf8_lossy(line);
            match line.split_once('=') {
                Some(("depends", list)) => info.depends = list.split(',').filter(|n| !n.is_empty()).map(normalized).collect(),
                Some(("alias", alias)) => info.aliases.push(alias.to_string()),
                Some(("softdep", text)) => info.soft_depends.extend(before(text)),
                _ => {}
            }
        }
        Ok(info)
    }
}

/// The modules a `softdep` line (`pre: a b post: c`) wants loaded before, and those after: both are carried and loaded before, which
/// suits the drivers chosen here and is simple.
fn before(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().filter(|word| !word.ends_with(':')).map(normalized)
}

/// A module and all it needs, each after what it needs itself. Cycles, which no kernel has, are cut.
fn closure(name: &str, infos: &BTreeMap<String, Info>) -> Vec<String> {
    let mut order = Vec::new();
    let mut done = BTreeSet::new();
    // A stack of (module, whether all it needs has been put before it), instead of recursion of a depth others decide.
    let mut stack = vec![(name.to_string(), false)];
    while let Some((module, ready)) = stack.pop() {
        if ready {
            order.push(module);
            continue;
        }
        if !done.insert(module.clone()) {
            continue;
        }
        stack.push((module.clone(), true));
        if let Some(info) = infos.get(&module) {
            stack.extend(info.depends.iter().chain(&info.soft_depends).rev().map(|dep| (dep.clone(), false)));
        }
    }
    order
}

/// Decompresses a module by its magic bytes; the initramfs as a whole is compressed instead.
fn decompressed(raw: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut reader: Box<dyn Read + '_> = match raw.get(..4) {
        Some([0xfd, b'7', b'z', b'X']) => Box::new(liblzma::read::XzDecoder::new(raw.as_slice())),
        Some([0x28, 0xb5, 0x2f, 0xfd]) => Box::new(zstd::Decoder::new(raw.as_slice()).map_err(|e| e.to_string())?),
        Some([0x1f, 0x8b, ..]) => Box::new(flate2::read::GzDecoder::new(raw.as_slice())),
        _ => return Ok(raw),
    };
    let mut content = Vec::new();
    reader.by_ref().take(MAX_MODULE + 1).read_to_end(&mut content).map_err(|e| format!("it cannot be decompressed ({e})"))?;
    if content.len() as u64 > MAX_MODULE {
        return Err("it is larger than any module should be".into());
    }
    Ok(content)
}

/// Module names count `-` and `_` as equal; `_` is what the running kernel shows.
fn normalized(name: &str) -> String {
    name.replace('-', "_")
}

fn is_module_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether an alias can stand in a shell pattern as it is, and means the same there.
fn is_pattern(alias: &str) -> bool {
    !alias.is_empty() && alias.bytes().all(|b| b.is_ascii_alphanumeric() || b":*?[]-_.,+".contains(&b))
}
