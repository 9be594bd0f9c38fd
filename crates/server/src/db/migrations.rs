//! The tables, as they came to be: forward to the newest form, and back.

use std::borrow::Cow;
use std::path::PathBuf;

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

use super::{Db, System};

/// The version of the tables that this server works with.
pub const NEWEST: i64 = 22;

/// What only newer servers work with.
const NEWER: i64 = NEWEST + 1;

/// The oldest version that SQLite can be brought back to: what was before it is not undone, as no server of that time is in use.
pub const OLDEST: i64 = 5;

/// Why the tables could not be brought to a version.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error("the tables are not as this version of Hatchery knows them: {0}")]
    Tables(#[from] sqlx::migrate::MigrateError),
    #[error(
        "the tables are of version {0}, which a newer Hatchery made; this one knows {OLDEST} to {NEWEST}. Start the newer one again, or let it bring \
         them back: hatchery migrate --to {NEWEST}"
    )]
    Newer(i64),
    #[error("there is no site: {0} is not there. Name the site's configuration with --config")]
    NoSite(String),
    #[error(
        "another Hatchery works on this database: stop it first, then give the command again. A site beside it needs a `data_dir` of its own"
    )]
    InUse,
    #[error("{} cannot be locked: {source}", path.display())]
    Lock { path: PathBuf, source: std::io::Error },
    #[error("there is no way to version {0} of the tables; this Hatchery knows {OLDEST} to {NEWEST}")]
    NoSuchVersion(i64),
}

