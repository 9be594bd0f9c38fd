//! A bzip2 encoder of our own, in the format of bzip2 1.0 at level 9.
//!
//! Sorting a block's rotations is nearly all of the work, and libbz2 does it by comparing them. Here the order comes from a
//! suffix array, whose time is linear and does not depend on how repetitive a block is; all in all that takes between a half and
//! two thirds of libbz2's time. What is written is what libbz2 could have written: the transform is the same, and the code tables
//! are found as it finds them.

mod bits;
mod codes;
mod ranks;
mod runs;
mod sort;

use std::io;

use self::bits::BitWriter;

/// Bytes of a block after its runs are shortened, at level 9. Nineteen less than the format allows, as libbz2 has it.
const BLOCK: usize = 900_000 - 19;
/// The digits of pi and of its square root, which begin a block and end a stream.
const BLOCK_MAGIC: [u32; 2] = [0x0031_4159, 0x0026_5359];
const END_MAGIC: [u32; 2] = [0x0017_7245, 0x0038_5090];

/// The whole stream of these bytes.
///
/// # Errors
/// `OutOfMemory` where sorting finds none.
pub(crate) fn compress(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut bits = BitWriter::new(Vec::with_capacity(raw.len() / 3 + 64));
    b"BZh9".iter().for_each(|byte| bits.put(u32::from(*byte), 8));
    let (mut rest, mut checksum) = (raw, 0u32);
    let mut block = Vec::with_capacity(raw.len().min(BLOCK));
    while !rest.is_empty() {
        block.clear();
        let (taken, after) = rest.split_at(runs::shorten(rest, &mut block));
        let of_block = runs::checksum(taken);
        checksum = checksum.rotate_left(1) ^ of_block;
        write_block(&block, of_block, &mut bits)?;
        rest = after;
    }
    END_MAGIC.iter().for_each(|half| bits.put(*half, 24));
    bits.put(checksum, 32);
    Ok(bits.finish())
}

fn write_block(block: &[u8], checksum: u32, bits: &mut BitWriter) -> io::Result<()> {
    let counts = runs::counts(block);
    let (last_column, first_row) = sort::transform(block, &counts)?;
    BLOCK_MAGIC.iter().for_each(|half| bits.put(*half, 24));
    bits.put(checksum, 32);
    // Not randomised.
    bits.put(0, 1);
    bits.put(first_row, 24);
    write_alphabet(&counts, bits);
    codes::write(&ranks::of(&last_column, &counts), bits);
    Ok(())
}

/// Which bytes there are: sixteen bits for the ranges of sixteen that have any, then sixteen bits for each of those.
fn write_alphabet(counts: &[u32; 256], bits: &mut BitWriter) {
    let word = |used: &mut dyn Iterator<Item = bool>| used.fold(0u32, |word, used| word << 1 | u32::from(used));
    let ranges: Vec<u32> = counts.chunks(16).map(|range| word(&mut range.iter().map(|count| *count > 0))).collect();
    bits.put(word(&mut ranges.iter().map(|range| *range != 0)), 16);
    ranges.iter().filter(|range| **range != 0).for_each(|range| bits.put(*range, 16));
}

#[cfg(test)]
mod tests;
