//! Bounds on what a package may unpack to: a few kilobytes can hold gigabytes of zeros, or headers that take all memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Most bytes that one package may unpack to, whatever its size.
const MAX_BYTES: u64 = 64 << 30;
/// What any package may unpack to, and how many times its compressed size beyond that. Real ones stay below 30 times.
const FREE_BYTES: u64 = 128 << 20;
const MAX_RATIO: u64 = 200;
/// Bytes that may stand between the contents of two files: headers, long names, extended attributes, padding.
const MAX_HEADERS: u64 = 1 << 20;
/// Bytes of headers in a whole package beyond two blocks a file. Names and attributes are kept in memory.
const MAX_EXTRA_HEADERS: u64 = 64 << 20;
/// Two blocks of tar.
const PLAIN_HEADER: u64 = 1024;

/// Counts the bytes of a stream, and those of the files in it, against what is allowed.
#[derive(Clone, Debug)]
pub struct Meter {
    /// Bytes the stream may still give until the next change of hands.
    allowed: Rc<Cell<u64>>,
    granted: u64,
    extra_headers: u64,
    contents: u64,
}

impl Meter {
    /// For a package of so many compressed bytes.
    pub fn new(compressed: u64) -> Meter {
        let contents = compressed.saturating_mul(MAX_RATIO).saturating_add(FREE_BYTES).min(MAX_BYTES);
        Meter { allowed: Rc::new(Cell::new(0)), granted: 0, extra_headers: MAX_EXTRA_HEADERS, contents }
    }

    /// The stream, held to what is allowed.
    pub fn stream<R: Read>(&self, inner: R) -> Metered<R> {
        Metered { inner, allowed: self.allowed.clone() }
    }

    /// Headers are read next.
    pub fn before_headers(&mut self) {
        self.granted = MAX_HEADERS.min(self.extra_headers.saturating_add(PLAIN_HEADER));
        self.allowed.set(self.granted);
    }

    /// Headers were read.
    pub fn after_headers(&mut self) {
        let used = self.granted.saturating_sub(self.allowed.get());
        self.extra_headers = self.extra_headers.saturating_sub(used.saturating_sub(PLAIN_HEADER));
        self.allowed.set(0);
    }

    /// A file's content is read next. It may be longer than its part of the stream: sparse files have holes.
    pub fn content<'a, R: Read>(&'a mut self, inner: R) -> Content<'a, R> {
        self.allowed.set(self.contents);
        Content { inner, left: &mut self.contents }
    }
}

/// A stream that fails where it gives more than is allowed.
pub struct Metered<R> {
    inner: R,
    allowed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.allowed.get().checked_sub(count as u64) {
            Some(left) => self.allowed.set(left),
            None => return Err(too_much()),
        }
        Ok(count)
    }
}

/// A file's content that fails where it is longer than is allowed.
pub struct Content<'a, R> {
    inner: R,
    left: &'a mut u64,
}

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        *self.left = self.left.checked_sub(count as u64).ok_or_else(too_much)?;
        Ok(count)
    }
}

fn too_much() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it unpacks to far more than any package of its size does")
}
