//! Leases: a worker's hold on a build, and what it reports under it.

use attest::Digests;
use contract::{Event, Format, Plan, Step, System};
use queue::Work;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{BuildState, Db, Result, SourceBuild, StepProgress, from_json, log, to_i64, to_json, watch, workers};
use crate::clock::{exact_now, now};

/// A build given to a worker.
#[derive(Clone, Debug)]
pub struct Leased {
    pub id: String,
    pub channel: String,
    pub image_name: String,
    pub notice: String,
    pub formats: Vec<Format>,
    pub system: System,
    pub plan: Plan,
    pub attempt: u32,
    /// What is built from source instead of images.
    pub source: Option<SourceBuild>,
}

/// The worker no longer holds the build: the lease lapsed, or the build has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseLost;

/// Events were recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The build is to be given up.
    pub cancel: bool,
    /// The worker that has it in hand.
    pub worker: String,
}

/// A file that a worker has sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub name: String,
    pub digests: Digests,
}

/// What became of a file that a worker has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uploaded {
    Noted,
    /// Another of this name was noted before.
    Differs,
    LeaseLost,
}

/// Which of a build's files must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesToKeep {
    /// Those of the attempt that is ready or runs.
    OfAttempt(u32),
    None,
    /// The build may be leased at any moment, or is not known at all (another database was put in place): nothing is touched.
    All,
}

struct LeasedRow {
    id: String,
    channel: String,
    image_name: String,
    notice: String,
    formats: String,
    system: String,
    plan: String,
    attempts: i64,
    source: Option<String>,
    work: String,
    sketch: String,
}

impl<'r> FromRow<'r, AnyRow> for LeasedRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        Ok(LeasedRow {
            id: row.try_get("id")?,
            channel: row.try_get("channel")?,
            image_name: row.try_get("image_name")?,
            notice: row.try_get("notice")?,
            formats: row.try_get("formats")?,
            system: row.try_get("system")?,
            plan: row.try_get("plan")?,
            attempts: row.try_get("attempts")?,
            source: row.try_get("source")?,
            work: row.try_get("work")?,
            sketch: row.try_get("sketch")?,
        })
    }
}

impl Db {
    /// Gives a waiting build to a worker. None when it does not wait any more.
    pub async fn lease(&self, build: &str, lease: &str, worker: &str, ttl_seconds: u64) -> Result<Option<Leased>> {
        let known = self.known_by(worker).await?;
        let mut tx = self.write_build(build).await?;
        let row: Option<LeasedRow> = sqlx::query_as(
            "UPDATE builds
             SET state = 'building', lease = $1, worker = $2, lease_expires = $3, started = $4,
                 attempts = attempts + 1, next_sequence = 0, progress = '[]'
             WHERE id = $5 AND state = 'waiting' AND lacking IS NULL
             RETURNING id, channel, image_name, notice, formats, system, plan, attempts, source, work, sketch",
        )
        .bind(lease)
        .bind(worker)
        .bind(now().saturating_add(to_i64(ttl_seconds)))
        .bind(now())
        .bind(build)
        .fetch_optional(&mut *tx)
        .await?;
        // Another was quicker: this worker goes on asking.
        let Some(row) = row else { return Ok(None) };
        // What it will take, and what is learnt from it, is by what this worker has.
        let work: Work = from_json(&row.work)?;
        sqlx::query("UPDATE builds SET work = $1 WHERE id = $2")
            .bind(to_json(&work.left_to(&known, &from_json(&row.sketch)?))?)
            .bind(build)
            .execute(&mut *tx)
            .await?;
        workers::took_work(&mut tx, worker).await?;
        watch::begins(&mut tx, build).await?;
        tx.commit().await?;
        Ok(Some(Leased {
            formats: from_json(&row.formats)?,
            system: from_json(&row.system)?,
            plan: from_json(&row.plan)?,
            attempt: u32::try_from(row.attempts).unwrap_or(0),
            source: row.source.as_deref().map(from_json).transpose()?,
            id: row.id,
            channel: row.channel,
            image_name: row.image_name,
            notice: row.notice,
        }))
    }

    /// The attempt that this lease stands for, or none when it is lost.
    pub async fn attempt_of_lease(&self, build: &str, lease: &str) -> Result<Option<u32>> {
        let attempts: Option<i64> =
            sqlx::query_scalar("SELECT attempts FROM builds WHERE id = $1 AND lease = $2 AND state = 'building'")
                .bind(build)
                .bind(lease)
                .fetch_optional(&self.pool)
                .await?;
        Ok(attempts.map(|a| u32::try_from(a).unwrap_or(0)))
    }

