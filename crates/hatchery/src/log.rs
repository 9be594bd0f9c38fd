//! What is logged, and how. Logs name builds, and orders by a number that is no secret; nothing that opens an order, a mailbox or the site is
//! in them.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// What is logged where RUST_LOG says nothing.
const USUAL: &str = "warn,hatchery=info,server=info,worker=info";

/// How a log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl LogFormat {
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }

    /// Logs to standard error from now on.
    pub fn start(self) {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| USUAL.into());
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let log = log.with_ansi(std::io::stderr().is_terminal());
        match self {
            LogFormat::Text => log.init(),
            LogFormat::Json => log.json().flatten_event(true).init(),
        }
    }

    /// Says why the command ends.
    pub fn fatal(self, reason: &str) {
        match self {
            LogFormat::Text => eprintln!("hatchery: {reason}"),
            LogFormat::Json => tracing::error!(reason, "the command failed"),
        }
    }
}
