//! A hybrid ISO: boots as CD and from a USB stick, on BIOS and on UEFI. The root is a squashfs image in it.
//!
//! ```text
//! sector 0   MBR with GRUB's program for BIOS, GPT
//!       16   the volume (descriptors, path tables, folders)
//!       32   the same, as seen from partition 1, which begins at sector 16
//!       48   boot catalog; grub.cfg, GRUB for BIOS, kernel, initramfs, and from an even sector on the root; its checksums
//!            then the EFI system partition (partition 2), padding, and the GPT again
//! ```
//!
//! Why not xorriso: it would copy the root, which is nearly all of the medium. Here it is squashed to its place, and what describes it is
//! written afterwards. For BIOS there is an El Torito image and a hybrid MBR, for UEFI a FAT image, which is a GPT partition and the second
//! El Torito entry.

mod start;
mod volume;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::volume::{DESCRIPTORS, Node, NodeKind, SECTOR, Volume};
use crate::disk::gpt::{self, Partition, Purpose};
use crate::fat;
use crate::grub::{self, BiosPrograms, Boot, BootPrograms};
use crate::menu::{self, MenuWords};
use crate::squashfs::{SquashCompressor, Squashfs, Sum};
use crate::store::{BlobId, Store};
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport};

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

/// The root on the medium, and what the initramfs checks it by: a line for each 4 MiB of it, their SHA-256.
const ROOT: &str = "image.squashfs";
const ROOT_SUMS: &str = "image.squashfs.sums";

/// Where partition 1 begins, which has a volume of its own over the same files; behind the first volume's folders.
const PARTITION: u64 = DESCRIPTORS;
/// Where that volume's descriptors are on the medium.
const SECOND: u64 = PARTITION + DESCRIPTORS;
/// The first sector behind all descriptions: the boot catalog's.
const FILES: u64 = SECOND + DESCRIPTORS;
/// Zeros at the end: drives read ahead, and fail on the last sectors of a CD that was written track at once.
const PADDING: u64 = 150;

/// Writes a bootable ISO. Firmware that the tree has no GRUB modules for is named in the report.
///
/// # Errors
/// `Boot` when the tree has no GRUB at all, `boot` cannot be put into a menu, or the root is too large for a folder record of ISO 9660
/// (tens of gigabytes); else those of [`Error`]. The output appears only when it is whole.
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
    let mut meter = Meter::new(progress, tree.totals().bytes);
    meter.check()?;
    let early = format!("search --no-floppy --set=root --label {}\nset prefix=($root)/boot/grub\n", boot.volume_id);
    let programs = grub::prepare(tree, store, &workspace, &Boot::iso(boot, &early, options))?;
    let mut medium = Medium::create(&workspace)?;
    let files = medium.put_files(store, boot, &programs)?;

    let start = medium.end;
    let squashfs = Squashfs { tree, store, compressor: SquashCompressor::Zstd, options };
    let (root, sums) = squashfs.make_summed_at((&medium.path, &medium.file, start * SECTOR), &mut meter)?;
    medium.end = start + root.size.div_ceil(SECTOR);
    let system = medium.append_sums((start, root.size), &sums)?;
    let efi = medium.append_efi(&programs)?;
    medium.describe(boot, options.epoch, &files, &system, efi)?;
    workspace.publish("image.iso")?;
    Ok(WriteReport { notes: [root.notes, programs.notes].concat() })
}

/// A medium that is being written. All places are in sectors.
struct Medium {
    path: PathBuf,
    file: File,
    /// The first sector that nothing stands in.
    end: u64,
}

/// Where the small files are, and GRUB's for BIOS as they are on the medium.
struct Files {
    config: Extent,
    kernel: Extent,
    initramfs: Extent,
    bios: Option<(Extent, BiosPrograms)>,
}

/// The root and its checksums, of which `digest` is one in turn.
struct System {
    root: Extent,
    sums: Extent,
    /// The first sector behind both.
    end: u64,
    digest: String,
}

/// First sector and bytes.
type Extent = (u64, u64);

impl Medium {
    fn create(workspace: &Workspace) -> Result<Medium, Error> {
        let path = workspace.path("image.iso");
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        // The catalog has the first sector of the files.
        Ok(Medium { path, file, end: FILES + 1 })
    }

