//! An initramfs by the image's own dracut, run in the sandbox: Gentoo's way, for whoever orders sys-kernel/dracut.

use image::{Kind, Tree};

use super::initramfs::MEDIA;
use super::kernel::Kernel;
use crate::ComposeError;
use crate::target_tool::{self, Workplace};

const PROGRAM: &str = "usr/bin/dracut";
const MODULES: &str = "usr/lib/dracut/modules.d";
/// What dracut's own modules cannot do with a medium, as one more of them.
const OWN_MODULE: &str = "usr/lib/dracut/modules.d/91hatchery-media";
pub(super) const OWN_FILES: &[(&str, &str)] = &[
    ("module-setup.sh", include_str!("dracut-module.sh")),
    ("dracut-media.sh", include_str!("dracut-media.sh")),
    ("media.sh", MEDIA),
];
const OUTPUT: &str = "boot/hatchery-initramfs.img";
/// Where dracut finds the parameters that go into the initramfs.
const PARAMETERS: &str = "usr/lib/hatchery/dracut-cmdline";
/// Seconds; it takes half a minute on an idle machine.
const LIMIT: u64 = 1800;
/// The largest initramfs that is taken, in bytes: one with all of linux-firmware has some 300 MB.
const MAX_INITRAMFS: u64 = 1 << 30;
/// What dracut does without, so that it need not be put on disk for it.
const UNNEEDED: &[&str] =
    &["home", "usr/include", "usr/share/doc", "usr/share/i18n", "usr/share/info", "usr/share/man", "usr/src", "var/db"];

/// Makes the initramfs, for any machine and with the means to start from a live medium. None where the image has no dracut that could.
///
/// # Errors
/// A dracut that fails, with its last lines.
pub(super) fn initramfs(
    tree: &Tree,
    place: Workplace<'_>,
    kernel: &Kernel,
    volume_id: &str,
) -> Result<Option<Vec<u8>>, ComposeError> {
    if !has_live_dracut(tree) {
        return Ok(None);
    }
    place.observer.log("making the initramfs with the image's own dracut");
    let mut scratch = tree.clone();
    for path in UNNEEDED {
        scratch.remove_all(path);
    }
    scratch.make_dirs("var/tmp")?;
    scratch.make_dirs("boot")?;
    scratch.make_dirs("usr/lib/hatchery")?;
    scratch.write_file(place.store, PARAMETERS, parameters(volume_id).as_bytes(), 0o644)?;
    scratch.make_dirs(OWN_MODULE)?;
    for (name, text) in OWN_FILES {
        scratch.write_file(place.store, format!("{OWN_MODULE}/{name}"), text.as_bytes(), 0o755)?;
    }
    let release = kernel.release.as_str();
    let depmod = ["depmod", "-a", release];
    let (out, included) = (format!("/{OUTPUT}"), format!("/{PARAMETERS}"));
    // No part of the machine that builds is looked at, and the same input gives the same bytes (dracut(8)).
    let how = ["--force", "--no-hostonly", "--no-hostonly-cmdline", "--reproducible", "--gzip"];
    let what = [
        "--add",
        "dmsquash-live hatchery-media",
        "--include",
        &included,
        "/etc/cmdline.d/hatchery.conf",
        "--kver",
        release,
        &out,
    ];
    let dracut = [&["dracut"][..], &how, &what].concat();
    let words = |argv: &[&str]| argv.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let ran = target_tool::run(place, &mut scratch, &[words(&depmod), words(&dracut)], LIMIT)?;
    let content = match scratch.lookup(OUTPUT).map(|(_, entry)| &entry.kind) {
        Ok(Kind::File { blob, size, .. }) if *size <= MAX_INITRAMFS => Some(place.store.read(blob)?),
        _ => None,
    };
    let output = ran.last().map(|ran| ran.tail.clone()).unwrap_or_default();
    match content {
        Some(content) if ran.iter().all(|ran| ran.succeeded()) => Ok(Some(content)),
        _ => Err(ComposeError::new(
            "The image's own dracut could not make an initramfs.",
            "Its last lines say what it misses: add that, or leave sys-kernel/dracut out, and Hatchery makes one of its own.",
        )
        .with_output(output)),
    }
}

/// Whether there is a dracut with the module for live media.
fn has_live_dracut(tree: &Tree) -> bool {
    let Ok(modules) = tree.resolve(MODULES) else { return false };
    tree.lookup(PROGRAM).is_ok_and(|(_, entry)| entry.is_file())
        && tree.children(&modules).iter().any(|(name, _)| name.ends_with(b"dmsquash-live"))
}

/// What dracut's initramfs takes for granted: a medium of Hatchery's by its label (dracut.cmdline(7), "Booting live images"). It stands in
/// the initramfs and not on the kernel's command line, where `root=` of a disk goes before it.
fn parameters(volume_id: &str) -> String {
    format!("root=live:CDLABEL={volume_id} rd.live.dir=/ rd.live.squashimg=image.squashfs rd.live.overlay.overlayfs=1\n")
}
