//! The order form: one page that always shows what the order comes to, and what the buttons of it do. All of it works without JavaScript;
//! the script asks for the same parts of the page while somebody types.

use std::sync::Arc;

use askama::Template;
use axum::body::Body;
use axum::extract::{FromRequest, Multipart, RawQuery, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use contract::{Format, Order, OrderError};
use gentoo::use_desc::FlagDescriptions;

use super::api::MAX_ORDER;
use super::form::{FormInput, Submitted, Upload};
use super::form_system::SHOWN;
use super::import::{self, Imported, Kind};
use super::order_page::to_order;
use super::packages::{self, Hits};
use super::pages::{ChannelView, Page, channel_view, render};
use super::plan_view::{self, Mend, PlanView};
use super::problem::Problem;
use super::{SharedApp, assets, read_body, visit};
use crate::app::App;
use crate::channels::{Availability, Channel, Snapshot};
use crate::client::Client;
use crate::clock;
use crate::db::Gate;
use crate::orders::{self, Refusal};
use crate::presets::Preset;
use crate::preview::{self, AllSums, PresetSums};
use crate::secret;
use crate::sizes::ImageSize;
use crate::words;

#[derive(Template)]
#[template(path = "order_form.html")]
struct OrderFormPage<'a> {
    version: &'a str,
    form: FormView<'a>,
}

/// The parts of the page that change while it is filled in.
#[derive(Template)]
#[template(path = "order_parts.html")]
struct OrderParts<'a> {
    form: FormView<'a>,
}

#[derive(Template)]
#[template(path = "package_hits.html")]
struct HitsPart {
    hits: Hits,
}

/// All that the form shows.
struct FormView<'a> {
    app: &'a App,
    input: &'a FormInput,
    plan: PlanView,
    sums: Arc<AllSums>,
    /// What is wrong with a field.
    error: Option<OrderError>,
    /// The order was sent, and cannot be taken as it is.
    is_refused: bool,
    had_password: bool,
    hits: Option<Hits>,
    /// Of the channel at hand, with how many packages each has.
    categories: Vec<(String, usize)>,
    imported: Vec<Imported>,
    /// What the reader should know first.
    remark: Option<String>,
    /// No orders are taken.
    is_closed: bool,
}

/// `GET /`: the order form. Fields in the query are filled in, so that a link can carry an order.
pub async fn order_form(State(app): SharedApp, client: Client, RawQuery(query): RawQuery) -> Page {
    refresh_channels(&app);
    // A link to another language or look carries no order.
    let mut submitted = match query.as_deref().filter(|query| visit::asks_for_more(query)) {
        Some(query) => FormInput::parse(query.as_bytes()),
        None => Submitted { input: FormInput::fresh(&app), ..Submitted::default() },
    };
    submitted.apply_edits();
    submitted.input.token = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    show(&app, &client, &submitted, Vec::new()).await
}

/// The form filled with an earlier order. `lacks` is what of it the form has no field for.
pub async fn changed_form(app: &Arc<App>, client: &Client, mut input: FormInput, lacks: Vec<String>) -> Page {
    input.token = secret::token::<16>().map_err(|e| Problem::internal(&e))?;
    let submitted = Submitted { input, ..Submitted::default() };
    let remark =
        (!lacks.is_empty()).then(|| say!("Of the earlier order, this form cannot hold: {what}.", what = lacks.join(", ")));
    let form = FormView { remark, ..worked_out(app, client, &submitted).await? };
    Ok(render(StatusCode::OK, &OrderFormPage { version: &assets::VERSION, form }))
}

/// `POST /orders/form`: the form anew, with what a button changes, what a file brings, what was looked for, and what it all comes to.
pub async fn form_anew(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Page {
    let mut submitted = read_form(&headers, body).await?;
    submitted.apply_edits();
    let imported = import_files(&app, &mut submitted).await?;
    show(&app, &client, &submitted, imported).await
}

/// `POST /orders/parts`: the same as parts of a page, for the script.
pub async fn parts(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let mut submitted = read_form(&headers, body).await?;
    app.may_preview(&client.user(&app.secret)).await?;
    submitted.apply_edits();
    let form = FormView::new(&app, &submitted, plan(&app, &submitted).await);
    Ok(render(StatusCode::OK, &OrderParts { form }))
}

/// `POST /orders/hits`: the packages that the search finds, as a part of the page.
pub async fn hits(State(app): SharedApp, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let submitted = read_form(&headers, body).await?;
    let hits = look_up(&app, &submitted).await?;
    Ok(hits.map_or_else(|| StatusCode::NO_CONTENT.into_response(), |hits| render(StatusCode::OK, &HitsPart { hits })))
}

/// `POST /orders/file`: the order as a file, without what is secret.
pub async fn file(State(app): SharedApp, headers: HeaderMap, body: Body) -> Page {
    let submitted = read_form(&headers, body).await?;
    let order = submitted.input.draft(&app, None).map_err(Refusal::from)?;
    let order = Order { notify: contract::Notify::default(), ..orders::without_secrets(&order) };
    let text = toml::to_string(&order).map_err(|e| Problem::internal(&e))?;
    let name = format!("attachment; filename=\"{}.toml\"", order.preset.as_deref().unwrap_or("order"));
    let name = HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment; filename=\"order.toml\""));
    let kind = HeaderValue::from_static("application/toml; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], text).into_response())
}

