//! Pieces of an image's data: blocks that are compressed, kept and found together.

use std::io;

use super::codec::{Codec, STORED};
use crate::forms::{FormKey, KeyHasher};
use crate::sparse::Source;

/// Raw bytes of a piece of a large content: a multiple of every block size.
pub(super) const RUN: u64 = 1 << 20;
/// Changes with what pieces of the same contents are, or with how they are kept.
const VERSION: u8 = 1;

/// What a piece is made of, which names what is made of it.
pub(super) enum Recipe<'a> {
    /// A content from this byte on, [`RUN`] bytes or up to its end.
    Run(Source<'a>, u64),
    /// Whole contents in one block.
    Fragment(&'a [Source<'a>]),
}

impl<'a> Recipe<'a> {
    pub(super) fn sources(&self) -> &[Source<'a>] {
        match self {
            Recipe::Run(source, _) => std::slice::from_ref(source),
            Recipe::Fragment(sources) => sources,
        }
    }

    /// Raw bytes.
    pub(super) fn len(&self) -> u64 {
        match self {
            Recipe::Run(source, at) => source.size.saturating_sub(*at).min(RUN),
            Recipe::Fragment(sources) => sources.iter().map(|source| source.size).sum(),
        }
    }

    /// Whether blocks of zeros are left out.
    fn has_holes(&self) -> bool {
        matches!(self, Recipe::Run(..))
    }
}

/// Names the pieces that a codec makes.
pub(super) struct Keys(KeyHasher);

impl Keys {
    pub(super) fn of(codec: Codec) -> io::Result<Keys> {
        let mut hasher = FormKey::of(&format!("squashfs {VERSION}"));
        hasher.field(&codec.fingerprint()?);
        Ok(Keys(hasher))
    }

    pub(super) fn key(&self, recipe: &Recipe) -> FormKey {
        let mut hasher = self.0.clone();
        match recipe {
            Recipe::Run(_, at) => hasher.field(b"run").number(*at),
            Recipe::Fragment(_) => hasher.field(b"fragment"),
        };
        for source in recipe.sources() {
            hasher.blob(source.blob).number(source.size);
        }
        hasher.finish()
    }
}

/// Compressed blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// Bytes of each block on the disk, with [`STORED`] where it is not compressed; 0 for one of zeros only, which is not there at all.
    pub sizes: Vec<u32>,
    pub bytes: Vec<u8>,
}

impl Piece {
    /// Compresses what a recipe asks for.
    pub(super) fn make(codec: Codec, recipe: &Recipe, raw: &[u8]) -> io::Result<Piece> {
        let mut encoder = codec.encoder()?;
        let mut piece = Piece::default();
        for block in raw.chunks(codec.block) {
            if recipe.has_holes() && block.iter().all(|byte| *byte == 0) {
                piece.sizes.push(0);
                continue;
            }
            let small = encoder.compress(block)?;
            let (bytes, flag) = small.as_deref().map_or((block, STORED), |small| (small, 0));
            piece.sizes.push(bytes.len() as u32 | flag);
            piece.bytes.extend_from_slice(bytes);
        }
        Ok(piece)
    }

    /// The piece as it is kept: the number of blocks, their sizes, the blocks.
    pub(super) fn to_form(&self) -> Vec<u8> {
        let mut form = Vec::with_capacity(4 + 4 * self.sizes.len() + self.bytes.len());
        form.extend((self.sizes.len() as u32).to_le_bytes());
        self.sizes.iter().for_each(|size| form.extend(size.to_le_bytes()));
        form.extend(&self.bytes);
        form
    }

    /// Reads what was kept; `None` for what cannot be of this recipe.
    pub(super) fn from_form(mut form: Vec<u8>, codec: Codec, recipe: &Recipe) -> Option<Piece> {
        let blocks = recipe.len().div_ceil(codec.block as u64);
        let (count, rest) = form.split_first_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, _) = rest.split_at_checked(count.checked_mul(4)?)?;
        let sizes: Vec<u32> = sizes.as_chunks().0.iter().map(|size| u32::from_le_bytes(*size)).collect();
        form.drain(..4 + 4 * count);
        let piece = Piece { sizes, bytes: form };
        (count as u64 == blocks && piece.len() == piece.bytes.len() as u64).then_some(piece)
    }

    /// Bytes on the disk, by the sizes.
    pub(super) fn len(&self) -> u64 {
        self.sizes.iter().map(|size| u64::from(size & !STORED)).sum()
    }
}
