//! Putting a file together from what seeds have of it and what has to be fetched.

use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use crate::control::Control;
use crate::find::Found;

/// Blocks between two that are missing are fetched with them when they are not more than this: a request of its own costs more. Bytes.
const GAP: u64 = 4 << 10;
/// The most that one request asks for. Bytes.
const MAX_REQUEST: u64 = 64 << 20;

/// Fetches a part of the file: the bytes from the range's start up to its end, which it does not include.
pub type Fetch<'a> = dyn FnMut(Range<u64>, &mut dyn Write) -> io::Result<()> + 'a;

/// What a file was put together from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes from the seeds, and bytes that were fetched.
    pub reused: u64,
    pub fetched: u64,
    pub requests: u64,
}

/// Writes the file to `target`: the blocks that were found from their seeds, all others from what `fetch` gets.
///
/// # Errors
/// When a seed cannot be read, the target not written, or a part not fetched.
pub fn assemble(control: &Control, found: &Found, seeds: &[File], target: &File, fetch: &mut Fetch<'_>) -> io::Result<Outcome> {
    let mut outcome = Outcome::default();
    target.set_len(control.length)?;
    let missing = missing(control, found);
    let mut block = vec![0; control.block_size];
    let size = control.block_size as u64;
    let mut gaps = missing.iter().peekable();
    for (number, place) in found.places.iter().enumerate() {
        let start = number as u64 * size;
        while gaps.next_if(|gap| gap.end <= start).is_some() {}
        let Some((seed, offset)) = place.filter(|_| gaps.peek().is_none_or(|gap| start < gap.start)) else { continue };
        let length = control.size_of(number);
        let seed = seeds.get(seed).ok_or_else(|| io::Error::other("a seed is gone"))?;
        let bytes = block.get_mut(..length).unwrap_or_default();
        read_filled(seed, bytes, offset)?;
        target.write_all_at(bytes, start)?;
        outcome.reused += length as u64;
    }
    for part in missing {
        let mut writer = Part { target, at: part.start, end: part.end };
        fetch(part.clone(), &mut writer)?;
        if writer.at != part.end {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a part of the file came incomplete"));
        }
        outcome.fetched += part.end - part.start;
        outcome.requests += 1;
    }
    Ok(outcome)
}

/// What has to be fetched, in few parts.
fn missing(control: &Control, found: &Found) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for (number, _) in found.places.iter().enumerate().filter(|(_, place)| place.is_none()) {
        let start = number as u64 * control.block_size as u64;
        let end = start + control.size_of(number) as u64;
        match parts.last_mut().filter(|last| start - last.end <= GAP && end - last.start <= MAX_REQUEST) {
            Some(last) => last.end = end,
            None => parts.push(start..end),
        }
    }
    parts
}

/// Reads a part of a seed; a block that was found at its very end goes on in zeros.
fn read_filled(seed: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = seed.read_at(bytes, offset)?;
        if read == 0 {
            bytes.fill(0);
            return Ok(());
        }
        offset += read as u64;
        bytes = bytes.get_mut(read..).unwrap_or_default();
    }
    Ok(())
}

/// Where a fetched part goes; more than was asked for is refused.
struct Part<'a> {
    target: &'a File,
    at: u64,
    end: u64,
}

impl Write for Part<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at + bytes.len() as u64 > self.end {
            return Err(io::Error::other("more came than was asked for"));
        }
        self.target.write_all_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use proptest::prelude::*;

    use super::*;
    use crate::find::find;

    fn file(data: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(data).unwrap();
        file.rewind().unwrap();
        file
    }

    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed | 1;
        let step = |_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        };
        (0..length).map(step).collect()
    }

    /// Assembles `new` with the seeds; it has to come out, and what it took is returned.
    fn update(seeds: &[Vec<u8>], new: &[u8]) -> Outcome {
        let control = Control::of("x", new.len() as u64, &mut &*new).unwrap();
        let control = Control::parse(&control.to_bytes()).unwrap();
        let mut seeds: Vec<File> = seeds.iter().map(|seed| file(seed)).collect();
        let mut found = Found::none(&control);
        for (number, seed) in seeds.iter_mut().enumerate() {
            find(&control, &mut found, number, seed).unwrap();
        }
        let mut target = tempfile::tempfile().unwrap();
        let outcome = assemble(&control, &found, &seeds, &target, &mut |part, out| {
            out.write_all(&new[part.start as usize..part.end as usize])
        });
        let mut made = Vec::new();
        target.rewind().unwrap();
        target.read_to_end(&mut made).unwrap();
        assert!(made == new, "the file is not the one that was meant");
        outcome.unwrap()
    }

    #[test]
    fn only_what_changed_is_fetched() {
        let old = noise(1, 300_000);
        let whole = update(std::slice::from_ref(&old), &old);
        assert_eq!(whole, Outcome { reused: 300_000, fetched: 0, requests: 0 });
        // Something shorter stands in another's place, so that all behind it has moved.
        let new = [&old[..100_000], &noise(2, 3_000), &old[120_001..]].concat();
        let moved = update(std::slice::from_ref(&old), &new);
        assert!(moved.fetched <= 3_000 + 2 * 2_048 && moved.requests == 1, "{moved:?}");
        // The halves of one file from two others.
        let halves = update(&[old[..150_000].to_vec(), old[150_000..].to_vec()], &old);
        assert!(halves.fetched <= 2_048, "{halves:?}");
        let alien = update(&[noise(3, 100_000)], &old);
        assert_eq!((alien.reused, alien.requests), (0, 1));
        assert_eq!(update(&[], b"").requests, 0);
        assert_eq!(update(&[vec![0; 100]], &vec![0; 1 << 20]).fetched, 0, "equal blocks are all found in one");
    }

    #[test]
    fn a_fetch_that_gives_another_amount_is_refused() {
        let new = noise(1, 5_000);
        let control = Control::of("x", 5_000, &mut new.as_slice()).unwrap();
        let found = Found::none(&control);
        for length in [4_999, 5_001] {
            let target = tempfile::tempfile().unwrap();
            let sent = assemble(&control, &found, &[], &target, &mut |_, out| out.write_all(&vec![0; length]));
            assert!(sent.is_err(), "{length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn whatever_was_cut_and_pasted_comes_out(cuts in prop::collection::vec((0usize..60_000, 0usize..20_000, any::<bool>()), 0..8)) {
            let old = noise(7, 60_000);
            let mut new = Vec::new();
            for (at, length, known) in cuts {
                match known {
                    true => new.extend(&old[at..(at + length).min(old.len())]),
                    false => new.extend(noise(at as u32, length)),
                }
            }
            let outcome = update(&[old], &new);
            prop_assert!(outcome.reused + outcome.fetched == new.len() as u64);
        }
    }
}
