//! The operator's side: whoever shows the operator's token, as `Authorization: Bearer` in the API or by logging in on the page.

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect};
use contract::Step;
use contract::hash::FieldHasher;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use super::openapi::{Conflict, Malformed, Refused, TooLarge, Unauthorized, WrongMediaType};
use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, number_field, read_body, session};
use crate::app::App;
use crate::channels::Availability;
use crate::client::{Who, cookie, who};
use crate::clock;
use crate::db::{BuildState, Cause, CountedWish, Gate, Role, Turn, step_number};
use crate::held_up::HeldUp;
use crate::mirrors::{MirrorState, MirrorView};
use crate::secret;
use crate::source_builds::{self, SourceBuilds};
use crate::tokens;
use crate::words;

/// Days of wishes looked at where none are named.
const DAYS: u64 = 90;
/// Most wishes listed.
const MAX_WISHES: u32 = 1_000;
/// How long a log-in lasts. Seconds.
const SESSION: u32 = 7 * 86_400;
/// Bytes of a log-in.
const MAX_LOG_IN: usize = 4 << 10;

#[derive(Template)]
#[template(path = "operator.html")]
struct OperatorPage<'a> {
    version: &'a str,
    queue: QueueView,
    wishes: Vec<CountedWish>,
    days: u64,
    site: SiteView,
    /// Reports of users without an answer.
    open_reports: usize,
    source_builds: &'a SourceBuilds,
}

/// How the site as a whole does.
#[derive(Serialize, utoipa::ToSchema)]
pub struct SiteView {
    workers: Vec<WorkerView>,
    channels: Vec<ChannelView>,
    causes: Vec<Cause>,
    stored_bytes: u64,
    oldest_waiting: Option<i64>,
    /// Ways, and the notices that are owed and that were given up lately.
    notices: Vec<(String, u64, u64)>,
    time: Where,
}

#[derive(Serialize, utoipa::ToSchema)]
struct WorkerView {
    name: String,
    /// Seconds since it was heard of.
    quiet: u64,
    asking: bool,
    /// How long it takes, as a factor on the usual time.
    speed: f64,
}

/// A channel as this server knows it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ChannelState)]
struct ChannelView {
    name: String,
    /// Why it cannot be used, where it cannot.
    trouble: Option<String>,
    /// Its binhosts, best first.
    mirrors: Vec<MirrorView>,
}

#[derive(Template)]
#[template(path = "log_in.html")]
struct LogInPage<'a> {
    version: &'a str,
    wrong: bool,
}

/// Proof that a request comes from the operator.
pub struct Operator;

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if shown.and_then(|s| s.strip_prefix("Bearer ")).is_some_and(|token| secret::same(token, &app.operator_token)) {
            return Ok(Operator);
        }
        let who = who(app, &parts.headers).await?;
        if who.role(&app.config) == Role::Operator {
            return Ok(Operator);
        }
        if who != Who::Nobody {
            return Err(Problem::new(StatusCode::FORBIDDEN, "This is for the operator, and who asks is a user of the site."));
        }
        let place = tokens::operator_path(&app.config);
        let place = place.file_name().map_or_else(|| "operator.token".into(), |name| name.to_string_lossy());
        let detail = format!("The operator's token is missing or wrong. It is in a file of the server's: {place}.");
        Err(Problem::new(StatusCode::UNAUTHORIZED, detail))
    }
}

/// The wishes that could not be met, the most frequent first
#[utoipa::path(
    get,
    path = "/api/v1/operator/wishes",
    tag = "operator",
    operation_id = "operator_wishes",
    security(("operator" = [])),
    params(("days" = Option<i32>, Query, minimum = 0, description = "Of so many days; 90 where none are named")),
    responses((status = 200, description = "The wishes", body = [CountedWish]), Malformed, Unauthorized),
)]
pub async fn wishes(State(app): SharedApp, _: Operator, RawQuery(query): RawQuery) -> Result<Json<Vec<CountedWish>>, Problem> {
    let days = number_field(query.as_deref(), "days")?.unwrap_or(DAYS);
    Ok(Json(app.db.wishes(days, MAX_WISHES).await?))
}

