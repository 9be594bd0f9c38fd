//! Leases: a worker's hold on a build, what it reports under it, and how the build ends.

use attest::{Digests, Document};
use contract::lease::EndReport;
use contract::{Artifact, Event, Failure, Format, Plan, Step, System};
use sqlx::any::AnyRow;
use sqlx::{Any, FromRow, Row as _, Transaction};

use super::outbox::{self, NoticeKind};
use super::{BuildState, Db, Result, StepProgress, documents, from_json, log, report, to_i64, to_json, watch, workers};
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

/// Which of a build's files must stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilesToKeep {
    /// Those of the attempt that is ready or runs.
    OfAttempt(u32),
    None,
    /// The build may be leased at any moment, or is not known at all (another database was put in place): nothing is touched.
    All,
}

/// Why an end report was not taken.
#[derive(Debug)]
pub enum EndError {
    LeaseLost,
    /// What the report says does not agree with what was ordered or sent.
    Disagrees(String),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for EndError {
    fn from(error: sqlx::Error) -> Self {
        EndError::Database(error)
    }
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
        })
    }
}

impl Db {
    /// Gives a waiting build to a worker. None when it does not wait any more.
    pub async fn lease(&self, build: &str, lease: &str, worker: &str, ttl_seconds: u64) -> Result<Option<Leased>> {
        let mut tx = self.write_build(build).await?;
        let row: Option<LeasedRow> = sqlx::query_as(
            "UPDATE builds
             SET state = 'building', lease = $1, worker = $2, lease_expires = $3, started = $4,
                 attempts = attempts + 1, next_sequence = 0, progress = '[]'
             WHERE id = $5 AND state = 'waiting'
             RETURNING id, channel, image_name, notice, formats, system, plan, attempts",
        )
        .bind(lease)
        .bind(worker)
        .bind(now().saturating_add(to_i64(ttl_seconds)))
        .bind(now())
        .bind(build)
        .fetch_optional(&mut *tx)
        .await?;
        workers::took_work(&mut tx, worker).await?;
        watch::begins(&mut tx, build).await?;
        tx.commit().await?;
        row.map(|row| {
            Ok(Leased {
                formats: from_json(&row.formats)?,
                system: from_json(&row.system)?,
                plan: from_json(&row.plan)?,
                attempt: u32::try_from(row.attempts).unwrap_or(0),
                id: row.id,
                channel: row.channel,
                image_name: row.image_name,
                notice: row.notice,
            })
        })
        .transpose()
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

    /// Notes a file that was sent completely under a lease. `false` when the lease was lost meanwhile.
    pub async fn record_upload(&self, build: &str, lease: &str, upload: &Upload) -> Result<bool> {
        let done = sqlx::query(
            "INSERT INTO uploads (build, attempt, name, size, sha256, sha512, blake2b)
             SELECT id, attempts, $1, $2, $3, $4, $5 FROM builds WHERE id = $6 AND lease = $7 AND state = 'building'
             ON CONFLICT (build, attempt, name) DO UPDATE
             SET size = excluded.size, sha256 = excluded.sha256, sha512 = excluded.sha512, blake2b = excluded.blake2b",
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
        Ok(done.rows_affected() == 1)
    }

    /// Ends a build as its worker reports it. Images, state and notices become visible together or not at all.
    ///
    /// `documents` are what the server made to lie beside the images of a good end.
    ///
    /// A repeated report of the same lease is taken as done. Returns the state the build ended in.
    pub async fn end(
        &self,
        build: &str,
        lease: &str,
        report: &EndReport,
        documents: &[Document],
    ) -> std::result::Result<BuildState, EndError> {
        let mut tx = self.write().await?;
        let held: Option<(String, i64, i64, String, String)> =
            sqlx::query_as("SELECT state, attempts, cancel, formats, plan FROM builds WHERE id = $1 AND lease = $2")
                .bind(build)
                .bind(lease)
                .fetch_optional(&mut *tx)
                .await?;
        let Some((state, attempt, cancel, formats, plan)) = held else {
            return Err(EndError::LeaseLost);
        };
        let state: BuildState = state.parse()?;
        match state {
            BuildState::Building => {}
            BuildState::Waiting => return Err(EndError::LeaseLost),
            BuildState::Ready | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => return Ok(state),
        }
        let ended = match report {
            _ if cancel != 0 => {
                sqlx::query("UPDATE builds SET state = 'cancelled', ended = $1 WHERE id = $2")
                    .bind(now())
                    .bind(build)
                    .execute(&mut *tx)
                    .await?;
                BuildState::Cancelled
            }
            EndReport::Failed { failure } => {
                fail(&mut tx, build, failure).await?;
                BuildState::Failed
            }
            EndReport::Ready { artifacts, plan: lock, messages, evidence } => {
                report::check_plan(&from_json(&plan)?, lock)?;
                let mut sent = report::uploads(&mut *tx, build, attempt).await?;
                report::check_artifacts(&mut sent, &from_json::<Vec<Format>>(&formats)?, artifacts)?;
                for evidence in evidence {
                    let digests = report::check_evidence(&mut sent, evidence, &formats)?;
                    documents::insert_evidence(&mut tx, build, attempt, evidence, &digests).await?;
                }
                documents::insert(&mut tx, build, documents).await?;
                finish(&mut tx, build, attempt, artifacts, lock, messages).await?;
                BuildState::Ready
            }
        };
        tx.commit().await?;
        Ok(ended)
    }

    /// Fails a build that a lease was just given for but that cannot be handed out.
    pub async fn fail_leased(&self, build: &str, lease: &str, failure: &Failure) -> Result<()> {
        let mut tx = self.write().await?;
        let held: Option<i64> = sqlx::query_scalar("SELECT 1 FROM builds WHERE id = $1 AND lease = $2 AND state = 'building'")
            .bind(build)
            .bind(lease)
            .fetch_optional(&mut *tx)
            .await?;
        if held.is_some() {
            fail(&mut tx, build, failure).await?;
        }
        tx.commit().await
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

/// Ends a build as failed and queues the notices.
pub(super) async fn fail(tx: &mut Transaction<'static, Any>, build: &str, failure: &Failure) -> Result<()> {
    sqlx::query("UPDATE builds SET state = 'failed', ended = $1, failure = $2 WHERE id = $3")
        .bind(now())
        .bind(to_json(failure)?)
        .bind(build)
        .execute(&mut **tx)
        .await?;
    outbox::tell_all(tx, build, NoticeKind::Failed).await
}

async fn finish(
    tx: &mut Transaction<'static, Any>,
    build: &str,
    attempt: i64,
    artifacts: &[Artifact],
    lock: &Plan,
    messages: &[String],
) -> Result<()> {
    note_times(tx, build).await?;
    for artifact in artifacts {
        sqlx::query(
            "INSERT INTO artifacts (build, name, attempt, format, size, sha256, sha512, blake2b) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(build)
        .bind(&artifact.name)
        .bind(attempt)
        .bind(artifact.format.name())
        .bind(to_i64(artifact.size))
        .bind(&artifact.sha256)
        .bind(&artifact.sha512)
        .bind(&artifact.blake2b)
        .execute(&mut **tx)
        .await?;
    }
    sqlx::query("UPDATE builds SET state = 'ready', ended = $1, messages = $2, locked_plan = $3, summary = $4 WHERE id = $5")
        .bind(now())
        .bind(to_json(messages)?)
        .bind(to_json(lock)?)
        .bind(to_json(&lock.summary)?)
        .bind(build)
        .execute(&mut **tx)
        .await?;
    outbox::tell_all(tx, build, NoticeKind::Ready).await
}

/// Keeps how long each step took, and how long each order waited that was promised a time.
async fn note_times(tx: &mut Transaction<'static, Any>, build: &str) -> Result<()> {
    let now = exact_now();
    let progress: String =
        sqlx::query_scalar("SELECT progress FROM builds WHERE id = $1").bind(build).fetch_one(&mut **tx).await?;
    let steps: Vec<StepProgress> = from_json(&progress)?;
    sqlx::query("UPDATE builds SET step_seconds = $1 WHERE id = $2")
        .bind(to_json(&step_seconds(&steps, now))?)
        .bind(build)
        .execute(&mut **tx)
        .await?;
    sqlx::query(
        "UPDATE promises SET actual = CASE WHEN $1 > made THEN $1 - made ELSE 0 END, ended = $1
         WHERE ended IS NULL AND order_id IN (SELECT id FROM orders WHERE build = $2 AND cancelled IS NULL)",
    )
    .bind(now)
    .bind(build)
    .execute(&mut **tx)
    .await?;
    Ok(())
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
