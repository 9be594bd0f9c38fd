//! The pages for people, made on the server; they work without JavaScript.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::{Format, OrderError};

use super::api::MAX_ORDER;
use super::form::{FormInput, Submitted, word_for};
use super::form_system::SHOWN;
use super::problem::Problem;
use super::{SharedApp, assets, read_body};
use crate::app::App;
use crate::channels::Availability;
use crate::client::Client;
use crate::orders::{self, Refusal};
use crate::presets::Preset;
use crate::secret;

#[derive(Template)]
#[template(path = "order_form.html")]
struct OrderForm<'a> {
    version: &'a str,
    presets: &'a [Preset],
    channels: Vec<ChannelView>,
    input: &'a FormInput,
    error: Option<OrderError>,
    trouble: Trouble,
    mail: bool,
}

/// Why an order could not be taken as it is.
#[derive(Default)]
struct Trouble {
    /// One sentence or more a line.
    lines: Vec<String>,
    offers: Vec<Offer>,
    /// A password was typed, and is not kept.
    had_password: bool,
}

/// A build that can be had instead of one that was asked for.
struct Offer {
    typed: String,
    offered: String,
}

/// A channel as the form shows it.
pub struct ChannelView {
    name: String,
    pub title: String,
    arch: String,
    pub description: String,
    /// `None` while it was not read.
    available: Option<bool>,
    /// What is known of it, in words.
    state: String,
    /// Its packages are for a prefix, whose path may have so many characters.
    prefix_limit: Option<usize>,
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
        render(status, &ErrorPage { version: &assets::VERSION, heading: &heading, detail: &self.0.detail })
    }
}

pub type Page = Result<Response, PageError>;

/// `GET /`: the order form. Fields in the query are filled in, so that a link can carry an order.
pub async fn order_form(State(app): SharedApp, RawQuery(query): RawQuery) -> Page {
    refresh_channels(&app);
    let mut input = match query.as_deref().filter(|q| !q.is_empty()) {
        Some(query) => FormInput::parse(query.as_bytes()).input,
        None => FormInput::fresh(&app),
    };
    input.token = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    Ok(form(&app, StatusCode::OK, &input, None, Trouble::default()))
}

/// The form filled with an earlier order. `lacks` is what of it the form has no field for.
pub fn changed_form(app: &App, mut input: FormInput, lacks: Vec<String>) -> Page {
    input.token = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    let lines = match lacks.is_empty() {
        true => Vec::new(),
        false => vec![say!("Of the earlier order, this form cannot hold: {what}.", what = lacks.join(", "))],
    };
    Ok(form(app, StatusCode::OK, &input, None, Trouble { lines, ..Trouble::default() }))
}

/// `GET /orders`: where a form that was sent is asked for again, in another language for one.
pub async fn to_the_form() -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, "/")]).into_response()
}

/// `POST /orders`: takes the form, and leads to the order's page or shows the form again.
pub async fn place_order(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Page {
    let form_type = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if !form_type.starts_with("application/x-www-form-urlencoded") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "This address takes the order form; programs use /api/v1/orders.",
        )
        .into());
    }
    let bytes = read_body(body, MAX_ORDER).await?;
    let mut submitted = FormInput::parse(&bytes);
    let had_password = submitted.has_password();
    match take(&app, client, &mut submitted).await {
        Ok(order) => Ok((StatusCode::SEE_OTHER, [(header::LOCATION, format!("/orders/{order}"))]).into_response()),
        Err(Refusal::Invalid(error)) => {
            Ok(form(&app, StatusCode::UNPROCESSABLE_ENTITY, &submitted.input, Some(error), Trouble::default()))
        }
        Err(Refusal::Internal(error)) => Err(Problem::internal(error.as_ref()).into()),
        Err(refusal) => {
            let lines = refusal.to_string().lines().map(str::to_owned).collect();
            let trouble = Trouble { lines, offers: offers(&refusal, &submitted.input), had_password };
            let status = Problem::from(refusal).status();
            Ok(form(&app, status, &submitted.input, None, trouble))
        }
    }
}

