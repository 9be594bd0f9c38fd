//! HTTP: the routes, and what holds for all of them.

mod access;
mod advice;
mod api;
mod assets;
mod book;
mod download;
mod events;
mod feed;
mod form;
mod form_system;
mod mail;
mod metrics;
mod operator;
mod packages;
mod pages;
mod problem;
mod stats;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use tokio_stream::StreamExt;

use crate::app::App;
pub use book::{Book, Chapter};
pub use metrics::Counters;
pub use problem::Problem;

/// How long an answer may be in the making; planning on a cold mirror takes longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(100);

/// All routes of the server.
pub fn router(app: Arc<App>, book: Book) -> Router {
    let pages = Router::new()
        .route("/", get(pages::order_form))
        .route("/orders", post(pages::place_order))
        .route("/orders/{id}", get(pages::order))
        .route("/orders/{id}/packages", get(packages::of_order))
        .route("/orders/{id}/cancel", post(pages::cancel))
        .route("/orders/{id}/again", post(pages::again))
        .route("/orders/{id}/feed.atom", get(feed::feed))
        .route("/mail/{token}", get(mail::page))
        .route("/mail/{token}/confirm", post(mail::confirm))
        .route("/mail/{token}/stop", post(mail::stop))
        .route("/log-in", get(access::page).post(access::log_in))
        .route("/queue", get(pages::queue))
        .route("/stats", get(stats::page))
        .route("/assets/{name}", get(assets::asset))
        .route("/service-worker.js", get(assets::service_worker))
        .route("/favicon.ico", get(assets::favicon))
        .route("/certificate.asc", get(download::certificate))
        .route("/robots.txt", get(assets::robots));
    let api = Router::new()
        .route("/healthz", get(api::health))
        .route("/readyz", get(api::ready))
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/presets", get(api::presets))
        .route("/api/v1/channels", get(api::channels))
        .route("/api/v1/stats", get(stats::api))
        .route("/api/v1/packages", get(packages::search))
        .route("/api/v1/plan", post(api::plan_only))
        .route("/api/v1/orders", post(api::place))
        .route("/api/v1/orders/{id}", get(api::order))
        .route("/api/v1/orders/{id}/events", get(events::events))
        .route("/api/v1/orders/{id}/plan", get(api::plan))
        .route("/api/v1/orders/{id}/log", get(api::log))
        .route("/api/v1/orders/{id}/cancel", post(api::cancel))
        .route("/api/v1/orders/{id}/again", post(api::again))
        .route("/api/v1/orders/{id}/push", put(api::push))
        .route("/api/v1/orders/{id}/artifacts/{name}", get(download::artifact))
        .route("/api/v1/orders/{id}/SHA256SUMS", get(download::sha256sums))
        .route("/api/v1/orders/{id}/SHA512SUMS", get(download::sha512sums));
    let workers = Router::new()
        .route("/api/worker/lease", post(worker::lease))
        .route("/api/worker/builds/{build}/events", post(worker::events))
        .route("/api/worker/builds/{build}/end", post(worker::end));
    let operator = Router::new()
        .route("/operator", get(operator::page).post(operator::log_in))
        .route("/operator/advice", get(advice::page))
        .route("/operator/act", post(operator::act_on_page))
        .route("/api/v1/operator/wishes", get(operator::wishes))
        .route("/api/v1/operator/advice", get(advice::api))
        .route("/api/v1/operator/site", get(operator::site_api))
        .route("/api/v1/operator/access", get(access::access).post(access::act))
        .route("/api/v1/operator/queue", get(operator::queue).post(operator::act));
    // An upload takes as long as it takes; the lease says when it is lost.
    let uploads = Router::new().route("/api/worker/builds/{build}/artifacts/{name}", put(worker::upload));
    let workers = workers
        .layer(middleware::from_fn(limit_time))
        .merge(uploads)
        .layer(middleware::from_fn_with_state(app.clone(), worker::authorize));
    pages
        .merge(book::routes(book))
        .merge(api)
        .merge(operator)
        .layer(middleware::from_fn(limit_time))
        .merge(workers)
        .fallback(pages::not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(content_security_policy(&app), security_headers))
        .layer(middleware::from_fn_with_state(app.clone(), log_request))
        .with_state(app)
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This address takes another method; see the documentation of the API.")
}

async fn limit_time(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "This took too long and was given up; please try again.")
            .into_response(),
    }
}

/// Logs the route, never the path or the query: they hold the secret of an order.
async fn log_request(State(app): SharedApp, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or_else(|| "-".to_owned(), |p| p.as_str().to_owned());
    let response = next.run(request).await;
    let took = started.elapsed();
    app.counters.answered(&route, response.status(), took);
    let milliseconds = took.as_millis();
    let status = response.status().as_u16();
    match route.as_str() {
        // Idle workers ask every second.
        "/api/worker/lease" => tracing::trace!(%method, route, status, milliseconds, "request"),
        _ => tracing::debug!(%method, route, status, milliseconds, "request"),
    }
    response
}

/// What pages may load: what is this site's own, and pictures from the storage that downloads are sent on to.
fn content_security_policy(app: &App) -> HeaderValue {
    let pictures = app.storage.origin().map(|origin| format!(" {origin}")).unwrap_or_default();
    let policy = |pictures: &str| {
        format!(
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'{pictures}; connect-src 'self'; form-action 'self'; \
             base-uri 'none'; frame-ancestors 'none'"
        )
    };
    // An origin is plain ASCII; if it were not, pictures would be missing, and nothing else.
    HeaderValue::try_from(policy(&pictures))
        .or_else(|_| HeaderValue::try_from(policy("")))
        .unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// What browsers are told with every answer. The address of an order is a secret, so it is sent on to nobody and kept by nobody.
async fn security_headers(State(policy): State<HeaderValue>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A body that is refused is still read to its end, if that is not farther than this: a client that is hung up on while it sends
/// never reads the answer that says why.
const MAX_DRAIN: u64 = 32 << 20;

/// The whole body of a request, if it is not larger than `limit` bytes.
async fn read_body(body: Body, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut stream = body.into_data_stream();
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| broke_off())?;
        if bytes.len() + chunk.len() > limit {
            drain(&mut stream, MAX_DRAIN).await;
            return Err(Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("The request is larger than the {limit} bytes that are taken here."),
            ));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Reads and drops what a client still sends, up to `limit` bytes.
async fn drain(stream: &mut BodyDataStream, limit: u64) {
    let mut dropped = 0u64;
    while let Some(Ok(chunk)) = stream.next().await {
        dropped = dropped.saturating_add(chunk.len() as u64);
        if dropped > limit {
            return;
        }
    }
}

fn broke_off() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "The request broke off before it was complete; send it again.")
}

/// A field of a query, decoded; the first one of its name.
fn query_field(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query.unwrap_or_default().as_bytes()).find(|(n, _)| n == name).map(|(_, value)| value.into_owned())
}

type SharedApp = State<Arc<App>>;
