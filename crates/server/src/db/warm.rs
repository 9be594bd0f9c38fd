//! Builds that nobody has ordered: presets that are kept warm, so that whoever orders one as it is has it at once.

use std::collections::HashSet;

use sqlx::{Any, Executor};

use super::{BuildState, Db, NewBuild, Result, builds, to_i64};
use crate::clock::now;

/// What became of a preset that is to be kept warm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ahead {
    /// Its build was queued.
    Queued,
    /// Its build waits, runs or is ready already.
    There,
    /// Its last build was this one, and it failed or the operator cancelled it: it is left alone until the plan is another.
    Failed,
    /// Workers have something else to make.
    Busy,
}

impl Db {
    /// Whether there is something for workers to make, besides builds that none of them can (`stuck`, their names). What waits for packages
    /// is nothing for them yet: they make those first.
    pub async fn is_busy(&self, stuck: &HashSet<&str>) -> Result<bool> {
        is_busy(&self.pool, stuck).await
    }

    /// Queues the build of a preset ahead of any order, when there is no equal one and nothing else is to be made, as [`Db::is_busy`] has it.
    /// It becomes the preset's newest build; what was so before goes as other images do.
    pub async fn place_ahead(&self, preset: &str, build: &NewBuild<'_>, stuck: &HashSet<&str>) -> Result<Ahead> {
        let mut tx = self.write().await?;
        let last: Option<(String, String)> =
            sqlx::query_as("SELECT b.join_key, b.state FROM warm w JOIN builds b ON b.id = w.build WHERE w.preset = $1")
                .bind(preset)
                .fetch_optional(&mut *tx)
                .await?;
        if let Some((key, state)) = last
            && key == build.join_key
            && matches!(state.parse()?, BuildState::Failed | BuildState::Cancelled)
        {
            return Ok(Ahead::Failed);
        }
        let (id, ahead) = match builds::equal(&mut tx, build).await? {
            Some((id, _)) => (id, Ahead::There),
            None => {
                if is_busy(&mut *tx, stuck).await? {
                    return Ok(Ahead::Busy);
                }
                builds::insert(&mut tx, build).await?;
                (build.id.to_owned(), Ahead::Queued)
            }
        };
        sqlx::query("INSERT INTO warm (preset, build) VALUES ($1, $2) ON CONFLICT (preset) DO UPDATE SET build = excluded.build")
            .bind(preset)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(ahead)
    }

    /// Keeps only these presets warm. What waits for others and nobody ordered is not built.
    pub async fn keep_warm_only(&self, presets: &[String]) -> Result<()> {
        let mut tx = self.write().await?;
        let kept: Vec<String> = sqlx::query_scalar("SELECT preset FROM warm").fetch_all(&mut *tx).await?;
        for preset in kept.iter().filter(|preset| !presets.contains(preset)) {
            sqlx::query("DELETE FROM warm WHERE preset = $1").bind(preset).execute(&mut *tx).await?;
        }
        sqlx::query(
            "UPDATE builds SET state = 'cancelled', cancel = 1, ended = $1
             WHERE state = 'waiting' AND source IS NULL AND NOT EXISTS (SELECT 1 FROM orders o WHERE o.build = builds.id AND o.cancelled IS NULL)
               AND NOT EXISTS (SELECT 1 FROM warm w WHERE w.build = builds.id)",
        )
        .bind(now())
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }
}

async fn is_busy<'c>(on: impl Executor<'c, Database = Any>, stuck: &HashSet<&str>) -> Result<bool> {
    // One more than are stuck shows one that is not, however long the queue.
    let enough = to_i64(stuck.len() as u64).saturating_add(1);
    let open: Vec<String> =
        sqlx::query_scalar("SELECT id FROM builds WHERE state IN ('waiting', 'building') AND lacking IS NULL LIMIT $1")
            .bind(enough)
            .fetch_all(on)
            .await?;
    Ok(open.iter().any(|build| !stuck.contains(build.as_str())))
}
