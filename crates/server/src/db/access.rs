//! Who may do what: tokens that the operator gave out, and how much users have ordered.

use serde::{Deserialize, Serialize};

use super::{Db, Result, from_json, to_json};
use crate::clock::now;

/// Who may order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    #[default]
    Everybody,
    /// Only who shows a token.
    Invited,
}

/// What a token lets its holder do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Order, also where only invited users may.
    User,
    /// All that the operator's own token lets do.
    Operator,
}

/// A token as the operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct TokenRow {
    pub name: String,
    pub role: Role,
    pub created: i64,
    #[serde(skip)]
    pub hash: String,
}

impl Db {
    /// Who may order now.
    pub async fn access(&self) -> Result<Access> {
        let value: Option<String> =
            sqlx::query_scalar("SELECT value FROM settings WHERE name = 'access'").fetch_optional(&self.pool).await?;
        value.map_or(Ok(Access::default()), |text| from_json(&text))
    }

    /// Sets it.
    pub async fn set_access(&self, access: Access) -> Result<()> {
        sqlx::query(
            "INSERT INTO settings (name, value) VALUES ('access', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )
        .bind(to_json(&access)?)
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Keeps a token. `false` when there is one of this name.
    pub async fn add_token(&self, name: &str, hash: &str, role: Role) -> Result<bool> {
        let done = sqlx::query("INSERT INTO tokens (name, hash, role, created) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(name)
            .bind(hash)
            .bind(to_json(&role)?)
            .bind(now())
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Takes a token back. Whether there was one of this name.
    pub async fn revoke_token(&self, name: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM tokens WHERE name = $1").bind(name).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// The token with this hash.
    pub async fn token(&self, hash: &str) -> Result<Option<TokenRow>> {
        Ok(self.tokens_where("hash", hash).await?.pop())
    }

    /// The token of this name.
    pub async fn token_named(&self, name: &str) -> Result<Option<TokenRow>> {
        Ok(self.tokens_where("name", name).await?.pop())
    }

    /// All tokens, by name.
    pub async fn tokens(&self) -> Result<Vec<TokenRow>> {
        self.tokens_where("all", "").await
    }

    async fn tokens_where(&self, by: &str, value: &str) -> Result<Vec<TokenRow>> {
        let rows: Vec<(String, String, i64, String)> = sqlx::query_as(
            "SELECT name, role, created, hash FROM tokens
             WHERE CASE $1 WHEN 'hash' THEN hash WHEN 'name' THEN name ELSE $2 END = $2 ORDER BY name",
        )
        .bind(by)
        .bind(value)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(name, role, created, hash)| Ok(TokenRow { name, role: from_json(&role)?, created, hash }))
            .collect()
    }
}
