//! A range of an open file, read by position, so that several readers of one file do not disturb one another.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes that can be read at any place.
pub(crate) trait ReadAt {
    fn len(&self) -> u64;

    /// Fills `buf` from `offset` on; `UnexpectedEof` when the source ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
}

/// A range of a file that other readers may share.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    start: u64,
    end: u64,
    position: u64,
}

impl Section {
    /// The whole of a regular file.
    pub(crate) fn whole(file: File) -> io::Result<Section> {
        let end = file.metadata()?.len();
        Ok(Section { file: Arc::new(file), start: 0, end, position: 0 })
    }

    /// A range of this one, from its beginning; `None` when it is not inside.
    pub(crate) fn part(&self, offset: u64, len: u64) -> Option<Section> {
        let start = self.start.checked_add(offset)?;
        let end = start.checked_add(len)?;
        (end <= self.end).then(|| Section { file: self.file.clone(), start, end, position: start })
    }

    /// All bytes; the caller has checked that there are not too many.
    pub(crate) fn to_vec(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl ReadAt for Section {
    fn len(&self) -> u64 {
        self.end - self.start
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let inside = offset.checked_add(buf.len() as u64).is_some_and(|end| end <= self.len());
        if !inside {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(buf, self.start + offset)
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(self.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Read for Section {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        let buf = buf.get_mut(..wanted).unwrap_or_default();
        let count = self.file.read_at(buf, self.position)?;
        if count == 0 && wanted > 0 {
            // The file became shorter than it was when it was opened.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}
