//! A compressed tar stream in pieces that other images share.
//!
//! The stream is cut where a group begins, and within one where its content says so: after an entry whose path hashes to a small number.
//! So a package that is new leaves the pieces of all others as they were, and a change within one moves no cut but those beside it. (A small
//! package costs little more by itself: the files that compress with each other are those of one package.) A large file is cut into
//! stretches of its own. Each piece is compressed by itself and kept as a form, whose key is made of its entries' headers and blobs:
//! an image of known pieces reads no raw content.

use std::path::Path;

use super::{BLOCK, RECORD, headers, padding};
use crate::compress::Compression;
use crate::content::{Contents, Stretch, stretches};
use crate::forms::{self, FormKey, KeyHasher, Press};
use crate::store::Store;
use crate::write::{Error, Item, Meter, WriteOptions, content_of};

/// Version of the code whose work is kept: of what a piece is and how it is compressed.
const VERSION: u32 = 3;

/// How long pieces are, in raw bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// A piece that is shorter goes on to the end of its group.
    pub least: u64,
    /// The mean of pieces of small files within one group.
    pub mean: u64,
    /// A piece of several files is rarely longer.
    pub most: u64,
    /// A file from here on gets pieces of its own, of about this length.
    pub stretch: u64,
}

impl Lengths {
    /// Directories are of all groups, so that each new package changes some of them. Headers compress well in short pieces, too.
    const OF_DIRECTORIES: Lengths = Lengths::around(128 << 10);

    pub(crate) const fn around(mean: u64) -> Lengths {
        Lengths { least: mean / 2, mean, most: 2 * mean, stretch: mean }
    }
}

/// What a piece is made from.
enum Part<'a> {
    /// All that stands before an entry's content.
    Header(Item<'a>),
    Content(Stretch<'a>),
    Zeros(u64),
}

/// A piece of the tar stream: the recipe, not the bytes.
pub(crate) struct Piece<'a> {
    key: KeyHasher,
    parts: Vec<Part<'a>>,
    size: u64,
}

impl<'a> Piece<'a> {
    fn header(&mut self, item: &Item<'a>, options: &WriteOptions) {
        let bytes = headers(item, options);
        self.key.field(&bytes);
        self.size += bytes.len() as u64;
        self.parts.push(Part::Header(*item));
    }

    fn content(&mut self, stretch: Stretch<'a>) {
        self.key.blob(stretch.blob).number(stretch.size).number(stretch.range.start).number(stretch.range.end);
        self.size += stretch.length();
        self.parts.push(Part::Content(stretch));
    }

    fn zeros(&mut self, count: u64) {
        self.key.number(count);
        self.size += count;
        self.parts.push(Part::Zeros(count));
    }
}

/// Cuts the entries of a stream into pieces.
struct Cutter<'a, 'e, 'm> {
    kind: KeyHasher,
    lengths: Lengths,
    piece: Piece<'a>,
    group: Option<Group>,
    emit: &'e mut dyn FnMut(Piece<'a>) -> Result<(), Error>,
    meter: &'e mut Meter<'m>,
    written: u64,
}

/// What stands together: directories, or the rest of a group.
type Group = (bool, usize);

impl<'a> Cutter<'a, '_, '_> {
    fn add(&mut self, item: &Item<'a>, options: &WriteOptions) -> Result<(), Error> {
        self.begin_group((item.entry.is_dir(), options.groups.rank(item.path)))?;
        let content = content_of(item).map(|content| Stretch::whole(item.path, content));
        match content {
            Some(whole) if whole.size >= self.lengths.stretch => self.add_large(item, whole, options),
            content => self.add_small(item, content, options),
        }
    }

    fn begin_group(&mut self, group: Group) -> Result<(), Error> {
        match self.group.replace(group).is_some_and(|last| last != group) {
            true => self.cut(),
            false => Ok(()),
        }
    }

    fn add_small(&mut self, item: &Item<'a>, content: Option<Stretch<'a>>, options: &WriteOptions) -> Result<(), Error> {
        let Lengths { least, mean, most, .. } = if item.entry.is_dir() { Lengths::OF_DIRECTORIES } else { self.lengths };
        let content_size = content.as_ref().map_or(0, Stretch::length);
        self.meter.add(content_size)?;
        if self.piece.size >= least && self.piece.size + content_size > most {
            self.cut()?;
        }
        let before = self.piece.size;
        self.piece.header(item, options);
        if let Some(stretch) = content {
            let padding = padding(stretch.size);
            self.piece.content(stretch);
            self.piece.zeros(padding);
        }
        // The longer an entry, the likelier it ends a piece: then the mean length does not depend on what files there are.
        let chance = (self.piece.size - before) as f64 / (mean - least) as f64;
        let drawn = f64::from(crc32fast::hash(item.path)) / f64::from(u32::MAX);
        match self.piece.size >= most || (self.piece.size >= least && drawn < chance) {
            true => self.cut(),
            false => Ok(()),
        }
    }

