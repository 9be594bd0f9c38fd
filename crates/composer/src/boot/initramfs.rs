//! Which initramfs an image starts by, for each way to start.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use image::{Kind, MenuWords, Store, Tree};

use super::cpio::Archive;
use super::kernel::Kernel;
use super::modules::Modules;
use super::{BootRequest, Start, dracut, init_of, modules, programs};
use crate::ComposeError;
use crate::target_tool::Workplace;

pub(super) const INIT: &str = include_str!("init.sh");
pub(super) const MODPROBE: &str = include_str!("modprobe.sh");
pub(super) const MEDIA: &str = include_str!("media.sh");
const DHCP: &str = include_str!("dhcp.sh");
pub(super) const MODULE_FUNCTIONS: &str = include_str!("modules.sh");

/// The largest initramfs that is taken from a package, in bytes: one with all of linux-firmware has some 300 MB.
const MAX_PREBUILT: u64 = 1 << 30;
/// How an initramfs begins: cpio (newc), or one of the compressions that kernels know (Documentation/driver-api/early-userspace).
const BEGINNINGS: &[&[u8]] =
    &[b"070701", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ", b"BZh", b"\x5d\0\0", b"\x02\x21\x4c\x18", b"\x89LZO"];

/// An initramfs, and the words that it understands.
#[derive(Clone)]
pub(super) struct Initramfs {
    pub(super) bytes: Vec<u8>,
    pub(super) words: MenuWords,
}

/// Chooses, and makes each one once.
pub(super) struct Chooser<'a> {
    pub(super) tree: &'a Tree,
    pub(super) place: Workplace<'a>,
    pub(super) kernel: &'a Kernel,
    pub(super) request: &'a BootRequest,
    by_dracut: Option<Option<Initramfs>>,
    own: Option<Initramfs>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(tree: &'a Tree, place: Workplace<'a>, kernel: &'a Kernel, request: &'a BootRequest) -> Chooser<'a> {
        Chooser { tree, place, kernel, request, by_dracut: None, own: None }
    }

    /// A disk starts by what the kernel's package ships, else by dracut's; a medium by dracut's; and whatever there is nothing for, by one
    /// of our own. Over the network only our own starts: dracut's would need a network program and a root that it fetches by itself.
    ///
    /// # Errors
    /// A dracut that fails, or packages from which none of our own can be made.
    pub(super) fn choose(&mut self, start: Start) -> Result<Initramfs, ComposeError> {
        let found = match start {
            Start::Network => None,
            Start::Medium => self.by_dracut()?,
            Start::Disk => match prebuilt(self.tree, self.place.store, self.kernel)? {
                Some(bytes) => Some(Initramfs { bytes, words: MenuWords::None }),
                None => self.by_dracut()?,
            },
        };
        match found {
            Some(initramfs) => Ok(initramfs),
            None => self.own(),
        }
    }

    fn by_dracut(&mut self) -> Result<Option<Initramfs>, ComposeError> {
        if self.by_dracut.is_none() {
            let made = dracut::initramfs(self.tree, self.place, self.kernel, &self.request.volume_id)?;
            self.by_dracut = Some(made.map(|bytes| Initramfs { bytes, words: MenuWords::Dracut }));
        }
        Ok(self.by_dracut.clone().flatten())
    }

    fn own(&mut self) -> Result<Initramfs, ComposeError> {
        if let Some(own) = &self.own {
            return Ok(own.clone());
        }
        let (tree, store) = (self.tree, self.place.store);
        let modules = Modules::collect(tree, store, &self.kernel.modules_dir)?;
        let archive = archive(tree, store, &modules, self.request)?;
        tracing::debug!(kernel = self.kernel.release, modules = modules.0.len(), "initramfs made");
        let own = Initramfs { bytes: compressed(&archive.to_bytes())?, words: MenuWords::Hatchery };
        self.own = Some(own.clone());
        Ok(own)
    }
}

