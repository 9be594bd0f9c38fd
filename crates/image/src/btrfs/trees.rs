//! The trees besides the files' own: which trees there are, what the disk's space is used for, checksums, identifiers.

use super::btree::{BTree, Item, Key, ROOM, Rest, Type};
use super::inode::{Metadata, directory_entry, name_hash, reference, time};
use super::space::{Chunk, Chunks, Extent, Use};
use super::superblock::{CHUNKS, ROOT_TREE_DIRECTORY};
use super::{DEVICE, FIRST_INODE, GENERATION, Identity, SECTOR};
use crate::bytes::Fields;

/// Numbers of trees.
pub(super) const ROOTS: u64 = 1;
pub(super) const EXTENTS: u64 = 2;
pub(super) const CHUNK_TREE: u64 = 3;
pub(super) const DEVICES: u64 = 4;
pub(super) const FILES: u64 = 5;
pub(super) const CHECKSUMS: u64 = 7;
pub(super) const UUIDS: u64 = 9;
pub(super) const FREE_SPACE: u64 = 10;
/// Where the kernel has the files that it moves data by.
pub(super) const DATA_RELOCATION: u64 = -9i64 as u64;

/// The object that all checksums are items of.
const CHECKSUM: u64 = -10i64 as u64;
/// The checksums that the kernel puts into one item at the most.
const MAX_SUMS: usize = (ROOM - 2 * 25) / 4 - 1;
/// Marks a root whose flags are not rubbish from an old kernel.
const ROOT_INITIALIZED: u64 = 1 << 31;
/// Kinds of back references: a tree by its number, and an inode of a tree.
const TREE_REFERENCE: u8 = 176;
const DATA_REFERENCE: u8 = 178;
const DIRECTORY: u8 = 2;

/// Items for the checksums of all data, chunk by chunk.
pub(super) fn checksums<'a>(chunks: &Chunks) -> Vec<Item<'a>> {
    let (mut items, mut first) = (Vec::new(), 0);
    for chunk in &chunks.data {
        let sectors = (chunk.used / SECTOR) as usize;
        for done in (0..sectors).step_by(MAX_SUMS) {
            let count = MAX_SUMS.min(sectors - done);
            let key = Key(CHECKSUM, Type::ExtentCsum, chunk.start + done as u64 * SECTOR);
            items.push(Item::with_rest(key, Vec::new(), Rest::Sums { first: first + done, count }));
        }
        first += sectors;
    }
    items
}

/// Where the device's parts are in the filesystem.
pub(super) fn device<'a>(identity: &Identity, chunks: &Chunks) -> Vec<Item<'a>> {
    let part = |chunk: &Chunk| {
        let bytes = Fields::default().u64(CHUNK_TREE).u64(CHUNKS).u64(chunk.start).u64(chunk.len);
        Item::new(Key(DEVICE, Type::DevExtent, chunk.start), bytes.bytes(&identity.chunk_tree).done())
    };
    chunks.iter().map(part).collect()
}

/// What is free in each chunk: its end, if anything.
pub(super) fn free_space<'a>(chunks: &Chunks) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for chunk in chunks.iter() {
        let free = chunk.len - chunk.used;
        let info = Fields::default().u32(u32::from(free > 0)).u32(0).done();
        items.push(Item::new(Key(chunk.start, Type::FreeSpaceInfo, chunk.len), info));
        if free > 0 {
            items.push(Item::new(Key(chunk.start + chunk.used, Type::FreeSpaceExtent, free), Vec::new()));
        }
    }
    items
}

/// Which subvolume has which UUID: the one there is.
pub(super) fn uuids<'a>(identity: &Identity) -> Vec<Item<'a>> {
    let half =
        |at: usize| identity.subvolume.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    vec![Item::new(Key(half(0), Type::UuidSubvolume, half(8)), FILES.to_le_bytes().to_vec())]
}

