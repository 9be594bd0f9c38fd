//! Moving what was built for one EPREFIX to another, by the rules of Portage's `bin/chpathtool.py`.
//!
//! | what | how |
//! |---|---|
//! | text (UTF-8 without NUL) | every occurrence of the old path becomes the new one; the file may shrink |
//! | all else (programs, libraries, archives, byte code) | the same, with `/` in front of the new path up to the old length, so that no offset and no length that a compiler noted changes |
//! | symbolic links | the old path at the target's start becomes the new one |
//!
//! Slashes and not NUL bytes fill the gap: a C compiler knows the length of a string literal, and `//////home/larry/gentoo` is as good a
//! path as the one without them. Compressed files are "all else", so the pages of man and info keep the old path.

use std::borrow::Cow;
use std::io::{self, Read};

use image::{BlobId, Store};
use memchr::memmem::Finder;

use crate::ComposeError;

/// Bytes read at once.
const PIECE: usize = 256 * 1024;

/// A move from one EPREFIX to another.
#[derive(Clone, Debug)]
pub struct Relocation {
    old: Vec<u8>,
    new: Vec<u8>,
    finder: Finder<'static>,
}

/// What a file's bytes are, which decides whether its length may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    Text,
    Binary,
}

impl Content {
    /// What a whole content is. Portage takes all UTF-8 for text where Python's magic module is absent; a file with NUL bytes is none
    /// here, as its offsets would break.
    pub fn of(content: &[u8]) -> Content {
        match memchr::memchr(0, content).is_none() && std::str::from_utf8(content).is_ok() {
            true => Content::Text,
            false => Content::Binary,
        }
    }
}

impl Relocation {
    /// A move from the path that packages were built at to another.
    ///
    /// # Errors
    /// When the new path is longer, as it would not fit into programs, or one of them is not an absolute path.
    pub fn new(old: &str, new: &str) -> Result<Relocation, ComposeError> {
        let (old, new) = (old.trim_end_matches('/'), new.trim_end_matches('/'));
        for path in [old, new] {
            if !path.starts_with('/') || path.contains('\0') {
                let message = format!("“{}” is no absolute path, and a prefix is named by one", path.escape_debug());
                return Err(ComposeError::new(message, "Name the folder like /home/larry/gentoo."));
            }
        }
        if new.len() > old.len() {
            let message = format!(
                "the prefix {new} has {} characters and the packages were built for {old}, which has {}: the longer path does not fit \
                 into their programs",
                new.len(),
                old.len()
            );
            let advice = format!("Choose a path of at most {} characters.", old.len());
            return Err(ComposeError::new(message, advice));
        }
        let finder = Finder::new(old).into_owned();
        Ok(Relocation { old: old.into(), new: new.into(), finder })
    }

    /// Whether old and new are one path, so that nothing is to do.
    pub fn is_nothing(&self) -> bool {
        self.old == self.new
    }

    /// The path of the image where the prefix was built, without the leading slash.
    pub fn old_dir(&self) -> &[u8] {
        self.old.strip_prefix(b"/").unwrap_or(&self.old)
    }

    /// The path of the image where the prefix will be, without the leading slash.
    pub fn new_dir(&self) -> &[u8] {
        self.new.strip_prefix(b"/").unwrap_or(&self.new)
    }

