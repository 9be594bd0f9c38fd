//! Bits, the highest first.

pub(super) struct BitWriter {
    out: Vec<u8>,
    /// The lowest `filled` bits wait to be written.
    waiting: u64,
    filled: u32,
}

impl BitWriter {
    pub fn new(out: Vec<u8>) -> BitWriter {
        BitWriter { out, waiting: 0, filled: 0 }
    }

    /// Appends the lowest `count` bits of a value, 32 at most; the others have to be 0.
    #[inline]
    pub fn put(&mut self, value: u32, count: u32) {
        self.waiting = self.waiting << count | u64::from(value);
        self.filled += count;
        if self.filled >= 32 {
            self.filled -= 32;
            self.out.extend_from_slice(&((self.waiting >> self.filled) as u32).to_be_bytes());
        }
    }

    /// All bytes, the last filled up with zeros.
    pub fn finish(mut self) -> Vec<u8> {
        let bytes = self.filled.div_ceil(8);
        let rest = self.waiting << (bytes * 8 - self.filled);
        self.out.extend((0..bytes).rev().map(|byte| (rest >> (byte * 8)) as u8));
        self.out
    }
}
