//! The live events of an order, as server-sent events.
//!
//! First comes `snapshot` with the whole status, then the log that the client does not have yet, then what changes: `progress`,
//! `state`, `log`. The event's id is the number of the last log line sent; a client that comes back with `Last-Event-ID` gets the
//! lines after it. The stream ends when the order has ended.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::SharedApp;
use super::api::find;
use super::download::held;
use super::openapi::{Malformed, NotFound, OrderId, TooMany, Unauthorized};
use super::problem::Problem;
use crate::app::App;
use crate::bus::Follower;
use crate::client::Client;
use crate::db::BuildState;
use crate::status::{self, OrderStatus};
use crate::words;

/// Changes that come in one burst are told together.
const BURST: Duration = Duration::from_millis(200);
/// Without news, the order is looked at so often all the same: estimates change with time alone.
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// So many waiting pages a second look whether the queue moved and where they are in it, so that a thousand of them leave time for others.
const LOOKS_PER_SECOND: u32 = 100;
/// So many pages read the database at once, whatever moved them: its other connections are for orders and workers.
static READERS: Semaphore = Semaphore::const_new(4);
/// Lines of the log sent to a client that has none.
const TAIL: u32 = 500;
/// Lines in one event.
const LINES_PER_EVENT: u32 = 500;

/// The live events of an order (server-sent events)
///
/// First comes `snapshot` with the whole status, then the log that the client does not have yet, then what changes: `progress`, `state`, `log`. The
/// event's id is the number of the last log line sent; a client that comes back with `Last-Event-ID` gets the lines after it. The stream
/// ends when the order has ended.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/events",
    tag = "orders",
    operation_id = "order_events",
    security((), ("user" = [])),
    params(OrderId, ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that the client got")),
    responses((status = 200, description = "The events", body = LiveEvent, content_type = "text/event-stream"), Malformed, Unauthorized, NotFound, TooMany),
)]
pub async fn events(
    State(app): SharedApp,
    Path(id): Path<String>,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let status = find(&app, &id).await?;
    let permit = app.may_follow(&client.user(&app.secret))?;
    let news = app.bus.follow(status.builds());
    let last_seen = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    let (sender, receiver) = mpsc::channel(16);
    let watch = Watch { app, status, log_sent: 0, news, version: 0, sender };
    tokio::spawn(words::speaking(words::language(), watch.run(last_seen)));
    let stream = Sse::new(ReceiverStream::new(receiver)).keep_alive(KeepAlive::new().interval(Duration::from_secs(20)));
    let mut response = held(stream.into_response(), permit);
    // Proxies such as nginx would else hold the events back.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    Ok(response)
}

/// An event of the stream.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "it describes what is written line by line")]
struct LiveEvent {
    /// `snapshot`, `state`, `progress` or `log`.
    event: Option<String>,
    /// JSON: of `snapshot`, the order as `GET /api/v1/orders/{id}` has it; of `state` and `progress`, those of its fields that change; of `log`,
    /// `lines`.
    data: Option<String>,
    /// The number of the last line of the log that was sent.
    id: Option<String>,
}

/// One client's view of one order.
struct Watch {
    app: Arc<App>,
    /// What the client knows.
    status: OrderStatus,
    log_sent: u64,
    news: Follower,
    /// The change of the queue at which the order's place was last looked at.
    version: u64,
    sender: mpsc::Sender<Result<Event, Infallible>>,
}

/// Why a stream ends before its order does.
enum Stopped {
    ClientGone,
    ServerStops,
    Broken(String),
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Stopped::Broken(error.to_string())
    }
}

impl Watch {
    async fn run(mut self, last_seen: Option<u64>) {
        match self.follow(last_seen).await {
            Ok(()) | Err(Stopped::ClientGone | Stopped::ServerStops) => {}
            Err(Stopped::Broken(error)) => tracing::error!(error, build = self.status.build, "a live page was given up"),
        }
    }

