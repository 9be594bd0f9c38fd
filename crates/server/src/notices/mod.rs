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

use crate::accounts;
use crate::app::App;
use crate::client;
use crate::clock::now;
use crate::db::{Access, BuildState, LINK, Notice, NoticeKind, OrderRow, Owed, Way, What};
use crate::orders::number;
use crate::reconcile::wait;
use crate::status;
use crate::words;

/// How often the outbox is looked at when nothing rings.
const PERIOD: Duration = Duration::from_secs(3);
/// A server has a notice in hand for so long; giving it must have ended by then. Seconds.
const IN_HAND: i64 = 90;
/// Giving one may take so long, by whatever way. What is left of the time that it is in hand is for noting how it went.
const GIVING: Duration = Duration::from_secs(75);
/// How long what is half given may go on when the server is asked to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
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

/// What became of something owed that there was no trouble with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Given,
    /// What it tells is so no more, or nobody may have it.
    NotWanted,
}

type Gave = crate::db::Result<Result<Outcome, Trouble>>;

/// Gives what is owed, until the server stops.
pub async fn run(app: Arc<App>) {
    let mut hands = JoinSet::new();
    loop {
        give_what_is_due(&app, &mut hands).await;
        if !wait(&app, PERIOD, app.bus.notices.notified()).await {
            break;
        }
    }
    // What is half given is given to its end, so that it is not given twice; but what hangs must not keep the server from stopping.
    let given = async { while hands.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, given).await.is_err() {
        tracing::info!("notices still not given after {} seconds were broken off; they stay owed", SHUTDOWN_GRACE.as_secs());
    }
}

