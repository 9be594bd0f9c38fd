//! The blocks of the disk: which are the filesystem's own, and which are given out.

use super::inode::{INODE_SIZE, MAX_EXTENT, Run};
use super::{BLOCK, GROUP};
use crate::write::Error;

pub(super) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK;
pub(super) const MAX_INODES_PER_GROUP: u64 = 8 * BLOCK;
/// One inode per 16 KiB, as mke2fs makes it.
const USUAL_INODES_PER_GROUP: u64 = 8192;
pub(super) const DESCRIPTOR_SIZE: u64 = 32;
/// Kept free after the group descriptors, so that the filesystem can grow online to (255 + its own) * 16 GiB.
pub(super) const RESERVED_DESCRIPTOR_BLOCKS: u64 = 255;
/// 64 MiB, as mke2fs makes it for some GiB.
pub(super) const JOURNAL_BLOCKS: u64 = 16_384;

/// What follows from the filesystem's size and the number of its inodes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub groups: u64,
    pub inodes_per_group: u64,
    /// Blocks of group descriptors in use.
    pub descriptor_blocks: u64,
}

impl Geometry {
    pub(super) fn of(size: u64, last_inode: u32) -> Result<Geometry, Error> {
        let groups = size / GROUP;
        let descriptor_blocks = (groups * DESCRIPTOR_SIZE).div_ceil(BLOCK);
        if groups == 0 || !size.is_multiple_of(GROUP) || descriptor_blocks > RESERVED_DESCRIPTOR_BLOCKS {
            return Err(Error::Boot(format!(
                "a disk of {size} bytes is not one ext4 can be made for: 128 MiB to 4 TiB, in 128 MiB"
            )));
        }
        // Half as many again, so that there is room for files to come.
        let wanted = (u64::from(last_inode) * 3 / 2).div_ceil(groups);
        let inodes_per_group = wanted.max(USUAL_INODES_PER_GROUP).next_multiple_of(BLOCK / INODE_SIZE as u64);
        if inodes_per_group > MAX_INODES_PER_GROUP {
            return Err(Error::Boot("the image has too many files for the disk's size".into()));
        }
        Ok(Geometry { groups, inodes_per_group, descriptor_blocks })
    }

    pub(super) fn blocks(&self) -> u64 {
        self.groups * BLOCKS_PER_GROUP
    }

    pub(super) fn inode_table_blocks(&self) -> u64 {
        self.inodes_per_group * INODE_SIZE as u64 / BLOCK
    }

    /// Bytes of each group that are surely not for files.
    pub(super) const fn overhead() -> u64 {
        (2 + USUAL_INODES_PER_GROUP * INODE_SIZE as u64 / BLOCK + 2 + RESERVED_DESCRIPTOR_BLOCKS) * BLOCK
    }

    /// Groups that begin with a copy of the superblock and the group descriptors (`sparse_super`): 0, 1, powers of 3, 5 and 7.
    pub(super) fn has_backup(&self, group: u64) -> bool {
        let power_of =
            |base: u64| std::iter::successors(Some(1), |n| Some(n * base)).take_while(|n| *n <= group).any(|n| n == group);
        group == 0 || [3, 5, 7].into_iter().any(power_of)
    }

    /// Blocks of a superblock with all descriptors.
    pub(super) fn backup_blocks(&self) -> u64 {
        1 + self.descriptor_blocks + RESERVED_DESCRIPTOR_BLOCKS
    }
}

/// Gives blocks out from the front of the disk to its end, around the copies of the superblock.
pub(super) struct Space {
    geometry: Geometry,
    next: u64,
    /// What was given out or is taken, ascending, none touching another.
    used: Vec<Run>,
}

impl Space {
    pub(super) fn new(geometry: Geometry) -> Space {
        Space { geometry, next: 0, used: Vec::new() }
    }

    /// Blocks in one run.
    pub(super) fn contiguous(&mut self, len: u64) -> Result<u64, Error> {
        loop {
            let run = self.free_run()?;
            if run.len >= len {
                self.take(Run { start: run.start, len });
                return Ok(run.start);
            }
            // Too small a gap stays free.
            self.next = run.start + run.len;
        }
    }

    /// Blocks in as few runs as may be, each no longer than an extent can be.
    pub(super) fn runs(&mut self, mut blocks: u64) -> Result<Vec<Run>, Error> {
        let mut runs = Vec::new();
        while blocks > 0 {
            let free = self.free_run()?;
            let run = Run { start: free.start, len: free.len.min(blocks).min(MAX_EXTENT) };
            self.take(run);
            blocks -= run.len;
            runs.push(run);
        }
        Ok(runs)
    }

    /// The next run that is free: up to the next group with a backup, or the end.
    fn free_run(&mut self) -> Result<Run, Error> {
        loop {
            let group = self.next / BLOCKS_PER_GROUP;
            if group >= self.geometry.groups {
                return Err(Error::Boot("the image does not fit on the disk; order a larger one".into()));
            }
            let reserved = group * BLOCKS_PER_GROUP + self.geometry.backup_blocks();
            if self.geometry.has_backup(group) && self.next < reserved {
                self.take(Run { start: group * BLOCKS_PER_GROUP, len: self.geometry.backup_blocks() });
                continue;
            }
            let end = (group + 1..self.geometry.groups).find(|group| self.geometry.has_backup(*group));
            let end = end.unwrap_or(self.geometry.groups) * BLOCKS_PER_GROUP;
            return Ok(Run { start: self.next, len: end - self.next });
        }
    }

    fn take(&mut self, run: Run) {
        self.next = run.start + run.len;
        match self.used.last_mut() {
            Some(last) if last.start + last.len == run.start => last.len += run.len,
            _ => self.used.push(run),
        }
    }

    /// All that is taken, the backups of groups that were never reached included.
    pub(super) fn finish(mut self) -> Vec<Run> {
        let geometry = self.geometry;
        let first = self.next.div_ceil(BLOCKS_PER_GROUP);
        for group in (first..geometry.groups).filter(|group| geometry.has_backup(*group)) {
            self.take(Run { start: group * BLOCKS_PER_GROUP, len: geometry.backup_blocks() });
        }
        self.used
    }
}