    /// A whole content, moved.
    pub fn bytes<'a>(&self, content: &'a [u8], kind: Content) -> Cow<'a, [u8]> {
        if self.is_nothing() || self.finder.find(content).is_none() {
            return Cow::Borrowed(content);
        }
        let mut moved = Vec::with_capacity(content.len());
        let done = self.rewrite(content, kind, &mut moved);
        moved.extend_from_slice(content.get(done..).unwrap_or_default());
        Cow::Owned(moved)
    }

    /// The target of a symbolic link, moved; `None` when it does not lead into the old prefix by its full path.
    pub fn symlink(&self, target: &[u8]) -> Option<Vec<u8>> {
        target.strip_prefix(self.old.as_slice()).map(|rest| [self.new.as_slice(), rest].concat())
    }

    /// Moves a content of the store, in pieces; `None` when the old path is not in it.
    ///
    /// # Errors
    /// Of the store.
    pub fn blob(&self, store: &Store, blob: &BlobId) -> Result<Option<(BlobId, u64)>, ComposeError> {
        let mut look = Look::new(&self.finder, self.old.len());
        let mut reader = store.reader(blob)?;
        for_each_piece(&mut reader, |piece| look.add(piece)).map_err(|error| broken(&error))?;
        if !look.found {
            return Ok(None);
        }
        let kind = look.kind();
        let mut moved = Moved {
            relocation: self,
            kind,
            source: store.reader(blob)?,
            window: Vec::new(),
            ready: Vec::new(),
            at: 0,
            ended: false,
        };
        Ok(Some(store.put(&mut moved)?))
    }

    /// Writes a content up to the end of the last occurrence of the old path, moved, and returns how much of it that was.
    fn rewrite(&self, content: &[u8], kind: Content, out: &mut Vec<u8>) -> usize {
        let padding = match kind {
            Content::Text => 0,
            Content::Binary => self.old.len() - self.new.len(),
        };
        let mut done = 0;
        for at in self.finder.find_iter(content) {
            out.extend_from_slice(content.get(done..at).unwrap_or_default());
            out.resize(out.len() + padding, b'/');
            out.extend_from_slice(&self.new);
            done = at + self.old.len();
        }
        done
    }
}

/// Looks at a content that comes in pieces: is it text, and is the old path in it?
struct Look<'a> {
    finder: &'a Finder<'static>,
    length: usize,
    found: bool,
    binary: bool,
    /// The end of what came so far: an occurrence may go on in the next piece.
    tail: Vec<u8>,
    /// Bytes of a character that is not whole yet.
    partial: Vec<u8>,
}

impl<'a> Look<'a> {
    fn new(finder: &'a Finder<'static>, length: usize) -> Look<'a> {
        Look { finder, length, found: false, binary: false, tail: Vec::new(), partial: Vec::new() }
    }

    fn add(&mut self, piece: &[u8]) {
        if !self.found {
            self.tail.extend_from_slice(piece);
            self.found = self.finder.find(&self.tail).is_some();
            let keep = self.tail.len().min(self.length.saturating_sub(1));
            self.tail.drain(..self.tail.len() - keep);
        }
        if !self.binary {
            self.partial.extend_from_slice(piece);
            let (binary, whole) = match std::str::from_utf8(&self.partial) {
                Ok(text) => (false, text.len()),
                Err(error) => (error.error_len().is_some(), error.valid_up_to()),
            };
            self.binary = binary || memchr::memchr(0, piece).is_some();
            self.partial.drain(..whole);
        }
    }

    fn kind(&self) -> Content {
        match self.binary || !self.partial.is_empty() {
            true => Content::Binary,
            false => Content::Text,
        }
    }
}

/// A content on its way from one place to another.
struct Moved<'a, R> {
    relocation: &'a Relocation,
    kind: Content,
    source: R,
    /// Read and not yet moved.
    window: Vec<u8>,
    /// Moved, and given out up to `at`.
    ready: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<R: Read> Moved<'_, R> {
    fn refill(&mut self) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        let count = self.source.read(&mut piece)?;
        self.window.extend_from_slice(piece.get(..count).unwrap_or_default());
        self.ended = count == 0;
        self.ready.clear();
        self.at = 0;
        let done = self.relocation.rewrite(&self.window, self.kind, &mut self.ready);
        // The last bytes may be the start of an occurrence, as long as more comes.
        let held = if self.ended { 0 } else { self.relocation.old.len().saturating_sub(1) };
        let plain = self.window.len().saturating_sub(held).max(done);
        self.ready.extend_from_slice(self.window.get(done..plain).unwrap_or_default());
        self.window.drain(..plain);
        Ok(())
    }
}

