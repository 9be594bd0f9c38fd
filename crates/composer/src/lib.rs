//! Composes a root from a plan and its binary packages, puts the personal settings in, and prepares what it takes to boot.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

pub mod boot;
mod configure;
mod error;
mod merge;
mod observer;
pub mod prefix;
pub mod sandbox;
mod stage3;
mod target_tool;

pub use configure::{ConfigureRequest, TrustedKeys, configure, configure_portage};
pub use error::{ComposeError, Setting};
pub use merge::{FetchError, MergeRequest, Root, groups, merge};
pub use observer::{Observer, Unobserved};
pub use stage3::read_stage3;
