//! Contents on their way into the image: found compressed, or read, checked and compressed, on several cores.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::codec::Codec;
use super::piece::{Keys, Piece, RUN, Recipe};
use super::plan::{Part, Plan};
use crate::forms::{FormKey, Forms};
use crate::pool;
use crate::sparse::Source;
use crate::store::{Store, VerifiedReader};
use crate::tree::shown;
use crate::write::{Error, Meter, write_all};

/// Where the blocks of a content are.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    /// The byte of the image at which the first one starts.
    pub start: u64,
    /// As in [`Piece::sizes`].
    pub sizes: Vec<u32>,
}

/// What was written of a plan.
#[derive(Debug)]
pub(super) struct Written {
    pub contents: Vec<Blocks>,
    /// The place of each fragment and its size, as in [`Piece::sizes`].
    pub fragments: Vec<(u64, u32)>,
    /// The byte behind the last one.
    pub end: u64,
}

/// Writes the contents of a plan from this byte of a file on. Progress is told for each content as its turn comes.
pub(super) fn write<'a>(
    plan: &'a Plan<'a>,
    press: &Press,
    threads: usize,
    (path, file, start): (&Path, &File, u64),
    meter: &mut Meter,
) -> Result<Written, Error> {
    let mut printer = Printer {
        path,
        file,
        press,
        written: Written { contents: Vec::new(), fragments: Vec::new(), end: start },
        unconfirmed: Vec::new(),
    };
    let produce = |emit: Emit<'_, 'a>| {
        for part in &plan.parts {
            let (of, recipe) = match part {
                Part::Blocks(source) => (Of::Content, Recipe::Run(*source, 0)),
                Part::Fragment(sources) => (Of::Fragment, Recipe::Fragment(sources)),
            };
            match part {
                Part::Blocks(source) if source.size > RUN => press.emit_large(*source, emit, meter)?,
                _ => {
                    recipe.sources().iter().try_for_each(|source| meter.add(source.size))?;
                    emit((of, Job::Contents(recipe)))?;
                }
            }
        }
        Ok(())
    };
    pool::ordered(threads, produce, |(of, job)| Ok((of, press.make(job)?)), |(of, made)| printer.take(of, made))?;
    Ok(printer.written)
}

type Emit<'e, 'a> = &'e mut dyn FnMut((Of, Job<'a>)) -> Result<(), Error>;

/// What a piece belongs to.
#[derive(Clone, Copy)]
enum Of {
    /// The beginning of a content.
    Content,
    /// More of the content that came last.
    More,
    Fragment,
}

enum Job<'a> {
    /// Contents to be found or to be read whole.
    Contents(Recipe<'a>),
    /// A run of a large content.
    Run(FormKey, Recipe<'a>, Vec<u8>),
    Kept(Piece),
    /// The large content that came last was read to its end and is what it should be.
    Confirmed,
}

enum Made {
    Piece(Piece),
    /// Of a content that may still prove to be damaged: to be kept when it has not.
    Unconfirmed(FormKey, Piece),
    Confirmed,
}

/// What makes pieces.
pub(super) struct Press<'p> {
    pub codec: Codec,
    pub keys: Keys,
    pub store: &'p Store,
    pub forms: Forms,
}

impl Press<'_> {
    fn make(&self, job: Job) -> Result<Made, Error> {
        match job {
            Job::Contents(recipe) => self.find_or_make(&recipe).map(Made::Piece),
            Job::Run(key, recipe, raw) => Ok(Made::Unconfirmed(key, self.piece(&recipe, &raw)?)),
            Job::Kept(piece) => Ok(Made::Piece(piece)),
            Job::Confirmed => Ok(Made::Confirmed),
        }
    }

    fn find_or_make(&self, recipe: &Recipe) -> Result<Piece, Error> {
        let key = self.keys.key(recipe);
        if let Some(piece) = self.find(&key, recipe) {
            return Ok(piece);
        }
        let mut raw = Vec::new();
        for source in recipe.sources() {
            let mut reader = Checked::open(self.store, source)?;
            reader.read(source.size, &mut raw)?;
            reader.finish()?;
        }
        let piece = self.piece(recipe, &raw)?;
        self.keep(&key, &piece)?;
        Ok(piece)
    }

    fn find(&self, key: &FormKey, recipe: &Recipe) -> Option<Piece> {
        self.forms.get(key).and_then(|form| Piece::from_form(form, self.codec, recipe))
    }

    fn keep(&self, key: &FormKey, piece: &Piece) -> Result<(), Error> {
        self.forms.put(key, &piece.to_form()).map_err(Error::store)
    }

    fn piece(&self, recipe: &Recipe, raw: &[u8]) -> Result<Piece, Error> {
        Piece::make(self.codec, recipe, raw).map_err(compressing)
    }

    /// A content of more than one run. It is read only when a run of it was not kept, and then all of it, because its hash is the hash
    /// of all.
    fn emit_large<'a>(&self, source: Source<'a>, emit: Emit<'_, 'a>, meter: &mut Meter) -> Result<(), Error> {
        let (mut reader, mut at, mut of) = (None, 0, Of::Content);
        while at < source.size {
            let recipe = Recipe::Run(source, at);
            let (key, len) = (self.keys.key(&recipe), recipe.len());
            let job = match self.find(&key, &recipe) {
                Some(piece) => Job::Kept(piece),
                None => {
                    let reader = match &mut reader {
                        Some(reader) => reader,
                        none => none.insert(Checked::open(self.store, &source)?),
                    };
                    reader.skip_to(at)?;
                    let mut raw = Vec::new();
                    reader.read(len, &mut raw)?;
                    Job::Run(key, recipe, raw)
                }
            };
            emit((of, job))?;
            meter.add(len)?;
            (at, of) = (at + len, Of::More);
        }
        match reader {
            Some(reader) => reader.finish().and_then(|()| emit((Of::More, Job::Confirmed))),
            None => Ok(()),
        }
    }
}

