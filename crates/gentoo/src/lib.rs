//! Gentoo's formats, pure: versions, atoms, dependency strings, USE, licences, the `Packages` index, profiles and the VDB, and the
//! containers of binary packages. Nothing here panics on any input, and nothing does I/O beyond reading what it is given.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

pub mod atom;
pub mod binpkg;
pub mod compression;
mod cpv;
pub mod dep;
mod eapi;
pub mod elf;
mod error;
pub mod gpkg;
mod incremental;
pub mod index;
pub mod keywords;
pub mod license;
mod license_names;
pub mod names;
pub mod profile;
pub mod required_use;
mod src_uri;
pub mod stage3;
mod text;
pub mod use_desc;
pub mod useflags;
pub mod vdb;
pub mod version;
pub mod xpak;

pub use atom::{Atom, PackageRef};
pub use cpv::Cpv;
pub use dep::Dep;
pub use eapi::Eapi;
pub use error::ParseError;
pub use src_uri::src_uris;
pub use text::{Text, Words};
