//! Which build is served next, and when each will be ready. Pure: a queue goes in, turns and times come out, and the same input gives
//! the same answer. The server and the simulation call the same functions, so that what was tried is what runs.
//!
//! [`policy`] orders the queue. [`cost`] learns from finished builds how long a build takes. [`forecast`] plays the queue many times as
//! [`policy`] would serve it. [`calibration`] widens or narrows the ranges until they hold as often as they claim. [`affinity`] tells which of
//! several workers has a build's packages already.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

pub mod affinity;
pub mod calibration;
pub mod cost;
pub mod forecast;
mod least_squares;
pub mod policy;
mod random;
pub mod simulation;

pub use affinity::{Known, Sketch};
pub use calibration::{Calibration, Foreseen, Range};
pub use cost::{CostModel, Part, Sample, Work};
pub use random::Random;
