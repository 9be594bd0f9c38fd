//! GPKG, Gentoo's binary package container (GLEP 78): an uncompressed tar of `PREFIX/name` members, where the `Manifest` lists size
//! and hashes of every other one and, when signed, binds them to a key.

mod manifest;
mod read;
mod signature;
mod write;

pub(crate) use read::{Contents, read};
pub use signature::{SignatureProblem, Signatures, Signer, Verifier};
pub use write::{Description, repack, write};

/// The empty member that says which version of the format this is.
const VERSION_MEMBER: &str = "gpkg-1";
const MANIFEST: &str = "Manifest";
