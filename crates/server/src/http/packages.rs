//! Packages: the search while somebody chooses, and what an order is made of.

use std::collections::BTreeSet;

use askama::Template;
use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use contract::PlannedPackage;
use gentoo::Atom;
use gentoo::index::Entry;
use gentoo::use_desc::FlagDescriptions;
use resolver::{SearchHit, Universe};
use serde::Serialize;

use super::openapi::{Malformed, NotFound, Paged, Unavailable};
use super::pages::{Page, render};
use super::paging::{self, Paging};
use super::problem::Problem;
use super::{SharedApp, api, assets, query_field};
use crate::app::App;
use crate::channels::{Channel, Snapshot};
use crate::clock;
use crate::status::OrderStatus;
use crate::words;

/// Most packages in one answer.
const MAX_HITS: usize = 50;
/// Most packages that the order form shows at once.
const MAX_SHOWN: usize = 20;
/// Most builds told of one package.
const MAX_BUILDS: usize = 20;

/// What a search found.
#[derive(Serialize, utoipa::ToSchema)]
pub struct FoundPackages {
    channel: String,
    packages: Vec<Found>,
    /// Where to go on, where there is more.
    next: Option<String>,
}

/// A package that fits a search.
#[derive(Serialize, utoipa::ToSchema)]
struct Found {
    /// `category/package`.
    name: String,
    description: String,
    /// The builds that may be ordered; the first one is what the name alone gets.
    builds: Vec<FoundBuild>,
}

/// One build of a package.
#[derive(Serialize, utoipa::ToSchema)]
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

/// The packages of a channel that every word of a text fits, by name, category or description, best match first
#[utoipa::path(
    get,
    path = "/api/v1/packages",
    tag = "site",
    operation_id = "packages",
    params(
        ("channel" = Option<String>, Query, description = "The channel; without one, the first that can be read"),
        ("q" = Option<String>, Query, description = "The text; without one, nothing is found"),
        Paged,
    ),
    responses(
        (status = 200, description = "What was found", body = FoundPackages, headers(("Link" = Option<String>, description = "The next part"))),
        Malformed, NotFound, Unavailable,
    ),
)]
pub async fn search(State(app): SharedApp, RawQuery(query): RawQuery) -> Result<(HeaderMap, Json<FoundPackages>), Problem> {
    let paging = Paging::of(query.as_deref(), MAX_HITS)?;
    let field = |name| query_field(query.as_deref(), name);
    let (channel, snapshot) = snapshot(&app, field("channel").as_deref()).await?;
    let (name, text) = (channel.config.name.clone(), field("q").unwrap_or_default());
    let found = tokio::task::spawn_blocking(move || found(&snapshot, &text, paging)).await;
    let (packages, next) = found.map_err(|e| Problem::internal(&e))?;
    let headers = paging::link("/api/v1/packages", query.as_deref(), next.as_deref());
    Ok((headers, Json(FoundPackages { channel: name, packages, next })))
}

