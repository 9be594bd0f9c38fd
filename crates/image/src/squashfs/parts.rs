//! Checksums of an image by parts, made while the image is written: by the time its last byte stands there, most of it has been summed
//! by another core. One sum of the whole could not begin before the superblock is known, which is last.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};

use sha2::{Digest, Sha256};

use super::PART;
use crate::forms::{FormKey, Forms};
use crate::write::Error;

/// SHA-256 of a part.
pub(crate) type Sum = [u8; 32];

/// An image in a file, from a byte on.
#[derive(Clone, Copy)]
pub(super) struct Image<'a> {
    pub path: &'a Path,
    pub file: &'a File,
    pub start: u64,
}

impl Image<'_> {
    /// The sums of these parts of an image of so many bytes.
    fn sums(&self, parts: Range<u64>, size: u64) -> Result<Vec<Sum>, Error> {
        let mut buffer = Vec::new();
        parts.map(|part| self.part_sum(part, size, &mut buffer)).collect()
    }

    fn part_sum(&self, part: u64, size: u64, buffer: &mut Vec<u8>) -> Result<Sum, Error> {
        self.sum(part * PART..size.min((part + 1) * PART), buffer)
    }

    /// The sum of these bytes of the image.
    pub(super) fn sum(&self, Range { start: mut at, end }: Range<u64>, buffer: &mut Vec<u8>) -> Result<Sum, Error> {
        let mut hash = Sha256::new();
        while at < end {
            buffer.resize((end - at).min(READ) as usize, 0);
            self.file.read_exact_at(buffer, self.start + at).map_err(|e| Error::io(self.path, e))?;
            hash.update(&*buffer);
            at += buffer.len() as u64;
        }
        Ok(hash.finalize().into())
    }

    /// Sums the parts behind the first one, each as soon as it is told that the image goes on behind its end.
    pub(super) fn follow(&self, ends: Receiver<u64>) -> Result<Vec<Sum>, Error> {
        let (mut sums, mut buffer) = (Vec::new(), Vec::new());
        for end in ends {
            while (sums.len() as u64 + 2) * PART <= end {
                sums.push(self.part_sum(sums.len() as u64 + 1, end, &mut buffer)?);
            }
        }
        Ok(sums)
    }
}

/// Bytes read at once: what is read is still in the processor's cache when it is summed.
const READ: u64 = 256 << 10;

/// The sums of parts that hold contents only, which are kept: an image of the same contents, with whatever names, has them too.
pub(super) struct KeptSums<'a> {
    pub forms: &'a Forms,
    pub key: FormKey,
}

impl KeptSums<'_> {
    /// Those kept, if any.
    pub(super) fn get(&self) -> Option<Vec<Sum>> {
        Some(self.forms.get(&self.key)?.as_chunks().0.to_vec())
    }

    /// All sums of an image of which everything up to `data_end` are contents; `inner` are those of the parts behind the first one, as many
    /// as are known.
    pub(super) fn complete(&self, image: Image, mut inner: Vec<Sum>, (data_end, size): (u64, u64)) -> Result<Vec<Sum>, Error> {
        // The first part has the superblock; what is behind the contents are tables.
        let behind = (data_end / PART).max(1);
        inner.truncate(behind as usize - 1);
        inner.extend(image.sums(1 + inner.len() as u64..behind, size)?);
        self.forms.put(&self.key, inner.as_flattened()).map_err(Error::store)?;
        let last = image.sums(behind..size.div_ceil(PART), size)?;
        Ok([image.sums(0..1, size)?, inner, last].concat())
    }
}

/// Tells a follower how far an image is written, whenever it has a part more.
pub(super) struct Teller {
    ends: Sender<u64>,
    told: u64,
}

impl Teller {
    pub(super) fn new() -> (Teller, Receiver<u64>) {
        let (ends, follower) = channel();
        (Teller { ends, told: 0 }, follower)
    }

    pub(super) fn tell(&mut self, end: u64) {
        if end / PART > self.told {
            self.told = end / PART;
            // A follower that failed is asked for its error later.
            let _ = self.ends.send(end);
        }
    }
}
