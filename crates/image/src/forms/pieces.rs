//! Images as pieces in order, each the form that is kept or one that is made and kept now.
//!
//! Where every piece is known, nothing is passed to the threads that make them: the pieces' places go to the one that writes, which reads
//! stretches of packs that stand one behind the other, checks each form in the buffer that it is then written from, and writes. New forms
//! are kept by the same thread, so that they stand in a pack in the order of the image.

use super::index::Place;
use super::{FormKey, Forms};
use crate::pool::{self, Job};
use crate::write::Error;

/// Raw bytes of new pieces that are passed to a thread at once, and bytes of known forms to the writer: passing on costs more than a small
/// piece.
const BATCH_BYTES: u64 = 1 << 20;
const BATCH_PIECES: usize = 512;
/// Bytes read at once, unless a single form has more. What is read is still in the processor's cache when it is written.
const READ: u64 = 256 << 10;

/// What makes the forms of an image, on several threads.
pub(crate) trait Press: Sync {
    /// What a form is made from.
    type Piece: Send;

    /// The name that the piece's form is kept by; `None` for one that is made in no time whenever it is needed.
    fn key(&self, piece: &Self::Piece) -> Option<FormKey>;
    /// Raw bytes that making it takes.
    fn raw_length(&self, piece: &Self::Piece) -> u64;
    /// What has to be done before a piece and others beside it can be made, each on a thread of its own that waits for no other.
    fn prepare(&self, piece: &Self::Piece) -> Result<(), Error>;
    fn make(&self, piece: &Self::Piece) -> Result<Vec<u8>, Error>;
    /// Whether what was kept can be the form of this piece.
    fn accepts(&self, piece: &Self::Piece, form: &[u8]) -> bool;
}

/// What is known of a piece's form.
enum State {
    /// It is made when it is needed.
    Light,
    /// It is here.
    Kept(FormKey, Place),
    Open(FormKey),
    Made(FormKey, Vec<u8>),
}

type Batch<P> = Vec<(P, State)>;
type Consume<'c, P> = &'c mut dyn FnMut(P, &[u8]) -> Result<(), Error>;
type Emit<'e, P> = &'e mut dyn FnMut(Job<Batch<P>, Batch<P>>) -> Result<(), Error>;

/// Gives all pieces that `produce` emits to `consume`, with their forms and in order.
pub(crate) fn write<P: Press>(
    forms: &Forms,
    press: &P,
    threads: usize,
    produce: impl FnOnce(&mut dyn FnMut(P::Piece) -> Result<(), Error>) -> Result<(), Error>,
    mut consume: impl FnMut(P::Piece, &[u8]) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let produce = |emit: Emit<'_, P::Piece>| {
        let mut gatherer = Gatherer { forms, press, emit, batch: Vec::new(), kept: 0, open: 0 };
        produce(&mut |piece| gatherer.add(piece))?;
        gatherer.send()
    };
    let work = |batch: Batch<P::Piece>| {
        let made = batch.into_iter().map(|(piece, state)| match state {
            State::Open(key) => press.make(&piece).map(|form| (piece, State::Made(key, form))),
            state => Ok((piece, state)),
        });
        made.collect::<Result<Batch<P::Piece>, Error>>()
    };
    let mut writer = Writer { forms, press, buffer: Vec::new() };
    pool::mixed(threads, produce, work, |batch| writer.give(batch, &mut consume))
}

/// Puts pieces into batches; one with nothing to make goes to the writer at once.
struct Gatherer<'g, P: Press> {
    forms: &'g Forms,
    press: &'g P,
    emit: Emit<'g, P::Piece>,
    batch: Batch<P::Piece>,
    /// Bytes of the known forms of the batch.
    kept: u64,
    /// Raw bytes of its open pieces, each counted as one more, so that this is 0 where there are none.
    open: u64,
}

