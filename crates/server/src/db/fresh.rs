//! Orders that are kept fresh, and the orders that were placed for them.

use contract::System;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{Db, Result, Writing, from_json, to_i64};
use crate::clock::now;

/// An order that is, or was, kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreshRow {
    /// The order that it began with.
    pub id: String,
    /// The last order of the row.
    pub newest: String,
    pub user: String,
    /// Why it ended, in words; none while it goes on.
    pub ended: Option<String>,
}

impl<'r> FromRow<'r, AnyRow> for FreshRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        let ended: Option<i64> = row.try_get("ended")?;
        let why: Option<String> = row.try_get("why")?;
        Ok(FreshRow {
            id: row.try_get("id")?,
            newest: row.try_get("newest")?,
            user: row.try_get("user")?,
            ended: ended.map(|_| why.unwrap_or_default()),
        })
    }
}

/// An order that was placed to keep another one fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// The order before it.
    pub previous: String,
    /// What is other than there, a line each; the first sums it up.
    pub changes: String,
}

/// What became of the wish to keep an order fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptFresh {
    Kept,
    /// It was replaced by a newer one.
    NotNewest,
    /// Its user has so many already.
    TooMany,
}

impl Db {
    /// Keeps an order fresh from now on, if its user has fewer than `most` that are. One that is already stays so.
    pub async fn keep_fresh(&self, order: &str, most: u32) -> Result<KeptFresh> {
        let mut tx = self.write().await?;
        let known = row_of(&mut tx, order).await?;
        if let Some(row) = &known
            && row.newest != order
        {
            return Ok(KeptFresh::NotNewest);
        }
        if known.as_ref().is_some_and(|row| row.ended.is_none()) {
            return Ok(KeptFresh::Kept);
        }
        let user: String =
            sqlx::query_scalar("SELECT \"user\" FROM orders WHERE id = $1").bind(order).fetch_one(&mut *tx).await?;
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM fresh WHERE \"user\" = $1 AND ended IS NULL")
            .bind(&user)
            .fetch_one(&mut *tx)
            .await?;
        if kept >= i64::from(most) {
            return Ok(KeptFresh::TooMany);
        }
        let id = known.map_or_else(|| order.to_owned(), |row| row.id);
        sqlx::query(
            "INSERT INTO fresh (id, newest, \"user\", since, looked) VALUES ($1, $2, $3, $4, 0)
             ON CONFLICT (id) DO UPDATE SET ended = NULL, why = NULL, since = excluded.since, looked = 0",
        )
        .bind(id)
        .bind(order)
        .bind(user)
        .bind(now())
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(KeptFresh::Kept)
    }

    /// Keeps the row that an order is in fresh no more. Whether it was.
    pub async fn let_be(&self, order: &str, why: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let Some(row) = row_of(&mut tx, order).await? else { return Ok(false) };
        let done = sqlx::query("UPDATE fresh SET ended = $1, why = $2 WHERE id = $3 AND ended IS NULL")
            .bind(now())
            .bind(why)
            .bind(row.id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(done.rows_affected() == 1)
    }

    /// The row that an order is in, if it is or was kept fresh; and how it came to be, if another was before it.
    pub async fn fresh_of(&self, order: &str) -> Result<Option<(FreshRow, Option<Renewal>)>> {
        let row = sqlx::query(
            "SELECT f.id, f.newest, f.\"user\", f.ended, f.why, r.previous, r.changes FROM fresh f LEFT JOIN renewals r ON r.order_id = $1
             WHERE f.id = $1 OR f.id = (SELECT fresh FROM renewals WHERE order_id = $1)",
        )
        .bind(order)
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        let previous: Option<String> = row.try_get("previous")?;
        let renewal = match previous {
            Some(previous) => Some(Renewal { previous, changes: row.try_get("changes")? }),
            None => None,
        };
        Ok(Some((FreshRow::from_row(&row)?, renewal)))
    }

    /// Takes one that was not looked at for so many seconds into hand: it counts as looked at from now on.
    pub async fn next_fresh(&self, seconds: i64) -> Result<Option<FreshRow>> {
        let mut tx = self.write().await?;
        let row = sqlx::query_as(
            "UPDATE fresh SET looked = $1 WHERE id = (
                 SELECT id FROM fresh WHERE ended IS NULL AND looked <= $2 ORDER BY looked, id LIMIT 1)
             RETURNING id, newest, \"user\", ended, why",
        )
        .bind(now())
        .bind(now().saturating_sub(seconds))
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(row)
    }

    /// Notes an order that was placed to keep a row fresh. Noting it again changes nothing.
    pub async fn renewed(&self, row: &FreshRow, order: &str, changes: &str) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("INSERT INTO renewals (order_id, fresh, previous, changes) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(order)
            .bind(&row.id)
            .bind(&row.newest)
            .bind(changes)
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE fresh SET newest = $1 WHERE id = $2").bind(order).bind(&row.id).execute(&mut *tx).await?;
        tx.commit().await
    }

    /// Whether none of the last so many orders of a row was fetched; false while there are fewer.
    pub async fn nobody_fetches(&self, row: &FreshRow, last: u32) -> Result<bool> {
        let fetched: Vec<i64> = sqlx::query_scalar(
            "SELECT CASE WHEN picked_up IS NULL THEN 0 ELSE 1 END FROM orders
             WHERE id = $1 OR id IN (SELECT order_id FROM renewals WHERE fresh = $1)
             ORDER BY created DESC LIMIT $2",
        )
        .bind(&row.id)
        .bind(i64::from(last))
        .fetch_all(&self.pool)
        .await?;
        Ok(to_i64(fetched.len() as u64) >= i64::from(last) && !fetched.contains(&1))
    }

    /// The settings that a build puts in, secrets among them.
    pub async fn system(&self, build: &str) -> Result<System> {
        let text: String =
            sqlx::query_scalar("SELECT system FROM builds WHERE id = $1").bind(build).fetch_one(&self.pool).await?;
        from_json(&text)
    }
}

const ROW_OF: &str = "SELECT id, newest, \"user\", ended, why FROM fresh
     WHERE id = $1 OR id = (SELECT fresh FROM renewals WHERE order_id = $1)";

async fn row_of(tx: &mut Writing, order: &str) -> Result<Option<FreshRow>> {
    sqlx::query_as(ROW_OF).bind(order).fetch_optional(&mut **tx).await
}
