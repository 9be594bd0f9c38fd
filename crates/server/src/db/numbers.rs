//! What the operator is shown of a site as a whole.

use contract::Failure;
use serde::Serialize;

use super::{Db, Result, from_json, to_u64};
use crate::clock::now;

/// Failures and given-up notices of so long ago are shown. Seconds.
const LATELY: i64 = 7 * 86_400;
/// Most failed builds that are looked at, newest first.
const MAX_FAILURES: i64 = 1_000;

/// Numbers of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// States of builds and how many are in each.
    pub builds: Vec<(String, u64)>,
    /// Since when the oldest order waits.
    pub oldest_waiting: Option<i64>,
    /// Ways, and the notices that are owed and that were given up lately.
    pub notices: Vec<(String, u64, u64)>,
    pub stored_bytes: u64,
    pub orders_last_hour: u64,
}

/// Builds that failed for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Cause {
    pub step: &'static str,
    pub package: Option<String>,
    /// The first line of what the last of them said.
    pub message: String,
    pub count: u64,
    /// The newest build that failed so.
    pub build: String,
    pub last: i64,
}

impl Db {
    /// The numbers of the site now.
    pub async fn numbers(&self) -> Result<Numbers> {
        let builds: Vec<(String, i64)> = sqlx::query_as(
            "SELECT CASE WHEN expired IS NULL THEN state ELSE 'expired' END AS shown, count(*) FROM builds GROUP BY 1 ORDER BY 1",
        )
        .fetch_all(&self.pool)
        .await?;
        let oldest_waiting: Option<i64> = sqlx::query_scalar(
            "SELECT min(o.since) FROM orders o JOIN builds b ON b.id = o.build WHERE b.state = 'waiting' AND o.cancelled IS NULL",
        )
        .fetch_one(&self.pool)
        .await?;
        let notices: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT way, count(*) FILTER (WHERE sent IS NULL AND gave_up IS NULL), count(*) FILTER (WHERE gave_up > $1)
             FROM outbox GROUP BY way ORDER BY way",
        )
        .bind(now() - LATELY)
        .fetch_all(&self.pool)
        .await?;
        let stored_bytes: Option<i64> =
            sqlx::query_scalar("SELECT CAST(sum(size) AS BIGINT) FROM artifacts").fetch_one(&self.pool).await?;
        let orders_last_hour: i64 = sqlx::query_scalar("SELECT count(*) FROM orders WHERE created > $1")
            .bind(now() - 3_600)
            .fetch_one(&self.pool)
            .await?;
        Ok(Numbers {
            builds: builds.into_iter().map(|(state, count)| (state, to_u64(count))).collect(),
            oldest_waiting,
            notices: notices.into_iter().map(|(way, owed, given_up)| (way, to_u64(owed), to_u64(given_up))).collect(),
            stored_bytes: to_u64(stored_bytes.unwrap_or(0)),
            orders_last_hour: to_u64(orders_last_hour),
        })
    }

    /// Why builds failed lately, the most frequent cause first. A cause is a step with a package, or else with what was said.
    pub async fn causes(&self) -> Result<Vec<Cause>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT id, failure, ended FROM builds WHERE state = 'failed' AND failure IS NOT NULL AND ended > $1
             ORDER BY ended DESC LIMIT $2",
        )
        .bind(now() - LATELY)
        .bind(MAX_FAILURES)
        .fetch_all(&self.pool)
        .await?;
        let mut causes: Vec<Cause> = Vec::new();
        for (build, failure, last) in rows {
            let failure: Failure = from_json(&failure)?;
            let message = failure.message.lines().next().unwrap_or_default().to_owned();
            let (step, package) = (failure.step.label(), failure.package);
            let same = |cause: &&mut Cause| {
                cause.step == step && cause.package == package && (package.is_some() || cause.message == message)
            };
            match causes.iter_mut().find(same) {
                Some(cause) => cause.count += 1,
                None => causes.push(Cause { step, package, message, count: 1, build, last }),
            }
        }
        causes.sort_by_key(|cause| std::cmp::Reverse(cause.count));
        Ok(causes)
    }
}
