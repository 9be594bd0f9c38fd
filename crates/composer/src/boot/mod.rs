//! What an image needs to start from a medium: its kernel, and an initramfs that finds the medium and mounts the root.
//!
//! Where the image has a dracut that can, the initramfs is dracut's, made in the sandbox; a disk starts by the one that its kernel's package
//! ships. Otherwise it is one of our own, made from the image's busybox and kernel modules without running any of them.

mod cpio;
mod dracut;
mod initramfs;
mod kernel;
mod modules;
mod programs;

use std::collections::BTreeMap;
use std::path::PathBuf;

use image::{BootMedia, Store, Tree};

use self::initramfs::Chooser;
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
    /// The ways to start that are wanted.
    pub starts: Vec<Start>,
    /// Words of the person's own for the kernel's command line; may be empty.
    pub kernel_cmdline: String,
    /// Gentoo's name of the image's architecture.
    pub arch: String,
    /// A directory for the sandbox, in which the image's own dracut runs; several builds may share it.
    pub work_dir: PathBuf,
}

/// A way to start, by where the root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Start {
    /// A squashfs on a CD or stick.
    Medium,
    /// A partition, named by the kernel's command line.
    Disk,
    /// A squashfs on a web server.
    Network,
}

/// Finds the kernel and makes or takes the initramfs for each way to start that is asked for. The same tree gives the same bytes.
///
/// # Errors
/// A dracut that fails. No kernel, busybox, init or boot loader among the packages (the message names the one to add), or a damaged one.
pub fn prepare(
    tree: &Tree,
    store: &Store,
    request: &BootRequest,
    observer: &dyn Observer,
) -> Result<BTreeMap<Start, BootMedia>, ComposeError> {
    check_volume_id(&request.volume_id)?;
    let kernel = kernel::find(tree, store)?;
    let place = Workplace { store, work_dir: &request.work_dir, arch: &request.arch, observer };
    let mut chooser = Chooser::new(tree, place, &kernel, request);
    let mut media = |start: &Start| {
        let initramfs = chooser.choose(*start)?;
        let media = BootMedia {
            kernel: kernel.image,
            initramfs: initramfs.bytes,
            words: initramfs.words,
            volume_id: request.volume_id.clone(),
            title: request.title.clone(),
            release: kernel.release.clone(),
            cmdline: format!("quiet {}", request.kernel_cmdline.trim()).trim_end().to_owned(),
            grub_dir: boot_loader(tree)?,
        };
        Ok((*start, media))
    };
    request.starts.iter().map(&mut media).collect()
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

#[cfg(test)]
mod tests;
