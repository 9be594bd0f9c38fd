//! The database: orders, builds, leases, logs, artifacts and notices. All SQL of the server is in this module, and each statement is
//! written once, for SQLite and for PostgreSQL. Every method that writes several rows does so in one transaction.

mod access;
mod accounts;
mod addresses;
mod browsers;
mod builds;
mod carry;
mod claim;
mod demands;
mod documents;
mod ending;
mod fresh;
mod keeping;
mod lacking;
mod lease;
mod log;
mod migrations;
#[cfg(test)]
mod model;
mod news;
mod numbers;
mod orders;
mod outbox;
mod password;
mod queue;
mod rates;
mod report;
mod reports;
mod sessions;
mod sizes;
mod source;
mod taking;
mod warm;
mod watch;
mod wishes;
mod workers;

pub use access::{Access, Role, TokenRow};
pub use accounts::{AccountRow, Invitation, OwnOrder, Shown};
pub use addresses::{Address, Word};
pub use builds::{Build, BuildState, NewBuild, StepProgress};
pub use carry::LoadError;
pub use claim::Claim;
pub use demands::CountedDemand;
pub use documents::DocumentRow;
pub use ending::EndError;
pub use fresh::{FreshRow, KeptFresh};
pub use keeping::{Again, Gate, Keeping, Turn};
pub use lacking::{Lacking, LackingRow, NeedRow};
pub use lease::{FilesToKeep, LeaseLost, Leased, Upload, Uploaded};
pub(crate) use lease::{step_number, step_seconds};
pub use log::LogLine;
pub use migrations::{MigrateError, NEWEST};
pub use numbers::Cause;
pub use orders::{NewOrder, OrderRow, Placed};
pub use outbox::{Notice, NoticeKind, Owed, Way, What};
pub use password::split_password;
#[cfg(test)]
pub use queue::WantedRow;
pub use queue::{CandidateRow, NewPromise, QueueRows, RunningRow, WaitingRow};
pub use reports::{NewReport, ReportRow};
pub use sessions::{ApiToken, ELSEWHERE, LINK, NewLink, SESSION, Session, SessionRow};
pub use sizes::MadeSize;
pub use source::{NewSourceBuild, SourceBuild};
pub use taking::{HOUR, Most, Reached};
pub use warm::Ahead;
pub use watch::MAX_ATTEMPTS;
pub use wishes::CountedWish;
pub use workers::{COMES_AGAIN, WorkerRow};

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, ConnectOptions, Connection, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::clock;

pub type Result<T> = std::result::Result<T, sqlx::Error>;

/// How long a request waits for a free connection. SQLite has one writer at a time; PostgreSQL that does not answer at once is away.
const SQLITE_PATIENCE: Duration = Duration::from_secs(15);
const POSTGRES_PATIENCE: Duration = Duration::from_secs(5);
/// Connections to SQLite, which has one writer at a time, and to PostgreSQL.
const SQLITE_CONNECTIONS: u32 = 8;
const POSTGRES_CONNECTIONS: u32 = 16;
/// A connection to PostgreSQL that was not used for longer is tried before it is given out: the database may have been started anew meanwhile,
/// which takes longer than this.
const TRUSTED: Duration = Duration::from_millis(100);

/// What every new connection to SQLite is told. Every commit is on the disk before it is answered (`synchronous = FULL`), so that an
/// accepted order survives a power cut; PostgreSQL does so by itself.
const SQLITE_PRAGMAS: &str =
    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 15000";

/// What every new connection to PostgreSQL is told. A plan that a connection keeps for a statement is from when it first had it: that of a new
/// site, whose tables were empty, reads thousands of rows one by one a minute later. By the name, which is each server's own, it is seen who
/// works on the database.
fn postgres_settings() -> String {
    let since = clock::exact_now();
    format!("SET plan_cache_mode = force_custom_plan; SET application_name = 'hatchery {} {since}'", std::process::id())
}

/// The number under which writers of one PostgreSQL database wait for each other; any that no other program uses.
const WRITERS: i64 = 0x6861_7463_6865_7279;

/// The database of a site. Several servers may share one of PostgreSQL.
#[derive(Clone)]
pub struct Db {
    pool: AnyPool,
    system: System,
    url: String,
    /// Whose turn it is to write to SQLite.
    turn: Arc<Mutex<()>>,
}

/// A transaction that may write.
struct Writing {
    transaction: Transaction<'static, Any>,
    /// Given back last.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Writing {
    async fn commit(self) -> Result<()> {
        self.transaction.commit().await
    }
}

impl Deref for Writing {
    type Target = AnyConnection;

    fn deref(&self) -> &AnyConnection {
        &self.transaction
    }
}

impl DerefMut for Writing {
    fn deref_mut(&mut self) -> &mut AnyConnection {
        &mut self.transaction
    }
}

/// The database system in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    Sqlite,
    Postgres,
}

/// What a transaction is about to change.
#[derive(Clone, Copy)]
enum Scope<'a> {
    /// Anything: nobody else writes meanwhile.
    All,
    /// One build that exists already, and what hangs on it.
    Build(&'a str),
}