/// `POST /orders`: takes the form, and leads to the order's page or shows the form again.
pub async fn place_order(State(app): SharedApp, client: Client, headers: HeaderMap, body: Body) -> Page {
    let mut submitted = read_form(&headers, body).await?;
    let had_password = submitted.has_password();
    let imported = import_files(&app, &mut submitted).await?;
    // Whoever chose a file to begin with looks at what it brought before it is ordered; keys are taken as they are.
    if imported.iter().any(|file| file.kind != Kind::Key || !file.left.is_empty()) {
        submitted.had_password |= had_password;
        return show(&app, &client, &submitted, imported).await;
    }
    let refusal = match take(&app, client, &mut submitted).await {
        Ok(order) => return Ok(to_order(&order)),
        Err(Refusal::Internal(error)) => return Err(Problem::internal(error.as_ref()).into()),
        Err(refusal) => refusal,
    };
    let conflicts = plan_view::conflicts(&app, &submitted.input, &refusal);
    let mut form = FormView::new(&app, &submitted, PlanView::Conflicts(conflicts));
    form.sums = preview::presets(&app).await?;
    (form.is_refused, form.had_password) = (true, had_password);
    if let Refusal::Invalid(error) = &refusal {
        form.error = Some(OrderError::new(&error.field, words::heard(&error.message)));
    }
    let status = Problem::from(refusal).status();
    Ok(render(status, &OrderFormPage { version: &assets::VERSION, form }))
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
    let order = Order { from_source: submitted.from_source, ..submitted.input.order(app, password_hash)? };
    match (orders::place(app, &order, client, key.as_deref()).await, key) {
        // The same form came twice at once, and the other was first. The salt of the password makes them differ.
        (Err(Refusal::KeyReused), Some(key)) => orders::order_of_form(app, &key).await?.ok_or(Refusal::KeyReused),
        (taken, _) => Ok(taken?.order),
    }
}

/// The page, with what the form comes to.
async fn show(app: &Arc<App>, client: &Client, submitted: &Submitted, imported: Vec<Imported>) -> Page {
    let form = FormView { imported, ..worked_out(app, client, submitted).await? };
    Ok(render(StatusCode::OK, &OrderFormPage { version: &assets::VERSION, form }))
}

/// The form, with what it comes to.
async fn worked_out<'a>(app: &'a Arc<App>, client: &Client, submitted: &'a Submitted) -> Result<FormView<'a>, Problem> {
    let plan = match app.may_preview(&client.user(&app.secret)).await {
        Ok(()) => plan(app, submitted).await,
        Err(refusal) => PlanView::Conflicts(plan_view::conflicts(app, &submitted.input, &refusal)),
    };
    let mut form = FormView::new(app, submitted, plan);
    form.is_closed = app.held().await?.gate() == Gate::Draining;
    form.sums = preview::presets(app).await?;
    form.hits = look_up(app, submitted).await?;
    form.categories = categories(app, submitted).await;
    form.had_password = submitted.had_password || submitted.has_password();
    Ok(form)
}

async fn plan(app: &App, submitted: &Submitted) -> PlanView {
    plan_view::plan(app, &submitted.input, submitted.had_password || submitted.has_password()).await
}

/// What the package search finds; none where nothing was looked for, or nothing can be read.
async fn look_up(app: &App, submitted: &Submitted) -> Result<Option<Hits>, Problem> {
    let (search, category) = (submitted.search.clone(), submitted.category.clone());
    if search.trim().is_empty() && category.is_empty() {
        return Ok(None);
    }
    let Some((channel, snapshot)) = at_hand(app, &submitted.input).await else { return Ok(None) };
    let (words, chosen) = (app.flag_words.clone(), submitted.input.packages());
    let found = move || {
        let meanings = channel.repository().map_or_else(|| Arc::new(FlagDescriptions::default()), |path| words.of(&path));
        packages::look_up(&snapshot.universe, &meanings, &search, &category, &chosen)
    };
    tokio::task::spawn_blocking(found).await.map(Some).map_err(|e| Problem::internal(&e))
}

