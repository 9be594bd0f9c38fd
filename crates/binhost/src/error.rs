//! What can go wrong with a binhost, in words for the person whose order it concerns.

use std::io;
use std::path::{Path, PathBuf};

use gentoo::binpkg::PackageError;
use gentoo::gpkg::SignatureProblem;
use gentoo::index::IndexError;

use crate::openpgp::KeyringError;

/// Why an index or a package could not be had. The text says what happened; [`BinhostError::advice`] says what to do.
#[derive(Debug, thiserror::Error)]
pub enum BinhostError {
    #[error("the address “{uri}” of the binhost {binhost} cannot be used: {why}")]
    Address { binhost: String, uri: String, why: &'static str },
    #[error("the binhost {binhost} cannot be reached: {url}: {why}")]
    Unreachable { binhost: String, url: String, why: String },
    #[error("the binhost {binhost} refused {url} with HTTP status {status}")]
    Refused { binhost: String, url: String, status: u16 },
    #[error("the binhost {binhost} sends to {location}, which is not followed from {url}")]
    Redirect { binhost: String, url: String, location: String },
    #[error("the binhost {binhost} has no Packages index at {uri}")]
    NoIndex { binhost: String, uri: String },
    #[error("the index of the binhost {binhost} cannot be used: {source}")]
    Index { binhost: String, source: IndexError },
    #[error("the index of the binhost {binhost} cannot be read: {why}")]
    BrokenIndex { binhost: String, why: String },
    #[error("the index of the binhost {binhost} lists {package}, but its file {url} is no longer there")]
    Gone { binhost: String, package: String, url: String },
    #[error("the index of the binhost {binhost} gives {package} the path “{}”, which is refused: {why}", path.escape_debug())]
    Path { binhost: String, package: String, path: String, why: &'static str },
    #[error("the file {url} of {package} is truncated: the binhost {binhost} has {got} of the {expected} bytes its index lists")]
    Truncated { binhost: String, package: String, url: String, got: u64, expected: u64 },
    #[error("the file {url} of {package} is longer than the {expected} bytes that the index of the binhost {binhost} lists")]
    TooLong { binhost: String, package: String, url: String, expected: u64 },
    #[error("the file {url} of {package} is not the one that the index of the binhost {binhost} lists: its {hash} hash differs")]
    Altered { binhost: String, package: String, url: String, hash: &'static str },
    #[error(
        "the file {url} of {package} is not the one the plan was made with: its SHA-256 hash is {found}, the plan says {planned}"
    )]
    Replaced { package: String, url: String, planned: String, found: String },
    #[error("{package} is refused: {source}")]
    Package { package: String, source: PackageError },
    #[error(
        "{package} is refused: it is an XPAK package, which carries no signature, and the binhost {binhost} is not one whose packages may be unsigned"
    )]
    UnsignedContainer { binhost: String, package: String },
    #[error(
        "{package} is refused: the plan says that it is a {planned} package, but the binhost {binhost} delivers a {found} package"
    )]
    Container { binhost: String, package: String, planned: &'static str, found: &'static str },
    #[error("nothing can be taken from the binhost {binhost}: it has no keyring to check signatures with")]
    NoKeyring { binhost: String },
    #[error("nothing can be taken from the binhost {binhost}: {source}")]
    Keyring { binhost: String, source: KeyringError },
    #[error(
        "{package} is refused: the binhost {binhost} delivers another package in its place ({field} is {found}, the index says {listed})"
    )]
    Substituted { binhost: String, package: String, field: &'static str, listed: String, found: String },
    #[error("{name} is refused: {why}")]
    Stage3 { name: String, why: String },
    #[error("{name} is refused: {source}")]
    Stage3Signature { name: String, source: SignatureProblem },
    #[error("the disk is full: no room in {} for {what}", folder.display())]
    DiskFull { folder: PathBuf, what: String },
    #[error("the cache {} cannot be used: {source}", folder.display())]
    Cache { folder: PathBuf, source: io::Error },
}

impl BinhostError {
    /// The package (CPV) at fault, where there is one.
    pub fn package(&self) -> Option<&str> {
        match self {
            BinhostError::Gone { package, .. }
            | BinhostError::Path { package, .. }
            | BinhostError::Truncated { package, .. }
            | BinhostError::TooLong { package, .. }
            | BinhostError::Altered { package, .. }
            | BinhostError::Replaced { package, .. }
            | BinhostError::Package { package, .. }
            | BinhostError::UnsignedContainer { package, .. }
            | BinhostError::Container { package, .. }
            | BinhostError::Substituted { package, .. } => Some(package),
            BinhostError::Address { .. }
            | BinhostError::Unreachable { .. }
            | BinhostError::Refused { .. }
            | BinhostError::Redirect { .. }
            | BinhostError::NoIndex { .. }
            | BinhostError::Index { .. }
            | BinhostError::BrokenIndex { .. }
            | BinhostError::NoKeyring { .. }
            | BinhostError::Keyring { .. }
            | BinhostError::Stage3 { .. }
            | BinhostError::Stage3Signature { .. }
            | BinhostError::DiskFull { .. }
            | BinhostError::Cache { .. } => None,
        }
    }

