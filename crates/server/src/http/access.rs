//! Logging in with a token that the operator gave out, and giving them out.

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::openapi::{Conflict, Malformed, Refused, TooLarge, Unauthorized, WrongMediaType};
use super::operator::Operator;
use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, read_body};
use crate::client::{self, COOKIE};
use crate::db::{Access, Role, TokenRow};
use crate::secret;

/// Bytes of a log-in.
const MAX_LOG_IN: usize = 4 << 10;
/// How long a log-in lasts. Seconds.
const SESSION: u32 = 30 * 86_400;
/// Longest name of a token, in bytes.
const MAX_NAME: usize = 64;

#[derive(Template)]
#[template(path = "user_log_in.html")]
struct LogInPage<'a> {
    version: &'a str,
    wrong: bool,
    invited_only: bool,
}

/// `GET /log-in`
pub async fn page(State(app): SharedApp) -> Page {
    let invited_only = app.db.access().await? == Access::Invited;
    Ok(render(StatusCode::OK, &LogInPage { version: &assets::VERSION, wrong: false, invited_only }))
}

/// `POST /log-in`
pub async fn log_in(State(app): SharedApp, body: Body) -> Page {
    let bytes = read_body(body, MAX_LOG_IN).await?;
    let shown = form_urlencoded::parse(&bytes).find(|(name, _)| name == "token").map(|(_, value)| value.into_owned());
    let hash = client::token_hash(shown.unwrap_or_default().trim());
    let Some(token) = app.db.token(&hash).await? else {
        let invited_only = app.db.access().await? == Access::Invited;
        return Ok(render(StatusCode::FORBIDDEN, &LogInPage { version: &assets::VERSION, wrong: true, invited_only }));
    };
    let secure = if app.public_url.starts_with("https://") { "; Secure" } else { "" };
    let session = client::session(&app.secret, &token);
    let cookie = format!("{COOKIE}={session}; Path=/; Max-Age={SESSION}; HttpOnly; SameSite=Lax{secure}");
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/".to_owned()), (header::SET_COOKIE, cookie)]).into_response())
}

/// What the operator does with tokens, and with who may order.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
#[schema(as = AccessAct)]
pub enum Act {
    Add {
        #[schema(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._@+-]+$")]
        name: String,
        role: Role,
    },
    Revoke {
        name: String,
    },
    /// Only who shows a token may order.
    InvitedOnly,
    Everybody,
}

/// Who may order, and who was invited.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AccessView)]
pub struct View {
    access: Access,
    tokens: Vec<TokenRow>,
    /// A token that was just made; it is shown this once.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Who may order, and who was invited
#[utoipa::path(
    get,
    path = "/api/v1/operator/access",
    tag = "operator",
    operation_id = "operator_access",
    security(("operator" = [])),
    responses((status = 200, description = "The tokens", body = View), Unauthorized),
)]
pub async fn access(State(app): SharedApp, _: Operator) -> Result<Json<View>, Problem> {
    Ok(Json(View { access: app.db.access().await?, tokens: app.db.tokens().await?, token: None }))
}

/// Gives out or takes back a token, or says who may order
#[utoipa::path(
    post,
    path = "/api/v1/operator/access",
    tag = "operator",
    operation_id = "operator_access_act",
    security(("operator" = [])),
    request_body = Act,
    responses((status = 200, description = "It was done", body = View), Malformed, Unauthorized, Conflict, TooLarge, WrongMediaType, Refused),
)]
pub async fn act(State(app): SharedApp, _: Operator, Json(act): Json<Act>) -> Result<Json<View>, Problem> {
    let mut made = None;
    let done = match &act {
        Act::Add { name, role } => {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
            if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
                return Err(Problem::new(StatusCode::BAD_REQUEST, "The name must be a plain word of at most 64 characters."));
            }
            let token = format!("hatchery_{}", secret::token::<24>().map_err(|e| Problem::internal(&e))?);
            let added = app.db.add_token(name, &client::token_hash(&token), *role).await?;
            made = Some(token);
            added
        }
        Act::Revoke { name } => app.db.revoke_token(name).await?,
        Act::InvitedOnly => app.db.set_access(Access::Invited).await.map(|()| true)?,
        Act::Everybody => app.db.set_access(Access::Everybody).await.map(|()| true)?,
    };
    if !done {
        return Err(Problem::new(StatusCode::CONFLICT, "There is a token of this name already, or none to revoke."));
    }
    tracing::info!(?act, "the operator acts");
    Ok(Json(View { access: app.db.access().await?, tokens: app.db.tokens().await?, token: made }))
}
