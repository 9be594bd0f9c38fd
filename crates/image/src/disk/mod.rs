//! Disk images: a GUID partition table, GRUB for BIOS and UEFI, and the root's filesystem, in the containers that virtual machines and
//! people with a USB stick want. The disk is laid out first and then written in one pass, front to back.
//!
//! | partition | what | size |
//! |---|---|---|
//! | 1 | GRUB's core for BIOS | 1 MiB |
//! | 2 | EFI system partition, FAT16, GRUB under the names for removable media | 32 MiB |
//! | 3 | the root with `/boot` | the rest, last so that it can grow |

mod blocks;
pub(crate) mod gpt;
mod qcow2;
mod vmdk;

use std::fs::File;
use std::path::Path;

use sha2::{Digest, Sha256};

use self::gpt::{Partition, Purpose};
use crate::compress::{Compression, Sink, compressed};
use crate::fat;
use crate::grub::{self, Boot};
use crate::iso::BootMedia;
use crate::menu;
use crate::root::RootFilesystem;
use crate::sparse::{Run, Sparse};
use crate::store::Store;
use crate::tar;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport, items, write_all};

const SECTOR: u64 = 512;
const MIB: u64 = 1 << 20;
const BIOS_AT: u64 = MIB;
const BIOS_SIZE: u64 = MIB;
const EFI_AT: u64 = 2 * MIB;
const EFI_SIZE: u64 = 32 * MIB;
const ROOT_AT: u64 = EFI_AT + EFI_SIZE;
/// A virtual disk costs what is in it, so there is room to work with.
const VIRTUAL_SIZE: u64 = 16 << 30;

/// The container of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// The disk's bytes, compressed by gzip; just large enough for the system, to be written to a real disk.
    RawGzip,
    /// QEMU's, with a virtual size of 16 GiB at least.
    Qcow2,
    /// VMware's and VirtualBox's, with a virtual size of 16 GiB at least.
    Vmdk,
}

/// What kind of disk is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Disk {
    pub format: DiskFormat,
    pub root: RootFilesystem,
}

/// Writes a disk image. Firmware that the tree has no GRUB modules for is named in the report.
///
/// # Errors
/// `Boot` when the tree has no GRUB at all, or does not fit; else those of [`Error`]. The output appears only when it is whole.
pub fn write_disk(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    disk: Disk,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    boot.check()?;
    let workspace = Workspace::beside(out)?;
    let ids = Ids::of(tree, boot, disk.root, options);
    let tree = with_boot_files(tree, store, boot, (&ids, disk.root))?;
    let mut meter = Meter::new(progress, tree.totals().bytes);
    meter.check()?;
    let early = format!("search --no-floppy --set=root --fs-uuid {}\nset prefix=($root)/boot/grub\n", ids.root_text());
    let programs = grub::prepare(&tree, store, &workspace, &Boot::disk(boot, disk.root, &early, options))?;
    let mut notes = programs.notes.clone();
    let parts = lay_out(&tree, &programs, &ids, disk, options, &mut notes)?;
    let (path, file) = workspace.create("disk")?;
    let threads = options.thread_count();
    match disk.format {
        DiskFormat::RawGzip => write_gzip(parts, store, &mut meter, threads, (&path, file))?,
        DiskFormat::Qcow2 => qcow2::write(parts, store, &mut meter, threads, (&path, file))?,
        DiskFormat::Vmdk => vmdk::write(parts, store, &mut meter, threads, (&path, file), ids.number())?,
    }
    workspace.publish("disk")?;
    Ok(WriteReport { notes })
}

/// Identifiers that follow from what is on the disk, so that the same content has the same ones and other content has others.
pub(crate) struct Ids([u8; 32]);

impl Ids {
    fn of(tree: &Tree, boot: &BootMedia, root: RootFilesystem, options: &WriteOptions) -> Ids {
        let hash = hash_of_tree(tree, root, options).chain_update(boot.kernel.to_string()).chain_update(&boot.initramfs);
        Ids(hash.finalize().into())
    }

    /// For a filesystem alone.
    pub(crate) fn of_tree(tree: &Tree, root: RootFilesystem, options: &WriteOptions) -> Ids {
        Ids(hash_of_tree(tree, root, options).finalize().into())
    }

    /// A UUID for one purpose, marked as version 8 (RFC 9562: "custom").
    pub(crate) fn uuid(&self, purpose: &str) -> [u8; 16] {
        let digest = Sha256::new().chain_update(self.0).chain_update(purpose).finalize();
        let mut uuid = [0; 16];
        uuid.iter_mut().zip(digest).for_each(|(byte, from)| *byte = from);
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        uuid
    }

    fn root_text(&self) -> String {
        let text = hex::encode(self.uuid("root"));
        let part = |from, to| text.get(from..to).unwrap_or_default();
        format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
    }

    /// The FAT's serial number, and VMDK's content identity.
    fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.uuid("number");
        u32::from_le_bytes([a, b, c, d])
    }

    /// The FAT's serial number as it is written: two groups of hexadecimal digits.
    fn efi_text(&self) -> String {
        let number = self.number();
        format!("{:04X}-{:04X}", number >> 16, number & 0xffff)
    }
}

