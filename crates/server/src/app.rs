//! What every part of a running server shares.

use std::net::SocketAddr;
use std::sync::Arc;

use queue::Known;
use tokio::sync::watch;

use crate::attestation::Attestor;
use crate::bus::Bus;
use crate::catalogue::Catalogue;
use crate::config::Config;
use crate::db::Db;
use crate::flag_words::FlagWords;
use crate::held_up::KeptHeldUp;
use crate::http::Counters;
use crate::kept::Kept;
use crate::limits::Usage;
use crate::notices::{Mailer, SiteKey};
use crate::oidc::Provider;
use crate::outbound::Reach;
use crate::outlook::Outlooks;
use crate::preview::{AllSums, PresetPlans};
use crate::sizes::Ratios;
use crate::source_builds::SourceBuilds;
use crate::storage::Storage;
use crate::workers::Workers;

/// The state of a running server.
pub struct App {
    pub config: Config,
    pub db: Db,
    pub storage: Storage,
    pub catalogue: Catalogue,
    pub attestor: Arc<Attestor>,
    pub bus: Bus,
    pub mailer: Option<Mailer>,
    /// The OpenID Connect provider that users log in by, where the configuration names one.
    pub provider: Provider,
    /// The site's own secret, from which others follow.
    pub secret: String,
    /// Signs web pushes; it follows from the secret.
    pub push_key: SiteKey,
    /// Base of the links we give out, without a slash at the end.
    pub public_url: String,
    pub worker_token: String,
    pub operator_token: String,
    pub workers: Workers,
    pub outlooks: Outlooks,
    pub held_up: KeptHeldUp,
    pub preset_plans: PresetPlans,
    /// What presets come to, of a change of the queue.
    pub preset_sums: Kept<AllSums, u64>,
    pub ratios: Kept<Ratios>,
    /// What each worker at hand has of packages.
    pub known: Kept<Vec<Known>>,
    pub flag_words: FlagWords,
    /// What is built from source, and for which binhosts.
    pub source_builds: SourceBuilds,
    pub usage: Usage,
    pub counters: Counters,
    /// Turns true when the server is to end.
    pub stopping: watch::Receiver<bool>,
}

impl App {
    /// The addresses that notices to where users want may go to.
    pub fn reach(&self) -> Reach {
        if self.config.webhooks_inside { Reach::Any } else { Reach::Public }
    }

    /// The address of an order's page.
    pub fn order_url(&self, order: &str) -> String {
        format!("{}/orders/{order}", self.public_url)
    }
}

/// The address to show when the operator named none.
pub fn default_public_url(addr: SocketAddr) -> String {
    let ip = if addr.ip().is_unspecified() { "127.0.0.1".to_owned() } else { addr.ip().to_string() };
    let ip = if ip.contains(':') { format!("[{ip}]") } else { ip };
    format!("http://{ip}:{}", addr.port())
}

/// Where the database is.
pub fn database_address(config: &Config) -> String {
    let in_data_dir = || config.data_dir.join("hatchery.sqlite").to_string_lossy().into_owned();
    config.database.clone().unwrap_or_else(in_data_dir)
}