    fn add_large(&mut self, item: &Item<'a>, whole: Stretch<'a>, options: &WriteOptions) -> Result<(), Error> {
        self.cut()?;
        self.piece.header(item, options);
        for range in stretches(whole.size, self.lengths.stretch) {
            let last = range.end == whole.size;
            self.meter.add(range.end - range.start)?;
            self.piece.content(Stretch { range, ..whole.clone() });
            if last {
                self.piece.zeros(padding(whole.size));
            }
            self.cut()?;
        }
        Ok(())
    }

    fn cut(&mut self) -> Result<(), Error> {
        if self.piece.size == 0 {
            return Ok(());
        }
        self.written += self.piece.size;
        let next = Piece { key: self.kind.clone(), parts: Vec::new(), size: 0 };
        (self.emit)(std::mem::replace(&mut self.piece, next))
    }

    /// The end of the archive, in a piece of its own, as its length depends on all before.
    fn finish(mut self) -> Result<(), Error> {
        self.cut()?;
        let end = (self.written + 2 * BLOCK as u64).next_multiple_of(RECORD);
        self.piece.zeros(end - self.written);
        self.cut()
    }
}

/// Where a compressed stream comes from.
pub(crate) struct Source<'a> {
    pub store: &'a Store,
    pub compression: Compression,
    pub options: &'a WriteOptions,
}

/// Compresses pieces of one stream.
struct Compressor<'a> {
    source: &'a Source<'a>,
    contents: Contents<'a>,
    /// What errors name.
    path: &'a Path,
}

impl<'a> Press for Compressor<'a> {
    type Piece = Piece<'a>;

    fn key(&self, piece: &Piece<'a>) -> Option<FormKey> {
        Some(piece.key.clone().finish())
    }

    fn raw_length(&self, piece: &Piece<'a>) -> u64 {
        piece.size
    }

    fn prepare(&self, piece: &Piece<'a>) -> Result<(), Error> {
        piece.parts.iter().try_for_each(|part| match part {
            Part::Content(stretch) => self.contents.prepare(stretch),
            Part::Header(_) | Part::Zeros(_) => Ok(()),
        })
    }

    fn make(&self, piece: &Piece<'a>) -> Result<Vec<u8>, Error> {
        let mut raw = Vec::with_capacity(piece.size as usize);
        for part in &piece.parts {
            match part {
                Part::Header(item) => raw.extend(headers(item, self.source.options)),
                Part::Content(stretch) => self.contents.append(stretch, &mut raw)?,
                Part::Zeros(count) => raw.resize(raw.len() + *count as usize, 0),
            }
        }
        self.source.compression.compress(&raw).map_err(|e| Error::io(self.path, e))
    }

    fn accepts(&self, _: &Piece<'a>, _: &[u8]) -> bool {
        true
    }
}

/// Gives the compressed tar stream of these entries to `consume`, in order. `path` is what errors name.
pub(crate) fn write_compressed<'a>(
    source: &'a Source<'a>,
    items: impl Iterator<Item = Item<'a>>,
    meter: &mut Meter,
    path: &'a Path,
    mut consume: impl FnMut(&[u8]) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let Source { store, compression, options } = *source;
    let lengths = compression.piece_lengths();
    let kind = FormKey::of(&format!("tar piece, {}, {VERSION}", compression.parameters()));
    let forms = store.forms().map_err(Error::store)?;
    let compressor = Compressor { source, contents: Contents::new(store, lengths.stretch), path };

    let produce = |emit: &mut dyn FnMut(Piece<'a>) -> Result<(), Error>| {
        let piece = Piece { key: kind.clone(), parts: Vec::new(), size: 0 };
        let mut cutter = Cutter { kind: kind.clone(), lengths, piece, group: None, emit, meter, written: 0 };
        for item in items {
            cutter.add(&item, options)?;
        }
        cutter.finish()
    };
    forms::write(&forms, &compressor, options.thread_count(), produce, |_, bytes| consume(bytes))
}
