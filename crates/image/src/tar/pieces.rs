//! A compressed tar stream in pieces that other images share.
//!
//! The stream is cut where its content says so: after an entry whose path hashes to a small number, so that a change moves no cut but
//! those beside it. A large file is cut into stretches of its own. Each piece is compressed by itself and kept as a form, whose key is
//! made of its entries' headers and blobs: an image of known pieces reads no raw content.

use std::path::Path;

use super::{BLOCK, RECORD, headers, padding};
use crate::compress::Compression;
use crate::content::{Contents, Stretch, stretches};
use crate::forms::{FormKey, KeyHasher};
use crate::pool;
use crate::store::Store;
use crate::write::{Error, Item, Meter, WriteOptions, content_of};

/// Version of the code whose work is kept: of what a piece is and how it is compressed.
const VERSION: u32 = 1;

/// How long pieces are, in raw bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lengths {
    /// Most pieces are longer than this.
    pub least: u64,
    /// The mean; a file from here on gets pieces of its own, of this length.
    pub target: u64,
    pub most: u64,
}

/// What a piece is made from.
enum Part<'a> {
    Bytes(Vec<u8>),
    Content(Stretch<'a>),
}

/// A piece of the tar stream: the recipe, not the bytes.
struct Piece<'a> {
    key: KeyHasher,
    parts: Vec<Part<'a>>,
    size: u64,
}

impl<'a> Piece<'a> {
    fn bytes(&mut self, bytes: Vec<u8>) {
        self.key.field(&bytes);
        self.size += bytes.len() as u64;
        self.parts.push(Part::Bytes(bytes));
    }

    fn content(&mut self, stretch: Stretch<'a>) {
        self.key.blob(stretch.blob).number(stretch.size).number(stretch.range.start).number(stretch.range.end);
        self.size += stretch.length();
        self.parts.push(Part::Content(stretch));
    }

    fn raw(&self, contents: &Contents) -> Result<Vec<u8>, Error> {
        let mut raw = Vec::new();
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => raw.extend_from_slice(bytes),
                Part::Content(stretch) => contents.append(stretch, &mut raw)?,
            }
        }
        Ok(raw)
    }
}

/// Cuts the entries of a stream into pieces.
struct Cutter<'a, 'e, 'm> {
    kind: String,
    lengths: Lengths,
    piece: Piece<'a>,
    emit: &'e mut dyn FnMut(Piece<'a>) -> Result<(), Error>,
    meter: &'e mut Meter<'m>,
    written: u64,
}

impl<'a> Cutter<'a, '_, '_> {
    fn add(&mut self, item: &Item<'a>, options: &WriteOptions) -> Result<(), Error> {
        let header = headers(item, options);
        let content = content_of(item).map(|content| Stretch::whole(item.path, content));
        match content {
            Some(whole) if whole.size >= self.lengths.target => self.add_large(header, whole),
            content => self.add_small(header, item.path, content),
        }
    }

    fn add_small(&mut self, header: Vec<u8>, path: &[u8], content: Option<Stretch<'a>>) -> Result<(), Error> {
        let before = self.piece.size;
        self.piece.bytes(header);
        self.meter.add(content.as_ref().map_or(0, Stretch::length))?;
        if let Some(stretch) = content {
            let padding = padding(stretch.size);
            self.piece.content(stretch);
            self.piece.bytes(padding);
        }
        let Lengths { least, target, most } = self.lengths;
        // The longer an entry, the likelier it ends a piece: then the mean length does not depend on what files there are.
        let chance = (self.piece.size - before) as f64 / (target - least) as f64;
        let drawn = f64::from(crc32fast::hash(path)) / f64::from(u32::MAX);
        match self.piece.size >= most || (self.piece.size >= least && drawn < chance) {
            true => self.cut(),
            false => Ok(()),
        }
    }

    fn add_large(&mut self, header: Vec<u8>, whole: Stretch<'a>) -> Result<(), Error> {
        self.cut()?;
        self.piece.bytes(header);
        for range in stretches(whole.size, self.lengths.target) {
            let last = range.end == whole.size;
            self.meter.add(range.end - range.start)?;
            self.piece.content(Stretch { range, ..whole.clone() });
            if last {
                self.piece.bytes(padding(whole.size));
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
        let next = Piece { key: FormKey::of(&self.kind), parts: Vec::new(), size: 0 };
        (self.emit)(std::mem::replace(&mut self.piece, next))
    }

    /// The end of the archive, in a piece of its own, as its length depends on all before.
    fn finish(mut self) -> Result<(), Error> {
        self.cut()?;
        let end = (self.written + 2 * BLOCK as u64).next_multiple_of(RECORD);
        self.piece.bytes(vec![0; (end - self.written) as usize]);
        self.cut()
    }
}

/// Where a compressed stream comes from.
pub(crate) struct Source<'a> {
    pub store: &'a Store,
    pub compression: Compression,
    pub options: &'a WriteOptions,
}

/// Gives the compressed tar stream of these entries to `consume`, in order. `path` is what errors name.
pub(crate) fn write_compressed<'a>(
    source: &Source,
    items: impl Iterator<Item = Item<'a>>,
    meter: &mut Meter,
    path: &Path,
    mut consume: impl FnMut(&[u8]) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let Source { store, compression, options } = *source;
    let lengths = compression.piece_lengths();
    let kind = format!("tar piece, {}, {VERSION}", compression.parameters());
    let forms = store.forms().map_err(Error::store)?;
    let contents = Contents::new(store, lengths.target);

    let produce = |emit: &mut dyn FnMut(Piece<'a>) -> Result<(), Error>| {
        let piece = Piece { key: FormKey::of(&kind), parts: Vec::new(), size: 0 };
        let mut cutter = Cutter { kind: kind.clone(), lengths, piece, emit, meter, written: 0 };
        for item in items {
            cutter.add(&item, options)?;
        }
        cutter.finish()
    };
    let work = |piece: Piece| {
        let key = piece.key.clone().finish();
        if let Some(bytes) = forms.get(&key) {
            return Ok(bytes);
        }
        let bytes = compression.compress(&piece.raw(&contents)?).map_err(|e| Error::io(path, e))?;
        forms.put(&key, &bytes).map_err(Error::store)?;
        Ok(bytes)
    };
    pool::ordered(options.thread_count(), produce, work, |bytes| consume(&bytes))
}
