//! What every part of a running server shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::attestation::Attestor;
use crate::bus::Bus;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::db::Db;
use crate::files::Files;
use crate::mail::Mailer;
use crate::outlook::Outlooks;

/// A worker that did not ask or report for so long is not counted on.
const WORKER_ABSENT: Duration = Duration::from_secs(120);

/// A worker that asked so lately is idle and will ask again at once.
const ASKING: Duration = Duration::from_secs(3);

/// The state of a running server.
pub struct App {
    pub config: Config,
    pub db: Db,
    pub files: Files,
    pub catalogue: Catalogue,
    pub attestor: Arc<Attestor>,
    pub bus: Bus,
    pub mailer: Option<Mailer>,
    /// Base of the links we give out, without a slash at the end.
    pub public_url: String,
    pub worker_token: String,
    pub operator_token: String,
    pub workers: Workers,
    pub outlooks: Outlooks,
    /// Turns true when the server is to end.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The address of an order's page.
    pub fn order_url(&self, order: &str) -> String {
        format!("{}/orders/{order}", self.public_url)
    }
}

/// The workers heard of lately, by name.
#[derive(Default)]
pub struct Workers(Mutex<HashMap<String, Instant>>);

impl Workers {
    /// A worker showed itself.
    pub fn saw(&self, name: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.retain(|_, when| when.elapsed() < WORKER_ABSENT);
        seen.insert(name.to_owned(), Instant::now());
    }

    /// Those that were there lately. Who builds does not ask for work, so of some it is not known whether they are idle.
    pub fn known_idle(&self) -> Vec<String> {
        self.seen_within(WORKER_ABSENT)
    }

    /// Those that ask for work at this very moment, but for one.
    pub fn asking_now(&self, but: &str) -> Vec<String> {
        self.seen_within(ASKING).into_iter().filter(|name| name != but).collect()
    }

    fn seen_within(&self, time: Duration) -> Vec<String> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|(_, when)| when.elapsed() < time).map(|(name, _)| name.clone()).collect()
    }

    /// A worker took a build, and is idle no more.
    pub fn took_work(&self, name: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(past) = seen.get(name).and_then(|when| when.checked_sub(ASKING)) {
            seen.insert(name.to_owned(), past);
        }
    }

    /// How many are there.
    pub fn present(&self) -> usize {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.values().filter(|when| when.elapsed() < WORKER_ABSENT).count()
    }
}

/// The address to show when the operator named none.
pub fn default_public_url(addr: SocketAddr) -> String {
    let ip = if addr.ip().is_unspecified() { "127.0.0.1".to_owned() } else { addr.ip().to_string() };
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    format!("http://{ip}:{}", addr.port())
}

/// Where the database is.
pub fn database_path(config: &Config) -> PathBuf {
    config.database.clone().unwrap_or_else(|| config.data_dir.join("hatchery.sqlite"))
}
