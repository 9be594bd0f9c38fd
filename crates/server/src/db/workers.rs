//! The workers heard of lately, by whichever server.

use sqlx::{Any, Transaction};

use super::{Db, Result};
use crate::clock::exact_now;

/// A worker that did not ask or report for so long is not counted on. Seconds.
const ABSENT: f64 = 120.0;
/// What is known of a worker is forgotten after so long. Seconds.
const FORGOTTEN: f64 = 7.0 * 86_400.0;

/// A worker as it was last heard of.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRow {
    pub name: String,
    /// When it was heard of, in seconds since the epoch.
    pub seen: f64,
    /// It waits for work at this moment.
    pub asking: bool,
}

impl Db {
    /// A worker asks for work, and waits for it until `asking_until` (seconds since the epoch); 0 when it only shows itself.
    pub async fn saw_worker(&self, name: &str, asking_until: f64) -> Result<()> {
        sqlx::query(
            "INSERT INTO workers (name, seen, asking_until) VALUES ($1, $2, $3)
             ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, asking_until = excluded.asking_until",
        )
        .bind(name)
        .bind(exact_now())
        .bind(asking_until)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// The workers that are there, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>> {
        let now = exact_now();
        let rows: Vec<(String, f64, f64)> =
            sqlx::query_as("SELECT name, seen, asking_until FROM workers WHERE seen > $1 ORDER BY name")
                .bind(now - ABSENT)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(|(name, seen, until)| WorkerRow { name, seen, asking: until > now }).collect())
    }

    /// How many workers are there.
    pub async fn workers_present(&self) -> Result<usize> {
        let count: i64 = sqlx::query_scalar("SELECT count(*) FROM workers WHERE seen > $1")
            .bind(exact_now() - ABSENT)
            .fetch_one(&self.pool)
            .await?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Forgets workers that were not heard of for long.
    pub async fn forget_workers(&self) -> Result<()> {
        sqlx::query("DELETE FROM workers WHERE seen < $1").bind(exact_now() - FORGOTTEN).execute(&self.pool).await.map(drop)
    }
}

/// A worker got a build, and asks no more.
pub(super) async fn took_work(tx: &mut Transaction<'static, Any>, name: &str) -> Result<()> {
    sqlx::query("UPDATE workers SET asking_until = 0 WHERE name = $1").bind(name).execute(&mut **tx).await.map(drop)
}
