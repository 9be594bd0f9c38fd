//! What an image needs to start from a medium: its kernel, and an initramfs that finds the medium and mounts the root.
//!
//! Where the image has a dracut that can, the initramfs is dracut's, made in the sandbox. Otherwise it is one of our own, made from the
//! image's busybox and kernel modules without running any of them.

mod cpio;
mod dracut;
mod kernel;
mod modules;
mod programs;

use std::io::Write;
use std::path::PathBuf;

use flate2::{Compression, GzBuilder};
use image::{BootMedia, Store, Tree};

use self::cpio::Archive;
use self::kernel::Kernel;
use self::modules::Modules;
use crate::target_tool::Workplace;
use crate::{ComposeError, Observer};

/// What the medium is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRequest {
    /// The ISO's volume label, by which the initramfs finds it: 1 to 32 of `A-Z`, `0-9`, `_`. Unlike any other medium's, if possible.
    pub volume_id: String,
    /// The name shown in the boot menu.
    pub title: String,
    /// The image's name, said while it starts.
    pub image_name: String,
    /// Words of the person's own for the kernel's command line; may be empty.
    pub kernel_cmdline: String,
    /// Gentoo's name of the image's architecture.
    pub arch: String,
    /// A directory for the sandbox, in which the image's own dracut runs; several builds may share it.
    pub work_dir: PathBuf,
}

const INIT: &str = include_str!("init.sh");
const MODPROBE: &str = include_str!("modprobe.sh");
const MEDIA: &str = include_str!("media.sh");
const DHCP: &str = include_str!("dhcp.sh");
const MODULE_FUNCTIONS: &str = include_str!("modules.sh");

/// Finds the kernel and makes the initramfs. The same tree gives the same bytes.
///
/// # Errors
/// A dracut that fails. No kernel, busybox, init or boot loader among the packages (the message names the one to add), or a damaged one.
pub fn prepare(tree: &Tree, store: &Store, request: &BootRequest, observer: &dyn Observer) -> Result<BootMedia, ComposeError> {
    check_volume_id(&request.volume_id)?;
    let kernel = kernel::find(tree, store)?;
    let place = Workplace { store, work_dir: &request.work_dir, arch: &request.arch, observer };
    let initramfs = match dracut::initramfs(tree, place, &kernel, &request.volume_id)? {
        Some(initramfs) => initramfs,
        None => own_initramfs(tree, store, &kernel, request)?,
    };
    Ok(BootMedia {
        kernel: kernel.image,
        initramfs,
        volume_id: request.volume_id.clone(),
        title: request.title.clone(),
        release: kernel.release,
        cmdline: format!("quiet {}", request.kernel_cmdline.trim()).trim_end().to_owned(),
        grub_dir: boot_loader(tree)?,
    })
}

fn own_initramfs(tree: &Tree, store: &Store, kernel: &Kernel, request: &BootRequest) -> Result<Vec<u8>, ComposeError> {
    let modules = Modules::collect(tree, store, &kernel.modules_dir)?;
    let archive = initramfs(tree, store, &modules, request)?;
    tracing::debug!(kernel = kernel.release, modules = modules.0.len(), "initramfs made");
    compressed(&archive.to_bytes())
}

/// The label stands in shell text and on the kernel's command line.
fn check_volume_id(volume_id: &str) -> Result<(), ComposeError> {
    let fine = (1..=32).contains(&volume_id.len())
        && volume_id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    match fine {
        true => Ok(()),
        false => Err(ComposeError::new(
            format!("“{}” cannot be the label of a medium.", volume_id.escape_debug()),
            "Use 1 to 32 of the letters A to Z, digits and underscores.",
        )),
    }
}

fn initramfs(tree: &Tree, store: &Store, modules: &Modules, request: &BootRequest) -> Result<Archive, ComposeError> {
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

/// The program that becomes process 1 of the system. Folders on its path that are links are resolved here, because an absolute one
/// would lead /init into the initramfs; the last part stays, because some programs go by the name they are called.
fn init_of(tree: &Tree) -> Result<String, ComposeError> {
    let found = ["sbin/init", "usr/sbin/init", "sbin/openrc-init", "usr/lib/systemd/systemd", "lib/systemd/systemd"]
        .into_iter()
        .find(|path| tree.lookup(path).is_ok_and(|(_, entry)| entry.is_file()));
    let Some(path) = found else {
        return Err(ComposeError::new(
            "There is no init in the image, so nothing would run once the kernel has started.",
            "Add sys-apps/openrc (with sys-apps/sysvinit, or USE=sysv-utils) or sys-apps/systemd.",
        ));
    };
    let real = String::from_utf8(tree.resolve_parent(path)?).unwrap_or_default();
    let fine = !real.is_empty() && real.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    Ok(format!("/{}", if fine { &real } else { path }))
}

/// The folder of GRUB's modules.
fn boot_loader(tree: &Tree) -> Result<String, ComposeError> {
    ["usr/lib/grub", "lib/grub"]
        .into_iter()
        .find(|dir| tree.lookup(dir).is_ok_and(|(_, entry)| entry.is_dir()))
        .map(String::from)
        .ok_or_else(|| ComposeError::new("There is no boot loader in the image.", "Add sys-boot/grub."))
}

/// gzip, which every kernel takes; without a name or a time, so that the same content gives the same bytes.
fn compressed(archive: &[u8]) -> Result<Vec<u8>, ComposeError> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::default());
    encoder.write_all(archive).and_then(|()| encoder.finish()).map_err(|e| {
        ComposeError::new(format!("The initramfs could not be compressed: {e}."), "Check how much memory the worker has left.")
    })
}

#[cfg(test)]
mod tests;
