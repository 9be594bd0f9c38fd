//! The outbox: notices that are owed. A row is written in the transaction that makes the news true, so that a crash loses none.

use super::{Db, Result, Writing};
use crate::clock::now;

/// What a notice tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// The question whether a mail address is the recipient's.
    Confirm,
    Ready,
    Failed,
    /// The operator has cancelled it.
    Cancelled,
    /// The images will be removed soon.
    Expiring,
    /// The operator has answered what the user reported.
    Answered,
}

impl NoticeKind {
    const ALL: [NoticeKind; 6] = [
        NoticeKind::Confirm,
        NoticeKind::Ready,
        NoticeKind::Failed,
        NoticeKind::Cancelled,
        NoticeKind::Expiring,
        NoticeKind::Answered,
    ];

    pub fn name(self) -> &'static str {
        match self {
            NoticeKind::Confirm => "confirm",
            NoticeKind::Ready => "ready",
            NoticeKind::Failed => "failed",
            NoticeKind::Cancelled => "cancelled",
            NoticeKind::Expiring => "expiring",
            NoticeKind::Answered => "answered",
        }
    }
}

/// By which way a notice goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Mail,
    Webhook,
    /// Web push.
    Push,
}

impl Way {
    pub const ALL: [Way; 3] = [Way::Mail, Way::Webhook, Way::Push];

    pub fn name(self) -> &'static str {
        match self {
            Way::Mail => "mail",
            Way::Webhook => "webhook",
            Way::Push => "push",
        }
    }
}

/// Mail that could not be given for so long is owed no more. Seconds. What is tried is given up long before, so that this is mail to addresses
/// that were not confirmed, or were stopped, which each look for what is due would otherwise pass over for ever.
const MAIL_OWED_FOR: i64 = 30 * 86_400;

/// What is to be given now.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Names it for ever.
    pub id: i64,
    /// How often giving it was tried.
    pub attempts: i64,
    pub what: What,
}

/// Something that is owed.
#[derive(Clone, Debug)]
pub enum What {
    Notice(Notice),
    /// A link to log in, by its hash, to the address that it was asked for.
    Link(String),
}

/// A notice of an order.
#[derive(Clone, Debug)]
pub struct Notice {
    pub id: i64,
    pub order_id: String,
    pub kind: NoticeKind,
    pub way: Way,
}

/// The kind of a link to log in, which is no notice of an order.
const LINK: &str = "log-in";

impl Db {
    /// Takes the next notice whose time has come into hand, for so many seconds: until then no other server takes it. Mail to an address that is
    /// not confirmed, or stopped, is not due, but for the question itself; without `mail`, none is.
    pub async fn claim_notice(&self, seconds: i64, mail: bool) -> Result<Option<Owed>> {
        let mut tx = self.write().await?;
        let row: Option<(i64, Option<String>, Option<String>, String, String, i64)> = sqlx::query_as(
            "SELECT n.id, n.order_id, n.link, n.kind, n.way, n.attempts FROM outbox n
             WHERE n.sent IS NULL AND n.gave_up IS NULL AND n.next_try <= $1 AND n.claimed_until <= $1
               AND (n.way <> 'mail' OR ($2 = 1 AND (n.link IS NOT NULL OR EXISTS (
                   SELECT 1 FROM orders o JOIN addresses a ON a.email = o.email
                   WHERE o.id = n.order_id AND a.stopped IS NULL AND (a.confirmed IS NOT NULL OR n.kind = 'confirm')))))
             ORDER BY n.next_try, n.id LIMIT 1",
        )
        .bind(now())
        .bind(i64::from(mail))
        .fetch_optional(&mut *tx)
        .await?;
        let Some((id, order_id, link, kind, way, attempts)) = row else {
            return Ok(None);
        };
        let unknown = |text: &str| sqlx::Error::Decode(format!("“{text}” is no notice that this version knows").into());
        let what = match (order_id, link) {
            (Some(order_id), None) => {
                let kind = NoticeKind::ALL.into_iter().find(|k| k.name() == kind).ok_or_else(|| unknown(&kind))?;
                let way = Way::ALL.into_iter().find(|w| w.name() == way).ok_or_else(|| unknown(&way))?;
                What::Notice(Notice { id, order_id, kind, way })
            }
            (None, Some(link)) => What::Link(link),
            (None, None) | (Some(_), Some(_)) => return Err(unknown(&kind)),
        };
        sqlx::query("UPDATE outbox SET claimed_until = $1 WHERE id = $2")
            .bind(now().saturating_add(seconds))
            .bind(id)
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(Some(Owed { id, attempts, what }))
    }

