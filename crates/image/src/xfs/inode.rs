//! Inodes: metadata, and two forks: where the content is, or the content itself, and the attributes.

use super::block::seal;
use super::space::INODE_SIZE;
use crate::bytes::{Fields, put};
use crate::entry::Kind;
use crate::nodes::{Node, Nodes};
use crate::write::{Error, WriteOptions};

/// Inodes of the filesystem's own behind the root.
pub(super) const RESERVED: u64 = 2;
/// Bytes of the fields, and of the two forks together.
pub(super) const FIELDS: usize = 176;
const FORKS: usize = INODE_SIZE as usize - FIELDS;
/// Where the checksum is.
pub(super) const CHECKSUM: usize = 100;
const EXTENT: usize = 16;
/// What attributes leave for the content at least: four extents.
const LEAST_ROOM: usize = 4 * EXTENT;
/// Bytes of a device's numbers, as a fork.
const DEVICE_FORK: usize = 8;
/// The bits that a device's minor number takes, and the largest major number that the kernel reads.
const MINOR_BITS: u32 = 18;
const MAX_MAJOR: u32 = 0x1ff;
/// Marks the bitmap of a realtime device (`XFS_DIFLAG_NEWRTBM`), and times in the larger form (`XFS_DIFLAG2_BIGTIME`).
const NEW_BITMAP: u16 = 1 << 2;
const BIG_TIME: u64 = 1 << 3;
/// Where times in the larger form begin, in seconds before the epoch.
const TIME_START: i64 = 1 << 31;

/// What a fork has.
#[derive(Clone, Copy)]
pub(super) enum Format {
    Device = 0,
    Local = 1,
    Extents = 2,
}

pub(super) struct Inode {
    pub number: u64,
    mode: u16,
    uid: u32,
    gid: u32,
    links: u32,
    time: i64,
    /// Bytes of its content.
    pub size: u64,
    /// Blocks of content and attributes.
    blocks: u64,
    flags: u16,
    content: Fork,
    attributes: Option<Fork>,
}

struct Fork {
    format: Format,
    bytes: Vec<u8>,
    /// Extents in it.
    extents: u32,
}

impl Fork {
    fn new(format: Format) -> Fork {
        Fork { format, bytes: Vec::new(), extents: 0 }
    }

    fn add(&mut self, offset: u64, address: u64, count: u64) {
        // 54 bits for the place in the file, 52 for the one on the disk, 21 for the length.
        let bits = u128::from(offset) << 73 | u128::from(address) << 21 | u128::from(count);
        self.bytes.extend(bits.to_be_bytes());
        self.extents += 1;
    }
}

impl Inode {
    fn new(number: u64, mode: u16, time: i64, format: Format) -> Inode {
        let content = Fork::new(format);
        Inode { number, mode, uid: 0, gid: 0, links: 1, time, size: 0, blocks: 0, flags: 0, content, attributes: None }
    }

    /// An entry's metadata.
    pub(super) fn of(number: u64, node: &Node, nodes: &Nodes, options: &WriteOptions) -> Inode {
        let entry = node.entry;
        let (kind, format) = match entry.kind {
            Kind::Fifo => (0x1000, Format::Device),
            Kind::CharDevice { .. } => (0x2000, Format::Device),
            Kind::Dir => (0x4000, Format::Extents),
            Kind::BlockDevice { .. } => (0x6000, Format::Device),
            Kind::File { .. } => (0x8000, Format::Extents),
            Kind::Symlink(_) => (0xa000, Format::Extents),
        };
        let mut inode = Inode::new(number, kind | (entry.mode & 0o7777) as u16, options.mtime(entry), format);
        (inode.uid, inode.gid) = (entry.uid, entry.gid);
        inode.links = match entry.is_dir() {
            true => 2 + node.children.iter().filter(|child| nodes.entry(child.node).is_some_and(|e| e.is_dir())).count() as u32,
            false => node.names.len() as u32,
        };
        if matches!(format, Format::Device) {
            inode.content.bytes = vec![0; DEVICE_FORK];
        }
        inode
    }

    /// The bitmap, or the summary, of a realtime device that is not there.
    pub(super) fn realtime(number: u64, is_bitmap: bool, options: &WriteOptions) -> Inode {
        let inode = Inode::new(number, 0x8000, options.epoch, Format::Extents);
        Inode { flags: if is_bitmap { NEW_BITMAP } else { 0 }, ..inode }
    }

