//! Starting, running and stopping a server.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::app::{self, App};
use crate::attestation::Attestor;
use crate::bus::Bus;
use crate::catalogue::Catalogue;
use crate::client::Peer;
use crate::config::{Config, ConfigError};
use crate::db::{self, Claim, Db, MigrateError};
use crate::flag_words::FlagWords;
use crate::held_up::KeptHeldUp;
use crate::http::{Book, Counters};
use crate::kept::Kept;
use crate::limits::Usage;
use crate::notices::{Mailer, PushError, SiteKey};
use crate::oidc::Provider;
use crate::outlook::Outlooks;
use crate::preview::PresetPlans;
use crate::secret::{self, NoRandomness};
use crate::source_builds::SourceBuilds;
use crate::storage::{Storage, make_private_folder};
use crate::workers::Workers;
use crate::{http, reconcile, tokens};

/// A client that takes longer to send its request's head is hung up on.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Connections served at once; more wait to be accepted.
const MAX_CONNECTIONS: usize = 4_096;
/// How long open requests may go on when the server is asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(5);

/// Why a server did not start, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the address {addr} cannot be listened on: {source}. Is another server running there?")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error("{} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the database {address} cannot be opened: {source}")]
    Database { address: String, source: MigrateError },
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error("the key for web pushes cannot be made: {0}")]
    PushKey(#[from] PushError),
    #[error("the token {} ({field}) cannot be used: {reason}", path.display())]
    Token { field: &'static str, path: PathBuf, reason: String },
}

/// A server that listens, but does not answer before [`Server::run`].
pub struct Server {
    addr: SocketAddr,
    listener: TcpListener,
    app: Arc<App>,
    book: Book,
    stop: watch::Sender<bool>,
    /// Held as long as the server works on the database.
    claim: Claim,
}

impl Server {
    /// Opens everything the configuration names and starts to listen.
    pub async fn bind(config: Config) -> Result<Server, ServerError> {
        config.check()?;
        make_data_folder(&config.data_dir)?;
        let address = app::database_address(&config);
        if !db::is_shared_address(&address) {
            make_private_file(Path::new(&address))?;
        }
        let wrong = |source| ServerError::Database { address: without_password(&address), source };
        let claim = Claim::of(&address).await.map_err(wrong)?;
        let db = open(&config, &address).await.map_err(wrong)?;
        let (worker_token, operator_token) = (tokens::worker(&config)?, tokens::operator(&config)?);
        let storage = Storage::open(&config)?;
        let fresh = secret::token::<32>()?;
        let secret = db.site_secret(&fresh).await.map_err(|source| wrong(source.into()))?;
        let listener =
            TcpListener::bind(config.listen).await.map_err(|source| ServerError::Listen { addr: config.listen, source })?;
        let addr = listener.local_addr().map_err(|source| ServerError::Listen { addr: config.listen, source })?;
        let (stop, stopping) = watch::channel(false);
        let public_url = public_url(&config, addr);
        let app = App {
            attestor: Arc::new(Attestor::new(&config, Some(&public_url))?),
            bus: Bus::new(secret::token::<8>()?, db.is_shared()),
            db,
            storage,
            catalogue: Catalogue::new(&config)?,
            mailer: config.mail.as_ref().map(Mailer::new).transpose()?,
            provider: Provider::default(),
            push_key: SiteKey::of(&secret)?,
            secret,
            public_url,
            worker_token,
            operator_token,
            workers: Workers::default(),
            outlooks: Outlooks::default(),
            held_up: KeptHeldUp::default(),
            preset_plans: PresetPlans::default(),
            preset_sums: Kept::default(),
            ratios: Kept::default(),
            known: Kept::default(),
            flag_words: FlagWords::default(),
            source_builds: SourceBuilds::new(&config)?,
            usage: Usage::default(),
            counters: Counters::default(),
            stopping,
            config,
        };
        Ok(Server { addr, listener, app: Arc::new(app), book: Book::default(), stop, claim })
    }

    /// Serves this book under `/docs`; without it there is none.
    pub fn with_book(self, book: Book) -> Server {
        Server { book, ..self }
    }

    /// The address it really listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The token a worker must show.
    pub fn worker_token(&self) -> &str {
        &self.app.worker_token
    }

    /// A file that holds the token, readable by the server's own user only.
    pub fn worker_token_file(&self) -> PathBuf {
        tokens::worker_path(&self.app.config)
    }

    /// The address people reach the site by, without a slash at the end.
    pub fn public_url(&self) -> &str {
        &self.app.public_url
    }

    /// Serves until `shutdown` is done; then lets open requests end for a few seconds.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Server { addr, listener, app, book, stop, claim } = self;
        tracing::info!(%addr, "listening");
        let mut tasks = reconcile::start(&app);
        tasks.spawn(look_at_storage(app.clone()));
        let router = http::router(app.clone(), book);
        let graceful = GracefulShutdown::new();
        let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::pin!(shutdown);
        loop {
            let permit = tokio::select! {
                () = &mut shutdown => break,
                permit = connections.clone().acquire_owned() => permit.ok(),
            };
            let (stream, peer) = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // Out of file descriptors, or a client that was gone at once: neither ends the server.
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let routes = TowerToHyperService::new(router.clone());
            let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
                request.extensions_mut().insert(Peer(peer));
                routes.call(request)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(no_delay(stream)), service);
            let watched = graceful.watch(connection);
            tokio::spawn(async move {
                if let Err(error) = watched.await {
                    tracing::debug!(%error, "a connection broke off");
                }
                drop(permit);
            });
        }
        drop(listener);
        let _ = stop.send(true);
        if tokio::time::timeout(SHUTDOWN_GRACE, graceful.shutdown()).await.is_err() {
            tracing::info!("requests still open after {} seconds were broken off", SHUTDOWN_GRACE.as_secs());
        }
        while tasks.join_next().await.is_some() {}
        app.db.close().await;
        drop(claim);
        Ok(())
    }
}

