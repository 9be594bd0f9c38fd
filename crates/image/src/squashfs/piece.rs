//! Pieces of an image's data: blocks that are compressed, kept and found together.

use std::borrow::Cow;
use std::io;

use super::codec::{Codec, STORED};
use crate::content::Stretch;
use crate::forms::{FormKey, KeyHasher};
use crate::sparse::Source;

/// Raw bytes of a piece of a large content: a multiple of every block size.
pub(super) const RUN: u64 = 1 << 20;
/// Changes with what pieces of the same contents are, or with how they are kept.
const VERSION: u8 = 1;

/// What a piece is made of, which names what is made of it.
pub(super) enum Recipe<'a> {
    /// A content, or one of its stretches of [`RUN`] bytes.
    Run(Stretch<'a>),
    /// Whole contents in one block.
    Fragment(&'a [Source<'a>]),
}

impl<'a> Recipe<'a> {
    pub(super) fn stretches(&self) -> impl Iterator<Item = Stretch<'a>> {
        let (run, sources) = match self {
            Recipe::Run(stretch) => (Some(stretch.clone()), Default::default()),
            Recipe::Fragment(sources) => (None, *sources),
        };
        run.into_iter().chain(sources.iter().map(|source| Stretch::whole(source.path, (source.blob, source.size))))
    }

    /// Raw bytes.
    pub(super) fn length(&self) -> u64 {
        self.stretches().map(|stretch| stretch.length()).sum()
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

    /// Begins the name of what is made of all these contents, in this order: of a whole image, say.
    pub(super) fn of_all<'a>(&self, what: &str, sources: impl Iterator<Item = &'a Source<'a>>) -> KeyHasher {
        let mut hasher = self.0.clone();
        hasher.field(what.as_bytes());
        sources.for_each(|source| _ = hasher.blob(source.blob).number(source.size));
        hasher
    }

    pub(super) fn key(&self, recipe: &Recipe) -> FormKey {
        let mut hasher = self.0.clone();
        match recipe {
            Recipe::Run(stretch) => hasher.field(b"run").number(stretch.range.start),
            Recipe::Fragment(_) => hasher.field(b"fragment"),
        };
        for stretch in recipe.stretches() {
            hasher.blob(stretch.blob).number(stretch.size);
        }
        hasher.finish()
    }
}

/// Compressed blocks.
#[derive(Debug, Default)]
pub(super) struct Piece<'b> {
    /// Bytes of each block on the disk, with [`STORED`] where it is not compressed; 0 for one of zeros only, which is not there at all.
    pub sizes: Vec<u32>,
    pub bytes: Cow<'b, [u8]>,
}

impl<'b> Piece<'b> {
    /// Compresses what a recipe asks for.
    pub(super) fn make(codec: Codec, recipe: &Recipe, raw: &[u8]) -> io::Result<Piece<'static>> {
        let mut encoder = codec.encoder()?;
        let (mut sizes, mut bytes) = (Vec::new(), Vec::new());
        for block in raw.chunks(codec.block) {
            if recipe.has_holes() && block.iter().all(|byte| *byte == 0) {
                sizes.push(0);
                continue;
            }
            let small = encoder.compress(block)?;
            let (stored, flag) = small.as_deref().map_or((block, STORED), |small| (small, 0));
            sizes.push(stored.len() as u32 | flag);
            bytes.extend_from_slice(stored);
        }
        Ok(Piece { sizes, bytes: bytes.into() })
    }

    /// The piece as it is kept: the number of blocks, their sizes, the blocks.
    pub(super) fn to_form(&self) -> Vec<u8> {
        let mut form = Vec::with_capacity(4 + 4 * self.sizes.len() + self.bytes.len());
        form.extend((self.sizes.len() as u32).to_le_bytes());
        self.sizes.iter().for_each(|size| form.extend(size.to_le_bytes()));
        form.extend(self.bytes.as_ref());
        form
    }

    /// Reads what was kept; `None` for what cannot be of this recipe.
    pub(super) fn from_form(form: &'b [u8], codec: Codec, recipe: &Recipe) -> Option<Piece<'b>> {
        let blocks = recipe.length().div_ceil(codec.block as u64);
        let (count, rest) = form.split_first_chunk()?;
        let count = u32::from_le_bytes(*count) as usize;
        let (sizes, bytes) = rest.split_at_checked(count.checked_mul(4)?)?;
        let sizes: Vec<u32> = sizes.as_chunks().0.iter().map(|size| u32::from_le_bytes(*size)).collect();
        (count as u64 == blocks && bytes_of(&sizes) == bytes.len() as u64).then_some(Piece { sizes, bytes: bytes.into() })
    }
}

/// What blocks of these sizes take on the disk.
pub(super) fn bytes_of(sizes: &[u32]) -> u64 {
    sizes.iter().map(|size| u64::from(size & !STORED)).sum()
}
