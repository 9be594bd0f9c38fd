//! Browsers that are logged in: the cookie that they hold, which changes each day, and what other sites cannot make them do.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::SharedApp;
use super::problem::Problem;
use crate::app::App;
use crate::client::{COOKIE, cookie, token_hash};
use crate::db::{AccountRow, SESSION};
use crate::secret;

/// Bytes kept of what a browser says it is.
const MAX_AGENT: usize = 200;

/// Logs a browser in to an account, for which the provider vouched or not: the answer leads to the account's page.
pub async fn begin(app: &App, account: &AccountRow, vouched: bool, headers: &HeaderMap) -> Result<Response, Problem> {
    let internal = |e: secret::NoRandomness| Problem::internal(&e);
    let (held, id) = (secret::token::<32>().map_err(internal)?, secret::token::<8>().map_err(internal)?);
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let agent: String = agent.chars().take(MAX_AGENT).collect();
    app.db.add_session(&token_hash(&held), &id, &account.id, vouched, &agent).await?;
    Ok(found("/account", [set_cookie(app, app.session_cookie(), &held, SESSION)]))
}

/// Ends the log-in of the browser that asks, by account and by token.
pub async fn end(app: &App, headers: &HeaderMap) -> Result<Response, Problem> {
    if let Some(held) = cookie(headers, app.session_cookie())
        && let Some(session) = app.db.session(&token_hash(held)).await?
    {
        app.db.end_session(&session.account.id, &session.id).await?;
    }
    Ok(forget(app))
}

/// Leads to the first page, with no log-in any more.
pub fn forget(app: &App) -> Response {
    found("/", [app.session_cookie(), COOKIE].map(|name| set_cookie(app, name, "", 0)))
}

/// A redirect that sets cookies.
pub fn found(to: &str, cookies: impl IntoIterator<Item = String>) -> Response {
    let mut response = Redirect::to(to).into_response();
    for cookie in cookies {
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
    }
    response
}

/// A cookie that other sites' requests do not carry, but for links to here.
pub fn set_cookie(app: &App, name: &str, value: &str, seconds: i64) -> String {
    let secure = if app.is_secure() { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}")
}

/// Refuses what another site makes a browser send, and changes the cookie of a session when it is a day old.
pub async fn keep(State(app): SharedApp, request: Request, next: Next) -> Response {
    if is_foreign(&request) {
        let detail = "Another site had your browser send this, so nothing was done. Do it on this site's own pages.";
        return Problem::new(StatusCode::FORBIDDEN, detail).into_response();
    }
    let changed = match changed_cookie(&app, request.method().clone(), request.headers().clone()).await {
        Ok(changed) => changed,
        Err(problem) => return problem.into_response(),
    };
    let mut response = next.run(request).await;
    if let Some(value) = changed.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
    response
}

/// Whether a page of another site sends this (Fetch Metadata). Mail programs and other clients say nothing of the kind, and hold no cookie.
fn is_foreign(request: &Request) -> bool {
    let from = request.headers().get("sec-fetch-site").and_then(|value| value.to_str().ok());
    !matches!(*request.method(), Method::GET | Method::HEAD) && matches!(from, Some("cross-site" | "same-site"))
}

async fn changed_cookie(app: &App, method: Method, headers: HeaderMap) -> Result<Option<String>, Problem> {
    let Some(held) = cookie(&headers, app.session_cookie()).filter(|_| method == Method::GET) else {
        return Ok(None);
    };
    let hash = token_hash(held);
    let Some(session) = app.db.session(&hash).await? else { return Ok(None) };
    app.db.note_session(&session).await?;
    if !session.stale {
        return Ok(None);
    }
    let fresh = secret::token::<32>().map_err(|e| Problem::internal(&e))?;
    let changed = app.db.rotate_session(&hash, &token_hash(&fresh)).await?;
    Ok(changed.then(|| set_cookie(app, app.session_cookie(), &fresh, SESSION)))
}
