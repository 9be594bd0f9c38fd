//! How a build ends: what its worker reports is compared with what was ordered and sent, and images, state and notices become visible
//! together.

use attest::Document;
use contract::lease::EndReport;
use contract::{Artifact, Failure, Format, Plan};

use super::lease::step_seconds;
use super::outbox::{self, NoticeKind};
use super::{
    BuildState, Db, Result, StepProgress, Writing, documents, from_json, report, source, to_i64, to_json, watch, workers,
};
use crate::clock::{exact_now, now};

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

impl Db {
    /// Ends a build as its worker reports it. Images, state and notices become visible together or not at all.
    ///
    /// `documents` are what the server made to lie beside the images of a good end.
    ///
    /// What a worker gives back waits again, until it was attempted too often. A repeated report of the same lease is taken as done. Returns the state the build ended in.
    pub async fn end(
        &self,
        build: &str,
        lease: &str,
        report: &EndReport,
        documents: &[Document],
    ) -> std::result::Result<BuildState, EndError> {
        let mut tx = self.write().await?;
        let held: Option<(String, i64, i64, i64, String, String, Option<String>)> = sqlx::query_as(
            "SELECT state, attempts, forgiven, cancel, formats, plan, source FROM builds WHERE id = $1 AND lease = $2",
        )
        .bind(build)
        .bind(lease)
        .fetch_optional(&mut *tx)
        .await?;
        let Some((state, attempt, forgiven, cancel, formats, plan, source)) = held else {
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
            EndReport::GivenBack { .. } if watch::may_go_back(attempt - forgiven) => {
                watch::go_back(&mut tx, build, "the worker's disk is full").await?;
                BuildState::Waiting
            }
            EndReport::Failed { failure } | EndReport::GivenBack { failure } => {
                fail(&mut tx, build, failure).await?;
                BuildState::Failed
            }
            EndReport::Ready { artifacts, plan: lock, messages, evidence } => {
                source.as_deref().map_or(Ok(()), source::check_taken)?;
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
        if ended != BuildState::Waiting {
            workers::comes_again(&mut tx, build).await?;
        }
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
}

/// Ends a build as failed and queues the notices.
pub(super) async fn fail(tx: &mut Writing, build: &str, failure: &Failure) -> Result<()> {
    sqlx::query("UPDATE builds SET state = 'failed', ended = $1, failure = $2 WHERE id = $3")
        .bind(now())
        .bind(to_json(failure)?)
        .bind(build)
        .execute(&mut **tx)
        .await?;
    outbox::tell_all(tx, build, NoticeKind::Failed).await
}

async fn finish(
    tx: &mut Writing,
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
async fn note_times(tx: &mut Writing, build: &str) -> Result<()> {
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