    fn put(&self, sector: u64, bytes: &[u8]) -> Result<(), Error> {
        self.put_at(sector * SECTOR, bytes)
    }

    fn put_at(&self, at: u64, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io(&self.path, e))
    }

    /// Room at the end for so many bytes; the next is taken from an even sector on, as a page of memory has two.
    fn take(&mut self, bytes: u64) -> u64 {
        let sector = self.end;
        self.end = (sector + bytes.div_ceil(SECTOR)).next_multiple_of(2);
        sector
    }

    fn append(&mut self, bytes: &[u8]) -> Result<Extent, Error> {
        let sector = self.take(bytes.len() as u64);
        self.put(sector, bytes)?;
        Ok((sector, bytes.len() as u64))
    }

    /// Writes all files but the root and its checksums.
    fn put_files(&mut self, store: &Store, boot: &BootMedia, programs: &BootPrograms) -> Result<Files, Error> {
        let entries = menu::medium_entries(&format!("hatchery.label={}", boot.volume_id), boot.words);
        let config = self.append(menu::grub_cfg(boot, "/boot/kernel", "/boot/initramfs", &entries).as_bytes())?;
        let kernel = store.read(&boot.kernel).map_err(|e| Error::content(b"boot/kernel", e))?;
        let (kernel, initramfs) = (self.append(&kernel)?, self.append(&boot.initramfs)?);
        let bios = programs.bios.as_ref().map(|bios| self.append_bios(bios)).transpose()?;
        Ok(Files { config, kernel, initramfs, bios })
    }

    fn append_bios(&mut self, bios: &BiosPrograms) -> Result<(Extent, BiosPrograms), Error> {
        let BiosPrograms { mut core, mut mbr } = bios.clone();
        start::place_grub(&mut core, &mut mbr, self.end)?;
        Ok((self.append(&core)?, BiosPrograms { core, mbr }))
    }

    /// Writes the checksums of a root that was written.
    fn append_sums(&mut self, root: Extent, sums: &[Sum]) -> Result<System, Error> {
        let text: String = sums.iter().map(|sum| hex::encode(sum) + "\n").collect();
        let sums = self.append(text.as_bytes())?;
        Ok(System { root, sums, end: self.end, digest: BlobId::of(text.as_bytes()).to_string() })
    }

    /// The EFI system partition; `None` when there is no program for it.
    fn append_efi(&mut self, programs: &BootPrograms) -> Result<Option<Extent>, Error> {
        if programs.efi.is_empty() {
            return Ok(None);
        }
        // Every medium has the same serial number: it is the ISO's label that tells them apart.
        let volume = fat::Volume { label: "EFI", serial: u32::from_le_bytes(*b"HTCH"), least: 0 };
        self.append(&fat::filesystem(&volume, &grub::efi_folder(&programs.efi))?).map(Some)
    }

    /// Writes all that says what is where, and both ends of the partition table.
    fn describe(
        &mut self,
        boot: &BootMedia,
        epoch: i64,
        files: &Files,
        system: &System,
        efi: Option<Extent>,
    ) -> Result<(), Error> {
        let data_end = system.end;
        let sectors = self.end + PADDING;
        let nodes = folders(files, system);
        let volume = |start, catalog| Volume { id: &boot.volume_id, epoch, root: &nodes, start, sectors, catalog };
        self.put(DESCRIPTORS, &volume(0, Some(FILES)).describe()?)?;
        self.put(SECOND, &Volume { sectors: data_end, ..volume(PARTITION, None) }.describe()?)?;
        self.put(FILES, &start::catalog(files.bios.as_ref().map(|((sector, _), _)| *sector), efi))?;

        let id = |purpose: &str| id_of(boot, &system.digest, purpose);
        let part = |purpose, name, start: u64, size: u64| Partition { purpose, id: id(name), name, start: start * SECTOR, size };
        let mut partitions = vec![part(Purpose::Data, "ISO9660", PARTITION, (data_end - PARTITION) * SECTOR)];
        partitions.extend(efi.map(|(sector, size)| part(Purpose::EfiSystem, "EFI system", sector, size)));
        let boot_code = files.bios.as_ref().map(|(_, bios)| bios.mbr.as_slice()).unwrap_or_default();
        for (at, bytes) in gpt::table(sectors * SECTOR, id("disk"), &partitions, boot_code) {
            self.put_at(at, &bytes)?;
        }
        Ok(())
    }
}

