//! Wishes for builds that no binhost has: what operators should build next. They are counted by day, with nothing that leads to who
//! wished.

use resolver::Wish;
use serde::Serialize;

use super::{Db, Result, to_i64, to_u64};
use crate::clock::today;

/// Most different wishes kept of one day, so that nobody can fill the disk with them.
const MAX_PER_DAY: i64 = 10_000;
/// Longest text of a wish that is kept, in bytes.
const MAX_TEXT: usize = 300;

/// A wish and how often it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct CountedWish {
    pub channel: String,
    /// `category/package`, with version and slot where they were asked for.
    pub package: String,
    /// The flags wished for, `-` before unwanted ones; empty when the package itself is missing.
    pub flags: Vec<String>,
    /// How often it was wished for in the days asked about.
    pub count: u64,
    /// The day of the last time, in days since the epoch.
    pub last_day: i64,
    /// The build that came nearest, if there was one.
    pub nearest: Option<String>,
    /// The flags in which that build differs: `+` for those it lacks, `-` for those it has, `!` for those it does not know.
    pub differs: Vec<String>,
}

impl Db {
    /// Counts wishes that could not be met today.
    pub async fn count_wishes(&self, channel: &str, wishes: &[Wish]) -> Result<()> {
        if wishes.is_empty() {
            return Ok(());
        }
        let today = today();
        let mut tx = self.write().await?;
        let mut known: i64 =
            sqlx::query_scalar("SELECT count(*) FROM wishes WHERE day = $1").bind(today).fetch_one(&mut *tx).await?;
        for wish in wishes {
            let flags = wish.flags.join(" ");
            if known >= MAX_PER_DAY || wish.package.len() > MAX_TEXT || flags.len() > MAX_TEXT {
                continue;
            }
            let (nearest, differs) =
                wish.nearest.as_ref().map(|(build, flags)| (build.as_str(), flags.join(" "))).unwrap_or_default();
            sqlx::query(
                "INSERT INTO wishes (channel, package, flags, day, count, nearest, differs) VALUES ($1, $2, $3, $4, 1, $5, $6)
                 ON CONFLICT (channel, package, flags, day) DO UPDATE SET count = wishes.count + 1, nearest = excluded.nearest, differs = excluded.differs",
            )
            .bind(channel)
            .bind(&wish.package)
            .bind(&flags)
            .bind(today)
            .bind(nearest)
            .bind(differs)
            .execute(&mut *tx)
            .await?;
            known += 1;
        }
        tx.commit().await
    }

    /// The wishes of the last `days` days, the most frequent first, at most `limit`.
    pub async fn wishes(&self, days: u64, limit: u32) -> Result<Vec<CountedWish>> {
        let rows: Vec<(String, String, String, i64, i64, String, String)> = sqlx::query_as(
            "SELECT w.channel, w.package, w.flags, s.total, s.last, w.nearest, w.differs
             FROM (SELECT channel, package, flags, CAST(sum(count) AS BIGINT) AS total, max(day) AS last FROM wishes WHERE day > $1
                   GROUP BY channel, package, flags) AS s
             JOIN wishes w ON w.channel = s.channel AND w.package = s.package AND w.flags = s.flags AND w.day = s.last
             ORDER BY s.total DESC, s.last DESC, w.package LIMIT $2",
        )
        .bind(today().saturating_sub(to_i64(days)))
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await?;
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Ok(rows
            .into_iter()
            .map(|(channel, package, flags, count, last_day, nearest, differs)| CountedWish {
                channel,
                package,
                flags: words(&flags),
                count: to_u64(count),
                last_day,
                nearest: Some(nearest).filter(|n| !n.is_empty()),
                differs: words(&differs),
            })
            .collect())
    }
}
