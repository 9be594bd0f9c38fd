//! Mail addresses, and whether whoever reads there wants our mail.

use super::outbox::{self, NoticeKind};
use super::{Db, Result, Writing};
use crate::clock::now;

/// An address is asked at most once in so long whether it is the right one, however many orders name it. Seconds.
const ASK_AGAIN: i64 = 86_400;

/// An address as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub email: String,
    pub confirmed: bool,
    pub stopped: bool,
}

/// What whoever reads at an address says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// It is theirs, and they want the mail.
    Confirm,
    /// They want none.
    Stop,
}

impl Db {
    /// The address with this token.
    pub async fn address(&self, token: &str) -> Result<Option<Address>> {
        let row: Option<(String, Option<i64>, Option<i64>)> =
            sqlx::query_as("SELECT email, confirmed, stopped FROM addresses WHERE token = $1")
                .bind(token)
                .fetch_optional(&self.pool)
                .await?;
        Ok(row.map(|(email, confirmed, stopped)| Address { email, confirmed: confirmed.is_some(), stopped: stopped.is_some() }))
    }

    /// The token of an address, by which its reader confirms or stops.
    pub async fn address_token(&self, email: &str) -> Result<String> {
        sqlx::query_scalar("SELECT token FROM addresses WHERE email = $1").bind(email).fetch_one(&self.pool).await
    }

    /// Keeps what the reader of an address said. Whether there is such an address.
    pub async fn set_address(&self, token: &str, word: Word) -> Result<bool> {
        let sql = match word {
            Word::Confirm => "UPDATE addresses SET confirmed = coalesce(confirmed, $1), stopped = NULL WHERE token = $2",
            Word::Stop => "UPDATE addresses SET stopped = coalesce(stopped, $1) WHERE token = $2",
        };
        let done = sqlx::query(sql).bind(now()).bind(token).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }
}

/// An order names an address: it is kept, and asked whether it is the right one unless it was lately. Without `ask` it counts as confirmed.
pub(super) async fn named(tx: &mut Writing, order: &str, email: &str, token: &str, ask: bool) -> Result<()> {
    sqlx::query("INSERT INTO addresses (email, token) VALUES ($1, $2) ON CONFLICT (email) DO NOTHING")
        .bind(email)
        .bind(token)
        .execute(&mut **tx)
        .await?;
    if !ask {
        return sqlx::query("UPDATE addresses SET confirmed = coalesce(confirmed, $1) WHERE email = $2")
            .bind(now())
            .bind(email)
            .execute(&mut **tx)
            .await
            .map(drop);
    }
    let asked = sqlx::query(
        "UPDATE addresses SET asked = $1
         WHERE email = $2 AND confirmed IS NULL AND stopped IS NULL AND (asked IS NULL OR asked < $3)",
    )
    .bind(now())
    .bind(email)
    .bind(now() - ASK_AGAIN)
    .execute(&mut **tx)
    .await?;
    if asked.rows_affected() == 1 { outbox::tell_order(tx, order, NoticeKind::Confirm).await } else { Ok(()) }
}
