//! Builds of orders that lack packages: they wait until these are built from source, and are planned then.

use contract::{Failure, Order, System};
use serde::{Deserialize, Serialize};

use super::ending::fail;
use super::{
    BuildState, Db, NewBuild, NoticeKind, Result, SourceBuild, Writing, builds, from_json, log, outbox, to_i64, to_json,
};

/// What a build that is not planned yet is kept with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lacking {
    /// What is to be planned, without personal settings: the build has them.
    pub order: Order,
    /// The builds from source that it waits for.
    #[serde(skip)]
    pub sources: Vec<String>,
    /// What its log says of them.
    #[serde(skip)]
    pub word: String,
}

/// A build that waits for nothing any more but to be planned.
pub struct LackingRow {
    pub id: String,
    /// With the personal settings.
    pub order: Order,
}

/// A build from source that another waits for, or did.
#[derive(Clone, Debug)]
pub struct NeedRow {
    pub id: String,
    /// Like `app-editors/vim[python]`.
    pub title: String,
    pub channel: String,
    pub state: BuildState,
    pub source: SourceBuild,
    pub failure: Option<Failure>,
}

impl Db {
    /// The builds all of whose packages have been built, or could not be.
    pub async fn lacking(&self, limit: u32) -> Result<Vec<LackingRow>> {
        let rows: Vec<(String, String, String)> = sqlx::query_as(
            "SELECT id, lacking, system FROM builds b
             WHERE state = 'waiting' AND lacking IS NOT NULL
               AND NOT EXISTS (SELECT 1 FROM needs n JOIN builds s ON s.id = n.source
                               WHERE n.build = b.id AND s.state IN ('waiting', 'building'))
             ORDER BY place LIMIT $1",
        )
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, lacking, system)| {
                let Lacking { order, .. } = from_json(&lacking)?;
                Ok(LackingRow { id, order: Order { system: from_json::<System>(&system)?, ..order } })
            })
            .collect()
    }

    /// What a build waits for, or did, in the order in which it was queued.
    pub async fn needs(&self, build: &str) -> Result<Vec<NeedRow>> {
        let rows: Vec<(String, String, String, String, String, Option<String>)> = sqlx::query_as(
            "SELECT s.id, s.image_name, s.channel, s.state, s.source, s.failure FROM needs n JOIN builds s ON s.id = n.source
             WHERE n.build = $1 AND s.source IS NOT NULL ORDER BY s.place",
        )
        .bind(build)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, title, channel, state, source, failure)| {
                let failure = failure.as_deref().map(from_json).transpose()?;
                Ok(NeedRow { id, title, channel, state: state.parse()?, source: from_json(&source)?, failure })
            })
            .collect()
    }

    /// What there is to do for a build.
    pub async fn work(&self, build: &str) -> Result<queue::Work> {
        let text: String = sqlx::query_scalar("SELECT work FROM builds WHERE id = $1").bind(build).fetch_one(&self.pool).await?;
        from_json(&text)
    }

    /// The build waits for these as well. Whether it still waits to be planned.
    pub async fn needs_more(&self, build: &str, sources: &[String], word: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let waits = still_lacks(&mut tx, build).await?;
        if waits {
            note(&mut tx, build, sources).await?;
            log::append(&mut tx, build, [word]).await?;
        }
        tx.commit().await?;
        Ok(waits)
    }

    /// Gives a build the plan that it waited for; or its orders to an equal build, if there is one by now. The orders that want it, with the build
    /// that they have; none where it waits no more.
    pub async fn planned(&self, build: &str, planned: &NewBuild<'_>) -> Result<Vec<(String, String)>> {
        let mut tx = self.write().await?;
        if !still_lacks(&mut tx, build).await? {
            return Ok(Vec::new());
        }
        let orders: Vec<String> = sqlx::query_scalar("SELECT id FROM orders WHERE build = $1 AND cancelled IS NULL")
            .bind(build)
            .fetch_all(&mut *tx)
            .await?;
        let with = |build: &str| orders.iter().map(|order| (order.clone(), build.to_owned())).collect();
        if let Some((equal, state)) = builds::equal(&mut tx, planned).await? {
            join(&mut tx, build, &equal).await?;
            if state == BuildState::Ready {
                for order in &orders {
                    outbox::tell_order(&mut tx, order, NoticeKind::Ready).await?;
                }
            }
            tx.commit().await?;
            return Ok(with(&equal));
        }
        sqlx::query(
            "UPDATE builds SET lacking = NULL, join_key = $1, channel = $2, image_name = $3, notice = $4, plan = $5, plan_bytes = $6,
                    summary = $7, notes = $8, work = $9, sketch = $10
             WHERE id = $11",
        )
        .bind(planned.join_key)
        .bind(planned.channel)
        .bind(planned.image_name)
        .bind(planned.notice)
        .bind(to_json(planned.plan)?)
        .bind(to_i64(planned.plan.download_size()))
        .bind(to_json(&planned.plan.summary)?)
        .bind(to_json(&planned.plan.notes)?)
        .bind(to_json(planned.work)?)
        .bind(to_json(planned.sketch)?)
        .bind(build)
        .execute(&mut *tx)
        .await?;
        log::append(&mut tx, build, ["— all packages are there; the order is planned and waits for a worker —"]).await?;
        tx.commit().await?;
        Ok(with(build))
    }

    /// Ends a build that cannot be planned. Whether it still waited for that.
    pub async fn fail_lacking(&self, build: &str, failure: &Failure) -> Result<bool> {
        let mut tx = self.write().await?;
        let waits = still_lacks(&mut tx, build).await?;
        if waits {
            fail(&mut tx, build, failure).await?;
        }
        tx.commit().await?;
        Ok(waits)
    }
}

