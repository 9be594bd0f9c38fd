//! How large finished images are.

use contract::Format;

use super::{Db, Result, to_u64};

/// How large the images of one format of one build are.
pub struct MadeSize {
    pub format: Format,
    /// All files of the format. Bytes.
    pub image: u64,
    /// The package files that it was made of. Bytes.
    pub packages: u64,
}

impl Db {
    /// The sizes of the images of the last finished builds.
    pub async fn made_sizes(&self, builds: u32) -> Result<Vec<MadeSize>> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as(
            "SELECT a.format, CAST(SUM(a.size) AS BIGINT), b.plan_bytes FROM artifacts a
             JOIN (SELECT id, plan_bytes FROM builds WHERE state = 'ready' AND plan_bytes > 0 ORDER BY ended DESC LIMIT $1) b
             ON b.id = a.build GROUP BY b.id, a.format, b.plan_bytes",
        )
        .bind(i64::from(builds))
        .fetch_all(&self.pool)
        .await?;
        // A format that another version of the server made, and this one does not know, is no measure.
        let made = |(format, image, packages): (String, i64, i64)| {
            Some(MadeSize { format: format.parse().ok()?, image: to_u64(image), packages: to_u64(packages) })
        };
        Ok(rows.into_iter().filter_map(made).collect())
    }
}
