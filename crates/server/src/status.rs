//! An order as it stands, for the page, the API and the live events.

use attest::{DocumentKind, GlsaReport};
use contract::{Artifact, Failure, Format, Step, Summary};
use queue::Range;
use serde::Serialize;

use crate::app::App;
use crate::clock;
use crate::db::{self, Build, BuildState, Gate, NeedRow, OrderRow, StepProgress};
use crate::fresh::{self, Freshness};
use crate::held_up::HeldUp;
use crate::lacking;
use crate::notices;
use crate::orders;

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    Waiting,
    Running,
    Done,
    Failed,
}

/// One step of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct StepStatus {
    pub step: Step,
    pub label: &'static str,
    pub state: StepState,
    pub done: u64,
    pub total: u64,
    pub what: String,
}

/// When the image will be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Ready {
    /// Seconds from now, where they can be estimated.
    pub seconds: Option<u64>,
    /// The same in words, with the range.
    pub text: String,
    /// Every other time it is between these. Seconds from now.
    pub range50: Option<[u64; 2]>,
    /// Nine of ten times it is between these. Seconds from now.
    pub range90: Option<[u64; 2]>,
}

/// A package that is built from source, which an order waits for or waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SourceStatus {
    /// With the flags that were asked for: `app-editors/vim[python]`.
    pub package: String,
    /// The name under which the queue page knows its build.
    pub build: String,
    pub state: BuildState,
    pub ready: Ready,
}

/// A file to download.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Download {
    #[serde(flatten)]
    pub artifact: Artifact,
    /// Path of the file on this site.
    pub url: String,
}

/// A file beside the images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct DocumentLink {
    pub kind: DocumentKind,
    /// What it is, for people.
    pub label: &'static str,
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub sha256: String,
    /// Path of the file on this site.
    pub url: String,
    /// Of a boot test: which image, and what started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
}

/// An order as it stands. The secret settings are not in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct OrderStatus {
    pub id: String,
    /// Not secret: the name under which logs know the order.
    pub number: String,
    /// The page for people.
    pub url: String,
    /// Not secret: the name under which logs and the queue page know the build.
    pub build: String,
    pub title: String,
    pub state: BuildState,
    /// 1 is served next; none unless the order waits.
    pub position: Option<u64>,
    pub ready: Ready,
    /// The step the build is at.
    pub progress: Option<StepStatus>,
    pub steps: Vec<StepStatus>,
    /// The order is planned when what it lacks has been built from source.
    pub lacks_packages: bool,
    /// What was or is built from source for it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub from_source: Vec<SourceStatus>,
    /// How often a worker has begun; more than 1 when one was lost.
    pub attempt: u32,
    pub channel: String,
    pub arch: String,
    pub formats: Vec<Format>,
    pub image_name: String,
    pub preset: Option<String>,
    pub packages: Vec<String>,
    /// The folder that a Gentoo Prefix was ordered for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Bytes of packages the plan fetches.
    pub download_size: u64,
    /// How much the plan is.
    pub summary: Summary,
    /// What the resolver says of the plan.
    pub notes: Vec<String>,
    pub created: i64,
    pub started: Option<i64>,
    pub ended: Option<i64>,
    pub failure: Option<Failure>,
    /// What packages said to their user while they were merged.
    pub messages: Vec<String>,
    pub artifacts: Vec<Download>,
    /// What lies beside the images.
    pub documents: Vec<DocumentLink>,
    /// Which security advisories touch a ready image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advisories: Option<GlsaReport>,
    /// Where it is, or was, kept fresh.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fresh: Option<Freshness>,
    /// Whether a mail will tell of the end.
    pub mail: bool,
    /// With what the webhook's receiver checks the signatures, where there is a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<String>,
}

impl OrderStatus {
    /// Whether there may be a log. There is none before a worker took the build, unless something is built from source for it.
    pub fn may_have_log(&self) -> bool {
        self.attempt > 0 || !self.from_source.is_empty()
    }

    /// The order's build, and those from source that it waits for or waited for.
    pub fn builds(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.build.as_str()).chain(self.from_source.iter().map(|source| source.build.as_str()))
    }
}

/// Reads the order with this identifier as it stands. `None` when there is no such order.
pub async fn of_order(app: &App, id: &str) -> db::Result<Option<OrderStatus>> {
    Ok(with_progress(app, id).await?.map(|(status, _)| status))
}

