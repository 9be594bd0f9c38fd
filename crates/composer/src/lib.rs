//! Composes a root from a plan and its binary packages, puts the personal settings in, and prepares what it takes to boot.

pub mod boot;
mod configure;
mod error;
pub mod sandbox;

pub use configure::configure;
pub use error::ComposeError;
