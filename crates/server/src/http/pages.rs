//! The pages for people, made on the server; they work without JavaScript.

use askama::Template;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};

use super::assets;
use super::problem::Problem;
use crate::channels::Availability;
use crate::words;

/// A channel as pages show it.
pub struct ChannelView {
    pub name: String,
    pub title: String,
    pub arch: String,
    pub description: String,
    /// `None` while it was not read.
    pub available: Option<bool>,
    /// What is known of it, in words.
    pub state: String,
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    version: &'a str,
    heading: &'a str,
    detail: &'a str,
}

/// What was wrong, as a page.
pub struct PageError(Problem);

impl<E: Into<Problem>> From<E> for PageError {
    fn from(error: E) -> Self {
        PageError(error.into())
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let heading = match status {
            StatusCode::NOT_FOUND => say!("Not found"),
            StatusCode::PAYLOAD_TOO_LARGE => say!("Too large"),
            _ if status.is_server_error() => say!("Something went wrong here"),
            _ => say!("That did not work"),
        };
        let page = ErrorPage { version: &assets::VERSION, heading: &heading, detail: &words::heard(&self.0.detail) };
        self.0.tell_when(render(status, &page))
    }
}

pub type Page = Result<Response, PageError>;

/// `GET /orders`: where a form that was sent is asked for again, in another language for one.
pub async fn to_the_form() -> Response {
    Redirect::to("/").into_response()
}

/// Whatever else is asked for.
pub async fn not_found(uri: axum::http::Uri) -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.");
    if uri.path().starts_with("/api/") { problem.into_response() } else { PageError(problem).into_response() }
}

pub fn channel_view(channel: &crate::channels::Channel) -> ChannelView {
    let config = &channel.config;
    let (available, state) = match channel.availability() {
        Availability::Unknown => (None, say!("is being looked at")),
        Availability::Available(snapshot) => (Some(true), say_n!(snapshot.package_count, "{n} package", "{n} packages")),
        Availability::Unavailable(unavailable) => {
            (Some(false), say!("It cannot be read now: {reason}", reason = words::heard(&unavailable.reason)))
        }
    };
    ChannelView {
        name: config.name.clone(),
        title: config.title.clone(),
        arch: config.arch.clone(),
        description: config.description.clone(),
        available,
        state,
    }
}

pub fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

/// A form that was filled in is there again when its user goes back to it. Without a script “Check” answers a POST, which a browser that may not
/// keep the answer can only show again by sending it again, and asks for that first. What leads on to an order is kept by nobody.
pub async fn can_be_gone_back_to(mut response: Response) -> Response {
    if !response.status().is_redirection() {
        let kept = HeaderValue::from_static("private, no-cache");
        response.headers_mut().entry(header::CACHE_CONTROL).or_insert(kept);
    }
    response
}
