//! Builds of packages from source. They stand in the queue with those of images.

use contract::{Plan, System};
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
    /// Nobody but orders that wait for it has asked for it: it goes when they go.
    #[serde(default)]
    pub for_orders: bool,
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
        let open: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT id, join_key, source FROM builds
             WHERE source IS NOT NULL AND channel = $1 AND cancel = 0 AND state IN ('waiting', 'building') ORDER BY place",
        )
        .bind(new.channel)
        .fetch_all(&mut *tx)
        .await?;
        if let Some((id, _, source)) = open.iter().find(|(_, key, _)| key == new.join_key) {
            let known: SourceBuild = from_json(source)?;
            if known.for_orders && !new.source.for_orders {
                let source = to_json(&SourceBuild { for_orders: false, ..known })?;
                sqlx::query("UPDATE builds SET source = $1 WHERE id = $2").bind(source).bind(id).execute(&mut *tx).await?;
            }
            tx.commit().await?;
            return Ok(Some(id.clone()));
        }
        if open.len() >= most {
            return Ok(None);
        }
        let plan = Plan::empty(new.channel, new.arch);
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
            lacking: None,
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
