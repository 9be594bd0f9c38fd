//! Accounts: who logs in, who was invited, and which orders are whose.

use serde::Serialize;
use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};

use super::{BuildState, Db, Result, Role, from_json, to_json};
use crate::clock::now;

/// Most orders of an account that are listed.
const LISTED: i64 = 200;

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    pub id: String,
    pub created: i64,
    /// An address that the user reads.
    pub email: Option<String>,
    /// The OpenID Connect provider that knows the user, if one does.
    pub issuer: Option<String>,
    /// The provider's name for the user.
    pub subject: Option<String>,
    /// As the provider calls the user for people to read.
    pub name: String,
    /// What the provider's claims made of the user.
    pub claimed: Role,
    /// What the operator invited the address as.
    pub invited: Option<Role>,
    /// Orders that name no address are told of at the account's.
    pub tell: bool,
    /// Mail to the address was stopped.
    pub stopped: bool,
}

impl<'r> FromRow<'r, AnyRow> for AccountRow {
    fn from_row(row: &'r AnyRow) -> Result<Self> {
        Ok(AccountRow {
            id: row.try_get("id")?,
            created: row.try_get("created")?,
            email: row.try_get("email")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            name: row.try_get("name")?,
            claimed: from_json(&row.try_get::<String, _>("role")?)?,
            invited: row.try_get::<Option<String>, _>("invited")?.as_deref().map(from_json).transpose()?,
            tell: row.try_get::<i64, _>("tell")? != 0,
            stopped: row.try_get::<Option<i64>, _>("stopped")?.is_some(),
        })
    }
}

/// What was shown when somebody logged in.
pub enum Shown<'a> {
    /// A link that was sent to this address.
    Email(&'a str),
    /// What an OpenID Connect provider says.
    Claims { issuer: &'a str, subject: &'a str, email: Option<&'a str>, name: &'a str, role: Role },
}

/// An order as its account lists it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct OwnOrder {
    pub id: String,
    pub title: String,
    pub image_name: String,
    pub created: i64,
    pub state: BuildState,
}

/// Somebody who was invited.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Invitation {
    pub email: String,
    pub role: Role,
    pub created: i64,
}

/// The columns of an [`AccountRow`] of the account `a`, others being before them.
macro_rules! account {
    ($others:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $others,
            "a.id, a.created, a.email, a.issuer, a.subject, a.name, a.role, a.tell,
                    (SELECT i.role FROM invitations i WHERE i.email = a.email) AS invited,
                    (SELECT d.stopped FROM addresses d WHERE d.email = a.email) AS stopped FROM ",
            $from
        )
    };
}
pub(super) use account;