async fn still_lacks(tx: &mut Writing, build: &str) -> Result<bool> {
    let found: Option<i64> =
        sqlx::query_scalar("SELECT 1 FROM builds WHERE id = $1 AND state = 'waiting' AND lacking IS NOT NULL")
            .bind(build)
            .fetch_optional(&mut **tx)
            .await?;
    Ok(found.is_some())
}

/// Whoever ordered a build that waits has another from now on.
async fn join(tx: &mut Writing, build: &str, other: &str) -> Result<()> {
    sqlx::query("UPDATE orders SET build = $1 WHERE build = $2").bind(other).bind(build).execute(&mut **tx).await?;
    builds::cancel(tx, build).await.map(drop)
}

/// Notes what a build waits for.
pub(super) async fn note(tx: &mut Writing, build: &str, sources: &[String]) -> Result<()> {
    for source in sources {
        sqlx::query("INSERT INTO needs (build, source) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(build)
            .bind(source)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}

/// A build is to be planned from its beginning: what it waited for counts no more.
pub(super) async fn forget(tx: &mut Writing, build: &str) -> Result<()> {
    sqlx::query("DELETE FROM needs WHERE build = $1").bind(build).execute(&mut **tx).await.map(drop)
}

/// A build is cancelled: what was to be built from source for orders alone, and no other build waits for, is cancelled too.
pub(super) async fn let_go(tx: &mut Writing, build: &str) -> Result<()> {
    let sources: Vec<(String, String)> = sqlx::query_as(
        "SELECT s.id, s.source FROM needs n JOIN builds s ON s.id = n.source
         WHERE n.build = $1 AND s.state IN ('waiting', 'building') AND s.source IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM needs m JOIN builds i ON i.id = m.build
                           WHERE m.source = s.id AND i.id <> $1 AND i.state = 'waiting')",
    )
    .bind(build)
    .fetch_all(&mut **tx)
    .await?;
    for (id, source) in sources {
        if from_json::<SourceBuild>(&source)?.for_orders {
            builds::cancel(tx, &id).await?;
        }
    }
    Ok(())
}
