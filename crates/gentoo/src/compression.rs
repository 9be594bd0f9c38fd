//! The compressions that GLEP 78 names for the members of a GPKG, and by magic bytes those of an XPAK.

use std::io::{self, BufRead, BufReader, Read, Write};

/// Memory that an xz or lzip decoder may take: twice what `xz -9` needs to decode.
const LZMA_MEMORY_LIMIT: u64 = 128 << 20;
/// The largest zstd window taken, as a power of two: 128 MiB, what `zstd --long` and `--ultra -22` ask for.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Bytes read from the file at once.
const BUFFER: usize = 128 << 10;

/// How a member is compressed (GLEP 78, section "Compression").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    None,
    Gzip,
    Bzip2,
    Lz4,
    Lzip,
    Lzop,
    Xz,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 8] = [
        Compression::None,
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Lz4,
        Compression::Lzip,
        Compression::Lzop,
        Compression::Xz,
        Compression::Zstd,
    ];

    /// The file name suffix behind `.tar`, with its dot; empty for none.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip => ".gz",
            Compression::Bzip2 => ".bz2",
            Compression::Lz4 => ".lz4",
            Compression::Lzip => ".lz",
            Compression::Lzop => ".lzo",
            Compression::Xz => ".xz",
            Compression::Zstd => ".zst",
        }
    }

    /// Portage's name for it, as in BINPKG_COMPRESS.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Lz4 => "lz4",
            Compression::Lzip => "lzip",
            Compression::Lzop => "lzop",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        }
    }

    /// The compression that a suffix stands for; `None` for a suffix GLEP 78 does not name.
    pub fn from_suffix(suffix: &str) -> Option<Compression> {
        Compression::ALL.into_iter().find(|c| c.suffix() == suffix)
    }

    /// The compression that the first bytes of a stream (262 are enough) show. A plain tar archive is known by its `ustar`; a
    /// stream of zeros is an empty tar archive.
    pub fn from_magic(start: &[u8]) -> Option<Compression> {
        let magics: [(&[u8], Compression); 7] = [
            (b"\x1f\x8b", Compression::Gzip),
            (b"BZh", Compression::Bzip2),
            (b"\x04\x22\x4d\x18", Compression::Lz4),
            (b"LZIP", Compression::Lzip),
            (b"\x89LZO\0\r\n\x1a\n", Compression::Lzop),
            (b"\xfd7zXZ\0", Compression::Xz),
            (b"\x28\xb5\x2f\xfd", Compression::Zstd),
        ];
        let plain_tar = start.get(257..262) == Some(b"ustar") || (!start.is_empty() && start.iter().all(|b| *b == 0));
        magics.into_iter().find(|(magic, _)| start.starts_with(magic)).map(|(_, c)| c).or(plain_tar.then_some(Compression::None))
    }

    /// Whether [`Compression::reader`] can decode it. LZO has no library that could be kept here.
    pub fn is_readable(self) -> bool {
        self != Compression::Lzop
    }

    /// A reader of the decoded bytes. Streams that follow one another are read as one, as the command line tools do.
    ///
    /// # Errors
    /// `Unsupported` when [`Compression::is_readable`] is false. The reader itself fails on damaged and on truncated streams, and on
    /// ones that need more than 128 MiB of memory to decode.
    pub fn reader<R: Read + Send + 'static>(self, source: R) -> io::Result<Box<dyn Read + Send>> {
        let source = BufReader::with_capacity(BUFFER, source);
        Ok(match self {
            Compression::None => Box::new(source),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(source)),
            Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(source)),
            Compression::Lz4 => Box::new(Lz4Frames(lz4_flex::frame::FrameDecoder::new(Endless(source)))),
            Compression::Lzip => {
                let stream = liblzma::stream::Stream::new_lzip_decoder(LZMA_MEMORY_LIMIT, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
            }
            Compression::Lzop => return Err(unsupported("no decoder for lzop is built in")),
            Compression::Xz => {
                let stream = liblzma::stream::Stream::new_stream_decoder(LZMA_MEMORY_LIMIT, liblzma::stream::CONCATENATED)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(source, stream))
            }
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
        })
    }

    /// A writer that encodes into `target` at the tool's default level; the same input gives the same bytes. End it with
    /// [`Encoder::finish`].
    ///
    /// # Errors
    /// `Unsupported` for lzip and lzop, which are read-only here or not known at all.
    pub fn writer<W: Write>(self, target: W) -> io::Result<Encoder<W>> {
        Ok(match self {
            Compression::None => Encoder::None(target),
            Compression::Gzip => Encoder::Gzip(flate2::GzBuilder::new().mtime(0).write(target, flate2::Compression::default())),
            Compression::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(target, bzip2::Compression::best())),
            Compression::Lz4 => Encoder::Lz4(lz4_flex::frame::FrameEncoder::new(target)),
            Compression::Xz => Encoder::Xz(liblzma::write::XzEncoder::new(target, 6)),
            Compression::Zstd => Encoder::Zstd(zstd::stream::write::Encoder::new(target, zstd::DEFAULT_COMPRESSION_LEVEL)?),
            Compression::Lzip => return Err(unsupported("lzip can be read, not written")),
            Compression::Lzop => return Err(unsupported("no encoder for lzop is built in")),
        })
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// A compressing writer, see [`Compression::writer`].
pub enum Encoder<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Bzip2(bzip2::write::BzEncoder<W>),
    Lz4(lz4_flex::frame::FrameEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

impl<W: Write> Encoder<W> {
    /// Ends the stream and gives the target back.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Encoder::None(target) => Ok(target),
            Encoder::Gzip(e) => e.finish(),
            Encoder::Bzip2(e) => e.finish(),
            Encoder::Lz4(e) => e.finish().map_err(io::Error::other),
            Encoder::Xz(e) => e.finish(),
            Encoder::Zstd(e) => e.finish(),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Encoder::None(e) => e.write(bytes),
            Encoder::Gzip(e) => e.write(bytes),
            Encoder::Bzip2(e) => e.write(bytes),
            Encoder::Lz4(e) => e.write(bytes),
            Encoder::Xz(e) => e.write(bytes),
            Encoder::Zstd(e) => e.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Encoder::None(e) => e.flush(),
            Encoder::Gzip(e) => e.flush(),
            Encoder::Bzip2(e) => e.flush(),
            Encoder::Lz4(e) => e.flush(),
            Encoder::Xz(e) => e.flush(),
            Encoder::Zstd(e) => e.flush(),
        }
    }
}

