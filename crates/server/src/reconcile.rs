//! The reconcilers: small loops that bring what is into line with what should be. Each reads the database, so that it takes up
//! after a crash where it was.

use std::sync::Arc;
use std::time::Duration;

use contract::{Failure, Step};

use crate::app::App;
use crate::clock::now;
use crate::db::BuildState;
use crate::db::{Keeping, Notice, NoticeKind};
use crate::mail::{MailError, Mailer};
use crate::status;

/// A build that lost its worker so often fails: probably the job itself kills them.
const MAX_ATTEMPTS: u32 = 3;
/// How often lapsed leases are looked for.
const LEASE_PERIOD: Duration = Duration::from_secs(1);
/// How often the outbox is looked at when nothing rings.
const OUTBOX_PERIOD: Duration = Duration::from_secs(3);
/// How often images are looked for whose time is over.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);
/// How often files that no build needs are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(600);
/// A notice is given up after so many tries, about two days.
const MAX_MAIL_TRIES: i64 = 24;

/// Starts all reconcilers; they end when the server stops.
pub fn start(app: &Arc<App>) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(leases(app.clone()));
    tasks.spawn(expire(app.clone()));
    tasks.spawn(sweep(app.clone()));
    tasks.spawn(read_channels(app.clone()));
    if app.mailer.is_some() {
        tasks.spawn(outbox(app.clone()));
    }
    tasks
}

/// Waits for the period, or for a ring, or for the end of the server. `false` at the end.
async fn wait(app: &App, period: Duration, ring: impl Future<Output = ()>) -> bool {
    let mut stopping = app.stopping.clone();
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => false,
        _ = tokio::time::sleep(period) => true,
        _ = ring => true,
    }
}

/// Puts builds whose worker fell silent back into their place of the queue.
async fn leases(app: Arc<App>) {
    while wait(&app, LEASE_PERIOD, std::future::pending()).await {
        match app.db.expire_leases(MAX_ATTEMPTS, lost_too_often).await {
            Ok(changed) => {
                for build in changed {
                    tracing::warn!(build, "lease lapsed");
                    app.bus.state_changed(&build);
                    app.bus.mail.notify_one();
                }
            }
            Err(error) => tracing::error!(%error, "lapsed leases could not be looked for"),
        }
    }
}

fn lost_too_often(step: Step) -> Failure {
    Failure {
        step,
        package: None,
        message: format!("The worker that built this image was lost {MAX_ATTEMPTS} times, so the build was given up."),
        advice:
            "Order again with fewer packages, to see whether one of them is the cause. If it happens again, tell the operator \
                 of this site the build's number; the workers' logs say more."
                .into(),
    }
}

/// Reads all channels once at the start, so that the first visitor sees what is available.
async fn read_channels(app: Arc<App>) {
    for channel in app.catalogue.channels.all() {
        let mut stopping = app.stopping.clone();
        tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            // The outcome is kept in the channel and logged there.
            _ = channel.snapshot() => {}
        }
    }
}

/// Lets images go whose time is over, and tells their owners before.
async fn expire(app: Arc<App>) {
    let days = |days: u32| i64::from(days) * 86_400;
    let keeping = Keeping {
        picked_up: days(app.config.keep_days),
        unclaimed: days(app.config.keep_unclaimed_days),
        // A day before, or half the time where that is short.
        warning: days(1).min(days(app.config.keep_unclaimed_days) / 2),
    };
    loop {
        match app.db.expire_images(keeping).await {
            Ok(expired) => {
                app.bus.mail.notify_one();
                for build in &expired {
                    tracing::info!(build, "images expired");
                    app.bus.state_changed(build);
                }
                if !expired.is_empty()
                    && let Err(error) = sweep_once(&app).await
                {
                    tracing::error!(%error, "files that nobody needs could not be removed");
                }
            }
            Err(error) => tracing::error!(%error, "images that are over could not be looked for"),
        }
        if !wait(&app, EXPIRY_PERIOD, std::future::pending()).await {
            return;
        }
    }
}

/// Removes files of attempts that nobody needs any more.
async fn sweep(app: Arc<App>) {
    loop {
        if let Err(error) = sweep_once(&app).await {
            tracing::error!(%error, "files that nobody needs could not be removed");
        }
        if !wait(&app, SWEEP_PERIOD, std::future::pending()).await {
            return;
        }
    }
}

async fn sweep_once(app: &App) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    for build in app.files.builds().await? {
        let keep = app.db.files_to_keep(&build).await?;
        app.files.remove_all_but(&build, keep).await?;
    }
    Ok(())
}

/// Sends the notices that are owed.
async fn outbox(app: Arc<App>) {
    loop {
        match app.db.due_notices(50).await {
            Ok(notices) => {
                for notice in notices {
                    if *app.stopping.borrow() {
                        return;
                    }
                    if let Err(error) = deliver(&app, &notice).await {
                        tracing::error!(%error, notice = notice.id, "a notice could not be dealt with");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the outbox could not be read"),
        }
        if !wait(&app, OUTBOX_PERIOD, app.bus.mail.notified()).await {
            return;
        }
    }
}

async fn deliver(app: &App, notice: &Notice) -> crate::db::Result<()> {
    let Some(mailer) = &app.mailer else {
        return Ok(());
    };
    let outcome = match compose_and_send(app, mailer, notice).await? {
        Ok(()) => {
            tracing::info!(notice = notice.id, "mail sent");
            return app.db.notice_sent(notice.id).await;
        }
        Err(error) => error,
    };
    let tries = notice.attempts + 1;
    let again = (!outcome.is_final() && tries < MAX_MAIL_TRIES).then(|| now().saturating_add(backoff(tries)));
    tracing::warn!(notice = notice.id, tries, given_up = again.is_none(), error = %outcome, "mail not sent");
    app.db.notice_failed(notice.id, &outcome.to_string(), again).await
}

async fn compose_and_send(app: &App, mailer: &Mailer, notice: &Notice) -> crate::db::Result<Result<(), MailError>> {
    let (Some(order), Some(status)) = (app.db.order(&notice.order_id).await?, status::of_order(app, &notice.order_id).await?)
    else {
        return Err(sqlx::Error::RowNotFound);
    };
    let Some(email) = order.email else {
        return Ok(Err(MailError::Unwritable("the order has no address".into())));
    };
    // An image may have been fetched or built again since the notice was owed.
    if notice.is(NoticeKind::Expiring) && status.state != BuildState::Ready {
        return Ok(Ok(()));
    }
    Ok(mailer.send(&email, notice, &status).await)
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
        let all: Vec<i64> = (1..MAX_MAIL_TRIES).map(backoff).collect();
        assert_eq!(all.first(), Some(&5));
        assert!(all.is_sorted());
        let total: i64 = all.iter().sum();
        assert!((86_400..4 * 86_400).contains(&total), "{total}");
    }
}
