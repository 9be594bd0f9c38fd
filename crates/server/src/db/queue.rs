//! The queue as the policy and the forecast need it, and what was learnt of builds and promises so far.

use std::collections::HashSet;

use contract::Format;
use queue::calibration::{MAX_PROMISES, Promise};
use queue::cost::MAX_SAMPLES;
use queue::{Foreseen, Known, Range, Sample, Sketch, Work};

use sqlx::{Any, AnyConnection, Transaction};

use super::{Db, Result, StepProgress, System, from_json, to_json};
use crate::clock::{exact_now, now};
use crate::work;

/// What users got is remembered for so long. Seconds.
pub(super) const REMEMBERED: i64 = 6 * 3_600;
/// New builds of so long ago tell how many will come, and no more than so many. Seconds, and builds.
const RECENT: i64 = 3_600;
const MAX_RECENT: i64 = 500;
/// An order that was promised nothing for so long, as there is no worker, is promised nothing any more. Seconds.
const UNPROMISED: i64 = 120;
/// A ready image that nobody picked up after so long was left behind. Seconds.
const LEFT_BEHIND: i64 = 86_400;
/// The packages of so many last builds of a worker are taken to be there still.
const LAST_BUILT: i64 = 40;
/// Ended builds that tell how many fail.
const ENDS: i64 = 200;

/// A build that waits.
#[derive(Clone)]
pub struct WaitingRow {
    pub id: String,
    pub place: i64,
    pub arch: String,
    /// The names of the formats.
    pub formats: Vec<String>,
    pub rank: i64,
    pub work: Work,
    pub wanted_by: Vec<WantedRow>,
    /// The channel whose packages it builds from source; none for an image.
    pub source_for: Option<String>,
}

/// An order that wants a build.
#[derive(Clone)]
pub struct WantedRow {
    pub user: String,
    pub since: i64,
    /// The user has left earlier images lying.
    pub doubtful: bool,
}

/// What an order is told of when it will be ready.
pub struct NewPromise<'a> {
    pub order: &'a str,
    pub build: &'a str,
    /// Seconds of its user's work that were before its build.
    pub work_before: Option<f64>,
    /// As forecast and as named; none while nothing can be said.
    pub ranges: Option<(Foreseen, Range)>,
}

/// What decides whether a worker gets a waiting build out of turn.
pub struct CandidateRow {
    pub sketch: Sketch,
    pub work: Work,
    pub rank: i64,
    pub passed_over: u32,
    /// Somebody wants it.
    pub ordered: bool,
}

/// A build that a worker has in hand.
pub struct RunningRow {
    pub id: String,
    pub place: i64,
    pub worker: String,
    pub started: i64,
    pub work: Work,
    pub progress: Vec<StepProgress>,
    /// Who wants it.
    pub users: Vec<String>,
}

/// A build that somebody ordered lately.
pub struct CameRow {
    /// Who ordered it first; empty for nobody in particular.
    pub user: String,
    pub work: Work,
    /// Seconds of its user's work that were before it.
    pub work_before: f64,
}

/// The queue at one moment.
#[derive(Default)]
pub struct QueueRows {
    pub waiting: Vec<WaitingRow>,
    pub running: Vec<RunningRow>,
    /// User, their share of a build's seconds, and when it ended.
    pub served: Vec<(String, f64, i64)>,
    /// New builds that somebody ordered lately, newest first.
    pub came: Vec<CameRow>,
    /// All that came since then are in `came`. Seconds since the epoch.
    pub came_since: i64,
    /// Of the last ended builds, how many failed and how many there are.
    pub failed: (u64, u64),
}

impl QueueRows {
    /// Over how long builds were seen to come. Seconds.
    pub fn watched(&self, now: f64) -> f64 {
        (now - self.came_since as f64).max(0.0)
    }
}