/// The same, and when each step of its build was first heard of.
pub async fn with_progress(app: &App, id: &str) -> db::Result<Option<(OrderStatus, Vec<StepProgress>)>> {
    let Some((order, build)) = app.db.order_and_build(id).await? else {
        return Ok(None);
    };
    let state = if order.cancelled { BuildState::Cancelled } else { build.state };
    let position = match state {
        BuildState::Waiting => app.outlook().await?.position(&build.id),
        BuildState::Building | BuildState::Ready | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => None,
    };
    let artifacts = match state {
        BuildState::Ready => downloads(app, &order).await?,
        BuildState::Waiting | BuildState::Building | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => {
            Vec::new()
        }
    };
    let documents = match state {
        BuildState::Ready => documents(app, &order).await?,
        BuildState::Waiting | BuildState::Building | BuildState::Failed | BuildState::Cancelled | BuildState::Expired => {
            Vec::new()
        }
    };
    let advisories = advisories(app, &build.id, &documents).await?;
    let fresh = fresh::of_order(app, &order.id).await?;
    // Others have had nothing built.
    let needs = if order.request.from_source { app.db.needs(&build.id).await? } else { Vec::new() };
    let ready = match state {
        BuildState::Waiting if build.is_lacking => ready_with(app, &build.id, &needs).await?,
        _ => ready(app, &build.id, state).await?,
    };
    let steps = steps(&build, state);
    let webhook_secret = order.webhook.as_ref().map(|_| notices::webhook_secret(&app.secret, &order.id));
    let status = OrderStatus {
        number: orders::number(&order.id),
        url: app.order_url(&order.id),
        id: order.id,
        build: build.id,
        title: order.title,
        state,
        position,
        ready,
        progress: current(&steps),
        steps,
        lacks_packages: build.is_lacking,
        from_source: sources(app, needs).await?,
        attempt: build.attempts,
        channel: build.channel,
        arch: build.arch,
        formats: build.formats,
        image_name: build.image_name,
        preset: order.request.preset,
        packages: order.request.packages,
        prefix: order.request.prefix,
        download_size: build.summary.download_size,
        summary: build.summary,
        notes: build.notes,
        created: order.created,
        started: build.started,
        ended: build.ended,
        failure: build.failure.filter(|_| state == BuildState::Failed),
        messages: build.messages,
        artifacts,
        documents,
        advisories,
        fresh,
        mail: order.email.is_some() && app.mailer.is_some(),
        webhook_secret,
    };
    Ok(Some((status, build.progress)))
}

async fn downloads(app: &App, order: &OrderRow) -> db::Result<Vec<Download>> {
    let artifacts = app.db.artifacts(&order.build).await?;
    Ok(artifacts
        .into_iter()
        .map(|(artifact, _)| Download { url: format!("/api/v1/orders/{}/artifacts/{}", order.id, artifact.name), artifact })
        .collect())
}

async fn documents(app: &App, order: &OrderRow) -> db::Result<Vec<DocumentLink>> {
    let link = |row: db::DocumentRow| DocumentLink {
        kind: row.kind,
        label: row.kind.label(),
        url: format!("/api/v1/orders/{}/artifacts/{}", order.id, row.name),
        name: row.name,
        size: row.size,
        sha256: row.sha256,
        about: row.about,
    };
    Ok(app.db.documents(&order.build).await?.into_iter().map(link).collect())
}

async fn advisories(app: &App, build: &str, documents: &[DocumentLink]) -> db::Result<Option<GlsaReport>> {
    let Some(report) = documents.iter().find(|d| d.kind == DocumentKind::Glsa) else { return Ok(None) };
    let body = app.db.document_body(build, &report.name).await?;
    body.map(|body| serde_json::from_slice(&body).map_err(|e| sqlx::Error::Decode(Box::new(e)))).transpose()
}

/// When a build is ready that is in this state.
pub async fn ready(app: &App, build: &str, state: BuildState) -> db::Result<Ready> {
    match state {
        BuildState::Ready => return Ok(Ready::words(Some(0), say!("ready"))),
        BuildState::Failed | BuildState::Cancelled | BuildState::Expired => return Ok(Ready::words(None, say!("never"))),
        BuildState::Waiting => {
            if let Some(why) = app.held().await?.of(build, &*app.outlook().await?) {
                return Ok(Ready::not_while(why));
            }
        }
        BuildState::Building => {}
    }
    Ok(Ready::of(app.outlook().await?.ready(build).map(|(_, range)| range)))
}