/// Starts to give what is due. What hangs is not waited for.
async fn give_what_is_due(app: &Arc<App>, hands: &mut JoinSet<()>) {
    while hands.try_join_next().is_some() {}
    while !*app.stopping.borrow() {
        while hands.len() >= AT_ONCE {
            if !wait(app, PERIOD, async { drop(hands.join_next().await) }).await {
                return;
            }
        }
        match app.db.claim_notice(IN_HAND, app.mailer.is_some()).await {
            Ok(Some(owed)) => {
                let app = app.clone();
                hands.spawn(async move {
                    let result = match &owed.what {
                        What::Notice(notice) => give_notice(&app, &owed, notice).await,
                        What::Link(link) => give_link(&app, &owed, link).await,
                    };
                    if let Err(error) = result {
                        tracing::error!(%error, notice = owed.id, "a notice could not be dealt with");
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

async fn give_notice(app: &Arc<App>, owed: &Owed, notice: &Notice) -> crate::db::Result<()> {
    let (order, kind, way) = (number(&notice.order_id), notice.kind.name(), notice.way.name());
    match in_time(GIVING, give(app, notice)).await? {
        Ok(Outcome::Given) => {
            tracing::info!(order, notice = owed.id, kind, way, "notice given");
            app.db.notice_sent(owed.id).await
        }
        Ok(Outcome::NotWanted) => {
            tracing::info!(order, notice = owed.id, kind, way, "notice dropped: what it tells is so no more");
            app.db.notice_dropped(owed.id).await
        }
        Err(trouble) => {
            let given_up = not_given(app, owed, &trouble).await?;
            tracing::warn!(order, notice = owed.id, kind, way, tries = owed.attempts + 1, given_up, error = %trouble, "notice not given");
            Ok(())
        }
    }
}

async fn give_link(app: &App, owed: &Owed, hash: &str) -> crate::db::Result<()> {
    match in_time(GIVING, send_link(app, owed.id, hash)).await? {
        Ok(Outcome::Given) => {
            tracing::info!(notice = owed.id, "link to log in sent");
            app.db.notice_sent(owed.id).await
        }
        Ok(Outcome::NotWanted) => app.db.notice_sent(owed.id).await,
        Err(trouble) => {
            let given_up = not_given(app, owed, &trouble).await?;
            tracing::warn!(notice = owed.id, tries = owed.attempts + 1, given_up, error = %trouble, "link to log in not sent");
            Ok(())
        }
    }
}

/// What takes too long is given another time: before somebody else takes it into hand.
async fn in_time(limit: Duration, giving: impl Future<Output = Gave>) -> Gave {
    let too_slow = || Trouble::passing(format!("it was not given within {} seconds", limit.as_secs()));
    tokio::time::timeout(limit, giving).await.unwrap_or_else(|_| Ok(Err(too_slow())))
}

/// Notes that something was not given, to be tried again later where that may help. Whether it was given up.
async fn not_given(app: &App, owed: &Owed, trouble: &Trouble) -> crate::db::Result<bool> {
    let tries = owed.attempts + 1;
    let again = (!trouble.last && tries < MAX_TRIES).then(|| now().saturating_add(backoff(tries)));
    app.db.notice_failed(owed.id, &trouble.to_string(), again).await?;
    Ok(again.is_none())
}

/// Sends a link to log in, if somebody may log in by its address; what was answered to who asked for it does not tell.
async fn send_link(app: &App, id: i64, hash: &str) -> Gave {
    let link = app.db.owed_link(hash).await?;
    let (Some(link), Some(mailer)) = (link, &app.mailer) else { return Ok(Ok(Outcome::NotWanted)) };
    let invited_only = app.db.access().await? == Access::Invited && !accounts::is_named(&app.config, &link.email);
    if !app.db.may_log_in_by(&link.email, invited_only).await? {
        return Ok(Ok(Outcome::NotWanted));
    }
    let address = format!("{}/log-in/link/{}", app.public_url, client::log_in_link(&app.secret, &link.nonce));
    let sent = words::speaking(link.language, mailer.send_link(id, &link.email, &address, LINK / 60)).await;
    Ok(sent.map(|()| Outcome::Given))
}

/// Gives a notice in the language of its order.
async fn give(app: &Arc<App>, notice: &Notice) -> Gave {
    let Some(order) = app.db.order(&notice.order_id).await? else { return Err(sqlx::Error::RowNotFound) };
    words::speaking(order.language, give_of(app, notice, order)).await
}

async fn give_of(app: &Arc<App>, notice: &Notice, order: OrderRow) -> Gave {
    let Some(status) = status::of_order(app, &notice.order_id).await? else { return Err(sqlx::Error::RowNotFound) };
    if !still_holds(notice.kind, status.state) {
        return Ok(Ok(Outcome::NotWanted));
    }
    let given = match (notice.way, &app.mailer, order.email, order.webhook) {
        (Way::Push, ..) => push::push_to_all(app, notice, &status).await?,
        (Way::Mail, Some(mailer), Some(email), _) => {
            let token = app.db.address_token(&email).await?;
            mailer.send(&email, notice, &status, &app.public_url, &token).await
        }
        (Way::Webhook, _, _, Some(address)) => webhook::call(app, &address, notice, &status).await,
        (Way::Mail | Way::Webhook, ..) => Err(Trouble::lasting("the order names no address for it")),
    };
    Ok(given.map(|()| Outcome::Given))
}

/// Whether what a notice tells is still so. It may have been owed for weeks, to an address that was confirmed late; meanwhile an image expires,
/// and what failed or expired is built again.
fn still_holds(kind: NoticeKind, state: BuildState) -> bool {
    match kind {
        NoticeKind::Ready | NoticeKind::Expiring => state == BuildState::Ready,
        NoticeKind::Failed => state == BuildState::Failed,
        NoticeKind::Cancelled => state == BuildState::Cancelled,
        NoticeKind::Confirm | NoticeKind::Answered => true,
    }
}

/// Seconds until the next try: 5, 10, 20 … at most 4 hours.
fn backoff(tries: i64) -> i64 {
    let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(0).min(20);
    5i64.saturating_mul(1 << doublings).min(4 * 3_600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_given_another_time() {
        let trouble = in_time(Duration::from_millis(1), std::future::pending()).await.unwrap().unwrap_err();
        assert!(!trouble.last, "{trouble}");
        assert_eq!(in_time(GIVING, async { Ok(Ok(Outcome::Given)) }).await.unwrap().unwrap(), Outcome::Given);
        assert!(i64::try_from(GIVING.as_secs()).unwrap() < IN_HAND, "no other server has it in hand by then");
    }

    #[test]
    fn tries_spread_over_two_days() {
        let all: Vec<i64> = (1..MAX_TRIES).map(backoff).collect();
        assert_eq!(all.first(), Some(&5));
        assert!(all.is_sorted());
        let total: i64 = all.iter().sum();
        assert!((86_400..4 * 86_400).contains(&total), "{total}");
    }
}
