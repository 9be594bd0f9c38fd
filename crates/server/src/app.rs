//! What every part of a running server shares.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::bus::Bus;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::db::Db;
use crate::files::Files;
use crate::mail::Mailer;

/// A worker that did not ask or report for so long is not counted on.
const WORKER_ABSENT: Duration = Duration::from_secs(120);

/// The state of a running server.
pub struct App {
    pub config: Config,
    pub db: Db,
    pub files: Files,
    pub catalogue: Catalogue,
    pub bus: Bus,
    pub mailer: Option<Mailer>,
    /// Base of the links we give out, without a slash at the end.
    pub public_url: String,
    pub worker_token: String,
    pub operator_token: String,
    pub workers: Workers,
    /// Turns true when the server is to end.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The address of an order's page.
    pub fn order_url(&self, order: &str) -> String {
        format!("{}/orders/{order}", self.public_url)
    }

    /// Seconds until the build is ready, where that can be said.
    pub async fn seconds_until_ready(&self, build: &str) -> crate::db::Result<Option<u64>> {
        let unfinished = self.db.unfinished().await?;
        let samples = self.db.samples().await?;
        Ok(crate::estimate::seconds_until_ready(build, &unfinished, &samples, self.workers.present(), crate::clock::now()))
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
