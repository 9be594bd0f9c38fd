//! Ways in: links that were sent by mail, browsers that are at the OpenID Connect provider, sessions, and the tokens of accounts' programs.
//! Of each only a hash is kept, and of a link, until it was sent, what it follows from.

use serde::Serialize;
use sqlx::{FromRow, Row as _};

use super::accounts::{AccountRow, account};
use super::{Db, Result, Role, outbox, to_u64};
use crate::clock::now;
use crate::words::Language;

/// A link logs in for so long. Seconds.
pub const LINK: i64 = 20 * 60;
/// A browser may stay at the provider for so long. Seconds.
pub const ELSEWHERE: i64 = 10 * 60;
/// A session ends after so long. Seconds.
pub const SESSION: i64 = 30 * 86_400;
/// A session's cookie is changed after so long. Seconds.
const ROTATE: i64 = 86_400;
/// What a cookie was before it was changed counts for so long. Seconds.
const GRACE: i64 = 60;
/// That a session is used is noted at most so often. Seconds.
const NOTE: i64 = 600;

/// A link that somebody asked for.
pub struct NewLink<'a> {
    pub hash: &'a str,
    pub email: &'a str,
    /// From it and the site's secret the link follows.
    pub nonce: &'a str,
    pub language: Language,
}

/// A link that is to be sent.
pub struct OwedLink {
    pub email: String,
    pub nonce: String,
    pub language: Language,
}

/// A browser that is logged in.
#[derive(Clone, Debug)]
pub struct Session {
    /// Names it, and opens nothing.
    pub id: String,
    pub account: AccountRow,
    /// Its cookie is to be changed.
    pub stale: bool,
    /// That it is used is to be noted.
    noted: bool,
}

/// A session as its user sees it.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: String,
    pub created: i64,
    pub used: i64,
    pub agent: String,
}

/// A token of an account.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ApiToken {
    pub name: String,
    pub created: i64,
}

impl Db {
    /// Keeps a link and owes it to its address, unless so many were asked for there within an hour.
    pub async fn add_link(&self, link: &NewLink<'_>, per_hour: u32) -> Result<()> {
        let mut tx = self.write().await?;
        let sent: i64 = sqlx::query_scalar("SELECT count(*) FROM log_in_links WHERE email = $1 AND created > $2")
            .bind(link.email)
            .bind(now() - 3_600)
            .fetch_one(&mut *tx)
            .await?;
        if to_u64(sent) >= u64::from(per_hour) {
            return Ok(());
        }
        sqlx::query("INSERT INTO log_in_links (hash, email, created, nonce, language) VALUES ($1, $2, $3, $4, $5)")
            .bind(link.hash)
            .bind(link.email)
            .bind(now())
            .bind(link.nonce)
            .bind(link.language.tag())
            .execute(&mut *tx)
            .await?;
        outbox::owe_link(&mut tx, link.hash).await?;
        tx.commit().await
    }