    /// Room for attributes in the inode.
    pub(super) fn room_for_attributes(&self) -> usize {
        match self.content.format {
            Format::Device => FORKS - DEVICE_FORK,
            Format::Local | Format::Extents => FORKS - LEAST_ROOM,
        }
    }

    pub(super) fn set_short_attributes(&mut self, bytes: Vec<u8>) {
        self.attributes = Some(Fork { format: Format::Local, bytes, extents: 0 });
    }

    pub(super) fn set_attribute_blocks(&mut self, address: u64, count: u64) {
        let mut fork = Fork::new(Format::Extents);
        fork.add(0, address, count);
        self.attributes = Some(fork);
        self.blocks += count;
    }

    /// Where the attributes begin, in units of eight bytes; 0 without attributes.
    fn fork_offset(&self) -> usize {
        match (&self.attributes, self.content.format) {
            (None, _) => 0,
            (Some(_), Format::Device) => DEVICE_FORK / 8,
            (Some(attributes), _) => (FORKS - attributes.bytes.len().next_multiple_of(8)) / 8,
        }
    }

    /// Bytes that the content, or its map, may take in the inode.
    pub(super) fn room(&self) -> usize {
        match self.fork_offset() {
            0 => FORKS,
            offset => offset * 8,
        }
    }

    /// Puts the content into the inode.
    pub(super) fn set_local(&mut self, bytes: Vec<u8>) {
        self.size = bytes.len() as u64;
        self.content = Fork { format: Format::Local, bytes, extents: 0 };
    }

    /// Says whether the numbers could be kept.
    pub(super) fn set_device(&mut self, major: u32, minor: u32) -> bool {
        self.content.bytes = Fields::default().be32(major << MINOR_BITS | minor & ((1 << MINOR_BITS) - 1)).be32(0).done();
        major <= MAX_MAJOR && minor < 1 << MINOR_BITS
    }

    /// Adds a piece of content: its block in the file, its first block on the disk as the disk names it, and its blocks.
    ///
    /// # Errors
    /// `Boot` for more pieces than the inode has room for, which no file has that is not much larger than a group.
    pub(super) fn add_extent(&mut self, offset: u64, address: u64, count: u64) -> Result<(), Error> {
        self.content.add(offset, address, count);
        self.blocks += count;
        match self.content.bytes.len() <= self.room() {
            true => Ok(()),
            false => Err(Error::Boot("a file is too large for the disk's xfs filesystem".into())),
        }
    }

    pub(super) fn to_bytes(&self, uuid: &[u8; 16]) -> Vec<u8> {
        let time = (self.time + TIME_START).max(0) as u64 * 1_000_000_000;
        let attribute_extents = self.attributes.as_ref().map_or(0, |fork| fork.extents);
        let attribute_format = self.attributes.as_ref().map_or(Format::Extents, |fork| fork.format);
        let who = Fields::default().bytes(b"IN").be16(self.mode).u8(3).u8(self.content.format as u8).be16(0);
        let who = who.be32(self.uid).be32(self.gid).be32(self.links).zeros(12);
        let sizes = who.be64(time).be64(time).be64(time).be64(self.size).be64(self.blocks).be32(0);
        let forks = sizes.be32(self.content.extents).be16(attribute_extents as u16).u8(self.fork_offset() as u8);
        let flags = forks.u8(attribute_format as u8).zeros(6).be16(self.flags).be32(0);
        // The checksum and the log's number are nothing yet; it was changed once.
        let state = flags.be32(u32::MAX).zeros(4).be64(1).be64(0).be64(BIG_TIME).zeros(16);
        let mut bytes = state.be64(time).be64(self.number).bytes(uuid).done();
        bytes.resize(INODE_SIZE as usize, 0);
        put(&mut bytes, FIELDS, &self.content.bytes);
        if let Some(attributes) = &self.attributes {
            put(&mut bytes, FIELDS + self.fork_offset() * 8, &attributes.bytes);
        }
        seal(&mut bytes, CHECKSUM);
        bytes
    }
}

/// An inode that is not used.
pub(super) fn unused(number: u64, uuid: &[u8; 16]) -> Vec<u8> {
    let head = Fields::default().bytes(b"IN").be16(0).u8(3).zeros(91).be32(u32::MAX).zeros(52);
    let mut bytes = head.be64(number).bytes(uuid).done();
    bytes.resize(INODE_SIZE as usize, 0);
    seal(&mut bytes, CHECKSUM);
    bytes
}
