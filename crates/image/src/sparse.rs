//! A large file that is known before it is written: where its parts are and where their bytes come from. It is given piece by piece
//! from its start, so that whoever compresses or stores it needs neither a copy on disk nor much memory.

use crate::store::{BlobId, Store, VerifiedReader};
use crate::tree::shown;
use crate::write::{Error, Meter};

/// A regular file of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub path: &'a [u8],
    pub blob: &'a BlobId,
    pub size: u64,
}

/// Where a part's bytes come from.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    Bytes(Vec<u8>),
    /// `len` bytes of a file from `offset` on. The parts of one file follow each other in the order of their offsets.
    File {
        source: Source<'a>,
        offset: u64,
        len: u64,
    },
}

impl Content<'_> {
    fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { len, .. } => *len,
        }
    }
}

/// A piece on its way out.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run<'a> {
    Zeros(u64),
    Bytes(&'a [u8]),
}

/// Parts by their place in bytes; everything between is zero.
#[derive(Debug)]
pub(crate) struct Sparse<'a> {
    parts: Vec<(u64, Content<'a>)>,
    size: u64,
}

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

impl<'a> Sparse<'a> {
    pub(crate) fn new(size: u64) -> Sparse<'a> {
        Sparse { parts: Vec::new(), size }
    }

    /// Bytes in all.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn put(&mut self, at: u64, content: Content<'a>) {
        if content.len() > 0 {
            self.parts.push((at, content));
        }
    }

    pub(crate) fn put_bytes(&mut self, at: u64, bytes: Vec<u8>) {
        self.put(at, Content::Bytes(bytes));
    }

    /// Puts all of another one at a place.
    pub(crate) fn embed(&mut self, at: u64, other: Sparse<'a>) {
        self.parts.extend(other.parts.into_iter().map(|(inner, content)| (at + inner, content)));
    }

    /// The same with zeros for the content of files, for tests of the layout.
    #[cfg(test)]
    pub(crate) fn without_files(mut self) -> Sparse<'a> {
        self.parts.retain(|(_, content)| matches!(content, Content::Bytes(_)));
        self
    }

    /// Gives everything in order, counting the bytes of files.
    pub(crate) fn emit(
        mut self,
        store: &Store,
        meter: &mut Meter,
        sink: &mut dyn FnMut(Run) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.parts.sort_by_key(|(at, _)| *at);
        let (mut at, mut open) = (0, None);
        for (start, content) in &self.parts {
            let overlap = *start < at || start + content.len() > self.size;
            if overlap {
                return Err(Error::Boot(format!("the disk's layout is wrong at byte {start}; please report this")));
            }
            if *start > at {
                sink(Run::Zeros(start - at))?;
            }
            at = start + content.len();
            match content {
                Content::Bytes(bytes) => sink(Run::Bytes(bytes))?,
                Content::File { source, offset, len } => {
                    let reader = match open.take() {
                        Some(reader) if *offset > 0 => reader,
                        _ => store.reader(source.blob).map_err(|e| Error::content(source.path, e))?,
                    };
                    open = emit_file(reader, source, *offset, *len, meter, sink)?;
                }
            }
            meter.check()?;
        }
        match self.size > at {
            true => sink(Run::Zeros(self.size - at)),
            false => Ok(()),
        }
    }
}

/// Gives a part of a file. At the file's end its hash and size are checked; before, the reader is returned for the next part.
fn emit_file(
    mut reader: VerifiedReader,
    source: &Source,
    offset: u64,
    len: u64,
    meter: &mut Meter,
    sink: &mut dyn FnMut(Run) -> Result<(), Error>,
) -> Result<Option<VerifiedReader>, Error> {
    let wrong = |actual| Error::WrongSize { path: shown(source.path), expected: source.size, actual };
    let mut buffer = vec![0; usize::try_from(len).unwrap_or(BUFFER).min(BUFFER)];
    let mut left = len;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(BUFFER).min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        let count = reader.read_piece(room).map_err(|e| Error::content(source.path, e))?;
        if count == 0 {
            return Err(wrong(offset + len - left));
        }
        sink(Run::Bytes(room.get(..count).unwrap_or_default()))?;
        meter.add(count as u64)?;
        left -= count as u64;
    }
    if offset + len < source.size {
        return Ok(Some(reader));
    }
    match reader.read_piece(&mut [0]).map_err(|e| Error::content(source.path, e))? {
        0 => Ok(None),
        more => Err(wrong(source.size + more as u64)),
    }
}
