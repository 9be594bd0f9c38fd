//! Writes a GPKG. The same description, image and time give the same bytes, but for the signatures.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use super::manifest::{Hasher, Record};
use super::{MANIFEST, Signer, VERSION_MEMBER};
use crate::binpkg::tar_header::{self, Attributes, BLOCK};
use crate::binpkg::{BinaryPackage, ImageWriter, pad};
use crate::compression::Compression;

/// Portage pads its archives to records of this size.
const RECORD: u64 = 20 * BLOCK;

/// What a GPKG is to contain besides its image.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// `PF`, or `PF-BUILD_ID` in a binhost with several builds of a version.
    pub basename: &'a str,
    /// The files of the VDB entry, by name: `CATEGORY`, `PF`, `SLOT`, `environment.bz2`, ….
    pub metadata: &'a BTreeMap<String, Vec<u8>>,
    pub compression: Compression,
    /// Time of the members in the container and of the metadata files, seconds since the epoch.
    pub mtime: u64,
}

/// Writes a GPKG to an empty file, signed throughout when a signer is given. `image` is called once to write the files.
///
/// # Errors
/// What `out`, the signer and `image` report; `InvalidInput` for names that cannot be members; `Unsupported` for a compression that
/// cannot be written. The file is useless then.
pub fn write<W: Read + Write + Seek + Send + Sync>(
    out: &mut W,
    description: &Description<'_>,
    signer: Option<&mut dyn Signer>,
    image: &mut dyn FnMut(&mut ImageWriter<'_>) -> io::Result<()>,
) -> io::Result<()> {
    check_names(description)?;
    let mut container = Container { out, description, signer, manifest: String::new() };
    container.small(VERSION_MEMBER, b"")?;
    container.archive("metadata", &mut |target| write_metadata(target, description))?;
    container.archive("image", &mut |target| {
        let mut writer = ImageWriter::new(target, "image");
        image(&mut writer)?;
        writer.finish()
    })?;
    container.finish()
}

/// Writes a GPKG with the image of another package as it is stored there, byte for byte, and with metadata and signatures of its own.
///
/// # Errors
/// As for [`write`].
pub fn repack<W: Read + Write + Seek + Send + Sync>(
    out: &mut W,
    description: &Description<'_>,
    package: &BinaryPackage,
    signer: Option<&mut dyn Signer>,
) -> io::Result<()> {
    check_names(description)?;
    let mut container = Container { out, description, signer, manifest: String::new() };
    container.small(VERSION_MEMBER, b"")?;
    container.archive("metadata", &mut |target| write_metadata(target, description))?;
    let name = format!("image.tar{}", package.compression().suffix());
    container.stored(&name, package.image_size(), &mut package.stored_image())?;
    container.finish()
}

struct Container<'a, 's, W> {
    out: &'a mut W,
    description: &'a Description<'a>,
    signer: Option<&'s mut (dyn Signer + 's)>,
    manifest: String,
}

impl<W: Read + Write + Seek + Send + Sync> Container<'_, '_, W> {
    /// A member whose bytes are at hand.
    fn small(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(&self.header(name, bytes.len() as u64)?)?;
        self.out.write_all(bytes)?;
        pad(self.out, bytes.len() as u64)?;
        let record = Record::of(&mut &bytes[..])?;
        self.manifest.push_str(&record.line(name));
        Ok(())
    }

