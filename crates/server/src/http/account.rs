//! The page of who is logged in to an account: orders, tokens, mail, sessions, and the end of it.

use std::sync::Arc;

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use serde::{Deserialize, Serialize};

use super::openapi::{Conflict, Malformed, Refused, TooLarge, Unauthorized, WrongMediaType};
use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, read_body, session};
use crate::accounts;
use crate::app::App;
use crate::client::{Client, TOKEN_PREFIX, cookie, token_hash};
use crate::clock;
use crate::db::{AccountRow, ApiToken, OwnOrder, Role, Session, SessionRow};
use crate::secret;
use crate::words;

/// Bytes of a form on the page.
const MAX_FORM: usize = 4 << 10;
/// Longest name of a token, in characters.
const MAX_NAME: usize = 64;
/// Most tokens of one account.
const MAX_TOKENS: usize = 20;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage<'a> {
    version: &'a str,
    account: &'a AccountRow,
    operator: bool,
    orders: Vec<OwnOrder>,
    tokens: Vec<ApiToken>,
    sessions: Vec<SessionRow>,
    /// The session of the browser that asks.
    own: &'a str,
    /// A token that was just made; it is shown this once.
    made: Option<&'a str>,
    wrong: Option<String>,
    /// The site sends mail.
    mail: bool,
}

/// Proof that a browser is logged in to an account; others are led to where they can.
pub struct LoggedIn(Session);

impl FromRequestParts<Arc<App>> for LoggedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Response> {
        let way_in = || Redirect::to("/log-in").into_response();
        let held = cookie(&parts.headers, app.session_cookie()).ok_or_else(way_in)?;
        let session = app.db.session(&token_hash(held)).await.map_err(|error| Problem::from(error).into_response())?;
        session.map(LoggedIn).ok_or_else(way_in)
    }
}

/// `GET /account`
pub async fn page(State(app): SharedApp, LoggedIn(session): LoggedIn) -> Page {
    show(&app, &session, StatusCode::OK, None, None).await
}

async fn show(app: &App, session: &Session, status: StatusCode, made: Option<&str>, wrong: Option<String>) -> Page {
    let account = &session.account;
    let page = AccountPage {
        version: &assets::VERSION,
        account,
        operator: accounts::role(&app.config, account) == Role::Operator,
        orders: app.db.own_orders(&account.id).await?,
        tokens: app.db.api_tokens(&account.id).await?,
        sessions: app.db.sessions(&account.id).await?,
        own: &session.id,
        made,
        wrong,
        mail: app.mailer.is_some(),
    };
    Ok(render(status, &page))
}

impl AccountPage<'_> {
    /// What the account is called.
    fn name(&self) -> String {
        let account = self.account;
        match (account.name.as_str(), account.email.as_deref(), account.subject.as_deref()) {
            ("", Some(email), _) => email.to_owned(),
            ("", None, subject) => subject.unwrap_or_default().to_owned(),
            (name, Some(email), _) => format!("{name} ({email})"),
            (name, None, _) => name.to_owned(),
        }
    }
}

/// What a form of the page asks for.
enum Act {
    /// Takes in an order that was placed without the account, by its link.
    TakeIn {
        link: String,
    },
    AddToken {
        name: String,
    },
    RevokeToken {
        name: String,
    },
    Tell {
        yes: bool,
    },
    EndSession {
        id: String,
    },
    /// Deletes the account; `sure` was ticked.
    Delete {
        sure: bool,
    },
}

impl Act {
    fn of(form: &[u8]) -> Option<Act> {
        let field = |name: &str| form_urlencoded::parse(form).find(|(n, _)| n == name).map(|(_, value)| value.trim().to_owned());
        Some(match field("act")?.as_str() {
            "take-in" => Act::TakeIn { link: field("link")? },
            "add-token" => Act::AddToken { name: field("name")? },
            "revoke-token" => Act::RevokeToken { name: field("name")? },
            "tell" => Act::Tell { yes: field("tell").is_some() },
            "end-session" => Act::EndSession { id: field("id")? },
            "delete" => Act::Delete { sure: field("sure").is_some() },
            _ => return None,
        })
    }
}

