//! The REST API of what follows an order: the order itself to be changed, mail, the difference to an earlier one, reports of failures and
//! their answers.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::{Notify, Order, Summary};
use resolver::Difference;
use serde::{Deserialize, Serialize};

use super::api::find;
use super::difference_page::compared;
use super::openapi::{Conflict, Malformed, NotFound, OrderId, Refused, TooLarge, Unauthorized, Unavailable, WrongMediaType};
use super::operator::Operator;
use super::problem::Problem;
use super::{SharedApp, reports};
use crate::db::ReportRow;
use crate::orders::{self, Refusal};
use crate::reports::{self as failures, Group};
use crate::status::OrderStatus;

/// The order as it was asked for, to be changed and placed anew
///
/// Passwords are not in it, nor who is told of the end. With `Accept: application/toml` it comes as TOML, as a file that carries an order.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/order",
    tag = "orders",
    operation_id = "order_again_changed",
    params(OrderId),
    responses(
        (status = 200, description = "The order", content((Order = "application/json"), (String = "application/toml"))),
        Malformed, NotFound,
    ),
)]
pub async fn request(State(app): SharedApp, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Problem> {
    let order = app.db.order(&id).await?.ok_or_else(Problem::no_such_order)?.request;
    let order = Order { notify: Notify::default(), ..order };
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("application/toml") {
        return Ok(Json(order).into_response());
    }
    let text = toml::to_string(&order).map_err(|e| Problem::internal(&e))?;
    Ok(([(header::CONTENT_TYPE, "application/toml; charset=utf-8")], text).into_response())
}

/// Where a mail goes.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MailTo {
    #[schema(example = "larry@example.org")]
    email: String,
}

/// Has a mail tell of the end of an order that named no address
#[utoipa::path(
    put,
    path = "/api/v1/orders/{id}/mail",
    tag = "orders",
    operation_id = "order_mail",
    params(OrderId),
    request_body = MailTo,
    responses(
        (status = 200, description = "The order; one that named an address keeps it", body = OrderStatus),
        Malformed, NotFound, Conflict, TooLarge, WrongMediaType, Refused,
    ),
)]
pub async fn mail(State(app): SharedApp, Path(id): Path<String>, Json(to): Json<MailTo>) -> Result<Json<OrderStatus>, Problem> {
    let status = find(&app, &id).await?;
    let mut order = app.db.order(&id).await?.ok_or_else(Problem::no_such_order)?.request;
    order.notify.email = Some(to.email.trim().to_owned());
    order.check().map_err(Refusal::Invalid)?;
    if app.mailer.is_none() {
        return Err(Problem::new(StatusCode::CONFLICT, "This site sends no mail; follow the order by its events."));
    }
    if status.state.is_final() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            format!("There is nothing to tell of any more: the order is {}.", status.state),
        ));
    }
    orders::tell_by_mail(&app, &id, to.email.trim()).await?;
    find(&app, &id).await.map(Json)
}

/// What is other in an order than in an earlier one.
#[derive(Serialize, utoipa::ToSchema)]
pub struct OrderDifference {
    /// The identifier of the earlier order.
    earlier: String,
    /// How much the earlier order's plan is, and that of the later one.
    before: Summary,
    after: Summary,
    /// From the earlier order's plan to the later one's.
    difference: Difference,
}

/// What is other than in an earlier order
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/difference",
    tag = "orders",
    operation_id = "order_difference",
    params(OrderId, ("to" = String, Query, description = "The earlier order: the address of its page, or its identifier")),
    responses((status = 200, description = "Packages that came, went or changed, and sizes", body = OrderDifference), Malformed, NotFound),
)]
pub async fn difference(
    State(app): SharedApp,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<OrderDifference>, Problem> {
    let (_, earlier, plans) = compared(&app, &id, query.as_deref()).await?;
    let (before, after, difference) = (plans.before, plans.after, plans.difference);
    Ok(Json(OrderDifference { earlier: earlier.id, before, after, difference }))
}

/// What a user says of a failure.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// At most 4,000 characters are kept.
    words: String,
}

/// Reports a failed build to the operator, with all that repeats it
///
/// Each failure is one report, however often it is sent.
#[utoipa::path(
    post,
    path = "/api/v1/orders/{id}/report",
    tag = "orders",
    operation_id = "report_failure",
    params(OrderId),
    request_body = Words,
    responses((status = 200, description = "The report", body = ReportRow), Malformed, NotFound, Conflict, TooLarge, WrongMediaType, Refused),
)]
pub async fn report(State(app): SharedApp, Path(id): Path<String>, Json(words): Json<Words>) -> Result<Json<ReportRow>, Problem> {
    find(&app, &id).await?;
    if !failures::send(&app, &id, &words.words).await? {
        return Err(reports::nothing_to_report());
    }
    app.db.report_of_order(&id).await?.map(Json).ok_or_else(reports::no_such_report)
}

/// What was reported of an order's failure, and what the operator answered
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/report",
    tag = "orders",
    operation_id = "reported_failure",
    params(OrderId),
    responses((status = 200, description = "The newest report", body = ReportRow), Malformed, NotFound),
)]
pub async fn reported(State(app): SharedApp, Path(id): Path<String>) -> Result<Json<ReportRow>, Problem> {
    find(&app, &id).await?;
    app.db.report_of_order(&id).await?.map(Json).ok_or_else(reports::no_such_report)
}

/// What users reported, by cause; the most frequent first
#[utoipa::path(
    get,
    path = "/api/v1/operator/reports",
    tag = "operator",
    operation_id = "operator_reports",
    security(("operator" = [])),
    responses((status = 200, description = "The newest reports", body = [Group]), Unauthorized),
)]
pub async fn reports(State(app): SharedApp, _: Operator) -> Result<Json<Vec<Group>>, Problem> {
    Ok(Json(failures::grouped(app.db.reports().await?)))
}

/// What repeats a reported build: the order without secrets, the plan, the end of the log
#[utoipa::path(
    get,
    path = "/api/v1/operator/reports/{report}",
    tag = "operator",
    operation_id = "operator_report",
    security(("operator" = [])),
    params(("report" = String, Path, description = "The identifier of the report")),
    responses((status = 200, description = "All that was sent with it", body = Object), Malformed, Unauthorized, NotFound),
)]
pub async fn bundle(State(app): SharedApp, _: Operator, Path(id): Path<String>) -> Result<Response, Problem> {
    let bundle = app.db.report_bundle(&id).await?.ok_or_else(reports::no_such_report)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bundle).into_response())
}

/// What the operator answers.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerText {
    /// At most 4,000 characters are kept.
    #[schema(min_length = 1)]
    answer: String,
}

/// Answers a report; its user is told
#[utoipa::path(
    post,
    path = "/api/v1/operator/reports/{report}",
    tag = "operator",
    operation_id = "operator_answer",
    security(("operator" = [])),
    params(("report" = String, Path, description = "The identifier of the report")),
    request_body = AnswerText,
    responses((status = 204, description = "It was answered"), Malformed, Unauthorized, NotFound, TooLarge, WrongMediaType, Refused, Unavailable),
)]
pub async fn answer(
    State(app): SharedApp,
    _: Operator,
    Path(id): Path<String>,
    Json(text): Json<AnswerText>,
) -> Result<StatusCode, Problem> {
    reports::take_answer(&app, &id, &text.answer).await?;
    Ok(StatusCode::NO_CONTENT)
}
