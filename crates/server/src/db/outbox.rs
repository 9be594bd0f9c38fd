//! The outbox: notices that are owed. A row is written in the transaction that makes the news true, so that a crash loses none.

use sqlx::{FromRow, Sqlite, Transaction};

use super::{Db, Result};
use crate::clock::now;

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Ready,
    Failed,
    /// The images will be removed soon.
    Expiring,
}

impl NoticeKind {
    fn name(self) -> &'static str {
        match self {
            NoticeKind::Ready => "ready",
            NoticeKind::Failed => "failed",
            NoticeKind::Expiring => "expiring",
        }
    }
}

/// A notice to be sent now.
#[derive(Clone, Debug, FromRow)]
pub struct Notice {
    pub id: i64,
    pub order_id: String,
    /// `ready`, `failed` or `expiring`.
    pub kind: String,
    /// How often sending was tried.
    pub attempts: i64,
}

impl Notice {
    /// Whether it is of this kind.
    pub fn is(&self, kind: NoticeKind) -> bool {
        self.kind == kind.name()
    }
}

impl Db {
    /// Notices whose time has come, oldest first.
    pub async fn due_notices(&self, limit: u32) -> Result<Vec<Notice>> {
        sqlx::query_as(
            "SELECT id, order_id, kind, attempts FROM outbox
             WHERE sent IS NULL AND gave_up IS NULL AND next_try <= ? ORDER BY next_try, id LIMIT ?",
        )
        .bind(now())
        .bind(limit)
        .fetch_all(&self.pool)
        .await
    }

    /// The notice was handed over.
    pub async fn notice_sent(&self, id: i64) -> Result<()> {
        sqlx::query("UPDATE outbox SET sent = ?, attempts = attempts + 1, last_error = NULL WHERE id = ?")
            .bind(now())
            .bind(id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Sending failed: it is tried again at `next_try`, or given up where there is none.
    pub async fn notice_failed(&self, id: i64, error: &str, next_try: Option<i64>) -> Result<()> {
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, last_error = ?1, next_try = coalesce(?2, next_try),
                    gave_up = CASE WHEN ?2 IS NULL THEN ?3 END
             WHERE id = ?4",
        )
        .bind(error)
        .bind(next_try)
        .bind(now())
        .bind(id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

/// Owes a notice to each order of the build that gave an address and still wants it.
pub(super) async fn tell_all(tx: &mut Transaction<'static, Sqlite>, build: &str, kind: NoticeKind) -> Result<()> {
    insert(tx, "build", build, kind).await
}

/// Owes a notice to one order, if it gave an address.
pub(super) async fn tell_order(tx: &mut Transaction<'static, Sqlite>, order: &str, kind: NoticeKind) -> Result<()> {
    insert(tx, "order", order, kind).await
}

async fn insert(tx: &mut Transaction<'static, Sqlite>, by: &str, id: &str, kind: NoticeKind) -> Result<()> {
    sqlx::query(
        "INSERT INTO outbox (order_id, kind, created, next_try)
         SELECT id, ?1, ?2, ?2 FROM orders
         WHERE email IS NOT NULL AND cancelled IS NULL AND CASE ?3 WHEN 'build' THEN build ELSE id END = ?4
         ON CONFLICT DO NOTHING",
    )
    .bind(kind.name())
    .bind(now())
    .bind(by)
    .bind(id)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
