//! What users may take over time, counted for all servers of a site together.

use super::{Db, Result};
use crate::clock::exact_now;

/// Nobody's count matters after so long. Seconds.
const FORGOTTEN: f64 = 2.0 * 3_600.0;

impl Db {
    /// Takes one of at most `most` that fill up at `speed` a second, or says in how many seconds there will be one.
    pub async fn take_rate(&self, name: &str, most: f64, speed: f64) -> Result<std::result::Result<(), f64>> {
        let now = exact_now();
        let taken = sqlx::query(
            "INSERT INTO rates (name, remaining, at) VALUES ($1, $2 - 1, $3) ON CONFLICT (name) DO UPDATE SET at = $3, remaining =
                 CASE WHEN rates.remaining + ($3 - rates.at) * $4 > $2 THEN $2 ELSE rates.remaining + ($3 - rates.at) * $4 END - 1
             WHERE rates.remaining + ($3 - rates.at) * $4 >= 1",
        )
        .bind(name)
        .bind(most)
        .bind(now)
        .bind(speed)
        .execute(&self.pool)
        .await?;
        if taken.rows_affected() == 1 {
            return Ok(Ok(()));
        }
        let (remaining, at): (f64, f64) =
            sqlx::query_as("SELECT remaining, at FROM rates WHERE name = $1").bind(name).fetch_one(&self.pool).await?;
        Ok(Err(((1.0 - remaining - (now - at) * speed) / speed).max(0.0)))
    }

    /// Forgets counts that are as good as new.
    pub async fn forget_rates(&self) -> Result<()> {
        sqlx::query("DELETE FROM rates WHERE at < $1").bind(exact_now() - FORGOTTEN).execute(&self.pool).await.map(drop)
    }
}
