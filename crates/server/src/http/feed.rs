//! The Atom feed of an order (RFC 4287): what became of it, newest first.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::SharedApp;
use super::api::find;
use super::problem::Problem;
use crate::clock;
use crate::db::BuildState;
use crate::status::OrderStatus;
use crate::words;

#[derive(Template)]
#[template(path = "feed.xml")]
struct Feed<'a> {
    status: &'a OrderStatus,
    /// Identifies the feed without giving the order's secret to whoever gets the feed passed on.
    id: String,
    updated: String,
    entries: Vec<Entry>,
}

struct Entry {
    name: &'static str,
    title: String,
    text: String,
    updated: String,
}

/// `GET /orders/{id}/feed.atom`
pub async fn feed(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = find(&app, &id).await?;
    let mut events: Vec<(i64, Entry)> = Vec::new();
    let mut add = |when: i64, name, title: String, text: String| {
        events.push((when, Entry { name, title, text, updated: clock::rfc3339(when) }));
    };
    let image = &status.image_name;
    add(status.created, "ordered", say!("{image} was ordered", image = image), clock::contents(&status.summary));
    if let Some(started) = status.started {
        add(started, "started", say!("{image} is being built", image = image), String::new());
    }
    if let Some(ended) = status.ended {
        let (title, text) = match status.state {
            BuildState::Ready => (say!("{image} is ready", image = image), say!("Download it on the order’s page.")),
            BuildState::Failed => {
                let reason = status
                    .failure
                    .as_ref()
                    .map(|f| format!("{} {}", words::failure_as_text(&f.message), words::heard(&f.advice)))
                    .unwrap_or_default();
                (say!("{image} could not be built", image = image), reason)
            }
            BuildState::Cancelled => (say!("The order of {image} was cancelled", image = image), String::new()),
            BuildState::Expired => {
                (say!("{image} was removed", image = image), say!("The order’s page can have it built again."))
            }
            BuildState::Waiting | BuildState::Building => (say!("{image} waits again", image = image), String::new()),
        };
        add(ended, status.state.name(), title, text);
    }
    // The last comes first, of those within one second too.
    events.reverse();
    events.sort_by_key(|(when, _)| std::cmp::Reverse(*when));
    let updated = clock::rfc3339(events.first().map_or(status.created, |(when, _)| *when));
    let entries = events.into_iter().map(|(_, entry)| entry).collect();
    let feed = Feed { id: format!("{}-{}", status.build, status.created), status: &status, updated, entries };
    let text = feed.render().map_err(|e| Problem::internal(&e))?;
    Ok(([(header::CONTENT_TYPE, "application/atom+xml; charset=utf-8")], text).into_response())
}
