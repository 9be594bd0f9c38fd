//! What is done with a block's bytes before they are sorted.

use super::BLOCK;

/// A run of this many equal bytes is followed by how many more there are.
const RUN: usize = 4;
const LONGEST_RUN: usize = RUN + 255;

/// Fills a block with as many raw bytes as fit, runs of four to 259 as four and a count. Gives how many it took.
pub(super) fn shorten(raw: &[u8], block: &mut Vec<u8>) -> usize {
    let mut taken = 0;
    loop {
        let room = BLOCK - block.len();
        let rest = raw.get(taken..).unwrap_or_default();
        let plain = before_run(rest);
        if let Some(last) = plain.get(..room) {
            block.extend_from_slice(last);
            return taken + room;
        }
        block.extend_from_slice(plain);
        taken += plain.len();
        let run = rest.get(plain.len()..).map(run_at_start).unwrap_or_default();
        if run.len() < RUN || BLOCK - block.len() <= RUN {
            return taken;
        }
        block.extend(run.iter().take(RUN));
        block.push((run.len() - RUN) as u8);
        taken += run.len();
    }
}

/// What stands before the first run.
fn before_run(bytes: &[u8]) -> &[u8] {
    let run = bytes.windows(RUN).position(|window| matches!(window, [a, b, c, d] if a == b && b == c && c == d));
    run.and_then(|at| bytes.get(..at)).unwrap_or(bytes)
}

/// The bytes at the start that are equal to the first, as many as one run may have.
fn run_at_start(bytes: &[u8]) -> &[u8] {
    let first = bytes.first();
    let length = bytes.iter().take(LONGEST_RUN).take_while(|byte| Some(*byte) == first).count();
    bytes.get(..length).unwrap_or_default()
}

/// How often each byte occurs.
pub(super) fn counts(block: &[u8]) -> [u32; 256] {
    // Four tables, as equal bytes in a row would each wait for the one before.
    let mut counts = [[0u32; 256]; 4];
    for bytes in block.chunks(4) {
        bytes.iter().zip(&mut counts).for_each(|(byte, counts)| counts[usize::from(*byte)] += 1);
    }
    std::array::from_fn(|byte| counts.iter().map(|counts| counts[byte]).sum())
}

/// bzip2's checksum of a block's raw bytes: CRC-32 with the highest bit first, which is the usual one of mirrored bytes,
/// mirrored.
pub(super) fn checksum(raw: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    let mut mirrored = [0u8; 4096];
    for bytes in raw.chunks(mirrored.len()) {
        bytes.iter().zip(&mut mirrored).for_each(|(byte, mirrored)| *mirrored = byte.reverse_bits());
        hasher.update(mirrored.get(..bytes.len()).unwrap_or_default());
    }
    hasher.finalize().reverse_bits()
}