/// What the operator does with the queue or with a build.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schema(as = QueueAct, example = json!({ "action": "pause" }))]
pub struct Act {
    action: Action,
    /// The build, for what is done with one.
    #[serde(default)]
    build: String,
}

#[derive(Clone, Copy, Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = QueueAction)]
enum Action {
    /// The queue takes orders and gives out builds.
    Open,
    /// Workers get nothing more.
    Pause,
    /// No orders are taken.
    Drain,
    /// The build is next.
    First,
    /// The build waits for all others.
    Last,
    /// The build waits as the policy has it.
    Usual,
    Cancel,
    /// A failed build is made again.
    Retry,
}

/// The queue for its operator.
#[derive(Serialize, utoipa::ToSchema)]
pub struct QueueView {
    gate: Gate,
    workers: usize,
    builds: Vec<BuildView>,
}

/// A build for the operator. It does not say who ordered it.
#[derive(Serialize, utoipa::ToSchema)]
struct BuildView {
    id: String,
    image_name: String,
    state: BuildState,
    position: Option<u64>,
    /// Nine of ten times it is ready within these seconds from now.
    range90: Option<[u64; 2]>,
    created: i64,
    attempts: u32,
    failure: Option<String>,
    /// No worker that is there can make it: it takes an architecture, a format, memory or a build root that they lack.
    no_worker: bool,
}

/// Builds shown to the operator.
const ROWS: u32 = 200;

/// The queue for its operator
#[utoipa::path(
    get,
    path = "/api/v1/operator/queue",
    tag = "operator",
    operation_id = "operator_queue",
    security(("operator" = [])),
    responses((status = 200, description = "The newest builds", body = QueueView), Unauthorized),
)]
pub async fn queue(State(app): SharedApp, _: Operator) -> Result<Json<QueueView>, Problem> {
    Ok(Json(view(&app).await?))
}

/// Pauses, drains or opens the queue, or does something with a build
#[utoipa::path(
    post,
    path = "/api/v1/operator/queue",
    tag = "operator",
    operation_id = "operator_act",
    security(("operator" = [])),
    request_body = Act,
    responses((status = 200, description = "It was done", body = QueueView), Malformed, Unauthorized, Conflict, TooLarge, WrongMediaType, Refused),
)]
pub async fn act(State(app): SharedApp, _: Operator, Json(act): Json<Act>) -> Result<Json<QueueView>, Problem> {
    carry_out(&app, &act).await?;
    Ok(Json(view(&app).await?))
}

/// `POST /operator/act`
pub async fn act_on_page(State(app): SharedApp, headers: HeaderMap, body: Body) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(render(StatusCode::FORBIDDEN, &LogInPage { version: &assets::VERSION, wrong: false }));
    }
    let bytes = read_body(body, MAX_LOG_IN).await?;
    let fields: std::collections::BTreeMap<String, String> = form_urlencoded::parse(&bytes).into_owned().collect();
    let fields = serde_json::to_value(fields).map_err(|e| Problem::internal(&e))?;
    let act: Act = serde_json::from_value(fields)
        .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("The form is not understood: {e}.")))?;
    carry_out(&app, &act).await?;
    Ok(Redirect::to("/operator").into_response())
}

async fn carry_out(app: &App, act: &Act) -> Result<(), Problem> {
    let build = act.build.as_str();
    if build.is_empty() && !matches!(act.action, Action::Open | Action::Pause | Action::Drain) {
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "Name the build that this is to be done with, as “build”."));
    }
    let done = match act.action {
        Action::Open => app.db.set_gate(Gate::Open).await.map(|()| true)?,
        Action::Pause => app.db.set_gate(Gate::Paused).await.map(|()| true)?,
        Action::Drain => app.db.set_gate(Gate::Draining).await.map(|()| true)?,
        Action::First => app.db.move_build(build, Turn::First).await?,
        Action::Last => app.db.move_build(build, Turn::Last).await?,
        Action::Usual => app.db.move_build(build, Turn::Usual).await?,
        Action::Cancel => app.db.cancel_build(build).await?,
        Action::Retry => app.db.retry_build(build).await?,
    };
    if !done {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "The build is not there, or not in a state for this; look at the queue again.",
        ));
    }
    tracing::info!(?act, "the operator acts");
    app.bus.state_changed(build);
    Ok(())
}

