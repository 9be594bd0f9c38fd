//! The watch over leases: which workers were lost, and when nobody could have heard them.

use contract::{Failure, Step};

use super::ending::fail;
use super::lease::current_step;
use super::{Db, Result, StepProgress, Writing, from_json, to_i64};
use crate::clock::now;

/// A build that so many workers in a row lost or gave back fails: probably the job itself is the cause.
pub const MAX_ATTEMPTS: u32 = 3;
/// When nobody looked at the leases for so long, no server ran, the database was away, or a clock jumped. Seconds.
const AWAY: i64 = 5;

/// What a look at the leases found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lapses {
    /// Builds that lost their worker: they wait again, or have ended.
    pub changed: Vec<String>,
    /// Nobody had looked for a while, so that all leases were given a full time again.
    pub renewed: bool,
}

impl Db {
    /// Gives every running lease a full time to live again, and does not count its attempt. For the start of a server that is alone: no
    /// worker could reach it while it was away.
    pub async fn renew_all_leases(&self, ttl_seconds: u64) -> Result<()> {
        let mut tx = self.write().await?;
        renew(&mut tx, ttl_seconds).await?;
        note(&mut tx).await?;
        tx.commit().await
    }

    /// Requeues or fails the builds whose worker was lost. Meant to be called every second, by any number of servers.
    ///
    /// A requeued build keeps its place. After [`MAX_ATTEMPTS`] lost leases it fails, so that a job that kills its workers does not
    /// go round for ever. One that was to be cancelled ends here. When nobody looked for a while, workers could not report either:
    /// all leases are given a full time again, and their attempts do not count.
    pub async fn expire_leases(&self, ttl_seconds: u64, failure_of: impl Fn(Step) -> Failure) -> Result<Lapses> {
        self.follow_clock().await?;
        if self.queue_length().await?.1 == 0 {
            return Ok(Lapses::default());
        }
        let mut tx = self.write().await?;
        let last: Option<i64> = sqlx::query_scalar("SELECT CAST(value AS BIGINT) FROM settings WHERE name = 'watched'")
            .fetch_optional(&mut *tx)
            .await?;
        note(&mut tx).await?;
        let mut lapses = Lapses::default();
        if last.is_none_or(|last| now().abs_diff(last) > AWAY.unsigned_abs()) {
            lapses.renewed = true;
            renew(&mut tx, ttl_seconds).await?;
        }
        let lapsed: Vec<(String, i64, i64, String)> = sqlx::query_as(
            "SELECT id, attempts - forgiven, cancel, progress FROM builds WHERE state = 'building' AND lease_expires <= $1",
        )
        .bind(now())
        .fetch_all(&mut *tx)
        .await?;
        for (id, attempts, cancel, progress) in lapsed {
            if cancel != 0 {
                sqlx::query("UPDATE builds SET state = 'cancelled', ended = $1 WHERE id = $2")
                    .bind(now())
                    .bind(&id)
                    .execute(&mut *tx)
                    .await?;
            } else if may_go_back(attempts) {
                wait_again(&mut tx, &id, "the worker was lost").await?;
            } else {
                let steps: Vec<StepProgress> = from_json(&progress)?;
                fail(&mut tx, &id, &failure_of(current_step(&steps))).await?;
            }
            drop_lease(&mut tx, &id).await?;
            lapses.changed.push(id);
        }
        tx.commit().await?;
        Ok(lapses)
    }
}

/// Whether a build that was attempted so often, forgiven ones left out, waits once more.
pub(super) fn may_go_back(attempts: i64) -> bool {
    attempts < i64::from(MAX_ATTEMPTS)
}

/// Puts a build back into its place in the queue, without a worker, and says why in its log.
pub(super) async fn go_back(tx: &mut Writing, build: &str, why: &str) -> Result<()> {
    wait_again(tx, build, why).await?;
    drop_lease(tx, build).await
}

/// Whatever the worker still sends is refused from now on.
async fn drop_lease(tx: &mut Writing, build: &str) -> Result<()> {
    sqlx::query("UPDATE builds SET lease = NULL, lease_expires = NULL WHERE id = $1")
        .bind(build)
        .execute(&mut **tx)
        .await
        .map(drop)
}

async fn wait_again(tx: &mut Writing, build: &str, why: &str) -> Result<()> {
    sqlx::query("UPDATE builds SET state = 'waiting', progress = '[]' WHERE id = $1").bind(build).execute(&mut **tx).await?;
    super::log::append(tx, build, [format!("— {why}; the build goes back to its place in the queue —").as_str()]).await
}

async fn renew(tx: &mut Writing, ttl_seconds: u64) -> Result<()> {
    sqlx::query("UPDATE builds SET lease_expires = $1, forgiven = attempts WHERE state = 'building'")
        .bind(now().saturating_add(to_i64(ttl_seconds)))
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// A lease is given out. When no other runs, nobody has looked for a while, and the watch begins now.
pub(super) async fn begins(tx: &mut Writing, build: &str) -> Result<()> {
    let others: i64 = sqlx::query_scalar("SELECT count(*) FROM builds WHERE state = 'building' AND id <> $1")
        .bind(build)
        .fetch_one(&mut **tx)
        .await?;
    if others == 0 { note(tx).await } else { Ok(()) }
}

/// Somebody looks at the leases now.
async fn note(tx: &mut Writing) -> Result<()> {
    sqlx::query(
        "INSERT INTO settings (name, value) VALUES ('watched', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(now().to_string())
    .execute(&mut **tx)
    .await
    .map(drop)
}