/// The initramfs that a kernel's package brings: gentoo-kernel-bin with USE=generic-uki has a generic one beside its kernel, and packages
/// of kernels made by genkernel have theirs in /boot. Empty files stand for none, and one in /boot that no package owns was made on the
/// machine that builds, for it.
fn prebuilt(tree: &Tree, store: &Store, kernel: &Kernel) -> Result<Option<Vec<u8>>, ComposeError> {
    let Kernel { release, modules_dir, .. } = kernel;
    let beside = [format!("{modules_dir}/initrd"), format!("usr/src/linux-{release}/arch/x86/boot/initrd")];
    let in_boot = ["initramfs", "initramfs-genkernel-x86_64", "initramfs-genkernel-x86"];
    let in_boot = in_boot.iter().flat_map(|name| [format!("boot/{name}-{release}.img"), format!("boot/{name}-{release}")]);
    for (path, must_be_owned) in beside.into_iter().map(|path| (path, false)).chain(in_boot.map(|path| (path, true))) {
        let Ok((_, entry)) = tree.lookup(&path) else { continue };
        let Kind::File { blob, size: 1..=MAX_PREBUILT, .. } = &entry.kind else { continue };
        if must_be_owned && !is_owned(tree, store, &path)? {
            continue;
        }
        let bytes = store.read(blob)?;
        if BEGINNINGS.iter().any(|beginning| bytes.starts_with(beginning)) {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// Whether a package's CONTENTS has the file.
fn is_owned(tree: &Tree, store: &Store, path: &str) -> Result<bool, ComposeError> {
    let line = format!("obj /{path} ");
    let folders = |path: &str| -> Vec<String> {
        let below = tree.children(path);
        below.iter().filter_map(|(name, _)| Some(format!("{path}/{}", std::str::from_utf8(name).ok()?))).collect()
    };
    for package in folders("var/db/pkg").iter().flat_map(|category| folders(category)) {
        let contents = tree.read_file(store, format!("{package}/CONTENTS"))?.unwrap_or_default();
        if contents.split(|byte| *byte == b'\n').any(|own| own.starts_with(line.as_bytes())) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One of our own, from the image's busybox and kernel modules.
fn archive(tree: &Tree, store: &Store, modules: &Modules, request: &BootRequest) -> Result<Archive, ComposeError> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "run", "newroot"] {
        archive.dir(dir);
    }
    // The kernel opens the console for /init before anything is mounted.
    archive.char_device("dev/console", 0o600, 5, 1);
    archive.char_device("dev/null", 0o666, 1, 3);
    archive.file("init", 0o755, INIT);
    archive.file("sbin/modprobe", 0o755, MODPROBE);
    archive.file("lib/hatchery/modules.sh", 0o644, format!("{MODULE_FUNCTIONS}{}", modules.shell_functions()));
    archive.file("lib/hatchery/media.sh", 0o644, MEDIA);
    archive.file("lib/hatchery/dhcp.sh", 0o755, DHCP);
    archive.file("lib/hatchery/settings.sh", 0o644, settings(request, &init_of(tree)?));
    for (name, module) in &modules.0 {
        archive.file(&format!("lib/modules/{name}.ko"), 0o644, module.content.as_slice());
    }
    programs::add_busybox(&mut archive, tree, store)?;
    Ok(archive)
}

/// What /init starts from; the kernel's command line can change each.
fn settings(request: &BootRequest, init: &str) -> String {
    let early: Vec<&str> = modules::EARLY.to_vec();
    // The name is only said; anything that could mean something to the shell is left out.
    let name: String = request.image_name.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    format!("label={}\nname={name}\ninit={init}\npatience=60\ntoram=\nearly_modules=\"{}\"\n", request.volume_id, early.join(" "))
}

/// gzip, which every kernel takes; without a name or a time, so that the same content gives the same bytes.
fn compressed(archive: &[u8]) -> Result<Vec<u8>, ComposeError> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    encoder.write_all(archive).and_then(|()| encoder.finish()).map_err(|e| {
        ComposeError::new(format!("The initramfs could not be compressed: {e}."), "Check how much memory the worker has left.")
    })
}
