//! What can be wrong with a package file, in words for people.

use std::io;

use crate::gpkg::SignatureProblem;

/// A package file that was refused: which, why, and what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("the package file {file} {problem}")]
pub struct PackageError {
    /// The file's name as the caller gave it.
    pub file: String,
    pub problem: Problem,
}

impl PackageError {
    /// What a person can do about it, a sentence or two.
    pub fn advice(&self) -> &'static str {
        self.problem.advice()
    }
}

/// Why a package file was refused. Each is the end of a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("is neither a GPKG (GLEP 78) nor an XPAK package")]
    NotAPackage,
    #[error("is truncated: it ends within {what}")]
    Truncated { what: String },
    #[error("is damaged: the tar header at byte {offset} {why}")]
    Header { offset: u64, why: &'static str },
    #[error("carries {bytes} bytes that do not belong to it after its end")]
    Trailing { bytes: u64 },
    #[error("is not laid out as GLEP 78 says: {why}")]
    Layout { why: String },
    #[error("lacks its member {name}")]
    Missing { name: String },
    #[error("contains {name} twice")]
    Doubled { name: String },
    #[error("has a malformed Manifest: {why}")]
    Manifest { why: String },
    #[error("contains {name}, which its Manifest does not list")]
    Unlisted { name: String },
    #[error("was altered or damaged: its member {name} is {found} bytes long, its Manifest says {listed}")]
    WrongSize { name: String, found: u64, listed: u64 },
    #[error("was altered or damaged: the {hash} hash of its member {name} is not the one its Manifest lists")]
    WrongHash { name: String, hash: &'static str },
    #[error("is not signed, and its binhost is one whose packages must be")]
    Unsigned,
    #[error("is signed only in part: {name} has no signature")]
    Unsealed { name: String },
    #[error("has a signature on {name} that does not hold: {problem}")]
    Signature { name: String, problem: SignatureProblem },
    #[error("is compressed with {compression}, which cannot be read here")]
    Compression { compression: String },
    #[error("has metadata that cannot be decoded: {why}")]
    Metadata { why: String },
    #[error("is out of bounds: {what} is larger than {limit} bytes")]
    TooLarge { what: String, limit: u64 },
    #[error("has a malformed XPAK: {why}")]
    Xpak { why: &'static str },
    #[error("could not be read: {0}")]
    Io(#[from] io::Error),
}

impl Problem {
    pub(crate) fn truncated(what: impl Into<String>) -> Problem {
        Problem::Truncated { what: what.into() }
    }

    pub(crate) fn at(self, file: &str) -> PackageError {
        PackageError { file: file.into(), problem: self }
    }

    fn advice(&self) -> &'static str {
        match self {
            Problem::NotAPackage => {
                "Check that the binhost's address leads to packages and not to a page of a proxy or a login; then try again."
            }
            Problem::Truncated { .. } => {
                "Try again: the transfer may have been cut off. If it stays so, the binhost's own copy is incomplete and its operator \
                 must upload it again; another mirror may have it whole."
            }
            Problem::WrongSize { .. } | Problem::WrongHash { .. } | Problem::Header { .. } | Problem::Trailing { .. } => {
                "Do not use this file. Try again, or use another mirror; if the same file fails there too, tell the binhost's operator."
            }
            Problem::Layout { .. }
            | Problem::Missing { .. }
            | Problem::Doubled { .. }
            | Problem::Manifest { .. }
            | Problem::Unlisted { .. }
            | Problem::Metadata { .. }
            | Problem::Xpak { .. } => {
                "The file was made wrongly or tampered with. Use another mirror or another build of the package, and tell the binhost's \
                 operator."
            }
            Problem::Unsigned => {
                "Ask the binhost's operator to sign the packages (FEATURES=binpkg-signing). Only if you trust the binhost and the way \
                 to it, allow unsigned packages for it in the channel's settings."
            }
            Problem::Unsealed { .. } => {
                "The file was made wrongly or tampered with: use another mirror, and tell the binhost's operator."
            }
            Problem::Signature { problem, .. } => problem.advice(),
            Problem::Compression { .. } => {
                "Have the package built with another BINPKG_COMPRESS (zstd, xz, bzip2, gzip, lz4 and lzip are read), or choose another \
                 build of it."
            }
            Problem::TooLarge { .. } => {
                "No real package comes near this limit: use another mirror, and tell the binhost's operator."
            }
            Problem::Io(_) => "Check the disk and the permissions of the cache folder, then try again.",
        }
    }
}