/// When a build is ready that waits for packages which are built from source.
async fn ready_with(app: &App, build: &str, needs: &[NeedRow]) -> db::Result<Ready> {
    let (held, outlook) = (app.held().await?, app.outlook().await?);
    let waiting = needs.iter().filter(|need| need.state == BuildState::Waiting);
    if let Some(why) = held.all().or_else(|| waiting.filter_map(|need| held.of(&need.id, &outlook)).next()) {
        return Ok(Ready::not_while(why));
    }
    if needs.iter().all(|need| need.state.is_final()) {
        return Ok(Ready::words(None, say!("not yet known: it is being planned")));
    }
    let seconds = outlook.build_seconds(&app.db.work(build).await?);
    Ok(Ready::of(lacking::ready(app, needs, seconds).await?))
}

async fn sources(app: &App, needs: Vec<NeedRow>) -> db::Result<Vec<SourceStatus>> {
    let mut sources = Vec::new();
    for NeedRow { id, title, state, .. } in needs {
        sources.push(SourceStatus { ready: ready(app, &id, state).await?, package: title, build: id, state });
    }
    Ok(sources)
}

/// When a build would be ready that somebody new orders now.
pub async fn ready_if_ordered(app: &App, work: &queue::Work) -> db::Result<Ready> {
    let held = app.held().await?;
    if held.gate() == Gate::Draining {
        return Ok(Ready::words(None, say!("not now: this site takes no orders at the moment")));
    }
    if let Some(why) = held.all() {
        return Ok(Ready::not_while(why));
    }
    let (outlook, work) = (app.outlook().await?, work.clone());
    let newcomer = tokio::task::spawn_blocking(move || outlook.newcomer(&work)).await;
    Ok(Ready::of(newcomer.map_err(|e| sqlx::Error::Decode(Box::new(e)))?))
}

impl Ready {
    /// Words for a state that needs no range.
    fn words(seconds: Option<u64>, text: String) -> Ready {
        Ready { seconds, text, range50: None, range90: None }
    }

    fn not_while(held_up: HeldUp) -> Ready {
        let text = match held_up {
            HeldUp::Paused => say!("not yet known: the operator has paused the queue"),
            HeldUp::NoneCan => say!("not yet known: no worker that is connected can make it"),
            HeldUp::NoWorker => say!("not yet known: no worker is connected at the moment"),
        };
        Ready::words(None, text)
    }

    fn of(range: Option<Range>) -> Ready {
        range.map_or_else(|| Ready::words(None, say!("not yet known: no worker is at hand")), Ready::within)
    }

    fn within(range: Range) -> Ready {
        let whole = |seconds: f64| seconds.clamp(0.0, 1e9).round() as u64;
        let (low, high) = (whole(range.low90), whole(range.high90));
        Ready {
            seconds: Some(whole(range.middle)),
            text: say!(
                "in {middle}, nine of ten times in {range}",
                middle = clock::duration(whole(range.middle)),
                range = clock::between(low, high)
            ),
            range50: Some([whole(range.low50), whole(range.high50)]),
            range90: Some([low, high]),
        }
    }
}

/// All steps in their order, whether heard of or not.
fn steps(build: &Build, state: BuildState) -> Vec<StepStatus> {
    let failed_at = build.failure.as_ref().map(|f| f.step).filter(|_| state == BuildState::Failed && !build.is_lacking);
    Step::ALL
        .into_iter()
        .map(|step| {
            let known = build.progress.iter().find(|p| p.step == step);
            let later_began = build.progress.iter().any(|p| p.step > step);
            let step_state = match (state, known) {
                (BuildState::Ready | BuildState::Expired, _) => StepState::Done,
                _ if failed_at == Some(step) => StepState::Failed,
                (_, None) if later_began => StepState::Done,
                (_, None) => StepState::Waiting,
                (_, Some(p)) if p.total > 0 && p.done >= p.total => StepState::Done,
                (BuildState::Building, Some(_)) => StepState::Running,
                (_, Some(_)) => StepState::Waiting,
            };
            StepStatus {
                step,
                label: step.label(),
                state: step_state,
                done: known.map_or(0, |p| p.done),
                total: known.map_or(0, |p| p.total),
                what: known.map(|p| p.what.clone()).unwrap_or_default(),
            }
        })
        .collect()
}

/// The step to name when only one can be: the last that runs, or else the last that is done while others are to come.
fn current(steps: &[StepStatus]) -> Option<StepStatus> {
    let last = |state| steps.iter().rev().find(move |s| s.state == state);
    last(StepState::Running).or_else(|| last(StepState::Failed)).or_else(|| last(StepState::Done)).cloned()
}