impl<R: Read> Read for Moved<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.ready.len() && !self.ended {
            self.refill()?;
        }
        let rest = self.ready.get(self.at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        Ok(count)
    }
}

fn for_each_piece(reader: &mut dyn Read, mut look: impl FnMut(&[u8])) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        match reader.read(&mut piece)? {
            0 => return Ok(()),
            count => look(piece.get(..count).unwrap_or_default()),
        }
    }
}

fn broken(error: &io::Error) -> ComposeError {
    ComposeError::new(
        format!("the store could not be read: {error}"),
        "Check the disk that holds the worker's store: space, permissions, hardware.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relocation() -> Relocation {
        Relocation::new("/tmp/gentoo", "/opt/gp/").unwrap()
    }

    #[test]
    fn texts_shrink_and_programs_are_filled_up() {
        let text = b"#!/tmp/gentoo/bin/sh\nPATH=/tmp/gentoo/bin:/tmp/gentoo\n/tmp/gentoo";
        let moved = relocation().bytes(text, Content::of(text)).into_owned();
        assert_eq!(moved, b"#!/opt/gp/bin/sh\nPATH=/opt/gp/bin:/opt/gp\n/opt/gp");
        let program = b"\x7fELF\0/tmp/gentoo/lib/ld.so\0\xff///tmp/gentoo\0";
        let moved = relocation().bytes(program, Content::of(program)).into_owned();
        assert_eq!(moved, b"\x7fELF\0/////opt/gp/lib/ld.so\0\xff///////opt/gp\0");
        assert_eq!(moved.len(), program.len());
    }

    #[test]
    fn only_text_without_nul_is_text() {
        for (content, kind) in [
            ("grün\n".as_bytes(), Content::Text),
            (b"", Content::Text),
            (b"a\0b", Content::Binary),
            (b"\xff", Content::Binary),
            (b"gr\xc3", Content::Binary),
        ] {
            assert_eq!(Content::of(content), kind, "{content:?}");
        }
    }

    #[test]
    fn links_are_moved_when_they_lead_into_the_prefix() {
        let relocation = relocation();
        assert_eq!(relocation.symlink(b"/tmp/gentoo/usr/bin/m4").as_deref(), Some(&b"/opt/gp/usr/bin/m4"[..]));
        assert_eq!(relocation.symlink(b"../tmp/gentoo"), None);
    }

    #[test]
    fn a_longer_path_is_refused_with_the_length_that_fits() {
        let error = Relocation::new("/tmp/gentoo", "/home/larry/gentoo").unwrap_err();
        assert!(error.message.contains("18 characters") && error.advice.contains("at most 11"), "{error:?}");
        assert!(Relocation::new("", "/x").is_err());
        assert!(Relocation::new("/", "/x").is_err());
        assert!(Relocation::new("/tmp/gentoo", "opt").is_err());
    }

    /// However a content falls into pieces, it is moved as the whole is.
    #[test]
    fn pieces_do_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let relocation = relocation();
        for filler in [&b"/"[..], b"/tmp/gent", b"\0"] {
            // Occurrences that begin at every distance from the end of the first piece.
            for distance in 0..12 {
                let mut content: Vec<u8> =
                    filler.iter().copied().cycle().take((PIECE - distance) / filler.len() * filler.len()).collect();
                content.extend_from_slice(b"/tmp/gentoo/bin:/tmp/gentoo");
                let (blob, _) = store.put_bytes(&content).unwrap();
                let (moved, size) = relocation.blob(&store, &blob).unwrap().unwrap();
                let expected = relocation.bytes(&content, Content::of(&content)).into_owned();
                assert!(store.read(&moved).unwrap() == expected, "{filler:?}, {distance}");
                assert_eq!(size, expected.len() as u64);
            }
        }
        let (blob, _) = store.put_bytes(b"/tmp/gento").unwrap();
        assert_eq!(relocation.blob(&store, &blob).unwrap(), None);
    }
}
