//! The ways to log in: with a token that the operator gave out, by a link that is mailed, and at an OpenID Connect provider.

use askama::Template;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, query_field, read_body, session};
use crate::accounts;
use crate::app::App;
use crate::client::{self, COOKIE, Client, cookie, token_hash};
use crate::db::{Access, ELSEWHERE, LINK, NewLink, Shown};
use crate::oidc;
use crate::secret;
use crate::words;

/// Bytes of a log-in.
const MAX_LOG_IN: usize = 4 << 10;
/// How long a log-in with a token lasts. Seconds.
const TOKEN_SESSION: i64 = 30 * 86_400;
/// Links that are sent to one address in an hour.
const LINKS_PER_HOUR: u32 = 4;
/// A browser on its way to the provider and back holds this, so that it ends only what it began itself.
const ELSEWHERE_COOKIE: &str = "hatchery_elsewhere";

#[derive(Template)]
#[template(path = "user_log_in.html")]
struct LogInPage<'a> {
    version: &'a str,
    /// What did not work.
    wrong: Option<String>,
    invited_only: bool,
    by_mail: bool,
    /// The provider's name.
    provider: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "log_in_link.html")]
struct LinkPage<'a> {
    version: &'a str,
    link: &'a str,
    /// Whom the link logs in, while it does.
    email: Option<String>,
}

#[derive(Template)]
#[template(path = "log_in_sent.html")]
struct SentPage<'a> {
    version: &'a str,
    email: &'a str,
    minutes: i64,
}

/// `GET /log-in`
pub async fn page(State(app): SharedApp) -> Page {
    ways_in(&app, StatusCode::OK, None).await
}

async fn ways_in(app: &App, status: StatusCode, wrong: Option<String>) -> Page {
    let page = LogInPage {
        version: &assets::VERSION,
        wrong,
        invited_only: app.db.access().await? == Access::Invited,
        by_mail: app.config.log_in_by_mail(),
        provider: app.config.oidc().map(|oidc| oidc.name.as_str()),
    };
    Ok(render(status, &page))
}

/// `POST /log-in`: with a token.
pub async fn with_token(State(app): SharedApp, body: Body) -> Page {
    let shown = field(body, "token").await?;
    let Some(token) = app.db.token(&token_hash(shown.trim())).await? else {
        return ways_in(&app, StatusCode::FORBIDDEN, Some(say!("This token is not known here; it may have been taken back.")))
            .await;
    };
    Ok(session::found("/", [session::set_cookie(&app, COOKIE, &client::session(&app.secret, &token), TOKEN_SESSION)]))
}

/// `POST /log-out`
pub async fn log_out(State(app): SharedApp, headers: HeaderMap) -> Page {
    Ok(session::end(&app, &headers).await?)
}

/// `POST /log-in/mail`: has a link sent. What is answered does not depend on whether anybody is known by the address.
pub async fn ask_for_link(State(app): SharedApp, client: Client, body: Body) -> Page {
    if !app.config.log_in_by_mail() {
        return Err(no_such_way().into());
    }
    let email = accounts::canonical(&field(body, "email").await?);
    if contract::check_email(&email).is_err() {
        return ways_in(&app, StatusCode::UNPROCESSABLE_ENTITY, Some(say!("This is not a mail address."))).await;
    }
    app.may_log_in(&client.address(&app.secret)).await?;
    // Nor does the time that the answer takes: whether somebody may log in by the address is looked at when the link is to be sent.
    let nonce = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    let hash = token_hash(&client::log_in_link(&app.secret, &nonce));
    let link = NewLink { hash: &hash, email: &email, nonce: &nonce, language: words::language() };
    app.db.add_link(&link, LINKS_PER_HOUR).await?;
    app.bus.notices.notify_one();
    Ok(render(StatusCode::OK, &SentPage { version: &assets::VERSION, email: &email, minutes: LINK / 60 }))
}

/// `GET /log-in/link/{link}`. Only looking uses nothing up: mail programs look at links before their users do.
pub async fn link_page(State(app): SharedApp, Path(link): Path<String>) -> Page {
    let email = app.db.link(&token_hash(&link)).await?;
    let status = if email.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    Ok(render(status, &LinkPage { version: &assets::VERSION, link: &link, email }))
}

