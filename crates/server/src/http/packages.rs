//! Packages: the search while somebody chooses, and what an order is made of.

use askama::Template;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use contract::PlannedPackage;
use gentoo::index::Entry;
use serde::Serialize;

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, api, assets, query_field};
use crate::app::App;
use crate::channels::{Channel, Snapshot};
use crate::clock;
use crate::status::OrderStatus;

/// Most packages in one answer.
const MAX_HITS: usize = 50;
/// Most builds told of one package.
const MAX_BUILDS: usize = 20;

/// A package that fits a search.
#[derive(Serialize)]
struct Found {
    /// `category/package`.
    name: String,
    description: String,
    /// The builds that may be ordered; the first one is what the name alone gets.
    builds: Vec<FoundBuild>,
}

/// One build of a package.
#[derive(Serialize)]
struct FoundBuild {
    version: String,
    slot: String,
    build_id: Option<u32>,
    /// The flags of its IUSE it was built with.
    #[serde(rename = "use")]
    enabled: Vec<String>,
    /// The flags of its IUSE it was built without.
    without: Vec<String>,
    /// Bytes of the package file.
    size: u64,
    license: String,
}

#[derive(Template)]
#[template(path = "packages.html")]
struct PackagesPage<'a> {
    version: &'a str,
    status: &'a OrderStatus,
    packages: &'a [PlannedPackage],
}

/// `GET /api/v1/packages?channel=&q=`: the packages of a channel whose name or description holds the text, best match first. Without a
/// channel, in the first one that can be read.
pub async fn search(State(app): SharedApp, RawQuery(query): RawQuery) -> Result<Json<serde_json::Value>, Problem> {
    let field = |name| query_field(query.as_deref(), name);
    let (channel, snapshot) = snapshot(&app, field("channel").as_deref()).await?;
    let (name, text) = (channel.config.name.clone(), field("q").unwrap_or_default());
    let found = tokio::task::spawn_blocking(move || found(&snapshot, &text)).await.map_err(|e| Problem::internal(&e))?;
    Ok(Json(serde_json::json!({ "channel": name, "packages": found })))
}

/// The channel asked for, or the first that can be read.
async fn snapshot(app: &App, name: Option<&str>) -> Result<(std::sync::Arc<Channel>, std::sync::Arc<Snapshot>), Problem> {
    let all = app.catalogue.channels.all();
    let candidates: Vec<_> = all.iter().filter(|c| name.is_none_or(|name| c.config.name == name)).collect();
    let mut reason = match name {
        Some(name) => Problem::new(StatusCode::NOT_FOUND, format!("There is no channel “{}”.", name.escape_debug())),
        None => Problem::new(StatusCode::NOT_FOUND, "This site has no channel."),
    };
    for channel in candidates {
        match channel.snapshot().await {
            Ok(snapshot) => return Ok((channel.clone(), snapshot)),
            Err(unavailable) => reason = Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{unavailable}.")),
        }
    }
    Err(reason)
}

fn found(snapshot: &Snapshot, text: &str) -> Vec<Found> {
    snapshot
        .universe
        .search(text, MAX_HITS)
        .into_iter()
        .map(|hit| Found {
            name: hit.name.to_string(),
            description: hit.best.desc.to_string(),
            builds: snapshot.universe.builds(hit.name).into_iter().take(MAX_BUILDS).map(build).collect(),
        })
        .collect()
}

fn build(entry: &Entry) -> FoundBuild {
    let is_enabled = |flag: &str| entry.use_flags.iter().any(|f| f == flag);
    let (mut enabled, mut without): (Vec<String>, Vec<String>) =
        entry.iuse_names().map(str::to_owned).partition(|flag| is_enabled(flag));
    enabled.sort();
    without.sort();
    FoundBuild {
        version: entry.cpv.version.to_string(),
        slot: entry.slot_text(),
        build_id: entry.build_id,
        enabled,
        without,
        size: entry.size,
        license: entry.license.to_string(),
    }
}

/// `GET /orders/{id}/packages`: each package of the order, and why it is there.
pub async fn of_order(State(app): SharedApp, Path(id): Path<String>) -> Page {
    let status = api::find(&app, &id).await?;
    let mut packages = app.db.plan(&status.build).await?.packages;
    packages.sort_by(|a, b| a.cpv.cmp(&b.cpv));
    Ok(render(StatusCode::OK, &PackagesPage { version: &assets::VERSION, status: &status, packages: &packages }))
}

impl PackagesPage<'_> {
    fn contents(&self) -> String {
        clock::contents(&self.status.summary)
    }

    fn flags(&self, package: &PlannedPackage) -> String {
        package.use_flags.join(" ")
    }

    /// Whether it was asked for by name.
    fn is_asked_for(&self, package: &PlannedPackage) -> bool {
        package.because.len() == 1
    }
}
