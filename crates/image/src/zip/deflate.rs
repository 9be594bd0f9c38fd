//! The contents of zip entries, deflated by several threads, or taken from the store's forms.

use std::ops::Range;
use std::path::Path;

use flate2::{Compress, Compression, FlushCompress, Status};

use crate::content::{Contents, Stretch, stretches};
use crate::forms::{FormKey, Forms};
use crate::store::Store;
use crate::write::Error;
use crate::zip_record::Record;

/// What forms of pieces are called. The number is the version of the code below.
const KIND: &str = "zip piece, deflate 6, 1";
/// Raw bytes deflated as one piece, about. Fixed, so that the output depends on nothing else.
const PIECE: u64 = 1 << 20;
/// Raw bytes, and steps, that are handed to a thread at once: handing over costs more than deflating a tiny file.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_STEPS: usize = 512;
/// A form's first bytes: whether the rest is deflated (1) or plain (0), and the CRC-32 of the plain bytes.
const FORM_HEADER: usize = 5;

/// What is to be done for an entry, in order.
enum Task<'a> {
    Start(Record),
    /// Content that is in no file of the tree.
    Bytes(Vec<u8>),
    Piece(Stretch<'a>),
}

/// A step of an entry, done.
pub(super) enum Done {
    Start(Record),
    Piece(Piece),
}

/// A piece of an entry's content as it goes into the file.
pub(super) struct Piece {
    /// Where it is in the bytes of its batch.
    pub range: Range<usize>,
    /// CRC-32 and number of the plain bytes.
    pub crc: u32,
    pub length: u64,
    /// Kept as it is, not deflated. Only of an entry's only piece.
    pub stored: bool,
    /// The entry ends here.
    pub last: bool,
}

/// Entries, or pieces of a large one, that are worked on together.
#[derive(Default)]
pub(super) struct Batch<'a> {
    tasks: Vec<Task<'a>>,
    size: u64,
}

/// Gathers tasks into batches.
pub(super) struct Batches<'a, 'e> {
    batch: Batch<'a>,
    emit: &'e mut dyn FnMut(Batch<'a>) -> Result<(), Error>,
}

impl<'a, 'e> Batches<'a, 'e> {
    pub(super) fn new(emit: &'e mut dyn FnMut(Batch<'a>) -> Result<(), Error>) -> Self {
        Batches { batch: Batch::default(), emit }
    }

    pub(super) fn start(&mut self, record: Record) -> Result<(), Error> {
        self.push(Task::Start(record), 0)
    }

    pub(super) fn bytes(&mut self, bytes: Vec<u8>) -> Result<(), Error> {
        let size = bytes.len() as u64;
        self.push(Task::Bytes(bytes), size)
    }

    /// The content of a file; `told` hears of every piece.
    pub(super) fn content(&mut self, whole: &Stretch<'a>, mut told: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
        stretches(whole.size, PIECE).try_for_each(|range| {
            let stretch = Stretch { range, ..whole.clone() };
            let size = stretch.length();
            told(size)?;
            self.push(Task::Piece(stretch), size)
        })
    }

    fn push(&mut self, task: Task<'a>, size: u64) -> Result<(), Error> {
        self.batch.tasks.push(task);
        self.batch.size += size;
        match self.batch.size >= BATCH_BYTES || self.batch.tasks.len() >= BATCH_STEPS {
            true => self.flush(),
            false => Ok(()),
        }
    }

    pub(super) fn flush(&mut self) -> Result<(), Error> {
        (self.emit)(std::mem::take(&mut self.batch))
    }
}

/// A batch that is done.
#[derive(Default)]
pub(super) struct DoneBatch {
    pub bytes: Vec<u8>,
    pub steps: Vec<Done>,
}

/// Does batches, for several threads.
pub(super) struct Deflater<'a> {
    contents: Contents<'a>,
    forms: Forms,
}

impl<'a> Deflater<'a> {
    pub(super) fn new(store: &'a Store) -> Result<Deflater<'a>, Error> {
        Ok(Deflater { contents: Contents::new(store, PIECE), forms: store.forms().map_err(Error::store)? })
    }

    pub(super) fn work(&self, batch: Batch) -> Result<DoneBatch, Error> {
        let mut done = DoneBatch::default();
        let mut form = Vec::new();
        for task in batch.tasks {
            let (length, last) = match task {
                Task::Start(record) => {
                    done.steps.push(Done::Start(record));
                    continue;
                }
                Task::Bytes(bytes) => {
                    form = deflated(&bytes, true, true)?;
                    (bytes.len() as u64, true)
                }
                Task::Piece(stretch) => {
                    self.form_of(&stretch, &mut form)?;
                    (stretch.length(), stretch.range.end == stretch.size)
                }
            };
            done.piece(&form, length, last)?;
        }
        Ok(done)
    }

    fn form_of(&self, stretch: &Stretch, form: &mut Vec<u8>) -> Result<(), Error> {
        let mut key = FormKey::of(KIND);
        key.blob(stretch.blob).number(stretch.size).number(stretch.range.start).number(stretch.range.end);
        let key = key.finish();
        if self.forms.get_into(&key, form) && form.len() >= FORM_HEADER {
            return Ok(());
        }
        let mut raw = Vec::new();
        self.contents.append(stretch, &mut raw)?;
        *form = deflated(&raw, stretch.range.end == stretch.size, stretch.is_whole())?;
        self.forms.put(&key, form).map_err(Error::store)
    }
}

impl DoneBatch {
    fn piece(&mut self, form: &[u8], length: u64, last: bool) -> Result<(), Error> {
        let Some(([method, crc @ ..], bytes)) = form.split_first_chunk::<FORM_HEADER>() else { return Ok(()) };
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let range = start..self.bytes.len();
        self.steps.push(Done::Piece(Piece { range, crc: u32::from_le_bytes(*crc), length, stored: *method == 0, last }));
        Ok(())
    }
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
    if whole && form.len() >= raw.len() + FORM_HEADER {
        form.truncate(FORM_HEADER);
        form.extend_from_slice(raw);
        if let Some(method) = form.first_mut() {
            *method = 0;
        }
    }
    Ok(form)
}
