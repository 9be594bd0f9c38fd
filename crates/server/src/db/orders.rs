//! Orders: who wants which build.

use contract::Order;
use sqlx::any::AnyRow;
use sqlx::{Any, Executor, FromRow, Row as _};

use super::{
    Build, BuildState, Db, Most, NewBuild, Reached, Result, addresses, browsers, builds, from_json, lacking, outbox, taking,
    to_json,
};
use crate::clock::now;
use crate::words::Language;

/// An order to be kept.
pub struct NewOrder<'a> {
    pub id: &'a str,
    pub title: &'a str,
    /// Without password hashes.
    pub request: &'a Order,
    pub email: Option<&'a str>,
    /// The token of the address, if it was not named before; and whether it is asked if it is the right one.
    pub address_token: &'a str,
    pub ask: bool,
    pub webhook: Option<&'a str>,
    /// The order whose browsers are told of this one as well.
    pub browsers_of: Option<&'a str>,
    /// Tells users apart without saying who they are.
    pub user: &'a str,
    /// The account it is listed in.
    pub account: Option<&'a str>,
    /// What its notices are written in.
    pub language: Language,
    /// Hash of a key that makes repeating the request harmless.
    pub idempotency_key: Option<&'a str>,
    /// Hash of the request, to tell a repetition from another order under the same key.
    pub request_hash: &'a str,
    /// How much may be taken of the site; none where that was looked at otherwise.
    pub most: Option<&'a Most>,
}

/// What became of a request to keep an order.
#[derive(Debug, PartialEq, Eq)]
pub enum Placed {
    /// A new order; `joined` when its build existed already.
    New { build: String, joined: bool },
    /// The same request came before and led to this order.
    Repeated { order: String },
    /// The key was used before for something else.
    KeyReused,
    /// There is no more to be taken.
    TooMany(Reached),
}

/// A kept order.
#[derive(Clone, Debug)]
pub struct OrderRow {
    pub id: String,
    pub build: String,
    pub created: i64,
    pub title: String,
    pub request: Order,
    pub email: Option<String>,
    pub webhook: Option<String>,
    /// The account it is listed in.
    pub account: Option<String>,
    /// What its notices are written in.
    pub language: Language,
    pub cancelled: bool,
}

impl<'r> FromRow<'r, AnyRow> for OrderRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        Ok(OrderRow {
            id: row.try_get("id")?,
            build: row.try_get("build")?,
            created: row.try_get("created")?,
            title: row.try_get("title")?,
            request: from_json(&row.try_get::<String, _>("request")?)?,
            email: row.try_get("email")?,
            webhook: row.try_get("webhook")?,
            account: row.try_get("account")?,
            language: row.try_get::<Option<String>, _>("language")?.and_then(|tag| Language::from_tag(&tag)).unwrap_or_default(),
            cancelled: row.try_get::<Option<i64>, _>("cancelled")?.is_some(),
        })
    }
}

impl Db {
    /// Keeps an order, and joins it to an equal build that waits, runs or is ready, or queues the given one.
    ///
    /// Order and build are written together or not at all.
    pub async fn place(&self, order: &NewOrder<'_>, build: &NewBuild<'_>) -> Result<Placed> {
        let mut tx = self.write().await?;
        if let Some(key) = order.idempotency_key
            && let Some(earlier) = repeated(&mut *tx, key, order.request_hash).await?
        {
            return Ok(earlier);
        }
        if let Some(most) = order.most
            && let Some(reached) = taking::reached(&mut tx, order.user, most).await?
        {
            return Ok(Placed::TooMany(reached));
        }
        let (build_id, joined, ready) = match builds::equal(&mut tx, build).await? {
            Some((id, state)) => (id, true, state == BuildState::Ready),
            None => {
                builds::insert(&mut tx, build).await?;
                (build.id.to_owned(), false, false)
            }
        };
        sqlx::query(
            "INSERT INTO orders (id, build, created, since, title, request, email, \"user\", idempotency_key, request_hash,
                                 webhook, account, language)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(order.id)
        .bind(&build_id)
        .bind(now())
        .bind(now())
        .bind(order.title)
        .bind(to_json(order.request)?)
        .bind(order.email)
        .bind(order.user)
        .bind(order.idempotency_key)
        .bind(order.request_hash)
        .bind(order.webhook)
        .bind(order.account)
        .bind(order.language.tag())
        .execute(&mut *tx)
        .await?;
        if let Some(email) = order.email {
            addresses::named(&mut tx, order.id, email, order.address_token, order.ask).await?;
        }
        if let Some(other) = order.browsers_of {
            browsers::tell_of_another(&mut tx, other, order.id).await?;
        }
        if ready {
            outbox::tell_order(&mut tx, order.id, outbox::NoticeKind::Ready).await?;
        }
        tx.commit().await?;
        Ok(Placed::New { build: build_id, joined })
    }

    /// The order that a request with this key led to, if it was the same request; `None` when the key is new.
    pub async fn repeated(&self, key: &str, request_hash: &str) -> Result<Option<Placed>> {
        repeated(&self.pool, key, request_hash).await
    }

    /// The order that was placed with this key, whatever the request was.
    pub async fn order_of_key(&self, key: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT id FROM orders WHERE idempotency_key = $1").bind(key).fetch_optional(&self.pool).await
    }

