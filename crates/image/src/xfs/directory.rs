//! Directories: in the inode where they are small; in one block with the hashes of the names behind them; or in blocks of names, blocks of
//! hashes, and blocks that say how much room there is.

use super::BLOCK;
use super::block::{Block, Header, hash};
use crate::bytes::{Fields, put};
use crate::entry::{Entry, Kind};
use crate::nodes::{Node, Nodes};
use crate::write::Error;

const SIZE: usize = BLOCK as usize;
/// Bytes before the names, or the hashes.
const HEAD: usize = 64;
/// Bytes of a hash with the place of its name, and of what closes a block of names with their hashes.
const LEAF: usize = 8;
const TAIL: usize = 8;
/// The blocks of the file that hashes begin at (32 GiB), and those of free space (64 GiB).
pub(super) const LEAVES: u64 = (32 << 30) / BLOCK;
const FREE: u64 = (64 << 30) / BLOCK;
/// Hashes in a block, children of a node, and numbers in a block of free space.
const HASHES: usize = (SIZE - HEAD) / LEAF;
const BESTS: usize = (SIZE - HEAD) / 2;
const BLOCK_MAGIC: &[u8] = b"XDB3";
const DATA_MAGIC: &[u8] = b"XDD3";
const FREE_MAGIC: &[u8] = b"XDF3";
const SINGLE_LEAF: u16 = 0x3df1;
const LEAF_OF_MANY: u16 = 0x3dff;
const NODE: u16 = 0x3ebe;
const FOLDER: u8 = 2;

/// The names in a directory, with `.` and `..` in front: name, inode, type.
pub(super) struct Names<'a>(Vec<(&'a [u8], u64, u8)>);

/// A directory's blocks by their places in it.
pub(super) struct Parts {
    pub parts: Vec<(u64, Vec<Block>)>,
    /// Bytes of all blocks of names.
    pub size: u64,
}

impl<'a> Names<'a> {
    pub(super) fn of(node: &Node<'a>, nodes: &Nodes, (own, parent): (u64, u64), number: impl Fn(usize) -> u64) -> Names<'a> {
        let own: [(&[u8], u64, u8); 2] = [(b".", own, FOLDER), (b"..", parent, FOLDER)];
        let inside =
            node.children.iter().map(|child| (child.name, number(child.node), nodes.entry(child.node).map_or(0, type_of)));
        Names(own.into_iter().chain(inside).collect())
    }

    /// For the inode itself; `None` when there is no room. Each name has the place that it would have in a block.
    pub(super) fn short(&self, room: usize) -> Option<Vec<u8>> {
        let (count, parent) = (u8::try_from(self.0.len() - 2).ok()?, self.0.get(1)?.1);
        let mut fields = Fields::default().u8(count).u8(0).be32(u32::try_from(parent).ok()?);
        let mut place = HEAD + entry_size(b".") + entry_size(b"..");
        for (name, number, kind) in self.0.iter().skip(2) {
            fields = fields.u8(name.len() as u8).be16(place as u16).bytes(name).u8(*kind).be32(u32::try_from(*number).ok()?);
            place += entry_size(name);
        }
        Some(fields.done()).filter(|bytes| bytes.len() <= room)
    }

    /// # Errors
    /// `Boot` for more names than a tree of two levels has hashes for: a quarter of a million.
    pub(super) fn blocks(&self) -> Result<Parts, Error> {
        let bytes: usize = self.0.iter().map(|(name, ..)| entry_size(name)).sum();
        if HEAD + bytes + self.0.len() * LEAF + TAIL <= SIZE {
            return Ok(Parts { parts: vec![(0, vec![self.one_block()])], size: BLOCK });
        }
        let (mut data, mut hashes) = (vec![DataBlock::new(DATA_MAGIC)], Vec::new());
        for (name, number, kind) in &self.0 {
            if data.last().is_some_and(|block| block.bytes.len() + entry_size(name) > SIZE) {
                data.push(DataBlock::new(DATA_MAGIC));
            }
            let before = (data.len() - 1) * SIZE;
            if let Some(block) = data.last_mut() {
                hashes.push((hash(name), ((before + block.bytes.len()) / 8) as u32));
                block.add(name, *number, *kind);
            }
        }
        hashes.sort_unstable();
        let bests: Vec<u16> = data.iter().map(|block| (SIZE - block.bytes.len()) as u16).collect();
        let size = data.len() as u64 * BLOCK;
        let data = data.into_iter().map(|block| block.closed(SIZE)).collect();
        let mut parts = vec![(0, data)];
        if HEAD + hashes.len() * LEAF + bests.len() * 2 + 4 <= SIZE {
            parts.push((LEAVES, vec![single_leaf(&hashes, &bests)]));
        } else {
            parts.extend([(LEAVES, hash_tree(&hashes)?), (FREE, free_blocks(&bests))]);
        }
        Ok(Parts { parts, size })
    }

    /// Names from the front, hashes at the back.
    fn one_block(&self) -> Block {
        let (mut block, mut hashes) = (DataBlock::new(BLOCK_MAGIC), Vec::new());
        for (name, number, kind) in &self.0 {
            hashes.push((hash(name), (block.bytes.len() / 8) as u32));
            block.add(name, *number, *kind);
        }
        hashes.sort_unstable();
        let tail = put_hashes(Fields::default(), &hashes).be32(hashes.len() as u32).be32(0).done();
        let mut block = block.closed(SIZE - tail.len());
        put(&mut block.bytes, SIZE - tail.len(), &tail);
        block
    }
}

/// A block of names being filled.
struct DataBlock {
    bytes: Vec<u8>,
}

impl DataBlock {
    fn new(magic: &[u8]) -> DataBlock {
        DataBlock { bytes: Fields::default().bytes(magic).zeros(HEAD - magic.len()).done() }
    }

