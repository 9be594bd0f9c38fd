//! The REST API of orders.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::{Order, OrderError, Plan};
use serde::Serialize;

use super::openapi::{
    Conflict, Forbidden, Malformed, NotFound, OrderId, Refused, TooLarge, TooMany, Unauthorized, Unavailable, WrongMediaType,
};
use super::problem::Problem;
use super::{SharedApp, read_body};
use crate::app::App;
use crate::client::Client;
use crate::db::BuildState;
use crate::notices::Subscription;
use crate::orders::{self, Refusal};
use crate::status::{self, OrderStatus, Ready};

/// Bytes of an order; two thousand atoms and a few dozen keys fit.
pub const MAX_ORDER: usize = 2 << 20;
/// Bytes of the largest subscription to web push.
const MAX_SUBSCRIPTION: usize = 8 << 10;
/// Shortest idempotency key: a short one could be somebody else's.
const MIN_IDEMPOTENCY_KEY: usize = 16;

/// What a new order's client is told.
#[derive(Serialize, utoipa::ToSchema)]
struct NewOrder {
    /// The identifier; whoever has it may do with the order what its page lets do.
    id: String,
    /// The page for people.
    url: String,
    state: BuildState,
    /// 1 is served next; none unless the order waits.
    position: Option<u64>,
    ready: Ready,
}

/// Plans an order without placing it: the packages it would get
#[utoipa::path(
    post,
    path = "/api/v1/plan",
    tag = "orders",
    operation_id = "plan_only",
    security((), ("user" = [])),
    request_body(
        content((Order = "application/json", example = json!({ "arch": "amd64", "preset": "amd64-server", "formats": ["iso"] })), (String = "application/toml")),
        description = "The order, as JSON or as TOML",
    ),
    responses((status = 200, description = "The plan", body = Plan), Malformed, Unauthorized, TooLarge, WrongMediaType, Refused, TooMany, Unavailable),
)]
pub async fn plan_only(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let order = order_of(&headers, body).await?;
    app.may_plan(&client.user(&app.secret)).await?;
    let planned = app.catalogue.plan(&order).await?;
    Ok(Json(planned.plan).into_response())
}

/// Places an order
///
/// With an `Idempotency-Key`, the same request again leads to the same order, however often and however fast it comes; the answer is then 200
/// with the order as it stands. The same key with another request is refused (`key-reused`). A key is kept as long as its order.
#[utoipa::path(
    post,
    path = "/api/v1/orders",
    tag = "orders",
    operation_id = "place_order",
    security((), ("user" = [])),
    params(("Idempotency-Key" = Option<String>, Header, min_length = 16, max_length = 128, pattern = "^[!-~]*$", description = "What nobody could guess, such as a UUID")),
    request_body(
        content((Order = "application/json", example = json!({ "arch": "amd64", "preset": "amd64-server", "formats": ["iso"] })), (String = "application/toml")),
        description = "The order, as JSON or as TOML",
    ),
    responses(
        (status = 201, description = "The order was taken", body = NewOrder, headers(("Location" = String, description = "The order in the API"))),
        (status = 200, description = "The same request came before and led to this order", body = NewOrder, headers(("Location" = String, description = "The order in the API"))),
        Malformed, Unauthorized, Forbidden, TooLarge, WrongMediaType, Refused, TooMany, Unavailable,
    ),
)]
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

/// An order as it stands
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}",
    tag = "orders",
    operation_id = "order",
    params(OrderId),
    responses((status = 200, description = "The order", body = OrderStatus), Malformed, NotFound),
)]
pub async fn order(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    find(&app, &id).await.map(Json)
}

/// The plan of an order: the lock file
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/plan",
    tag = "orders",
    operation_id = "order_plan",
    params(OrderId),
    responses((status = 200, description = "The plan", body = Plan), Malformed, NotFound, Conflict),
)]
pub async fn plan(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = find(&app, &id).await?;
    if status.lacks_packages {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "There is no plan yet: the order waits for packages that are built from source.",
        ));
    }
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

/// All that is kept of the log of an order, as text
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/log",
    tag = "orders",
    operation_id = "order_log",
    params(OrderId),
    responses((status = 200, description = "The log", body = String, content_type = "text/plain; charset=utf-8"), Malformed, NotFound),
)]
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

/// Cancels an order; doing so twice is no error, cancelling what has ended is
#[utoipa::path(
    post,
    path = "/api/v1/orders/{id}/cancel",
    tag = "orders",
    operation_id = "cancel_order",
    params(OrderId),
    responses((status = 200, description = "The order is cancelled", body = OrderStatus), Malformed, NotFound, Conflict),
)]
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

/// Builds again what failed or expired
#[utoipa::path(
    post,
    path = "/api/v1/orders/{id}/again",
    tag = "orders",
    operation_id = "order_again",
    params(OrderId),
    responses((status = 200, description = "The order waits again", body = OrderStatus), Malformed, NotFound, Conflict, Unavailable),
)]
pub async fn again(State(app): SharedApp, client: Client, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    find(&app, &id).await?;
    if !orders::again(&app, &id, &client).await? {
        return Err(nothing_to_build_again(find(&app, &id).await?.state));
    }
    find(&app, &id).await.map(Json)
}

/// What is built again is what failed or expired; who asks for more is told what to do instead.
fn nothing_to_build_again(state: BuildState) -> Problem {
    let why = match state {
        BuildState::Cancelled => "The order was cancelled, and stays so: order the same anew.".to_owned(),
        _ => format!("There is nothing to build again: the order is {state}."),
    };
    Problem::new(StatusCode::CONFLICT, why)
}

/// Has a browser told, by the subscription that its push service gave it
#[utoipa::path(
    put,
    path = "/api/v1/orders/{id}/push",
    tag = "orders",
    operation_id = "push",
    params(OrderId),
    request_body = Subscription,
    responses((status = 204, description = "The browser will be told"), Malformed, NotFound, TooLarge, Refused),
)]
pub async fn push(State(app): SharedApp, Path(id): Path<String>, body: Body) -> Result<StatusCode, Problem> {
    find(&app, &id).await?;
    let bytes = read_body(body, MAX_SUBSCRIPTION).await?;
    let subscription: Subscription =
        serde_json::from_slice(&bytes).map_err(|e| not_understood("This is not the subscription of a browser", &e))?;
    let unfit = |detail: String| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail);
    subscription.check().map_err(|e| unfit(format!("This subscription cannot be used: {}.", e.message)))?;
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
        "application/json" => serde_json::from_slice(&bytes).map_err(|e| not_understood("The order is not understood", &e)),
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

/// What is no JSON is malformed; what is JSON of something else is invalid.
fn not_understood(what: &str, error: &serde_json::Error) -> Problem {
    let status = if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
    Problem::new(status, format!("{what}: {error}."))
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
