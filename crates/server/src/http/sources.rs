//! Packages that the operator has built from source.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect};
use serde::{Deserialize, Serialize};

use super::openapi::{Conflict, Malformed, NotFound, Refused, TooLarge, Unauthorized, WrongMediaType};
use super::operator::{Operator, is_logged_in};
use super::pages::Page;
use super::problem::Problem;
use super::{SharedApp, read_body};
use crate::app::App;
use crate::source_builds::{self, NotBuilt};

/// Bytes of the page's form.
const MAX_FORM: usize = 16 << 10;

/// A package to be built.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SourceRequest, example = json!({ "channel": "own", "package": "app-editors/vim", "flags": ["python", "-X"] }))]
pub struct Asked {
    channel: String,
    /// An atom; USE dependencies count as flags.
    package: String,
    /// USE flags, `-` before those that must be off; the others are as the build root has them.
    #[serde(default)]
    flags: Vec<String>,
}

/// The build that it is; `GET /api/v1/operator/queue` shows it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = SourceAnswer)]
pub struct Answer {
    build: String,
}

/// Has a package built from source, for a channel's own binhost
#[utoipa::path(
    post,
    path = "/api/v1/operator/source",
    tag = "operator",
    operation_id = "operator_source",
    security(("operator" = [])),
    request_body = Asked,
    responses((status = 200, description = "It waits to be built, or did already", body = Answer), Malformed, Unauthorized, NotFound, Conflict, TooLarge, WrongMediaType, Refused),
)]
pub async fn ask(State(app): SharedApp, _: Operator, Json(asked): Json<Asked>) -> Result<Json<Answer>, Problem> {
    Ok(Json(Answer { build: place(&app, &asked).await? }))
}

/// `POST /operator/source`
pub async fn ask_on_page(State(app): SharedApp, headers: HeaderMap, body: Body) -> Page {
    if !is_logged_in(&app, &headers).await? {
        return Ok(Redirect::to("/operator").into_response());
    }
    let bytes = read_body(body, MAX_FORM).await?;
    let field = |name: &str| form_urlencoded::parse(&bytes).find(|(n, _)| n == name).map(|(_, value)| value.into_owned());
    let asked = Asked {
        channel: field("channel").unwrap_or_default(),
        package: field("package").unwrap_or_default(),
        flags: field("flags").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
    };
    place(&app, &asked).await?;
    Ok(Redirect::to("/operator").into_response())
}

async fn place(app: &App, asked: &Asked) -> Result<String, Problem> {
    source_builds::ask(app, &asked.channel, &asked.package, &asked.flags).await.map_err(|error| {
        let status = match &error {
            NotBuilt::NoChannel(_) => StatusCode::NOT_FOUND,
            NotBuilt::NotUnderstood(_) | NotBuilt::NotAllowed(_) => StatusCode::UNPROCESSABLE_ENTITY,
            NotBuilt::Full => StatusCode::CONFLICT,
            NotBuilt::Database(_) | NotBuilt::Random(_) => return Problem::internal(&error),
        };
        Problem::new(status, format!("{error}."))
    })
}