/// The volume's files, the folders sorted by identifier.
fn folders(files: &Files, system: &System) -> Vec<Node> {
    let file = |identifier, name, (sector, size)| Node { identifier, name, kind: NodeKind::File { sector, size } };
    let folder = |identifier, name, nodes| Node { identifier, name, kind: NodeKind::Folder(nodes) };
    let mut grub = vec![file("BOOT.CAT;1", "boot.cat", (FILES, SECTOR))];
    grub.extend(files.bios.as_ref().map(|(extent, _)| file("ELTORITO.IMG;1", "eltorito.img", *extent)));
    grub.push(file("GRUB.CFG;1", "grub.cfg", files.config));
    let boot = vec![
        folder("GRUB", "grub", grub),
        file("INITRAMFS.;1", "initramfs", files.initramfs),
        file("KERNEL.;1", "kernel", files.kernel),
    ];
    vec![
        folder("BOOT", "boot", boot),
        file("IMAGE.SQUASHFS;1", ROOT, system.root),
        file("IMAGE_SQUASHFS.SUMS;1", ROOT_SUMS, system.sums),
    ]
}

/// A UUID that follows from what is on the medium, marked as version 8 (RFC 9562: "custom").
fn id_of(boot: &BootMedia, digest: &str, purpose: &str) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in ["hatchery iso 1", &boot.volume_id, digest, purpose] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut uuid = [0; 16];
    uuid.iter_mut().zip(hash.finalize()).for_each(|(byte, from)| *byte = from);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
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

    /// What xorriso lists of a medium with a root of so many bytes, which are a hole; and the medium itself.
    fn listed(root_size: u64) -> (tempfile::TempDir, Result<PathBuf, Error>) {
        let dir = tempfile::tempdir().unwrap();
        let workspace = Workspace::beside(&dir.path().join("out.iso")).unwrap();
        let mut medium = Medium::create(&workspace).unwrap();
        let config = medium.append(b"some text").unwrap();
        let files = Files { config, kernel: config, initramfs: config, bios: None };
        let root = (medium.end, root_size);
        medium.end += root.1.div_ceil(SECTOR);
        let system = medium.append_sums(root, &[[7; 32], [8; 32]]).unwrap();
        let described = medium.describe(&media(), 1_795_304_461, &files, &system, None);
        let out = dir.path().join("out.iso");
        (dir, described.and_then(|()| workspace.publish("image.iso")).map(|()| out))
    }

    fn xorriso(medium: &Path) -> String {
        let mut command = std::process::Command::new("xorriso");
        command.args(["-report_about", "WARNING", "-indev"]).arg(medium).args(["-lsl", "/", "--", "-lsl", "/boot/grub"]);
        let output = command.env("TZ", "UTC").output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// A root of more than 4 GiB has several sections.
    #[test]
    fn large_roots_are_read_by_xorriso() {
        let (_dir, medium) = listed(9_000_000_000);
        let said = xorriso(&medium.unwrap());
        assert!(said.contains(" 9000000000 Nov 21 23:41 'image.squashfs'"), "{said}");
        assert!(said.contains(" 130 Nov 21 23:41 'image.squashfs.sums'"), "{said}");
        assert!(said.contains(" 9 Nov 21 23:41 'grub.cfg'"), "{said}");
        assert!(matches!(listed(1 << 40).1, Err(Error::Boot(_))));
    }

    /// What a system sees that looks into the stick's first partition.
    #[test]
    fn the_partition_is_a_volume_too() {
        let (dir, medium) = listed(10_000);
        let bytes = std::fs::read(medium.unwrap()).unwrap();
        let partition = dir.path().join("partition");
        std::fs::write(&partition, &bytes[(PARTITION * SECTOR) as usize..]).unwrap();
        let said = xorriso(&partition);
        assert!(said.contains(" 10000 Nov 21 23:41 'image.squashfs'") && said.contains("'grub.cfg'"), "{said}");
    }
}
