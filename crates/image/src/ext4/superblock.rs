//! The superblock, the group descriptors, and the journal's superblock.

use super::inode::{INODE_SIZE, MAP_SIZE};
use super::space::{BLOCKS_PER_GROUP, DESCRIPTOR_SIZE, Geometry, JOURNAL_BLOCKS, RESERVED_DESCRIPTOR_BLOCKS};
use super::{BLOCK, Ext4, FIRST_INODE, JOURNAL_INODE};
use crate::bytes::{put, put_u16, put_u32};
use crate::write::WriteOptions;

/// HAS_JOURNAL, EXT_ATTR, RESIZE_INODE, DIR_INDEX.
const COMPATIBLE: u32 = 0x4 | 0x8 | 0x10 | 0x20;
/// FILETYPE, EXTENTS, FLEX_BG.
const INCOMPATIBLE: u32 = 0x2 | 0x40 | 0x200;
/// SPARSE_SUPER, LARGE_FILE, DIR_NLINK, EXTRA_ISIZE.
const READ_ONLY_COMPATIBLE: u32 = 0x1 | 0x2 | 0x20 | 0x40;
/// One block in a hundred is root's alone; with the usual five, a large disk would keep gigabytes back.
const RESERVED_PART: u64 = 100;

/// Where a group's own blocks are, and what of it is free.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Group {
    pub block_bitmap: u64,
    pub inode_bitmap: u64,
    pub inode_table: u64,
    pub free_blocks: u64,
    pub free_inodes: u64,
    pub directories: u64,
}

/// What the superblock says of the whole.
pub(super) struct Summary<'a> {
    pub geometry: &'a Geometry,
    pub groups: &'a [Group],
    /// The journal's map and size, kept a second time.
    pub journal: ([u8; MAP_SIZE], u64),
}

/// The superblock's 1024 bytes, as they are in this group.
pub(super) fn superblock(summary: &Summary, ext4: &Ext4, options: &WriteOptions, group: u64) -> Vec<u8> {
    let geometry = summary.geometry;
    let time = u32::try_from(options.epoch).unwrap_or(0);
    let blocks = geometry.blocks();
    let sum = |of: fn(&Group) -> u64| summary.groups.iter().map(of).sum::<u64>() as u32;
    let mut bytes = vec![0; 1024];
    let numbers = [
        (0x00, (geometry.inodes_per_group * geometry.groups) as u32),
        (0x04, blocks as u32),
        (0x08, (blocks / RESERVED_PART) as u32),
        (0x0c, sum(|group| group.free_blocks)),
        (0x10, sum(|group| group.free_inodes)),
        // Blocks and clusters of 2^(10 + 2) bytes.
        (0x18, 2),
        (0x1c, 2),
        (0x20, BLOCKS_PER_GROUP as u32),
        (0x24, BLOCKS_PER_GROUP as u32),
        (0x28, geometry.inodes_per_group as u32),
        (0x30, time),
        (0x40, time),
        // Revision 1: inodes of any size.
        (0x4c, 1),
        (0x54, FIRST_INODE),
        (0x5c, COMPATIBLE),
        (0x60, INCOMPATIBLE),
        (0x64, READ_ONLY_COMPATIBLE),
        (0xe0, JOURNAL_INODE),
        // Mounted with user_xattr and acl.
        (0x100, 0x0c),
        (0x108, time),
        // The hash of directories takes names as signed characters.
        (0x160, 1),
    ];
    numbers.iter().for_each(|(at, value)| put_u32(&mut bytes, *at, *value));
    let words = [
        // No check is due after a number of mounts.
        (0x36, 0xffff),
        (0x38, 0xef53),
        // Clean; go on after errors.
        (0x3a, 1),
        (0x3c, 1),
        (0x58, INODE_SIZE as u16),
        (0x5a, group as u16),
        (0xce, RESERVED_DESCRIPTOR_BLOCKS as u16),
        // At least this many bytes of fields beyond the first 128.
        (0x15c, 32),
        (0x15e, 32),
    ];
    words.iter().for_each(|(at, value)| put_u16(&mut bytes, *at, *value));
    put(&mut bytes, 0x68, &ext4.uuid);
    put(&mut bytes, 0x78, ext4.label.as_bytes().get(..16).unwrap_or(ext4.label.as_bytes()));
    put(&mut bytes, 0xec, &ext4.hash_seed);
    // Half MD4 for directories; the journal's map is kept here.
    put(&mut bytes, 0xfc, &[1, 1]);
    let (map, size) = &summary.journal;
    put(&mut bytes, 0x10c, map);
    put_u32(&mut bytes, 0x10c + MAP_SIZE, (size >> 32) as u32);
    put_u32(&mut bytes, 0x110 + MAP_SIZE, *size as u32);
    // Metadata of 2^4 groups together.
    put(&mut bytes, 0x174, &[4]);
    bytes
}

/// The group descriptors, padded to whole blocks.
pub(super) fn descriptors(groups: &[Group]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(groups.len() * DESCRIPTOR_SIZE as usize);
    for group in groups {
        let start = bytes.len();
        bytes.resize(start + DESCRIPTOR_SIZE as usize, 0);
        put_u32(&mut bytes, start, group.block_bitmap as u32);
        put_u32(&mut bytes, start + 4, group.inode_bitmap as u32);
        put_u32(&mut bytes, start + 8, group.inode_table as u32);
        put_u16(&mut bytes, start + 12, group.free_blocks as u16);
        put_u16(&mut bytes, start + 14, group.free_inodes as u16);
        put_u16(&mut bytes, start + 16, group.directories as u16);
    }
    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
    bytes
}

/// The first block of an empty journal (JBD2, superblock version 2; big-endian).
pub(super) fn journal(ext4: &Ext4) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK as usize];
    let mut put_be = |at: usize, value: u32| put(&mut bytes, at, &value.to_be_bytes());
    put_be(0x00, 0xc03b_3998);
    put_be(0x04, 4);
    put_be(0x0c, BLOCK as u32);
    put_be(0x10, JOURNAL_BLOCKS as u32);
    // Transactions begin at block 1 with number 1; none is there.
    put_be(0x14, 1);
    put_be(0x18, 1);
    put_be(0x40, 1);
    put(&mut bytes, 0x30, &ext4.uuid);
    bytes
}
