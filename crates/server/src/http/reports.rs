//! Reports of failed builds: a user sends one, the operator reads them by cause and answers.

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};

use super::operator::is_logged_in;
use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, query_field, read_body};
use crate::app::App;
use crate::clock;
use crate::reports::{self, Group};
use crate::words;

/// Bytes of a report's or an answer's form.
const MAX_FORM: usize = 32 << 10;

#[derive(Template)]
#[template(path = "reports.html")]
struct ReportsPage<'a> {
    version: &'a str,
    groups: Vec<Group>,
}

/// `POST /orders/{id}/report`
pub async fn send(State(app): SharedApp, Path(id): Path<String>, body: Body) -> Page {
    let words = field(body, "words").await?;
    if !reports::send(&app, &id, &words).await? {
        super::api::find(&app, &id).await?;
        return Err(nothing_to_report().into());
    }
    Ok(Redirect::to(&format!("/orders/{id}#report")).into_response())
}

/// `GET /operator/reports`
pub async fn page(State(app): SharedApp, headers: HeaderMap) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(Redirect::to("/operator").into_response());
    }
    let groups = reports::grouped(app.db.reports().await?);
    Ok(render(StatusCode::OK, &ReportsPage { version: &assets::VERSION, groups }))
}

/// `GET /operator/reports/{report}`: what repeats a build.
pub async fn bundle(State(app): SharedApp, Path(id): Path<String>, headers: HeaderMap) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(Redirect::to("/operator").into_response());
    }
    let bundle = app.db.report_bundle(&id).await?.ok_or_else(no_such_report)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bundle).into_response())
}

/// `POST /operator/reports/{report}`: answers.
pub async fn answer(State(app): SharedApp, Path(id): Path<String>, headers: HeaderMap, body: Body) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Err(Problem::new(StatusCode::FORBIDDEN, "Only the operator answers reports; log in at /operator.").into());
    }
    let words = field(body, "answer").await?;
    take_answer(&app, &id, &words).await?;
    Ok(Redirect::to("/operator/reports").into_response())
}

/// Keeps an answer, of which its user is told.
pub async fn take_answer(app: &App, id: &str, answer: &str) -> Result<(), Problem> {
    if answer.trim().is_empty() {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "The answer is empty."));
    }
    if reports::answer(app, id, answer).await? { Ok(()) } else { Err(no_such_report()) }
}

pub fn nothing_to_report() -> Problem {
    Problem::new(StatusCode::CONFLICT, "There is no failure to report: the build has not failed.")
}

pub fn no_such_report() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is no such report.")
}

async fn field(body: Body, name: &str) -> Result<String, Problem> {
    let bytes = read_body(body, MAX_FORM).await?;
    Ok(query_field(std::str::from_utf8(&bytes).ok(), name).unwrap_or_default())
}
