//! The REST API of the site as a whole, and the health checks.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use super::SharedApp;
use super::openapi::{Malformed, Paged, Unavailable};
use super::paging::{self, Paging};
use super::problem::{Problem, later};
use crate::channels::Availability;
use crate::db::BuildState;
use crate::outlook::Outlook;
use crate::presets::Preset;

/// Builds of the queue in one answer.
const QUEUE_ROWS: usize = 100;
/// What does not answer within this counts as away, and when it is worth asking again. Seconds.
const PATIENCE: Duration = Duration::from_secs(5);
const ASK_AGAIN: u32 = 5;

/// A channel: a set of binhosts with a profile.
#[derive(Serialize, utoipa::ToSchema)]
pub struct ChannelInfo {
    name: String,
    title: String,
    arch: String,
    description: String,
    /// None while it was not read.
    available: Option<bool>,
    /// How many packages it has, where that is known.
    packages: Option<usize>,
    /// Why it cannot be used, where it cannot.
    reason: Option<String>,
}

/// The queue, which names nobody's order.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PublicQueue {
    waiting: u64,
    building: u64,
    workers: usize,
    /// What is built, what waits in its turn, then what has ended.
    builds: Vec<PublicBuild>,
    /// Where to go on, where there is more.
    next: Option<String>,
}

/// A build as anybody may see it.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PublicBuild {
    id: String,
    image_name: String,
    state: BuildState,
    /// 1 is served next; none unless it waits.
    position: Option<u64>,
    /// Seconds since the epoch.
    created: i64,
    started: Option<i64>,
    ended: Option<i64>,
}

/// Whether the database answers, and the length of the queue
#[utoipa::path(get, path = "/healthz", tag = "site", operation_id = "healthz", responses((status = 200, description = "It does", body = Object)))]
pub async fn health(State(app): SharedApp) -> Result<Json<serde_json::Value>, Problem> {
    app.db.ping().await?;
    let (waiting, building) = app.db.queue_length().await?;
    Ok(Json(json!({ "status": "ok", "waiting": waiting, "building": building, "workers": app.db.workers_present().await? })))
}

/// Whether this server can do all its work: the database answers and files can be kept
///
/// A balancer asks here.
#[utoipa::path(get, path = "/readyz", tag = "site", operation_id = "readyz", responses((status = 200, description = "It can", body = Object), Unavailable))]
pub async fn ready(State(app): SharedApp) -> Result<Json<serde_json::Value>, Problem> {
    let trouble = |what: &str, error: &dyn std::error::Error| {
        tracing::error!(%error, "not ready: {what}");
        later(ASK_AGAIN, format!("This server is not ready: {what}. Its log says more."))
    };
    let away = "the database does not answer";
    timeout(PATIENCE, app.db.ping()).await.map_err(|e| trouble(away, &e))?.map_err(|e| trouble(away, &e))?;
    let check = timeout(PATIENCE, app.storage.check()).await.map_err(|e| trouble("the storage does not answer", &e))?;
    check.map_err(|e| trouble("files cannot be kept", &e))?;
    if *app.stopping.borrow() {
        return Err(later(ASK_AGAIN, "This server is stopping.".into()));
    }
    Ok(Json(json!({ "status": "ready" })))
}

/// The presets: named starting points for orders
#[utoipa::path(get, path = "/api/v1/presets", tag = "site", operation_id = "presets", responses((status = 200, description = "All presets", body = [Preset])))]
pub async fn presets(State(app): SharedApp) -> Json<Vec<Preset>> {
    Json(app.catalogue.presets.all().to_vec())
}

/// The channels: where packages come from
#[utoipa::path(get, path = "/api/v1/channels", tag = "site", operation_id = "channels", responses((status = 200, description = "All channels", body = [ChannelInfo])))]
pub async fn channels(State(app): SharedApp) -> Json<Vec<ChannelInfo>> {
    let list = app.catalogue.channels.all().iter().map(|channel| {
        let (available, packages, reason) = match channel.availability() {
            Availability::Available(snapshot) => (Some(true), Some(snapshot.package_count), None),
            Availability::Unavailable(unavailable) => (Some(false), None, Some(unavailable.reason)),
            Availability::Unknown => (None, None, None),
        };
        let config = channel.config.clone();
        let (name, title, arch, description) = (config.name, config.title, config.arch, config.description);
        ChannelInfo { name, title, arch, description, available, packages, reason }
    });
    Json(list.collect())
}

/// What is built, waits and was built lately, without anybody's secrets
#[utoipa::path(
    get,
    path = "/api/v1/queue",
    tag = "site",
    operation_id = "queue",
    params(Paged),
    responses((status = 200, description = "A part of the queue", body = PublicQueue, headers(("Link" = Option<String>, description = "The next part"))), Malformed),
)]
pub async fn queue(State(app): SharedApp, RawQuery(query): RawQuery) -> Result<(HeaderMap, Json<PublicQueue>), Problem> {
    let paging = Paging::of(query.as_deref(), QUEUE_ROWS)?;
    let (waiting, building) = app.db.queue_length().await?;
    let builds = in_turn(app.db.recent(u32::try_from(paging.reach()).unwrap_or(u32::MAX)).await?, &*app.outlook().await?);
    let (builds, next) = paging.cut(builds);
    let headers = paging::link("/api/v1/queue", query.as_deref(), next.as_deref());
    let workers = app.db.workers_present().await?;
    Ok((headers, Json(PublicQueue { waiting, building, workers, builds, next })))
}

/// What is built stands before what waits, which is in its turn, and that before what has ended.
fn in_turn(builds: Vec<crate::db::Build>, outlook: &Outlook) -> Vec<PublicBuild> {
    let mut builds: Vec<PublicBuild> = builds
        .into_iter()
        .map(|build| PublicBuild {
            position: outlook.position(&build.id).filter(|_| build.state == BuildState::Waiting),
            id: build.id,
            image_name: build.image_name,
            state: build.state,
            created: build.created,
            started: build.started,
            ended: build.ended,
        })
        .collect();
    builds.sort_by_key(|build| match build.state {
        BuildState::Building => (0, 0),
        BuildState::Waiting => (1, build.position.unwrap_or(u64::MAX)),
        BuildState::Ready | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => (2, 0),
    });
    builds
}