    async fn follow(&mut self, last_seen: Option<u64>) -> Result<(), Stopped> {
        self.send("snapshot", &serde_json::to_value(&self.status).map_err(|e| Stopped::Broken(e.to_string()))?).await?;
        self.log_sent = match last_seen {
            Some(seen) => seen,
            None if self.status.attempt == 0 => 0,
            None => self.app.db.log_tail(&self.status.build, TAIL).await?.first().map_or(0, |line| line.seq - 1),
        };
        self.send_log().await?;
        while !self.status.state.is_final() {
            self.wait().await?;
            self.send_changes().await?;
        }
        Ok(())
    }

    /// Waits until something about this order may have changed.
    async fn wait(&mut self) -> Result<(), Stopped> {
        let mut stopping = self.app.stopping.clone();
        let look_again = tokio::time::sleep(LOOK_AGAIN);
        tokio::pin!(look_again);
        loop {
            let pages = u32::try_from(self.app.bus.followers()).unwrap_or(u32::MAX);
            let pause = BURST.max(Duration::from_secs(1).saturating_mul(pages) / LOOKS_PER_SECOND);
            tokio::select! {
                () = async { drop(stopping.wait_for(|stop| *stop).await) } => return Err(Stopped::ServerStops),
                _ = self.sender.closed() => return Err(Stopped::ClientGone),
                () = &mut look_again => return Ok(()),
                () = tokio::time::sleep(pause), if self.status.state == BuildState::Waiting => {
                    if self.place_changed().await? {
                        return Ok(());
                    }
                }
                () = self.news.changed() => break,
            }
        }
        tokio::time::sleep(BURST).await;
        Ok(())
    }

    /// Whether the order's place in the queue is another. The outlook alone tells, with nothing read for this page.
    async fn place_changed(&mut self) -> Result<bool, Stopped> {
        let version = self.app.bus.version();
        if std::mem::replace(&mut self.version, version) == version {
            return Ok(false);
        }
        Ok(self.app.outlook().await?.position(&self.status.build) != self.status.position)
    }

    /// Tells what is new of the status. The lines of the log are told before the end is.
    async fn send_changes(&mut self) -> Result<(), Stopped> {
        let reader = READERS.acquire().await;
        let new = status::of_order(&self.app, &self.status.id).await?;
        drop(reader);
        let Some(new) = new else {
            return Err(Stopped::ServerStops);
        };
        let old = std::mem::replace(&mut self.status, new);
        if old.builds().ne(self.status.builds()) {
            self.news = self.app.bus.follow(self.status.builds());
        }
        self.send_log().await?;
        let new = &self.status;
        let state_changed = (old.state, old.position, old.attempt) != (new.state, new.position, new.attempt);
        let same = old.steps == new.steps && old.ready == new.ready && old.from_source == new.from_source;
        if !state_changed && same && old.lacks_packages == new.lacks_packages {
            return Ok(());
        }
        let live = json!({
            "state": new.state, "position": new.position, "ready": new.ready, "attempt": new.attempt,
            "progress": new.progress, "steps": new.steps, "lacks_packages": new.lacks_packages, "from_source": new.from_source,
        });
        self.send(if state_changed { "state" } else { "progress" }, &live).await
    }

    async fn send_log(&mut self) -> Result<(), Stopped> {
        while self.status.may_have_log() {
            // A client that is slow to take what is sent holds no place.
            let reader = READERS.acquire().await;
            let lines = self.app.db.log_after(&self.status.build, self.log_sent, LINES_PER_EVENT).await?;
            drop(reader);
            let Some(last) = lines.last() else {
                return Ok(());
            };
            self.log_sent = last.seq;
            let texts: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
            self.send("log", &json!({ "lines": texts })).await?;
        }
        Ok(())
    }

    async fn send(&self, name: &str, data: &serde_json::Value) -> Result<(), Stopped> {
        let mut event = Event::default().event(name).data(data.to_string());
        // A snapshot carries no id: the log is not sent yet.
        if name != "snapshot" {
            event = event.id(self.log_sent.to_string());
        }
        self.sender.send(Ok(event)).await.map_err(|_| Stopped::ClientGone)
    }
}