    /// The order with this (secret) identifier.
    pub async fn order(&self, id: &str) -> Result<Option<OrderRow>> {
        sqlx::query_as(
            "SELECT id, build, created, title, request, email, webhook, account, language, cancelled FROM orders WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.pool)
        .await
    }

    /// The order with this identifier, and its build.
    pub async fn order_and_build(&self, id: &str) -> Result<Option<(OrderRow, Build)>> {
        let sql = builds::build!(
            "o.id, o.created, o.title, o.request, o.email, o.webhook, o.account, o.language, o.cancelled, ",
            "orders o JOIN builds b ON b.id = o.build WHERE o.id = $1"
        );
        let row = sqlx::query(sql).bind(id).fetch_optional(&self.pool).await?;
        row.map(|row| Ok((OrderRow::from_row(&row)?, Build::from_row(&row)?))).transpose()
    }

    /// The last orders of a user before this one: identifiers, titles and when they were placed, newest first.
    pub async fn earlier_orders(&self, order: &str, user: &str, limit: u32) -> Result<Vec<(String, String, i64)>> {
        if user.is_empty() {
            return Ok(Vec::new());
        }
        sqlx::query_as(
            "SELECT e.id, e.title, e.created FROM orders e, orders o
             WHERE o.id = $1 AND o.\"user\" = $2 AND e.\"user\" = $2 AND e.id <> o.id AND e.created <= o.created
             ORDER BY e.created DESC, e.id LIMIT $3",
        )
        .bind(order)
        .bind(user)
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
    }

    /// Has mail tell of an order that named no address. Whether it did not; `token` and `ask` are as in [`NewOrder`].
    pub async fn tell_by_mail(&self, order: &str, email: &str, token: &str, ask: bool) -> Result<bool> {
        let mut tx = self.write().await?;
        let done = sqlx::query("UPDATE orders SET email = $1 WHERE id = $2 AND email IS NULL AND cancelled IS NULL")
            .bind(email)
            .bind(order)
            .execute(&mut *tx)
            .await?;
        let first = done.rows_affected() == 1;
        if first {
            addresses::named(&mut tx, order, email, token, ask).await?;
            let ended: Option<String> = sqlx::query_scalar(
                "SELECT b.state FROM builds b JOIN orders o ON o.build = b.id WHERE o.id = $1 AND b.state IN ('ready', 'failed')",
            )
            .bind(order)
            .fetch_optional(&mut *tx)
            .await?;
            // What ended while the address was typed is told of all the same.
            match ended.as_deref() {
                Some("ready") => outbox::tell_order(&mut tx, order, outbox::NoticeKind::Ready).await?,
                Some(_) => outbox::tell_order(&mut tx, order, outbox::NoticeKind::Failed).await?,
                None => {}
            }
        }
        tx.commit().await?;
        Ok(first)
    }

    /// A file of the order was downloaded.
    pub async fn picked_up(&self, order: &str) -> Result<()> {
        // Most requests are for one more part of a file, and wait for no writer.
        let news: Option<i64> = sqlx::query_scalar("SELECT 1 FROM orders WHERE id = $1 AND picked_up IS NULL")
            .bind(order)
            .fetch_optional(&self.pool)
            .await?;
        if news.is_none() {
            return Ok(());
        }
        let mut tx = self.write().await?;
        let first = sqlx::query("UPDATE orders SET picked_up = $1 WHERE id = $2 AND picked_up IS NULL")
            .bind(now())
            .bind(order)
            .execute(&mut *tx)
            .await?;
        if first.rows_affected() == 1 {
            // It is kept longer now, and before that time is over another notice is owed.
            sqlx::query("DELETE FROM outbox WHERE order_id = $1 AND kind = 'expiring'").bind(order).execute(&mut *tx).await?;
        }
        tx.commit().await
    }

    /// Cancels an order that is not ended, and its build when nobody else wants it. Returns whether anything changed.
    ///
    /// A build that a worker has in hand is only marked: the worker is told at its next report. One that is kept warm goes on for its own sake.
    pub async fn cancel_order(&self, order: &str) -> Result<bool> {
        let mut tx = self.write().await?;
        let build: Option<String> = sqlx::query_scalar(
            "UPDATE orders SET cancelled = $1 WHERE id = $2 AND cancelled IS NULL
               AND (SELECT state FROM builds b WHERE b.id = orders.build) IN ('waiting', 'building')
             RETURNING build",
        )
        .bind(now())
        .bind(order)
        .fetch_optional(&mut *tx)
        .await?;
        let Some(build) = build else {
            return Ok(false);
        };
        let wanted: i64 = sqlx::query_scalar(
            "SELECT (SELECT count(*) FROM orders WHERE build = $1 AND cancelled IS NULL) + (SELECT count(*) FROM warm WHERE build = $1)",
        )
        .bind(&build)
        .fetch_one(&mut *tx)
        .await?;
        if wanted == 0 && builds::cancel(&mut tx, &build).await? {
            lacking::let_go(&mut tx, &build).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}

async fn repeated<'c>(on: impl Executor<'c, Database = Any>, key: &str, request_hash: &str) -> Result<Option<Placed>> {
    let earlier: Option<(String, String)> =
        sqlx::query_as("SELECT id, request_hash FROM orders WHERE idempotency_key = $1").bind(key).fetch_optional(on).await?;
    Ok(earlier.map(|(order, hash)| if hash == request_hash { Placed::Repeated { order } } else { Placed::KeyReused }))
}
