//! Blocks of metadata, each with where it is, whose it is, and a checksum.

use super::BLOCK;
use crate::bytes::{put, put_u32};

/// Where a block's header has its own fields.
#[derive(Clone, Copy)]
pub(super) enum Header {
    /// Directories' names and free space.
    Directory,
    /// Directories' hashes and attributes.
    Hashes,
    /// What an inode has no room for: targets of links, large values of attributes.
    Remote,
    /// A group's trees, whose owner is the group's number.
    Group,
}

/// A block whose header lacks what [`Block::sealed`] puts in.
pub(super) struct Block {
    pub header: Header,
    pub bytes: Vec<u8>,
}

impl Block {
    /// A block that begins with these bytes.
    pub(super) fn new(header: Header, mut bytes: Vec<u8>) -> Block {
        bytes.resize(BLOCK as usize, 0);
        Block { header, bytes }
    }

    /// The block for this place, in sectors of 512 bytes from the disk's start, and this owner.
    pub(super) fn sealed(mut self, sector: u64, uuid: &[u8; 16], owner: u64) -> Vec<u8> {
        let (crc_at, sector_at, uuid_at, owner_at) = match self.header {
            Header::Directory => (4, 8, 24, 40),
            Header::Hashes => (12, 16, 32, 48),
            Header::Remote => (12, 40, 16, 32),
            Header::Group => (52, 16, 32, 48),
        };
        put(&mut self.bytes, sector_at, &sector.to_be_bytes());
        put(&mut self.bytes, uuid_at, uuid);
        match self.header {
            Header::Group => put(&mut self.bytes, owner_at, &(owner as u32).to_be_bytes()),
            _ => put(&mut self.bytes, owner_at, &owner.to_be_bytes()),
        }
        seal(&mut self.bytes, crc_at);
        self.bytes
    }
}

/// Puts the checksum of a structure into it.
pub(super) fn seal(bytes: &mut [u8], at: usize) {
    put_u32(bytes, at, 0);
    let sum = crc32c::crc32c(bytes);
    put_u32(bytes, at, sum);
}

/// The hash of a name in a directory or of an attribute (`xfs_da_hashname`): each byte takes seven bits.
pub(super) fn hash(name: &[u8]) -> u32 {
    name.chunks(4).fold(0, |hash: u32, part| {
        let mixed = part.iter().fold(0u32, |mixed, byte| mixed << 7 ^ u32::from(*byte));
        mixed ^ hash.rotate_left(7 * part.len() as u32)
    })
}
