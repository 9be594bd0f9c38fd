//! Builds: one set of images to be made, for everybody who ordered just that.

use std::fmt;
use std::str::FromStr;

use contract::{Artifact, Failure, Format, Plan, Step, Summary, System};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{Db, Result, from_json, to_u64};

/// Where a build stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
        let all = [Self::Waiting, Self::Building, Self::Ready, Self::Failed, Self::Cancelled, Self::Expired];
        all.into_iter()
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
}

struct BuildRow {
    id: String,
    channel: String,
    arch: String,
    image_name: String,
    formats: String,
    summary: String,
    notes: String,
    created: i64,
    state: String,
    attempts: i64,
    progress: String,
    started: Option<i64>,
    ended: Option<i64>,
    failure: Option<String>,
    messages: String,
}

impl<'r> FromRow<'r, AnyRow> for BuildRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        Ok(BuildRow {
            id: row.try_get("id")?,
            channel: row.try_get("channel")?,
            arch: row.try_get("arch")?,
            image_name: row.try_get("image_name")?,
            formats: row.try_get("formats")?,
            summary: row.try_get("summary")?,
            notes: row.try_get("notes")?,
            created: row.try_get("created")?,
            state: row.try_get("state")?,
            attempts: row.try_get("attempts")?,
            progress: row.try_get("progress")?,
            started: row.try_get("started")?,
            ended: row.try_get("ended")?,
            failure: row.try_get("failure")?,
            messages: row.try_get("messages")?,
        })
    }
}

impl TryFrom<BuildRow> for Build {
    type Error = sqlx::Error;
    fn try_from(row: BuildRow) -> Result<Self> {
        Ok(Build {
            id: row.id,
            channel: row.channel,
            arch: row.arch,
            image_name: row.image_name,
            formats: from_json(&row.formats)?,
            summary: from_json(&row.summary)?,
            notes: from_json(&row.notes)?,
            created: row.created,
            state: row.state.parse()?,
            attempts: u32::try_from(row.attempts).unwrap_or(0),
            progress: from_json(&row.progress)?,
            started: row.started,
            ended: row.ended,
            failure: row.failure.as_deref().map(from_json).transpose()?,
            messages: from_json(&row.messages)?,
        })
    }
}

impl Db {
    /// The build with this identifier.
    pub async fn build(&self, id: &str) -> Result<Option<Build>> {
        let row: Option<BuildRow> = sqlx::query_as(
            "SELECT id, channel, arch, image_name, formats, summary, notes, created,
                    CASE WHEN expired IS NULL THEN state ELSE 'expired' END AS state, attempts, progress,
                    started, ended, failure, messages
             FROM builds WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await?;
        row.map(Build::try_from).transpose()
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

    /// Every file of every ready build: the build, the attempt that made it, the name.
    pub async fn all_artifacts(&self) -> Result<Vec<(String, i64, String)>> {
        sqlx::query_as("SELECT build, attempt, name FROM artifacts ORDER BY build, name").fetch_all(&self.pool).await
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
        let rows: Vec<BuildRow> = sqlx::query_as(
            "SELECT id, channel, arch, image_name, formats, summary, notes, created,
                    CASE WHEN expired IS NULL THEN state ELSE 'expired' END AS state, attempts, progress,
                    started, ended, failure, messages
             FROM builds
             ORDER BY CASE state WHEN 'building' THEN 0 WHEN 'waiting' THEN 1 ELSE 2 END,
                      CASE WHEN state = 'waiting' THEN place END, ended DESC NULLS LAST, place DESC
             LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter().map(Build::try_from).collect()
    }
}