/// `POST /account`
pub async fn act(State(app): SharedApp, LoggedIn(session): LoggedIn, body: Body) -> Page {
    let bytes = read_body(body, MAX_FORM).await?;
    let Some(act) = Act::of(&bytes) else {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "The form is not understood.").into());
    };
    let account = &session.account;
    let refused = |wrong| show(&app, &session, StatusCode::CONFLICT, None, Some(wrong));
    match act {
        Act::TakeIn { link } => {
            if let Some(wrong) = take_in(&app, account, &link).await? {
                return refused(words::heard(wrong)).await;
            }
        }
        Act::AddToken { name } => {
            if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
                return refused(say!("Give the token a name of at most 64 characters.")).await;
            }
            if app.db.api_tokens(&account.id).await?.len() >= MAX_TOKENS {
                return refused(say!("You have 20 tokens; take one back first.")).await;
            }
            let token = format!("{TOKEN_PREFIX}{}", secret::token::<24>().map_err(|e| Problem::internal(&e))?);
            if !app.db.add_api_token(&token_hash(&token), &account.id, &name).await? {
                return refused(say!("You have a token of this name.")).await;
            }
            return show(&app, &session, StatusCode::OK, Some(&token), None).await;
        }
        Act::RevokeToken { name } => app.db.revoke_api_token(&account.id, &name).await?,
        Act::Tell { yes } => app.db.set_tell(&account.id, yes).await?,
        Act::EndSession { id } => app.db.end_session(&account.id, &id).await?,
        Act::Delete { sure: false } => return refused(say!("Tick that you are sure, to delete the account.")).await,
        Act::Delete { sure: true } => {
            app.db.delete_account(account).await?;
            return Ok(session::forget(&app));
        }
    }
    Ok(session::found("/account", []))
}

/// Takes an order into an account; why it cannot be, where it cannot.
async fn take_in(app: &App, account: &AccountRow, link: &str) -> crate::db::Result<Option<&'static str>> {
    let order = order_of_link(link);
    if app.db.order(order).await?.is_none() {
        return Ok(Some("There is no such order. Its link must be complete, to its last character."));
    }
    Ok(if app.db.take_in(order, &account.id).await? { None } else { Some("The order is in another account.") })
}

/// The identifier in an order's link, or what was given in its stead.
fn order_of_link(link: &str) -> &str {
    let after = link.rsplit_once("/orders/").map_or(link, |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// An account as its programs see it.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Account)]
pub struct View {
    email: Option<String>,
    name: String,
    role: Role,
    /// Whether mail tells of the end of orders that name no address.
    tell: bool,
    orders: Vec<OwnOrder>,
    tokens: Vec<ApiToken>,
}

/// Whose token this is, and their orders
#[utoipa::path(
    get,
    path = "/api/v1/account",
    tag = "orders",
    operation_id = "account",
    security(("user" = [])),
    responses((status = 200, description = "The account", body = View), Unauthorized),
)]
pub async fn api(State(app): SharedApp, client: Client) -> Result<Json<View>, Problem> {
    let account = client.who.account().ok_or_else(nobody)?;
    view(&app, account, client.who.role(&app.config)).await
}

/// What a program does with an account. Making tokens, ending sessions and deleting the account are for its page alone, so that whoever finds a
/// token can be shut out again.
#[derive(Deserialize, utoipa::ToSchema)]
#[serde(tag = "action", rename_all = "kebab-case", deny_unknown_fields)]
#[schema(as = AccountAct)]
pub enum ProgramAct {
    /// Takes in an order that was placed without the account.
    TakeIn {
        /// The address of its page, or its identifier.
        order: String,
    },
    /// Says whether mail tells of the end of orders that name no address.
    Tell { tell: bool },
    /// Takes back a token; it may be the one that is shown.
    RevokeToken { name: String },
}

/// Takes an order into the account, takes back a token, or says whether mail tells of orders
#[utoipa::path(
    post,
    path = "/api/v1/account",
    tag = "orders",
    operation_id = "account_act",
    security(("user" = [])),
    request_body = ProgramAct,
    responses((status = 200, description = "The account", body = View), Malformed, Unauthorized, Conflict, TooLarge, WrongMediaType, Refused),
)]
pub async fn act_api(State(app): SharedApp, client: Client, Json(act): Json<ProgramAct>) -> Result<Json<View>, Problem> {
    let mut account = client.who.account().ok_or_else(nobody)?.clone();
    match act {
        ProgramAct::TakeIn { order } => {
            if let Some(wrong) = take_in(&app, &account, &order).await? {
                return Err(Problem::new(StatusCode::CONFLICT, wrong));
            }
        }
        ProgramAct::Tell { tell } => {
            app.db.set_tell(&account.id, tell).await?;
            account.tell = tell;
        }
        ProgramAct::RevokeToken { name } => app.db.revoke_api_token(&account.id, &name).await?,
    }
    view(&app, &account, client.who.role(&app.config)).await
}

fn nobody() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "This is for accounts: show a token that was made on the page /account.")
}

async fn view(app: &App, account: &AccountRow, role: Role) -> Result<Json<View>, Problem> {
    let (orders, tokens) = (app.db.own_orders(&account.id).await?, app.db.api_tokens(&account.id).await?);
    let (email, name, tell) = (account.email.clone(), account.name.clone(), account.tell);
    Ok(Json(View { email, name, role, tell, orders, tokens }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orders_link_is_read_in_all_its_forms() {
        for link in ["abc", "https://h.example/orders/abc", "/orders/abc/packages", "http://h/api/v1/orders/abc?x#y"] {
            assert_eq!(order_of_link(link), "abc", "{link}");
        }
    }
}
