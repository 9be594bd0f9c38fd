//! The sample channel: a small binary package host in the shape of Gentoo's, made on the spot from Debian's packages, so that
//! Hatchery can be tried and tested where Gentoo's mirrors are out of reach. The recipes are data, see `recipes/`.
//!
//! What it makes says everywhere that it is a sample: in the index's header, in each package's description, and in each image by
//! `/usr/share/hatchery-sample/README`.

mod account;
mod apt;
mod arch;
mod channel;
mod content;
mod debs;
mod dpkg;
mod environment;
mod error;
mod facts;
mod index;
mod package;
mod places;
mod plan;
mod recipe;
mod repository;
mod version;

pub use arch::{Arch, Init};
pub use channel::{Options, SampleChannel, default_dir, make};
pub use error::SampleError;
pub use package::REPOSITORY;
