//! A hybrid ISO: boots as CD and from a USB stick, on BIOS and on UEFI. The root is a squashfs image in it.
//!
//! `/boot/kernel`, `/boot/initramfs`, `/boot/grub/grub.cfg`, `/image.squashfs` and its checksum; `xorriso` lays it out. For BIOS there is an El Torito image
//! and a hybrid MBR, for UEFI a FAT image, appended as GPT partition 2 and named as the second El Torito entry.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::fat;
use crate::grub::{self, Boot, BootPrograms};
use crate::menu::{self, MenuWords};
use crate::netboot::sha256;
use crate::squashfs::{SquashCompressor, Squashfs};
use crate::store::{BlobId, Store};
use crate::tool;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport};
use crate::zip_record::civil;

/// What makes a tree bootable from a medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootMedia {
    /// The kernel (bzImage).
    pub kernel: BlobId,
    /// The initramfs, whole. It finds the medium by the volume's label and the root in `/image.squashfs` there.
    pub initramfs: Vec<u8>,
    /// What the menu can ask of it.
    pub words: MenuWords,
    /// The ISO's volume label: 1 to 32 of `A-Z`, `0-9`, `_`.
    pub volume_id: String,
    /// The name shown in the boot menu.
    pub title: String,
    /// The kernel's release, as `uname -r` says it; names files in `/boot` of a disk.
    pub release: String,
    /// Kernel parameters besides those that name the root and the consoles.
    pub cmdline: String,
    /// Where GRUB's modules are in the tree, normally `usr/lib/grub`, with `i386-pc`, `x86_64-efi`, `i386-efi` below.
    pub grub_dir: String,
}

/// The root on the medium, and the text that `sha256sum -c` checks it by.
const ROOT: &str = "image.squashfs";
const ROOT_SUM: &str = "image.squashfs.sha256";

/// Writes a bootable ISO. Firmware that the tree has no GRUB modules for is named in the report.
///
/// # Errors
/// `Boot` when the tree has no GRUB at all or `boot` cannot be put into a menu; else those of [`Error`]. The output appears only when it
/// is whole.
pub fn write_iso(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    boot.check()?;
    let workspace = Workspace::beside(out)?;
    let squashfs_work = tree.totals().bytes;
    // Laying out is copying; it is counted as a fifth of compressing.
    let layout_work = squashfs_work / 5;
    let mut meter = Meter::new(progress, squashfs_work + layout_work);
    meter.check()?;

    let early = format!("search --no-floppy --set=root --label {}\nset prefix=($root)/boot/grub\n", boot.volume_id);
    let programs = grub::prepare(tree, store, &workspace, &Boot::iso(boot, &early, options))?;
    let efi = efi_partition(&workspace, &programs)?;
    let mut notes = Squashfs { tree, store, compressor: SquashCompressor::Zstd, options }.make(&workspace, ROOT, &mut meter)?;
    let files = put_files(store, boot, &programs, &workspace)?;
    let out = workspace.path("image.iso");
    let args = xorriso_args(&files, &programs, efi.as_deref(), boot, options, &out);
    lay_out(&files, args, options, &workspace, &mut meter, layout_work)?;
    workspace.publish("image.iso")?;
    notes.extend(programs.notes);
    Ok(WriteReport { notes })
}

impl BootMedia {
    /// Checks what ends up in GRUB's configuration, which is a script.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let label_ok = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if self.volume_id.is_empty() || self.volume_id.len() > 32 || !self.volume_id.bytes().all(label_ok) {
            return Err(Error::Boot(format!(
                "“{}” cannot be the medium's label: use 1 to 32 of A-Z, 0-9 and _",
                self.volume_id.escape_debug()
            )));
        }
        let word_ok = |c: char| c.is_ascii_alphanumeric() || " ,.:=/_@+%-".contains(c);
        if let Some(bad) = self.cmdline.chars().find(|c| !word_ok(*c)) {
            return Err(Error::Boot(format!("the kernel's parameters contain {bad:?}, which the boot menu cannot pass on")));
        }
        if self.release.is_empty() || !self.release.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b)) {
            return Err(Error::Boot(format!("“{}” is not a kernel's release", self.release.escape_debug())));
        }
        if let Some(bad) = self.title.chars().find(|c| c.is_control()) {
            return Err(Error::Boot(format!("the boot menu's title contains {bad:?}")));
        }
        Ok(())
    }
}

