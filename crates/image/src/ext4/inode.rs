//! Inodes, and the map from a file's blocks to the disk's.

use std::collections::BTreeMap;

use super::BLOCK;
use super::layout::Layout;
use super::xattr::Attributes;
use crate::bytes::{put, put_u16, put_u32};
use crate::entry::Kind;
use crate::write::{Error, Item, WriteOptions};

/// Bytes of an inode, and of the fields beyond the first 128 that are used.
pub(super) const INODE_SIZE: usize = 256;
const EXTRA_SIZE: usize = 32;
const XATTRS_AT: usize = 128 + EXTRA_SIZE;
/// The place of the map, or of what takes its place.
const MAP_AT: usize = 0x28;
pub(super) const MAP_SIZE: usize = 60;

const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;
/// Blocks that one extent can cover.
pub(super) const MAX_EXTENT: u64 = 32_768;
/// Extents in the inode itself, and in a block (12 bytes each after a header of 12).
const EXTENTS_IN_INODE: usize = 4;
const EXTENTS_IN_BLOCK: usize = (BLOCK as usize - 12) / 12;

/// A run of blocks on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub start: u64,
    pub len: u64,
}

/// An inode on its way to the disk.
pub(super) struct Inode {
    mode: u16,
    uid: u32,
    gid: u32,
    /// Seconds since the epoch, for all times but that of its making.
    time: i64,
    made: i64,
    pub links: u64,
    /// Bytes of its content.
    pub size: u64,
    /// Blocks taken by content, map and attributes.
    pub blocks: u64,
    flags: u32,
    pub map: [u8; MAP_SIZE],
    /// The block of its attributes, or 0.
    xattr_block: u64,
    xattrs: Vec<u8>,
}

impl Inode {
    /// One of the filesystem's own.
    pub(super) fn special(mode: u16, options: &WriteOptions) -> Inode {
        Inode {
            mode,
            uid: 0,
            gid: 0,
            time: options.epoch,
            made: options.epoch,
            links: 1,
            size: 0,
            blocks: 0,
            flags: 0,
            map: [0; MAP_SIZE],
            xattr_block: 0,
            xattrs: Vec::new(),
        }
    }

    /// An entry's metadata.
    pub(super) fn of(item: &Item, options: &WriteOptions) -> Inode {
        let kind = match item.entry.kind {
            Kind::Fifo => 0x1000,
            Kind::CharDevice { .. } => 0x2000,
            Kind::Dir => 0x4000,
            Kind::BlockDevice { .. } => 0x6000,
            Kind::File { .. } => 0x8000,
            Kind::Symlink(_) => 0xa000,
        };
        let mode = kind | (item.entry.mode & 0o7777) as u16;
        let time = options.mtime(item.entry);
        Inode { uid: item.entry.uid, gid: item.entry.gid, time, ..Inode::special(mode, options) }
    }

    /// Keeps the attributes; returns the names of those that ext4 has no form or no room for.
    pub(super) fn set_xattrs(&mut self, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>, layout: &mut Layout) -> Result<Vec<String>, Error> {
        let (attributes, mut refused) = Attributes::of(xattrs);
        if attributes.is_empty() {
            return Ok(refused);
        }
        if let Some(bytes) = attributes.in_inode(INODE_SIZE - XATTRS_AT) {
            self.xattrs = bytes;
        } else if let Some(block) = attributes.in_block() {
            self.xattr_block = layout.add_block(block)?;
            self.blocks += 1;
        } else {
            refused = xattrs.keys().map(|name| crate::text::escape(name)).collect();
        }
        Ok(refused)
    }

    /// A device's numbers: the old form where they fit into it, as the kernel has it in `ext4_iget`.
    pub(super) fn set_device(&mut self, major: u32, minor: u32) {
        match major < 256 && minor < 256 {
            true => put_u32(&mut self.map, 0, major << 8 | minor),
            false => put_u32(&mut self.map, 4, minor & 0xff | major << 8 | (minor & !0xff) << 12),
        }
    }