async fn view(app: &App) -> crate::db::Result<QueueView> {
    let (outlook, held) = (app.outlook().await?, app.held().await?);
    let seconds = |time: f64| time.clamp(0.0, 1e9).round() as u64;
    let mut builds = Vec::new();
    for build in app.db.recent(ROWS).await? {
        let waits = build.state == BuildState::Waiting;
        builds.push(BuildView {
            position: outlook.position(&build.id).filter(|_| waits),
            range90: held.ready(&build, &outlook).map(|range| [seconds(range.low90), seconds(range.high90)]),
            no_worker: waits && held.of(&build.id, &outlook) == Some(HeldUp::NoneCan),
            id: build.id,
            image_name: build.image_name,
            state: build.state,
            created: build.created,
            attempts: build.attempts,
            failure: build.failure.map(|f| f.message),
        });
    }
    builds.sort_by_key(|b| (b.state != BuildState::Building, b.position.unwrap_or(u64::MAX)));
    Ok(QueueView { gate: app.db.gate().await?, workers: app.db.workers_present().await?, builds })
}

/// How the site as a whole does
#[utoipa::path(
    get,
    path = "/api/v1/operator/site",
    tag = "operator",
    operation_id = "operator_site",
    security(("operator" = [])),
    responses((status = 200, description = "The site", body = SiteView), Unauthorized),
)]
pub async fn site_api(State(app): SharedApp, _: Operator) -> Result<Json<SiteView>, Problem> {
    Ok(Json(site(&app).await?))
}

async fn site(app: &App) -> crate::db::Result<SiteView> {
    let outlook = app.outlook().await?;
    let workers = app.db.workers().await?.into_iter().map(|worker| WorkerView {
        quiet: (clock::exact_now() - worker.seen).clamp(0.0, 1e9) as u64,
        asking: worker.asking,
        speed: outlook.speed(&worker.name),
        name: worker.name,
    });
    let channels = app.catalogue.channels.all().iter().map(|channel| ChannelView {
        name: channel.config.name.clone(),
        trouble: match channel.availability() {
            Availability::Unavailable(unavailable) => Some(unavailable.in_full),
            Availability::Available(_) | Availability::Unknown => None,
        },
        mirrors: channel.mirrors(),
    });
    let numbers = app.db.numbers().await?;
    Ok(SiteView {
        workers: workers.collect(),
        channels: channels.collect(),
        causes: app.db.causes().await?,
        stored_bytes: numbers.stored_bytes,
        oldest_waiting: numbers.oldest_waiting.map(|since| clock::now().saturating_sub(since)),
        notices: numbers.notices,
        time: Where::of(&app.db.samples().await?, &app.db.delivery_times(RECENT).await?),
    })
}

/// Deliveries of so long ago say where the time goes. Seconds.
const RECENT: i64 = 86_400;

/// Where the time of orders goes.
#[derive(Serialize, utoipa::ToSchema)]
struct Where {
    /// Steps, and their shares of the time of building.
    steps: Vec<(&'static str, f64)>,
    /// The share of the time from order to image that is waiting for a worker.
    waiting: f64,
}

impl Where {
    fn of(samples: &[queue::Sample], deliveries: &[(i64, i64)]) -> Where {
        let seconds = |step: Step| -> f64 {
            let number = step_number(step);
            samples.iter().flat_map(|sample| &sample.steps).filter(|(of, _)| *of == number).map(|(_, seconds)| seconds).sum()
        };
        let of_step: Vec<f64> = Step::ALL.into_iter().map(seconds).collect();
        let all: f64 = of_step.iter().sum();
        let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).clamp(0.0, 1.0).abs() } else { 0.0 };
        let steps = Step::ALL.into_iter().zip(of_step).map(|(step, part)| (step.label(), share(part, all))).collect();
        let total: i64 = deliveries.iter().map(|(whole, _)| whole).sum();
        let waited: i64 = deliveries.iter().map(|(whole, building)| whole.saturating_sub(*building).max(0)).sum();
        Where { steps, waiting: share(waited as f64, total as f64) }
    }

    /// The bottleneck, and what helps.
    fn bottleneck(&self) -> String {
        let Some((step, share)) = self.steps.iter().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, share)| *share > 0.0) else {
            return say!("Nothing was built yet.");
        };
        if self.waiting > 0.5 {
            let share = format!("{:.0}", self.waiting * 100.0);
            return say!("Orders wait for {share}% of their time: more workers help.", share = share);
        }
        let advice = match Step::ALL.into_iter().find(|s| s.label() == *step) {
            Some(Step::Fetch) => say!("a nearer or faster mirror helps"),
            Some(Step::Merge | Step::Configure | Step::Write) => say!("faster workers help"),
            Some(Step::Upload) => say!("a faster way to the storage helps"),
            None => String::new(),
        };
        let (share, step) = (format!("{:.0}", share * 100.0), say!(*step));
        say!("Building spends {share}% of its time on “{step}”: {advice}.", share = share, step = step, advice = advice)
    }
}

