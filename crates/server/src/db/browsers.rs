//! Browsers that asked to be told of an order.

use super::{Db, Result, Writing, from_json, to_json};
use crate::clock::now;
use crate::notices::Subscription;

/// Browsers of one order; the one that asked first gives way to another.
const MAX_BROWSERS: i64 = 8;

impl Db {
    /// Has a browser told of an order from now on.
    pub async fn tell_browser(&self, order: &str, subscription: &Subscription) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "INSERT INTO browsers (order_id, endpoint, subscription, since) VALUES ($1, $2, $3, $4)
             ON CONFLICT (order_id, endpoint) DO UPDATE SET subscription = excluded.subscription",
        )
        .bind(order)
        .bind(&subscription.endpoint)
        .bind(to_json(subscription)?)
        .bind(now())
        .execute(&mut *tx)
        .await?;
        sqlx::query(
            "DELETE FROM browsers WHERE order_id = $1 AND endpoint NOT IN
                 (SELECT b.endpoint FROM browsers b WHERE b.order_id = $1 ORDER BY b.since DESC, b.endpoint = $2 DESC LIMIT $3)",
        )
        .bind(order)
        .bind(&subscription.endpoint)
        .bind(MAX_BROWSERS)
        .execute(&mut *tx)
        .await?;
        tx.commit().await
    }

    /// The browsers of an order that were not given this notice yet, nor a later one.
    pub async fn browsers_to_tell(&self, order: &str, notice: i64) -> Result<Vec<Subscription>> {
        let rows: Vec<String> =
            sqlx::query_scalar("SELECT subscription FROM browsers WHERE order_id = $1 AND told < $2 ORDER BY since, endpoint")
                .bind(order)
                .bind(notice)
                .fetch_all(&self.pool)
                .await?;
        rows.iter().map(|text| from_json(text)).collect()
    }

    /// A browser was given a notice.
    pub async fn browser_told(&self, order: &str, endpoint: &str, notice: i64) -> Result<()> {
        sqlx::query("UPDATE browsers SET told = $1 WHERE order_id = $2 AND endpoint = $3")
            .bind(notice)
            .bind(order)
            .bind(endpoint)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// A browser is told no more of any order: its push service does not know it.
    pub async fn forget_browser(&self, endpoint: &str) -> Result<()> {
        sqlx::query("DELETE FROM browsers WHERE endpoint = $1").bind(endpoint).execute(&self.pool).await.map(drop)
    }
}

/// Has the browsers of one order told of another as well.
pub(super) async fn tell_of_another(tx: &mut Writing, order: &str, another: &str) -> Result<()> {
    sqlx::query(
        "INSERT INTO browsers (order_id, endpoint, subscription, since)
         SELECT $1, endpoint, subscription, since FROM browsers WHERE order_id = $2 ON CONFLICT DO NOTHING",
    )
    .bind(another)
    .bind(order)
    .execute(&mut **tx)
    .await
    .map(drop)
}
