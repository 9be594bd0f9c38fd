//! What orders would come to if they were placed now: how much they are, and when they would be ready. Nothing of it is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::{Order, Summary};
use tokio::task::JoinSet;

use crate::app::App;
use crate::clock;
use crate::db::{self, BuildState};
use crate::orders::{self, Prepared, Refusal};
use crate::sizes::{self, ImageSize};
use crate::status::{self, Ready};
use crate::work;

/// So long a page waits for the plans of presets; what comes later is on the next one.
const PATIENCE: Duration = Duration::from_millis(400);
/// What presets come to serves for so long where nothing was heard of: other servers' builds end, too.
const SUMS_SERVE: Duration = Duration::from_secs(1);
/// A preset that could not be planned is tried again after so long.
const RETRY: Duration = Duration::from_secs(60);

/// What an order would come to.
pub struct Preview {
    /// What people call the channel it comes from.
    pub channel: String,
    pub summary: Summary,
    /// What whoever orders should know.
    pub notes: Vec<String>,
    pub ready: Ready,
    /// The very images are there already.
    pub at_hand: bool,
    pub images: Vec<ImageSize>,
}

impl Preview {
    /// When it would be ready, in words; none where nobody can say.
    pub fn ready_in(&self) -> Option<String> {
        self.ready.seconds.map(clock::duration)
    }
}

/// Works an order out. `secret` says that it will have a password that is not in it yet, so that it can share no image with another.
pub async fn preview(app: &App, order: &Order, secret: bool) -> Result<Preview, Refusal> {
    let planned = app.catalogue.plan(order).await?;
    orders::check_size(app, &planned.plan)?;
    let prepared = Prepared::new(planned, order)?.expected(app).await?;
    let equal = if secret { None } else { app.db.equal_build(&prepared.build(order)).await? };
    let ready = match &equal {
        Some((build, state)) => status::ready(app, build, *state).await?,
        None => status::ready_if_ordered(app, &prepared.work).await?,
    };
    let Prepared { planned, .. } = prepared;
    let (at_hand, images) = images(app, order, &planned.plan.summary, equal).await?;
    Ok(Preview {
        channel: planned.channel.config.title.clone(),
        summary: planned.plan.summary,
        notes: planned.plan.notes,
        ready,
        at_hand,
        images,
    })
}

/// Whether the very images are there already, and how large they are or will be. `equal` is the build of the same images.
async fn images(
    app: &App,
    order: &Order,
    summary: &Summary,
    equal: Option<(String, BuildState)>,
) -> db::Result<(bool, Vec<ImageSize>)> {
    let made = equal.filter(|(_, state)| *state == BuildState::Ready).map(|(build, _)| build);
    let images = sizes::images(app, &order.formats, summary.download_size, made.as_deref()).await?;
    Ok((made.is_some(), images))
}

/// A preset as it is, planned.
struct PresetPlan {
    order: Order,
    prepared: Prepared,
}

/// The plans of presets, kept for a while.
#[derive(Default)]
pub struct PresetPlans(Mutex<HashMap<String, Kept>>);

struct Kept {
    at: Instant,
    /// None while it is being planned, and where it cannot be.
    plan: Option<Arc<PresetPlan>>,
}

/// What a preset comes to.
pub struct PresetSums {
    pub summary: Summary,
    /// The very images are there already.
    pub at_hand: bool,
    pub images: Vec<ImageSize>,
    /// How long a worker takes to make them. Seconds.
    pub build_seconds: u64,
}

/// What each preset comes to, by name.
pub type AllSums = BTreeMap<String, PresetSums>;

/// What each preset comes to. Those that cannot be planned at the moment are left out.
pub async fn presets(app: &Arc<App>) -> db::Result<Arc<AllSums>> {
    let version = app.bus.version();
    if let Some(kept) = app.preset_sums.of(&version, SUMS_SERVE) {
        return Ok(kept);
    }
    plan_presets(app).await;
    Ok(app.preset_sums.keep_of(version, sum_up(app).await?))
}

async fn sum_up(app: &App) -> db::Result<AllSums> {
    let kept: Vec<(String, Arc<PresetPlan>)> = {
        let plans = app.preset_plans.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.iter().filter_map(|(name, kept)| Some((name.clone(), kept.plan.clone()?))).collect()
    };
    let (outlook, workers) = (app.outlook().await?, work::known_by_workers(app).await?);
    let mut sums = AllSums::new();
    for (name, plan) in kept {
        let equal = app.db.equal_build(&plan.prepared.build(&plan.order)).await?;
        let summary = plan.prepared.planned.plan.summary;
        let (at_hand, images) = images(app, &plan.order, &summary, equal).await?;
        let sum = PresetSums {
            summary,
            at_hand,
            images,
            build_seconds: outlook.build_seconds(&plan.prepared.left_to(&workers)).clamp(0.0, 1e9) as u64,
        };
        sums.insert(name, sum);
    }
    Ok(sums)
}

/// Has the presets planned whose plans are old, and waits a moment for it.
async fn plan_presets(app: &Arc<App>) {
    let mut tasks = JoinSet::new();
    for preset in due(app) {
        let (app, order) = (app.clone(), preset.1);
        tasks.spawn(async move {
            let planned = app.catalogue.plan(&order).await.and_then(|planned| Prepared::new(planned, &order));
            // Why it cannot be planned is said to whoever orders it, and by the channel in the log.
            let plan = planned.ok().map(|prepared| Arc::new(PresetPlan { order, prepared }));
            let mut plans = app.preset_plans.0.lock().unwrap_or_else(PoisonError::into_inner);
            plans.insert(preset.0, Kept { at: Instant::now(), plan });
        });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tasks.detach_all();
    }
}

/// The presets that are to be planned, which from now on count as being planned.
fn due(app: &App) -> Vec<(String, Order)> {
    let again = Duration::from_secs(app.config.index_ttl_seconds);
    let mut plans = app.preset_plans.0.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = |kept: &Kept| kept.at.elapsed() >= if kept.plan.is_some() { again } else { RETRY };
    let mut due = Vec::new();
    for preset in app.catalogue.presets.all() {
        match plans.get_mut(&preset.name) {
            Some(kept) if !is_due(kept) => continue,
            // What is known stands until it is known anew.
            Some(kept) => kept.at = Instant::now(),
            None => {
                plans.insert(preset.name.clone(), Kept { at: Instant::now(), plan: None });
            }
        }
        due.push((preset.name.clone(), preset.order()));
    }
    due
}