/// The channel asked for, or the first that can be read.
pub async fn snapshot(app: &App, name: Option<&str>) -> Result<(std::sync::Arc<Channel>, std::sync::Arc<Snapshot>), Problem> {
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

fn found(snapshot: &Snapshot, text: &str, paging: Paging) -> (Vec<Found>, Option<String>) {
    let (hits, next) = paging.cut(snapshot.universe.search(text, paging.reach()));
    let packages = hits
        .into_iter()
        .map(|hit| Found {
            name: hit.name.to_string(),
            description: hit.best.desc.to_string(),
            builds: snapshot.universe.builds(hit.name).into_iter().take(MAX_BUILDS).map(build).collect(),
        })
        .collect();
    (packages, next)
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

/// What the package search on the order form shows.
pub struct Hits {
    /// What was looked for.
    pub search: String,
    pub category: String,
    pub found: Vec<Hit>,
    /// There are more than are shown.
    pub more: bool,
    /// The sets whose names fit, each with the number of its members.
    pub sets: Vec<(String, usize)>,
}

/// A package as the order form shows it.
pub struct Hit {
    pub name: String,
    pub version: String,
    pub description: String,
    pub license: String,
    /// Bytes of the package file.
    pub size: u64,
    /// How many builds there are.
    pub builds: usize,
    /// The order has it already.
    pub is_chosen: bool,
    /// The flags of the build that the name alone gets, those it was built with first.
    pub flags: Vec<Flag>,
}

/// A USE flag of a package.
pub struct Flag {
    pub name: String,
    pub is_on: bool,
    pub meaning: String,
    /// The atom that asks for it the other way round.
    pub wish: String,
    /// There is a build that has it so.
    pub can_be_had: bool,
}

/// Looks for packages, by words, by category or both. `chosen` are the words of the order.
pub fn look_up(universe: &Universe, meanings: &FlagDescriptions, search: &str, category: &str, chosen: &[String]) -> Hits {
    let chosen: BTreeSet<String> =
        chosen.iter().map(|word| Atom::parse(word).map_or_else(|_| word.clone(), |atom| atom.cp())).collect();
    let mut found = match (search.trim(), category) {
        ("", category) => universe.in_category(category, MAX_SHOWN + 1),
        (text, "") => universe.search(text, MAX_SHOWN + 1),
        (text, category) => {
            let all = universe.search(text, usize::MAX).into_iter();
            all.filter(|hit| hit.name.split_once('/').is_some_and(|(own, _)| own == category)).take(MAX_SHOWN + 1).collect()
        }
    };
    let more = found.len() > MAX_SHOWN;
    found.truncate(MAX_SHOWN);
    let text = search.to_ascii_lowercase();
    let words: Vec<&str> =
        text.split_whitespace().map(|word| word.trim_start_matches('@')).filter(|word| !word.is_empty()).collect();
    let is_meant = |name: &str| category.is_empty() && !words.is_empty() && words.iter().all(|word| name.contains(word));
    let sets = universe.sets().into_iter().filter(|(name, _)| is_meant(name));
    Hits {
        search: search.to_owned(),
        category: category.to_owned(),
        found: found.iter().map(|hit| shown(universe, meanings, hit, &chosen)).collect(),
        more,
        sets: sets.map(|(name, members)| (format!("@{name}"), members.len())).collect(),
    }
}

fn shown(universe: &Universe, meanings: &FlagDescriptions, hit: &SearchHit<'_>, chosen: &BTreeSet<String>) -> Hit {
    let builds = universe.builds(hit.name);
    let has = |entry: &Entry, flag: &str| entry.use_flags.iter().any(|known| known == flag);
    let mut flags: Vec<Flag> = hit
        .best
        .iuse_names()
        .map(|name| {
            let is_on = has(hit.best, name);
            Flag {
                name: name.to_owned(),
                is_on,
                meaning: meanings.of(hit.name, name).unwrap_or_default().to_owned(),
                wish: format!("{}[{}{name}]", hit.name, if is_on { "-" } else { "" }),
                can_be_had: builds.iter().any(|entry| entry.iuse_names().any(|known| known == name) && has(entry, name) != is_on),
            }
        })
        .collect();
    flags.sort_by(|a, b| (!a.is_on, &a.name).cmp(&(!b.is_on, &b.name)));
    Hit {
        name: hit.name.to_owned(),
        version: hit.best.cpv.version.to_string(),
        description: hit.best.desc.to_string(),
        license: hit.best.license.to_string(),
        size: hit.best.size,
        builds: builds.len(),
        is_chosen: chosen.contains(hit.name),
        flags,
    }
}

impl Hits {
    /// How many there are, in words.
    pub fn said(&self) -> String {
        match self.more {
            true => say!("The first {n}; another word narrows it down.", n = self.found.len()),
            false => say_n!(self.found.len(), "{n} found.", "{n} found."),
        }
    }
}

impl Hit {
    pub fn on(&self) -> usize {
        self.flags.iter().filter(|flag| flag.is_on).count()
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