    fn add(&mut self, name: &[u8], number: u64, kind: u8) {
        let start = self.bytes.len();
        let entry = Fields::default().be64(number).u8(name.len() as u8).bytes(name).u8(kind).done();
        self.bytes.extend(entry);
        self.bytes.resize(start + entry_size(name) - 2, 0);
        self.bytes.extend((start as u16).to_be_bytes());
    }

    /// Says what is free up to `end`: in front, as the largest free piece, and in that piece.
    fn closed(mut self, end: usize) -> Block {
        let (start, free) = (self.bytes.len(), end - self.bytes.len());
        if free > 0 {
            let largest = Fields::default().be16(start as u16).be16(free as u16).done();
            put(&mut self.bytes, 48, &largest);
            self.bytes.extend(Fields::default().be16(u16::MAX).be16(free as u16).done());
            self.bytes.resize(end - 2, 0);
            self.bytes.extend((start as u16).to_be_bytes());
        }
        Block::new(Header::Directory, self.bytes)
    }
}

/// Bytes of a name in a block: inode, length, name, type, and its own place, in units of eight.
fn entry_size(name: &[u8]) -> usize {
    (8 + 1 + name.len() + 1 + 2).next_multiple_of(8)
}

fn put_hashes(fields: Fields, hashes: &[(u32, u32)]) -> Fields {
    hashes.iter().fold(fields, |fields, (hash, place)| fields.be32(*hash).be32(*place))
}

/// The header of blocks of hashes: the one after and the one before, and what it is.
fn hashes_header(after: u64, before: u64, magic: u16) -> Fields {
    Fields::default().be32(after as u32).be32(before as u32).be16(magic).zeros(46)
}

/// All hashes in one block, with the room in each block of names.
fn single_leaf(hashes: &[(u32, u32)], bests: &[u16]) -> Block {
    let mut bytes = put_hashes(hashes_header(0, 0, SINGLE_LEAF).be16(hashes.len() as u16).zeros(6), hashes).done();
    let tail = bests.iter().fold(Fields::default(), |fields, best| fields.be16(*best)).be32(bests.len() as u32).done();
    bytes.resize(SIZE, 0);
    put(&mut bytes, SIZE - tail.len(), &tail);
    Block::new(Header::Hashes, bytes)
}

/// A node, and below it all hashes.
fn hash_tree(hashes: &[(u32, u32)]) -> Result<Vec<Block>, Error> {
    let leaves: Vec<&[(u32, u32)]> = hashes.chunks(HASHES).collect();
    if leaves.len() > HASHES {
        return Err(Error::Boot("a directory has too many names for the disk's xfs filesystem".into()));
    }
    let place = |at: usize| LEAVES + 1 + at as u64;
    let children: Vec<(u32, u32)> =
        leaves.iter().enumerate().map(|(at, leaf)| (leaf.last().map_or(0, |(hash, _)| *hash), place(at) as u32)).collect();
    let root = hashes_header(0, 0, NODE).be16(children.len() as u16).be16(1).zeros(4);
    let mut blocks = vec![Block::new(Header::Hashes, put_hashes(root, &children).done())];
    blocks.extend(leaves.iter().enumerate().map(|(at, leaf)| {
        let after = if at + 1 < leaves.len() { place(at + 1) } else { 0 };
        let before = if at > 0 { place(at - 1) } else { 0 };
        let head = hashes_header(after, before, LEAF_OF_MANY).be16(leaf.len() as u16).zeros(6);
        Block::new(Header::Hashes, put_hashes(head, leaf).done())
    }));
    Ok(blocks)
}

/// The room in each block of names.
fn free_blocks(bests: &[u16]) -> Vec<Block> {
    let block = |(at, bests): (usize, &[u16])| {
        let count = bests.len() as u32;
        let head = Fields::default().bytes(FREE_MAGIC).zeros(44).be32((at * BESTS) as u32).be32(count).be32(count).be32(0);
        Block::new(Header::Directory, bests.iter().fold(head, |fields, best| fields.be16(*best)).done())
    };
    bests.chunks(BESTS).enumerate().map(block).collect()
}

/// A name that was read, and the number of what it names.
pub(super) struct Found {
    pub name: Vec<u8>,
    pub inode: u64,
}

/// The names that stand in an inode; `None` where they are cut off.
pub(super) fn read_short(bytes: &[u8]) -> Option<Vec<Found>> {
    // Numbers have eight bytes where one of them needs so many.
    let (&[count, long], rest) = bytes.split_first_chunk()?;
    let width = if long > 0 { 8 } else { 4 };
    let (_parent, mut rest) = rest.split_at_checked(width)?;
    let mut all = Vec::new();
    for _ in 0..count {
        let (&[length, _, _], after) = rest.split_first_chunk()?;
        let (name, after) = after.split_at_checked(usize::from(length))?;
        let (_kind, after) = after.split_first()?;
        let (inode, after) = after.split_at_checked(width)?;
        all.push(Found { name: name.to_vec(), inode: big_endian(inode) });
        rest = after;
    }
    Some(all)
}

/// The names in a block but for `.` and `..`; `None` where it is no block of names, or they are cut off.
pub(super) fn read_block(block: &[u8]) -> Option<Vec<Found>> {
    let end = match block.get(..4)? {
        magic if magic == BLOCK_MAGIC => {
            let count = big_endian(block.get(SIZE - TAIL..SIZE - TAIL + 4)?) as usize;
            (SIZE - TAIL).checked_sub(count.checked_mul(LEAF)?)?
        }
        magic if magic == DATA_MAGIC => SIZE,
        _ => return None,
    };
    let mut rest = block.get(HEAD..end)?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        if let Some(&[0xff, 0xff, high, low]) = rest.first_chunk() {
            let free = usize::from(u16::from_be_bytes([high, low]));
            rest = rest.get(free..).filter(|_| free > 0)?;
            continue;
        }
        let (inode, after) = rest.split_at_checked(8)?;
        let (length, after) = after.split_first()?;
        let name = after.get(..usize::from(*length))?;
        if name != b"." && name != b".." {
            all.push(Found { name: name.to_vec(), inode: big_endian(inode) });
        }
        rest = rest.get(entry_size(name)..)?;
    }
    Some(all)
}

/// A number with the highest byte first.
pub(super) fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn type_of(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File { .. } => 1,
        Kind::Dir => FOLDER,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}
