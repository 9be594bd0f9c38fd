//! The page on which whoever reads at a mail address confirms it, or stops all mail to it. Its address is in every mail and nowhere else.

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, read_body};
use crate::db::{Address, Word};

/// Bytes of what a mail program sends with one click.
const MAX_CLICK: usize = 4 << 10;

#[derive(Template)]
#[template(path = "address.html")]
struct AddressPage<'a> {
    version: &'a str,
    token: &'a str,
    address: Address,
}

fn unknown() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is no such address. Check the link: it must be complete, to its last character.")
}

/// `GET /mail/{token}`. Only looking changes nothing: mail programs look at links before their users do.
pub async fn page(State(app): SharedApp, Path(token): Path<String>) -> Page {
    let address = app.db.address(&token).await?.ok_or_else(unknown)?;
    Ok(render(StatusCode::OK, &AddressPage { version: &assets::VERSION, token: &token, address }))
}

/// `POST /mail/{token}/confirm`
pub async fn confirm(State(app): SharedApp, Path(token): Path<String>) -> Page {
    if !app.db.set_address(&token, Word::Confirm).await? {
        return Err(unknown().into());
    }
    // The order has another turn now, and what was owed is due.
    app.bus.state_changed("");
    Ok(back(&token))
}

/// `POST /mail/{token}/stop`: by the button, or by a mail program with one click (RFC 8058).
pub async fn stop(State(app): SharedApp, Path(token): Path<String>, body: Body) -> Page {
    let bytes = read_body(body, MAX_CLICK).await?;
    if !app.db.set_address(&token, Word::Stop).await? {
        return Err(unknown().into());
    }
    // No redirect is followed after one click.
    let one_click = form_urlencoded::parse(&bytes).any(|(name, value)| name == "List-Unsubscribe" && value == "One-Click");
    Ok(if one_click { StatusCode::OK.into_response() } else { back(&token) })
}

fn back(token: &str) -> Response {
    Redirect::to(&format!("/mail/{token}")).into_response()
}
