//! XPAK, the older container: a compressed tar archive with `XPAKPACK index data XPAKSTOP`, its length and `STOP` behind it
//! (Portage's xpak.5). Integers are 32 bits, big-endian. It carries no signature.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::binpkg::{ImageWriter, Problem, ReadAt, Section};
use crate::compression::Compression;

const START: &[u8] = b"XPAKPACK";
const STOP: &[u8] = b"XPAKSTOP";
const END: &[u8] = b"STOP";
/// Bytes of the length and `STOP` at the very end.
const TRAILER: u64 = 8;
/// Bytes of a segment besides index and data.
const FRAME: usize = 24;
/// Real ones stay below 4 MiB.
const MAX_SEGMENT: u64 = 64 << 20;
/// Enough of the archive to tell its compression.
const MAGIC: u64 = 512;

/// What an XPAK package contains.
pub(crate) struct Contents {
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    pub(crate) image: Section,
    pub(crate) compression: Compression,
}

/// Whether the file ends as an XPAK does.
pub(crate) fn is_xpak(file: &Section) -> io::Result<bool> {
    let Some(offset) = file.len().checked_sub(TRAILER + STOP.len() as u64) else { return Ok(false) };
    let mut end = [0; 16];
    file.read_exact_at(&mut end, offset)?;
    Ok(end.starts_with(STOP) && end.ends_with(END))
}

/// Reads the metadata and finds the image.
pub(crate) fn read(file: &Section) -> Result<Contents, Problem> {
    let segment_end = file.len().checked_sub(TRAILER).ok_or(Problem::NotAPackage)?;
    let mut trailer = [0; TRAILER as usize];
    file.read_exact_at(&mut trailer, segment_end)?;
    let segment_len = u64::from(number(&trailer).ok_or(Problem::NotAPackage)?.0);
    if segment_len > MAX_SEGMENT {
        return Err(Problem::TooLarge { what: "its XPAK segment".into(), limit: MAX_SEGMENT });
    }
    let start = segment_end.checked_sub(segment_len).ok_or(malformed("it claims to be longer than the file"))?;
    let segment = file.part(start, segment_len).ok_or(malformed("it claims to be longer than the file"))?.to_vec()?;
    let image = file.part(0, start).ok_or(malformed("it claims to be longer than the file"))?;
    let mut magic = vec![0; image.len().min(MAGIC) as usize];
    image.read_exact_at(&mut magic, 0)?;
    let compression =
        Compression::from_magic(&magic).ok_or_else(|| Problem::Compression { compression: "an unknown compression".into() })?;
    if !compression.is_readable() {
        return Err(Problem::Compression { compression: compression.name().into() });
    }
    Ok(Contents { metadata: parse(&segment)?, image, compression })
}

/// Reads a segment, from `XPAKPACK` to `XPAKSTOP`.
pub(crate) fn parse(segment: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    let inner = segment.strip_prefix(START).and_then(|s| s.strip_suffix(STOP)).ok_or(malformed("it has no beginning or end"))?;
    let (index_len, rest) = number(inner).ok_or(malformed("it is too short"))?;
    let (data_len, rest) = number(rest).ok_or(malformed("it is too short"))?;
    let (mut index, data) = rest.split_at_checked(index_len as usize).ok_or(malformed("its index is longer than itself"))?;
    if data.len() != data_len as usize {
        return Err(malformed("its parts do not add up to its length"));
    }
    let mut metadata = BTreeMap::new();
    let mut used = 0;
    while !index.is_empty() {
        let (name, value, rest) = entry(index, data)?;
        index = rest;
        // Entries may lie anywhere in the data, but a million of them over the same megabytes would be a bomb.
        used += value.len();
        if used > data.len() {
            return Err(malformed("its entries overlap"));
        }
        if metadata.insert(name.clone(), value.to_vec()).is_some() {
            return Err(Problem::Doubled { name });
        }
    }
    Ok(metadata)
}

fn entry<'a>(index: &'a [u8], data: &'a [u8]) -> Result<(String, &'a [u8], &'a [u8]), Problem> {
    let cut = || malformed("its index ends within an entry");
    let (name_len, rest) = number(index).ok_or_else(cut)?;
    let (name, rest) = rest.split_at_checked(name_len as usize).ok_or_else(cut)?;
    let (offset, rest) = number(rest).ok_or_else(cut)?;
    let (len, rest) = number(rest).ok_or_else(cut)?;
    let name = std::str::from_utf8(name).map_err(|_| malformed("it has a name that is not UTF-8"))?;
    let unfit = name.is_empty() || name == "." || name == ".." || name.contains('/') || name.chars().any(char::is_control);
    if unfit {
        return Err(malformed("it has a name that cannot be a file's"));
    }
    let start = offset as usize;
    let value = start
        .checked_add(len as usize)
        .and_then(|end| data.get(start..end))
        .ok_or(malformed("it has an entry outside its data"))?;
    Ok((name.to_owned(), value, rest))
}

/// A number at the beginning, and what follows it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(first, rest)| (u32::from_be_bytes(*first), rest))
}

fn malformed(why: &'static str) -> Problem {
    Problem::Xpak { why }
}

/// Writes an XPAK package. `image` is called once to write the files.
///
/// # Errors
/// What `out` and `image` report; `InvalidInput` for metadata whose size does not fit 32 bits.
pub fn write(
    out: &mut dyn Write,
    metadata: &BTreeMap<String, Vec<u8>>,
    compression: Compression,
    image: &mut dyn FnMut(&mut ImageWriter<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut encoder = compression.writer(&mut *out)?;
    let mut writer = ImageWriter::new(&mut encoder, ".");
    image(&mut writer)?;
    writer.finish()?;
    encoder.finish()?;
    let segment = segment(metadata)?;
    out.write_all(&segment)?;
    out.write_all(&length(segment.len())?)?;
    out.write_all(END)?;
    out.flush()
}

fn segment(metadata: &BTreeMap<String, Vec<u8>>) -> io::Result<Vec<u8>> {
    let (mut index, mut data) = (Vec::new(), Vec::new());
    for (name, value) in metadata {
        index.extend(length(name.len())?);
        index.extend_from_slice(name.as_bytes());
        index.extend(length(data.len())?);
        index.extend(length(value.len())?);
        data.extend_from_slice(value);
    }
    let mut segment = Vec::with_capacity(FRAME + index.len() + data.len());
    segment.extend_from_slice(START);
    segment.extend(length(index.len())?);
    segment.extend(length(data.len())?);
    segment.extend(index);
    segment.extend(data);
    segment.extend_from_slice(STOP);
    Ok(segment)
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    let len =
        u32::try_from(len).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the metadata is too large for an XPAK"))?;
    Ok(len.to_be_bytes())
}