    /// A link that is owed, unless it logs nobody in any more.
    pub async fn owed_link(&self, hash: &str) -> Result<Option<OwedLink>> {
        let row: Option<(String, String, Option<String>)> = sqlx::query_as(
            "SELECT email, nonce, language FROM log_in_links WHERE hash = $1 AND nonce IS NOT NULL AND used IS NULL AND created > $2",
        )
        .bind(hash)
        .bind(now() - LINK)
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|(email, nonce, language)| OwedLink {
            email,
            nonce,
            language: language.and_then(|tag| Language::from_tag(&tag)).unwrap_or_default(),
        }))
    }

    /// The address that a link was sent to, as long as it logs in.
    pub async fn link(&self, hash: &str) -> Result<Option<String>> {
        sqlx::query_scalar("SELECT email FROM log_in_links WHERE hash = $1 AND used IS NULL AND created > $2")
            .bind(hash)
            .bind(now() - LINK)
            .fetch_optional(&self.pool)
            .await
    }

    /// Uses a link, and with it all others that were sent to its address. The address, if it still logged in.
    pub async fn use_link(&self, hash: &str) -> Result<Option<String>> {
        let mut tx = self.write().await?;
        let email: Option<String> = sqlx::query_scalar(
            "UPDATE log_in_links SET used = $1 WHERE hash = $2 AND used IS NULL AND created > $3 RETURNING email",
        )
        .bind(now())
        .bind(hash)
        .bind(now() - LINK)
        .fetch_optional(&mut *tx)
        .await?;
        sqlx::query("UPDATE log_in_links SET used = $1 WHERE email = $2 AND used IS NULL")
            .bind(now())
            .bind(email.as_deref())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(email)
    }

    /// A browser goes to the provider.
    pub async fn go_elsewhere(&self, hash: &str, nonce: &str, verifier: &str) -> Result<()> {
        sqlx::query("INSERT INTO log_ins_elsewhere (hash, nonce, verifier, created) VALUES ($1, $2, $3, $4)")
            .bind(hash)
            .bind(nonce)
            .bind(verifier)
            .bind(now())
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// A browser is back from the provider: the nonce and the verifier that it left with. It comes back once.
    pub async fn come_back(&self, hash: &str) -> Result<Option<(String, String)>> {
        sqlx::query_as("DELETE FROM log_ins_elsewhere WHERE hash = $1 AND created > $2 RETURNING nonce, verifier")
            .bind(hash)
            .bind(now() - ELSEWHERE)
            .fetch_optional(&self.pool)
            .await
    }

    /// A browser is logged in, by the provider if that `vouched` for its user.
    pub async fn add_session(&self, hash: &str, id: &str, account: &str, vouched: bool, agent: &str) -> Result<()> {
        sqlx::query(
            "INSERT INTO sessions (hash, id, account, created, used, rotated, agent, vouched) VALUES ($1, $2, $3, $4, $4, $4, $5, $6)",
        )
            .bind(hash)
            .bind(id)
            .bind(account)
            .bind(now())
            .bind(agent)
            .bind(i64::from(vouched))
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// The session of a cookie.
    pub async fn session(&self, hash: &str) -> Result<Option<Session>> {
        let sql = account!(
            "s.id AS session, s.used, s.rotated, s.hash, s.vouched, ",
            "sessions s JOIN accounts a ON a.id = s.account
             WHERE s.created > $2 AND (s.hash = $1 OR (s.previous = $1 AND s.rotated > $3))"
        );
        let row = sqlx::query(sql).bind(hash).bind(now() - SESSION).bind(now() - GRACE).fetch_optional(&self.pool).await?;
        let Some(row) = row else { return Ok(None) };
        let (used, rotated): (i64, i64) = (row.try_get("used")?, row.try_get("rotated")?);
        // What the cookie was before it was changed is not changed again.
        let current = row.try_get::<String, _>("hash")? == hash;
        let mut account = AccountRow::from_row(&row)?;
        // What the provider said of its user may not be so any more; who logs in there again shows it anew.
        if row.try_get::<i64, _>("vouched")? == 0 {
            (account.issuer, account.claimed) = (None, Role::User);
        }
        Ok(Some(Session {
            id: row.try_get("session")?,
            stale: current && rotated < now() - ROTATE,
            noted: used > now() - NOTE,
            account,
        }))
    }

    /// Notes that a session is used, where that was not done lately.
    pub async fn note_session(&self, session: &Session) -> Result<()> {
        if session.noted {
            return Ok(());
        }
        sqlx::query("UPDATE sessions SET used = $1 WHERE id = $2")
            .bind(now())
            .bind(&session.id)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Changes the cookie of a session. Whether it was still this one.
    pub async fn rotate_session(&self, from: &str, to: &str) -> Result<bool> {
        let done = sqlx::query("UPDATE sessions SET previous = hash, hash = $1, rotated = $2 WHERE hash = $3")
            .bind(to)
            .bind(now())
            .bind(from)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// The sessions of an account, the last used first.
    pub async fn sessions(&self, account: &str) -> Result<Vec<SessionRow>> {
        let rows: Vec<(String, i64, i64, String)> = sqlx::query_as(
            "SELECT id, created, used, agent FROM sessions WHERE account = $1 AND created > $2 ORDER BY used DESC, id",
        )
        .bind(account)
        .bind(now() - SESSION)
        .fetch_all(&self.pool)
        .await?;
        Ok(rows.into_iter().map(|(id, created, used, agent)| SessionRow { id, created, used, agent }).collect())
    }

    /// Ends a session of an account.
    pub async fn end_session(&self, account: &str, id: &str) -> Result<()> {
        sqlx::query("DELETE FROM sessions WHERE account = $1 AND id = $2")
            .bind(account)
            .bind(id)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// Keeps a token of an account. `false` when the account has one of this name.
    pub async fn add_api_token(&self, hash: &str, account: &str, name: &str) -> Result<bool> {
        let done =
            sqlx::query("INSERT INTO api_tokens (hash, account, name, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(hash)
                .bind(account)
                .bind(name)
                .bind(now())
                .execute(&self.pool)
                .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a token of an account back.
    pub async fn revoke_api_token(&self, account: &str, name: &str) -> Result<()> {
        sqlx::query("DELETE FROM api_tokens WHERE account = $1 AND name = $2")
            .bind(account)
            .bind(name)
            .execute(&self.pool)
            .await
            .map(drop)
    }

    /// The tokens of an account, by name.
    pub async fn api_tokens(&self, account: &str) -> Result<Vec<ApiToken>> {
        let rows: Vec<(String, i64)> = sqlx::query_as("SELECT name, created FROM api_tokens WHERE account = $1 ORDER BY name")
            .bind(account)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(name, created)| ApiToken { name, created }).collect())
    }

    /// The account whose program shows this token.
    pub async fn account_of_token(&self, hash: &str) -> Result<Option<AccountRow>> {
        sqlx::query_as(account!("", "accounts a JOIN api_tokens t ON t.account = a.id WHERE t.hash = $1"))
            .bind(hash)
            .fetch_optional(&self.pool)
            .await
    }

    /// Forgets ways in that lead nowhere any more.
    pub async fn forget_ways_in(&self) -> Result<()> {
        for (sql, age) in [
            ("DELETE FROM log_in_links WHERE created < $1", 86_400),
            ("DELETE FROM log_ins_elsewhere WHERE created < $1", ELSEWHERE),
            ("DELETE FROM sessions WHERE created < $1", SESSION),
        ] {
            sqlx::query(sql).bind(now() - age).execute(&self.pool).await?;
        }
        Ok(())
    }
}