/// One step: version, name, forward and, where it can be undone, back.
type Step = (i64, &'static str, &'static str, Option<&'static str>);

macro_rules! sql {
    ($path:literal) => {
        include_str!(concat!("../../migrations/", $path))
    };
}

/// PostgreSQL came with version 5, so its tables begin there.
const POSTGRES: &[Step] = &[
    (5, "initial", sql!("postgres/0005_initial.sql"), None),
    (6, "service", sql!("postgres/0006_service.sql"), Some(sql!("postgres/0006_service.down.sql"))),
    (7, "notices", sql!("postgres/0007_notices.sql"), Some(sql!("postgres/0007_notices.down.sql"))),
    (8, "limits", sql!("postgres/0008_limits.sql"), Some(sql!("postgres/0008_limits.down.sql"))),
    (9, "warm", sql!("postgres/0009_warm.sql"), Some(sql!("postgres/0009_warm.down.sql"))),
    (10, "demands", sql!("postgres/0010_demands.sql"), Some(sql!("postgres/0010_demands.down.sql"))),
    (11, "push", sql!("postgres/0011_push.sql"), Some(sql!("postgres/0011_push.down.sql"))),
    (12, "indexes", sql!("postgres/0012_indexes.sql"), Some(sql!("postgres/0012_indexes.down.sql"))),
    (13, "fresh", sql!("postgres/0013_fresh.sql"), Some(sql!("postgres/0013_fresh.down.sql"))),
    (14, "accounts", sql!("postgres/0014_accounts.sql"), Some(sql!("postgres/0014_accounts.down.sql"))),
    (
        15,
        "rates_and_browsers",
        sql!("postgres/0015_rates_and_browsers.sql"),
        Some(sql!("postgres/0015_rates_and_browsers.down.sql")),
    ),
    (16, "reports", sql!("postgres/0016_reports.sql"), Some(sql!("postgres/0016_reports.down.sql"))),
    (17, "language", sql!("postgres/0017_language.sql"), Some(sql!("postgres/0017_language.down.sql"))),
    (18, "source_builds", sql!("postgres/0018_source_builds.sql"), Some(sql!("postgres/0018_source_builds.down.sql"))),
    (19, "lacking", sql!("postgres/0019_lacking.sql"), Some(sql!("postgres/0019_lacking.down.sql"))),
    (20, "links", sql!("postgres/0020_links.sql"), Some(sql!("postgres/0020_links.down.sql"))),
    (21, "spent", sql!("postgres/0021_spent.sql"), Some(sql!("postgres/0021_spent.down.sql"))),
    (22, "vouched", sql!("postgres/0022_vouched.sql"), Some(sql!("postgres/0022_vouched.down.sql"))),
];

const SQLITE: &[Step] = &[
    (1, "initial", sql!("sqlite/0001_initial.sql"), None),
    (2, "wishes", sql!("sqlite/0002_wishes.sql"), None),
    (3, "queue", sql!("sqlite/0003_queue.sql"), None),
    (4, "keeping", sql!("sqlite/0004_keeping.sql"), None),
    (5, "documents", sql!("sqlite/0005_documents.sql"), None),
    (6, "service", sql!("sqlite/0006_service.sql"), Some(sql!("sqlite/0006_service.down.sql"))),
    (7, "notices", sql!("sqlite/0007_notices.sql"), Some(sql!("sqlite/0007_notices.down.sql"))),
    (8, "limits", sql!("sqlite/0008_limits.sql"), Some(sql!("sqlite/0008_limits.down.sql"))),
    (9, "warm", sql!("sqlite/0009_warm.sql"), Some(sql!("sqlite/0009_warm.down.sql"))),
    (10, "demands", sql!("sqlite/0010_demands.sql"), Some(sql!("sqlite/0010_demands.down.sql"))),
    (11, "push", sql!("sqlite/0011_push.sql"), Some(sql!("sqlite/0011_push.down.sql"))),
    (12, "indexes", sql!("sqlite/0012_indexes.sql"), Some(sql!("sqlite/0012_indexes.down.sql"))),
    (13, "fresh", sql!("sqlite/0013_fresh.sql"), Some(sql!("sqlite/0013_fresh.down.sql"))),
    (14, "accounts", sql!("sqlite/0014_accounts.sql"), Some(sql!("sqlite/0014_accounts.down.sql"))),
    (15, "rates_and_browsers", sql!("sqlite/0015_rates_and_browsers.sql"), Some(sql!("sqlite/0015_rates_and_browsers.down.sql"))),
    (16, "reports", sql!("sqlite/0016_reports.sql"), Some(sql!("sqlite/0016_reports.down.sql"))),
    (17, "language", sql!("sqlite/0017_language.sql"), Some(sql!("sqlite/0017_language.down.sql"))),
    (18, "source_builds", sql!("sqlite/0018_source_builds.sql"), Some(sql!("sqlite/0018_source_builds.down.sql"))),
    (19, "lacking", sql!("sqlite/0019_lacking.sql"), Some(sql!("sqlite/0019_lacking.down.sql"))),
    (20, "links", sql!("sqlite/0020_links.sql"), Some(sql!("sqlite/0020_links.down.sql"))),
    (21, "spent", sql!("sqlite/0021_spent.sql"), Some(sql!("sqlite/0021_spent.down.sql"))),
    (22, "vouched", sql!("sqlite/0022_vouched.sql"), Some(sql!("sqlite/0022_vouched.down.sql"))),
];

impl Db {
    /// Brings the tables to a version, forward or back. What only newer versions know is lost on the way back.
    pub async fn migrate(&self, version: i64) -> Result<(), MigrateError> {
        if !(OLDEST..=NEWEST).contains(&version) {
            return Err(MigrateError::NoSuchVersion(version));
        }
        // Where there are no tables yet, there is no version either.
        match self.tables_version().await {
            Ok(known @ NEWER..) => return Err(MigrateError::Newer(known)),
            // Newer servers are started beside older ones; back it goes without any.
            Ok(known) if known > version => self.is_alone().await?,
            _ => (),
        }
        let steps = match self.system {
            System::Sqlite => SQLITE,
            System::Postgres => POSTGRES,
        };
        let migrator = Migrator::with_migrations(steps.iter().flat_map(migrations).collect());
        migrator.undo(&self.pool, version).await?;
        migrator.run_to(version, &self.pool).await?;
        Ok(())
    }
}

impl Db {
    /// The version that the tables are at.
    pub async fn tables_version(&self) -> super::Result<i64> {
        sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations").fetch_one(&self.pool).await
    }
}

fn migrations(step: &Step) -> Vec<Migration> {
    let (version, name, forward, back) = *step;
    let migration = |kind, sql| Migration::new(version, Cow::Borrowed(name), kind, SqlStr::from_static(sql), false);
    match back {
        None => vec![migration(MigrationType::Simple, forward)],
        Some(back) => {
            vec![migration(MigrationType::ReversibleUp, forward), migration(MigrationType::ReversibleDown, back)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tables_of_a_newer_version_are_left_alone_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let address = dir.path().join("x.sqlite").to_string_lossy().into_owned();
        let db = Db::open(&address).await.unwrap();
        let newer = "INSERT INTO _sqlx_migrations SELECT $1, 'later', installed_on, success, checksum, execution_time FROM _sqlx_migrations LIMIT 1";
        sqlx::query(newer).bind(NEWEST + 1).execute(&db.pool).await.unwrap();
        for version in [NEWEST, OLDEST] {
            let told = db.migrate(version).await.unwrap_err().to_string();
            assert!(told.contains(&format!("hatchery migrate --to {NEWEST}")), "{told}");
        }
        db.close().await;
        assert!(Db::open(&address).await.is_err());
    }
}
