//! Binary packages, whichever their container: opened once, verified, and from then on read from the very bytes that were verified.

mod error;
mod image_writer;
mod section;
pub(crate) mod tar_header;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};

pub use error::{PackageError, Problem};
pub use image_writer::ImageWriter;
pub(crate) use image_writer::pad;
pub(crate) use section::{ReadAt, Section};
pub use tar_header::Attributes;

use crate::compression::Compression;
use crate::gpkg::{self, Signatures};
use crate::xpak;

/// The two containers of Gentoo's binary packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// GLEP 78.
    Gpkg,
    /// The older tar archive with an appended XPAK; it carries no signature.
    Xpak,
}

/// A verified binary package. It holds the open file: whoever replaces or removes the name on disk changes nothing here.
#[derive(Debug)]
pub struct BinaryPackage {
    /// The files of the future VDB entry by name, as they are in the package: `CATEGORY`, `PF`, `USE`, `environment.bz2`, ….
    pub metadata: BTreeMap<String, Vec<u8>>,
    file: String,
    container: Container,
    prefix: Option<String>,
    image: Section,
    compression: Compression,
    signed: bool,
}

impl BinaryPackage {
    /// Verifies a package file and reads its metadata. `name` stands for the file in messages.
    ///
    /// The file must be private to the caller in the sense that nobody writes into it any more: a finished file of a cache that only
    /// ever renames complete files into place, or an unlinked copy.
    ///
    /// # Errors
    /// Anything in which the file is not exactly what GLEP 78 (or xpak.5) describes, and signatures that are not what `signatures`
    /// asks for. An XPAK passes only where unsigned packages do.
    pub fn open(file: File, name: &str, signatures: Signatures<'_>) -> Result<BinaryPackage, PackageError> {
        BinaryPackage::read(file, name, signatures).map_err(|problem| problem.at(name))
    }

    fn read(file: File, name: &str, signatures: Signatures<'_>) -> Result<BinaryPackage, Problem> {
        let file = Section::whole(file)?;
        if xpak::is_xpak(&file)? {
            if matches!(signatures, Signatures::Required(_)) {
                return Err(Problem::Unsigned);
            }
            let xpak::Contents { metadata, image, compression } = xpak::read(&file)?;
            let (file, container) = (name.to_owned(), Container::Xpak);
            return Ok(BinaryPackage { metadata, file, container, prefix: None, image, compression, signed: false });
        }
        if !looks_like_tar(&file)? {
            return Err(Problem::NotAPackage);
        }
        let gpkg::Contents { prefix, metadata, image, compression, verified } = gpkg::read(&file, signatures)?;
        let (file, container) = (name.to_owned(), Container::Gpkg);
        Ok(BinaryPackage { metadata, file, container, prefix: Some(prefix), image, compression, signed: verified })
    }

    pub fn container(&self) -> Container {
        self.container
    }

    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Whether good signatures by trusted keys are on it; false also when they were not looked at.
    pub fn is_signed(&self) -> bool {
        self.signed
    }

    /// The folder within a GPKG, `PF` or `PF-BUILD_ID`; it is not covered by any signature.
    pub fn prefix(&self) -> Option<&str> {
        self.prefix.as_deref()
    }

    /// A metadata file as text without surrounding white space; `None` when it is absent or not UTF-8.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).and_then(|value| std::str::from_utf8(value).ok()).map(str::trim)
    }

    /// `CATEGORY/PF` as the package itself says.
    pub fn cpv(&self) -> Option<String> {
        Some(format!("{}/{}", self.text("CATEGORY")?, self.text("PF")?))
    }

    /// Seconds since the epoch at which it was built, as the package itself says.
    pub fn build_time(&self) -> Option<u64> {
        self.text("BUILD_TIME")?.parse().ok()
    }

    pub fn build_id(&self) -> Option<u32> {
        self.text("BUILD_ID")?.parse().ok()
    }

    /// Bytes of the image as it is stored, compressed.
    pub fn image_size(&self) -> u64 {
        self.image.len()
    }

    /// The image as it is stored, compressed.
    pub(crate) fn stored_image(&self) -> Section {
        self.image.clone()
    }

    /// The decompressed tar stream of the image, from its beginning at each call. A small file can inflate to any size: take no more
    /// of it than there is room for.
    ///
    /// # Errors
    /// When the decoder cannot be set up. Reading fails with an error that names the file when the stream is damaged.
    pub fn image(&self) -> Result<Box<dyn Read + Send>, PackageError> {
        let reader = self.compression.reader(self.image.clone()).map_err(|e| Problem::from(e).at(&self.file))?;
        Ok(Box::new(Named { reader, file: self.file.clone() }))
    }

    /// The path that a tar entry's name stands for, relative to the root: `usr/bin/x` for `image/usr/bin/x` and for `./usr/bin/x`,
    /// `None` for the root itself.
    ///
    /// # Errors
    /// For names that are absolute, contain `..` or NUL, or lie outside the image.
    pub fn image_path(raw: &[u8]) -> Result<Option<Vec<u8>>, PathError> {
        let refuse = |why| PathError { path: String::from_utf8_lossy(raw).escape_debug().to_string(), why };
        if raw.starts_with(b"/") {
            return Err(refuse("is absolute"));
        }
        if raw.contains(&0) {
            return Err(refuse("contains a NUL byte"));
        }
        let mut parts = raw.split(|b| *b == b'/');
        let root = parts.next().unwrap_or_default();
        if root != b"image" && root != b"." {
            return Err(refuse("lies outside the image"));
        }
        let parts: Vec<&[u8]> = parts.filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&&b".."[..]) {
            return Err(refuse("contains “..”"));
        }
        Ok(if parts.is_empty() { None } else { Some(parts.join(&b'/')) })
    }
}

/// A name in an image that no honest package has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path “{path}” {why}")]
pub struct PathError {
    pub path: String,
    why: &'static str,
}

/// Any tar header, so that a damaged GPKG is called damaged and a web page is called no package.
fn looks_like_tar(file: &Section) -> io::Result<bool> {
    let mut magic = [0; 5];
    match file.read_exact_at(&mut magic, 257) {
        Ok(()) => Ok(&magic == b"ustar"),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// Puts the file's name into the errors of a stream.
struct Named {
    reader: Box<dyn Read + Send>,
    file: String,
}

impl Read for Named {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf).map_err(|e| match e.kind() {
            io::ErrorKind::Interrupted => e,
            kind => io::Error::new(kind, format!("the image in the package file {} cannot be decompressed: {e}", self.file)),
        })
    }
}