impl Db {
    /// The account of whoever showed this; made when it is the first time. `fresh` is then its identifier, and `address_token` that of the
    /// address, which counts as confirmed.
    pub async fn account_of(&self, shown: &Shown<'_>, fresh: &str, address_token: &str) -> Result<AccountRow> {
        let mut tx = self.write().await?;
        let (email, known) = match shown {
            Shown::Email(email) => (Some(*email), None),
            Shown::Claims { issuer, subject, email, .. } => {
                let known: Option<String> = sqlx::query_scalar("SELECT id FROM accounts WHERE issuer = $1 AND subject = $2")
                    .bind(*issuer)
                    .bind(*subject)
                    .fetch_optional(&mut *tx)
                    .await?;
                (*email, known)
            }
        };
        let of_email: Option<(String, Option<String>)> =
            sqlx::query_as("SELECT id, subject FROM accounts WHERE email = $1").bind(email).fetch_optional(&mut *tx).await?;
        // An address that a provider gave to another user since does not open the account of the one before.
        let free = of_email.as_ref().is_none_or(|(id, _)| known.as_ref() == Some(id));
        let (id, email) = match (known, of_email, shown) {
            (Some(id), ..) => (id, email.filter(|_| free)),
            (None, Some((id, _)), Shown::Email(_)) | (None, Some((id, None)), Shown::Claims { .. }) => (id, email),
            (None, _, _) => {
                sqlx::query("INSERT INTO accounts (id, created, role) VALUES ($1, $2, $3)")
                    .bind(fresh)
                    .bind(now())
                    .bind(to_json(&Role::User)?)
                    .execute(&mut *tx)
                    .await?;
                (fresh.to_owned(), email.filter(|_| free))
            }
        };
        sqlx::query("UPDATE accounts SET email = coalesce($1, email) WHERE id = $2")
            .bind(email)
            .bind(&id)
            .execute(&mut *tx)
            .await?;
        if let Shown::Claims { issuer, subject, name, role, .. } = shown {
            sqlx::query("UPDATE accounts SET issuer = $1, subject = $2, name = $3, role = $4 WHERE id = $5")
                .bind(*issuer)
                .bind(*subject)
                .bind(*name)
                .bind(to_json(role)?)
                .bind(&id)
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(
            "INSERT INTO addresses (email, token, confirmed) SELECT email, $1, $2 FROM accounts WHERE id = $3 AND email IS NOT NULL
             ON CONFLICT (email) DO UPDATE SET confirmed = coalesce(addresses.confirmed, excluded.confirmed)",
        )
        .bind(address_token)
        .bind(now())
        .bind(&id)
        .execute(&mut *tx)
        .await?;
        let account = sqlx::query_as(account!("", "accounts a WHERE a.id = $1")).bind(&id).fetch_one(&mut *tx).await?;
        tx.commit().await?;
        Ok(account)
    }

    /// Whether somebody with this address may be sent a link: mail to it was not stopped, and, where only invited users may come, it was
    /// invited or has an account.
    pub async fn may_log_in_by(&self, email: &str, invited_only: bool) -> Result<bool> {
        let may: i64 = sqlx::query_scalar(
            "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM addresses WHERE email = $1 AND stopped IS NOT NULL)
                          AND ($2 = 0 OR EXISTS (SELECT 1 FROM invitations WHERE email = $1)
                               OR EXISTS (SELECT 1 FROM accounts WHERE email = $1)) THEN 1 ELSE 0 END",
        )
        .bind(email)
        .bind(i64::from(invited_only))
        .fetch_one(&self.pool)
        .await?;
        Ok(may != 0)
    }

    /// Whether orders that name no address are told of at the account's. To want it is to want mail again, where it was stopped.
    pub async fn set_tell(&self, account: &str, tell: bool) -> Result<()> {
        let mut tx = self.write().await?;
        sqlx::query("UPDATE accounts SET tell = $1 WHERE id = $2").bind(i64::from(tell)).bind(account).execute(&mut *tx).await?;
        if tell {
            sqlx::query("UPDATE addresses SET stopped = NULL WHERE email = (SELECT email FROM accounts WHERE id = $1)")
                .bind(account)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    /// The orders of an account, newest first.
    pub async fn own_orders(&self, account: &str) -> Result<Vec<OwnOrder>> {
        let rows: Vec<(String, String, String, i64, String)> = sqlx::query_as(
            "SELECT o.id, o.title, b.image_name, o.created,
                    CASE WHEN o.cancelled IS NOT NULL THEN 'cancelled' WHEN b.expired IS NOT NULL AND b.state = 'ready' THEN 'expired' ELSE b.state END
             FROM orders o JOIN builds b ON b.id = o.build WHERE o.account = $1 ORDER BY o.created DESC, o.id LIMIT $2",
        )
        .bind(account)
        .bind(LISTED)
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|(id, title, image_name, created, state)| Ok(OwnOrder { id, title, image_name, created, state: state.parse()? }))
            .collect()
    }

    /// Takes an order into an account. Whether it is in it now: an order of another account stays there.
    pub async fn take_in(&self, order: &str, account: &str) -> Result<bool> {
        let done = sqlx::query("UPDATE orders SET account = $1 WHERE id = $2 AND (account IS NULL OR account = $1)")
            .bind(account)
            .bind(order)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Removes an account, with its sessions, tokens and mail address. Its orders stay for who has their links, and are told of by mail no more.
    pub async fn delete_account(&self, account: &AccountRow) -> Result<()> {
        let mut tx = self.write().await?;
        if let Some(email) = &account.email {
            sqlx::query(
                "DELETE FROM outbox WHERE way = 'mail' AND sent IS NULL
                   AND order_id IN (SELECT id FROM orders WHERE account = $1 AND email = $2)",
            )
            .bind(&account.id)
            .bind(email)
            .execute(&mut *tx)
            .await?;
            sqlx::query("UPDATE orders SET email = NULL WHERE account = $1 AND email = $2")
                .bind(&account.id)
                .bind(email)
                .execute(&mut *tx)
                .await?;
            // That no mail is wanted has to be remembered.
            sqlx::query(
                "DELETE FROM addresses WHERE email = $1 AND stopped IS NULL AND NOT EXISTS (SELECT 1 FROM orders WHERE email = $1)",
            )
            .bind(email)
            .execute(&mut *tx)
            .await?;
            sqlx::query("DELETE FROM log_in_links WHERE email = $1").bind(email).execute(&mut *tx).await?;
        }
        for sql in [
            "UPDATE orders SET account = NULL WHERE account = $1",
            "DELETE FROM sessions WHERE account = $1",
            "DELETE FROM api_tokens WHERE account = $1",
            "DELETE FROM accounts WHERE id = $1",
        ] {
            sqlx::query(sql).bind(&account.id).execute(&mut *tx).await?;
        }
        tx.commit().await
    }

    /// Invites whoever reads at an address, instead of what was said of it before.
    pub async fn invite(&self, email: &str, role: Role) -> Result<()> {
        sqlx::query(
            "INSERT INTO invitations (email, role, created) VALUES ($1, $2, $3) ON CONFLICT (email) DO UPDATE SET role = excluded.role",
        )
        .bind(email)
        .bind(to_json(&role)?)
        .bind(now())
        .execute(&self.pool)
        .await
        .map(drop)
    }

    /// Takes an invitation back. Whether there was one.
    pub async fn uninvite(&self, email: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM invitations WHERE email = $1").bind(email).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Who was invited, by address.
    pub async fn invitations(&self) -> Result<Vec<Invitation>> {
        let rows: Vec<(String, String, i64)> =
            sqlx::query_as("SELECT email, role, created FROM invitations ORDER BY email").fetch_all(&self.pool).await?;
        rows.into_iter().map(|(email, role, created)| Ok(Invitation { email, role: from_json(&role)?, created })).collect()
    }
}