/// `POST /log-in/link/{link}`: logs in, this once.
pub async fn use_link(State(app): SharedApp, Path(link): Path<String>, headers: HeaderMap) -> Page {
    let Some(email) = app.db.use_link(&token_hash(&link)).await?.filter(|_| app.config.log_in_by_mail()) else {
        return Ok(render(StatusCode::NOT_FOUND, &LinkPage { version: &assets::VERSION, link: &link, email: None }));
    };
    Ok(enter(&app, &Shown::Email(&email), &headers).await?)
}

/// Logs in whoever showed this.
async fn enter(app: &App, shown: &Shown<'_>, headers: &HeaderMap) -> Result<Response, Problem> {
    let internal = |e: secret::NoRandomness| Problem::internal(&e);
    let (fresh, address) = (secret::token::<16>().map_err(internal)?, secret::token::<20>().map_err(internal)?);
    let account = app.db.account_of(shown, &fresh, &address).await?;
    // The address counts as confirmed, so what was owed to it is due.
    app.bus.state_changed("");
    session::begin(app, &account, matches!(shown, Shown::Claims { .. }), headers).await
}

/// `GET /log-in/oidc`: to the provider. It is a link and no form, as the policy of these pages lets no form lead elsewhere.
pub async fn go_to_provider(State(app): SharedApp, client: Client) -> Page {
    let Some(config) = app.config.oidc() else { return Err(no_such_way().into()) };
    app.may_log_in(&client.address(&app.secret)).await?;
    let departure = match app.provider.depart(config, &back_address(&app)).await {
        Ok(departure) => departure,
        Err(error) => return not_by_provider(&app, &error).await,
    };
    app.db.go_elsewhere(&token_hash(&departure.state), &departure.nonce, &departure.verifier).await?;
    let cookie = session::set_cookie(&app, ELSEWHERE_COOKIE, &departure.state, ELSEWHERE);
    Ok(session::found(&departure.address, [cookie]))
}

/// `GET /log-in/oidc/back`: from the provider.
pub async fn come_from_provider(State(app): SharedApp, headers: HeaderMap, RawQuery(query): RawQuery) -> Page {
    let Some(config) = app.config.oidc() else { return Err(no_such_way().into()) };
    let field = |name| query_field(query.as_deref(), name).unwrap_or_default();
    let state = field("state");
    let began = cookie(&headers, ELSEWHERE_COOKIE).is_some_and(|held| secret::same(held, &state));
    let Some((nonce, verifier)) = app.db.come_back(&token_hash(&state)).await?.filter(|_| began) else {
        let wrong = say!("This log-in was not begun in this browser, or too long ago; please begin again.");
        return ways_in(&app, StatusCode::FORBIDDEN, Some(wrong)).await;
    };
    let arrival = oidc::Arrival { code: field("code"), error: field("error"), issuer: field("iss"), nonce, verifier };
    match app.provider.arrive(config, &back_address(&app), &arrival).await {
        Ok(user) => {
            let (issuer, email) = (config.issuer.as_str(), user.email.as_deref());
            let shown = Shown::Claims { issuer, subject: &user.subject, email, name: &user.name, role: user.role };
            Ok(enter(&app, &shown, &headers).await?)
        }
        Err(error) => not_by_provider(&app, &error).await,
    }
}

async fn not_by_provider(app: &App, error: &oidc::OidcError) -> Page {
    tracing::warn!(%error, "nobody could be logged in by the provider");
    ways_in(app, StatusCode::BAD_GATEWAY, Some(say!("The provider could not log you in: {reason}.", reason = error))).await
}

fn back_address(app: &App) -> String {
    format!("{}/log-in/oidc/back", app.public_url)
}

fn no_such_way() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "This site has no such way to log in.")
}

/// A field of a form; empty when it is not there.
async fn field(body: Body, name: &str) -> Result<String, Problem> {
    let bytes = read_body(body, MAX_LOG_IN).await?;
    Ok(form_urlencoded::parse(&bytes).find(|(n, _)| n == name).map(|(_, value)| value.into_owned()).unwrap_or_default())
}