    /// Maps the content to these runs in order. Blocks for the map come from `layout` when the inode has no room for it.
    ///
    /// # Errors
    /// `Boot` when the file is in too many pieces, which only a file of more than a hundred GB could be.
    pub(super) fn set_runs(&mut self, runs: &[Run], layout: &mut Layout) -> Result<(), Error> {
        let mut extents: Vec<[u8; 12]> = Vec::new();
        let mut logical = 0;
        for run in runs {
            extents.push(extent(logical, *run));
            logical += run.len;
        }
        self.flags |= EXTENTS_FLAG;
        self.blocks += logical;
        if extents.len() <= EXTENTS_IN_INODE {
            put(&mut self.map, 0, &extent_node(&extents, EXTENTS_IN_INODE, 0));
            return Ok(());
        }
        let mut index = Vec::new();
        for leaf in extents.chunks(EXTENTS_IN_BLOCK) {
            let first = leaf.first().and_then(|extent| extent.get(..4)).unwrap_or_default().to_vec();
            let mut block = extent_node(leaf, EXTENTS_IN_BLOCK, 0);
            block.resize(BLOCK as usize, 0);
            let at = layout.add_block(block)?;
            self.blocks += 1;
            let mut entry = [0; 12];
            put(&mut entry, 0, &first);
            put_u32(&mut entry, 4, at as u32);
            put_u16(&mut entry, 8, (at >> 32) as u16);
            index.push(entry);
        }
        if index.len() > EXTENTS_IN_INODE {
            return Err(Error::Boot("a file is too large for the disk's ext4 filesystem".into()));
        }
        put(&mut self.map, 0, &extent_node(&index, EXTENTS_IN_INODE, 1));
        Ok(())
    }

    pub(super) fn is_directory(&self) -> bool {
        self.mode & 0xf000 == 0x4000
    }

    pub(super) fn to_bytes(&self) -> [u8; INODE_SIZE] {
        let mut bytes = [0; INODE_SIZE];
        put_u16(&mut bytes, 0x00, self.mode);
        put_u16(&mut bytes, 0x02, self.uid as u16);
        put_u32(&mut bytes, 0x04, self.size as u32);
        for at in [0x08, 0x0c, 0x10] {
            put_u32(&mut bytes, at, self.time as u32);
        }
        put_u16(&mut bytes, 0x18, self.gid as u16);
        // More than 64,999 directories in one count as 1 (dir_nlink).
        put_u16(&mut bytes, 0x1a, if self.links < 65_000 { self.links as u16 } else { 1 });
        // Counted in sectors.
        put_u32(&mut bytes, 0x1c, (self.blocks * 8) as u32);
        put_u32(&mut bytes, 0x20, self.flags);
        put(&mut bytes, MAP_AT, &self.map);
        put_u32(&mut bytes, 0x68, self.xattr_block as u32);
        put_u32(&mut bytes, 0x6c, (self.size >> 32) as u32);
        put_u16(&mut bytes, 0x76, (self.xattr_block >> 32) as u16);
        put_u16(&mut bytes, 0x78, (self.uid >> 16) as u16);
        put_u16(&mut bytes, 0x7a, (self.gid >> 16) as u16);
        put_u16(&mut bytes, 0x80, EXTRA_SIZE as u16);
        for (at, time) in [(0x84, self.time), (0x88, self.time), (0x8c, self.time), (0x94, self.made)] {
            put_u32(&mut bytes, at, era(time));
        }
        put_u32(&mut bytes, 0x90, self.made as u32);
        put(&mut bytes, XATTRS_AT, &self.xattrs);
        bytes
    }
}

/// The two bits that lead a time beyond 2038: how many times 2^32 seconds it is from what its low half says as a signed number.
fn era(time: i64) -> u32 {
    ((time - i64::from(time as i32)) >> 32) as u32 & 3
}

/// `ext4_extent`: first block of the file, length, place on the disk.
fn extent(logical: u64, run: Run) -> [u8; 12] {
    let mut bytes = [0; 12];
    put_u32(&mut bytes, 0, logical as u32);
    put_u16(&mut bytes, 4, run.len as u16);
    put_u16(&mut bytes, 6, (run.start >> 32) as u16);
    put_u32(&mut bytes, 8, run.start as u32);
    bytes
}

/// `ext4_extent_header` and its entries.
fn extent_node(entries: &[[u8; 12]], room: usize, depth: u16) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12 + entries.len() * 12);
    for word in [EXTENT_MAGIC, entries.len() as u16, room as u16, depth, 0, 0] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(entries.concat());
    bytes
}
