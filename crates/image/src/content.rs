//! What files contain, read in stretches and checked, by several threads at once.

use std::collections::HashMap;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::store::{BlobId, Store, StoreError};
use crate::tree::shown;
use crate::write::{Error, for_each_piece};

/// The content of a file of a tree, or a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Stretch<'a> {
    pub path: &'a [u8],
    pub blob: &'a BlobId,
    /// Bytes of the whole file.
    pub size: u64,
    pub range: Range<u64>,
}

impl<'a> Stretch<'a> {
    pub(crate) fn whole(path: &'a [u8], (blob, size): (&'a BlobId, u64)) -> Stretch<'a> {
        Stretch { path, blob, size, range: 0..size }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.range == (0..self.size)
    }

    pub(crate) fn length(&self) -> u64 {
        self.range.end - self.range.start
    }
}

/// A file's content in stretches of `step` bytes; the last has between half and one and a half of it, so that none is tiny.
pub(crate) fn stretches(size: u64, step: u64) -> impl Iterator<Item = Range<u64>> {
    let count = (size.saturating_add(step / 2) / step).max(1);
    (0..count).map(move |i| i * step..if i + 1 == count { size } else { (i + 1) * step })
}

/// CRC-32 of each stretch of a file.
type Checks = Arc<Mutex<Option<Vec<u32>>>>;

/// Reads stretches of a store's files. A hash is of a whole file, so a file that is read in stretches is read and hashed once before;
/// the stretches' own checksums of that time tell whether what is read later is the same.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    store: &'a Store,
    step: u64,
    hashed: Mutex<HashMap<BlobId, Checks>>,
}

impl<'a> Contents<'a> {
    /// `step` is that of [`stretches`], of which every stretch that is no whole file must be one.
    pub(crate) fn new(store: &'a Store, step: u64) -> Contents<'a> {
        Contents { store, step, hashed: Mutex::default() }
    }

    /// Hashes the file of a stretch, unless the stretch is all of it, so that nobody who appends it has to wait for that.
    pub(crate) fn prepare(&self, stretch: &Stretch) -> Result<(), Error> {
        match stretch.is_whole() {
            true => Ok(()),
            false => self.check(stretch, 0).map(drop),
        }
    }

    /// Appends a stretch to a buffer.
    pub(crate) fn append(&self, stretch: &Stretch, out: &mut Vec<u8>) -> Result<(), Error> {
        match stretch.is_whole() {
            true => append_whole(self.store, stretch, out),
            false => self.append_part(stretch, out),
        }
    }

    fn append_part(&self, stretch: &Stretch, out: &mut Vec<u8>) -> Result<(), Error> {
        let wrong = || Error::WrongSize { path: shown(stretch.path), expected: stretch.size, actual: stretch.range.start };
        let number = usize::try_from(stretch.range.start / self.step).map_err(|_| wrong())?;
        let expected = self.check(stretch, number)?.ok_or_else(wrong)?;
        let length = usize::try_from(stretch.length()).map_err(|_| wrong())?;
        let start = out.len();
        out.resize(start + length, 0);
        let failed = |e| Error::content(stretch.path, e);
        let part = out.get_mut(start..).unwrap_or_default();
        let file = self.store.open_blob(stretch.blob).map_err(failed)?;
        let read = file.read_exact_at(part, stretch.range.start);
        read.map_err(|e| failed(StoreError::io(&self.store.path(stretch.blob), e)))?;
        match crc32fast::hash(part) == expected {
            true => Ok(()),
            false => Err(failed(self.store.damaged(stretch.blob))),
        }
    }

    /// The checksum that a stretch of this number must have. Others that ask for the same file wait while it is hashed.
    fn check(&self, stretch: &Stretch, number: usize) -> Result<Option<u32>, Error> {
        let checks = self.hashed.lock().unwrap_or_else(PoisonError::into_inner).entry(*stretch.blob).or_default().clone();
        let mut checks = checks.lock().unwrap_or_else(PoisonError::into_inner);
        if checks.is_none() {
            *checks = Some(self.checks_of(stretch)?);
        }
        Ok(checks.as_ref().and_then(|checks| checks.get(number).copied()))
    }

    fn checks_of(&self, stretch: &Stretch) -> Result<Vec<u32>, Error> {
        let mut ends = stretches(stretch.size, self.step).map(|range| range.end);
        let (mut checks, mut hasher) = (Vec::new(), crc32fast::Hasher::new());
        let (mut at, mut end) = (0, ends.next().unwrap_or(0));
        for_each_piece(self.store, stretch.path, (stretch.blob, stretch.size), |mut bytes| {
            while at + bytes.len() as u64 >= end && !bytes.is_empty() {
                let (head, tail) = bytes.split_at((end - at) as usize);
                hasher.update(head);
                checks.push(std::mem::take(&mut hasher).finalize());
                (at, end, bytes) = (end, ends.next().unwrap_or(u64::MAX), tail);
            }
            hasher.update(bytes);
            at += bytes.len() as u64;
            Ok(())
        })?;
        Ok(checks)
    }
}

fn append_whole(store: &Store, stretch: &Stretch, out: &mut Vec<u8>) -> Result<(), Error> {
    // An empty file that only a format's own rules ask for is in no store.
    if stretch.size == 0 && *stretch.blob == BlobId::of(b"") {
        return Ok(());
    }
    for_each_piece(store, stretch.path, (stretch.blob, stretch.size), |bytes| {
        out.extend_from_slice(bytes);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_cover_a_file_and_none_is_tiny() {
        for size in [0, 1, 99, 100, 149, 150, 151, 1000, 1049, 1050] {
            let ranges: Vec<_> = stretches(size, 100).collect();
            assert_eq!(ranges.first().map(|r| r.start), Some(0));
            assert_eq!(ranges.last().map(|r| r.end), Some(size));
            assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(ranges.len() == 1 || ranges.iter().all(|r| (50..150).contains(&(r.end - r.start))), "{ranges:?}");
        }
    }

    #[test]
    fn parts_are_the_whole_and_damage_is_found_at_any_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let bytes: Vec<u8> = (0..1_000_030_u32).map(|i| (i % 253) as u8).collect();
        let (blob, size) = store.put_bytes(&bytes).unwrap();
        let contents = Contents::new(&store, 100_000);
        let read = |out: &mut Vec<u8>| {
            stretches(size, 100_000)
                .try_for_each(|range| contents.append(&Stretch { path: b"file", blob: &blob, size, range }, out))
        };
        let mut out = Vec::new();
        read(&mut out).unwrap();
        assert!(out == bytes);
        let mut damaged = bytes.clone();
        damaged[700_000] ^= 1;
        std::fs::write(store.path(&blob), damaged).unwrap();
        let error = read(&mut Vec::new()).unwrap_err();
        assert!(matches!(error, Error::Content { source: StoreError::Damaged { .. }, .. }), "{error}");
        assert!(!store.contains(&blob));
    }
}
