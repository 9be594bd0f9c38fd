//! The control file: lines of `Name: value`, an empty line, then for each block its rolling sum and the beginning of its MD4.

use std::io::{self, Read};

use sha1::{Digest, Sha1};

use crate::{Rolling, strong};

/// Block sizes that are read. Those that are written lie between.
const BLOCK_SIZES: std::ops::RangeInclusive<usize> = 256..=1 << 16;
/// Files from this size on have larger blocks, as with zsyncmake. Bytes.
const LARGE: u64 = 100_000_000;
/// More blocks than these are not made: they get larger instead, so that the control file stays below 16 MiB.
const MAX_BLOCKS: u64 = 1 << 20;
/// The longest file that a control file may be for: 1 TiB.
const MAX_LENGTH: u64 = 1 << 40;
/// The longest head.
const MAX_HEAD: usize = 64 << 10;
/// What is written: all of the rolling sum, and so much of the MD4 that one block of a billion is mistaken in one file of a billion.
const ROLLING_BYTES: usize = 4;
const STRONG_BYTES: usize = 8;

/// Why a control file is none.
#[derive(Debug, thiserror::Error)]
#[error("this is no control file of zsync that can be used: {0}")]
pub struct ControlError(String);

fn wrong(reason: impl Into<String>) -> ControlError {
    ControlError(reason.into())
}

/// What is known of a file and its blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The name of the file, a single path component.
    pub name: String,
    /// Bytes of the file.
    pub length: u64,
    /// SHA-1 of the whole file, lower-case hexadecimal; empty where it is not named.
    pub sha1: String,
    pub(crate) block_size: usize,
    /// How many bytes of the rolling sum are known, counted from its end, and how many of the MD4, from its beginning.
    pub(crate) rolling_bytes: usize,
    pub(crate) strong_bytes: usize,
    pub(crate) blocks: Vec<Block>,
}

/// The checksums of one block, as far as they are known. The last block of a file counts as filled up with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub rolling: u32,
    pub strong: [u8; 16],
}

impl Control {
    /// Reads a file to its end and notes its blocks. `length` decides only how large they are.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(name: &str, length: u64, file: &mut dyn Read) -> io::Result<Control> {
        let mut block_size = if length < LARGE { 2_048 } else { 4_096 };
        while length / block_size as u64 > MAX_BLOCKS && block_size < *BLOCK_SIZES.end() {
            block_size *= 2;
        }
        let mut control = Control {
            name: name.to_owned(),
            length: 0,
            sha1: String::new(),
            block_size,
            rolling_bytes: ROLLING_BYTES,
            strong_bytes: STRONG_BYTES,
            blocks: Vec::new(),
        };
        let (mut whole, mut block) = (Sha1::new(), Vec::with_capacity(block_size));
        loop {
            block.clear();
            let read = (&mut *file).take(block_size as u64).read_to_end(&mut block)?;
            if read == 0 {
                break;
            }
            control.length += read as u64;
            whole.update(&block);
            block.resize(block_size, 0);
            let mut strong = strong(&block);
            clear(&mut strong, STRONG_BYTES);
            control.blocks.push(Block { rolling: Rolling::of(&block).number(), strong });
        }
        control.sha1 = hex::encode(whole.finalize());
        Ok(control)
    }

    /// As the file is written. The address in it is the file's name: it lies beside.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Control { name, length, sha1, block_size, rolling_bytes, strong_bytes, .. } = self;
        let mut bytes = format!(
            "zsync: 0.6.2\nFilename: {name}\nBlocksize: {block_size}\nLength: {length}\n\
             Hash-Lengths: 1,{rolling_bytes},{strong_bytes}\nURL: {name}\nSHA-1: {sha1}\n\n"
        )
        .into_bytes();
        for block in &self.blocks {
            bytes.extend(block.rolling.to_be_bytes().iter().skip(4 - rolling_bytes));
            bytes.extend(block.strong.iter().take(*strong_bytes));
        }
        bytes
    }

    /// Reads a control file.
    ///
    /// # Errors
    /// When it is malformed, or asks for more than its own size can justify.
    pub fn parse(bytes: &[u8]) -> Result<Control, ControlError> {
        let searched = bytes.get(..MAX_HEAD).unwrap_or(bytes);
        let end = searched.windows(2).position(|two| two == b"\n\n").ok_or_else(|| wrong("its head does not end"))?;
        let (head, sums) = bytes.split_at_checked(end + 2).ok_or_else(|| wrong("it is cut off"))?;
        let head = std::str::from_utf8(head).map_err(|_| wrong("its head is no text"))?;
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        if field("zsync").is_none() {
            return Err(wrong("it does not begin as one"));
        }
        if field("Z-Map2").is_some() || field("Z-URL").is_some() {
            return Err(wrong("it looks into compressed files, which is not known here"));
        }
        let number = |name: &str| field(name).and_then(|text| text.trim().parse::<u64>().ok());
        let length =
            number("Length").filter(|length| *length <= MAX_LENGTH).ok_or_else(|| wrong("Length is missing or too large"))?;
        let block_size = number("Blocksize").and_then(|size| usize::try_from(size).ok());
        let block_size = block_size.filter(|size| size.is_power_of_two() && BLOCK_SIZES.contains(size));
        let block_size = block_size.ok_or_else(|| wrong("Blocksize is no power of two between 256 and 65536"))?;
        let (rolling_bytes, strong_bytes) = hash_lengths(field("Hash-Lengths").unwrap_or("1,4,16"))?;
        let name = field("Filename").unwrap_or_default().to_owned();
        let sha1 = field("SHA-1").unwrap_or_default().trim().to_ascii_lowercase();
        let per_block = rolling_bytes + strong_bytes;
        if sums.len() as u64 != length.div_ceil(block_size as u64) * per_block as u64 {
            return Err(wrong("it has not one checksum for each block"));
        }
        let blocks = sums.chunks_exact(per_block).map(|sums| {
            let (low, high) = sums.split_at(rolling_bytes);
            let mut block = Block { rolling: 0, strong: [0; 16] };
            block.rolling = low.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            block.strong.iter_mut().zip(high).for_each(|(to, from)| *to = *from);
            block
        });
        Ok(Control { name, length, sha1, block_size, rolling_bytes, strong_bytes, blocks: blocks.collect() })
    }

    /// Bytes of a block: all but the last have as many.
    pub(crate) fn size_of(&self, block: usize) -> usize {
        let start = (block as u64).saturating_mul(self.block_size as u64);
        usize::try_from(self.length.saturating_sub(start)).unwrap_or(usize::MAX).min(self.block_size)
    }

    /// The bits of a rolling sum that are known.
    pub(crate) fn rolling_mask(&self) -> u32 {
        u32::MAX.checked_shr(32 - 8 * self.rolling_bytes as u32).unwrap_or(0)
    }

    /// Whether a block's MD4 is this one, as far as it is known.
    pub(crate) fn is_strong(&self, block: &Block, sum: &[u8; 16]) -> bool {
        block.strong.iter().zip(sum).take(self.strong_bytes).all(|(known, new)| known == new)
    }
}

