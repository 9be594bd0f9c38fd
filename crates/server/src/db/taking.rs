//! How much of the site is taken: what users ordered lately, and have open.

use sqlx::AnyConnection;

use super::{Db, Result, to_i64, to_u64};
use crate::clock::now;

/// An hour. Seconds.
const HOUR: i64 = 3_600;

/// How much may be taken.
#[derive(Clone, Copy, Debug)]
pub struct Most {
    /// Builds that wait.
    pub waiting: u64,
    /// Orders of all users, and of one, in an hour; none where these do not count.
    pub per_hour: Option<(u32, u32)>,
    /// Orders of one user that wait or are built.
    pub open: u32,
}

/// Of that, so much is taken that no more can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    Waiting(u64),
    /// The orders of all users, and of one, in an hour. When the oldest of them was placed.
    OfAll(i64),
    OfUser(i64),
    Open(u64),
}

impl Db {
    /// What this user cannot take more of; all that all take together is asked of nobody in particular, whose name is empty, too.
    pub async fn reached(&self, user: &str, most: &Most) -> Result<Option<Reached>> {
        reached(&mut *self.pool.acquire().await?, user, most).await
    }
}

/// The same within a transaction: nobody who writes can take more meanwhile.
pub(super) async fn reached(connection: &mut AnyConnection, user: &str, most: &Most) -> Result<Option<Reached>> {
    let waiting: i64 =
        sqlx::query_scalar("SELECT count(*) FROM builds WHERE state = 'waiting'").fetch_one(&mut *connection).await?;
    if to_u64(waiting) >= most.waiting {
        return Ok(Some(Reached::Waiting(to_u64(waiting))));
    }
    if let Some((of_all, of_user)) = most.per_hour {
        if let Some(at) = within_an_hour(connection, "", of_all).await? {
            return Ok(Some(Reached::OfAll(at)));
        }
        if !user.is_empty()
            && let Some(at) = within_an_hour(connection, user, of_user).await?
        {
            return Ok(Some(Reached::OfUser(at)));
        }
    }
    if user.is_empty() {
        return Ok(None);
    }
    // A user may have thousands of orders: only of who has enough of them they are looked at, the newest first, and no more than count.
    let open: i64 = sqlx::query_scalar(
        "SELECT CASE WHEN (SELECT count(*) FROM (SELECT 1 FROM orders WHERE \"user\" = $1 LIMIT $2) AS all_of_user) < $2 THEN 0 ELSE
             (SELECT count(*) FROM
                 (SELECT o.id FROM orders o JOIN builds b ON b.id = o.build
                  WHERE o.\"user\" = $1 AND o.cancelled IS NULL AND b.state IN ('waiting', 'building')
                  ORDER BY o.created DESC LIMIT $2) AS open) END",
    )
    .bind(user)
    .bind(i64::from(most.open))
    .fetch_one(&mut *connection)
    .await?;
    Ok((to_u64(open) >= u64::from(most.open)).then_some(Reached::Open(to_u64(open))))
}

/// When the `nth` last order was placed, counted from 1, if that was within the last hour: by this user, or by anybody where none is named.
async fn within_an_hour(connection: &mut AnyConnection, user: &str, nth: u32) -> Result<Option<i64>> {
    let of_user = "SELECT created FROM orders WHERE \"user\" = $1 AND created > $2 ORDER BY created DESC LIMIT 1 OFFSET $3";
    let of_all = "SELECT created FROM orders WHERE $1 = '' AND created > $2 ORDER BY created DESC LIMIT 1 OFFSET $3";
    sqlx::query_scalar(if user.is_empty() { of_all } else { of_user })
        .bind(user)
        .bind(now() - HOUR)
        .bind(to_i64(u64::from(nth.saturating_sub(1))))
        .fetch_optional(connection)
        .await
}
