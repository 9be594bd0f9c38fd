//! Who may order: tokens that the operator gives out, and mail addresses that are invited.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::SharedApp;
use super::openapi::{Conflict, Malformed, Refused, TooLarge, Unauthorized, WrongMediaType};
use super::operator::Operator;
use super::problem::Problem;
use crate::accounts;
use crate::app::App;
use crate::client::{self, TOKEN_PREFIX};
use crate::db::{Access, Invitation, Role, TokenRow};
use crate::secret;

/// Longest name of a token, in bytes.
const MAX_NAME: usize = 64;

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
    /// Whoever logs in by this mail address may order.
    Invite {
        email: String,
        role: Role,
    },
    Uninvite {
        email: String,
    },
    /// Only who was invited may order.
    InvitedOnly,
    Everybody,
}

impl Act {
    /// What it is, for the log: mail addresses are not for that.
    fn name(&self) -> &'static str {
        match self {
            Act::Add { .. } => "add",
            Act::Revoke { .. } => "revoke",
            Act::Invite { .. } => "invite",
            Act::Uninvite { .. } => "uninvite",
            Act::InvitedOnly => "invited-only",
            Act::Everybody => "everybody",
        }
    }
}

/// Who may order, and who was invited.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = AccessView)]
pub struct View {
    access: Access,
    tokens: Vec<TokenRow>,
    invitations: Vec<Invitation>,
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
    Ok(Json(view(&app, None).await?))
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
            let token = format!("{TOKEN_PREFIX}{}", secret::token::<24>().map_err(|e| Problem::internal(&e))?);
            let added = app.db.add_token(name, &client::token_hash(&token), *role).await?;
            made = Some(token);
            added
        }
        Act::Revoke { name } => app.db.revoke_token(name).await?,
        Act::Invite { email, role } => {
            contract::check_email(email)
                .map_err(|e| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, format!("{}.", e.message)))?;
            app.db.invite(&accounts::canonical(email), *role).await.map(|()| true)?
        }
        Act::Uninvite { email } => app.db.uninvite(&accounts::canonical(email)).await?,
        Act::InvitedOnly => app.db.set_access(Access::Invited).await.map(|()| true)?,
        Act::Everybody => app.db.set_access(Access::Everybody).await.map(|()| true)?,
    };
    if !done {
        let detail = match &act {
            Act::Add { .. } => "There is a token of this name already; take it back first, or use another name.",
            Act::Uninvite { .. } => "Nobody was invited by this address; `hatchery access` lists who was.",
            _ => "There is no token of this name; `hatchery access` lists them.",
        };
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    tracing::info!(act = act.name(), "the operator acts");
    Ok(Json(view(&app, made).await?))
}

async fn view(app: &App, token: Option<String>) -> crate::db::Result<View> {
    let (access, tokens, invitations) = (app.db.access().await?, app.db.tokens().await?, app.db.invitations().await?);
    Ok(View { access, tokens, invitations, token })
}
