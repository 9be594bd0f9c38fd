//! The workers heard of lately, by whichever server.

use contract::lease::LeaseRequest;

use super::{Db, Result, Writing, from_json, to_json};
use crate::clock::exact_now;

/// A worker that did not ask or report for so long is not counted on. Seconds.
const ABSENT: f64 = 120.0;
/// How long after the end of its wait, or of a build, a worker is taken for asking: it comes again at once. Seconds.
pub const COMES_AGAIN: f64 = 2.0;
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
    /// What it said of itself when it last asked.
    pub abilities: LeaseRequest,
}

impl Db {
    /// A worker asks for work, and waits for it until `asking_until` (seconds since the epoch). Returns when it was heard of, by which
    /// [`Db::worker_left`] knows whether it has come again since.
    pub async fn worker_asks(&self, name: &str, asking_until: f64, abilities: &LeaseRequest) -> Result<f64> {
        let seen = exact_now();
        sqlx::query(
            "INSERT INTO workers (name, seen, asking_until, abilities) VALUES ($1, $2, $3, $4)
             ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, asking_until = excluded.asking_until, abilities = excluded.abilities",
        )
        .bind(name)
        .bind(seen)
        .bind(asking_until)
        .bind(to_json(abilities)?)
        .execute(&self.pool)
        .await?;
        Ok(seen)
    }

    /// A worker that asked, and was heard of then, has gone without waiting for the answer.
    pub async fn worker_left(&self, name: &str, seen: f64) -> Result<()> {
        sqlx::query("UPDATE workers SET asking_until = 0 WHERE name = $1 AND seen = $2")
            .bind(name)
            .bind(seen)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// A worker that has work shows itself.
    pub async fn saw_worker(&self, name: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO workers (name, seen, asking_until) VALUES ($1, $2, 0)
             ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, asking_until = 0",
        )
        .bind(name)
        .bind(exact_now())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// The workers that are there, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerRow>> {
        let now = exact_now();
        let rows: Vec<(String, f64, f64, String)> =
            sqlx::query_as("SELECT name, seen, asking_until, abilities FROM workers WHERE seen > $1 ORDER BY name")
                .bind(now - ABSENT)
                .fetch_all(&self.pool)
                .await?;
        let row = |(name, seen, until, abilities): (String, f64, f64, String)| {
            Ok(WorkerRow { name, seen, asking: until > now, abilities: from_json(&abilities)? })
        };
        rows.into_iter().map(row).collect()
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
pub(super) async fn took_work(tx: &mut Writing, name: &str) -> Result<()> {
    sqlx::query("UPDATE workers SET asking_until = 0 WHERE name = $1").bind(name).execute(&mut **tx).await.map(drop)
}

/// The worker that had this build in hand is done with it, and asks for the next at once.
pub(super) async fn comes_again(tx: &mut Writing, build: &str) -> Result<()> {
    let seen = exact_now();
    sqlx::query("UPDATE workers SET seen = $1, asking_until = $2 WHERE name = (SELECT worker FROM builds WHERE id = $3)")
        .bind(seen)
        .bind(seen + COMES_AGAIN)
        .bind(build)
        .execute(&mut **tx)
        .await
        .map(drop)
}
