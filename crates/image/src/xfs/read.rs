//! Reading an XFS filesystem as [`super`] writes it, for programs that look into a disk without mounting it.
//!
//! Only what is written here is read: version 5 with this writer's features, a clean log, extents in the inode. All else, and
//! whatever does not match its checksum, is refused. The disk may be anyone's: every number in it is checked before it is used,
//! and how deep, how many and how much is read has limits.

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::block::seal;
use super::directory::{self, Found};
use super::inode::{self, FIELDS};
use super::space::{INODE_SIZE, INODES_PER_BLOCK};
use super::superblock::{INCOMPAT, VERSION};
use super::{BLOCK, SECTOR};
use crate::text::escape;

/// Folders in folders, entries, and bytes of files that are copied out at most, and bytes that are read for all.
const MAX_DEPTH: usize = 32;
const MAX_ENTRIES: u64 = 4 << 20;
const MAX_BYTES: u64 = 8 << 30;
const MAX_READ: u64 = 16 << 30;
/// The largest directory that is read, in blocks of names.
const MAX_NAMES: u64 = 1 << 14;
/// Bytes of a file that are read at once.
const PIECE: u64 = 1 << 20;

/// Why a filesystem could not be read.
#[derive(Debug, thiserror::Error)]
pub enum XfsError {
    #[error("the disk cannot be read, or ends within its xfs filesystem: {0}")]
    Read(io::Error),
    #[error("{path} cannot be written: {error}")]
    Write { path: String, error: io::Error },
    #[error("the xfs filesystem is not as Hatchery writes it: {0}; mount it to look into it")]
    Foreign(&'static str),
    #[error("the xfs filesystem is damaged: {0}; download or write the image again")]
    Damaged(&'static str),
    #[error("there is no {0} in the xfs filesystem")]
    Missing(String),
    #[error("the xfs filesystem has more than this reads: {0}")]
    TooMuch(&'static str),
}

/// Copies the folders and plain files below `folder`, names separated by `/`, of the filesystem that begins at byte `start` of a
/// disk into the empty folder `out`. Links and devices are left out.
///
/// # Errors
/// Those of [`XfsError`]; `out` may then have a part of the files.
pub fn extract_xfs(disk: &File, start: u64, folder: &str, out: &Path) -> Result<(), XfsError> {
    let volume = Volume::open(disk, start)?;
    let mut inode = volume.inode(volume.root)?;
    for name in folder.split('/') {
        let found = volume.names(&inode)?.into_iter().find(|found| found.name == name.as_bytes());
        inode = volume.inode(found.ok_or_else(|| XfsError::Missing(folder.to_owned()))?.inode)?;
    }
    let mut copier = Copier { volume: &volume, entries: MAX_ENTRIES, bytes: MAX_BYTES };
    copier.copy_folder(&inode, out, MAX_DEPTH)
}

/// A filesystem on a disk.
struct Volume<'d> {
    disk: &'d File,
    start: u64,
    /// Bytes that may still be read.
    left: Cell<u64>,
    group_blocks: u64,
    groups: u64,
    group_bits: u32,
    root: u64,
}

impl<'d> Volume<'d> {
    fn open(disk: &'d File, start: u64) -> Result<Volume<'d>, XfsError> {
        let mut volume = Volume { disk, start, left: Cell::new(MAX_READ), group_blocks: 0, groups: 0, group_bits: 0, root: 0 };
        let bytes = volume.read(0, SECTOR)?;
        let be16 = |at| number(&bytes, at, 2);
        let be32 = |at| number(&bytes, at, 4);
        if bytes.get(..4) != Some(b"XFSB") || be16(100) != u64::from(VERSION) {
            return Err(XfsError::Foreign("its superblock is of another version"));
        }
        if !is_sealed(&bytes, 224) {
            return Err(XfsError::Damaged("the superblock does not match its checksum"));
        }
        if (be32(4), be16(102), be16(104), be32(216)) != (BLOCK, SECTOR, INODE_SIZE, u64::from(INCOMPAT))
            || bytes.get(192) != Some(&0)
        {
            return Err(XfsError::Foreign("its blocks, inodes or features are others"));
        }
        volume.group_blocks = be32(84);
        volume.groups = be32(88);
        volume.group_bits = bytes.get(124).map_or(0, |bits| u32::from(*bits));
        volume.root = number(&bytes, 56, 8);
        match volume.group_bits < 32 && volume.group_blocks <= 1 << volume.group_bits {
            true => Ok(volume),
            false => Err(XfsError::Damaged("the measures in its superblock contradict each other")),
        }
    }

    /// Bytes at a place of the filesystem.
    fn read(&self, at: u64, count: u64) -> Result<Vec<u8>, XfsError> {
        self.left.set(self.left.get().checked_sub(count).ok_or(XfsError::TooMuch("bytes"))?);
        let mut bytes = vec![0; count as usize];
        let at = self.start.checked_add(at).ok_or(XfsError::Damaged("it points beyond any disk"))?;
        self.disk.read_exact_at(&mut bytes, at).map_err(XfsError::Read)?;
        Ok(bytes)
    }

    /// Where a block is, in bytes, by its name on the disk: its group's number above its number in the group.
    fn place(&self, address: u64) -> Result<u64, XfsError> {
        let (group, block) = (address >> self.group_bits, address & ((1 << self.group_bits) - 1));
        match group < self.groups && block < self.group_blocks {
            true => Ok((group * self.group_blocks + block) * BLOCK),
            false => Err(XfsError::Damaged("it points beyond its end")),
        }
    }

    fn inode(&self, number_of: u64) -> Result<Inode, XfsError> {
        let place = self.place(number_of / INODES_PER_BLOCK)?;
        let bytes = self.read(place + number_of % INODES_PER_BLOCK * INODE_SIZE, INODE_SIZE)?;
        if bytes.get(..2) != Some(b"IN") || number(&bytes, 152, 8) != number_of || !is_sealed(&bytes, inode::CHECKSUM) {
            return Err(XfsError::Damaged("an inode does not match its checksum"));
        }
        Ok(Inode(bytes))
    }

    /// What a directory has in it, without `.` and `..`.
    fn names(&self, inode: &Inode) -> Result<Vec<Found>, XfsError> {
        const DAMAGED: XfsError = XfsError::Damaged("a directory has names that are none");
        if inode.kind() != Kind::Folder {
            return Err(XfsError::Damaged("a directory is none"));
        }
        if inode.is_local() {
            let names = inode.fork().get(..inode.size().min(INODE_SIZE) as usize);
            return names.and_then(directory::read_short).ok_or(DAMAGED);
        }
        let mut all = Vec::new();
        for extent in inode.extents()?.into_iter().filter(|extent| extent.offset < directory::LEAVES) {
            if extent.count > MAX_NAMES || all.len() as u64 > MAX_ENTRIES {
                return Err(XfsError::TooMuch("names in a directory"));
            }
            let place = self.place(extent.address)?;
            for at in 0..extent.count {
                let block = self.read(place + at * BLOCK, BLOCK)?;
                if !is_sealed(&block, 4) {
                    return Err(XfsError::Damaged("a directory does not match its checksum"));
                }
                all.extend(directory::read_block(&block).ok_or(DAMAGED)?);
            }
        }
        Ok(all)
    }

    /// Writes a file's content; what no extent has is zero.
    fn copy_content(&self, inode: &Inode, target: &mut File, path: &Path) -> Result<(), XfsError> {
        let failed = |error| XfsError::Write { path: path.display().to_string(), error };
        for extent in inode.extents()? {
            let from = extent.offset.saturating_mul(BLOCK);
            let length = extent.count.saturating_mul(BLOCK).min(inode.size().saturating_sub(from));
            if length == 0 {
                continue;
            }
            let place = self.place(extent.address)?;
            target.seek(SeekFrom::Start(from)).map_err(failed)?;
            for done in (0..length).step_by(PIECE as usize) {
                target.write_all(&self.read(place + done, PIECE.min(length - done))?).map_err(failed)?;
            }
        }
        target.set_len(inode.size()).map_err(failed)
    }
}

/// Copies files out, within limits.
struct Copier<'v, 'd> {
    volume: &'v Volume<'d>,
    entries: u64,
    bytes: u64,
}

impl Copier<'_, '_> {
    fn copy_folder(&mut self, inode: &Inode, out: &Path, depth: usize) -> Result<(), XfsError> {
        let depth = depth.checked_sub(1).ok_or(XfsError::TooMuch("folders in folders"))?;
        for Found { name, inode } in self.volume.names(inode)? {
            let usable = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/') && !name.contains(&0);
            if !usable {
                return Err(XfsError::Damaged("a directory has names that are none"));
            }
            self.entries = self.entries.checked_sub(1).ok_or(XfsError::TooMuch("files"))?;
            let (inode, path) = (self.volume.inode(inode)?, out.join(OsStr::from_bytes(&name)));
            let failed = |error| XfsError::Write { path: escape(path.as_os_str().as_bytes()), error };
            match inode.kind() {
                Kind::Folder => {
                    fs::create_dir(&path).map_err(failed)?;
                    self.copy_folder(&inode, &path, depth)?;
                }
                Kind::File => {
                    self.bytes = self.bytes.checked_sub(inode.size()).ok_or(XfsError::TooMuch("bytes of files"))?;
                    let mut target = File::create_new(&path).map_err(failed)?;
                    self.volume.copy_content(&inode, &mut target, &path)?;
                }
                Kind::Other => {}
            }
        }
        Ok(())
    }
}

#[derive(PartialEq)]
enum Kind {
    Folder,
    File,
    Other,
}

/// An inode's bytes, which match their checksum.
struct Inode(Vec<u8>);

struct Extent {
    offset: u64,
    address: u64,
    count: u64,
}

impl Inode {
    fn kind(&self) -> Kind {
        match number(&self.0, 2, 2) & 0xf000 {
            0x4000 => Kind::Folder,
            0x8000 => Kind::File,
            _ => Kind::Other,
        }
    }

    fn size(&self) -> u64 {
        number(&self.0, 56, 8)
    }

    fn is_local(&self) -> bool {
        self.0.get(5) == Some(&(inode::Format::Local as u8))
    }

    /// The content, or where it is: up to the attributes, which begin at a place counted in eights, where there are any.
    fn fork(&self) -> &[u8] {
        let fork = self.0.get(FIELDS..).unwrap_or_default();
        let length = self.0.get(82).map_or(0, |eights| usize::from(*eights) * 8);
        fork.get(..length).filter(|fork| !fork.is_empty()).unwrap_or(fork)
    }

    fn extents(&self) -> Result<Vec<Extent>, XfsError> {
        if self.0.get(5) != Some(&(inode::Format::Extents as u8)) {
            return Err(XfsError::Foreign("a file is in more pieces than its inode has room for"));
        }
        let count = number(&self.0, 76, 4) as usize;
        let (extents, _) = self.fork().as_chunks::<16>();
        let extents = extents.get(..count).ok_or(XfsError::Damaged("an inode has more extents than room"))?;
        let extents: Vec<Extent> = extents.iter().map(|bytes| Extent::of(u128::from_be_bytes(*bytes))).collect();
        match extents.is_sorted_by(|one, next| one.offset + one.count <= next.offset) {
            true => Ok(extents),
            false => Err(XfsError::Damaged("pieces of a file overlap")),
        }
    }
}

impl Extent {
    /// As [`inode`] writes it.
    fn of(bits: u128) -> Extent {
        let field = |shift: u32, width: u32| (bits >> shift) as u64 & ((1 << width) - 1);
        Extent { offset: field(73, 54), address: field(21, 52), count: field(0, 21) }
    }
}

/// A number with the highest byte first; 0 where the bytes end before.
fn number(bytes: &[u8], at: usize, width: usize) -> u64 {
    directory::big_endian(bytes.get(at..at + width).unwrap_or_default())
}

/// Whether a structure matches the checksum in it.
fn is_sealed(bytes: &[u8], at: usize) -> bool {
    let mut sealed = bytes.to_vec();
    seal(&mut sealed, at);
    sealed == bytes
}
