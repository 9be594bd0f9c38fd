//! The worker's side: the lease protocol of `contract::lease`.

use std::time::{Duration, Instant};

use axum::Json;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use binhost::AddError;
use contract::lease::{BinhostAccess, EndReport, EventAnswer, EventBatch, LeaseRequest, OLDEST_PROTOCOL, SourceJob};
use contract::{Failure, Job, Lease, Step};
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_stream::StreamExt;

use super::problem::Problem;
use super::{SharedApp, broke_off, drain, read_body};
use crate::app::App;
use crate::attestation;
use crate::db::{EndError, LeaseLost, Leased, Upload, Uploaded};
use crate::secret;
use crate::source_builds::{self, NotTaken};
use crate::storage::is_plain_name;

/// Bytes of a batch of events, and of the largest message: an end report holds the whole plan.
const MAX_EVENTS: usize = 4 << 20;
const MAX_REPORT: usize = 64 << 20;

/// The longest that a worker may wait for work. Seconds.
const MAX_WAIT: u32 = 30;
/// A worker that waits looks for work so often without news: quicker ones that were left the work may be gone.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The lease is prolonged each time so many bytes of an upload have come.
const TOUCH_EVERY: u64 = 16 << 20;

/// Lets only those in who have the worker token.
pub async fn authorize(State(app): SharedApp, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !secret::same(shown, &app.worker_token) {
        return Problem::new(StatusCode::UNAUTHORIZED, "The worker token is missing or wrong; ask the operator for it.")
            .into_response();
    }
    next.run(request).await
}

/// `POST /api/worker/lease`
pub async fn lease(State(app): SharedApp, body: Body) -> Result<Response, Problem> {
    let request: LeaseRequest = json(body, MAX_EVENTS).await?;
    let name: String = request.worker.chars().filter(|c| !c.is_control()).take(64).collect();
    if request.protocol.max(1) < OLDEST_PROTOCOL {
        let detail = format!(
            "This worker speaks version {} of the protocol; this site needs {OLDEST_PROTOCOL}. Renew it.",
            request.protocol
        );
        return Err(Problem::new(StatusCode::UPGRADE_REQUIRED, detail));
    }
    if app.config.boot_gate && !request.starts_images {
        let detail =
            "This site starts each image before it gives it out, and this worker cannot: install qemu-system-x86 and ovmf there.";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    }
    let waits = Duration::from_secs(u64::from(request.wait_seconds.min(MAX_WAIT)));
    let until = Instant::now() + waits;
    // Listening begins before the first look, so that no work comes unheard between them.
    let mut changes = app.bus.listen();
    let asks = app.worker_asks(&name, waits, &request).await?;
    let answer = loop {
        if let Some(lease) = next_lease(&app, &name, &request).await.transpose() {
            break lease.map(|lease| Json(lease).into_response());
        }
        if *app.stopping.borrow() || !work_may_have_come(&app, &mut changes, until).await {
            break Ok(StatusCode::NO_CONTENT.into_response());
        }
    };
    if let Some(asks) = asks {
        asks.answered();
    }
    answer
}

/// Waits for news of the queue, or a little while. `false` when it is over.
async fn work_may_have_come(app: &App, changes: &mut broadcast::Receiver<()>, until: Instant) -> bool {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return false;
    }
    let mut stopping = app.stopping.clone();
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(left.min(LOOK_AGAIN)) => true,
        change = changes.recv() => match change {
            Ok(()) | Err(RecvError::Lagged(_)) => true,
            Err(RecvError::Closed) => false,
        },
    }
}

/// Leases the build whose turn it is, if there is one for this worker.
async fn next_lease(app: &App, name: &str, request: &LeaseRequest) -> Result<Option<Lease>, Problem> {
    let offer = app.offer(name, request).await?;
    for build in offer.builds.clone() {
        let lease = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
        let ttl_seconds = app.config.lease_ttl_seconds;
        // Somebody else may have been quicker, or it was cancelled; then it is the next one's turn.
        let Some(leased) = app.db.lease(&build, &lease, name, ttl_seconds).await? else { continue };
        app.worker_took_work(name);
        offer.taken(app, &build).await?;
        app.bus.state_changed(&leased.id);
        let build = leased.id.clone();
        match access(app, &leased) {
            Ok(access) => {
                tracing::info!(build, worker = name, attempt = leased.attempt, "leased");
                return Ok(Some(Lease { lease, ttl_seconds, job: job(app, leased, access) }));
            }
            Err(failure) => {
                app.db.fail_leased(&build, &lease, &failure).await?;
                app.bus.state_changed(&build);
            }
        }
    }
    Ok(None)
}

