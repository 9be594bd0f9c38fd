//! The REST API under `/api/v1`, and the health check.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::{Order, OrderError};
use serde::Serialize;
use serde_json::json;

use super::problem::Problem;
use super::{SharedApp, read_body};
use crate::app::App;
use crate::channels::Availability;
use crate::client::Client;
use crate::db::BuildState;
use crate::notices::Subscription;
use crate::orders::{self, Refusal};
use crate::presets::Preset;
use crate::status::{self, OrderStatus, Ready};

/// Bytes of an order; two thousand atoms and a few dozen keys fit.
pub const MAX_ORDER: usize = 2 << 20;
/// Bytes of the largest subscription to web push.
const MAX_SUBSCRIPTION: usize = 8 << 10;
/// Shortest idempotency key: a short one could be somebody else's.
const MIN_IDEMPOTENCY_KEY: usize = 16;

/// What a new order's client is told.
#[derive(Serialize)]
struct NewOrder {
    id: String,
    url: String,
    state: BuildState,
    position: Option<u64>,
    ready: Ready,
}

/// `GET /healthz`: 200 while the database answers.
pub async fn health(State(app): SharedApp) -> Result<Json<serde_json::Value>, Problem> {
    app.db.ping().await?;
    let (waiting, building) = app.db.queue_length().await?;
    Ok(Json(json!({ "status": "ok", "waiting": waiting, "building": building, "workers": app.db.workers_present().await? })))
}

/// `GET /readyz`: 200 while this server can do all its work: the database answers and files can be kept. A balancer asks here.
pub async fn ready(State(app): SharedApp) -> Result<Json<serde_json::Value>, Problem> {
    let trouble = |what: &str, error: &dyn std::error::Error| {
        tracing::error!(%error, "not ready: {what}");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, format!("This server is not ready: {what}. Its log says more."))
    };
    app.db.ping().await.map_err(|e| trouble("the database does not answer", &e))?;
    app.storage.check().await.map_err(|e| trouble("files cannot be kept", &e))?;
    if *app.stopping.borrow() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "This server is stopping."));
    }
    Ok(Json(json!({ "status": "ready" })))
}

/// `GET /api/v1/presets`
pub async fn presets(State(app): SharedApp) -> Json<Vec<Preset>> {
    Json(app.catalogue.presets.all().to_vec())
}

/// `GET /api/v1/channels`
pub async fn channels(State(app): SharedApp) -> Json<serde_json::Value> {
    let list = app.catalogue.channels.all().iter().map(|channel| {
        let config = &channel.config;
        let (available, packages, reason) = match channel.availability() {
            Availability::Available(snapshot) => (Some(true), Some(snapshot.package_count), None),
            Availability::Unavailable(unavailable) => (Some(false), None, Some(unavailable.reason)),
            Availability::Unknown => (None, None, None),
        };
        json!({
            "name": config.name, "title": config.title, "arch": config.arch, "description": config.description,
            "available": available, "packages": packages, "reason": reason,
        })
    });
    Json(list.collect())
}

/// `POST /api/v1/plan`: the plan for an order that is not placed.
pub async fn plan_only(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let order = order_of(&headers, body).await?;
    app.may_plan(&client.user(&app.operator_token))?;
    let planned = app.catalogue.plan(&order).await?;
    Ok(Json(planned.plan).into_response())
}

/// `POST /api/v1/orders`
pub async fn place(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?.map(str::to_owned);
    let order = order_of(&headers, body).await?;
    let taken = orders::place(&app, &order, client, key.as_deref()).await?;
    let status = find(&app, &taken.order).await?;
    let location = format!("/api/v1/orders/{}", taken.order);
    let answer = NewOrder { id: status.id, url: status.url, state: status.state, position: status.position, ready: status.ready };
    let code = if taken.repeated { StatusCode::OK } else { StatusCode::CREATED };
    Ok((code, [(header::LOCATION, location)], Json(answer)).into_response())
}

/// `GET /api/v1/orders/{id}`
pub async fn order(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    find(&app, &id).await.map(Json)
}

