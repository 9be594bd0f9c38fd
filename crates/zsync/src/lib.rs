//! Downloading only what changed: control files as zsync 0.6 reads and writes them. One lies beside each image and names the checksums of
//! its blocks; with it a client finds the blocks that an older image has already, wherever they lie there, and fetches the others by
//! HTTP ranges. The format is that of zsync's own programs, so those can be used as well.
//!
//! The checksums of blocks are weak ones (a rolling sum and a shortened MD4): they only save bytes. Whether the outcome is the file that was
//! meant is for the caller to check, by the SHA-256 that the site gives out.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

mod assemble;
mod control;
mod find;

pub use assemble::{Fetch, Outcome, assemble};
pub use control::{Control, ControlError};
pub use find::{Found, find};

/// The rolling checksum of zsync and rsync: the sum of a window's bytes, and the sum of those sums. Each has 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rolling {
    a: u16,
    b: u16,
}

impl Rolling {
    /// The sum over a whole window.
    fn of(window: &[u8]) -> Rolling {
        let mut sum = Rolling::default();
        for &byte in window {
            sum.a = sum.a.wrapping_add(u16::from(byte));
            sum.b = sum.b.wrapping_add(sum.a);
        }
        sum
    }

    /// The window goes on by one byte. `shift` is the binary logarithm of its length.
    #[inline]
    fn roll(&mut self, out: u8, new: u8, shift: u32) {
        self.a = self.a.wrapping_add(u16::from(new)).wrapping_sub(u16::from(out));
        self.b = self.b.wrapping_add(self.a).wrapping_sub(u16::from(out).wrapping_shl(shift) & shifted_mask(shift));
    }

    fn number(self) -> u32 {
        u32::from(self.a) << 16 | u32::from(self.b)
    }
}

/// A shift by 16 or more leaves nothing of 16 bits, where `wrapping_shl` would begin anew.
#[inline]
fn shifted_mask(shift: u32) -> u16 {
    if shift < 16 { u16::MAX } else { 0 }
}

/// MD4 of a block.
fn strong(block: &[u8]) -> [u8; 16] {
    use md4::Digest;
    md4::Md4::digest(block).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_rolls() {
        let data: Vec<u8> = (0..5_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for shift in [9, 11, 12] {
            let length = 1usize << shift;
            let mut sum = Rolling::of(&data[..length]);
            for at in 1..data.len() - length {
                sum.roll(data[at - 1], data[at + length - 1], shift);
                assert_eq!(sum, Rolling::of(&data[at..at + length]));
            }
        }
    }
}