async fn categories(app: &App, submitted: &Submitted) -> Vec<(String, usize)> {
    let Some((_, snapshot)) = at_hand(app, &submitted.input).await else { return Vec::new() };
    snapshot.universe.categories().into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// The channel that the form is served from, if it can be read soon.
async fn at_hand(app: &App, input: &FormInput) -> Option<(Arc<Channel>, Arc<Snapshot>)> {
    let order = Order {
        arch: input.arch(app),
        channel: Some(input.channel.clone()).filter(|name| !name.is_empty()),
        preset: Some(input.preset.clone()).filter(|name| !name.is_empty()),
        ..Order::default()
    };
    let read = async {
        let channel = app.catalogue.channel_of(&order).await.ok()?;
        let snapshot = channel.snapshot().await.ok()?;
        Some((channel, snapshot))
    };
    tokio::time::timeout(plan_view::PATIENCE, read).await.ok().flatten()
}

/// Puts the files that came along into the form.
async fn import_files(app: &App, submitted: &mut Submitted) -> Result<Vec<Imported>, Problem> {
    let files = std::mem::take(&mut submitted.files);
    let mut imported = Vec::new();
    for file in files.iter().filter(|file| !file.bytes.is_empty()) {
        let known = at_hand(app, &submitted.input).await;
        let universe = known.as_ref().map(|(_, snapshot)| &snapshot.universe);
        imported.push(import::import(app, &mut submitted.input, file, universe));
    }
    Ok(imported)
}

/// The form as a browser sends it, with files or without.
async fn read_form(headers: &HeaderMap, body: Body) -> Result<Submitted, Problem> {
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let begins = |text: &str| kind.as_ref().and_then(|v| v.to_str().ok()).is_some_and(|kind| kind.starts_with(text));
    if begins("application/x-www-form-urlencoded") {
        return Ok(FormInput::parse(&read_body(body, MAX_ORDER).await?));
    }
    let Some(kind) = kind.as_ref().filter(|_| begins("multipart/form-data")) else {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "This address takes the order form; programs use /api/v1/orders.",
        ));
    };
    let bytes = read_body(body, MAX_ORDER).await?;
    let mut request = Request::new(Body::from(bytes));
    request.headers_mut().insert(header::CONTENT_TYPE, kind.clone());
    let broken = |e: &dyn std::fmt::Display| Problem::new(StatusCode::BAD_REQUEST, format!("The form is not understood: {e}."));
    let mut fields = Multipart::from_request(request, &()).await.map_err(|e| broken(&e))?;
    let mut submitted = Submitted::default();
    while let Some(field) = fields.next_field().await.map_err(|e| broken(&e))? {
        let name = field.name().unwrap_or_default().to_owned();
        let file = field.file_name().map(str::to_owned);
        let bytes = field.bytes().await.map_err(|e| broken(&e))?;
        match file {
            Some(file) => submitted.files.push(Upload { field: name, name: file, bytes: bytes.to_vec() }),
            None => submitted.take(&name, String::from_utf8_lossy(&bytes).into_owned()),
        }
    }
    Ok(submitted)
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

