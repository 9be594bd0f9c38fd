//! The site: orders, the queue, the worker's lease API, the REST API and the pages.
//!
//! The server plans and keeps; it never runs foreign code and never composes an image. All its state is in one database and one
//! folder of artifacts, and a crash at any moment loses no accepted order and no finished image.

mod app;
mod attestation;
mod bus;
mod catalogue;
mod channels;
mod client;
mod clock;
mod config;
mod db;
mod files;
mod http;
mod mail;
mod orders;
mod outlook;
mod planner;
mod presets;
mod reconcile;
mod secret;
mod server;
mod status;
mod tokens;

pub use attestation::{Attestor, Made};
pub use catalogue::{Catalogue, Planned};
pub use config::{BinhostConfig, ChannelConfig, Config, ConfigError, MailConfig, MailSecurity, PrefixConfig};
pub use orders::Refusal;
pub use planner::PlanRefused;
pub use presets::{Preset, Presets};
pub use server::{Server, ServerError};
