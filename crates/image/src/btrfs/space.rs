//! Chunks: the parts of the disk that are given out for data, for trees, and for the tree of chunks. Addresses in the filesystem are
//! places on the disk, as each chunk is there once and at its own address.

use super::btree::NODE;
use super::{MIB, MIRRORS, SECTOR};

/// The largest chunk of data, and the largest extent, in bytes: those that the kernel makes.
const MAX_CHUNK: u64 = 1 << 30;
const MAX_EXTENT: u64 = 128 << 20;
/// Where chunks begin; before are boot sectors and the superblock.
const FIRST: u64 = MIB;
const SYSTEM_SIZE: u64 = 4 * MIB;
/// Room for more data in the last chunk, and for more nodes besides a quarter of those there are.
const MORE_DATA: u64 = 8 * MIB;
const MORE_NODES: u64 = 64 * MIB;

/// What is in a chunk, by the number that the disk has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Data = 1,
    System = 2,
    Metadata = 4,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk {
    pub of: Use,
    pub start: u64,
    pub len: u64,
    /// Bytes in use, from its start on without a gap.
    pub used: u64,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// A piece of data on the disk.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub start: u64,
    /// Bytes, whole sectors.
    pub len: u64,
}

/// Gives out places for data one after the other.
pub(super) struct Space {
    full: Vec<Chunk>,
    last: Chunk,
}

impl Space {
    pub(super) fn new() -> Space {
        Space { full: Vec::new(), last: data_chunk(FIRST + SYSTEM_SIZE) }
    }

    /// Room for so many bytes, in one or more pieces.
    pub(super) fn take(&mut self, bytes: u64) -> Vec<Extent> {
        let (mut left, mut extents) = (bytes.next_multiple_of(SECTOR), Vec::new());
        while left > 0 {
            if self.last.used == self.last.len {
                let next = data_chunk(self.last.end());
                self.full.push(std::mem::replace(&mut self.last, next));
            }
            let len = left.min(MAX_EXTENT).min(self.last.len - self.last.used);
            extents.push(Extent { start: self.last.start + self.last.used, len });
            self.last.used += len;
            left -= len;
        }
        extents
    }

    /// All chunks by their places, for so many nodes beside the tree of chunks.
    pub(super) fn chunks(&self, nodes: u64, system_nodes: u64) -> Chunks {
        let system = Chunk { of: Use::System, start: FIRST, len: SYSTEM_SIZE, used: system_nodes * NODE };
        let mut data: Vec<Chunk> = self.full.iter().chain([&self.last]).copied().collect();
        if let Some(last) = data.last_mut() {
            last.len = last.len.min((last.used + MORE_DATA).next_multiple_of(MIB));
        }
        let (start, used) = (data.last().map_or(FIRST + SYSTEM_SIZE, Chunk::end), nodes * NODE);
        let len = (used + used / 4 + MORE_NODES).next_multiple_of(MIB);
        let start = free_of_mirrors(start, len);
        Chunks { system, data, metadata: Chunk { of: Use::Metadata, start, len, used } }
    }
}

/// All chunks of a filesystem.
pub(super) struct Chunks {
    pub system: Chunk,
    pub data: Vec<Chunk>,
    pub metadata: Chunk,
}

impl Chunks {
    pub(super) fn iter(&self) -> impl Iterator<Item = &Chunk> {
        [&self.system].into_iter().chain(&self.data).chain([&self.metadata])
    }

    pub(super) fn bytes(&self) -> u64 {
        self.iter().map(|chunk| chunk.len).sum()
    }

    pub(super) fn used(&self) -> u64 {
        self.iter().map(|chunk| chunk.used).sum()
    }

    pub(super) fn end(&self) -> u64 {
        self.metadata.end()
    }
}

/// The next chunk of data: as large as it may be, up to the next copy of the superblock.
fn data_chunk(start: u64) -> Chunk {
    let start = free_of_mirrors(start, MIB);
    let mirror = MIRRORS.into_iter().find(|mirror| *mirror > start).unwrap_or(u64::MAX);
    Chunk { of: Use::Data, start, len: MAX_CHUNK.min(mirror - start), used: 0 }
}

/// A place from `start` on where `len` bytes touch no copy of the superblock.
fn free_of_mirrors(start: u64, len: u64) -> u64 {
    let touched = |start: u64| MIRRORS.into_iter().find(|mirror| start < mirror + MIB && *mirror < start + len);
    std::iter::successors(Some(start), |start| touched(*start).map(|mirror| mirror + MIB)).last().unwrap_or(start)
}
