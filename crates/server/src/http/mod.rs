//! HTTP: the routes, and what holds for all of them.

// First, as its macro is used by the others.
#[macro_use]
pub mod visit;

mod access;
mod account;
mod advice;
mod api;
mod assets;
mod binhost;
mod book;
mod difference_page;
mod download;
mod events;
mod feed;
mod following_api;
mod form;
mod form_packages;
mod form_system;
mod fresh;
mod import;
mod list_api;
mod log_in;
mod mail;
mod metrics;
mod openapi;
mod operator;
mod order_form;
mod order_page;
mod packages;
mod pages;
mod paging;
mod plan_view;
mod problem;
mod queue_page;
mod ranges;
mod reports;
mod session;
mod site_api;
mod sources;
mod stats;
mod worker;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, BodyDataStream};
use axum::extract::{Extension, MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use tokio_stream::StreamExt;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
pub use book::{Book, Chapter};
pub use metrics::Counters;
pub use problem::Problem;

/// How long an answer may be in the making; planning on a cold mirror takes longest.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(100);

/// All routes of the server.
pub fn router(app: Arc<App>, book: Book) -> Router {
    let form = Router::new()
        .route("/", get(order_form::order_form))
        .route("/orders", post(order_form::place_order).get(pages::to_the_form))
        .route("/orders/form", post(order_form::form_anew).get(pages::to_the_form))
        .layer(middleware::map_response(pages::can_be_gone_back_to));
    let pages = Router::new()
        .route("/orders/parts", post(order_form::parts))
        .route("/orders/hits", post(order_form::hits))
        .route("/orders/file", post(order_form::file))
        .route("/orders/{id}", get(order_page::page))
        .route("/orders/{id}/packages", get(packages::of_order))
        .route("/orders/{id}/fresh", post(fresh::keep_on_page))
        .route("/orders/{id}/fresh/stop", post(fresh::stop_on_page))
        .route("/orders/{id}/cancel", post(order_page::cancel))
        .route("/orders/{id}/again", post(order_page::again))
        .route("/orders/{id}/change", get(order_page::change))
        .route("/orders/{id}/report", post(reports::send))
        .route("/orders/{id}/mail", post(order_page::mail))
        .route("/orders/{id}/difference", get(difference_page::page))
        .route("/orders/{id}/feed.atom", get(feed::feed))
        .route("/mail/{token}", get(mail::page))
        .route("/mail/{token}/confirm", post(mail::confirm))
        .route("/mail/{token}/stop", post(mail::stop))
        .route("/log-in", get(log_in::page).post(log_in::with_token))
        .route("/log-in/mail", post(log_in::ask_for_link))
        .route("/log-in/link/{link}", get(log_in::link_page).post(log_in::use_link))
        .route("/log-in/oidc", get(log_in::go_to_provider))
        .route("/log-in/oidc/back", get(log_in::come_from_provider))
        .route("/log-out", post(log_in::log_out))
        .route("/account", get(account::page).post(account::act))
        .route("/queue", get(queue_page::page))
        .route("/stats", get(stats::page))
        .route("/binhost/{channel}/{binhost}/{*path}", get(binhost::file))
        .route("/assets/{name}", get(assets::asset))
        .route("/service-worker.js", get(assets::service_worker))
        .route("/favicon.ico", get(assets::favicon))
        .route("/robots.txt", get(assets::robots));
    let (api, document) = api_routes().split_for_parts();
    let api = api.layer(Extension(openapi::Description::of(document)));
    let workers = Router::new()
        .route("/api/worker/lease", post(worker::lease))
        .route("/api/worker/builds/{build}/events", post(worker::events))
        .route("/api/worker/builds/{build}/end", post(worker::end));
    let operator = Router::new()
        .route("/operator", get(operator::page).post(operator::log_in))
        .route("/operator/advice", get(advice::page))
        .route("/operator/reports", get(reports::page))
        .route("/operator/reports/{report}", get(reports::bundle).post(reports::answer))
        .route("/operator/act", post(operator::act_on_page))
        .route("/operator/source", post(sources::ask_on_page));
    // An upload takes as long as it takes; the lease says when it is lost.
    let uploads = Router::new()
        .route("/api/worker/builds/{build}/artifacts/{name}", put(worker::upload))
        .route("/api/worker/builds/{build}/package", put(worker::package));
    let workers = workers
        .layer(middleware::from_fn(limit_time))
        .merge(uploads)
        .layer(middleware::from_fn_with_state(app.clone(), worker::authorize))
        .layer(middleware::from_fn(small_body_first));
    pages
        .merge(form)
        .merge(book::routes(book))
        .merge(api)
        .merge(operator)
        .layer(middleware::from_fn(small_body_first))
        .layer(middleware::from_fn_with_state(app.clone(), session::keep))
        .layer(middleware::from_fn(limit_time))
        .merge(workers)
        .fallback(pages::not_found)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(problems_only))
        .layer(middleware::from_fn(visit::answer))
        .layer(middleware::from_fn_with_state(content_security_policy(&app), security_headers))
        .layer(middleware::from_fn_with_state(app.clone(), log_request))
        .with_state(app)
}