/// Where the binhosts of a plan are now. The configuration may have changed since the order was placed.
fn access(app: &App, leased: &Leased) -> Result<Access, Failure> {
    let failure = |message: String| {
        Failure::new(Step::Fetch, message, "The operator changed the site's channels while the order waited. Order again.")
    };
    let channel = app
        .catalogue
        .channels
        .get(&leased.channel)
        .ok_or_else(|| failure(format!("The channel “{}” is no longer offered.", leased.channel)))?;
    let access = channel.access().map_err(|e| failure(format!("The channel “{}” cannot be used: {e}.", leased.channel)))?;
    let stage3 =
        channel.stage3_access().map_err(|e| failure(format!("The channel “{}” cannot be used: {e}.", leased.channel)))?;
    if leased.plan.base.is_some() && stage3.is_none() {
        return Err(failure(format!("The channel “{}” is no longer built on a stage3.", leased.channel)));
    }
    if leased.source.is_some() && app.source_builds.limits(&leased.channel).is_none() {
        return Err(failure(format!("Packages are no longer built for the channel “{}”.", leased.channel)));
    }
    let missing = leased.plan.binhosts.iter().find(|planned| !access.iter().any(|a| a.name == planned.name));
    match missing {
        Some(planned) => Err(failure(format!("The binhost “{}” is no longer part of the channel.", planned.name))),
        None => Ok(Access { binhosts: access, stage3 }),
    }
}

/// Where what a plan names is to be had.
struct Access {
    binhosts: Vec<BinhostAccess>,
    stage3: Option<BinhostAccess>,
}

fn job(app: &App, leased: Leased, access: Access) -> Job {
    let limits = app.source_builds.limits(&leased.channel);
    Job {
        build: leased.id,
        plan: leased.plan,
        binhosts: access.binhosts,
        stage3: access.stage3,
        system: leased.system,
        formats: leased.formats,
        image_name: leased.image_name,
        notice: leased.notice,
        boot_gate: app.config.boot_gate,
        control_files: true,
        source: leased.source.zip(limits).map(|(source, limits)| SourceJob {
            package: source.package,
            flags: source.flags,
            limits,
        }),
    }
}

/// `POST /api/worker/builds/{build}/events`
pub async fn events(
    State(app): SharedApp,
    Path(build): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<EventAnswer>, Problem> {
    let lease = lease_header(&headers)?;
    let batch: EventBatch = json(body, MAX_EVENTS).await?;
    let ttl = app.config.lease_ttl_seconds;
    match app.db.record_events(&build, lease, batch.sequence, &batch.events, ttl).await? {
        Ok(recorded) => {
            app.worker_builds(&recorded.worker).await?;
            if !batch.events.is_empty() {
                app.bus.build_changed(&build);
            }
            Ok(Json(EventAnswer { cancel: recorded.cancel }))
        }
        Err(LeaseLost) => Err(lost()),
    }
}

/// `PUT /api/worker/builds/{build}/artifacts/{name}`
pub async fn upload(
    State(app): SharedApp,
    Path((build, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let lease = lease_header(&headers)?;
    if !is_plain_name(&name) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "This is not a plain file name."));
    }
    let attempt = app.db.attempt_of_lease(&build, lease).await?.ok_or_else(lost)?;
    let mut incoming = app.storage.receive(&build, attempt, &name).await.map_err(storage)?;
    let mut chunks = Chunks::new(&app, (&build, lease), body);
    while let Some(chunk) = chunks.next().await? {
        if let Err(error) = incoming.write(&chunk).await {
            return Err(chunks.refuse(storage(error)).await);
        }
    }
    let upload = Upload { name, digests: incoming.digests() };
    // Noted before it takes its place: what is there under a name is what was hashed, whatever is sent later.
    match app.db.record_upload(&build, lease, &upload).await? {
        Uploaded::Noted => incoming.keep().await.map_err(storage)?,
        Uploaded::Differs => {
            let detail = format!("{} was sent before, and was another file then.", upload.name);
            return Err(Problem::new(StatusCode::CONFLICT, detail));
        }
        Uploaded::LeaseLost => return Err(lost()),
    }
    tracing::info!(build, name = upload.name, size = upload.digests.size, "file received");
    Ok(StatusCode::NO_CONTENT)
}

