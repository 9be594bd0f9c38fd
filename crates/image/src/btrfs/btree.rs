//! Trees of items: nodes of 16 KiB, leaves with keys and data, and above them nodes with keys and places.

use super::{GENERATION, Identity};
use crate::bytes::{Fields, put_u32};
use crate::sparse::{Content, Late, Source, Sparse};
use crate::write::Error;

/// Bytes of a node.
pub(super) const NODE: u64 = 16_384;
/// Bytes of a node's header, of an item's key with the place of its data, and of a key with the place of a node.
const HEADER: usize = 101;
const ITEM: usize = 25;
const POINTER: usize = 33;
/// Bytes for items and their data in a leaf.
pub(super) const ROOM: usize = NODE as usize - HEADER;
const POINTERS: usize = ROOM / POINTER;
/// The first node that is written by the one who puts it there, and the version of back references.
const FLAGS: u64 = 1 | 1 << 56;

/// What an item is about: an object, the item's type, and a number whose meaning depends on that type. Items are in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub u64, pub Type, pub u64);

/// Types of items, by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Type {
    None = 0,
    Inode = 1,
    InodeRef = 12,
    InodeExtref = 13,
    Xattr = 24,
    DirItem = 84,
    DirIndex = 96,
    ExtentData = 108,
    ExtentCsum = 128,
    Root = 132,
    Extent = 168,
    Metadata = 169,
    BlockGroup = 192,
    FreeSpaceInfo = 198,
    FreeSpaceExtent = 199,
    DevExtent = 204,
    Device = 216,
    Chunk = 228,
    UuidSubvolume = 251,
}

impl Key {
    pub(super) fn to_bytes(self) -> Vec<u8> {
        Fields::default().u64(self.0).u8(self.1 as u8).u64(self.2).done()
    }
}

/// An item: a key with data, whose end may be known only when the contents of files have been read.
pub(super) struct Item<'a> {
    pub key: Key,
    bytes: Vec<u8>,
    rest: Option<Rest<'a>>,
}

/// What follows an item's bytes.
#[derive(Clone, Copy)]
pub(super) enum Rest<'a> {
    /// The content of a small file.
    File(Source<'a>),
    /// Checksums of sectors of data, counted in the order of their places.
    Sums { first: usize, count: usize },
}

impl<'a> Item<'a> {
    pub(super) fn new(key: Key, bytes: Vec<u8>) -> Item<'a> {
        Item { key, bytes, rest: None }
    }

    pub(super) fn with_rest(key: Key, bytes: Vec<u8>, rest: Rest<'a>) -> Item<'a> {
        Item { key, bytes, rest: Some(rest) }
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.rest.map_or(0, |rest| rest.size())
    }
}

impl Rest<'_> {
    fn size(&self) -> usize {
        match self {
            Rest::File(source) => source.size as usize,
            Rest::Sums { count, .. } => count * 4,
        }
    }
}

/// A tree whose items are known, and therefore how many nodes it has on each level.
pub(super) struct BTree<'a> {
    /// The tree's own number.
    pub owner: u64,
    leaves: Vec<Vec<Item<'a>>>,
    /// Nodes on each level, from the leaves up.
    levels: Vec<u64>,
}

