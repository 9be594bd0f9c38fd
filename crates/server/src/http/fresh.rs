//! Keeping an order fresh, and letting it be.

use axum::Json;
use axum::extract::{Path, State};

use super::openapi::{Malformed, NotFound, OrderId, TooMany};
use super::order_page::to_order;
use super::pages::Page;
use super::problem::Problem;
use super::{SharedApp, api};
use crate::fresh;
use crate::status::OrderStatus;

/// Why an order is kept fresh no more, when its user said so.
const STOPPED: &str = "you stopped it";

/// `POST /orders/{id}/fresh`
pub async fn keep_on_page(State(app): SharedApp, Path(id): Path<String>) -> Page {
    api::find(&app, &id).await?;
    fresh::keep(&app, &id).await?;
    Ok(to_order(&id))
}

/// `POST /orders/{id}/fresh/stop`
pub async fn stop_on_page(State(app): SharedApp, Path(id): Path<String>) -> Page {
    api::find(&app, &id).await?;
    app.db.let_be(&id, STOPPED).await?;
    Ok(to_order(&id))
}

/// Have an order made anew whenever its packages change
#[utoipa::path(
    put,
    path = "/api/v1/orders/{id}/fresh",
    tag = "orders",
    operation_id = "keep_fresh",
    params(OrderId),
    responses((status = 200, description = "The order is kept fresh", body = OrderStatus), Malformed, NotFound, TooMany),
)]
pub async fn keep(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    api::find(&app, &id).await?;
    fresh::keep(&app, &id).await?;
    api::find(&app, &id).await.map(Json)
}

/// Have an order made anew no more
#[utoipa::path(
    delete,
    path = "/api/v1/orders/{id}/fresh",
    tag = "orders",
    operation_id = "let_be",
    params(OrderId),
    responses((status = 200, description = "The order is kept fresh no more", body = OrderStatus), Malformed, NotFound),
)]
pub async fn stop(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<OrderStatus>, Problem> {
    api::find(&app, &id).await?;
    app.db.let_be(&id, STOPPED).await?;
    api::find(&app, &id).await.map(Json)
}
