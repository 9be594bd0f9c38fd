//! Move to front, and runs of the front as numbers.

use std::array;

/// The two digits of runs.
const RUN_DIGITS: u32 = 2;

/// The symbols of a transformed block.
pub(super) struct Symbols {
    pub list: Vec<u16>,
    /// How often each occurs. The last is the end of the block, which occurs once.
    pub counts: Vec<u32>,
}

/// Each byte as how many others occurred since it last did, the runs of 0 among these as numbers in base two with the digits 1
/// and 2.
pub(super) fn of(column: &[u8], counts: &[u32; 256]) -> Symbols {
    let mut recent = Recent::new(counts);
    let size = counts.iter().filter(|count| **count > 0).count();
    let mut symbols = Symbols { list: Vec::with_capacity(column.len() + 1), counts: vec![0; size + 2] };
    let mut run = 0;
    for byte in column {
        if *byte == recent.front() {
            run += 1;
            continue;
        }
        symbols.end_run(&mut run);
        symbols.add(recent.bring_to_front(*byte) + 1);
    }
    symbols.end_run(&mut run);
    symbols.add(size as u16 + 1);
    symbols
}

impl Symbols {
    #[inline]
    fn add(&mut self, symbol: u16) {
        self.list.push(symbol);
        if let Some(count) = self.counts.get_mut(usize::from(symbol)) {
            *count += 1;
        }
    }

    #[inline]
    fn end_run(&mut self, run: &mut u32) {
        while *run > 0 {
            *run -= 1;
            self.add((*run % RUN_DIGITS) as u16);
            *run /= RUN_DIGITS;
        }
    }
}

/// The bytes by when they last occurred, eight in each word, the latest lowest.
struct Recent([u64; 32]);

const LOWS: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = LOWS << 7;

impl Recent {
    /// In the order of their values, those that occur at all.
    fn new(counts: &[u32; 256]) -> Recent {
        let mut bytes = (0..=255u8).filter(|byte| counts[usize::from(*byte)] > 0);
        Recent(array::from_fn(|_| u64::from_le_bytes(array::from_fn(|_| bytes.next().unwrap_or_default()))))
    }

    fn front(&self) -> u8 {
        self.0[0] as u8
    }

    /// Brings a byte to the front and gives the place where it was, eight places at a time.
    #[inline]
    fn bring_to_front(&mut self, byte: u8) -> u16 {
        let mut before = u64::from(byte);
        let mut place = 0;
        for word in &mut self.0 {
            let different = *word ^ (LOWS * u64::from(byte));
            // The highest bit of the first byte that is not different, and perhaps of some behind it.
            let found = different.wrapping_sub(LOWS) & !different & HIGHS;
            let moved = *word << 8 | before;
            if found != 0 {
                let up_to_found = found ^ (found - 1);
                *word = *word & !up_to_found | moved & up_to_found;
                return place + (found.trailing_zeros() / 8) as u16;
            }
            before = *word >> 56;
            *word = moved;
            place += 8;
        }
        place
    }
}