/// The users with builds that wait who let an image lie for a day, and have picked up none since it was there for them. Each is looked at once: one
/// may have thousands of orders.
async fn doubtful(tx: &mut AnyConnection) -> Result<HashSet<String>> {
    let users: Vec<String> = sqlx::query_scalar(
        "WITH w AS (SELECT DISTINCT o.\"user\" AS name FROM orders o JOIN builds b ON b.id = o.build
                    WHERE b.state = 'waiting' AND o.cancelled IS NULL AND o.\"user\" <> ''),
              u AS MATERIALIZED (SELECT w.name, coalesce((SELECT max(p.picked_up) FROM orders p WHERE p.\"user\" = w.name), 0) AS last FROM w)
         SELECT u.name FROM u WHERE EXISTS (
             SELECT 1 FROM orders l JOIN builds b ON b.id = l.build
             WHERE l.\"user\" = u.name AND l.picked_up IS NULL AND l.cancelled IS NULL AND b.state = 'ready'
               AND CASE WHEN l.since > b.ended THEN l.since ELSE b.ended END < $1
               AND CASE WHEN l.since > b.ended THEN l.since ELSE b.ended END > u.last)",
    )
    .bind(now() - LEFT_BEHIND)
    .fetch_all(tx)
    .await?;
    Ok(users.into_iter().collect())
}

impl Db {
    /// The queue as it is.
    pub async fn queue_rows(&self) -> Result<QueueRows> {
        let mut tx = self.at_one_moment().await?;
        let mut rows = QueueRows::default();
        let waiting: Vec<(String, i64, String, String, i64, String, Option<String>)> = sqlx::query_as(
            "SELECT id, place, arch, formats, rank, work, CASE WHEN source IS NULL THEN NULL ELSE channel END
             FROM builds WHERE state = 'waiting' AND lacking IS NULL ORDER BY id",
        )
        .fetch_all(&mut *tx)
        .await?;
        for (id, place, arch, formats, rank, work, source_for) in waiting {
            let (formats, work) = (from_json(&formats)?, from_json(&work)?);
            rows.waiting.push(WaitingRow { id, place, arch, formats, rank, work, wanted_by: Vec::new(), source_for });
        }
        let doubtful = doubtful(&mut tx).await?;
        // An order whose mail address nobody has confirmed is doubtful too.
        let wanted: Vec<(String, String, i64, i64)> = sqlx::query_as(
            "SELECT o.build, o.\"user\", o.since,
                    CASE WHEN EXISTS (SELECT 1 FROM addresses a WHERE a.email = o.email AND a.confirmed IS NULL) THEN 1 ELSE 0 END
             FROM orders o JOIN builds w ON w.id = o.build
             WHERE w.state = 'waiting' AND o.cancelled IS NULL
             UNION ALL
             SELECT n.source, o.\"user\", o.since, 0
             FROM needs n JOIN builds w ON w.id = n.source JOIN orders o ON o.build = n.build
             WHERE w.state = 'waiting' AND o.cancelled IS NULL",
        )
        .fetch_all(&mut *tx)
        .await?;
        for (build, user, since, unconfirmed) in wanted {
            if let Ok(at) = rows.waiting.binary_search_by(|w| w.id.as_str().cmp(&build))
                && let Some(row) = rows.waiting.get_mut(at)
            {
                let doubtful = unconfirmed != 0 || doubtful.contains(&user);
                row.wanted_by.push(WantedRow { user, since, doubtful });
            }
        }
        let running: Vec<(String, i64, Option<String>, Option<i64>, String, String)> =
            sqlx::query_as("SELECT id, place, worker, started, work, progress FROM builds WHERE state = 'building'")
                .fetch_all(&mut *tx)
                .await?;
        for (id, place, worker, started, work, progress) in running {
            let users = sqlx::query_scalar(
                "SELECT \"user\" FROM orders WHERE build = $1 AND cancelled IS NULL
                 UNION ALL SELECT o.\"user\" FROM needs n JOIN orders o ON o.build = n.build WHERE n.source = $1 AND o.cancelled IS NULL",
            )
            .bind(&id)
            .fetch_all(&mut *tx)
            .await?;
            let (work, progress) = (from_json(&work)?, from_json(&progress)?);
            let (worker, started) = (worker.unwrap_or_default(), started.unwrap_or_else(now));
            rows.running.push(RunningRow { id, place, worker, started, work, progress, users });
        }
        rows.served = sqlx::query_as(
            "SELECT o.\"user\", CAST(b.ended - b.started AS DOUBLE PRECISION) / (SELECT count(*) FROM orders s WHERE s.build = b.id), b.ended
             FROM builds b JOIN orders o ON o.build = b.id
             WHERE b.ended > $1 AND b.started IS NOT NULL AND b.ended >= b.started AND o.created <= b.ended
             UNION ALL
             SELECT o.\"user\", b.spent / (SELECT count(*) FROM orders s WHERE s.build = b.id), b.spent_until
             FROM builds b JOIN orders o ON o.build = b.id WHERE b.spent_until > $1 AND o.created <= b.spent_until",
        )
        .bind(now() - REMEMBERED)
        .fetch_all(&mut *tx)
        .await?;
        let came: Vec<(String, f64, i64, String)> = sqlx::query_as(
            "SELECT work, work_before, created, \"user\" FROM
                 (SELECT place, work, work_before, created,
                         (SELECT o.\"user\" FROM orders o WHERE o.build = b.id ORDER BY o.since LIMIT 1) AS \"user\"
                  FROM builds b WHERE created > $1) AS lately
             WHERE \"user\" IS NOT NULL ORDER BY created DESC, place DESC LIMIT $2",
        )
        .bind(now() - RECENT)
        .bind(MAX_RECENT)
        .fetch_all(&mut *tx)
        .await?;
        // A site that is younger than that, or has more orders, was watched for a shorter time.
        let first: Option<i64> =
            sqlx::query_scalar("SELECT created FROM builds ORDER BY place LIMIT 1").fetch_optional(&mut *tx).await?;
        rows.came_since = first.unwrap_or_else(now).max(now() - RECENT);
        if let Some((_, _, oldest, _)) = came.get(MAX_RECENT as usize - 1) {
            rows.came_since = rows.came_since.max(*oldest);
        }
        for (work, work_before, _, user) in came {
            rows.came.push(CameRow { user, work: from_json(&work)?, work_before });
        }
        let (failed, ended): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE state = 'failed'), count(*) FROM
                 (SELECT state FROM builds WHERE ended IS NOT NULL AND state IN ('ready', 'failed') ORDER BY ended DESC LIMIT $1) AS lately",
        )
        .bind(ENDS)
        .fetch_one(&mut *tx)
        .await?;
        rows.failed = (super::to_u64(failed), super::to_u64(ended));
        Ok(rows)
    }

    /// A transaction that reads all as it is at one moment.
    pub(super) async fn at_one_moment(&self) -> Result<Transaction<'static, Any>> {
        let mut tx = self.pool.begin().await?;
        // In SQLite each does.
        if self.system == System::Postgres {
            sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").execute(&mut *tx).await?;
        }
        Ok(tx)
    }

    /// The builds to learn from, oldest first.
    pub async fn samples(&self) -> Result<Vec<Sample>> {
        let rows: Vec<(String, Option<String>, String)> = sqlx::query_as(
            "SELECT work, worker, step_seconds FROM builds
             WHERE state = 'ready' AND step_seconds <> '[]' AND ended IS NOT NULL ORDER BY ended DESC, place DESC LIMIT $1",
        )
        .bind(MAX_SAMPLES as i64)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .rev()
            .map(|(work, worker, steps)| {
                Ok(Sample { work: from_json(&work)?, worker: worker.unwrap_or_default(), steps: from_json(&steps)? })
            })
            .collect()
    }

    /// What a worker has, as far as can be told from what it built last.
    pub async fn known_by(&self, worker: &str) -> Result<Known> {
        let rows: Vec<(String, String)> = sqlx::query_as(
            "SELECT sketch, formats FROM builds WHERE worker = $1 AND started IS NOT NULL AND state <> 'waiting'
             ORDER BY started DESC LIMIT $2",
        )
        .bind(worker)
        .bind(LAST_BUILT)
        .fetch_all(&self.pool)
        .await?;
        let mut known = Known::default();
        for (sketch, formats) in rows {
            work::made(&mut known, &from_json(&sketch)?, &from_json::<Vec<Format>>(&formats)?);
        }
        Ok(known)
    }

    /// Of a waiting build: its packages, whether somebody ordered it, and how often it was passed over. None when it waits no more.
    pub async fn candidate(&self, build: &str) -> Result<Option<CandidateRow>> {
        let row: Option<(String, String, i64, i64, i64)> = sqlx::query_as(
            "SELECT sketch, work, rank, passed_over, (SELECT count(*) FROM orders o WHERE o.build = b.id AND o.cancelled IS NULL)
                    + (SELECT count(*) FROM needs n JOIN builds i ON i.id = n.build WHERE n.source = b.id AND i.state = 'waiting')
             FROM builds b WHERE id = $1 AND state = 'waiting'",
        )
        .bind(build)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(sketch, work, rank, passed_over, orders)| {
            let passed_over = u32::try_from(passed_over).unwrap_or(u32::MAX);
            let (sketch, work) = (from_json(&sketch)?, from_json(&work)?);
            Ok(CandidateRow { sketch, work, rank, passed_over, ordered: orders > 0 })
        })
        .transpose()
    }

    /// It was this build's turn, and a worker got another.
    pub async fn passed_over(&self, build: &str) -> Result<()> {
        sqlx::query("UPDATE builds SET passed_over = passed_over + 1 WHERE id = $1 AND state = 'waiting'")
            .bind(build)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Keeps what orders were promised, once, and the work that was before their builds when they came.
    pub async fn promise(&self, promises: &[NewPromise<'_>]) -> Result<()> {
        let mut tx = self.write().await?;
        for promise in promises {
            if let Some(seconds) = promise.work_before {
                sqlx::query("UPDATE builds SET work_before = $1 WHERE id = $2 AND work_before = 0")
                    .bind(seconds)
                    .bind(promise.build)
                    .execute(&mut *tx)
                    .await?;
            }
            if let Some((forecast, named)) = &promise.ranges {
                sqlx::query(
                    "INSERT INTO promises (order_id, made, forecast, named) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                )
                .bind(promise.order)
                .bind(exact_now())
                .bind(to_json(forecast)?)
                .bind(to_json(named)?)
                .execute(&mut *tx)
                .await?;
            }
        }
        tx.commit().await
    }

    /// Orders of the last minutes that were promised nothing yet: the order and its build.
    pub async fn unpromised(&self) -> Result<Vec<(String, String)>> {
        sqlx::query_as(
            "SELECT o.id, o.build FROM orders o JOIN builds b ON b.id = o.build
             WHERE o.since > $1 AND o.cancelled IS NULL AND b.state = 'waiting'
               AND NOT EXISTS (SELECT 1 FROM promises p WHERE p.order_id = o.id) ORDER BY o.since LIMIT 1000",
        )
        .bind(now() - UNPROMISED)
        .fetch_all(&self.pool)
        .await
    }

    /// Promises that came true or not, oldest first: as forecast, as named, and the seconds it took.
    pub async fn promises(&self) -> Result<Vec<(Promise, Range)>> {
        let rows: Vec<(String, String, f64)> = sqlx::query_as(
            "SELECT forecast, named, actual FROM promises WHERE ended IS NOT NULL AND actual IS NOT NULL ORDER BY ended DESC LIMIT $1",
        )
        .bind(MAX_PROMISES as i64)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .rev()
            .map(|(forecast, named, actual)| Ok((Promise { forecast: from_json(&forecast)?, actual }, from_json(&named)?)))
            .collect()
    }

    /// Seconds from order to image, and seconds of building, of the orders that became ready within so many seconds; newest first.
    pub async fn delivery_times(&self, within: i64) -> Result<Vec<(i64, i64)>> {
        sqlx::query_as(
            "SELECT CASE WHEN b.ended > o.since THEN b.ended - o.since ELSE 0 END, CASE WHEN b.ended > b.started THEN b.ended - b.started ELSE 0 END FROM orders o JOIN builds b ON b.id = o.build
             WHERE b.state = 'ready' AND b.ended > $1 AND b.started IS NOT NULL AND o.cancelled IS NULL ORDER BY b.ended DESC LIMIT 10000",
        )
        .bind(now() - within)
        .fetch_all(&self.pool)
        .await
    }
}
