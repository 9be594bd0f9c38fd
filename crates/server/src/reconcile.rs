//! The reconcilers: small loops that bring what is into line with what should be. Each reads the database, so that it takes up
//! after a crash where it was.

use std::sync::Arc;
use std::time::Duration;

use contract::{Failure, Step};

use crate::app::App;
use crate::db::{Keeping, MAX_ATTEMPTS};
use crate::{bus, fresh, lacking, notices, orders, outlook, warm};

/// How often lapsed leases are looked for.
const LEASE_PERIOD: Duration = Duration::from_secs(1);
/// How often orders are looked for that were promised nothing.
const PROMISE_PERIOD: Duration = Duration::from_secs(2);
/// How often images are looked for whose time is over.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);
/// How often files that no build needs are looked for.
const SWEEP_PERIOD: Duration = Duration::from_secs(600);

/// Starts all reconcilers; they end when the server stops.
pub fn start(app: &Arc<App>) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(bus::tell(app.clone()));
    tasks.spawn(bus::hear(app.clone()));
    tasks.spawn(leases(app.clone()));
    tasks.spawn(outlook::renew(app.clone()));
    tasks.spawn(promises(app.clone()));
    tasks.spawn(expire(app.clone()));
    tasks.spawn(sweep(app.clone()));
    tasks.spawn(read_channels(app.clone()));
    tasks.spawn(notices::run(app.clone()));
    tasks.spawn(warm::run(app.clone()));
    tasks.spawn(fresh::run(app.clone()));
    tasks.spawn(lacking::run(app.clone()));
    tasks
}

/// Waits for the period, or for a ring, or for the end of the server. `false` at the end.
pub async fn wait(app: &App, period: Duration, ring: impl Future<Output = ()>) -> bool {
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
        match app.db.expire_leases(app.config.lease_ttl_seconds, lost_too_often).await {
            Ok(lapses) => {
                if lapses.renewed {
                    tracing::warn!("nobody looked at the leases for a while; all were given a full time again");
                }
                for build in lapses.changed {
                    tracing::warn!(build, "lease lapsed");
                    app.bus.state_changed(&build);
                }
            }
            Err(error) => tracing::error!(%error, "lapsed leases could not be looked for"),
        }
    }
}

fn lost_too_often(step: Step) -> Failure {
    Failure::new(
        step,
        format!("The worker that built this image was lost {MAX_ATTEMPTS} times, so the build was given up."),
        "Order again with fewer packages, to see whether one of them is the cause. If it happens again, tell the operator \
                 of this site the build's number; the workers' logs say more.",
    )
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

/// Promises a time to orders that came while the outlook was older than they.
async fn promises(app: Arc<App>) {
    while wait(&app, PROMISE_PERIOD, std::future::pending()).await {
        if let Err(error) = promise_all(&app).await {
            tracing::error!(%error, "orders could not be promised a time");
        }
    }
}

async fn promise_all(app: &App) -> crate::db::Result<()> {
    let orders = app.db.unpromised().await?;
    if orders.is_empty() {
        return Ok(());
    }
    let outlook = app.outlook().await?;
    // Without a worker nothing can be said of any.
    if orders.iter().all(|(_, build)| outlook.ready(build).is_none()) {
        return Ok(());
    }
    orders::promise(app, &orders, &outlook).await
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
                app.bus.notices.notify_one();
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
    app.db.forget_workers().await?;
    app.db.forget_ways_in().await?;
    app.db.forget_rates().await?;
    app.db.forget_old_mail().await?;
    for build in app.storage.builds().await? {
        let keep = app.db.files_to_keep(&build).await?;
        app.storage.remove_all_but(&build, keep).await?;
    }
    Ok(())
}