impl<'a> FormView<'a> {
    fn new(app: &'a App, submitted: &'a Submitted, plan: PlanView) -> FormView<'a> {
        FormView {
            app,
            input: &submitted.input,
            plan,
            sums: Arc::default(),
            error: None,
            is_refused: false,
            had_password: submitted.had_password,
            hits: None,
            categories: Vec::new(),
            imported: Vec::new(),
            remark: None,
            is_closed: false,
        }
    }

    /// What is wrong with a field, by its name in an order.
    fn error_of(&self, field: &str) -> Option<&str> {
        self.error.as_ref().filter(|e| e.field == field).map(|e| e.message.as_str())
    }

    /// Whether anything is wrong in a step of the form.
    fn is_wrong(&self, step: &str) -> bool {
        let of_step = |field: &str| match step {
            "packages" => matches!(field, "packages" | "channel" | "prefix" | "install_mask"),
            "formats" => field == "formats",
            "notice" => field == "notify.email",
            _ => field.starts_with("system") || SHOWN.contains(&field),
        };
        self.error.as_ref().is_some_and(|error| of_step(&error.field))
    }

    fn chips(&self) -> Vec<String> {
        self.input.packages()
    }

    /// The presets by their arch, the arch of the one that is chosen first.
    fn arches(&self) -> Vec<(&str, Vec<&Preset>)> {
        let mut arches: Vec<(&str, Vec<&Preset>)> = Vec::new();
        for preset in self.app.catalogue.presets.all() {
            match arches.iter_mut().find(|(arch, _)| *arch == preset.arch) {
                Some((_, presets)) => presets.push(preset),
                None => arches.push((&preset.arch, vec![preset])),
            }
        }
        arches.sort_by_key(|(arch, _)| self.preset().is_some_and(|preset| preset.arch != *arch));
        arches
    }

    /// The preset that is chosen.
    fn preset(&self) -> Option<&Preset> {
        self.app.catalogue.presets.get(&self.input.preset)
    }

    fn channels(&self) -> Vec<ChannelView> {
        self.app.catalogue.channels.all().iter().map(|channel| channel_view(channel)).collect()
    }

    fn sum(&self, preset: &Preset) -> Option<&PresetSums> {
        self.sums.get(&preset.name)
    }

    /// What stands below a preset on its card.
    fn card_foot(&self, preset: &Preset) -> String {
        let Some(sum) = self.sum(preset) else {
            if let Some(channel) = self.unreadable_channel(preset) {
                return say!("not available now: the channel “{channel}” cannot be read", channel = channel);
            }
            return say_n!(preset.packages.len(), "{n} package named", "{n} packages named");
        };
        let size = clock::size(sum.summary.download_size);
        let mut parts = vec![
            say_n!(sum.summary.packages, "{n} package", "{n} packages"),
            say!("{size} of package files", size = size),
            say!("{size} installed", size = clock::size(sum.summary.installed_size)),
        ];
        parts.extend(sum.images.first().map(ImageSize::words));
        if !sum.at_hand {
            parts.push(say!("made in {time}", time = clock::duration(sum.build_seconds)));
        }
        parts.join(" · ")
    }

    /// The title of the channel that a preset is for, where the last attempt to read it failed.
    fn unreadable_channel(&self, preset: &Preset) -> Option<&str> {
        let channels = &self.app.catalogue.channels;
        let channel = channels.get(channels.of_preset(preset)?)?;
        matches!(channel.availability(), Availability::Unavailable(_)).then_some(channel.config.title.as_str())
    }

    /// What it comes to, in one line.
    fn said(&self) -> String {
        let Some(plan) = self.plan.preview() else { return say!("Not worked out yet") };
        let packages = say_n!(plan.summary.packages, "{n} package", "{n} packages");
        let when = match plan.ready_in() {
            _ if plan.at_hand => say!("ready now"),
            Some(time) => say!("ready in {time}", time = time),
            None => say!("time not known"),
        };
        format!("{packages}, {}, {when}", clock::size(plan.summary.download_size))
    }

    fn formats_of(&self, preset: &Preset) -> String {
        preset.formats.iter().map(|format| format.name()).collect::<Vec<_>>().join(" ")
    }

    /// The longest path a prefix may have on any channel; `None` where no channel has packages for one.
    fn prefix_limit(&self) -> Option<usize> {
        self.app.catalogue.channels.all().iter().filter_map(|c| Some(c.config.prefix.as_ref()?.built_at.len())).max()
    }

    fn wants(&self, format: Format) -> bool {
        self.input.formats.iter().any(|f| f == format.name())
    }

    /// Whether a channel is the one asked for.
    fn is_chosen(&self, channel: &ChannelView) -> bool {
        channel.name == self.input.channel || self.app.catalogue.channels.all().len() == 1
    }

    fn mail(&self) -> bool {
        self.app.mailer.is_some()
    }

    fn search(&self) -> &str {
        self.hits.as_ref().map_or("", |hits| &hits.search)
    }

    fn is_category(&self, name: &str) -> bool {
        self.hits.as_ref().is_some_and(|hits| hits.category == name)
    }

    /// What is set of the system, as it was typed.
    fn set(&self) -> Vec<&str> {
        let input = self.input;
        let all = [
            &input.hostname,
            &input.system.user_name,
            &input.locale,
            &input.timezone,
            &input.keymap,
            &input.services,
            &input.system.network_addresses,
            &input.system.root_filesystem,
        ];
        all.into_iter().map(|value| value.trim()).filter(|value| !value.is_empty()).collect()
    }

    /// Whether the image would start on a machine, and let nobody in.
    fn lets_nobody_in(&self) -> bool {
        let starts = Format::ALL.into_iter().any(|format| format.is_bootable() && self.wants(format));
        let keys = [&self.input.ssh_keys, &self.input.system.user_ssh_keys];
        starts && !self.had_password && keys.iter().all(|keys| keys.trim().is_empty())
    }

    fn has_system(&self) -> bool {
        !self.set().is_empty() || !self.input.ssh_keys.trim().is_empty() || !self.input.system.is_empty()
    }

    /// Whether the settings that few need are shown.
    fn has_more(&self) -> bool {
        let system = &self.input.system;
        let user = [&system.user_name, &system.user_groups, &system.user_ssh_keys];
        user.iter().all(|value| value.is_empty()) && !system.is_empty() || !self.input.install_mask.is_empty()
    }
}
