//! How much of the site is taken: what users ordered lately, and have open.

use sqlx::AnyConnection;

use super::{Db, Result, to_u64};
use crate::clock::now;

/// An hour. Seconds.
pub const HOUR: i64 = 3_600;

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
    /// What this user cannot take more of. For nobody in particular, whose name is empty, only what all take together counts.
    pub async fn reached(&self, user: &str, most: &Most) -> Result<Option<Reached>> {
        reached(&mut *self.pool.acquire().await?, user, most).await
    }
}

/// The same within a transaction: nobody who writes can take more meanwhile. One statement asks for all of it, as others wait meanwhile.
pub(super) async fn reached(connection: &mut AnyConnection, user: &str, most: &Most) -> Result<Option<Reached>> {
    let (of_all, of_user) = most.per_hour.unwrap_or((u32::MAX, u32::MAX));
    // A user may have thousands of orders: only of who has enough of them it is looked which are open, the newest first, and no more than count.
    let (waiting, of_all, of_user, open): (i64, Option<i64>, Option<i64>, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM builds WHERE state = 'waiting'),
                (SELECT created FROM orders WHERE created > $1 ORDER BY created DESC LIMIT 1 OFFSET $2),
                (SELECT created FROM orders WHERE \"user\" = $3 AND created > $1 ORDER BY created DESC LIMIT 1 OFFSET $4),
                CASE WHEN (SELECT count(*) FROM (SELECT 1 FROM orders WHERE \"user\" = $3 LIMIT $5) AS all_of_user) < $5 THEN 0 ELSE
                    (SELECT count(*) FROM
                        (SELECT o.id FROM orders o JOIN builds b ON b.id = o.build
                         WHERE o.\"user\" = $3 AND o.cancelled IS NULL AND b.state IN ('waiting', 'building')
                         ORDER BY o.created DESC LIMIT $5) AS open) END",
    )
    .bind(now() - HOUR)
    .bind(nth(of_all))
    .bind(user)
    .bind(nth(of_user))
    .bind(i64::from(most.open))
    .fetch_one(connection)
    .await?;
    let of_site = (to_u64(waiting) >= most.waiting).then_some(Reached::Waiting(to_u64(waiting))).or(of_all.map(Reached::OfAll));
    let full = to_u64(open) >= u64::from(most.open);
    let own = || of_user.map(Reached::OfUser).or(full.then_some(Reached::Open(to_u64(open)))).filter(|_| !user.is_empty());
    Ok(of_site.or_else(own))
}

/// How many orders are newer than the one that is so many back, counted from 1.
fn nth(count: u32) -> i64 {
    i64::from(count.saturating_sub(1))
}