    /// What a person can do about it, a sentence or two.
    pub fn advice(&self) -> &'static str {
        match self {
            BinhostError::Address { .. } => {
                "Give an address like https://example.org/binpackages or file:///srv/binpkgs, without user name, query or spaces."
            }
            BinhostError::Unreachable { .. } => {
                "Check the network and the address, and try again later; another mirror of the same binhost serves as well."
            }
            BinhostError::Refused { .. } => {
                "If the status is 5xx or 429, try again later. If it is 401 or 403, the address needs a login or is wrong."
            }
            BinhostError::Redirect { .. } => "Put the final address into the channel's settings if you trust it.",
            BinhostError::NoIndex { .. } => "Check that the address is the folder that holds the file Packages.",
            BinhostError::Index { .. } | BinhostError::BrokenIndex { .. } => {
                "Try again in a few minutes: the index may have been read while it was being replaced. If it stays so, tell the \
                 binhost's operator."
            }
            BinhostError::Gone { .. } => {
                "The binhost was updated after the plan was made, or its upload is incomplete: order again to get a new plan, or use \
                 another mirror."
            }
            BinhostError::Path { .. } => "The index is wrong or hostile: use another binhost, and tell this one's operator.",
            BinhostError::Truncated { .. } => {
                "The binhost's own copy is incomplete, perhaps still being uploaded: try again later, or use another mirror."
            }
            BinhostError::TooLong { .. } | BinhostError::Altered { .. } => {
                "The file was replaced or altered after the index was written. Order again to get a new plan; if it stays so, do not use \
                 this binhost, and tell its operator."
            }
            BinhostError::Replaced { .. } => {
                "A lock file is rebuilt only from the very same files. Find a mirror that still has this build, or make a new plan."
            }
            BinhostError::Package { source, .. } => source.advice(),
            BinhostError::UnsignedContainer { .. } => {
                "Use a binhost of signed GPKG packages (BINPKG_FORMAT=gpkg). Only if you trust the binhost and the way to it, allow \
                 unsigned packages for it in the channel's settings."
            }
            BinhostError::Container { .. } => {
                "Falling back to another container is refused because it could drop the signature. Order again to get a new plan."
            }
            BinhostError::NoKeyring { .. } => {
                "Put the certificates of those who sign its packages into the channel's settings. Only if you trust the binhost and the \
                 way to it, allow unsigned packages for it instead."
            }
            BinhostError::Keyring { .. } => "Correct the keyring in the channel's settings.",
            BinhostError::Substituted { .. } => {
                "The index and the package do not belong together: an old package may have been put in place of a newer one. Order again \
                 to get a new plan; if it stays so, do not use this binhost, and tell its operator."
            }
            BinhostError::Stage3 { .. } => {
                "The mirror may be in the middle of an update: try again in an hour, or use another mirror. If it stays so, tell its operator."
            }
            BinhostError::Stage3Signature { source, .. } => source.advice(),
            BinhostError::DiskFull { .. } => "Free some space there, or point the cache to a larger disk, then try again.",
            BinhostError::Cache { .. } => "Check that the folder exists and that this user may write to it, then try again.",
        }
    }

    /// The same for those who have no business with this machine's folders: none of their paths, while addresses on the web stay.
    pub fn without_paths(&self) -> String {
        let is_here = |address: &str| !address.starts_with("http://") && !address.starts_with("https://");
        match self {
            BinhostError::Address { binhost, uri, why } if is_here(uri) => {
                format!("the address of the binhost {binhost} cannot be used: {why}")
            }
            BinhostError::Unreachable { binhost, url, .. } | BinhostError::Redirect { binhost, url, .. } if is_here(url) => {
                format!("the binhost {binhost} cannot be reached")
            }
            BinhostError::Refused { binhost, url, .. } if is_here(url) => format!("the binhost {binhost} cannot be reached"),
            BinhostError::NoIndex { binhost, uri } if is_here(uri) => format!("the binhost {binhost} has no Packages index"),
            BinhostError::Gone { binhost, package, url }
            | BinhostError::Truncated { binhost, package, url, .. }
            | BinhostError::TooLong { binhost, package, url, .. }
            | BinhostError::Altered { binhost, package, url, .. }
                if is_here(url) =>
            {
                format!("the file of {package} cannot be had from the binhost {binhost}")
            }
            BinhostError::DiskFull { what, .. } => format!("the disk is full: no room for {what}"),
            BinhostError::Cache { source, .. } => format!("the cache cannot be used: {source}"),
            other => other.to_string(),
        }
    }

    /// An error of the cache's disk.
    pub(crate) fn disk(folder: &Path, what: &str, source: io::Error) -> BinhostError {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                BinhostError::DiskFull { folder: folder.into(), what: what.into() }
            }
            _ => BinhostError::Cache { folder: folder.into(), source },
        }
    }
}
