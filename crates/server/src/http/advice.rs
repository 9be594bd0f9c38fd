//! What the operator had best build next.

use ::advice::{Advice, Budget, PackageAdvice, Question};
use askama::Template;
use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use serde::Serialize;

use super::openapi::{Malformed, NotFound, Unauthorized, Unavailable};
use super::operator::{Operator, is_logged_in};
use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, number_field, query_field};
use crate::app::App;
use crate::demands::{self, NoAdvice};
use crate::source_builds::SourceBuilds;
use crate::words;

/// Days of orders looked at, and builds, where none are named.
const DAYS: u64 = 365;
const BUILDS: u64 = 25;
/// MiB that a flag may add for everybody, where none are named.
const MAX_ADDED: u64 = 5;

/// What was asked, all of it with a default.
struct Asked {
    channel: String,
    days: u64,
    /// Empty for as many as one likes.
    builds: Option<u64>,
    mebibytes: Option<u64>,
    max_added: u64,
}

/// The advice in words and as data.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Told {
    text: String,
    #[serde(flatten)]
    advice: Advice,
}

#[derive(Template)]
#[template(path = "advice.html")]
struct AdvicePage<'a> {
    version: &'a str,
    channels: Vec<&'a str>,
    asked: Asked,
    advice: Option<Advice>,
    picture: String,
    trouble: Option<String>,
    source_builds: &'a SourceBuilds,
}

/// What to build next, with what each would add, and `package.use`
///
/// `builds` and `mebibytes` are the budget: 25 builds where neither is named.
#[utoipa::path(
    get,
    path = "/api/v1/operator/advice",
    tag = "operator",
    operation_id = "operator_advice",
    security(("operator" = [])),
    params(
        ("channel" = Option<String>, Query, description = "The channel; the first where none is named"),
        ("days" = Option<i32>, Query, minimum = 0, description = "Of so many days of orders"),
        ("builds" = Option<i32>, Query, minimum = 0, description = "At most so many builds more"),
        ("mebibytes" = Option<i32>, Query, minimum = 0, description = "At most so many MiB more"),
        ("max_added" = Option<i32>, Query, minimum = 0, description = "MiB that a flag may add for everybody"),
    ),
    responses((status = 200, description = "The advice", body = Told), Malformed, Unauthorized, NotFound, Unavailable),
)]
pub async fn api(State(app): SharedApp, _: Operator, RawQuery(query): RawQuery) -> Result<Json<Told>, Problem> {
    let asked = asked(&app, query.as_deref())?;
    let advice = worked_out(&app, &asked).await?;
    Ok(Json(Told { text: advice.to_string(), advice }))
}

/// `GET /operator/advice`: the same as a page, with a picture.
pub async fn page(State(app): SharedApp, headers: HeaderMap, RawQuery(query): RawQuery) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(Redirect::to("/operator").into_response());
    }
    let channels = app.catalogue.channels.all().iter().map(|c| c.config.name.as_str()).collect();
    let (asked, outcome) = match asked(&app, query.as_deref()) {
        Ok(asked) => {
            let outcome = worked_out(&app, &asked).await;
            (asked, outcome)
        }
        Err(problem) => (self::asked(&app, None)?, Err(problem)),
    };
    let (status, advice, trouble) = match outcome {
        Ok(advice) => (StatusCode::OK, Some(advice), None),
        Err(problem) => (problem.status(), None, Some(problem.detail)),
    };
    let picture = advice.as_ref().map(|advice| ::advice::svg(advice, words::heard)).unwrap_or_default();
    let source_builds = &app.source_builds;
    Ok(render(status, &AdvicePage { version: &assets::VERSION, channels, asked, advice, picture, trouble, source_builds }))
}

impl AdvicePage<'_> {
    /// What is chosen of a package, or else what serves most, as far as it can be built from source: the package and its flags.
    fn to_be_built(&self, package: &PackageAdvice) -> Vec<(String, String)> {
        let name = package.package.to_string();
        if !self.source_builds.may_build(&self.asked.channel, &name) {
            return Vec::new();
        }
        let chosen = || package.options.iter().filter(|option| option.chosen.is_some());
        let best = package.options.iter().max_by_key(|option| (option.meets, std::cmp::Reverse(option.flags.len())));
        let options = chosen().chain(best.filter(|_| chosen().next().is_none()));
        options.map(|option| (name.clone(), option.flags.join(" "))).collect()
    }
}

fn asked(app: &App, query: Option<&str>) -> Result<Asked, Problem> {
    let field = |name: &str| query_field(query, name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
    // The form of the page sends fields that were left empty.
    let number = |name: &str| if field(name).is_some() { number_field(query, name) } else { Ok(None) };
    let first = app.catalogue.channels.all().first().map(|c| c.config.name.clone());
    let mebibytes = number("mebibytes")?;
    let builds = match (number("builds")?, query_field(query, "builds").is_some() || mebibytes.is_some()) {
        (None, false) => Some(BUILDS),
        (builds, _) => builds,
    };
    Ok(Asked {
        channel: field("channel").or(first).unwrap_or_default(),
        days: number("days")?.unwrap_or(DAYS),
        builds,
        mebibytes,
        max_added: number("max_added")?.unwrap_or(MAX_ADDED),
    })
}

async fn worked_out(app: &App, asked: &Asked) -> Result<Advice, Problem> {
    let Some(channel) = app.catalogue.channels.get(&asked.channel) else {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("There is no channel “{}”.", asked.channel)));
    };
    let bytes = |mebibytes: u64| mebibytes.saturating_mul(1 << 20);
    let budget = Budget { builds: asked.builds, bytes: asked.mebibytes.map(bytes) };
    let question = Question { budget, max_added: bytes(asked.max_added) };
    demands::advise(app, channel, asked.days, question).await.map_err(|error| match error {
        NoAdvice::Channel(unavailable) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("{unavailable}.")),
        other => Problem::internal(&other),
    })
}