    /// Prolongs a lease without a report, as while a large file is being sent.
    pub async fn touch_lease(&self, build: &str, lease: &str, ttl_seconds: u64) -> Result<()> {
        sqlx::query("UPDATE builds SET lease_expires = $1 WHERE id = $2 AND lease = $3 AND state = 'building'")
            .bind(now().saturating_add(to_i64(ttl_seconds)))
            .bind(build)
            .bind(lease)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Records a batch of events, once, and prolongs the lease.
    pub async fn record_events(
        &self,
        build: &str,
        lease: &str,
        sequence: u64,
        events: &[Event],
        ttl_seconds: u64,
    ) -> Result<std::result::Result<Recorded, LeaseLost>> {
        let mut tx = self.write_build(build).await?;
        let held: Option<(i64, i64, String, String)> = sqlx::query_as(
            "SELECT next_sequence, cancel, progress, worker FROM builds WHERE id = $1 AND lease = $2 AND state = 'building'",
        )
        .bind(build)
        .bind(lease)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((next, cancel, progress, worker)) = held else {
            return Ok(Err(LeaseLost));
        };
        let sequence = to_i64(sequence);
        let fresh = sequence >= next;
        let mut steps: Vec<StepProgress> = from_json(&progress)?;
        if fresh {
            log::append(&mut tx, build, events.iter().filter_map(log_line)).await?;
            events.iter().for_each(|event| note_progress(&mut steps, event));
        }
        sqlx::query("UPDATE builds SET lease_expires = $1, next_sequence = $2, progress = $3 WHERE id = $4")
            .bind(now().saturating_add(to_i64(ttl_seconds)))
            .bind(if fresh { sequence.saturating_add(1) } else { next })
            .bind(to_json(&steps)?)
            .bind(build)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Ok(Recorded { cancel: cancel != 0, worker }))
    }

    /// Notes a file that was sent completely under a lease. The same may be sent twice.
    pub async fn record_upload(&self, build: &str, lease: &str, upload: &Upload) -> Result<Uploaded> {
        let done = sqlx::query(
            "INSERT INTO uploads (build, attempt, name, size, sha256, sha512, blake2b)
             SELECT id, attempts, $1, $2, $3, $4, $5 FROM builds WHERE id = $6 AND lease = $7 AND state = 'building'
             ON CONFLICT (build, attempt, name) DO UPDATE SET size = excluded.size
             WHERE uploads.sha512 = excluded.sha512 AND uploads.blake2b = excluded.blake2b",
        )
        .bind(&upload.name)
        .bind(to_i64(upload.digests.size))
        .bind(&upload.digests.sha256)
        .bind(&upload.digests.sha512)
        .bind(&upload.digests.blake2b)
        .bind(build)
        .bind(lease)
        .execute(&self.pool)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(Uploaded::Noted);
        }
        let held = self.attempt_of_lease(build, lease).await?;
        Ok(held.map_or(Uploaded::LeaseLost, |_| Uploaded::Differs))
    }

    /// Which of this build's files are still needed.
    pub async fn files_to_keep(&self, build: &str) -> Result<FilesToKeep> {
        let row: Option<(String, i64)> =
            sqlx::query_as("SELECT CASE WHEN expired IS NULL THEN state ELSE 'expired' END, attempts FROM builds WHERE id = $1")
                .bind(build)
                .fetch_optional(&self.pool)
                .await?;
        let Some((state, attempts)) = row else {
            return Ok(FilesToKeep::All);
        };
        Ok(match state.parse()? {
            BuildState::Waiting => FilesToKeep::All,
            BuildState::Building | BuildState::Ready => FilesToKeep::OfAttempt(u32::try_from(attempts).unwrap_or(0)),
            BuildState::Failed | BuildState::Cancelled | BuildState::Expired => FilesToKeep::None,
        })
    }
}

fn log_line(event: &Event) -> Option<&str> {
    match event {
        Event::Log { line } => Some(line),
        Event::Progress { .. } => None,
    }
}

/// Brings a step up to date, or adds it in the order of the steps.
fn note_progress(steps: &mut Vec<StepProgress>, event: &Event) {
    let Event::Progress { step, done, total, what } = event else {
        return;
    };
    let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
    match steps.iter_mut().find(|s| s.step == *step) {
        Some(known) => {
            known.done = *done;
            known.total = *total;
            known.what = what;
        }
        None => {
            steps.push(StepProgress { step: *step, done: *done, total: *total, what, since: exact_now() });
            steps.sort_by_key(|s| s.step);
        }
    }
}

/// How long each step took: from its first sign to that of the next, the last one to `end`. By the place of each in [`Step::ALL`].
pub(crate) fn step_seconds(steps: &[StepProgress], end: f64) -> Vec<(u8, f64)> {
    let ends = steps.iter().skip(1).map(|s| s.since).chain([end]);
    steps.iter().zip(ends).map(|(step, end)| (step_number(step.step), (end - step.since).max(0.0))).collect()
}

/// The place of a step among all.
pub(crate) fn step_number(step: Step) -> u8 {
    Step::ALL.iter().position(|s| *s == step).and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX)
}

/// The step a build was in, for failures that the server itself reports.
pub(super) fn current_step(steps: &[StepProgress]) -> Step {
    steps.last().map_or(Step::Fetch, |s| s.step)
}
