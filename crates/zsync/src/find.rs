//! Finding blocks of a file in another one, wherever they lie there.

use std::collections::HashMap;
use std::io::{self, Read};

use crate::control::{Block, Control};
use crate::{Rolling, strong};

/// How much of a seed is in memory at once, beside a block. Bytes.
const BUFFER: usize = 4 << 20;
/// Candidates with one rolling sum that are compared at one place: a file of zeros has many.
const MAX_CANDIDATES: usize = 16;

/// Where the blocks of a file are to be had: for each, the seed by number and the offset in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub(crate) places: Vec<Option<(usize, u64)>>,
}

impl Found {
    /// Nothing is found yet.
    pub fn none(control: &Control) -> Found {
        Found { places: vec![None; control.blocks.len()] }
    }

    /// How many blocks are found.
    pub fn count(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

/// The blocks that are wanted, by their rolling sums.
struct Wanted {
    /// Sorted by sum.
    by_sum: Vec<(u32, u32)>,
    /// One bit for each value that a sum has in its folded 20 bits: most places are passed over by this alone.
    filter: Vec<u64>,
}

impl Wanted {
    fn new(control: &Control, found: &Found) -> Wanted {
        let mask = control.rolling_mask();
        let blocks = control.blocks.iter().zip(&found.places).enumerate();
        let missing = blocks.filter(|(_, (_, place))| place.is_none());
        let mut by_sum: Vec<(u32, u32)> =
            missing.map(|(number, (block, _))| (block.rolling & mask, u32::try_from(number).unwrap_or(u32::MAX))).collect();
        by_sum.sort_unstable();
        let mut filter = vec![0u64; 1 << 14];
        for (sum, _) in &by_sum {
            let (word, bit) = filter_place(*sum);
            if let Some(word) = filter.get_mut(word) {
                *word |= bit;
            }
        }
        Wanted { by_sum, filter }
    }

    fn may_have(&self, sum: u32) -> bool {
        let (word, bit) = filter_place(sum);
        self.filter.get(word).is_some_and(|word| word & bit != 0)
    }

    fn with_sum(&self, sum: u32) -> &[(u32, u32)] {
        let start = self.by_sum.partition_point(|(known, _)| *known < sum);
        let all = self.by_sum.get(start..).unwrap_or_default();
        all.get(..all.iter().take(MAX_CANDIDATES).take_while(|(known, _)| *known == sum).count()).unwrap_or_default()
    }
}

fn filter_place(sum: u32) -> (usize, u64) {
    let folded = sum.wrapping_mul(0x9E37_79B1) >> 12;
    ((folded >> 6) as usize, 1 << (folded & 63))
}

/// Looks for the blocks that are not found yet in a seed, which is read once from its beginning to its end. Equal blocks of the file are all
/// found when one of them is.
///
/// # Errors
/// When the seed cannot be read.
pub fn find(control: &Control, found: &mut Found, number: usize, seed: &mut dyn Read) -> io::Result<()> {
    let size = control.block_size;
    let (shift, mask) = (size.trailing_zeros(), control.rolling_mask());
    let wanted = Wanted::new(control, found);
    let mut window = Window::new(seed, size);
    let mut sum = None;
    while window.fill()? {
        let rolled: Rolling = match sum {
            Some(sum) => sum,
            None => Rolling::of(window.block()),
        };
        let key = rolled.number() & mask;
        if wanted.may_have(key) && note(control, &wanted, found, key, number, &window) {
            // What lies behind a block that was found most often is a whole block again.
            window.skip(size);
            sum = None;
            continue;
        }
        let mut next = rolled;
        let (out, new) = window.step();
        next.roll(out, new, shift);
        sum = Some(next);
    }
    share(control, found);
    Ok(())
}

/// Gives blocks that are equal to a found one its place: in a file with many zeros, not all of them are compared at one place.
fn share(control: &Control, found: &mut Found) {
    let known: HashMap<Block, (usize, u64)> =
        control.blocks.iter().zip(&found.places).filter_map(|(block, place)| Some((*block, (*place)?))).collect();
    for (block, place) in control.blocks.iter().zip(&mut found.places).filter(|(_, place)| place.is_none()) {
        *place = known.get(block).copied();
    }
}

/// Notes which blocks the window is. Whether there is one.
fn note(control: &Control, wanted: &Wanted, found: &mut Found, key: u32, number: usize, window: &Window) -> bool {
    let candidates = wanted.with_sum(key);
    if candidates.is_empty() {
        return false;
    }
    let sum = strong(window.block());
    let mut is_any = false;
    for (_, block) in candidates {
        let block = *block as usize;
        if control.blocks.get(block).is_some_and(|known| control.is_strong(known, &sum)) {
            is_any = true;
            if let Some(place @ None) = found.places.get_mut(block) {
                *place = Some((number, window.offset));
            }
        }
    }
    is_any
}

/// A block's length of a seed, that goes on through it. Behind its end lie zeros, as the last block of a file is filled up with them.
struct Window<'a> {
    seed: &'a mut dyn Read,
    size: usize,
    buffer: Vec<u8>,
    /// Where the window begins in the buffer, and where that is in the seed.
    at: usize,
    offset: u64,
    /// What of the buffer is the seed's; zeros behind it.
    filled: usize,
    ended: bool,
}

impl<'a> Window<'a> {
    fn new(seed: &'a mut dyn Read, size: usize) -> Window<'a> {
        Window { seed, size, buffer: vec![0; BUFFER + size], at: 0, offset: 0, filled: 0, ended: false }
    }

    /// Sees to it that a block and the byte after it are in memory. False behind the end of the seed.
    fn fill(&mut self) -> io::Result<bool> {
        if !self.ended && self.at + self.size >= self.filled {
            self.buffer.copy_within(self.at..self.filled, 0);
            self.filled -= self.at;
            self.at = 0;
            while self.filled < self.buffer.len() && !self.ended {
                match self.seed.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                    Ok(0) => self.ended = true,
                    Ok(read) => self.filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            if self.ended {
                self.buffer.truncate(self.filled);
                self.buffer.resize(self.filled + self.size + 1, 0);
            }
        }
        Ok(self.at < self.filled)
    }

    fn block(&self) -> &[u8] {
        self.buffer.get(self.at..self.at + self.size).unwrap_or_default()
    }

    /// Goes on by one byte; returns the one that leaves and the one that comes.
    fn step(&mut self) -> (u8, u8) {
        let byte = |at: usize| self.buffer.get(at).copied().unwrap_or(0);
        let both = (byte(self.at), byte(self.at + self.size));
        self.at += 1;
        self.offset += 1;
        both
    }

    fn skip(&mut self, bytes: usize) {
        let bytes = bytes.min(self.filled - self.at);
        self.at += bytes;
        self.offset += bytes as u64;
    }
}