pub(super) fn compressing(error: io::Error) -> Error {
    Error::Boot(format!("compressing a squashfs image: {error}"))
}

/// Reads a content of the store piece by piece and checks its size, and at its end its hash.
struct Checked<'s> {
    reader: VerifiedReader,
    source: &'s Source<'s>,
    at: u64,
}

impl<'s> Checked<'s> {
    fn open(store: &Store, source: &'s Source<'s>) -> Result<Checked<'s>, Error> {
        let reader = store.reader(source.blob).map_err(|e| Error::content(source.path, e))?;
        Ok(Checked { reader, source, at: 0 })
    }

    /// Appends the next `len` bytes.
    fn read(&mut self, len: u64, raw: &mut Vec<u8>) -> Result<(), Error> {
        let start = raw.len();
        raw.resize(start + usize::try_from(len).unwrap_or_default(), 0);
        let mut room = raw.get_mut(start..).unwrap_or_default();
        while !room.is_empty() {
            let count = self.reader.read_piece(room).map_err(|e| Error::content(self.source.path, e))?;
            self.at += count as u64;
            room = match room.get_mut(count..) {
                Some(rest) if count > 0 => rest,
                _ => return Err(self.wrong_size(self.at)),
            };
        }
        Ok(())
    }

    /// Passes over what is before this byte.
    fn skip_to(&mut self, at: u64) -> Result<(), Error> {
        let mut passed = Vec::new();
        while self.at < at {
            passed.clear();
            self.read((at - self.at).min(RUN), &mut passed)?;
        }
        Ok(())
    }

    /// Passes over what is left.
    fn finish(mut self) -> Result<(), Error> {
        self.skip_to(self.source.size)?;
        match self.reader.read_piece(&mut [0]).map_err(|e| Error::content(self.source.path, e))? {
            0 => Ok(()),
            more => Err(self.wrong_size(self.at + more as u64)),
        }
    }

    fn wrong_size(&self, actual: u64) -> Error {
        Error::WrongSize { path: shown(self.source.path), expected: self.source.size, actual }
    }
}

/// Puts pieces one behind the other.
struct Printer<'p> {
    path: &'p Path,
    /// Read too: what was unconfirmed is taken from here.
    file: &'p File,
    press: &'p Press<'p>,
    written: Written,
    /// Keys of pieces, with their places and sizes.
    unconfirmed: Vec<(FormKey, u64, Vec<u32>)>,
}

impl Printer<'_> {
    fn take(&mut self, of: Of, made: Made) -> Result<(), Error> {
        let (key, piece) = match made {
            Made::Piece(piece) => (None, piece),
            Made::Unconfirmed(key, piece) => (Some(key), piece),
            Made::Confirmed => return self.keep(),
        };
        let start = self.written.end;
        match of {
            Of::Content => self.written.contents.push(Blocks { start, sizes: piece.sizes.clone() }),
            Of::More => self.written.contents.iter_mut().next_back().into_iter().for_each(|last| last.sizes.extend(&piece.sizes)),
            Of::Fragment => self.written.fragments.extend(piece.sizes.first().map(|size| (start, *size))),
        }
        write_all(&mut &*self.file, self.path, &piece.bytes)?;
        self.written.end += piece.bytes.len() as u64;
        self.unconfirmed.extend(key.map(|key| (key, start, piece.sizes)));
        Ok(())
    }

    fn keep(&mut self) -> Result<(), Error> {
        for (key, start, sizes) in self.unconfirmed.drain(..) {
            let mut piece = Piece { sizes, bytes: Vec::new() };
            piece.bytes.resize(usize::try_from(piece.len()).unwrap_or_default(), 0);
            self.file.read_exact_at(&mut piece.bytes, start).map_err(|e| Error::io(self.path, e))?;
            self.press.keep(&key, &piece)?;
        }
        Ok(())
    }
}