/// The API, with its description. What is not here is no part of it.
fn api_routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::Document::openapi())
        .routes(routes!(openapi::openapi))
        .routes(routes!(site_api::health))
        .routes(routes!(site_api::ready))
        .routes(routes!(site_api::presets))
        .routes(routes!(site_api::channels))
        .routes(routes!(site_api::queue))
        .routes(routes!(account::api, account::act_api))
        .routes(routes!(stats::api))
        .routes(routes!(packages::search, list_api::of_list))
        .routes(routes!(download::certificate))
        .routes(routes!(api::plan_only))
        .routes(routes!(api::place))
        .routes(routes!(api::order))
        .routes(routes!(api::plan))
        .routes(routes!(api::log))
        .routes(routes!(events::events))
        .routes(routes!(api::cancel))
        .routes(routes!(api::again))
        .routes(routes!(fresh::keep, fresh::stop))
        .routes(routes!(api::push))
        .routes(routes!(following_api::request))
        .routes(routes!(following_api::mail))
        .routes(routes!(following_api::difference))
        .routes(routes!(following_api::reported, following_api::report))
        .routes(routes!(download::artifact))
        .routes(routes!(download::sha256sums))
        .routes(routes!(download::sha512sums))
        .routes(routes!(metrics::metrics))
        .routes(routes!(operator::queue, operator::act))
        .routes(routes!(operator::site_api))
        .routes(routes!(operator::wishes))
        .routes(routes!(following_api::reports))
        .routes(routes!(following_api::bundle, following_api::answer))
        .routes(routes!(advice::api))
        .routes(routes!(sources::ask))
        .routes(routes!(access::access, access::act))
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

/// Bytes of a body that is read before anything is decided.
const SMALL_BODY: usize = 64 << 10;

/// Reads a small body before the request is looked at. A refusal that is given while the client still sends would end the connection, which
/// the client takes for good and sends its next request on.
async fn small_body_first(request: Request, next: Next) -> Response {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<usize>().ok());
    if length.is_none_or(|length| length == 0 || length > SMALL_BODY) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    match read_body(body, SMALL_BODY).await {
        Ok(bytes) => next.run(Request::from_parts(head, Body::from(bytes))).await,
        Err(problem) => problem.into_response(),
    }
}

/// Longest error of axum's own that is passed on, in bytes.
const MAX_ERROR: usize = 8 << 10;

/// Programs get every error as a problem document: what axum says of a request that it cannot read becomes one too.
async fn problems_only(request: Request, next: Next) -> Response {
    let of_api = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !of_api || !is_error || response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::PROBLEM_JSON) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let text = axum::body::to_bytes(body, MAX_ERROR).await.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let detail = text.filter(|text| !text.is_empty()).unwrap_or_else(|| "The request is not understood.".to_owned());
    let problem = Problem::new(status, detail).into_response();
    for name in [header::CONTENT_TYPE, header::CONTENT_LENGTH] {
        head.headers.remove(name);
    }
    let (mut new_head, body) = problem.into_parts();
    head.headers.extend(std::mem::take(&mut new_head.headers));
    Response::from_parts(head, body)
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

/// A field of a query that is a number: 0 to 2³¹ − 1, so that every client can write it.
fn number_field(query: Option<&str>, name: &str) -> Result<Option<u64>, Problem> {
    match query_field(query, name).map(|text| text.trim().parse::<i32>().ok().and_then(|number| u64::try_from(number).ok())) {
        None => Ok(None),
        Some(Some(number)) => Ok(Some(number)),
        Some(None) => {
            Err(Problem::new(StatusCode::BAD_REQUEST, format!("“{name}” must be a whole number up to 2147483647, or left out.")))
        }
    }
}

type SharedApp = State<Arc<App>>;
