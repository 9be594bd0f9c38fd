//! What each allocation group has at its front: headers, and the trees of its free space and its inodes.

use super::Xfs;
use super::block::{Block, Header, seal};
use super::space::{CHUNK, FREE_BY_PLACE, FREE_BY_SIZE, Free, Geometry, HEADERS, INODE_ROOT, INODES_PER_BLOCK, KEPT};
use crate::bytes::Fields;

const BLOCK: usize = super::BLOCK as usize;
const SECTOR: usize = super::SECTOR as usize;
const NONE: u32 = u32::MAX;
/// Bytes of a tree's header, and of a chunk of inodes in it.
const TREE_HEAD: usize = 56;
const CHUNK_RECORD: usize = 16;
/// Chunks in a leaf, and children of a node: a key and a place each.
const CHUNKS: usize = (BLOCK - TREE_HEAD) / CHUNK_RECORD;
const CHILDREN: usize = (BLOCK - TREE_HEAD) / 8;

/// A group's numbers.
pub(super) struct State {
    pub number: u64,
    /// What is free, by its places in the group.
    pub free: Free,
    /// Inodes, and those of them that are not used.
    pub inodes: (u64, u64),
    /// Levels of their tree.
    pub inode_levels: u32,
}

/// The sectors behind the superblock: of free space, of inodes, and of the blocks kept for the trees of free space.
pub(super) fn headers(xfs: &Xfs, geometry: &Geometry, state: &State) -> Vec<u8> {
    [free_space(xfs, geometry, state), inodes(xfs, geometry, state), kept(xfs, state)].concat()
}

fn free_space(xfs: &Xfs, geometry: &Geometry, state: &State) -> Vec<u8> {
    let head = Fields::default().bytes(b"XAGF").be32(1).be32(state.number as u32).be32(geometry.group_blocks as u32);
    let roots = head.be32(FREE_BY_PLACE as u32).be32(FREE_BY_SIZE as u32).be32(0).be32(1).be32(1).be32(0);
    let kept = roots.be32(0).be32(KEPT.len() as u32 - 1).be32(KEPT.len() as u32);
    let free = kept.be32(state.free.len() as u32).be32(state.free.len() as u32).be32(0);
    sector(free.bytes(&xfs.uuid), 216)
}

fn inodes(xfs: &Xfs, geometry: &Geometry, state: &State) -> Vec<u8> {
    let (count, unused) = state.inodes;
    let newest = if count > 0 { (HEADERS * INODES_PER_BLOCK + count - CHUNK) as u32 } else { NONE };
    let head = Fields::default().bytes(b"XAGI").be32(1).be32(state.number as u32).be32(geometry.group_blocks as u32);
    let tree = head.be32(count as u32).be32(INODE_ROOT as u32).be32(state.inode_levels).be32(unused as u32);
    // No inode is waiting to be removed.
    let unlinked = tree.be32(newest).be32(NONE).bytes(&[0xff; 64 * 4]);
    sector(unlinked.bytes(&xfs.uuid), 312)
}

fn kept(xfs: &Xfs, state: &State) -> Vec<u8> {
    let head = Fields::default().bytes(b"XAFL").be32(state.number as u32).bytes(&xfs.uuid).zeros(12);
    let mut list = KEPT.iter().fold(head, |fields, block| fields.be32(*block)).done();
    list.resize(SECTOR, 0xff);
    seal(&mut list, 32);
    list
}

fn sector(fields: Fields, checksum: usize) -> Vec<u8> {
    let mut bytes = fields.done();
    bytes.resize(SECTOR, 0);
    seal(&mut bytes, checksum);
    bytes
}

/// The two trees of free space, by their places in the group: in each the one free piece.
pub(super) fn free_trees(free: Free) -> [(u64, Block); 2] {
    let record = Fields::default().be32(free.start as u32).be32(free.len() as u32).done();
    let records = if free.len() > 0 { record.as_slice() } else { &[] };
    let tree = |magic| tree_block(magic, 0, u16::from(free.len() > 0), (NONE, NONE), records);
    [(FREE_BY_PLACE, tree(b"AB3B")), (FREE_BY_SIZE, tree(b"AB3C"))]
}

/// The tree of a group's inodes, which begin at `first` without a gap: the root, and the leaves below it if it is not the only one.
/// These begin at the block `leaves_at` of the group.
pub(super) fn inode_tree(first: u64, (count, unused): (u64, u64), leaves_at: u64) -> (Block, Vec<Block>) {
    let chunks = (0..count / CHUNK).map(|at| {
        let last = (at + 1) * CHUNK == count;
        let free = if last { unused } else { 0 };
        let mask = if free > 0 { u64::MAX << (CHUNK - free) } else { 0 };
        ((first + at * CHUNK) as u32, Fields::default().be32((first + at * CHUNK) as u32).be32(free as u32).be64(mask).done())
    });
    let chunks: Vec<(u32, Vec<u8>)> = chunks.collect();
    // Each leaf below a root has to be half full at least.
    let in_leaf = chunks.len().div_ceil(inode_leaves(count).max(1) as usize).max(1);
    let leaves: Vec<&[(u32, Vec<u8>)]> = chunks.chunks(in_leaf).collect();
    let leaf = |chunks: &[(u32, Vec<u8>)], siblings| {
        let records: Vec<u8> = chunks.iter().flat_map(|(_, record)| record).copied().collect();
        tree_block(b"IAB3", 0, chunks.len() as u16, siblings, &records)
    };
    if leaves.len() <= 1 {
        return (leaf(leaves.first().copied().unwrap_or_default(), (NONE, NONE)), Vec::new());
    }
    let place = |at: usize| (leaves_at + at as u64) as u32;
    // All keys first, then all places, each with room for the most there can be.
    let keys = leaves.iter().fold(Fields::default(), |fields, leaf| fields.be32(leaf.first().map_or(0, |(first, _)| *first)));
    let keys = keys.zeros((CHILDREN - leaves.len().min(CHILDREN)) * 4);
    let pointers = (0..leaves.len()).fold(keys, |fields, at| fields.be32(place(at))).done();
    let root = tree_block(b"IAB3", 1, leaves.len() as u16, (NONE, NONE), &pointers);
    let blocks = leaves.iter().enumerate().map(|(at, chunks)| {
        let left = if at > 0 { place(at - 1) } else { NONE };
        let right = if at + 1 < leaves.len() { place(at + 1) } else { NONE };
        leaf(chunks, (left, right))
    });
    (root, blocks.collect())
}

/// How many leaves the tree of so many inodes has below its root.
pub(super) fn inode_leaves(count: u64) -> u64 {
    match count.div_ceil(CHUNK * CHUNKS as u64) {
        0 | 1 => 0,
        leaves => leaves,
    }
}

fn tree_block(magic: &[u8], level: u16, records: u16, (left, right): (u32, u32), body: &[u8]) -> Block {
    let head = Fields::default().bytes(magic).be16(level).be16(records).be32(left).be32(right).zeros(TREE_HEAD - 16);
    Block::new(Header::Group, head.bytes(body).done())
}
