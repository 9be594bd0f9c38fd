//! Builds: one set of images to be made, for everybody who ordered just that.

use std::fmt;
use std::str::FromStr;

use contract::{Artifact, Failure, Format, Plan, Step, Summary, System};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, FromRow, Row as _};

use super::{Db, Lacking, Result, Writing, from_json, lacking, log, to_i64, to_json, to_u64};
use crate::clock::now;

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum BuildState {
    Waiting,
    Building,
    Ready,
    Failed,
    Cancelled,
    /// It was ready, and its images were removed when their time was over.
    Expired,
}

impl BuildState {
    pub const ALL: [BuildState; 6] = [Self::Waiting, Self::Building, Self::Ready, Self::Failed, Self::Cancelled, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            BuildState::Waiting => "waiting",
            BuildState::Building => "building",
            BuildState::Ready => "ready",
            BuildState::Failed => "failed",
            BuildState::Cancelled => "cancelled",
            BuildState::Expired => "expired",
        }
    }

    /// Nothing will change any more.
    pub fn is_final(self) -> bool {
        !matches!(self, BuildState::Waiting | BuildState::Building)
    }
}

impl fmt::Display for BuildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for BuildState {
    type Err = sqlx::Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| sqlx::Error::Decode(format!("“{text}” is not a state of a build").into()))
    }
}

/// A build to be queued.
pub struct NewBuild<'a> {
    pub id: &'a str,
    /// Equal for builds whose images would be the same.
    pub join_key: &'a str,
    pub channel: &'a str,
    pub image_name: &'a str,
    pub notice: &'a str,
    pub formats: &'a [Format],
    pub system: &'a System,
    pub plan: &'a Plan,
    /// What there is to do, for predicting how long it takes.
    pub work: &'a queue::Work,
    /// Its packages that weigh most.
    pub sketch: &'a queue::Sketch,
    /// Set where it cannot be planned yet.
    pub lacking: Option<&'a Lacking>,
}

/// How far a step has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepProgress {
    pub step: Step,
    pub done: u64,
    pub total: u64,
    pub what: String,
    /// When the step was first heard of, seconds since the epoch.
    pub since: f64,
}

/// A build as it stands.
#[derive(Clone, Debug)]
pub struct Build {
    pub id: String,
    pub channel: String,
    pub arch: String,
    pub image_name: String,
    pub formats: Vec<Format>,
    pub summary: Summary,
    /// What whoever ordered should know of the plan.
    pub notes: Vec<String>,
    pub created: i64,
    pub state: BuildState,
    pub attempts: u32,
    pub progress: Vec<StepProgress>,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub failure: Option<Failure>,
    pub messages: Vec<String>,
    /// It waits for packages that are built from source, and is planned when they are there.
    pub is_lacking: bool,
}

/// The columns of a [`Build`] of the table `builds b`, others being before them.
macro_rules! build {
    ($others:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $others,
            "b.id AS build, b.channel, b.arch, b.image_name, b.formats, b.summary, b.notes, b.created AS queued,
             CASE WHEN b.expired IS NULL THEN b.state ELSE 'expired' END AS state, b.attempts, b.progress, b.started, b.ended, b.failure,
             b.messages, b.lacking FROM ",
            $from
        )
    };
}
pub(super) use build;

impl<'r> FromRow<'r, AnyRow> for Build {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        let text = |column: &str| row.try_get::<String, _>(column);
        let failure: Option<String> = row.try_get("failure")?;
        Ok(Build {
            id: text("build")?,
            channel: text("channel")?,
            arch: text("arch")?,
            image_name: text("image_name")?,
            formats: from_json(&text("formats")?)?,
            summary: from_json(&text("summary")?)?,
            notes: from_json(&text("notes")?)?,
            created: row.try_get("queued")?,
            state: text("state")?.parse()?,
            attempts: u32::try_from(row.try_get::<i64, _>("attempts")?).unwrap_or(0),
            progress: from_json(&text("progress")?)?,
            started: row.try_get("started")?,
            ended: row.try_get("ended")?,
            failure: failure.as_deref().map(from_json).transpose()?,
            messages: from_json(&text("messages")?)?,
            is_lacking: row.try_get::<Option<String>, _>("lacking")?.is_some(),
        })
    }
}

/// The build that an order of the same images joins: one that is ready, or else the first that waits or runs; and its state.
///
/// A hit on the join key is compared with the build's own inputs before it counts, so that not even a broken hash could hand one person's
/// settings to another.
pub(super) async fn equal(connection: &mut AnyConnection, build: &NewBuild<'_>) -> Result<Option<(String, BuildState)>> {
    let found: Option<(String, String)> = sqlx::query_as(
        "SELECT id, state FROM builds
         WHERE join_key = $1 AND formats = $2 AND system = $3 AND arch = $4 AND cancel = 0
           AND state IN ('waiting', 'building', 'ready') AND expired IS NULL
         ORDER BY state = 'ready' DESC, place LIMIT 1",
    )
    .bind(build.join_key)
    .bind(to_json(build.formats)?)
    .bind(to_json(build.system)?)
    .bind(&build.plan.arch)
    .fetch_optional(&mut *connection)
    .await?;
    found.map(|(id, state)| Ok((id, state.parse()?))).transpose()
}

