//! Who works on a site's database: SQLite is for one server at a time, and tables are not brought back under servers that need them.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::migrations::MigrateError;
use super::{Db, is_shared_address};

/// How long the one before gets to end, as when a server is started anew, and how often it is looked.
const PATIENCE: Duration = Duration::from_secs(5);
const PERIOD: Duration = Duration::from_millis(100);

/// The right to work on a database alone, until it is dropped or its process ends, however it ends.
pub struct Claim {
    /// A lock on a file beside that of SQLite; PostgreSQL may have several servers.
    _file: Option<File>,
}

impl Claim {
    /// Claims the database at an address.
    ///
    /// # Errors
    /// [`MigrateError::InUse`] where another has it and does not end in a few seconds.
    pub async fn of(address: &str) -> Result<Claim, MigrateError> {
        if is_shared_address(address) {
            return Ok(Claim { _file: None });
        }
        let path = PathBuf::from(format!("{address}.lock"));
        let wrong = |source| MigrateError::Lock { path: path.clone(), source };
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path).map_err(wrong)?;
        let began = tokio::time::Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Claim { _file: Some(file) }),
                Err(TryLockError::Error(error)) => return Err(wrong(error)),
                Err(TryLockError::WouldBlock) if began.elapsed() >= PATIENCE => return Err(MigrateError::InUse),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PERIOD).await,
            }
        }
    }
}

impl Db {
    /// That no server has a connection to these tables but this one; of SQLite, [`Claim`] says so.
    pub(super) async fn is_alone(&self) -> Result<(), MigrateError> {
        if !self.is_shared() {
            return Ok(());
        }
        let others: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE 'hatchery %'
               AND application_name <> current_setting('application_name')",
        )
        .fetch_one(&self.pool)
        .await?;
        if others == 0 { Ok(()) } else { Err(MigrateError::InUse) }
    }
}
