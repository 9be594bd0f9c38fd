//! Listings of directories.

use std::io;

use super::inode::DIRECTORY;
use super::table::{METADATA_BLOCK, Table};

/// Names behind one header at the most.
const MAX_RUN: usize = 256;
const HEADER: u64 = 12;

/// A name in a listing.
pub(super) struct Name<'a> {
    pub name: &'a [u8],
    pub number: u32,
    /// The number of the basic inode of its kind.
    pub kind: u16,
    /// Where its inode is in the inode table: the block's start, and the place in the block.
    pub inode: (u64, u16),
}

/// Where a listing is.
#[derive(Default)]
pub(super) struct Listing {
    /// Its place in the directory table: the block's start, and the place in the block.
    pub place: (u64, u16),
    /// Bytes.
    pub size: u32,
    /// How many of the names are directories.
    pub directories: u32,
    /// For each block of the table after the first: from which header on names are in it.
    pub index: Vec<IndexEntry>,
}

pub(super) struct IndexEntry {
    /// Bytes of the listing before the header.
    pub before: u32,
    /// The start of the header's block.
    pub block: u64,
    /// The first name behind the header.
    pub name: Vec<u8>,
}

impl Listing {
    /// Appends the listing of these names, which are sorted by their bytes.
    pub(super) fn append(names: &[Name], table: &mut Table) -> io::Result<Listing> {
        let start = table.position();
        let (mut rest, mut headers) = (names, Vec::new());
        while let Some(first) = rest.first() {
            let at = table.position();
            let run = run_length(rest, at);
            let (run, others) = rest.split_at(run);
            headers.push((at, first.name));
            table.append(&header(run, first))?;
            run.iter().try_for_each(|name| table.append(&record(name, first.number)))?;
            rest = others;
        }
        let block_of = |at: u64| at / METADATA_BLOCK as u64;
        // A listing inside one block needs no index: there is nothing to skip.
        let starts_block = |pair: &[(u64, &[u8])]| block_of(pair[0].0) != block_of(pair[1].0);
        let index = headers
            .windows(2)
            .filter(|pair| starts_block(pair))
            .filter_map(|pair| pair.get(1))
            .map(|(at, name)| IndexEntry { before: (at - start) as u32, block: table.place(*at).0, name: name.to_vec() });
        Ok(Listing {
            // One that is empty is nowhere.
            place: if names.is_empty() { (0, 0) } else { table.place(start) },
            size: (table.position() - start) as u32,
            directories: names.iter().filter(|name| name.kind == DIRECTORY).count() as u32,
            index: index.collect(),
        })
    }
}

/// How many names can share a header at this place of the table: their inodes are in one block and have near numbers, and the run ends
/// where a new block of the table begins, so that there is a header for the index.
fn run_length(names: &[Name], at: u64) -> usize {
    let Some(first) = names.first() else { return 0 };
    // Each name belongs to the block that its record begins in.
    let mut next = at + HEADER + record_size(first);
    let fits = |name: &&Name| {
        let here = next;
        next += record_size(name);
        let same_block = here / METADATA_BLOCK as u64 == at / METADATA_BLOCK as u64;
        let near = i16::try_from(i64::from(name.number) - i64::from(first.number)).is_ok();
        name.inode.0 == first.inode.0 && near && same_block
    };
    1 + names.iter().skip(1).take(MAX_RUN - 1).take_while(fits).count()
}

fn record_size(name: &Name) -> u64 {
    8 + name.name.len() as u64
}

fn header(run: &[Name], first: &Name) -> Vec<u8> {
    let count = run.len().saturating_sub(1) as u32;
    [count, first.inode.0 as u32, first.number].iter().flat_map(|field| field.to_le_bytes()).collect()
}

fn record(name: &Name, base: u32) -> Vec<u8> {
    let difference = (i64::from(name.number) - i64::from(base)) as i16;
    let length = name.name.len().saturating_sub(1) as u16;
    let mut record = Vec::with_capacity(8 + name.name.len());
    record.extend(name.inode.1.to_le_bytes());
    record.extend(difference.to_le_bytes());
    record.extend(name.kind.to_le_bytes());
    record.extend(length.to_le_bytes());
    record.extend(name.name);
    record
}