/// Queues a build.
pub(super) async fn insert(tx: &mut Writing, build: &NewBuild<'_>) -> Result<()> {
    sqlx::query(
        "INSERT INTO builds (id, join_key, channel, arch, image_name, notice, formats, system, plan, plan_bytes, summary, notes, work,
                             sketch, created, lacking)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(build.id)
    .bind(build.join_key)
    .bind(build.channel)
    .bind(&build.plan.arch)
    .bind(build.image_name)
    .bind(build.notice)
    .bind(to_json(build.formats)?)
    .bind(to_json(build.system)?)
    .bind(to_json(build.plan)?)
    .bind(to_i64(build.plan.download_size()))
    .bind(to_json(&build.plan.summary)?)
    .bind(to_json(&build.plan.notes)?)
    .bind(to_json(build.work)?)
    .bind(to_json(build.sketch)?)
    .bind(now())
    .bind(build.lacking.map(to_json).transpose()?)
    .execute(&mut **tx)
    .await?;
    match build.lacking {
        Some(lacking) => {
            lacking::note(tx, build.id, &lacking.sources).await?;
            log::append(tx, build.id, [lacking.word.as_str()]).await
        }
        None => Ok(()),
    }
}

/// Cancels a build that is still to be made; one that a worker has in hand is only marked. Whether it was still to be made.
pub(super) async fn cancel(tx: &mut Writing, build: &str) -> Result<bool> {
    let done = sqlx::query(
        "UPDATE builds SET cancel = 1, ended = CASE state WHEN 'waiting' THEN $1 ELSE ended END,
                state = CASE state WHEN 'waiting' THEN 'cancelled' ELSE state END
         WHERE id = $2 AND state IN ('waiting', 'building')",
    )
    .bind(now())
    .bind(build)
    .execute(&mut **tx)
    .await?;
    Ok(done.rows_affected() == 1)
}

impl Db {
    /// The build that an order of the same images would join, and its state.
    pub async fn equal_build(&self, build: &NewBuild<'_>) -> Result<Option<(String, BuildState)>> {
        let mut tx = self.pool.begin().await?;
        equal(&mut tx, build).await
    }

    /// The build with this identifier.
    pub async fn build(&self, id: &str) -> Result<Option<Build>> {
        sqlx::query_as(build!("", "builds b WHERE b.id = $1")).bind(id).fetch_optional(&self.pool).await
    }

    /// The worker that had the build last.
    pub async fn worker_of(&self, build: &str) -> Result<Option<String>> {
        let worker: Option<Option<String>> =
            sqlx::query_scalar("SELECT worker FROM builds WHERE id = $1").bind(build).fetch_optional(&self.pool).await?;
        Ok(worker.flatten())
    }

    /// The build's plan: with the packages' hashes once it is ready, as resolved before that.
    pub async fn plan(&self, build: &str) -> Result<Plan> {
        let text: String = sqlx::query_scalar("SELECT coalesce(locked_plan, plan) FROM builds WHERE id = $1")
            .bind(build)
            .fetch_one(&self.pool)
            .await?;
        from_json(&text)
    }

    /// The files of a ready build, in the order of their names, each with the attempt that made it.
    pub async fn artifacts(&self, build: &str) -> Result<Vec<(Artifact, u32)>> {
        let rows: Vec<(String, String, i64, String, String, String, i64)> = sqlx::query_as(
            "SELECT name, format, size, sha256, sha512, blake2b, a.attempt FROM artifacts a JOIN builds b ON b.id = a.build
             WHERE a.build = $1 AND b.state = 'ready' AND b.expired IS NULL ORDER BY name",
        )
        .bind(build)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(name, format, size, sha256, sha512, blake2b, attempt)| {
                let format: Format = format.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))?;
                let artifact = Artifact { name, format, size: to_u64(size), sha256, sha512, blake2b };
                Ok((artifact, u32::try_from(attempt).unwrap_or(0)))
            })
            .collect()
    }

    /// How many builds wait, and how many are being built.
    pub async fn queue_length(&self) -> Result<(u64, u64)> {
        let (queued, building): (i64, i64) = sqlx::query_as(
            "SELECT count(*) FILTER (WHERE state = 'waiting'), count(*) FILTER (WHERE state = 'building') FROM builds
             WHERE state IN ('waiting', 'building')",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((to_u64(queued), to_u64(building)))
    }

    /// The newest builds for the public queue page: those not ended, then the last ended ones.
    pub async fn recent(&self, limit: u32) -> Result<Vec<Build>> {
        sqlx::query_as(build!(
            "",
            "builds b WHERE b.state IN ('waiting', 'building')
                OR b.id IN (SELECT e.id FROM builds e WHERE e.ended IS NOT NULL ORDER BY e.ended DESC LIMIT $1)
             ORDER BY CASE b.state WHEN 'building' THEN 0 WHEN 'waiting' THEN 1 ELSE 2 END,
                      CASE WHEN b.state = 'waiting' THEN b.place END, b.ended DESC NULLS LAST, b.place DESC
             LIMIT $1"
        ))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
    }
}