impl<'a> BTree<'a> {
    /// A tree of items, which are put in order. Each must fit into a leaf.
    pub(super) fn new(owner: u64, mut items: Vec<Item<'a>>) -> BTree<'a> {
        items.sort_by_key(|item| item.key);
        let (mut leaves, mut leaf, mut used) = (Vec::new(), Vec::new(), 0);
        for item in items {
            let size = ITEM + item.size();
            if used + size > ROOM {
                leaves.push(std::mem::take(&mut leaf));
                used = 0;
            }
            used += size;
            leaf.push(item);
        }
        leaves.push(leaf);
        let mut levels = vec![leaves.len() as u64];
        while let Some(count) = levels.last().copied().filter(|count| *count > 1) {
            levels.push(count.div_ceil(POINTERS as u64));
        }
        BTree { owner, leaves, levels }
    }

    pub(super) fn levels(&self) -> &[u64] {
        &self.levels
    }

    /// How many nodes it has.
    pub(super) fn nodes(&self) -> u64 {
        self.levels.iter().sum()
    }

    /// The root's level.
    pub(super) fn level(&self) -> u8 {
        (self.levels.len() - 1) as u8
    }

    /// Where its root is when its nodes begin at `start`.
    pub(super) fn root(&self, start: u64) -> u64 {
        start + (self.nodes() - 1) * NODE
    }

    /// The place and level of each of its nodes when they begin at `start`.
    pub(super) fn places(&self, start: u64) -> impl Iterator<Item = (u64, u64)> {
        let levels = self.levels.iter().enumerate().flat_map(|(level, count)| (0..*count).map(move |_| level as u64));
        levels.enumerate().map(move |(at, level)| (start + at as u64 * NODE, level))
    }

    /// Puts its nodes on the disk from `start` on.
    pub(super) fn write(self, start: u64, identity: &Identity, out: &mut Sparse<'a>) {
        let (owner, mut at) = (self.owner, start);
        let mut below = Vec::new();
        for items in self.leaves {
            below.push((items.first().map_or(Key(0, Type::None, 0), |item| item.key), at));
            out.put(at, leaf(items, node(identity, owner, 0, at)));
            at += NODE;
        }
        for level in 1..self.levels.len() {
            let mut above = Vec::new();
            for pointers in below.chunks(POINTERS) {
                above.extend(pointers.first().map(|(key, _)| (*key, at)));
                let mut bytes = node(identity, owner, level as u8, at);
                put_u32(&mut bytes, 96, pointers.len() as u32);
                for (place, (key, child)) in pointers.iter().enumerate() {
                    let pointer = Fields::default().bytes(&key.to_bytes()).u64(*child).u64(GENERATION).done();
                    crate::bytes::put(&mut bytes, HEADER + place * POINTER, &pointer);
                }
                seal(&mut bytes);
                out.put_bytes(at, bytes);
                at += NODE;
            }
            below = above;
        }
    }
}

/// An empty node.
fn node(identity: &Identity, owner: u64, level: u8, at: u64) -> Vec<u8> {
    let header = Fields::default().zeros(32).bytes(&identity.filesystem).u64(at).u64(FLAGS).bytes(&identity.chunk_tree);
    let mut bytes = header.u64(GENERATION).u64(owner).u32(0).u8(level).done();
    bytes.resize(NODE as usize, 0);
    bytes
}

/// A leaf: items from the front, their data from the back.
fn leaf<'a>(items: Vec<Item<'a>>, mut bytes: Vec<u8>) -> Content<'a> {
    put_u32(&mut bytes, 96, items.len() as u32);
    let (mut end, mut rests) = (ROOM, Vec::new());
    for (place, item) in items.into_iter().enumerate() {
        let size = item.size();
        end = end.saturating_sub(size);
        let head = Fields::default().bytes(&item.key.to_bytes()).u32(end as u32).u32(size as u32).done();
        crate::bytes::put(&mut bytes, HEADER + place * ITEM, &head);
        crate::bytes::put(&mut bytes, HEADER + end, &item.bytes);
        rests.extend(item.rest.map(|rest| (HEADER + end + item.bytes.len(), rest)));
    }
    if rests.is_empty() {
        seal(&mut bytes);
        return Content::Bytes(bytes);
    }
    Content::Late { len: NODE, make: filled(bytes, rests) }
}

/// The leaf as it is when files have been read.
fn filled<'a>(mut bytes: Vec<u8>, rests: Vec<(usize, Rest<'a>)>) -> Late<'a> {
    Box::new(move |seen| {
        for (at, rest) in rests {
            let content = match rest {
                Rest::File(source) => seen.read(&source)?,
                Rest::Sums { first, count } => {
                    let sums = seen
                        .sums(first, count)
                        .ok_or_else(|| Error::Boot("a checksum of btrfs is missing; please report this".into()))?;
                    sums.iter().flat_map(|sum| sum.to_le_bytes()).collect()
                }
            };
            crate::bytes::put(&mut bytes, at, &content);
        }
        seal(&mut bytes);
        Ok(bytes)
    })
}

/// Puts the checksum of a node, or of a superblock, in front of it.
pub(super) fn seal(bytes: &mut [u8]) {
    let sum = crc32c::crc32c(bytes.get(32..).unwrap_or_default());
    put_u32(bytes, 0, sum);
}

/// CRC-32C as btrfs takes it of names: from a given start, and without the last inversion.
pub(super) fn raw_crc(start: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!start, bytes)
}
