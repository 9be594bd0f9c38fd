//! Contents on their way into the image: found compressed, or read, checked and compressed, on several cores.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::path::Path;

use super::codec::Codec;
use super::parts::{Image, Teller};
use super::piece::{Keys, Piece, RUN, Recipe};
use super::plan::{Part, Plan};
use super::superblock::SUPERBLOCK;
use crate::content::{Contents, Stretch, stretches};
use crate::forms::{self, FormKey, Forms, Press};
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

/// Writes the contents of a plan into an image, behind room for the superblock, which is known last. Progress is told for each content as
/// its turn comes, and the teller told how long the image is.
pub(super) fn write<'a>(
    plan: &'a Plan<'a>,
    press: &SquashPress<'a>,
    Image { path, file, start }: Image,
    teller: Option<Teller>,
    meter: &mut Meter,
) -> Result<Written, Error> {
    (&*file).seek(SeekFrom::Start(start)).map_err(|e| Error::io(path, e))?;
    write_all(&mut &*file, path, &[0; SUPERBLOCK])?;
    let written = Written { contents: Vec::new(), fragments: Vec::new(), end: SUPERBLOCK as u64 };
    let mut printer = Printer { path, file, teller, written };
    let produce = |emit: &mut dyn FnMut(Recipe<'a>) -> Result<(), Error>| {
        plan.parts.iter().flat_map(recipes).try_for_each(|recipe| {
            meter.add(recipe.length())?;
            emit(recipe)
        })
    };
    forms::write(&press.forms, press, press.threads, produce, |recipe, form| {
        match Piece::from_form(form, press.codec, &recipe) {
            Some(piece) => printer.put(&recipe, piece),
            None => Err(compressing(io::ErrorKind::InvalidData.into())),
        }
    })?;
    Ok(printer.written)
}

/// The pieces of a part.
fn recipes<'a>(part: &'a Part<'a>) -> impl Iterator<Item = Recipe<'a>> {
    let (fragment, file) = match part {
        Part::Fragment(sources) => (Some(Recipe::Fragment(sources)), None),
        Part::Blocks(source) => (None, Some(source)),
    };
    let runs = file.into_iter().flat_map(|Source { path, blob, size }| {
        stretches(*size, RUN).map(move |range| Recipe::Run(Stretch { path, blob, size: *size, range }))
    });
    fragment.into_iter().chain(runs)
}

/// What makes pieces.
pub(super) struct SquashPress<'p> {
    pub codec: Codec,
    pub keys: Keys,
    pub contents: Contents<'p>,
    pub forms: Forms,
    pub threads: usize,
}

impl<'p> Press for SquashPress<'p> {
    type Piece = Recipe<'p>;

    fn key(&self, recipe: &Recipe<'p>) -> Option<FormKey> {
        Some(self.keys.key(recipe))
    }

    fn raw_length(&self, recipe: &Recipe<'p>) -> u64 {
        recipe.length()
    }

    fn prepare(&self, recipe: &Recipe<'p>) -> Result<(), Error> {
        recipe.stretches().try_for_each(|stretch| self.contents.prepare(&stretch))
    }

    fn make(&self, recipe: &Recipe<'p>) -> Result<Vec<u8>, Error> {
        let mut raw = Vec::new();
        recipe.stretches().try_for_each(|stretch| self.contents.append(&stretch, &mut raw))?;
        Ok(Piece::make(self.codec, recipe, &raw).map_err(compressing)?.to_form())
    }

    fn accepts(&self, recipe: &Recipe<'p>, form: &[u8]) -> bool {
        Piece::from_form(form, self.codec, recipe).is_some()
    }
}

pub(super) fn compressing(error: io::Error) -> Error {
    Error::Boot(format!("compressing a squashfs image: {error}"))
}

/// Puts pieces one behind the other.
struct Printer<'p> {
    path: &'p Path,
    file: &'p File,
    teller: Option<Teller>,
    written: Written,
}

impl Printer<'_> {
    fn put(&mut self, recipe: &Recipe, Piece { sizes, bytes }: Piece) -> Result<(), Error> {
        let start = self.written.end;
        self.written.end += bytes.len() as u64;
        match recipe {
            Recipe::Fragment(_) => self.written.fragments.extend(sizes.first().map(|size| (start, *size))),
            Recipe::Run(stretch) if stretch.range.start == 0 => self.written.contents.push(Blocks { start, sizes }),
            Recipe::Run(_) => self.written.contents.iter_mut().next_back().into_iter().for_each(|last| last.sizes.extend(&sizes)),
        }
        write_all(&mut &*self.file, self.path, &bytes)?;
        self.teller.iter_mut().for_each(|teller| teller.tell(self.written.end));
        Ok(())
    }
}
