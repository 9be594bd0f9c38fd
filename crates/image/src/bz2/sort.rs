//! The Burrows-Wheeler transform of a block: the last column of all its rotations, sorted.
//!
//! A suffix array sorts suffixes, which end where rotations go on. For the least rotation of a block both orders are the same:
//! where one suffix begins another, what would follow it is the block's beginning, and nothing is less than that. So the block is
//! turned to its least rotation first. The sorted rotations are the same ones, and only the row where the block itself stands is
//! another.

use std::cmp::Ordering;
use std::io;

use libsais::BwtConstruction;
use libsais::bwt::AuxIndicesSamplingRate;
use libsais::suffix_array::ExtraSpace;

/// The row is asked for at every so manieth place of the block.
const SAMPLES: i32 = 8;

/// The last column, and the row that the block itself is. `counts` says how often each byte occurs.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn transform(block: &[u8], counts: &[u32; 256]) -> io::Result<(Vec<u8>, u32)> {
    let turned_by = least_rotation(block);
    let (head, tail) = block.split_at(turned_by);
    let mut column = [tail, head].concat();
    let sorted = BwtConstruction::replace_text(&mut column)
        .with_owned_temporary_array_buffer_and_extra_space32(ExtraSpace::None)
        .single_threaded()
        .with_aux_indices(AuxIndicesSamplingRate::from(SAMPLES))
        .run()
        .map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e.to_string()))?;
    let rows: Vec<i32> = sorted.aux_indices().to_vec();
    let row = row_of(tail.len() % block.len(), &column, &rows, counts);
    Ok((column, row))
}

/// The row of the rotation that begins at this place of the turned block: from that of a place after it, back byte by byte. The
/// byte before a rotation is the last of its row, and rows that end in the same byte are in the order of what they become by
/// turning it to the front.
fn row_of(place: usize, column: &[u8], rows: &[i32], counts: &[u32; 256]) -> u32 {
    let step = SAMPLES as usize;
    let sampled = rows.get(place.div_ceil(step)).or(rows.first());
    let back = if place.div_ceil(step) < rows.len() { place.next_multiple_of(step) - place } else { column.len() - place };
    // The library counts a row for the end of the text.
    let mut row = sampled.map_or(0, |row| *row as usize - 1);
    for _ in 0..back {
        let Some((above, [byte, ..])) = column.split_at_checked(row) else { break };
        let less: u32 = counts.iter().take(usize::from(*byte)).sum();
        row = less as usize + occurrences(*byte, above);
    }
    row as u32
}

/// How often a byte occurs, counted in bytes, which the processor does many of at once.
fn occurrences(byte: u8, among: &[u8]) -> usize {
    among.chunks(255).map(|part| usize::from(part.iter().map(|other| u8::from(*other == byte)).sum::<u8>())).sum()
}

/// Where the least rotation begins; the first of several.
fn least_rotation(block: &[u8]) -> usize {
    let twice = [block, block].concat();
    let (mut best, mut other, mut equal) = (0, 1, 0);
    while best < block.len() && other < block.len() && equal < block.len() {
        match twice[best + equal].cmp(&twice[other + equal]) {
            Ordering::Equal => equal += 1,
            // None of the places that the greater one went through begins a lesser rotation.
            Ordering::Less => (other, equal) = (other + equal + 1, 0),
            Ordering::Greater => {
                best = other.max(best + equal + 1);
                (other, equal) = (best + 1, 0);
            }
        }
    }
    best.min(block.len() - 1)
}