/// `GET /operator`: the operator's page, or the way in.
pub async fn page(State(app): SharedApp, headers: HeaderMap) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(render(StatusCode::OK, &LogInPage { version: &assets::VERSION, wrong: false }));
    }
    let wishes = app.db.wishes(DAYS, MAX_WISHES).await?;
    let (queue, site) = (view(&app).await?, site(&app).await?);
    let open_reports = app.db.reports().await?.iter().filter(|report| report.answer.is_none()).count();
    Ok(render(
        StatusCode::OK,
        &OperatorPage {
            version: &assets::VERSION,
            queue,
            wishes,
            days: DAYS,
            site,
            open_reports,
            source_builds: &app.source_builds,
        },
    ))
}

/// `POST /operator`: logs in with the token.
pub async fn log_in(State(app): SharedApp, body: Body) -> Page {
    let bytes = read_body(body, MAX_LOG_IN).await?;
    let shown = form_urlencoded::parse(&bytes).find(|(name, _)| name == "operator_token").map(|(_, value)| value.into_owned());
    if !shown.is_some_and(|token| secret::same(token.trim(), &app.operator_token)) {
        return Ok(render(StatusCode::FORBIDDEN, &LogInPage { version: &assets::VERSION, wrong: true }));
    }
    let secure = if app.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={}; Path=/operator; Max-Age={SESSION}; HttpOnly; SameSite=Strict{secure}", session(&app));
    Ok(session::found("/operator", [cookie]))
}

const COOKIE: &str = "hatchery_operator";

/// What a browser that logged in holds. Not the token itself; it ends when the token changes.
fn session(app: &App) -> String {
    let mut hash = FieldHasher::new("hatchery operator session");
    hash.field(&app.operator_token);
    hash.finish()
}

/// Whether the browser has logged in, with the operator's token or as somebody who is an operator. What other sites have it send is refused
/// before (`super::session`).
pub(super) async fn is_logged_in(app: &App, headers: &HeaderMap) -> Result<bool, Problem> {
    if cookie(headers, COOKIE).is_some_and(|held| secret::same(held, &session(app))) {
        return Ok(true);
    }
    Ok(who(app, headers).await?.role(&app.config) == Role::Operator)
}

impl OperatorPage<'_> {
    fn gate(&self) -> String {
        match self.queue.gate {
            Gate::Open => say!("The queue is open."),
            Gate::Paused => say!("The queue is paused: orders are taken, but workers get nothing more."),
            Gate::Draining => say!("The queue is drained: no orders are taken, what waits is built."),
        }
    }

    fn ready(&self, build: &BuildView) -> String {
        if build.no_worker {
            return say!("no worker can make it");
        }
        build.range90.map(|[low, high]| clock::between(low, high)).unwrap_or_default()
    }

    fn wished(&self, wish: &CountedWish) -> String {
        source_builds::title(&wish.package, &wish.flags)
    }

    /// Whether it can be built from source for the channel's own binhost.
    fn may_build(&self, wish: &CountedWish) -> bool {
        self.source_builds.may_build(&wish.channel, &wish.package)
    }

    fn nearest(&self, wish: &CountedWish) -> String {
        match &wish.nearest {
            Some(build) => say!("{build}, differs in {flags}", build = build, flags = wish.differs.join(" ")),
            None => say!("none"),
        }
    }
}