    /// A compressed archive, streamed; its size goes into the header afterwards.
    fn archive(&mut self, stem: &str, fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let name = format!("{stem}.tar{}", self.description.compression.suffix());
        let start = self.out.stream_position()?;
        // Sizes from 8 GB on need another form of header, of the same length only if the name is short: too large is refused below.
        let header_size = self.header(&name, 0)?.len() as u64;
        self.out.write_all(&vec![0; header_size as usize])?;
        let mut encoder = self.description.compression.writer(Hashing { out: &mut *self.out, hasher: Hasher::default() })?;
        fill(&mut encoder)?;
        let record = encoder.finish()?.hasher.finish();
        pad(self.out, record.size)?;
        let end = self.out.stream_position()?;
        let header = self.header(&name, record.size)?;
        if header.len() as u64 != header_size {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the package is too large for its header"));
        }
        self.out.seek(SeekFrom::Start(start))?;
        self.out.write_all(&header)?;
        self.manifest.push_str(&record.line(&name));
        self.sign(&name, start + header_size, record.size, end)
    }

    /// A member that is copied.
    fn stored(&mut self, name: &str, size: u64, data: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(&self.header(name, size)?)?;
        let start = self.out.stream_position()?;
        let mut out = Hashing { out: &mut *self.out, hasher: Hasher::default() };
        if io::copy(&mut data.take(size), &mut out)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let record = out.hasher.finish();
        pad(self.out, size)?;
        let end = self.out.stream_position()?;
        self.manifest.push_str(&record.line(name));
        self.sign(name, start, size, end)
    }

    fn sign(&mut self, name: &str, data: u64, size: u64, end: u64) -> io::Result<()> {
        let Some(signer) = self.signer.as_mut() else {
            self.out.seek(SeekFrom::Start(end))?;
            return Ok(());
        };
        self.out.seek(SeekFrom::Start(data))?;
        let signature = signer.detached(&mut (&mut *self.out).take(size))?;
        self.out.seek(SeekFrom::Start(end))?;
        self.small(&format!("{name}.sig"), signature.as_bytes())
    }

    fn finish(mut self) -> io::Result<()> {
        let text = std::mem::take(&mut self.manifest);
        let manifest = match self.signer.as_mut() {
            Some(signer) => signer.clear_sign(&text)?,
            None => text,
        };
        self.small(MANIFEST, manifest.as_bytes())?;
        let end = self.out.stream_position()?;
        let padding = (end + 2 * BLOCK).next_multiple_of(RECORD) - end;
        self.out.write_all(&vec![0; padding as usize])?;
        self.out.flush()
    }

    /// ustar where the name fits it, GNU otherwise, as Portage chooses.
    fn header(&self, name: &str, size: u64) -> io::Result<Vec<u8>> {
        let path = format!("{}/{name}", self.description.basename);
        let attributes = Attributes::plain(self.description.mtime);
        Ok(tar_header::ustar(&path, size, &attributes)
            .unwrap_or_else(|| tar_header::gnu(path.as_bytes(), b"", b'0', size, &attributes)))
    }
}

fn write_metadata(target: &mut dyn Write, description: &Description<'_>) -> io::Result<()> {
    for (key, value) in description.metadata {
        let name = format!("metadata/{key}");
        let attributes = Attributes::plain(description.mtime);
        let header = tar_header::ustar(&name, value.len() as u64, &attributes)
            .unwrap_or_else(|| tar_header::gnu(name.as_bytes(), b"", b'0', value.len() as u64, &attributes));
        target.write_all(&header)?;
        target.write_all(value)?;
        pad(target, value.len() as u64)?;
    }
    target.write_all(&[0; 2 * BLOCK as usize])
}

fn check_names(description: &Description<'_>) -> io::Result<()> {
    let unfit =
        |name: &str| name.is_empty() || name.contains('/') || name.chars().any(char::is_control) || name == "." || name == "..";
    let names = description.metadata.keys().map(String::as_str).chain([description.basename]);
    match names.into_iter().find(|name| unfit(name)) {
        Some(name) => {
            let why = format!("“{}” cannot be the name of a member", name.escape_debug());
            Err(io::Error::new(io::ErrorKind::InvalidInput, why))
        }
        None => Ok(()),
    }
}

struct Hashing<'a, W> {
    out: &'a mut W,
    hasher: Hasher,
}

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(bytes.get(..count).unwrap_or_default());
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
