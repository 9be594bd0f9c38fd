//! Package containers and their compressions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, Write};

use gentoo::binpkg::{Attributes, BinaryPackage, ImageWriter};
use gentoo::compression::Compression;
use gentoo::gpkg::{Description, Signatures};

/// Most bytes of a stream that a target looks at.
const LOOK: u64 = 1 << 20;

/// The first byte chooses the compression, the rest is its stream: it ends or fails.
pub fn compression(data: &[u8]) {
    let Some((choice, stream)) = data.split_first() else { return };
    let compression = Compression::ALL[usize::from(*choice) % Compression::ALL.len()];
    let Ok(reader) = compression.reader(Cursor::new(stream.to_vec())) else {
        assert!(!compression.is_readable() || !stream.is_empty());
        return;
    };
    let mut decoded = Vec::new();
    if reader.take(LOOK).read_to_end(&mut decoded).is_err() || decoded.len() as u64 == LOOK {
        return;
    }
    if let Ok(mut encoder) = compression.writer(Vec::new()) {
        encoder.write_all(&decoded).expect("memory takes all");
        let again = encoder.finish().expect("memory takes all");
        let mut same = Vec::new();
        compression.reader(Cursor::new(again)).expect("readable").read_to_end(&mut same).expect("what was encoded decodes");
        assert!(same == decoded, "{compression:?}");
    }
}

pub fn compression_seeds() -> Vec<Vec<u8>> {
    let content: Vec<u8> = (0..600_u32).flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()).collect();
    let encoded = |(choice, compression): (usize, &Compression)| {
        let mut encoder = compression.writer(vec![choice as u8]).ok()?;
        encoder.write_all(&content).ok()?;
        encoder.finish().ok()
    };
    Compression::ALL.iter().enumerate().filter_map(encoded).collect()
}

/// Any bytes as a package file. Whatever opens has sound metadata, and gives the same image twice.
fn open(data: &[u8]) {
    let Some(package) = package(data) else { return };
    let fit =
        |key: &String| !key.is_empty() && !key.contains('/') && key != "." && key != ".." && !key.chars().any(char::is_control);
    assert!(package.metadata.keys().all(fit));
    let kept: usize = package.metadata.values().map(Vec::len).sum();
    assert!(kept <= data.len() || package.compression() != Compression::None, "{kept} bytes of metadata out of {}", data.len());
    let look = || {
        let mut bytes = Vec::new();
        let outcome = package.image().map(|image| image.take(LOOK).read_to_end(&mut bytes).is_ok());
        (outcome.unwrap_or(false), bytes)
    };
    assert!(look() == look());
}

/// Opens bytes as a package file; signatures are not looked at.
///
/// # Panics
/// When there is no room for a temporary file.
pub fn package(data: &[u8]) -> Option<BinaryPackage> {
    thread_local! {
        static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|slot| {
        let file = slot.get_or_insert_with(|| tempfile::tempfile().expect("a temporary file"));
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(data));
        written
            .and_then(|()| file.try_clone())
            .map(|file| BinaryPackage::open(file, "input", Signatures::Ignored).ok())
            .expect("a disk")
    })
}

pub fn gpkg(data: &[u8]) {
    open(data);
}

/// The bytes stand before the closing `STOP` of an XPAK, so that most inputs get past its end.
pub fn xpak(data: &[u8]) {
    open(data);
    open(&[data, b"STOP"].concat());
}

fn metadata() -> BTreeMap<String, Vec<u8>> {
    let pairs = [("CATEGORY", "a\n"), ("PF", "b-1\n"), ("SLOT", "0\n"), ("BUILD_TIME", "1\n")];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).collect()
}

fn image(writer: &mut ImageWriter<'_>) -> io::Result<()> {
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, user: "root", group: "root", mtime: 1 };
    writer.directory(b"", &attributes)?;
    writer.file(b"f", &attributes, 2, &mut &b"ok"[..])
}

pub fn gpkg_seeds() -> Vec<Vec<u8>> {
    let metadata = metadata();
    let written = |compression| {
        let mut file = Cursor::new(Vec::new());
        let description = Description { basename: "b-1", metadata: &metadata, compression, mtime: 1 };
        gentoo::gpkg::write(&mut file, &description, None, &mut image).expect("memory takes all");
        file.into_inner()
    };
    [Compression::None, Compression::Zstd, Compression::Gzip].into_iter().map(written).collect()
}

pub fn xpak_seeds() -> Vec<Vec<u8>> {
    let written = |compression| {
        let mut bytes = Vec::new();
        gentoo::xpak::write(&mut bytes, &metadata(), compression, &mut image).expect("memory takes all");
        bytes
    };
    let mut seeds: Vec<Vec<u8>> = [Compression::Bzip2, Compression::Zstd, Compression::None].into_iter().map(written).collect();
    seeds.extend(seeds.clone().iter().map(|seed| seed[..seed.len() - 4].to_vec()));
    seeds
}