/// `GET /api/v1/orders/{id}/plan`: the lock file.
pub async fn plan(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = find(&app, &id).await?;
    let plan = app.db.plan(&status.build).await?;
    let text = serde_json::to_string_pretty(&plan).map_err(|e| Problem::internal(&e))?;
    let mut response = (text + "\n").into_response();
    let name = format!("attachment; filename=\"{}.lock.json\"", status.image_name);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(value) = HeaderValue::from_str(&name) {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// `GET /api/v1/orders/{id}/log`: all that is kept of the log, as text.
pub async fn log(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let order = app.db.order(&id).await?.ok_or_else(Problem::no_such_order)?;
    let mut text = String::new();
    let mut after = 0;
    loop {
        let lines = app.db.log_after(&order.build, after, 5_000).await?;
        let Some(last) = lines.last() else {
            break;
        };
        after = last.seq;
        for line in &lines {
            text += &line.text;
            text.push('\n');
        }
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// `POST /api/v1/orders/{id}/cancel`: doing so twice is no error, cancelling what has ended is.
pub async fn cancel(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    cancel_order(&app, &id).await?;
    let status = find(&app, &id).await?;
    match status.state {
        BuildState::Ready | BuildState::Failed | BuildState::Expired => {
            Err(Problem::new(StatusCode::CONFLICT, format!("The order has ended already: it is {}.", status.state)))
        }
        BuildState::Waiting | BuildState::Building | BuildState::Cancelled => Ok(Json(status)),
    }
}

/// `POST /api/v1/orders/{id}/again`: builds again what failed or expired.
pub async fn again(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    find(&app, &id).await?;
    if !orders::again(&app, &id).await? {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "There is nothing to build again: the order has neither failed nor expired.",
        ));
    }
    find(&app, &id).await.map(Json)
}

/// `PUT /api/v1/orders/{id}/push`: a browser asks to be told, with the subscription that its push service gave it.
pub async fn push(State(app): SharedApp, Path(id): Path<String>, body: Body) -> Result<StatusCode, Problem> {
    find(&app, &id).await?;
    let bytes = read_body(body, MAX_SUBSCRIPTION).await?;
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let subscription: Subscription =
        serde_json::from_slice(&bytes).map_err(|e| wrong(format!("This is not the subscription of a browser: {e}.")))?;
    subscription.check().map_err(|e| wrong(format!("This subscription cannot be used: {}.", e.message)))?;
    app.db.tell_browser(&id, &subscription).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancels an order, and tells whoever watches it.
pub async fn cancel_order(app: &App, id: &str) -> Result<(), Problem> {
    let order = app.db.order(id).await?.ok_or_else(Problem::no_such_order)?;
    if app.db.cancel_order(id).await? {
        tracing::info!(order = orders::number(id), build = order.build, "order cancelled");
        app.bus.state_changed(&order.build);
    }
    Ok(())
}

/// The order with this identifier as it stands, or 404.
pub async fn find(app: &App, id: &str) -> Result<OrderStatus, Problem> {
    status::of_order(app, id).await?.ok_or_else(Problem::no_such_order)
}

/// Reads an order, in JSON or TOML by its content type.
async fn order_of(headers: &HeaderMap, body: Body) -> Result<Order, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let bytes = read_body(body, MAX_ORDER).await?;
    match kind.as_str() {
        "application/json" => serde_json::from_slice(&bytes)
            .map_err(|e| Problem::new(StatusCode::BAD_REQUEST, format!("The order is not understood: {e}."))),
        "application/toml" => {
            let text =
                std::str::from_utf8(&bytes).map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The order is not UTF-8 text."))?;
            Order::from_toml(text).map_err(|error: OrderError| Refusal::Invalid(error).into())
        }
        _ => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Send the order as JSON with “Content-Type: application/json”, or as TOML with “application/toml”.",
        )),
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(key) if (MIN_IDEMPOTENCY_KEY..=128).contains(&key.len()) => Ok(Some(key)),
        _ => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!(
                "The Idempotency-Key must be {MIN_IDEMPOTENCY_KEY} to 128 characters that nobody could guess, such as a UUID."
            ),
        )),
    }
}