/// `PUT /api/worker/builds/{build}/package`: what was built from source. It is checked, signed and added to the binhost before the answer.
pub async fn package(
    State(app): SharedApp,
    Path(build): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let lease = lease_header(&headers)?;
    let (channel, mut source) = app.db.source_of_lease(&build, lease).await?.ok_or_else(lost)?;
    let mut file = tokio::fs::File::from_std(tempfile::tempfile_in(&app.config.data_dir).map_err(storage)?);
    let mut chunks = Chunks::new(&app, (&build, lease), body);
    while let Some(chunk) = chunks.next().await? {
        if let Err(error) = file.write_all(&chunk).await {
            return Err(chunks.refuse(storage(error)).await);
        }
    }
    file.flush().await.map_err(storage)?;
    let file = file.into_std().await;
    let (wanted, taker) = (source.clone(), app.clone());
    let taken = tokio::task::spawn_blocking(move || source_builds::take(&taker, &channel, &wanted, file)).await;
    let added = taken.map_err(|e| Problem::internal(&e))?.map_err(|error| match error {
        NotTaken::Add(AddError::Folder { .. } | AddError::Index { .. }) => Problem::internal(&error),
        error => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("The package was not taken: {error}.")),
    })?;
    source.path = Some(added.path);
    app.db.source_taken(&build, &source).await?;
    app.bus.state_changed(&build);
    Ok(StatusCode::NO_CONTENT)
}

/// What a worker sends, while its lease is kept alive.
struct Chunks<'a> {
    app: &'a App,
    build: &'a str,
    lease: &'a str,
    stream: BodyDataStream,
    /// Bytes that have come, and how many had when the lease was prolonged last.
    size: u64,
    touched_at: u64,
}

impl<'a> Chunks<'a> {
    fn new(app: &'a App, (build, lease): (&'a str, &'a str), body: Body) -> Chunks<'a> {
        Chunks { app, build, lease, stream: body.into_data_stream(), size: 0, touched_at: 0 }
    }

    /// What came next; none at the end. More than the site takes of one file is refused.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        let Some(chunk) = self.stream.next().await else { return Ok(None) };
        let chunk = chunk.map_err(|_| broke_off())?;
        self.size += chunk.len() as u64;
        let limit = self.app.config.max_artifact_bytes;
        if self.size > limit {
            let detail = format!("The file is larger than the {limit} bytes this site takes.");
            return Err(self.refuse(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)).await);
        }
        if self.size - self.touched_at >= TOUCH_EVERY {
            self.touched_at = self.size;
            let touched = self.app.db.touch_lease(self.build, self.lease, self.app.config.lease_ttl_seconds).await;
            if let Err(error) = touched {
                return Err(self.refuse(error.into()).await);
            }
        }
        Ok(Some(chunk))
    }

    /// The worker reads why it is refused only when it has sent all; it is on our side, so that is waited for.
    async fn refuse(&mut self, problem: Problem) -> Problem {
        drain(&mut self.stream, self.app.config.max_artifact_bytes).await;
        problem
    }
}

/// `POST /api/worker/builds/{build}/end`
pub async fn end(
    State(app): SharedApp,
    Path(build): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    let lease = lease_header(&headers)?;
    let report: EndReport = json(body, MAX_REPORT).await?;
    let documents = attestation::of_report(&app, &build, lease, &report).await?;
    match app.db.end(&build, lease, &report, &documents).await {
        Ok(state) => {
            tracing::info!(build, %state, "build ended");
            app.bus.state_changed(&build);
            Ok(StatusCode::NO_CONTENT)
        }
        Err(EndError::LeaseLost) => Err(lost()),
        Err(EndError::Disagrees(reason)) => {
            tracing::warn!(build, reason, "end report refused");
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("The report was not taken: {reason}.")))
        }
        Err(EndError::Database(error)) => Err(error.into()),
    }
}

fn lease_header(headers: &HeaderMap) -> Result<&str, Problem> {
    headers
        .get("x-hatchery-lease")
        .and_then(|value| value.to_str().ok())
        .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "The X-Hatchery-Lease header is missing."))
}

fn lost() -> Problem {
    Problem::new(StatusCode::CONFLICT, "The lease is lost: the build was given to another worker, or has ended. Drop the work.")
}

fn storage(error: std::io::Error) -> Problem {
    tracing::error!(%error, "a file could not be stored");
    let full = error.kind() == std::io::ErrorKind::StorageFull || error.kind() == std::io::ErrorKind::QuotaExceeded;
    if full {
        return Problem::disk_is_full();
    }
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "The server could not store the file; its log says why.")
}

async fn json<T: DeserializeOwned>(body: Body, limit: usize) -> Result<T, Problem> {
    let bytes = read_body(body, limit).await?;
    serde_json::from_slice(&bytes).map_err(|e| {
        Problem::new(StatusCode::BAD_REQUEST, format!("The message is not understood: {e}. Is the worker of another version?"))
    })
}
