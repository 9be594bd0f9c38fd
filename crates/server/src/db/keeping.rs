//! How long images are kept, and building again what failed or is gone.

use super::outbox::{self, NoticeKind};
use super::queue::REMEMBERED;
use super::{BuildState, Db, Most, Reached, Result, Writing, builds, from_json, lacking, taking};
use crate::clock::now;

/// How long images are kept, in seconds from when they were ready or ordered.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// Those that were picked up.
    pub picked_up: i64,
    /// Those that nobody has downloaded.
    pub unclaimed: i64,
    /// A mail tells so long before.
    pub warning: i64,
}

impl Db {
    /// Owes a notice to whoever is to lose an image soon, and marks what is over as expired. Returns the builds that expired.
    ///
    /// Nobody loses an image without the notice having been owed for the time of warning.
    pub async fn expire_images(&self, keeping: Keeping) -> Result<Vec<String>> {
        let mut tx = self.write().await?;
        // A build is kept as long as any of its orders keeps it, or a preset that is kept warm.
        let due: Vec<(String, i64)> = sqlx::query_as(
            "SELECT id, ends FROM (
                 SELECT b.id, coalesce((SELECT max(CASE WHEN o.since > b.ended THEN o.since ELSE b.ended END + CASE WHEN o.picked_up IS NULL THEN $1 ELSE $2 END)
                                        FROM orders o WHERE o.build = b.id AND o.cancelled IS NULL), b.ended + $1) AS ends
                 FROM builds b WHERE b.state = 'ready' AND b.expired IS NULL AND NOT EXISTS (SELECT 1 FROM warm w WHERE w.build = b.id)) AS kept
             WHERE ends <= $3",
        )
        .bind(keeping.unclaimed)
        .bind(keeping.picked_up)
        .bind(now().saturating_add(keeping.warning))
        .fetch_all(&mut *tx)
        .await?;
        let mut expired = Vec::new();
        for (build, ends) in due {
            outbox::tell_all(&mut tx, &build, NoticeKind::Expiring).await?;
            let warned_too_late: i64 = sqlx::query_scalar(
                "SELECT count(*) FROM outbox n JOIN orders o ON o.id = n.order_id
                 WHERE o.build = $1 AND n.kind = 'expiring' AND n.created > $2",
            )
            .bind(&build)
            .bind(now().saturating_sub(keeping.warning))
            .fetch_one(&mut *tx)
            .await?;
            if ends > now() || warned_too_late > 0 {
                continue;
            }
            sqlx::query("UPDATE builds SET expired = $1 WHERE id = $2").bind(now()).bind(&build).execute(&mut *tx).await?;
            for table in [
                "DELETE FROM artifacts WHERE build = $1",
                "DELETE FROM uploads WHERE build = $1",
                "DELETE FROM documents WHERE build = $1",
            ] {
                sqlx::query(table).bind(&build).execute(&mut *tx).await?;
            }
            expired.push(build);
        }
        tx.commit().await?;
        Ok(expired)
    }

    /// Has the build of an order made again that failed or expired: from its lock where there is one, so that it is the same image.
    /// An equal build that waits, runs or is ready serves instead.
    pub async fn order_again(&self, order: &str, most: &Most) -> Result<Again> {
        let mut tx = self.write().await?;
        let old: Option<(String, String)> = sqlx::query_as(
            "SELECT b.id, o.\"user\" FROM orders o JOIN builds b ON b.id = o.build
             WHERE o.id = $1 AND o.cancelled IS NULL AND (b.state = 'failed' OR b.expired IS NOT NULL)",
        )
        .bind(order)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((old, user)) = old else {
            return Ok(Again::Nothing);
        };
        if let Some(reached) = taking::reached(&mut tx, &user, most).await? {
            return Ok(Again::TooMany(reached));
        }
        let equal: Option<(String, String)> = sqlx::query_as(
            "SELECT n.id, n.state FROM builds n JOIN builds b
               ON n.join_key = b.join_key AND n.formats = b.formats AND n.system = b.system AND n.arch = b.arch
             WHERE b.id = $1 AND n.cancel = 0 AND n.state IN ('waiting', 'building', 'ready') AND n.expired IS NULL
             ORDER BY n.state = 'ready' DESC, n.place LIMIT 1",
        )
        .bind(&old)
        .fetch_optional(&mut *tx)
        .await?;
        let (build, is_ready) = match equal {
            Some((build, state)) => (build, state == BuildState::Ready.name()),
            None => {
                requeue(&mut tx, &old).await?;
                (old, false)
            }
        };
        sqlx::query("UPDATE orders SET build = $1, since = $2, picked_up = NULL WHERE id = $3")
            .bind(&build)
            .bind(now())
            .bind(order)
            .execute(&mut *tx)
            .await?;
        // Whoever asks again is told again. Whether an address is the right one is asked all the same.
        for table in [
            "DELETE FROM outbox WHERE order_id = $1 AND kind NOT IN ('confirm', 'answered')",
            "DELETE FROM promises WHERE order_id = $1",
        ] {
            sqlx::query(table).bind(order).execute(&mut *tx).await?;
        }
        if is_ready {
            outbox::tell_order(&mut tx, order, NoticeKind::Ready).await?;
        }
        tx.commit().await?;
        Ok(Again::Queued(build))
    }

    /// Has a failed build made again, for all who ordered it. Whether there was such a build.
    pub async fn retry_build(&self, build: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let failed: i64 = sqlx::query_scalar("SELECT count(*) FROM builds WHERE id = $1 AND state = 'failed'")
            .bind(build)
            .fetch_one(&mut *tx)
            .await?;
        if failed == 1 {
            requeue(&mut tx, build).await?;
            sqlx::query("DELETE FROM outbox WHERE kind = 'failed' AND order_id IN (SELECT id FROM orders WHERE build = $1)")
                .bind(build)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(failed == 1)
    }

    /// Cancels a build for all who ordered it, and owes them a notice of that. Whether it was still to be made.
    pub async fn cancel_build(&self, build: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let cancelled = builds::cancel(&mut tx, build).await?;
        if cancelled {
            outbox::tell_all(&mut tx, build, NoticeKind::Cancelled).await?;
            sqlx::query("UPDATE orders SET cancelled = $1 WHERE build = $2 AND cancelled IS NULL")
                .bind(now())
                .bind(build)
                .execute(&mut *tx)
                .await?;
            lacking::let_go(&mut tx, build).await?;
        }
        tx.commit().await?;
        Ok(cancelled)
    }

    /// Sets a waiting build before or behind all others, or back to its usual turn. Whether it waits.
    pub async fn move_build(&self, build: &str, to: Turn) -> Result<bool> {
        let rank = match to {
            Turn::First => {
                "(SELECT min(rank) - 1 FROM (SELECT rank FROM builds WHERE state = 'waiting' UNION ALL SELECT 0) AS ranks)"
            }
            Turn::Last => {
                "(SELECT max(rank) + 1 FROM (SELECT rank FROM builds WHERE state = 'waiting' UNION ALL SELECT 0) AS ranks)"
            }
            Turn::Usual => "0",
        };
        let sql = format!("UPDATE builds SET rank = {rank} WHERE id = $1 AND state = 'waiting'");
        let done = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(build).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Whether the queue takes orders and gives out builds.
    pub async fn gate(&self) -> Result<Gate> {
        let value: Option<String> =
            sqlx::query_scalar("SELECT value FROM settings WHERE name = 'queue'").fetch_optional(&self.pool).await?;
        value.map_or(Ok(Gate::Open), |text| from_json(&text))
    }

    /// Sets it.
    pub async fn set_gate(&self, gate: Gate) -> Result<()> {
        let mut tx = self.write().await?;
        if gate == Gate::Paused {
            // What was said of their times counted on a queue that goes on.
            sqlx::query(
                "DELETE FROM promises WHERE ended IS NULL
                 AND order_id IN (SELECT o.id FROM orders o JOIN builds b ON b.id = o.build WHERE b.state = 'waiting')",
            )
            .execute(&mut *tx)
            .await?;
        }
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('queue', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(super::to_json(&gate)?)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

/// What became of an order whose build was to be made again.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// It has this build now, which waits, runs or is ready.
    Queued(String),
    /// Its build neither failed nor expired.
    Nothing,
    /// There is no more to be taken.
    TooMany(Reached),
}

/// Where the operator wants a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    First,
    Last,
    Usual,
}

/// What the queue does at the operator's word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Gate {
    #[default]
    Open,
    /// Orders are taken, but no worker gets a build; what runs goes on.
    Paused,
    /// No orders are taken; what waits is built.
    Draining,
}

/// Puts an ended build back into the queue, with the plan that its lock is. What was said of its time counts no more; what it took does.
async fn requeue(tx: &mut Writing, build: &str) -> Result<()> {
    sqlx::query(
        "UPDATE builds SET spent = CASE WHEN spent_until > $1 THEN spent ELSE 0 END + ended - started, spent_until = ended
         WHERE id = $2 AND started IS NOT NULL AND ended >= started",
    )
    .bind(now() - REMEMBERED)
    .bind(build)
    .execute(&mut **tx)
    .await?;
    sqlx::query("DELETE FROM promises WHERE ended IS NULL AND order_id IN (SELECT id FROM orders WHERE build = $1)")
        .bind(build)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "UPDATE builds SET state = 'waiting', plan = coalesce(locked_plan, plan), expired = NULL, ended = NULL, started = NULL,
                failure = NULL, cancel = 0, forgiven = attempts, lease = NULL, lease_expires = NULL, progress = '[]',
                step_seconds = '[]', messages = '[]', rank = 0
         WHERE id = $1",
    )
    .bind(build)
    .execute(&mut **tx)
    .await?;
    lacking::forget(tx, build).await?;
    sqlx::query("UPDATE orders SET since = $1 WHERE build = $2").bind(now()).bind(build).execute(&mut **tx).await?;
    super::log::append(tx, build, ["— it is built again —"]).await
}
