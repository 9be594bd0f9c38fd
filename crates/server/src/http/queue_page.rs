//! The queue's page: what is built for everybody, without anybody's secrets.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;

use super::pages::{Page, render};
use super::{SharedApp, assets};
use crate::clock;
use crate::db::{Build, BuildState, Gate};
use crate::pictures::QueuePicture;

/// Builds on the page.
const ROWS: u32 = 50;

#[derive(Template)]
#[template(path = "queue.html")]
struct QueuePage<'a> {
    version: &'a str,
    gate: Gate,
    waiting: u64,
    building: u64,
    workers: usize,
    rows: Vec<Row>,
    picture: Option<QueuePicture>,
}

/// A build, and what is foretold of it.
struct Row {
    build: Build,
    /// 1 is served next.
    place: Option<u64>,
    /// Nine of ten times it is ready in this time, in words.
    ready: Option<String>,
}

/// `GET /queue`
pub async fn page(State(app): SharedApp) -> Page {
    let (waiting, building) = app.db.queue_length().await?;
    let mut builds = app.db.recent(ROWS).await?;
    let (outlook, held) = (app.outlook().await?, app.held().await?);
    // The sort keeps the order of those that do not wait: what is built stands before, what has ended after them.
    builds.sort_by_key(|b| match b.state {
        BuildState::Building => (0, 0),
        BuildState::Waiting => (1, outlook.position(&b.id).unwrap_or(u64::MAX)),
        BuildState::Ready | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => (2, 0),
    });
    let workers = app.db.workers_present().await?;
    let picture = QueuePicture::of(&builds, &outlook, &held);
    let whole = |seconds: f64| seconds.clamp(0.0, 1e9).round() as u64;
    let row = |build: Build| {
        let place = outlook.position(&build.id).filter(|_| build.state == BuildState::Waiting);
        let ready = held.ready(&build, &outlook);
        Row { place, ready: ready.map(|range| clock::between(whole(range.low90), whole(range.high90))), build }
    };
    let rows = builds.into_iter().map(row).collect();
    let gate = held.gate();
    Ok(render(StatusCode::OK, &QueuePage { version: &assets::VERSION, gate, waiting, building, workers, rows, picture }))
}

impl Row {
    fn took(&self) -> String {
        match (self.build.started, self.build.ended) {
            (Some(started), Some(ended)) => clock::measured(u64::try_from(ended.saturating_sub(started)).unwrap_or(0)),
            _ => String::new(),
        }
    }
}
