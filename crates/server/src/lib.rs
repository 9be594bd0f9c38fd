//! The site: orders, the queue, the worker's lease API, the REST API and the pages.
//!
//! The server plans and keeps; it never runs foreign code and never composes an image. All its state is in one database and one
//! folder of artifacts, and a crash at any moment loses no accepted order and no finished image.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

// First, as its macros are used by the others.
#[macro_use]
mod words;

mod accounts;
mod app;
mod attestation;
mod backup;
mod bus;
mod carry;
mod catalogue;
mod channels;
mod client;
mod clock;
mod config;
mod db;
mod demands;
mod flag_words;
mod fresh;
mod held_up;
mod http;
mod kept;
mod lacking;
mod limits;
mod mirrors;
mod notices;
mod oidc;
mod orders;
mod outbound;
mod outlook;
mod pictures;
mod planner;
mod presets;
mod preview;
mod reconcile;
mod remedy;
mod reports;
mod secret;
mod server;
mod settings;
mod sizes;
mod source_builds;
mod status;
mod storage;
mod tokens;
mod turns;
mod warm;
mod work;
mod workers;

pub use accounts::{AccountsConfig, OidcConfig, OperatorClaim};
pub use attestation::{Attestor, Made};
pub use backup::{BackupError, backup, restore};
pub use carry::{CarryError, Exported, Imported, export, import};
pub use catalogue::{Catalogue, Planned};
pub use config::{BinhostConfig, ChannelConfig, Config, ConfigError, MailConfig, MailSecurity, PrefixConfig, S3Config};
pub use db::{MigrateError, NEWEST as NEWEST_TABLES};
pub use http::{Book, Chapter};
pub use limits::Limits;
pub use orders::Refusal;
pub use planner::PlanRefused;
pub use presets::{Preset, Presets};
pub use server::{Server, ServerError, migrate};
pub use source_builds::SourceBuildsConfig;
