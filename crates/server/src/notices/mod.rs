//! Giving the notices that are owed: by mail, by webhook, by web push. A notice is taken from the outbox, given, and crossed out; a crash between the last two
//! gives it again, under the same identifier, by which whoever gets it can tell.

mod mail;
mod push;
mod webhook;
#[cfg(test)]
mod worked;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

pub use mail::Mailer;
pub use push::{PushError, SiteKey, Subscription};
pub use webhook::secret as webhook_secret;

use crate::app::App;
use crate::clock::now;
use crate::db::{BuildState, Notice, NoticeKind, OrderRow, Way};
use crate::orders::number;
use crate::reconcile::wait;
use crate::status;
use crate::words;

/// How often the outbox is looked at when nothing rings.
const PERIOD: Duration = Duration::from_secs(3);
/// A server has a notice in hand for so long; giving it must have ended by then. Seconds.
const IN_HAND: i64 = 90;
/// So many notices are given at once, so that one that hangs does not hold up the others.
const AT_ONCE: usize = 8;
/// A notice is given up after so many tries, about two days.
const MAX_TRIES: i64 = 24;

/// Why a notice was not given.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct Trouble {
    reason: String,
    /// Trying again cannot help.
    last: bool,
}

impl Trouble {
    fn passing(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), last: false }
    }

    fn lasting(reason: impl Into<String>) -> Trouble {
        Trouble { reason: reason.into(), last: true }
    }
}

/// Gives what is owed, until the server stops.
pub async fn run(app: Arc<App>) {
    let mut hands = JoinSet::new();
    loop {
        give_what_is_due(&app, &mut hands).await;
        if !wait(&app, PERIOD, app.bus.notices.notified()).await {
            break;
        }
    }
    // What is half given is given to its end, so that it is not given twice.
    while hands.join_next().await.is_some() {}
}

/// Starts to give what is due. What hangs is not waited for.
async fn give_what_is_due(app: &Arc<App>, hands: &mut JoinSet<()>) {
    while hands.try_join_next().is_some() {}
    while !*app.stopping.borrow() {
        if hands.len() >= AT_ONCE {
            hands.join_next().await;
        }
        match app.db.claim_notice(IN_HAND, app.mailer.is_some()).await {
            Ok(Some(notice)) => {
                let app = app.clone();
                hands.spawn(async move {
                    if let Err(error) = deal_with(&app, &notice).await {
                        tracing::error!(%error, order = number(&notice.order_id), notice = notice.id, "a notice could not be dealt with");
                    }
                });
            }
            Ok(None) => break,
            Err(error) => {
                tracing::error!(%error, "the outbox could not be read");
                break;
            }
        }
    }
}

async fn deal_with(app: &App, notice: &Notice) -> crate::db::Result<()> {
    let way = notice.way.name();
    let trouble = match give(app, notice).await? {
        Ok(()) => {
            tracing::info!(order = number(&notice.order_id), notice = notice.id, kind = notice.kind.name(), way, "notice given");
            return app.db.notice_sent(notice.id).await;
        }
        Err(trouble) => trouble,
    };
    let tries = notice.attempts + 1;
    let again = (!trouble.last && tries < MAX_TRIES).then(|| now().saturating_add(backoff(tries)));
    let (order, given_up) = (number(&notice.order_id), again.is_none());
    tracing::warn!(order, notice = notice.id, kind = notice.kind.name(), way, tries, given_up, error = %trouble, "notice not given");
    app.db.notice_failed(notice.id, &trouble.to_string(), again).await
}

/// Gives a notice in the language of its order.
async fn give(app: &App, notice: &Notice) -> crate::db::Result<Result<(), Trouble>> {
    let Some(order) = app.db.order(&notice.order_id).await? else { return Err(sqlx::Error::RowNotFound) };
    words::speaking(order.language, give_of(app, notice, order)).await
}

async fn give_of(app: &App, notice: &Notice, order: OrderRow) -> crate::db::Result<Result<(), Trouble>> {
    let Some(status) = status::of_order(app, &notice.order_id).await? else { return Err(sqlx::Error::RowNotFound) };
    // An image may have been fetched or built again since the notice was owed.
    if notice.kind == NoticeKind::Expiring && status.state != BuildState::Ready {
        return Ok(Ok(()));
    }
    if notice.way == Way::Push {
        return push::push_to_all(app, notice, &status).await;
    }
    Ok(match (notice.way, &app.mailer, order.email, order.webhook) {
        (Way::Mail, Some(mailer), Some(email), _) => {
            let token = app.db.address_token(&email).await?;
            mailer.send(&email, notice, &status, &app.public_url, &token).await
        }
        (Way::Webhook, _, _, Some(address)) => webhook::call(app, &address, notice, &status).await,
        (Way::Mail | Way::Webhook | Way::Push, ..) => Err(Trouble::lasting("the order names no address for it")),
    })
}

/// Seconds until the next try: 5, 10, 20 … at most 4 hours.
fn backoff(tries: i64) -> i64 {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(20);
    5i64.saturating_mul(1 << doublings).min(4 * 3_600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_spread_over_two_days() {
        let all: Vec<i64> = (1..MAX_TRIES).map(backoff).collect();
        assert_eq!(all.first(), Some(&5));
        assert!(all.is_sorted());
        let total: i64 = all.iter().sum();
        assert!((86_400..4 * 86_400).contains(&total), "{total}");
    }
}
