//! The operator's side: whoever shows the operator's token, as `Authorization: Bearer` in the API or by logging in on the page.

use askama::Template;
use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::hash::FieldHasher;
use std::sync::Arc;

use super::pages::{Page, render};
use super::problem::Problem;
use super::{SharedApp, assets, query_field, read_body};
use crate::app::App;
use crate::clock;
use crate::db::CountedWish;
use crate::secret;

/// Days of wishes looked at where none are named.
const DAYS: u64 = 90;
/// Most wishes listed.
const MAX_WISHES: u32 = 1_000;
/// How long a log-in lasts. Seconds.
const SESSION: u32 = 7 * 86_400;
/// Bytes of a log-in.
const MAX_LOG_IN: usize = 4 << 10;

#[derive(Template)]
#[template(path = "operator.html")]
struct OperatorPage<'a> {
    version: &'a str,
    wishes: Vec<CountedWish>,
    days: u64,
}

#[derive(Template)]
#[template(path = "log_in.html")]
struct LogInPage<'a> {
    version: &'a str,
    wrong: bool,
}

/// Proof that a request comes from the operator.
pub struct Operator;

impl FromRequestParts<Arc<App>> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let shown = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        if shown.and_then(|s| s.strip_prefix("Bearer ")).is_some_and(|token| secret::same(token, &app.operator_token)) {
            return Ok(Operator);
        }
        Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "The operator's token is missing or wrong. It is in operator.token in the server's data folder.",
        ))
    }
}

/// `GET /api/v1/operator/wishes?days=`: the wishes that could not be met, the most frequent first.
pub async fn wishes(State(app): SharedApp, _: Operator, RawQuery(query): RawQuery) -> Result<Json<Vec<CountedWish>>, Problem> {
    let days = match query_field(query.as_deref(), "days").map(|days| days.parse()) {
        None => DAYS,
        Some(Ok(days)) => days,
        Some(Err(_)) => return Err(Problem::new(StatusCode::BAD_REQUEST, "“days” must be a number of days.")),
    };
    Ok(Json(app.db.wishes(days, MAX_WISHES).await?))
}

/// `GET /operator`: the operator's page, or the way in.
pub async fn page(State(app): SharedApp, headers: HeaderMap) -> Page {
    if !is_logged_in(&app, &headers) {
        return Ok(render(StatusCode::OK, &LogInPage { version: &assets::VERSION, wrong: false }));
    }
    let wishes = app.db.wishes(DAYS, MAX_WISHES).await?;
    Ok(render(StatusCode::OK, &OperatorPage { version: &assets::VERSION, wishes, days: DAYS }))
}

/// `POST /operator`: logs in with the token.
pub async fn log_in(State(app): SharedApp, body: Body) -> Page {
    let bytes = read_body(body, MAX_LOG_IN).await?;
    let shown = form_urlencoded::parse(&bytes).find(|(name, _)| name == "operator_token").map(|(_, value)| value.into_owned());
    if !shown.is_some_and(|token| secret::same(token.trim(), &app.operator_token)) {
        return Ok(render(StatusCode::FORBIDDEN, &LogInPage { version: &assets::VERSION, wrong: true }));
    }
    let secure = if app.public_url.starts_with("https://") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={}; Path=/operator; Max-Age={SESSION}; HttpOnly; SameSite=Strict{secure}", session(&app));
    let found: Response =
        (StatusCode::SEE_OTHER, [(header::LOCATION, "/operator".to_owned()), (header::SET_COOKIE, cookie)]).into_response();
    Ok(found)
}

const COOKIE: &str = "hatchery_operator";

/// What a browser that logged in holds. Not the token itself; it ends when the token changes.
fn session(app: &App) -> String {
    let mut hash = FieldHasher::new("hatchery operator session");
    hash.field(&app.operator_token);
    hash.finish()
}

/// Whether the browser has logged in. Other sites cannot make it ask for anything here: the cookie is `SameSite=Strict`.
fn is_logged_in(app: &App, headers: &HeaderMap) -> bool {
    let session = session(app);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.any(|(name, value)| name == COOKIE && secret::same(value, &session))
}

impl OperatorPage<'_> {
    fn wished(&self, wish: &CountedWish) -> String {
        if wish.flags.is_empty() { wish.package.clone() } else { format!("{}[{}]", wish.package, wish.flags.join(",")) }
    }

    fn nearest(&self, wish: &CountedWish) -> String {
        match &wish.nearest {
            Some(build) => format!("{build}, differs in {}", wish.differs.join(" ")),
            None => "none".to_owned(),
        }
    }
}
