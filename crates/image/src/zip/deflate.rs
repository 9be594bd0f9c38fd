//! The contents of zip entries, deflated by several threads, or taken from the store's forms.

use std::path::Path;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::content::{Contents, Stretch, stretches};
use crate::forms::{FormKey, Forms, KeyHasher, Press};
use crate::store::Store;
use crate::write::Error;
use crate::zip_record::Record;

/// What forms of pieces are called. The number is the version of the code below.
const KIND: &str = "zip piece, deflate 6, 1";
/// Raw bytes deflated as one piece, about. Fixed, so that the output depends on nothing else.
const PIECE: u64 = 1 << 20;
/// A form's first bytes: whether the rest is deflated (1) or plain (0), and the CRC-32 of the plain bytes.
const FORM_HEADER: usize = 5;

/// What an entry is made of.
enum Body<'a> {
    Nothing,
    /// Content that is in no file of the tree. It is kept plain: Info-ZIP does so with the targets of links too.
    Bytes(Vec<u8>),
    Stretch(Stretch<'a>),
}

/// An entry, or a part of a large one.
pub(super) struct Piece<'a> {
    /// With an entry's first piece.
    pub record: Option<Record>,
    body: Body<'a>,
}

impl<'a> Piece<'a> {
    /// An entry that has no content.
    pub(super) fn empty(record: Record) -> Piece<'a> {
        Piece { record: Some(record), body: Body::Nothing }
    }

    pub(super) fn bytes(record: Record, bytes: Vec<u8>) -> Piece<'a> {
        Piece { record: Some(record), body: Body::Bytes(bytes) }
    }

    /// The pieces of a file.
    pub(super) fn of_file(record: Record, whole: Stretch<'a>) -> impl Iterator<Item = Piece<'a>> {
        let mut record = Some(record);
        stretches(whole.size, PIECE)
            .map(move |range| Piece { record: record.take(), body: Body::Stretch(Stretch { range, ..whole.clone() }) })
    }

    /// Plain bytes.
    pub(super) fn length(&self) -> u64 {
        match &self.body {
            Body::Nothing => 0,
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::Stretch(stretch) => stretch.length(),
        }
    }

    /// Whether the entry ends with it.
    pub(super) fn is_last(&self) -> bool {
        match &self.body {
            Body::Nothing | Body::Bytes(_) => true,
            Body::Stretch(stretch) => stretch.range.end == stretch.size,
        }
    }
}

/// What a form says.
pub(super) struct Deflated<'f> {
    /// Kept as it is, not deflated. Only of an entry's only piece.
    pub stored: bool,
    /// CRC-32 of the plain bytes.
    pub crc: u32,
    pub bytes: &'f [u8],
}

impl<'f> Deflated<'f> {
    /// Reads a form; `None` for what is none, and for the empty one of an entry without content.
    pub(super) fn of(form: &'f [u8]) -> Option<Deflated<'f>> {
        let ([method, crc @ ..], bytes) = form.split_first_chunk::<FORM_HEADER>()?;
        Some(Deflated { stored: *method == 0, crc: u32::from_le_bytes(*crc), bytes })
    }
}

/// Deflates pieces, on several threads.
pub(super) struct Deflater<'a> {
    contents: Contents<'a>,
    pub forms: Forms,
    kind: KeyHasher,
}

impl<'a> Deflater<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Deflater<'a>, Error> {
        let forms = store.forms().map_err(Error::store)?;
        Ok(Deflater { contents: Contents::new(store, PIECE), forms, kind: FormKey::of(KIND) })
    }
}

impl<'a> Press for Deflater<'a> {
    type Piece = Piece<'a>;

    fn key(&self, piece: &Piece<'a>) -> Option<FormKey> {
        let Body::Stretch(stretch) = &piece.body else { return None };
        let mut key = self.kind.clone();
        key.blob(stretch.blob).number(stretch.size).number(stretch.range.start).number(stretch.range.end);
        Some(key.finish())
    }

    fn raw_length(&self, piece: &Piece<'a>) -> u64 {
        piece.length()
    }

    fn prepare(&self, piece: &Piece<'a>) -> Result<(), Error> {
        match &piece.body {
            Body::Stretch(stretch) => self.contents.prepare(stretch),
            Body::Nothing | Body::Bytes(_) => Ok(()),
        }
    }

    fn make(&self, piece: &Piece<'a>) -> Result<Vec<u8>, Error> {
        match &piece.body {
            Body::Nothing => Ok(Vec::new()),
            Body::Bytes(bytes) => Ok(plain(bytes)),
            Body::Stretch(stretch) => {
                let mut raw = Vec::new();
                self.contents.append(stretch, &mut raw)?;
                deflated(&raw, piece.is_last(), stretch.is_whole())
            }
        }
    }

    fn accepts(&self, _: &Piece<'a>, form: &[u8]) -> bool {
        form.len() >= FORM_HEADER
    }
}

/// The form of bytes that are not deflated.
fn plain(raw: &[u8]) -> Vec<u8> {
    [&[0], crc32fast::hash(raw).to_le_bytes().as_slice(), raw].concat()
}

/// The form of a piece. All but an entry's last end with a sync flush: on a byte boundary, open for more blocks. What does not get
/// smaller is kept plain where that is the whole entry.
fn deflated(raw: &[u8], last: bool, whole: bool) -> Result<Vec<u8>, Error> {
    let flush = if last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut compress = Compress::new(Compression::default(), false);
    let mut form = Vec::with_capacity(raw.len() + raw.len() / 1000 + 64);
    form.push(1);
    form.extend(crc32fast::hash(raw).to_le_bytes());
    loop {
        let rest = raw.get(usize::try_from(compress.total_in()).unwrap_or(raw.len())..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut form, flush);
        let status = status.map_err(|e| Error::io(Path::new("deflate"), e.into()))?;
        // Room left in the output after a sync flush means that all of it is out.
        let out_full = form.len() == form.capacity();
        if status == Status::StreamEnd || (!last && !out_full) {
            break;
        }
        form.reserve(64 << 10);
    }
    match whole && form.len() >= raw.len() + FORM_HEADER {
        true => Ok(plain(raw)),
        false => Ok(form),
    }
}