/// A file on the medium and where it is on the host.
type Graft = (&'static str, PathBuf);

fn put_files(store: &Store, boot: &BootMedia, programs: &BootPrograms, workspace: &Workspace) -> Result<Vec<Graft>, Error> {
    let (kernel, mut file) = workspace.create("kernel")?;
    store.copy(&boot.kernel, &mut file).map_err(|e| Error::content(b"boot/kernel", e))?;
    let initramfs = workspace.path("initramfs");
    fs::write(&initramfs, &boot.initramfs).map_err(|e| Error::io(&initramfs, e))?;
    let config = workspace.path("grub.cfg");
    let entries = menu::medium_entries(&format!("hatchery.label={}", boot.volume_id), boot.words);
    let text = menu::grub_cfg(boot, "/boot/kernel", "/boot/initramfs", &entries);
    fs::write(&config, text).map_err(|e| Error::io(&config, e))?;
    let sum = workspace.path(ROOT_SUM);
    let digest = sha256(&workspace.path(ROOT))?;
    fs::write(&sum, format!("{digest}  {ROOT}\n")).map_err(|e| Error::io(&sum, e))?;
    let mut files = vec![
        ("boot/grub/grub.cfg", config),
        ("boot/initramfs", initramfs),
        ("boot/kernel", kernel),
        (ROOT, workspace.path(ROOT)),
        (ROOT_SUM, sum),
    ];
    if let Some(bios) = &programs.bios {
        files.push(("boot/grub/eltorito.img", bios.core.clone()));
    }
    Ok(files)
}

/// The EFI system partition as a file; `None` when there is no program for it.
fn efi_partition(workspace: &Workspace, programs: &BootPrograms) -> Result<Option<PathBuf>, Error> {
    if programs.efi.is_empty() {
        return Ok(None);
    }
    let path = workspace.path("efi.img");
    // Every medium has the same serial number: it is the ISO's label that tells them apart.
    let volume = fat::Volume { label: "EFI", serial: u32::from_le_bytes(*b"HTCH"), least: 0 };
    fs::write(&path, fat::filesystem(&volume, &grub::efi_folder(&programs.efi))?).map_err(|e| Error::io(&path, e))?;
    Ok(Some(path))
}

/// Runs xorriso, telling progress by the size of what it has written.
fn lay_out(
    files: &[Graft],
    args: Vec<OsString>,
    options: &WriteOptions,
    workspace: &Workspace,
    meter: &mut Meter,
    work: u64,
) -> Result<(), Error> {
    let out = workspace.path("image.iso");
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    let expected: u64 = files.iter().map(|(_, path)| size(path)).sum::<u64>().max(1);
    let mut told = 0;
    tool::run(workspace, ("xorriso", "xorriso"), args, options.epoch, || {
        let done = (u128::from(size(&out).min(expected)) * u128::from(work) / u128::from(expected)) as u64;
        let step = done.saturating_sub(told);
        told += step;
        meter.add(step)
    })?;
    meter.add(work)
}

/// The layout in the words of `xorriso -as mkisofs`; every date and identifier is given, so that none is made up.
fn xorriso_args(
    files: &[Graft],
    programs: &BootPrograms,
    efi: Option<&Path>,
    boot: &BootMedia,
    options: &WriteOptions,
    out: &Path,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(OsString::from));
    let date = iso_date(options.epoch);
    add(&["-as", "mkisofs", "-quiet", "-r", "-iso-level", "3", "-V", &boot.volume_id]);
    add(&[&format!("--modification-date={date}"), "--gpt_disk_guid", "modification-date", "--set_all_file_dates", &date]);
    add(&["-partition_offset", "16"]);
    if let Some(bios) = &programs.bios {
        args.push("--grub2-mbr".into());
        args.push(bios.mbr.clone().into());
        let words =
            ["-b", "boot/grub/eltorito.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info"];
        args.extend(words.map(OsString::from));
    }
    args.extend(["-c", "boot/grub/boot.cat"].map(OsString::from));
    if let Some(efi) = efi {
        args.extend(["-append_partition", "2", "0xef"].map(OsString::from));
        args.push(efi.into());
        args.push("-appended_part_as_gpt".into());
        if programs.bios.is_some() {
            args.push("-eltorito-alt-boot".into());
        }
        args.extend(["-e", "--interval:appended_partition_2:all::", "-no-emul-boot"].map(OsString::from));
    }
    args.push("-o".into());
    args.push(out.into());
    args.push("-graft-points".into());
    for (name, path) in files {
        let mut graft = OsString::from(format!("{name}="));
        graft.push(path);
        args.push(graft);
    }
    args
}

/// `YYYYMMDDhhmmss00` in UTC.
fn iso_date(epoch: i64) -> String {
    let epoch = epoch.max(0);
    let (year, month, day) = civil(epoch / 86_400);
    let (hour, minute, second) = (epoch / 3600 % 24, epoch / 60 % 60, epoch % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media() -> BootMedia {
        BootMedia {
            kernel: BlobId::of(b""),
            initramfs: Vec::new(),
            volume_id: "HATCHERY_TEST".into(),
            title: "It's a title".into(),
            release: "6.1".into(),
            cmdline: "quiet".into(),
            words: MenuWords::Hatchery,
            grub_dir: "usr/lib/grub".into(),
        }
    }

    #[test]
    fn the_menu_is_quoted() {
        let text = menu::grub_cfg(
            &media(),
            "/boot/kernel",
            "/boot/initramfs",
            &menu::medium_entries("hatchery.label=X", MenuWords::Hatchery),
        );
        assert!(text.contains("menuentry 'It'\\''s a title' {\n"), "{text}");
        assert!(text.contains("linux /boot/kernel hatchery.label=X console=ttyS0,115200 console=tty0 quiet\n"), "{text}");
    }

    #[test]
    fn what_could_break_out_of_the_menu_is_refused() {
        type Change = fn(&mut BootMedia);
        let changes: [Change; 6] = [
            |m| m.release = "../6.1".into(),
            |m| m.volume_id = "lower".into(),
            |m| m.volume_id = String::new(),
            |m| m.cmdline = "a\nreboot".into(),
            |m| m.cmdline = "a; reboot".into(),
            |m| m.title = "a\n}".into(),
        ];
        media().check().unwrap();
        for change in changes {
            let mut media = media();
            change(&mut media);
            assert!(matches!(media.check(), Err(Error::Boot(_))), "{media:?}");
        }
    }

    #[test]
    fn dates() {
        assert_eq!(iso_date(1_795_304_461), "2026112123410100");
        assert_eq!(iso_date(-5), "1970010100000000");
    }
}
