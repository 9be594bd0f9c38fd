//! Composes a root from a plan and its binary packages, puts the personal settings in, and prepares what it takes to boot.

pub mod boot;
mod error;
pub mod sandbox;

pub use error::ComposeError;
