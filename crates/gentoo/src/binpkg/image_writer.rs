//! Writes the image archive of a binary package: GNU tar without PAX, in the order of the calls.

use std::io::{self, Read, Write};

use super::tar_header::{self, Attributes, BLOCK};

/// Takes the files of an image one by one. Paths are relative to the root and have no leading slash; the empty path is the root.
/// A folder must be given before what is in it, and a file before its hard links.
pub struct ImageWriter<'a> {
    out: &'a mut dyn Write,
    /// What stands before each path: `image` in a GPKG, `.` in an XPAK.
    root: &'static str,
}

impl<'a> ImageWriter<'a> {
    pub(crate) fn new(out: &'a mut dyn Write, root: &'static str) -> Self {
        ImageWriter { out, root }
    }

    pub fn directory(&mut self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        let mut name = self.name(path)?;
        name.push(b'/');
        self.entry(&name, b"", b'5', 0, attributes)
    }

    /// A regular file of exactly `size` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` or `InvalidData` when `data` is shorter or longer than `size`; the archive is spoilt then.
    pub fn file(&mut self, path: &[u8], attributes: &Attributes, size: u64, data: &mut dyn Read) -> io::Result<()> {
        let name = self.name(path)?;
        self.entry(&name, b"", b'0', size, attributes)?;
        let copied = io::copy(&mut data.take(size), self.out)?;
        if copied < size {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a file of the image is shorter than its size"));
        }
        if data.read(&mut [0])? > 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a file of the image is longer than its size"));
        }
        pad(self.out, size)
    }

    pub fn symlink(&mut self, path: &[u8], target: &[u8], attributes: &Attributes) -> io::Result<()> {
        let name = self.name(path)?;
        self.entry(&name, target, b'2', 0, attributes)
    }

    /// A further name for the file that was written as `first`.
    pub fn hard_link(&mut self, path: &[u8], first: &[u8], attributes: &Attributes) -> io::Result<()> {
        let (name, first) = (self.name(path)?, self.name(first)?);
        self.entry(&name, &first, b'1', 0, attributes)
    }

    pub fn fifo(&mut self, path: &[u8], attributes: &Attributes) -> io::Result<()> {
        let name = self.name(path)?;
        self.entry(&name, b"", b'6', 0, attributes)
    }

    pub(crate) fn finish(self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK as usize])
    }

    fn entry(&mut self, name: &[u8], link: &[u8], kind: u8, size: u64, attributes: &Attributes) -> io::Result<()> {
        self.out.write_all(&tar_header::gnu(name, link, kind, size, attributes))
    }

    fn name(&self, path: &[u8]) -> io::Result<Vec<u8>> {
        let mut name = self.root.as_bytes().to_vec();
        if path.is_empty() {
            return Ok(name);
        }
        let unfit = |part: &[u8]| part.is_empty() || part == b"." || part == b".." || part.contains(&0);
        if path.split(|b| *b == b'/').any(unfit) {
            let shown = String::from_utf8_lossy(path).escape_debug().to_string();
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("“{shown}” is not a relative path")));
        }
        name.push(b'/');
        name.extend_from_slice(path);
        Ok(name)
    }
}

/// Fills the last block of a member of `size` bytes.
pub(crate) fn pad(out: &mut dyn Write, size: u64) -> io::Result<()> {
    let missing = (size.next_multiple_of(BLOCK) - size) as usize;
    out.write_all([0; BLOCK as usize].get(..missing).unwrap_or_default())
}
