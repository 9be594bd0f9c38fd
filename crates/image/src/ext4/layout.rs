//! Puts everything in its place: what the filesystem itself needs at the front, then the tree's content in order.

use super::inode::{INODE_SIZE, Inode, MAP_SIZE, Run};
use super::space::{BLOCKS_PER_GROUP, Geometry, JOURNAL_BLOCKS, RESERVED_DESCRIPTOR_BLOCKS, Space};
use super::superblock::{self, Group, Summary};
use super::{BLOCK, Ext4, FIRST_INODE, JOURNAL_INODE, Nodes, RESIZE_INODE, ROOT_INODE, directory};
use crate::bytes::{put, put_u32};
use crate::sparse::{Content, Source, Sparse};
use crate::write::{Error, WriteOptions};

/// Blocks of `lost+found`.
const LOST_AND_FOUND_BLOCKS: usize = 4;
/// Block numbers in a block.
const ADDRESSES: u64 = BLOCK / 4;

pub(super) struct Layout<'a> {
    geometry: Geometry,
    space: Space,
    out: Sparse<'a>,
    groups: Vec<Group>,
    /// The inode table of each group, as far as it is used.
    tables: Vec<Vec<u8>>,
    journal: ([u8; MAP_SIZE], u64),
}

impl<'a> Layout<'a> {
    /// Gives every group its bitmaps and its inode table.
    pub(super) fn new(geometry: &Geometry) -> Result<Layout<'a>, Error> {
        let mut space = Space::new(*geometry);
        let mut groups = vec![Group::default(); geometry.groups as usize];
        for group in &mut groups {
            group.block_bitmap = space.contiguous(1)?;
        }
        for group in &mut groups {
            group.inode_bitmap = space.contiguous(1)?;
        }
        for group in &mut groups {
            group.inode_table = space.contiguous(geometry.inode_table_blocks())?;
        }
        Ok(Layout {
            geometry: *geometry,
            space,
            out: Sparse::new(geometry.blocks() * BLOCK),
            tables: vec![Vec::new(); groups.len()],
            groups,
            journal: ([0; MAP_SIZE], 0),
        })
    }

    pub(super) fn add_journal(&mut self, ext4: &Ext4, options: &WriteOptions) -> Result<(), Error> {
        let mut inode = Inode::special(0o100_600, options);
        let start = self.space.contiguous(JOURNAL_BLOCKS)?;
        inode.size = JOURNAL_BLOCKS * BLOCK;
        inode.set_runs(&[Run { start, len: JOURNAL_BLOCKS }], self)?;
        self.out.put_bytes(start * BLOCK, superblock::journal(ext4));
        self.journal = (inode.map, inode.size);
        self.put_inode(JOURNAL_INODE, &inode);
        Ok(())
    }

    /// The inode that holds the blocks kept for more group descriptors: a doubly indirect block names those after the first
    /// superblock, and each of them names its copies (e2fsprogs' `res_gdt.c`; the kernel's `ext4_resize_begin` follows it).
    pub(super) fn add_resize_inode(&mut self, options: &WriteOptions) -> Result<(), Error> {
        let mut inode = Inode::special(0o100_600, options);
        let mut names = vec![0; BLOCK as usize];
        let backups: Vec<u64> = (1..self.geometry.groups).filter(|group| self.geometry.has_backup(*group)).collect();
        let first = 1 + self.geometry.descriptor_blocks;
        for block in first..first + RESERVED_DESCRIPTOR_BLOCKS {
            // The block for the n-th block of descriptors is the n-th name.
            put_u32(&mut names, ((block - 1) % ADDRESSES * 4) as usize, block as u32);
            let mut copies = vec![0; BLOCK as usize];
            for (at, group) in backups.iter().enumerate() {
                put_u32(&mut copies, at * 4, (group * BLOCKS_PER_GROUP + block) as u32);
            }
            if !backups.is_empty() {
                self.out.put_bytes(block * BLOCK, copies);
            }
        }
        let at = self.add_block(names)?;
        put_u32(&mut inode.map, 13 * 4, at as u32);
        inode.blocks = 1 + RESERVED_DESCRIPTOR_BLOCKS * (1 + backups.len() as u64);
        inode.size = (ADDRESSES * ADDRESSES + ADDRESSES + 12) * BLOCK;
        self.put_inode(RESIZE_INODE, &inode);
        Ok(())
    }

    pub(super) fn add_lost_and_found(&mut self, nodes: &Nodes, options: &WriteOptions) -> Result<(), Error> {
        if !nodes.adds_lost_and_found {
            return Ok(());
        }
        let mut inode = Inode::special(0o040_700, options);
        inode.links = 2;
        self.add_directory(&mut inode, directory::empty(FIRST_INODE, ROOT_INODE, LOST_AND_FOUND_BLOCKS))?;
        self.put_inode(FIRST_INODE, &inode);
        Ok(())
    }

    /// Puts one block somewhere.
    pub(super) fn add_block(&mut self, bytes: Vec<u8>) -> Result<u64, Error> {
        let at = self.space.contiguous(1)?;
        self.out.put_bytes(at * BLOCK, bytes);
        Ok(at)
    }

    pub(super) fn add_directory(&mut self, inode: &mut Inode, blocks: Vec<u8>) -> Result<(), Error> {
        inode.size = blocks.len() as u64;
        let runs = self.space.runs(inode.size / BLOCK)?;
        let mut rest = blocks.as_slice();
        for run in &runs {
            let (head, tail) = rest.split_at(rest.len().min((run.len * BLOCK) as usize));
            self.out.put_bytes(run.start * BLOCK, head.to_vec());
            rest = tail;
        }
        inode.set_runs(&runs, self)
    }

    /// Short targets stand in the inode itself, in place of the map.
    pub(super) fn add_symlink(&mut self, inode: &mut Inode, target: &[u8]) -> Result<(), Error> {
        inode.size = target.len() as u64;
        if target.len() < MAP_SIZE {
            put(&mut inode.map, 0, target);
            return Ok(());
        }
        let at = self.add_block(target.to_vec())?;
        inode.set_runs(&[Run { start: at, len: 1 }], self)
    }

    pub(super) fn add_file(&mut self, inode: &mut Inode, source: Source<'a>) -> Result<(), Error> {
        inode.size = source.size;
        let runs = self.space.runs(source.size.div_ceil(BLOCK))?;
        let mut offset = 0;
        for run in &runs {
            let len = (run.len * BLOCK).min(source.size - offset);
            self.out.put(run.start * BLOCK, Content::File { source, offset, len });
            offset += len;
        }
        inode.set_runs(&runs, self)
    }

    /// Writes an inode into its table. Numbers begin with 1.
    pub(super) fn put_inode(&mut self, number: u32, inode: &Inode) {
        let index = u64::from(number.saturating_sub(1));
        let (group, place) =
            ((index / self.geometry.inodes_per_group) as usize, (index % self.geometry.inodes_per_group) as usize);
        let bytes = inode.to_bytes();
        if let (Some(table), Some(group)) = (self.tables.get_mut(group), self.groups.get_mut(group)) {
            let end = (place + 1) * INODE_SIZE;
            table.resize(table.len().max(end), 0);
            put(table, place * INODE_SIZE, &bytes);
            group.directories += u64::from(inode.is_directory());
        }
    }

    /// Tables, bitmaps, descriptors and superblocks: all that is known at the end only.
    pub(super) fn finish(mut self, ext4: &Ext4, options: &WriteOptions) -> Sparse<'a> {
        let used = self.space.finish();
        let reserved = u64::from(FIRST_INODE) - 1;
        for (number, (group, table)) in self.groups.iter_mut().zip(self.tables).enumerate() {
            // The reserved inodes are in use, whatever is in them, and all are given out without a gap.
            let inodes = (table.len() / INODE_SIZE) as u64;
            let inodes = if number == 0 { inodes.max(reserved) } else { inodes };
            group.free_inodes = self.geometry.inodes_per_group - inodes;
            let mut bitmap = Bitmap::new();
            bitmap.set(0, inodes);
            bitmap.set(self.geometry.inodes_per_group, BLOCKS_PER_GROUP);
            self.out.put_bytes(group.inode_bitmap * BLOCK, bitmap.0);
            self.out.put_bytes(group.inode_table * BLOCK, table);

            let (start, end) = (number as u64 * BLOCKS_PER_GROUP, (number as u64 + 1) * BLOCKS_PER_GROUP);
            let (mut bitmap, mut taken) = (Bitmap::new(), 0);
            let from = used.partition_point(|run| run.start + run.len <= start);
            for run in used.iter().skip(from).take_while(|run| run.start < end) {
                let (first, last) = (run.start.max(start), (run.start + run.len).min(end));
                bitmap.set(first - start, last - start);
                taken += last - first;
            }
            group.free_blocks = BLOCKS_PER_GROUP - taken;
            self.out.put_bytes(group.block_bitmap * BLOCK, bitmap.0);
        }
        let summary = Summary { geometry: &self.geometry, groups: &self.groups, journal: self.journal };
        let descriptors = superblock::descriptors(&self.groups);
        for group in (0..self.geometry.groups).filter(|group| self.geometry.has_backup(*group)) {
            let start = group * BLOCKS_PER_GROUP * BLOCK;
            // The first is 1024 bytes into the disk, where boot sectors leave it room.
            let at = if group == 0 { 1024 } else { start };
            self.out.put_bytes(at, superblock::superblock(&summary, ext4, options, group));
            self.out.put_bytes(start + BLOCK, descriptors.clone());
        }
        self.out
    }
}

/// A block of bits.
struct Bitmap(Vec<u8>);

impl Bitmap {
    fn new() -> Bitmap {
        Bitmap(vec![0; BLOCK as usize])
    }

    fn set(&mut self, from: u64, to: u64) {
        for bit in from..to {
            if let Some(byte) = self.0.get_mut((bit / 8) as usize) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
}