/// Says at the start when no image can be kept. Beside all else: a storage that hangs must not keep the server from answering.
async fn look_at_storage(app: Arc<App>) {
    let mut stopping = app.stopping.clone();
    let checked = tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => return,
        checked = app.storage.check() => checked,
    };
    if let Err(error) = checked {
        tracing::error!(%error, "no image can be kept now: look at [storage] in the configuration, or at the disk");
    }
}

/// Brings the tables of a site to a version, forward or back.
///
/// # Errors
/// [`MigrateError::InUse`] where a server works on them.
pub async fn migrate(config: &Config, version: i64) -> Result<(), MigrateError> {
    let address = app::database_address(config);
    let db = Db::of_site(&address).await?;
    let _claim = Claim::of(&address).await?;
    db.migrate(version).await?;
    db.close().await;
    Ok(())
}

async fn open(config: &Config, address: &str) -> Result<Db, MigrateError> {
    let db = Db::open(address).await?;
    if !db.is_shared() {
        // Workers could not report while no server ran; they get a full time to show themselves.
        db.renew_all_leases(config.lease_ttl_seconds).await?;
        db.release_notices().await?;
    }
    Ok(db)
}

/// The address of a database as it may be shown.
fn without_password(address: &str) -> String {
    let (address, _) = db::split_password(address);
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://…@{host}"),
        _ => address,
    }
}

/// Small answers such as live events go out at once.
fn no_delay(stream: TcpStream) -> TcpStream {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    stream
}

fn public_url(config: &Config, addr: SocketAddr) -> String {
    match &config.public_url {
        Some(url) => url.trim_end_matches('/').to_owned(),
        None => app::default_public_url(addr),
    }
}

/// The same of the file, in whatever folder it is: SQLite gives the files beside it the same mode.
fn make_private_file(path: &Path) -> Result<(), ServerError> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        make_data_folder(folder)?;
    }
    let made = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    made.map(drop).map_err(|source| ServerError::Folder { path: path.to_owned(), source })
}

fn make_data_folder(path: &Path) -> Result<(), ServerError> {
    make_private_folder(path).map_err(|source| ServerError::Folder { path: path.to_owned(), source })
}
