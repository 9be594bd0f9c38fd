//! Compressed streams made of independent pieces of a fixed size, joined. Every reader of these forms reads the joined streams as one
//! (RFC 1952 2.2, bzip2, the .xz specification 2, RFC 8878 3), and the bytes do not depend on the number of threads.

use std::io::{self, Write};
use std::path::Path;

use liblzma::stream::{Check, Filters, LzmaOptions, Stream};

use crate::tar::Lengths;
use crate::write::Error;
use crate::{bz2, pool};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Compression {
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

/// Level of gzip and xz: the tools' own default, which costs little time more than less would.
const GZIP_LEVEL: u32 = 6;
const XZ_PRESET: u32 = 6;
/// The preset's dictionary.
const XZ_DICTIONARY: u32 = 8 << 20;
/// As in [`crate::squashfs`]: a tenth smaller than the default of 3 at twice the time, where 15 costs twelve times for half as much.
const ZSTD_LEVEL: i32 = 9;

impl Compression {
    pub const ALL: [Compression; 4] = [Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];

    /// The ending of a file's name, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Compression::Gzip => "gz",
            Compression::Bzip2 => "bz2",
            Compression::Xz => "xz",
            Compression::Zstd => "zst",
        }
    }

    /// Raw bytes of one piece: many times the window that matches are found in, so that joining costs next to nothing, and small enough
    /// that a few per thread fit into memory.
    fn piece_size(self) -> usize {
        match self {
            Compression::Gzip => 1 << 20,
            // Just under three blocks of level 9. A multiple of the block size itself would leave a tiny fourth block, as a block
            // holds 19 bytes less than 900,000.
            Compression::Bzip2 => 2_699_900,
            Compression::Xz => 16 << 20,
            Compression::Zstd => 16 << 20,
        }
    }

    /// What the bytes of a piece depend on besides its raw bytes, in words.
    pub(crate) fn parameters(self) -> String {
        match self {
            Compression::Gzip => format!("gzip {GZIP_LEVEL}"),
            Compression::Bzip2 => "bzip2 9, by suffixes".to_owned(),
            Compression::Xz => format!("xz {XZ_PRESET}"),
            Compression::Zstd => format!("zstd {ZSTD_LEVEL}"),
        }
    }

    /// How long the pieces are that images share. Longer ones compress better, and a change compresses more anew.
    pub(crate) fn piece_lengths(self) -> Lengths {
        match self {
            Compression::Gzip => Lengths::around(256 << 10),
            // One block of level 9, which holds 19 bytes less than 900,000.
            Compression::Bzip2 => Lengths { least: 500_000, mean: 700_000, most: 899_900, stretch: 899_900 },
            // Shorter than `xz -T0` has them, so that no thread is left with a long one at the end.
            Compression::Xz => Lengths { least: 8 << 20, mean: 12 << 20, most: 16 << 20, stretch: 12 << 20 },
            Compression::Zstd => Lengths::around(8 << 20),
        }
    }

    /// One piece as a stream of its own. Names, times and everything else of the machine stay out of it.
    pub(crate) fn compress(self, raw: &[u8]) -> io::Result<Vec<u8>> {
        let out = Vec::with_capacity(raw.len() / 2);
        match self {
            Compression::Gzip => {
                // 255 for an unknown operating system, as the file may be written on any.
                let mut encoder = flate2::GzBuilder::new().operating_system(255).write(out, flate2::Compression::new(GZIP_LEVEL));
                encoder.write_all(raw)?;
                encoder.finish()
            }
            Compression::Bzip2 => bz2::compress(raw),
            Compression::Xz => {
                let mut encoder = liblzma::write::XzEncoder::new_stream(out, xz_stream(raw.len())?);
                encoder.write_all(raw)?;
                encoder.finish()
            }
            Compression::Zstd => {
                let mut compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                compressor.include_checksum(true)?;
                compressor.compress(raw)
            }
        }
    }
}

/// An .xz encoder for so many bytes: the preset with a dictionary that is no larger than they are, as a larger one would only take
/// memory, eleven times its size.
fn xz_stream(length: usize) -> io::Result<Stream> {
    let mut options = LzmaOptions::new_preset(XZ_PRESET)?;
    let dictionary = u32::try_from(length).unwrap_or(u32::MAX).clamp(1 << 16, XZ_DICTIONARY).next_power_of_two();
    options.dict_size(dictionary);
    Ok(Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc64)?)
}

/// Takes the pieces of what is to be compressed.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// Compresses all that `produce` gives on `threads` threads and hands the joined streams to `consume` in order. An empty input becomes
/// one empty stream. `path` is what errors name.
pub(crate) fn compressed(
    compression: Compression,
    threads: usize,
    path: &Path,
    produce: impl FnOnce(Sink) -> Result<(), Error>,
    mut consume: impl FnMut(&[u8]) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let size = compression.piece_size();
    let produce = |emit: &mut dyn FnMut(Vec<u8>) -> Result<(), Error>| {
        let (mut piece, mut any) = (Vec::new(), false);
        produce(&mut |mut bytes| {
            while piece.len() + bytes.len() >= size {
                let (head, tail) = bytes.split_at(size - piece.len());
                piece.extend_from_slice(head);
                emit(std::mem::replace(&mut piece, Vec::with_capacity(size)))?;
                any = true;
                bytes = tail;
            }
            piece.extend_from_slice(bytes);
            Ok(())
        })?;
        if any && piece.is_empty() { Ok(()) } else { emit(piece) }
    };
    let work = |piece: Vec<u8>| compression.compress(&piece).map_err(|e| Error::io(path, e));
    pool::ordered(threads, produce, work, |piece| consume(&piece))
}