impl<P: Press> Gatherer<'_, P> {
    fn add(&mut self, piece: P::Piece) -> Result<(), Error> {
        let state = match self.press.key(&piece).map(|key| (key, self.forms.place(&key))) {
            None => State::Light,
            Some((key, Some(place))) => {
                self.kept += place.length();
                State::Kept(key, place)
            }
            Some((key, None)) => {
                self.press.prepare(&piece)?;
                self.open += self.press.raw_length(&piece) + 1;
                State::Open(key)
            }
        };
        self.batch.push((piece, state));
        match self.kept >= BATCH_BYTES || self.open >= BATCH_BYTES || self.batch.len() >= BATCH_PIECES {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn send(&mut self) -> Result<(), Error> {
        let batch = std::mem::take(&mut self.batch);
        let open = self.open;
        (self.kept, self.open) = (0, 0);
        (self.emit)(if open > 0 { Job::Open(batch, open) } else { Job::Done(batch) })
    }
}

/// Gives out what batches hold, and keeps what is new.
struct Writer<'w, P: Press> {
    forms: &'w Forms,
    press: &'w P,
    buffer: Vec<u8>,
}

impl<P: Press> Writer<'_, P> {
    fn give(&mut self, batch: Batch<P::Piece>, consume: Consume<'_, P::Piece>) -> Result<(), Error> {
        let mut batch = batch.into_iter().peekable();
        let mut buffer = std::mem::take(&mut self.buffer);
        while let Some((piece, state)) = batch.next() {
            match state {
                State::Light => self.make_light(piece, consume)?,
                State::Open(key) => self.make(piece, &key, consume)?,
                State::Made(key, form) => {
                    self.forms.put(&key, &form).map_err(Error::store)?;
                    consume(piece, &form)?;
                }
                State::Kept(key, place) => {
                    let mut run = Run::of(piece, key, place);
                    while let Some((piece, state)) = batch.next_if(|(_, state)| run.is_continued_by(state)) {
                        run.add(piece, state);
                    }
                    self.give_run(run, &mut buffer, consume)?;
                }
            }
        }
        self.buffer = buffer;
        Ok(())
    }

    /// Reads a run at once and gives each form after it was checked. One that is damaged is made anew.
    fn give_run(&self, run: Run<P::Piece>, buffer: &mut Vec<u8>, consume: Consume<'_, P::Piece>) -> Result<(), Error> {
        let read = self.forms.read(&run.first, run.length, buffer).is_ok();
        let mut rest = if read { buffer.as_slice() } else { &[] };
        for (piece, state) in run.pieces {
            let State::Kept(key, place) = state else {
                self.make_light(piece, consume)?;
                continue;
            };
            let (form, after) = rest.split_at_checked(place.length() as usize).unwrap_or_default();
            rest = after;
            match place.is_of(form) && self.press.accepts(&piece, form) {
                true => consume(piece, form)?,
                false => {
                    self.forms.forget(&key, &place);
                    self.make(piece, &key, consume)?;
                }
            }
        }
        Ok(())
    }

    fn make_light(&self, piece: P::Piece, consume: Consume<'_, P::Piece>) -> Result<(), Error> {
        let form = self.press.make(&piece)?;
        consume(piece, &form)
    }

    fn make(&self, piece: P::Piece, key: &FormKey, consume: Consume<'_, P::Piece>) -> Result<(), Error> {
        let form = self.press.make(&piece)?;
        self.forms.put(key, &form).map_err(Error::store)?;
        consume(piece, &form)
    }
}

/// Forms that stand one behind the other in a pack, and what is made in no time between them.
struct Run<P> {
    pieces: Batch<P>,
    first: Place,
    last: Place,
    /// Bytes of the forms.
    length: u64,
}

impl<P> Run<P> {
    fn of(piece: P, key: FormKey, place: Place) -> Run<P> {
        Run { pieces: vec![(piece, State::Kept(key, place))], first: place, last: place, length: place.length() }
    }

    fn is_continued_by(&self, next: &State) -> bool {
        match next {
            State::Light => true,
            State::Kept(_, place) => self.last.is_before(place) && self.length.saturating_add(place.length()) <= READ,
            State::Open(_) | State::Made(..) => false,
        }
    }

    fn add(&mut self, piece: P, state: State) {
        if let State::Kept(_, place) = state {
            self.length += place.length();
            self.last = place;
        }
        self.pieces.push((piece, state));
    }
}