fn hash_of_tree(tree: &Tree, root: RootFilesystem, options: &WriteOptions) -> Sha256 {
    let mut hash = Sha256::new().chain_update(b"hatchery disk 2").chain_update([root as u8]);
    for item in items(tree) {
        hash.update(tar::headers(&item, options));
        if let crate::entry::Kind::File { blob, .. } = &item.entry.kind {
            hash.update(blob.to_string());
        }
    }
    hash
}

/// The tree with kernel, initramfs, GRUB's menu, and what `/etc/fstab` must say.
fn with_boot_files(
    tree: &Tree,
    store: &Store,
    boot: &BootMedia,
    (ids, filesystem): (&Ids, RootFilesystem),
) -> Result<Tree, Error> {
    let mut tree = tree.clone();
    let (kernel, initramfs) = (format!("/boot/vmlinuz-{}", boot.release), format!("/boot/initramfs-{}.img", boot.release));
    let content = store.read(&boot.kernel).map_err(|e| Error::content(kernel.as_bytes(), e))?;
    tree.write_file(store, &kernel, &content, 0o644)?;
    tree.write_file(store, &initramfs, &boot.initramfs, 0o600)?;
    let (root, kind, pass) = (ids.root_text(), filesystem.name(), filesystem.fsck_pass());
    let parameters = format!("root=UUID={root} rootfstype={kind} rw hatchery.grow");
    let menu = menu::grub_cfg(boot, &kernel, &initramfs, &menu::disk_entries(&parameters));
    tree.write_file(store, "boot/grub/grub.cfg", menu.as_bytes(), 0o644)?;
    tree.make_dirs("boot/efi")?;
    let old = tree.read_file(store, "etc/fstab")?.unwrap_or_default();
    let mut fstab = String::from_utf8_lossy(&old).into_owned();
    for (place, line) in [
        ("/", format!("UUID={root} / {kind} defaults,noatime 0 {pass}\n")),
        ("/boot/efi", format!("UUID={} /boot/efi vfat noauto,noatime,umask=0077 0 2\n", ids.efi_text())),
    ] {
        let known = |line: &str| !line.starts_with('#') && line.split_whitespace().nth(1) == Some(place);
        if !fstab.lines().any(known) {
            if !fstab.is_empty() && !fstab.ends_with('\n') {
                fstab.push('\n');
            }
            fstab.push_str(&line);
        }
    }
    tree.write_file(store, "etc/fstab", fstab.as_bytes(), 0o644)?;
    Ok(tree)
}

/// Everything on the disk in its place.
fn lay_out<'a>(
    tree: &'a Tree,
    programs: &grub::BootPrograms,
    ids: &Ids,
    kind: Disk,
    options: &WriteOptions,
    notes: &mut Vec<String>,
) -> Result<Sparse<'a>, Error> {
    let least = kind.root.least_size(tree);
    let size = match kind.format {
        DiskFormat::RawGzip => least,
        DiskFormat::Qcow2 | DiskFormat::Vmdk => least.max(VIRTUAL_SIZE),
    };
    let mut disk = Sparse::new((ROOT_AT + size + gpt::TABLE).next_multiple_of(MIB));
    let partition = |purpose, name, start, size| Partition { purpose, id: ids.uuid(name), name, start, size };
    let partitions = [
        partition(Purpose::BiosBoot, "BIOS boot", BIOS_AT, BIOS_SIZE),
        partition(Purpose::EfiSystem, "EFI system", EFI_AT, EFI_SIZE),
        partition(Purpose::Linux, "root", ROOT_AT, size),
    ];
    let mut boot_code = Vec::new();
    if let Some(bios) = &programs.bios {
        let mut core = bios.core.clone();
        boot_code = bios.mbr.clone();
        gpt::join_grub(&mut boot_code, &mut core, BIOS_AT, BIOS_SIZE)?;
        disk.put_bytes(BIOS_AT, core);
    }
    for (at, bytes) in gpt::table(disk.size(), ids.uuid("disk"), &partitions, &boot_code) {
        disk.put_bytes(at, bytes);
    }
    let volume = fat::Volume { label: "EFI", serial: ids.number(), least: EFI_SIZE as usize };
    disk.put_bytes(EFI_AT, fat::filesystem(&volume, &grub::efi_folder(&programs.efi))?);
    disk.embed(ROOT_AT, kind.root.lay_out(tree, (ids, size), options, notes)?);
    Ok(disk)
}

fn write_gzip(
    disk: Sparse,
    store: &Store,
    meter: &mut Meter,
    threads: usize,
    (path, mut file): (&Path, File),
) -> Result<(), Error> {
    let zeros = vec![0; 1 << 16];
    let produce = |sink: Sink| {
        disk.emit(store, meter, &mut |run| match run {
            Run::Bytes(bytes) => sink(bytes),
            Run::Zeros(mut count) => {
                while count > 0 {
                    let piece = zeros.get(..count.min(zeros.len() as u64) as usize).unwrap_or_default();
                    sink(piece)?;
                    count -= piece.len() as u64;
                }
                Ok(())
            }
        })
    };
    compressed(Compression::Gzip, threads, path, produce, |bytes| write_all(&mut file, path, bytes))
}
