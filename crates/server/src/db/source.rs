//! Builds of packages from source. They stand in the queue with those of images.

use contract::plan::PLAN_VERSION;
use contract::{Plan, Summary, System};
use serde::{Deserialize, Serialize};

use super::{Db, EndError, NewBuild, Result, builds, from_json, to_json};

/// What is built from source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBuild {
    /// An atom without USE dependencies.
    pub package: String,
    /// USE flags, `-` before unwanted ones.
    pub flags: Vec<String>,
    /// Where it is in the binhost, once it was taken.
    pub path: Option<String>,
}

/// A package to be queued.
pub struct NewSourceBuild<'a> {
    pub id: &'a str,
    /// Equal for builds of the same.
    pub join_key: &'a str,
    pub channel: &'a str,
    pub arch: &'a str,
    pub title: &'a str,
    pub source: &'a SourceBuild,
    pub work: &'a queue::Work,
}

impl Db {
    /// Queues the build of a package, unless the same waits or runs; the build that it is. `None` where more than `most` wait.
    pub async fn place_source(&self, new: &NewSourceBuild<'_>, most: usize) -> Result<Option<String>> {
        let mut tx = self.write().await?;
        let open: Vec<(String, String)> = sqlx::query_as(
            "SELECT id, join_key FROM builds
             WHERE source IS NOT NULL AND channel = $1 AND cancel = 0 AND state IN ('waiting', 'building') ORDER BY place",
        )
        .bind(new.channel)
        .fetch_all(&mut *tx)
        .await?;
        if let Some((id, _)) = open.iter().find(|(_, key)| key == new.join_key) {
            return Ok(Some(id.clone()));
        }
        if open.len() >= most {
            return Ok(None);
        }
        let plan = empty_plan(new.channel, new.arch);
        let build = NewBuild {
            id: new.id,
            join_key: new.join_key,
            channel: new.channel,
            image_name: new.title,
            notice: "",
            formats: &[],
            system: &System::default(),
            plan: &plan,
            work: new.work,
            sketch: &queue::Sketch::default(),
        };
        builds::insert(&mut tx, &build).await?;
        sqlx::query("UPDATE builds SET source = $1 WHERE id = $2")
            .bind(to_json(new.source)?)
            .bind(new.id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(new.id.to_owned()))
    }

    /// What a worker builds from source under a lease, and for which channel.
    pub async fn source_of_lease(&self, build: &str, lease: &str) -> Result<Option<(String, SourceBuild)>> {
        let row: Option<(String, String)> = sqlx::query_as(
            "SELECT channel, source FROM builds WHERE id = $1 AND lease = $2 AND state = 'building' AND source IS NOT NULL AND cancel = 0",
        )
        .bind(build)
        .bind(lease)
        .fetch_optional(&self.pool)
        .await?;
        row.map(|(channel, source)| Ok((channel, from_json(&source)?))).transpose()
    }

    /// Notes where the package of a build is now.
    pub async fn source_taken(&self, build: &str, source: &SourceBuild) -> Result<()> {
        sqlx::query("UPDATE builds SET source = $1 WHERE id = $2")
            .bind(to_json(source)?)
            .bind(build)
            .execute(&self.pool)
            .await
            .map(drop)
    }
}

/// A build from source ends well only when its package was taken.
pub(super) fn check_taken(source: &str) -> std::result::Result<(), EndError> {
    match from_json::<SourceBuild>(source)?.path {
        Some(_) => Ok(()),
        None => Err(EndError::Disagrees("its package was not sent".into())),
    }
}

/// It takes no packages of any binhost.
fn empty_plan(channel: &str, arch: &str) -> Plan {
    Plan {
        version: PLAN_VERSION,
        arch: arch.to_owned(),
        channel: channel.to_owned(),
        chost: String::new(),
        binhosts: Vec::new(),
        profile: None,
        world: Vec::new(),
        services: Vec::new(),
        base: None,
        prefix: None,
        install_mask: String::new(),
        portage: None,
        packages: Vec::new(),
        removals: Vec::new(),
        inherited: Vec::new(),
        notes: Vec::new(),
        summary: Summary::default(),
    }
}
