//! How blocks are compressed.

use std::io::{self, Write};

use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use liblzma::write::XzEncoder;

use crate::store::BlobId;

/// The compressors of squashfs that the kernels of Debian and Gentoo have (`CONFIG_SQUASHFS_ZSTD`, `CONFIG_SQUASHFS_XZ`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SquashCompressor {
    /// Quick to make and to read.
    Zstd,
    /// Smaller, and many times slower both ways.
    Xz,
}

impl SquashCompressor {
    pub const ALL: [SquashCompressor; 2] = [SquashCompressor::Zstd, SquashCompressor::Xz];
}

/// Measured on 619 MB of /usr/share: 3 makes 254 MB in 6 CPU seconds, 9 makes 242 MB in 12, 15 (the default of the tools) makes 230 MB
/// in 77.
const ZSTD_LEVEL: i32 = 9;
/// Of the tables, which every image compresses anew and which are hardly a hundredth of it.
const ZSTD_LEVEL_OF_TABLES: i32 = 3;
/// The default of liblzma, and of the tools.
const XZ_PRESET: u32 = 6;

/// Set in a block's size: stored as it is.
pub(super) const STORED: u32 = 1 << 24;

/// A compressor with its settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec {
    pub compressor: SquashCompressor,
    /// Bytes of a block: a power of two from 4 KiB to 1 MiB. The kernel's decoders make room for a window of no more.
    pub block: usize,
}

impl Codec {
    /// The compressor's number in the superblock.
    pub(super) fn id(self) -> u16 {
        match self.compressor {
            SquashCompressor::Xz => 4,
            SquashCompressor::Zstd => 6,
        }
    }

    /// For data.
    pub(super) fn encoder(self) -> io::Result<Encoder> {
        self.encoder_with(ZSTD_LEVEL)
    }

    /// For tables.
    pub(super) fn table_encoder(self) -> io::Result<Encoder> {
        self.encoder_with(ZSTD_LEVEL_OF_TABLES)
    }

    fn encoder_with(self, zstd_level: i32) -> io::Result<Encoder> {
        match self.compressor {
            SquashCompressor::Zstd => Ok(Encoder::Zstd(zstd::bulk::Compressor::new(zstd_level)?)),
            SquashCompressor::Xz => {
                let mut options = LzmaOptions::new_preset(XZ_PRESET)?;
                options.dict_size(u32::try_from(self.block).map_err(io::Error::other)?);
                let mut filters = Filters::new();
                filters.lzma2(&options);
                Ok(Encoder::Xz(filters))
            }
        }
    }

    /// What tells this codec's output from that of others, those of other versions of the libraries too: they are asked what they make of
    /// a text, as not all say what they are.
    pub(super) fn fingerprint(self) -> io::Result<Vec<u8>> {
        let text: Vec<u8> = (0..40_000u32).flat_map(|n| ((n % 251 * (n / 97)) ^ (n >> 5)).to_le_bytes()).collect();
        let text = text.get(..self.block.min(text.len())).unwrap_or_default();
        let made = self.encoder()?.compress(text)?.unwrap_or_default();
        Ok(format!("{:?} {} {}", self.compressor, self.block, BlobId::of(&made)).into_bytes())
    }
}

/// A compressor at work.
pub(super) enum Encoder {
    Zstd(zstd::bulk::Compressor<'static>),
    Xz(Filters),
}

impl Encoder {
    /// One block, compressed. `None` when it would not become smaller: then it is stored as it is.
    pub(super) fn compress(&mut self, raw: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let small = match self {
            Encoder::Zstd(compressor) => compressor.compress(raw)?,
            Encoder::Xz(filters) => {
                // The kernel's decoder knows no other check than CRC-32.
                let stream = Stream::new_stream_encoder(filters, Check::Crc32)?;
                let mut encoder = XzEncoder::new_stream(Vec::with_capacity(raw.len() / 2), stream);
                encoder.write_all(raw)?;
                encoder.finish()?
            }
        };
        Ok(Some(small).filter(|small| small.len() < raw.len()))
    }
}
