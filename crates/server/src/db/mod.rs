//! The database: orders, builds, leases, logs, artifacts and notices. All SQL of the server is in this module, so that a second
//! database system has one place to go. Every method that writes several rows does so in one transaction.

mod builds;
mod documents;
mod keeping;
mod lease;
mod log;
mod orders;
mod outbox;
mod queue;
mod report;
mod wishes;

pub use builds::{Build, BuildState, NewBuild, StepProgress};
pub use documents::DocumentRow;
pub use keeping::{Gate, Keeping, Turn};
pub use lease::{EndError, FilesToKeep, LeaseLost, Leased, Upload};
pub(crate) use lease::{step_number, step_seconds};
pub use log::LogLine;
pub use orders::{NewOrder, OrderRow, Placed};
pub use outbox::{Notice, NoticeKind};
#[cfg(test)]
pub use queue::WantedRow;
pub use queue::{QueueRows, RECENT, RunningRow, WaitingRow};
pub use wishes::CountedWish;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Sqlite, Transaction};

pub type Result<T> = std::result::Result<T, sqlx::Error>;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// How long a statement waits for another writer before it fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// The database of one server.
#[derive(Clone)]
pub struct Db {
    pool: SqlitePool,
}

impl Db {
    /// Opens or creates the database and brings its tables up to date.
    ///
    /// Every commit is on the disk before it is answered (`synchronous = FULL`), so that an accepted order survives a power cut.
    pub async fn open(path: &Path) -> Result<Db> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await?;
        MIGRATIONS.run(&pool).await?;
        Ok(Db { pool })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(|_| ())
    }

    /// Closes all connections, after which the files may be moved.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction that may write. SQLite must be told at once: a reader that turns writer is refused instead of waiting.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }
}

fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    serde_json::to_string(value).map_err(|e| sqlx::Error::Encode(Box::new(e)))
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

/// SQLite's integers are signed; sizes and counts never come near the difference.
fn to_i64(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_u64(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
