//! A large file that is known before it is written: where its parts are and where their bytes come from. It is given piece by piece
//! from its start, so that whoever compresses or stores it needs neither a copy on disk nor much memory.

use crate::store::{BlobId, Store, VerifiedReader};
use crate::tree::shown;
use crate::write::{Error, Meter, for_each_piece};

/// A regular file of the tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub path: &'a [u8],
    pub blob: &'a BlobId,
    pub size: u64,
}

/// Where a part's bytes come from.
pub(crate) enum Content<'a> {
    Bytes(Vec<u8>),
    /// `len` bytes of a file from `offset` on. The parts of one file follow each other in the order of their offsets.
    File {
        source: Source<'a>,
        offset: u64,
        len: u64,
    },
    /// Bytes that depend on the contents of files: of others, or of all those before.
    Late {
        len: u64,
        make: Late<'a>,
    },
}

/// Makes exactly the bytes that were announced.
pub(crate) type Late<'a> = Box<dyn FnOnce(&mut Seen) -> Result<Vec<u8>, Error> + 'a>;

/// What is known when a late part is made.
pub(crate) struct Seen<'s, 'm> {
    store: &'s Store,
    meter: &'s mut Meter<'m>,
    sums: &'s [u32],
}

impl Seen<'_, '_> {
    /// The content of a small file.
    pub(crate) fn read(&mut self, source: &Source) -> Result<Vec<u8>, Error> {
        let mut content = Vec::new();
        for_each_piece(self.store, source.path, (source.blob, source.size), |piece| {
            content.extend_from_slice(piece);
            self.meter.add(piece.len() as u64)
        })?;
        Ok(content)
    }

    /// The CRC-32C of each of `count` sectors from the `first` on, counted over all files so far; `None` if there were fewer. The last
    /// sector of a file is filled up with zeros.
    pub(crate) fn sums(&self, first: usize, count: usize) -> Option<&[u32]> {
        self.sums.get(first..first.checked_add(count)?)
    }
}

impl Content<'_> {
    fn len(&self) -> u64 {
        match self {
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File { len, .. } | Content::Late { len, .. } => *len,
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
pub(crate) struct Sparse<'a> {
    parts: Vec<(u64, Content<'a>)>,
    size: u64,
    /// Bytes of a sector, if checksums are wanted.
    sector: Option<usize>,
}

/// Bytes read at once.
const BUFFER: usize = 1 << 18;

impl<'a> Sparse<'a> {
    pub(crate) fn new(size: u64) -> Sparse<'a> {
        Sparse { parts: Vec::new(), size, sector: None }
    }

    /// Late parts get checksums of the files' sectors, which are of this many bytes.
    pub(crate) fn with_sums(self, sector: usize) -> Sparse<'a> {
        Sparse { sector: Some(sector), ..self }
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
        self.sector = self.sector.or(other.sector);
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
        let (mut at, mut open, mut sums) = (0, None, self.sector.map(SectorSums::new));
        for (start, content) in self.parts {
            let len = content.len();
            if start < at || start + len > self.size {
                return Err(wrong_layout(start));
            }
            if start > at {
                sink(Run::Zeros(start - at))?;
            }
            at = start + len;
            match content {
                Content::Bytes(bytes) => sink(Run::Bytes(&bytes))?,
                Content::File { source, offset, len } => {
                    let reader = match open.take() {
                        Some(reader) if offset > 0 => reader,
                        _ => store.reader(source.blob).map_err(|e| Error::content(source.path, e))?,
                    };
                    open = emit_file(reader, &source, offset, len, meter, &mut |bytes| {
                        sums.iter_mut().for_each(|sums| sums.add(bytes));
                        sink(Run::Bytes(bytes))
                    })?;
                    sums.iter_mut().for_each(SectorSums::end_file);
                }
                Content::Late { make, .. } => {
                    let sums = sums.as_ref().map_or(&[][..], |sums| &sums.done);
                    let bytes = make(&mut Seen { store, meter, sums })?;
                    if bytes.len() as u64 != len {
                        return Err(wrong_layout(start));
                    }
                    sink(Run::Bytes(&bytes))?;
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
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
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
        sink(room.get(..count).unwrap_or_default())?;
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

fn wrong_layout(at: u64) -> Error {
    Error::Boot(format!("the disk's layout is wrong at byte {at}; please report this"))
}

/// Checksums of sectors of bytes that come in pieces of any size.
struct SectorSums {
    sector: usize,
    done: Vec<u32>,
    sum: u32,
    /// Bytes that the sum is of.
    filled: usize,
}

impl SectorSums {
    fn new(sector: usize) -> SectorSums {
        SectorSums { sector, done: Vec::new(), sum: 0, filled: 0 }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.sector - self.filled));
            self.sum = crc32c::crc32c_append(self.sum, now);
            self.filled += now.len();
            if self.filled == self.sector {
                self.done.push(std::mem::take(&mut self.sum));
                self.filled = 0;
            }
            bytes = later;
        }
    }

    fn end_file(&mut self) {
        if self.filled > 0 {
            self.add(&vec![0; self.sector - self.filled]);
        }
    }
}
