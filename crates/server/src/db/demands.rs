//! What orders asked for together, for advice on what to build: counted by day, with nothing that leads to who asked.

use super::{Db, Result, to_i64, to_u64};
use crate::clock::today;

/// Most different demands kept of one day, so that nobody can fill the disk with them.
const MAX_PER_DAY: i64 = 10_000;
/// Longest text of a demand that is kept, in bytes.
const MAX_TEXT: usize = 2_000;
/// Most different demands looked at.
const MAX_DEMANDS: i64 = 20_000;

/// The orders that asked for the same. Each text is a package, then its flags, separated by spaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedDemand {
    pub unmet: Vec<String>,
    pub met: Vec<String>,
    pub orders: u64,
}

impl Db {
    /// Counts an order's demand today; one that asked for nothing special is not counted.
    pub async fn count_demand(&self, channel: &str, unmet: &[String], met: &[String]) -> Result<()> {
        let (unmet, met) = (sorted_lines(unmet), sorted_lines(met));
        if (unmet.is_empty() && met.is_empty()) || unmet.len() + met.len() > MAX_TEXT {
            return Ok(());
        }
        let today = today();
        let mut tx = self.write().await?;
        let known: i64 =
            sqlx::query_scalar("SELECT count(*) FROM demands WHERE day = $1").bind(today).fetch_one(&mut *tx).await?;
        if known < MAX_PER_DAY {
            sqlx::query(
                "INSERT INTO demands (channel, unmet, met, day, count) VALUES ($1, $2, $3, $4, 1)
                 ON CONFLICT (channel, unmet, met, day) DO UPDATE SET count = demands.count + 1",
            )
            .bind(channel)
            .bind(unmet)
            .bind(met)
            .bind(today)
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await
    }

    /// The demands on a channel in the last `days` days, the most frequent first.
    pub async fn demands(&self, channel: &str, days: u64) -> Result<Vec<CountedDemand>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(
            "SELECT unmet, met, CAST(sum(count) AS BIGINT) AS total FROM demands WHERE channel = $1 AND day > $2
             GROUP BY unmet, met ORDER BY total DESC, unmet, met LIMIT $3",
        )
        .bind(channel)
        .bind(today().saturating_sub(to_i64(days)))
        .bind(MAX_DEMANDS)
        .fetch_all(&self.pool)
        .await?;
        let lines = |text: &str| text.lines().map(str::to_owned).collect();
        Ok(rows
            .into_iter()
            .map(|(unmet, met, orders)| CountedDemand { unmet: lines(&unmet), met: lines(&met), orders: to_u64(orders) })
            .collect())
    }
}

fn sorted_lines(texts: &[String]) -> String {
    let mut texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    texts.sort_unstable();
    texts.dedup();
    texts.join("\n")
}