impl Db {
    /// Opens the database at an address (`postgres://…`, or the path of a SQLite file, which is made when there is none) as it is.
    pub async fn connect(address: &str) -> Result<Db> {
        sqlx::any::install_default_drivers();
        let (system, url) = match is_shared_address(address) {
            true => (System::Postgres, address.to_owned()),
            false => (System::Sqlite, sqlite_url(Path::new(address))),
        };
        let options: AnyConnectOptions = url.parse::<AnyConnectOptions>()?.disable_statement_logging();
        if system == System::Postgres {
            // The pool would say of a database that is away only that it took too long.
            let first = tokio::time::timeout(POSTGRES_PATIENCE, AnyConnection::connect_with(&options)).await;
            first.map_err(|_| sqlx::Error::PoolTimedOut)??.close().await?;
        }
        // A connection is tried when it is given back, and that is enough for one that was used a moment ago.
        let pool = AnyPoolOptions::new().test_before_acquire(false);
        let pool = match system {
            System::Postgres => {
                let pool = pool.max_connections(POSTGRES_CONNECTIONS).acquire_timeout(POSTGRES_PATIENCE);
                let settings = postgres_settings();
                let pool = pool.after_connect(move |connection, _| {
                    let settings = AssertSqlSafe(settings.clone());
                    Box::pin(async move { sqlx::raw_sql(settings).execute(connection).await.map(drop) })
                });
                pool.before_acquire(|connection, meta| {
                    Box::pin(async move {
                        if meta.idle_for > TRUSTED {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
            }
            System::Sqlite => {
                let pool = pool.max_connections(SQLITE_CONNECTIONS).acquire_timeout(SQLITE_PATIENCE);
                let pool = pool.after_connect(|connection, _| {
                    Box::pin(async move { sqlx::raw_sql(SQLITE_PRAGMAS).execute(connection).await.map(drop) })
                });
                // On a full disk SQLite ends a transaction by itself, and the driver goes on believing that there is one: such a
                // connection would refuse every further one, so it is not given out again.
                pool.before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
            }
        };
        let pool = pool.connect_with(options).await?;
        let db = Db { pool, system, url, turn: Arc::default() };
        db.follow_clock().await?;
        Ok(db)
    }

    /// Opens the database of a site that must be there: SQLite would make an empty one.
    pub async fn of_site(address: &str) -> std::result::Result<Db, MigrateError> {
        if !is_shared_address(address) && !Path::new(address).exists() {
            return Err(MigrateError::NoSite(address.to_owned()));
        }
        Ok(Db::connect(address).await?)
    }

    /// Servers that share a database go by its clock: when theirs differ, none takes another's lease for lapsed, or a notice that another has
    /// in hand. To be called every second or so; a server that is alone goes by its own.
    pub async fn follow_clock(&self) -> Result<()> {
        if self.is_shared() {
            let time: f64 = sqlx::query_scalar("SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)")
                .fetch_one(&self.pool)
                .await?;
            clock::follow(time);
        }
        Ok(())
    }

    /// Opens the database and brings its tables up to date.
    pub async fn open(address: &str) -> std::result::Result<Db, MigrateError> {
        let db = Db::connect(address).await?;
        db.migrate(NEWEST).await?;
        Ok(db)
    }

    /// Whether other servers may work on the same database.
    pub fn is_shared(&self) -> bool {
        self.system == System::Postgres
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ())
    }

    /// Copies the database of SQLite, as it is at one moment, into a file that is not there yet.
    pub async fn copy_to(&self, file: &Path) -> Result<()> {
        sqlx::query("VACUUM INTO $1").bind(file.to_string_lossy().into_owned()).execute(&self.pool).await.map(drop)
    }

    /// A secret of the site, the same for all its servers: made when it is first asked for, `fresh` being what it is then.
    pub async fn site_secret(&self, fresh: &str) -> Result<String> {
        let mut tx = self.write().await?;
        sqlx::query("INSERT INTO settings (name, value) VALUES ('secret', $1) ON CONFLICT (name) DO NOTHING")
            .bind(fresh)
            .execute(&mut *tx)
            .await?;
        let secret = sqlx::query_scalar("SELECT value FROM settings WHERE name = 'secret'").fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(secret)
    }

    /// Closes all connections, after which the files may be moved.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that may write everything. Such transactions come one after the other.
    async fn write(&self) -> Result<Writing> {
        self.begin(Scope::All).await
    }

    /// A transaction that writes about one build. In PostgreSQL those about other builds run beside it.
    async fn write_build(&self, build: &str) -> Result<Writing> {
        self.begin(Scope::Build(build)).await
    }

    async fn begin(&self, scope: Scope<'_>) -> Result<Writing> {
        match self.system {
            // SQLite has those that come second ask again and again, and who asks at the wrong moments waits for a second where others write
            // without end; here they wait in line. It must be told at once: a reader that turns writer is refused instead of waiting.
            System::Sqlite => {
                let turn = self.turn.clone().lock_owned().await;
                Ok(Writing { transaction: self.pool.begin_with("BEGIN IMMEDIATE").await?, _turn: Some(turn) })
            }
            System::Postgres => {
                let mut transaction = self.pool.begin().await?;
                match scope {
                    Scope::All => {
                        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(WRITERS).execute(&mut *transaction).await?;
                    }
                    Scope::Build(build) => {
                        sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(WRITERS).execute(&mut *transaction).await?;
                        sqlx::query("SELECT id FROM builds WHERE id = $1 FOR UPDATE")
                            .bind(build)
                            .execute(&mut *transaction)
                            .await?;
                    }
                }
                Ok(Writing { transaction, _turn: None })
            }
        }
    }
}

/// Whether several servers may work on the database of this address.
pub fn is_shared_address(address: &str) -> bool {
    address.starts_with("postgres://") || address.starts_with("postgresql://")
}

/// The address of a SQLite file, as the driver reads it.
fn sqlite_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    let encode = |&byte: &u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    let path: String = path.as_os_str().as_bytes().iter().map(encode).collect();
    format!("sqlite://{path}?mode=rwc")
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// The integers of both systems are signed; sizes and counts never come near the difference.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
