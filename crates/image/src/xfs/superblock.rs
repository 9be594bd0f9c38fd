//! The superblock, which each group begins with a copy of, and the empty log.

use super::block::seal;
use super::space::{Geometry, INODE_SIZE, INODES_PER_BLOCK, LOG_BLOCKS};
use super::{BLOCK, GROUPS, SECTOR, Xfs};
use crate::bytes::{Fields, put};

/// Version 5, with attributes, aligned inodes, the second version of the log, and more features, named next.
pub(super) const VERSION: u16 = 0xb4b5;
/// Counters that are right after unmounting only, the present form of attributes, project numbers of 32 bits, checksums.
const FEATURES: u32 = 0x18a;
/// What a kernel must know: types of files in directories, and times beyond 2038.
pub(super) const INCOMPAT: u32 = 1 | 1 << 3;
/// The part of the disk, in percent, that inodes may take.
const MOST_INODES: u8 = 25;
/// Blocks that chunks of inodes are aligned to.
const ALIGNMENT: u32 = 4;
/// The number of an operation in the log that nobody waits for, the log's own clients, and the sign that it was unmounted.
const OPERATION: u32 = 0xb0c0_d0d0;
const LOG_CLIENT: u8 = 0xaa;
const UNMOUNTED: u8 = 0x20;
const UNMOUNT_RECORD: &[u8] = b"nU";

/// What is counted over all groups.
pub(super) struct Summary<'g> {
    pub geometry: &'g Geometry,
    pub free_inodes: u64,
    pub free_blocks: u64,
}

/// A superblock, in its sector.
pub(super) fn superblock(xfs: &Xfs, summary: &Summary) -> Vec<u8> {
    let Summary { geometry, .. } = summary;
    let (first, label) = (geometry.first_inode(), xfs.label.as_bytes());
    let sizes = Fields::default().bytes(b"XFSB").be32(BLOCK as u32).be64(geometry.blocks()).zeros(16).bytes(&xfs.uuid);
    let places = sizes.be64(geometry.address(geometry.log())).be64(first).be64(first + 1).be64(first + 2).be32(1);
    let groups = places.be32(geometry.group_blocks as u32).be32(GROUPS as u32).be32(0).be32(LOG_BLOCKS as u32).be16(VERSION);
    let units = groups.be16(SECTOR as u16).be16(INODE_SIZE as u16).be16(INODES_PER_BLOCK as u16);
    let name = units.bytes(label.get(..12).unwrap_or(label)).zeros(12usize.saturating_sub(label.len()));
    let bits = |number: u64| number.trailing_zeros() as u8;
    let logs =
        name.u8(bits(BLOCK)).u8(bits(SECTOR)).u8(bits(INODE_SIZE)).u8(bits(INODES_PER_BLOCK)).u8(geometry.group_bits() as u8);
    let counts = logs.zeros(2).u8(MOST_INODES).be64(geometry.inodes()).be64(summary.free_inodes).be64(summary.free_blocks);
    // No realtime blocks, no quotas, no stripes; directories have blocks of the usual size; the log has no unit.
    let rest = counts.zeros(8 + 16 + 4).be32(ALIGNMENT).zeros(8 + 1 + 1 + 2).be32(1);
    let mut bytes = rest.be32(FEATURES).be32(FEATURES).be32(0).be32(0).be32(INCOMPAT).be32(0).done();
    bytes.resize(SECTOR as usize, 0);
    seal(&mut bytes, 224);
    bytes
}

/// The first block of a log in which nothing waits: the record of having been unmounted. All after it is zero.
pub(super) fn empty_log(xfs: &Xfs) -> Vec<u8> {
    const CYCLE: u32 = 1;
    let head = Fields::default().be32(0xfeed_babe).be32(CYCLE).be32(2).be32(SECTOR as u32).be64(u64::from(CYCLE) << 32);
    let record = head.be64(u64::from(CYCLE) << 32).be32(0).be32(u32::MAX).be32(1);
    // A sector's first word is kept here, as it has the cycle in its place. Numbers in the log are little-endian ones (format 1).
    let words = record.be32(OPERATION).zeros(63 * 4).be32(1).bytes(&xfs.uuid).be32(32_768).done();
    let operation = Fields::default().be32(CYCLE).be32(8).u8(LOG_CLIENT).u8(UNMOUNTED).be16(0).bytes(UNMOUNT_RECORD).done();
    let mut bytes = vec![0; BLOCK as usize];
    put(&mut bytes, 0, &words);
    put(&mut bytes, SECTOR as usize, &operation);
    bytes
}
