//! Presets that are kept warm: when workers have nothing else to do, their images are made ahead, one after the other, so that whoever orders one as it is
//! has it at once, and other orders find its packages with a worker.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::app::App;
use crate::db::{Ahead, Gate};
use crate::orders::{Prepared, Refusal};
use crate::reconcile::wait;

/// How often the queue is looked at.
const PERIOD: Duration = Duration::from_secs(1);

/// Keeps the presets warm that the operator named.
pub async fn run(app: Arc<App>) {
    let names = &app.config.warm;
    if let Err(error) = app.db.keep_warm_only(names).await {
        tracing::error!(%error, "presets that are kept warm no more could not be let go");
    }
    if names.is_empty() {
        return;
    }
    // When each is due to be planned again: its index may have changed.
    let mut due: HashMap<&str, Instant> = HashMap::new();
    let again = Duration::from_secs(app.config.index_ttl_seconds);
    while wait(&app, PERIOD, std::future::pending()).await {
        let now = Instant::now();
        let Some(name) = names.iter().find(|name| due.get(name.as_str()).is_none_or(|at| *at <= now)) else { continue };
        match keep_warm(&app, name).await {
            Ok(Ahead::Busy) => continue,
            Ok(Ahead::Queued) => tracing::info!(preset = %name, "to be built ahead"),
            Ok(Ahead::There | Ahead::Failed) => {}
            Err(error) => tracing::warn!(preset = %name, %error, "the preset cannot be kept warm now"),
        }
        due.insert(name, now + again);
    }
}

async fn keep_warm(app: &App, name: &str) -> Result<Ahead, Refusal> {
    // What no worker can make keeps none of them from this.
    let outlook = app.outlook().await?;
    let stuck: HashSet<&str> = outlook.stuck().collect();
    if app.db.is_busy(&stuck).await? || app.db.gate().await? != Gate::Open {
        return Ok(Ahead::Busy);
    }
    let Some(preset) = app.catalogue.presets.get(name) else { return Ok(Ahead::Failed) };
    let order = preset.order();
    let prepared = Prepared::new(app.catalogue.plan(&order).await?, &order)?.expected(app).await?;
    let ahead = app.db.place_ahead(name, &prepared.build(&order), &stuck).await?;
    if ahead == Ahead::Queued {
        app.bus.state_changed(&prepared.id);
    }
    Ok(ahead)
}
