//! qcow2, version 3, with clusters compressed by zstd (QEMU 5.1 and later). Source: QEMU's docs/interop/qcow2.txt.
//!
//! An own writer, because `qemu-img convert -c` compresses on one core per image and would need the raw disk beside it.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::blocks::{self, Block};
use crate::bytes::put;
use crate::sparse::Sparse;
use crate::store::Store;
use crate::write::{Error, Meter, write_all};

const CLUSTER: u64 = blocks::SIZE;
const CLUSTER_BITS: u32 = 16;
/// Entries of 8 bytes in a cluster, and reference counts of 2 bytes.
const TABLE_ENTRIES: u64 = CLUSTER / 8;
const COUNTS: u64 = CLUSTER / 2;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// Where a compressed cluster's entry has the number of its further sectors: 62 - (CLUSTER_BITS - 8).
const SECTORS_SHIFT: u32 = 54;
/// The first incompatible feature used: another compression than zlib.
const COMPRESSION_TYPE: u64 = 1 << 3;
const ZSTD: u8 = 1;
/// See [`crate::squashfs`] for why.
const ZSTD_LEVEL: i32 = 9;

/// Writes the disk to a file.
pub(super) fn write(
    disk: Sparse,
    store: &Store,
    meter: &mut Meter,
    threads: usize,
    (path, file): (&Path, File),
) -> Result<(), Error> {
    let size = disk.size();
    let mut writer = Writer {
        file: BufWriter::with_capacity(1 << 18, file),
        path: path.to_path_buf(),
        at: 0,
        tables: vec![None; size.div_ceil(CLUSTER * TABLE_ENTRIES) as usize],
        counts: Vec::new(),
    };
    writer.append_cluster(vec![0; CLUSTER as usize])?;
    let compress = |raw: &[u8]| zstd::bulk::compress(raw, ZSTD_LEVEL).map_err(|e| Error::io(path, e));
    blocks::for_each(disk, store, meter, threads, compress, |block| writer.take(block))?;
    writer.finish(size)
}

struct Writer {
    file: BufWriter<File>,
    path: PathBuf,
    at: u64,
    /// The second-level tables that have an entry.
    tables: Vec<Option<Vec<u64>>>,
    /// How many things are in each cluster of the file.
    counts: Vec<u16>,
}

impl Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        write_all(&mut self.file, &self.path, bytes)
    }

    /// Begins a new cluster of the file.
    fn align(&mut self) -> Result<(), Error> {
        let rest = self.at.next_multiple_of(CLUSTER) - self.at;
        self.write(&vec![0; rest as usize])
    }

    /// Counts a use of all clusters from `from` up to `to`.
    fn count(&mut self, from: u64, to: u64) {
        let (first, end) = ((from / CLUSTER) as usize, to.div_ceil(CLUSTER) as usize);
        self.counts.resize(self.counts.len().max(end), 0);
        for count in self.counts.iter_mut().take(end).skip(first) {
            *count += 1;
        }
    }

    /// Puts whole clusters at the end; returns where.
    fn append_cluster(&mut self, bytes: Vec<u8>) -> Result<u64, Error> {
        self.align()?;
        let at = self.at;
        self.write(&bytes)?;
        self.align()?;
        self.count(at, self.at);
        Ok(at)
    }

    fn take(&mut self, block: Block) -> Result<(), Error> {
        let entry = match block.compressed {
            true => {
                let at = self.at;
                self.write(&block.bytes)?;
                // Counted in whole sectors, as they are read.
                let sectors = (self.at - 1) / 512 - at / 512;
                self.count(at / 512 * 512, (at / 512 + sectors + 1) * 512);
                at | sectors << SECTORS_SHIFT | COMPRESSED
            }
            false => self.append_cluster(block.bytes)? | COPIED,
        };
        let place = (block.number % TABLE_ENTRIES) as usize;
        if let Some(table) = self.tables.get_mut((block.number / TABLE_ENTRIES) as usize) {
            let table = table.get_or_insert_with(|| vec![0; TABLE_ENTRIES as usize]);
            if let Some(slot) = table.get_mut(place) {
                *slot = entry;
            }
        }
        Ok(())
    }

    /// The tables behind the data, and the header that names them.
    fn finish(mut self, size: u64) -> Result<(), Error> {
        let mut first_level = Vec::new();
        for table in std::mem::take(&mut self.tables) {
            first_level.push(match table {
                Some(table) => self.append_cluster(be64(&table))? | COPIED,
                None => 0,
            });
        }
        let first_level_at = self.append_cluster(be64(&first_level))?;
        let (table_at, table_clusters) = self.write_counts()?;
        let mut header = vec![0; 120];
        let mut number = |at: usize, bytes: &[u8]| put(&mut header, at, bytes);
        number(0, b"QFI\xfb");
        for (at, value) in [(4, 3), (20, CLUSTER_BITS), (36, first_level.len() as u32), (56, table_clusters), (96, 4), (100, 112)]
        {
            number(at, &value.to_be_bytes());
        }
        for (at, value) in [(24, size), (40, first_level_at), (48, table_at), (72, COMPRESSION_TYPE)] {
            number(at, &value.to_be_bytes());
        }
        number(104, &[ZSTD]);
        self.file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&self.path, e))?;
        self.write(&header)?;
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }

    /// The reference counts, which count themselves; returns where their table is and how many clusters it has.
    fn write_counts(&mut self) -> Result<(u64, u32), Error> {
        let data = self.at / CLUSTER;
        let (mut blocks, mut tables) = (0, 0);
        loop {
            let total: u64 = data + blocks + tables;
            let needed = (total.div_ceil(COUNTS), total.div_ceil(COUNTS).div_ceil(TABLE_ENTRIES));
            if needed == (blocks, tables) {
                break;
            }
            (blocks, tables) = needed;
        }
        self.count(data * CLUSTER, (data + blocks + tables) * CLUSTER);
        let bytes: Vec<u8> = self.counts.iter().flat_map(|count| count.to_be_bytes()).collect();
        let mut places = Vec::new();
        for block in bytes.chunks(CLUSTER as usize) {
            places.push(self.at);
            self.write(block)?;
            self.align()?;
        }
        let table_at = self.at;
        self.write(&be64(&places))?;
        self.align()?;
        Ok((table_at, tables as u32))
    }
}

fn be64(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}