/// The library's decoder stops after each frame and takes the end of the file for the end of a frame; the tools read on to the end of
/// the file and call such a frame truncated.
struct Lz4Frames<R: Read>(lz4_flex::frame::FrameDecoder<Endless<R>>);

impl<R: Read> Read for Lz4Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.0.read(buf)?;
            if count > 0 || self.0.get_mut().0.fill_buf()?.is_empty() {
                return Ok(count);
            }
        }
    }
}

/// A source whose end is an error. Its kind is not `UnexpectedEof`, which the decoder would swallow.
struct Endless<R: Read>(BufReader<R>);

impl<R: Read> Read for Endless<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf)? {
            0 if !buf.is_empty() => Err(io::Error::new(io::ErrorKind::InvalidData, "the lz4 stream is truncated")),
            count => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    fn content() -> Vec<u8> {
        (0u32..70_000).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect()
    }

    fn encode(compression: Compression, content: &[u8]) -> Vec<u8> {
        let mut encoder = compression.writer(Vec::new()).unwrap();
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(compression: Compression, encoded: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        compression.reader(Cursor::new(encoded))?.read_to_end(&mut out)?;
        Ok(out)
    }

    /// One lzip member (version 1, 8 MiB dictionary) from an LZMA stream with an end marker, as the lzip manual describes it.
    fn lzip(content: &[u8]) -> Vec<u8> {
        let mut options = liblzma::stream::LzmaOptions::new_preset(6).unwrap();
        options.dict_size(1 << 23);
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(content).unwrap();
        let alone = encoder.finish().unwrap();
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let mut member = b"LZIP\x01\x17".to_vec();
        member.extend_from_slice(&alone[13..]);
        member.extend_from_slice(&crc.sum().to_le_bytes());
        member.extend_from_slice(&(content.len() as u64).to_le_bytes());
        let size = member.len() as u64 + 8;
        member.extend_from_slice(&size.to_le_bytes());
        member
    }

    fn samples(content: &[u8]) -> Vec<(Compression, Vec<u8>)> {
        let writable =
            [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Lz4, Compression::Xz, Compression::Zstd];
        let mut samples: Vec<_> = writable.into_iter().map(|c| (c, encode(c, content))).collect();
        samples.push((Compression::Lzip, lzip(content)));
        samples
    }

    #[test]
    fn each_decodes_what_was_encoded() {
        for (compression, encoded) in samples(&content()) {
            assert_eq!(decode(compression, encoded).unwrap(), content(), "{compression:?}");
        }
    }

    #[test]
    fn joined_streams_are_one() {
        for (compression, mut encoded) in samples(&content()) {
            encoded.extend(encoded.clone());
            assert_eq!(decode(compression, encoded).unwrap(), [content(), content()].concat(), "{compression:?}");
        }
    }

    #[test]
    fn truncation_is_an_error() {
        for (compression, encoded) in samples(&content()).into_iter().filter(|(c, _)| *c != Compression::None) {
            for cut in [1, 4, encoded.len() / 2, encoded.len() - 7] {
                let cut_off = encoded[..encoded.len() - cut].to_vec();
                assert!(decode(compression, cut_off).is_err(), "{compression:?} less {cut} bytes");
            }
        }
    }

    #[test]
    fn magic_and_suffix_name_the_same() {
        for (compression, encoded) in samples(&content()).into_iter().filter(|(c, _)| *c != Compression::None) {
            assert_eq!(Compression::from_magic(&encoded), Some(compression));
            assert_eq!(Compression::from_suffix(compression.suffix()), Some(compression));
        }
        assert_eq!(Compression::from_magic(b"PK\x03\x04"), None);
        assert_eq!(Compression::from_suffix(".br"), None);
    }

    #[test]
    fn lzop_is_refused_in_words() {
        let err = decode(Compression::Lzop, b"\x89LZO\0\r\n\x1a\n".to_vec()).unwrap_err();
        assert_eq!(err.kind(), io::ErrorKind::Unsupported);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(40))]

        #[test]
        fn damage_is_survived(hits in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), 0u8..), 1..5)) {
            for (compression, mut encoded) in samples(&content()[..20_000]) {
                for (at, byte) in &hits {
                    // Half of the hits go to the header, where the structure is.
                    let limit = if byte % 2 == 0 { encoded.len() } else { 24 };
                    let at = at.index(limit);
                    encoded[at] = *byte;
                }
                let mut sink = io::sink();
                if let Ok(reader) = compression.reader(Cursor::new(encoded)) {
                    // Damage shows as an error or as other bytes, never as more than there can be.
                    let _ = io::copy(&mut reader.take(1 << 22), &mut sink);
                }
            }
        }
    }

    #[test]
    fn a_window_beyond_the_limit_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(28).unwrap();
        encoder.write_all(&vec![7; 300 << 10]).unwrap();
        assert!(decode(Compression::Zstd, encoder.finish().unwrap()).is_err());
    }
}
