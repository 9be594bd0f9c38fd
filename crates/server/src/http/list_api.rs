//! The REST API of lists of packages: what of another system's packages a channel has.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::import::{self, Left};
use super::openapi::{Malformed, NotFound, Refused, TooLarge, TooMany, Unauthorized, Unavailable};
use super::packages::snapshot;
use super::problem::Problem;
use super::{SharedApp, query_field, read_body};
use crate::client::Client;

/// Bytes of a list.
const MAX_LIST: usize = 256 << 10;
/// Most words in a list.
const MAX_WORDS: usize = 10_000;

/// What a list comes to.
#[derive(Serialize, utoipa::ToSchema)]
pub struct Listed {
    channel: String,
    /// Atoms to put into an order.
    packages: Vec<String>,
    /// What could not be taken over as it stands.
    left: Vec<Left>,
}

/// What of a list of packages a channel has
///
/// The list is a `world` file, atoms one a line, or what `emerge --pretend` and `qlist -Iv` print.
#[utoipa::path(
    post,
    path = "/api/v1/packages",
    tag = "site",
    operation_id = "packages_of_list",
    security((), ("user" = [])),
    params(("channel" = Option<String>, Query, description = "The channel; without one, the first that can be read")),
    request_body(content = String, content_type = "text/plain", description = "The list"),
    responses(
        (status = 200, description = "What there is of it", body = Listed),
        Malformed, Unauthorized, NotFound, TooLarge, Refused, TooMany, Unavailable,
    ),
)]
pub async fn of_list(
    State(app): SharedApp,
    client: Client,
    RawQuery(query): RawQuery,
    body: Body,
) -> Result<Json<Listed>, Problem> {
    let text = String::from_utf8(read_body(body, MAX_LIST).await?)
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "The list is not UTF-8 text."))?;
    if text.split_whitespace().nth(MAX_WORDS).is_some() {
        let detail = format!("The list has more than {MAX_WORDS} words; an order takes 2000 packages.");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail));
    }
    app.may_preview(&client.user(&app.secret)).await?;
    let (channel, snapshot) = snapshot(&app, query_field(query.as_deref(), "channel").as_deref()).await?;
    let read = tokio::task::spawn_blocking(move || import::packages_of(&text, &snapshot.universe)).await;
    let (packages, left) = read.map_err(|e| Problem::internal(&e))?;
    Ok(Json(Listed { channel: channel.config.name.clone(), packages, left }))
}
