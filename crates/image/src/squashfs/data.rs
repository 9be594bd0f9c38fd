//! Contents on their way into the image: found compressed, or read, checked and compressed, on several cores.

use std::fs::File;
use std::io;
use std::path::Path;

use super::codec::Codec;
use super::piece::{Keys, Piece, RUN, Recipe, bytes_of};
use super::plan::{Part, Plan};
use crate::content::{Contents, Stretch, stretches};
use crate::forms::Forms;
use crate::pool;
use crate::sparse::Source;
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
    let mut printer = Printer { path, file, written: Written { contents: Vec::new(), fragments: Vec::new(), end: start } };
    let produce = |emit: Emit<'_, 'a>| {
        let mut batch = Batch { emit, recipes: Vec::new(), bytes: 0 };
        for part in &plan.parts {
            match part {
                Part::Fragment(sources) => batch.add(Of::Fragment, Recipe::Fragment(sources), meter)?,
                Part::Blocks(Source { path, blob, size }) => {
                    for range in stretches(*size, RUN) {
                        let of = if range.start == 0 { Of::Content } else { Of::More };
                        batch.add(of, Recipe::Run(Stretch { path, blob, size: *size, range }), meter)?;
                    }
                }
            }
        }
        batch.send()
    };
    pool::ordered(threads, produce, |batch| press.make(batch), |(pieces, bytes)| printer.put(pieces, &bytes))?;
    Ok(printer.written)
}

/// What a piece belongs to.
#[derive(Clone, Copy)]
enum Of {
    /// The beginning of a content.
    Content,
    /// More of the content that came last.
    More,
    Fragment,
}

type Recipes<'a> = Vec<(Of, Recipe<'a>)>;
type Emit<'e, 'a> = &'e mut dyn FnMut(Recipes<'a>) -> Result<(), Error>;
/// The sizes of the blocks of pieces that stand one behind the other.
type Pieces = Vec<(Of, Vec<u32>)>;

/// Collects pieces, as passing each small one on its own would take as long as copying it.
struct Batch<'e, 'a> {
    emit: Emit<'e, 'a>,
    recipes: Recipes<'a>,
    /// Raw, of all of them.
    bytes: u64,
}

impl<'a> Batch<'_, 'a> {
    fn add(&mut self, of: Of, recipe: Recipe<'a>, meter: &mut Meter) -> Result<(), Error> {
        recipe.stretches().try_for_each(|stretch| meter.add(stretch.length()))?;
        self.bytes += recipe.length();
        self.recipes.push((of, recipe));
        if self.bytes < RUN { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        match std::mem::take(&mut self.recipes) {
            none if none.is_empty() => Ok(()),
            recipes => (self.emit)(recipes),
        }
    }
}

/// What makes pieces.
pub(super) struct Press<'p> {
    pub codec: Codec,
    pub keys: Keys,
    pub contents: Contents<'p>,
    pub forms: Forms,
}

impl Press<'_> {
    fn make(&self, recipes: Recipes) -> Result<(Pieces, Vec<u8>), Error> {
        let (mut pieces, mut bytes, mut form) = (Vec::with_capacity(recipes.len()), Vec::new(), Vec::new());
        for (of, recipe) in &recipes {
            let piece = self.find_or_make(recipe, &mut form)?;
            bytes.extend_from_slice(&piece.bytes);
            pieces.push((*of, piece.sizes));
        }
        Ok((pieces, bytes))
    }

    /// A piece as it was kept, which is read into `form`; or a new one.
    fn find_or_make<'f>(&self, recipe: &Recipe, form: &'f mut Vec<u8>) -> Result<Piece<'f>, Error> {
        let key = self.keys.key(recipe);
        if self.forms.get_into(&key, form)
            && let Some(piece) = Piece::from_form(form, self.codec, recipe)
        {
            return Ok(piece);
        }
        let mut raw = Vec::new();
        recipe.stretches().try_for_each(|stretch| self.contents.append(&stretch, &mut raw))?;
        let piece = Piece::make(self.codec, recipe, &raw).map_err(compressing)?;
        self.forms.put(&key, &piece.to_form()).map_err(Error::store)?;
        Ok(piece)
    }
}

pub(super) fn compressing(error: io::Error) -> Error {
    Error::Boot(format!("compressing a squashfs image: {error}"))
}

/// Puts pieces one behind the other.
struct Printer<'p> {
    path: &'p Path,
    file: &'p File,
    written: Written,
}

impl Printer<'_> {
    fn put(&mut self, pieces: Pieces, bytes: &[u8]) -> Result<(), Error> {
        for (of, sizes) in pieces {
            let start = self.written.end;
            self.written.end += bytes_of(&sizes);
            match of {
                Of::Content => self.written.contents.push(Blocks { start, sizes }),
                Of::More => self.written.contents.iter_mut().next_back().into_iter().for_each(|last| last.sizes.extend(&sizes)),
                Of::Fragment => self.written.fragments.extend(sizes.first().map(|size| (start, *size))),
            }
        }
        write_all(&mut &*self.file, self.path, bytes)
    }
}