/// `sequence,rolling,strong`. That zsync wants so many blocks in sequence is only to save it work.
fn hash_lengths(text: &str) -> Result<(usize, usize), ControlError> {
    let numbers: Vec<usize> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
    match numbers.as_slice() {
        [1..=2, rolling @ 1..=4, strong @ 3..=16] => Ok((*rolling, *strong)),
        _ => Err(wrong(format!("Hash-Lengths “{}” are not known", text.escape_debug()))),
    }
}

fn clear(sum: &mut [u8; 16], from: usize) {
    sum.iter_mut().skip(from).for_each(|byte| *byte = 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for length in [0usize, 1, 2_048, 2_049, 10_000] {
            let data: Vec<u8> = (0..length).map(|i| (i * i) as u8).collect();
            let control = Control::of("x.iso", length as u64, &mut data.as_slice()).unwrap();
            assert_eq!(control.length, length as u64);
            assert_eq!(Control::parse(&control.to_bytes()).unwrap(), control);
        }
    }

    #[test]
    fn the_hostile_is_refused() {
        let good = Control::of("x", 3, &mut b"abc".as_slice()).unwrap().to_bytes();
        let text = String::from_utf8_lossy(&good).into_owned();
        let with = |from: &str, to: &str| {
            let at = text.find(from).unwrap();
            [&good[..at], to.as_bytes(), &good[at + from.len()..]].concat()
        };
        for bad in [
            b"".to_vec(),
            b"zsync: 0.6.2\n".to_vec(),
            good[..good.len() - 1].to_vec(),
            with("Length: 3", "Length: 99999999999999999999"),
            with("Length: 3", "Length: 1099511627776"),
            with("Blocksize: 2048", "Blocksize: 0"),
            with("Blocksize: 2048", "Blocksize: 3000"),
            with("Hash-Lengths: 1,4,8", "Hash-Lengths: 1,4,17"),
            with("Hash-Lengths: 1,4,8", "Hash-Lengths: 1,0,8"),
            with("zsync: 0.6.2", "hello: 0.6.2"),
        ] {
            assert!(Control::parse(&bad).is_err(), "{}", String::from_utf8_lossy(&bad));
        }
    }
}