    /// Nobody has a notice in hand. For the start of a server that is alone: it may have ended while it had one.
    pub async fn release_notices(&self) -> Result<()> {
        sqlx::query("UPDATE outbox SET claimed_until = 0 WHERE claimed_until <> 0").execute(&self.pool).await.map(drop)
    }

    /// It was handed over, or is wanted no more. What a link follows from is forgotten.
    pub async fn notice_sent(&self, id: i64) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE outbox SET sent = $1, attempts = attempts + 1, last_error = NULL WHERE id = $2")
            .bind(now())
            .bind(id)
            .execute(&mut *tx)
            .await?;
        forget_nonce(&mut tx, id).await?;
        tx.commit().await
    }

    /// What it tells is so no more. It is as if it had never been owed, so that it is owed anew when it comes true again.
    pub async fn notice_dropped(&self, id: i64) -> Result<()> {
        sqlx::query("DELETE FROM outbox WHERE id = $1").bind(id).execute(&self.pool).await.map(drop)
    }

    /// Lets go of mail that was owed for too long.
    pub async fn forget_old_mail(&self) -> Result<()> {
        sqlx::query("DELETE FROM outbox WHERE way = 'mail' AND sent IS NULL AND gave_up IS NULL AND created < $1")
            .bind(now() - MAIL_OWED_FOR)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Giving it failed: it is tried again at `next_try`, or given up where there is none.
    pub async fn notice_failed(&self, id: i64, error: &str, next_try: Option<i64>) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query(
            "UPDATE outbox SET attempts = attempts + 1, last_error = $1, next_try = coalesce($2, next_try), claimed_until = 0,
                    gave_up = CASE WHEN $2 IS NULL THEN $3 END
             WHERE id = $4",
        )
        .bind(error)
        .bind(next_try)
        .bind(now())
        .bind(id)
        .execute(&mut *tx)
        .await?;
        if next_try.is_none() {
            forget_nonce(&mut tx, id).await?;
        }
        tx.commit().await
    }
}

/// Without the nonce nobody finds a link any more, who has the whole database either.
async fn forget_nonce(tx: &mut Writing, id: i64) -> Result<()> {
    sqlx::query("UPDATE log_in_links SET nonce = NULL WHERE hash = (SELECT link FROM outbox WHERE id = $1)")
        .bind(id)
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Owes a link to whoever asked for it.
pub(super) async fn owe_link(tx: &mut Writing, link: &str) -> Result<()> {
    sqlx::query("INSERT INTO outbox (link, kind, way, created, next_try) VALUES ($1, $2, $3, $4, $4)")
        .bind(link)
        .bind(LINK)
        .bind(Way::Mail.name())
        .bind(now())
        .execute(&mut **tx)
        .await
        .map(drop)
}

/// Owes a notice to each order of the build that named a way and still wants it.
pub(super) async fn tell_all(tx: &mut Writing, build: &str, kind: NoticeKind) -> Result<()> {
    insert(tx, "build", build, kind).await
}

/// Owes a notice to one order, by each way that it named.
pub(super) async fn tell_order(tx: &mut Writing, order: &str, kind: NoticeKind) -> Result<()> {
    insert(tx, "order", order, kind).await
}

async fn insert(tx: &mut Writing, by: &str, id: &str, kind: NoticeKind) -> Result<()> {
    for way in Way::ALL {
        if kind == NoticeKind::Confirm && way != Way::Mail {
            continue;
        }
        sqlx::query(
            "INSERT INTO outbox (order_id, kind, way, created, next_try)
             SELECT id, $1, $2, $3, $3 FROM orders
             WHERE CASE $2 WHEN 'mail' THEN email WHEN 'webhook' THEN webhook
                        ELSE (SELECT min(b.endpoint) FROM browsers b WHERE b.order_id = orders.id) END IS NOT NULL AND cancelled IS NULL
               AND CASE $4 WHEN 'build' THEN build ELSE id END = $5
             ON CONFLICT DO NOTHING",
        )
        .bind(kind.name())
        .bind(way.name())
        .bind(now())
        .bind(by)
        .bind(id)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}
