//! Gentoo's formats, pure: versions, atoms, dependency strings, USE, licences, the `Packages` index, profiles and the VDB, and the
//! containers of binary packages. Nothing here panics on any input, and nothing does I/O beyond reading what it is given.

pub mod atom;
mod cpv;
pub mod dep;
mod eapi;
mod error;
pub mod index;
pub mod names;
pub mod useflags;
pub mod version;

pub use atom::Atom;
pub use cpv::Cpv;
pub use dep::Dep;
pub use eapi::Eapi;
pub use error::ParseError;
