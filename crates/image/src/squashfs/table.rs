//! Metadata: records in a stream that is cut into compressed blocks of 8 KiB.

use std::io;

use super::codec::{Codec, Encoder};

/// Bytes of a metadata block before compression.
pub(super) const METADATA_BLOCK: usize = 8192;
/// In a block's header: stored as it is.
const STORED: u16 = 0x8000;

/// A stream of records on its way to the disk.
pub(super) struct Table {
    encoder: Encoder,
    /// What is not yet a block.
    rest: Vec<u8>,
    blocks: Vec<u8>,
    /// Where each block starts in `blocks`, the one in `rest` included.
    starts: Vec<u64>,
}

impl Table {
    pub(super) fn new(codec: Codec) -> io::Result<Table> {
        Ok(Table { encoder: codec.table_encoder()?, rest: Vec::new(), blocks: Vec::new(), starts: vec![0] })
    }

    /// Bytes of the stream up to now: the place of the next record.
    pub(super) fn position(&self) -> u64 {
        (self.starts.len() as u64 - 1) * METADATA_BLOCK as u64 + self.rest.len() as u64
    }

    pub(super) fn append(&mut self, mut record: &[u8]) -> io::Result<()> {
        while self.rest.len() + record.len() >= METADATA_BLOCK {
            let (head, tail) = record.split_at(METADATA_BLOCK - self.rest.len());
            self.rest.extend_from_slice(head);
            self.close_block()?;
            record = tail;
        }
        self.rest.extend_from_slice(record);
        Ok(())
    }

    /// Where a byte of the stream is on the disk: its block's start, from the table's start, and its place in the block. Known as soon as
    /// everything before it was appended.
    pub(super) fn place(&self, position: u64) -> (u64, u16) {
        let (block, offset) = (position / METADATA_BLOCK as u64, position % METADATA_BLOCK as u64);
        let start = usize::try_from(block).ok().and_then(|block| self.starts.get(block)).copied().unwrap_or_default();
        (start, offset as u16)
    }

    /// The same as one number: the reference of the format's inodes and attributes.
    pub(super) fn reference(&self, position: u64) -> u64 {
        let (start, offset) = self.place(position);
        start << 16 | u64::from(offset)
    }

    /// The blocks, and where each starts.
    pub(super) fn finish(mut self) -> io::Result<(Vec<u8>, Vec<u64>)> {
        if !self.rest.is_empty() {
            self.close_block()?;
        }
        self.starts.pop();
        Ok((self.blocks, self.starts))
    }

    fn close_block(&mut self) -> io::Result<()> {
        let (header, bytes) = match self.encoder.compress(&self.rest)? {
            Some(small) => (small.len() as u16, small),
            None => (self.rest.len() as u16 | STORED, self.rest.clone()),
        };
        self.blocks.extend(header.to_le_bytes());
        self.blocks.extend(bytes);
        self.starts.push(self.blocks.len() as u64);
        self.rest.clear();
        Ok(())
    }
}

/// A lookup table: records of a fixed size, and the list of its blocks' places.
pub(super) struct Lookup {
    pub blocks: Vec<u8>,
    starts: Vec<u64>,
}

impl Lookup {
    pub(super) fn of(codec: Codec, records: impl IntoIterator<Item = impl AsRef<[u8]>>) -> io::Result<Lookup> {
        let mut table = Table::new(codec)?;
        records.into_iter().try_for_each(|record| table.append(record.as_ref()))?;
        let (blocks, starts) = table.finish()?;
        Ok(Lookup { blocks, starts })
    }

    /// The list, when the blocks are put at this place of the image.
    pub(super) fn index(&self, at: u64) -> Vec<u8> {
        self.starts.iter().flat_map(|start| (at + start).to_le_bytes()).collect()
    }
}
