//! The superblock, and the descriptions of the device and its chunks, which it has copies of.

use super::btree::{Item, Key, NODE, Type, seal};
use super::space::{Chunk, Chunks};
use super::{Btrfs, DEVICE, GENERATION, Identity, SECTOR};
use crate::bytes::{Fields, put};

/// Bytes of a superblock.
const SIZE: usize = 4096;
const LABEL: usize = 256;
const LABEL_AT: usize = 0x12b;
const CHUNKS_AT: usize = 0x32b;
/// The number of the tree of trees' own directory.
pub(super) const ROOT_TREE_DIRECTORY: u64 = 6;
/// The objects that all chunks, and all devices, are items of.
pub(super) const CHUNKS: u64 = 256;
const DEVICES: u64 = 1;
/// The owner of chunks: by custom the tree of extents.
const CHUNK_OWNER: u64 = 2;
const STRIPE: u64 = 65_536;
/// What a kernel must know to write: the free space tree, and that it is right.
const COMPAT_RO: u64 = 1 | 2;
/// What a kernel must know to read: back references of the present kind, more names than an item holds, keys of nodes that have their
/// level, and no items for holes.
const INCOMPAT: u64 = 1 | 1 << 6 | 1 << 8 | 1 << 9;

/// The places that a superblock names.
pub(super) struct Roots {
    /// Address and level of the tree of trees, and of the tree of chunks.
    pub trees: (u64, u8),
    pub chunks: (u64, u8),
}

/// One of the superblocks, the one at `at`.
pub(super) fn superblock(btrfs: &Btrfs, chunks: &Chunks, roots: &Roots, at: u64) -> Vec<u8> {
    let Btrfs { identity, size, label } = btrfs;
    let system = system_chunk(identity, &chunks.system);
    let names = Fields::default().zeros(32).bytes(&identity.filesystem).u64(at).u64(1).bytes(b"_BHRfS_M");
    let places = names.u64(GENERATION).u64(roots.trees.0).u64(roots.chunks.0).u64(0).u64(0);
    let sizes = places.u64(*size).u64(chunks.used()).u64(ROOT_TREE_DIRECTORY).u64(1);
    let units = sizes.u32(SECTOR as u32).u32(NODE as u32).u32(NODE as u32).u32(SECTOR as u32).u32(system.len() as u32);
    let features = units.u64(GENERATION).u64(0).u64(COMPAT_RO).u64(INCOMPAT);
    // Checksums are CRC-32C, which has the number 0.
    let levels = features.u16(0).u8(roots.trees.1).u8(roots.chunks.1).u8(0);
    let mut bytes = levels.bytes(&device(btrfs, chunks)).done();
    bytes.resize(SIZE, 0);
    put(&mut bytes, LABEL_AT, label.as_bytes().get(..LABEL - 1).unwrap_or(label.as_bytes()));
    // There is no older cache of free space; the tree of UUIDs is up to date.
    put(&mut bytes, LABEL_AT + LABEL, &Fields::default().u64(0).u64(GENERATION).done());
    put(&mut bytes, CHUNKS_AT, &system);
    seal(&mut bytes);
    bytes
}

/// The items of the tree of chunks.
pub(super) fn chunk_items<'a>(btrfs: &Btrfs, chunks: &Chunks) -> Vec<Item<'a>> {
    let device = Item::new(Key(DEVICES, Type::Device, DEVICE), device(btrfs, chunks));
    let chunk = |chunk: &Chunk| Item::new(Key(CHUNKS, Type::Chunk, chunk.start), chunk_item(&btrfs.identity, chunk));
    [device].into_iter().chain(chunks.iter().map(chunk)).collect()
}

/// The chunk that the tree of chunks is in, as the superblock has it.
fn system_chunk(identity: &Identity, chunk: &Chunk) -> Vec<u8> {
    [Key(CHUNKS, Type::Chunk, chunk.start).to_bytes(), chunk_item(identity, chunk)].concat()
}

fn chunk_item(identity: &Identity, chunk: &Chunk) -> Vec<u8> {
    let what = Fields::default().u64(chunk.len).u64(CHUNK_OWNER).u64(STRIPE).u64(chunk.of as u64);
    // One stripe, on the one device.
    let how = what.u32(STRIPE as u32).u32(STRIPE as u32).u32(SECTOR as u32).u16(1).u16(1);
    how.u64(DEVICE).u64(chunk.start).bytes(&identity.device).done()
}

fn device(btrfs: &Btrfs, chunks: &Chunks) -> Vec<u8> {
    let size = Fields::default().u64(DEVICE).u64(btrfs.size).u64(chunks.bytes());
    let units = size.u32(SECTOR as u32).u32(SECTOR as u32).u32(SECTOR as u32);
    units.zeros(8 + 8 + 8 + 4 + 1 + 1).bytes(&btrfs.identity.device).bytes(&btrfs.identity.filesystem).done()
}