/// The nearest builds there are, for what the form itself asked for.
fn offers(refusal: &Refusal, input: &FormInput) -> Vec<Offer> {
    let Refusal::NoPlan(refused) = refusal else {
        return Vec::new();
    };
    let packages = input.packages();
    let offers = refused.explanation.troubles.iter().filter_map(|trouble| {
        let typed = word_for(&packages, &trouble.subject)?.clone();
        Some(Offer { typed, offered: trouble.offer.clone()? })
    });
    offers.collect()
}

async fn take(app: &App, client: Client, submitted: &mut Submitted) -> Result<String, Refusal> {
    submitted.take_offer()?;
    let key = submitted.input.key();
    if let Some(key) = &key
        && let Some(earlier) = orders::order_of_form(app, key).await?
    {
        return Ok(earlier);
    }
    let password_hash = submitted.password_hash().await?;
    let order = submitted.input.order(app, password_hash)?;
    match (orders::place(app, &order, client, key.as_deref()).await, key) {
        // The same form came twice at once, and the other was first. The salt of the password makes them differ.
        (Err(Refusal::KeyReused), Some(key)) => orders::order_of_form(app, &key).await?.ok_or(Refusal::KeyReused),
        (taken, _) => Ok(taken?.order),
    }
}

/// Whatever else is asked for.
pub async fn not_found(uri: axum::http::Uri) -> Response {
    let problem = Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.");
    if uri.path().starts_with("/api/") { problem.into_response() } else { PageError(problem).into_response() }
}

fn form(app: &App, status: StatusCode, input: &FormInput, error: Option<OrderError>, trouble: Trouble) -> Response {
    let channels = app.catalogue.channels.all().iter().map(|c| channel_view(c)).collect();
    let presets = app.catalogue.presets.all();
    let page = OrderForm { version: &assets::VERSION, presets, channels, input, error, trouble, mail: app.mailer.is_some() };
    render(status, &page)
}

pub fn channel_view(channel: &crate::channels::Channel) -> ChannelView {
    let config = &channel.config;
    let (available, state) = match channel.availability() {
        Availability::Unknown => (None, "is being looked at".to_owned()),
        Availability::Available(snapshot) => (Some(true), format!("{} packages", snapshot.package_count)),
        Availability::Unavailable(unavailable) => (Some(false), format!("It cannot be read now: {}", unavailable.reason)),
    };
    ChannelView {
        name: config.name.clone(),
        title: config.title.clone(),
        arch: config.arch.clone(),
        description: config.description.clone(),
        available,
        state,
        prefix_limit: config.prefix.as_ref().map(|prefix| prefix.built_at.len()),
    }
}

/// Has channels read again whose indexes are old; the page does not wait for it.
fn refresh_channels(app: &Arc<App>) {
    for channel in app.catalogue.channels.all().iter().filter(|c| !c.is_fresh()) {
        let channel = channel.clone();
        tokio::spawn(async move {
            // The outcome is kept in the channel and logged there.
            let _ = channel.snapshot().await;
        });
    }
}

pub fn render(status: StatusCode, page: &impl Template) -> Response {
    match page.render() {
        Ok(html) => (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        Err(error) => Problem::internal(&error).into_response(),
    }
}

impl OrderForm<'_> {
    /// What is wrong with a field, by its name in an order.
    fn error_of(&self, field: &str) -> Option<&str> {
        self.error.as_ref().filter(|e| e.field == field).map(|e| e.message.as_str())
    }

    /// An error that belongs to none of the fields shown.
    fn other_error(&self) -> Option<String> {
        let shown = [
            "preset",
            "channel",
            "packages",
            "prefix",
            "formats",
            "system.hostname",
            "system.root_password_hash",
            "system.root_ssh_keys",
            "system.locale",
            "system.timezone",
            "system.keymap",
            "system.services",
            "install_mask",
            "notify.email",
        ];
        self.error.as_ref().filter(|e| !shown.iter().chain(SHOWN).any(|field| *field == e.field)).map(|e| e.to_string())
    }

    /// The longest path a prefix may have on any channel; `None` where no channel has packages for one.
    fn prefix_limit(&self) -> Option<usize> {
        self.channels.iter().filter_map(|c| c.prefix_limit).max()
    }

    fn wants(&self, format: Format) -> bool {
        self.input.formats.iter().any(|f| f == format.name())
    }

    /// Whether a channel is the one asked for.
    fn is_chosen(&self, channel: &ChannelView) -> bool {
        channel.name == self.input.channel || self.channels.len() == 1
    }
}
