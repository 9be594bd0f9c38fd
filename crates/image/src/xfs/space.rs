//! Where things are: allocation groups, and in each of them what is not yet given out.

use super::{BLOCK, GROUPS};
use crate::write::Error;

pub(super) const INODE_SIZE: u64 = 512;
pub(super) const INODES_PER_BLOCK: u64 = BLOCK / INODE_SIZE;
/// Inodes come in chunks of this many.
pub(super) const CHUNK: u64 = 64;
/// Blocks at the front of each group: headers, three trees' roots, and four blocks kept for these trees to grow.
pub(super) const HEADERS: u64 = 8;
pub(super) const FREE_BY_PLACE: u64 = 1;
pub(super) const FREE_BY_SIZE: u64 = 2;
pub(super) const INODE_ROOT: u64 = 3;
pub(super) const KEPT: [u32; 4] = [4, 5, 6, 7];
/// Blocks of the log, and its group.
pub(super) const LOG_BLOCKS: u64 = 16_384;
const LOG_GROUP: u64 = GROUPS / 2;
/// The most blocks of an extent, which has 21 bits for them.
const MAX_EXTENT: u64 = (1 << 21) - 1;
/// The most inodes that the first group is made with: their tree then has two levels at the most.
const MAX_INODES: u64 = 8 << 20;

/// The filesystem's measures. Blocks are counted over all groups without a gap.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub group_blocks: u64,
    inodes: u64,
}

impl Geometry {
    /// # Errors
    /// `Boot` when there is no room for so many inodes.
    pub(super) fn of(size: u64, inodes: u64) -> Result<Geometry, Error> {
        let geometry = Geometry { group_blocks: size / BLOCK / GROUPS, inodes: inodes.next_multiple_of(CHUNK) };
        let fits = geometry.group_blocks > LOG_BLOCKS * 2 && geometry.inode_blocks() < geometry.group_blocks / 2;
        match fits && inodes <= MAX_INODES {
            true => Ok(geometry),
            false => Err(Error::Boot("the system has too many files for the disk's xfs filesystem".into())),
        }
    }

    pub(super) fn blocks(&self) -> u64 {
        self.group_blocks * GROUPS
    }

    /// The bits of a block's number in its group.
    pub(super) fn group_bits(&self) -> u32 {
        self.group_blocks.next_power_of_two().trailing_zeros()
    }

    /// A block as it is named on the disk: its group's number above its number in the group.
    pub(super) fn address(&self, block: u64) -> u64 {
        (block / self.group_blocks) << self.group_bits() | self.in_group(block)
    }

    pub(super) fn in_group(&self, block: u64) -> u64 {
        block % self.group_blocks
    }

    /// Inodes there are room for, used or not.
    pub(super) fn inodes(&self) -> u64 {
        self.inodes
    }

    pub(super) fn inode_blocks(&self) -> u64 {
        self.inodes / INODES_PER_BLOCK
    }

    /// The root's number. All inodes are in the first group, right behind the headers, where xfs_repair looks for the root.
    pub(super) fn first_inode(&self) -> u64 {
        HEADERS * INODES_PER_BLOCK
    }

    /// The log's first block.
    pub(super) fn log(&self) -> u64 {
        LOG_GROUP * self.group_blocks + HEADERS
    }
}

/// The end of a group that is still free.
#[derive(Clone, Copy)]
pub(super) struct Free {
    pub start: u64,
    pub end: u64,
}

impl Free {
    pub(super) fn len(&self) -> u64 {
        self.end - self.start
    }
}

/// Gives out blocks, each group's from its front.
pub(super) struct Space {
    groups: Vec<Free>,
}

impl Space {
    pub(super) fn new(geometry: Geometry) -> Space {
        let group = |number: u64| {
            let taken = match number {
                0 => geometry.inode_blocks(),
                LOG_GROUP => LOG_BLOCKS,
                _ => 0,
            };
            let start = number * geometry.group_blocks;
            Free { start: start + HEADERS + taken, end: start + geometry.group_blocks }
        };
        Space { groups: (0..GROUPS).map(group).collect() }
    }

    /// So many blocks in one piece.
    pub(super) fn contiguous(&mut self, count: u64) -> Result<u64, Error> {
        let group = self.groups.iter_mut().find(|group| group.len() >= count).ok_or_else(too_large)?;
        group.start += count;
        Ok(group.start - count)
    }

    /// So many blocks in as few pieces as the groups' borders allow: first block and number of each.
    pub(super) fn pieces(&mut self, count: u64) -> Result<Vec<(u64, u64)>, Error> {
        let (mut left, mut pieces) = (count, Vec::new());
        while left > 0 {
            let group = self.groups.iter_mut().find(|group| group.len() > 0).ok_or_else(too_large)?;
            let len = left.min(group.len()).min(MAX_EXTENT);
            pieces.push((group.start, len));
            group.start += len;
            left -= len;
        }
        Ok(pieces)
    }

    /// What is free in each group.
    pub(super) fn groups(&self) -> &[Free] {
        &self.groups
    }
}

fn too_large() -> Error {
    Error::Boot("the system is too large for the disk's xfs filesystem".into())
}