/// An empty directory.
pub(super) fn data_relocation<'a>(time: i64) -> Vec<Item<'a>> {
    directory(FIRST_INODE, FIRST_INODE, time).into()
}

fn directory<'a>(number: u64, parent: u64, time: i64) -> [Item<'a>; 2] {
    [
        Item::new(Key(number, Type::Inode, 0), Metadata::directory(time).to_bytes()),
        Item::new(Key(number, Type::InodeRef, parent), reference(0, b"..")),
    ]
}

/// What the disk's space is used for: chunks, data, and the nodes of all trees, each with where it begins.
pub(super) fn extents<'a>(chunks: &Chunks, data: &[(Extent, u64, u64)], trees: &[(&BTree, u64)]) -> Vec<Item<'a>> {
    let mut items: Vec<Item> = chunks.iter().map(block_group).collect();
    items.extend(data.iter().map(|(extent, inode, offset)| {
        let used = Fields::default().u64(1).u64(GENERATION).u64(Use::Data as u64);
        let by = used.u8(DATA_REFERENCE).u64(FILES).u64(*inode).u64(*offset).u32(1);
        Item::new(Key(extent.start, Type::Extent, extent.len), by.done())
    }));
    for (tree, start) in trees {
        items.extend(tree.places(*start).map(|(at, level)| {
            let used = Fields::default().u64(1).u64(GENERATION).u64(Use::System as u64);
            Item::new(Key(at, Type::Metadata, level), used.u8(TREE_REFERENCE).u64(tree.owner).done())
        }));
    }
    items
}

fn block_group<'a>(chunk: &Chunk) -> Item<'a> {
    let bytes = Fields::default().u64(chunk.used).u64(CHUNKS).u64(chunk.of as u64).done();
    Item::new(Key(chunk.start, Type::BlockGroup, chunk.len), bytes)
}

/// Which trees there are, and which of them is mounted unless one says otherwise.
pub(super) fn roots<'a>(identity: &Identity, when: i64, trees: &[(&BTree, u64)]) -> Vec<Item<'a>> {
    let mut items: Vec<Item> = trees.iter().map(|(tree, start)| root(identity, when, tree, *start)).collect();
    let (name, location) = (b"default", Key(FILES, Type::Root, u64::MAX));
    items.push(Item::new(Key(FILES, Type::InodeRef, ROOT_TREE_DIRECTORY), reference(0, name)));
    items.extend(directory(ROOT_TREE_DIRECTORY, ROOT_TREE_DIRECTORY, when));
    let entry = directory_entry(location, DIRECTORY, name, b"");
    items.push(Item::new(Key(ROOT_TREE_DIRECTORY, Type::DirItem, name_hash(name)), entry));
    items
}

fn root<'a>(identity: &Identity, when: i64, tree: &BTree, start: u64) -> Item<'a> {
    let bytes = tree.nodes() * super::btree::NODE;
    // An inode that nobody sees.
    let inode = Metadata { size: 3, bytes, time: 0, flags: ROOT_INITIALIZED, ..Metadata::directory(0) };
    let (first, uuid, when) = match tree.owner {
        FILES => (FIRST_INODE, identity.subvolume, when),
        DATA_RELOCATION => (FIRST_INODE, [0; 16], 0),
        _ => (0, [0; 16], 0),
    };
    let what = Fields::default().bytes(&inode.to_bytes()).u64(GENERATION).u64(first).u64(tree.root(start)).u64(0).u64(bytes);
    // No snapshot, no flags, one reference, nothing being dropped.
    let state = what.u64(0).u64(0).u32(1).zeros(17).u8(0).u8(tree.level()).u64(GENERATION);
    let ids = state.bytes(&uuid).zeros(32).zeros(32).bytes(&time(when)).bytes(&time(when)).zeros(24).zeros(64);
    Item::new(Key(tree.owner, Type::Root, 0), ids.done())
}
