//! The page of one order: how far it is, what came of it, and what can be done with it.

use std::collections::BTreeMap;

use askama::Template;
use attest::DocumentKind;
use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use contract::{Failure, Format, NOBODY_CAN_LOG_IN};

use super::form::FormInput;
use super::order_form::changed_form;
use super::pages::{ChannelView, Page, channel_view, render};
use super::problem::Problem;
use super::{SharedApp, api, assets, query_field, read_body};
use crate::client::{Client, Who};
use crate::clock;
use crate::db::{BuildState, LogLine, ReportRow};
use crate::orders;
use crate::pictures::{Timeline, Treemap};
use crate::remedy::{self, Remedy};
use crate::status::{self, DocumentLink, OrderStatus, SourceStatus, StepState, StepStatus};
use crate::words;

/// Lines of the log on a page; the whole log is a link away.
const LOG_LINES: u32 = 300;
/// Bytes of the small forms of the page.
const MAX_FORM: usize = 4 << 10;
/// Earlier orders of the same user that a comparison is offered with.
const EARLIER: u32 = 5;

#[derive(Template)]
#[template(path = "order.html")]
struct OrderPage<'a> {
    version: &'a str,
    status: &'a OrderStatus,
    log: Vec<LogLine>,
    channel: Option<ChannelView>,
    /// The licences of a ready image, each with the packages under it.
    licences: BTreeMap<String, Vec<String>>,
    treemap: Treemap,
    timeline: Option<Timeline>,
    /// Earlier orders of a user who has shown a token: their identifiers, with what is said of each.
    earlier: Vec<(String, String)>,
    /// Whether there is a certificate to check signatures with.
    signs: bool,
    /// Whether a mail can be asked for.
    may_mail: bool,
    /// The site's key for web push.
    push_key: String,
    /// The site's own address.
    site: &'a str,
    /// What to try after a failure, and what was reported of it.
    remedies: Vec<Remedy>,
    report: Option<ReportRow>,
}

/// `GET /orders/{id}`: the live page.
pub async fn page(State(app): SharedApp, Path(id): Path<String>, client: Client) -> Page {
    let (status, progress) = status::with_progress(&app, &id).await?.ok_or_else(Problem::no_such_order)?;
    // Who waits looks most often.
    let log = if status.may_have_log() { app.db.log_tail(&status.build, LOG_LINES).await? } else { Vec::new() };
    let channel = app.catalogue.channels.get(&status.channel).map(|c| channel_view(c));
    let plan = app.db.plan(&status.build).await?;
    let licences = match status.state {
        BuildState::Ready => attest::licences(&plan),
        _ => BTreeMap::new(),
    };
    let earlier = match &client.who {
        Who::Nobody => Vec::new(),
        Who::Token(_) | Who::Account(_) | Who::Program(_) => {
            app.db.earlier_orders(&id, &client.user(&app.secret), EARLIER).await?
        }
    };
    let page = OrderPage {
        version: &assets::VERSION,
        log,
        channel,
        licences,
        treemap: Treemap::of(&plan.packages),
        timeline: Timeline::of(&status, &progress, clock::exact_now()),
        earlier: earlier.into_iter().map(|(id, title, made)| (id, format!("{title}, {}", clock::timestamp(made)))).collect(),
        signs: app.attestor.certificate().is_some(),
        may_mail: app.mailer.is_some() && !status.mail && !status.state.is_final(),
        push_key: app.push_key.shown(),
        site: &app.public_url,
        remedies: status.failure.as_ref().map(|failure| what_to_try(failure, &status)).unwrap_or_default(),
        report: if status.failure.is_some() { app.db.report_of_order(&id).await? } else { None },
        status: &status,
    };
    Ok(render(StatusCode::OK, &page))
}

/// What to try after a failure of an order.
fn what_to_try(failure: &Failure, status: &OrderStatus) -> Vec<Remedy> {
    // A package that could not be built from source is named as it was asked for.
    let name_of = |text: &str| {
        let of_cpv = gentoo::Cpv::parse(text).map(|cpv| (cpv.category, cpv.package));
        of_cpv.or_else(|_| gentoo::Atom::parse(text).map(|atom| (atom.category, atom.package))).ok()
    };
    let named = failure.package.as_deref().and_then(name_of).and_then(|(category, short)| {
        let full = format!("{category}/{short}");
        // What follows the name in the order, as flags in brackets do, does not matter.
        let means = |word: &&String| gentoo::Atom::parse(word).map_or(**word == short, |atom| atom.to_string().contains(&full));
        status.packages.iter().find(means)
    });
    let mut remedies = remedy::remedies(failure, named.map(String::as_str));
    if status.lacks_packages {
        // There is no plan that would say who needs it, and the site may be able to build it by now.
        remedies.retain(|remedy| !matches!(remedy, Remedy::SeeWhoNeedsIt | Remedy::BuildAgain));
        remedies.insert(remedies.len().saturating_sub(1), Remedy::BuildAgain);
    }
    remedies
}

/// `POST /orders/{id}/cancel`
pub async fn cancel(State(app): SharedApp, Path(id): Path<String>) -> Page {
    api::cancel_order(&app, &id).await?;
    Ok(to_order(&id))
}

/// `POST /orders/{id}/again`: builds again what failed or expired. Done twice it does no harm.
pub async fn again(State(app): SharedApp, client: Client, Path(id): Path<String>) -> Page {
    api::find(&app, &id).await?;
    orders::again(&app, &id, &client).await?;
    Ok(to_order(&id))
}

/// `GET /orders/{id}/change?without=`: the form filled with the order, to be changed and ordered anew; `without` leaves a package out.
pub async fn change(State(app): SharedApp, client: Client, Path(id): Path<String>, RawQuery(query): RawQuery) -> Page {
    let order = app.db.order(&id).await?.ok_or_else(Problem::no_such_order)?;
    let (mut input, lacks) = FormInput::of(&order.request);
    if let Some(word) = query_field(query.as_deref(), "without") {
        let kept: Vec<String> = input.packages().into_iter().filter(|package| *package != word).collect();
        input.packages = kept.join("\n");
    }
    changed_form(&app, &client, input, lacks).await
}

/// `POST /orders/{id}/mail`: a mail is to tell of the end, of an order that named no address yet.
pub async fn mail(State(app): SharedApp, Path(id): Path<String>, body: Body) -> Page {
    let fields = read_body(body, MAX_FORM).await?;
    let email = query_field(std::str::from_utf8(&fields).ok(), "email").unwrap_or_default();
    let mut order = app.db.order(&id).await?.ok_or_else(Problem::no_such_order)?.request;
    order.notify.email = Some(email.trim().to_owned());
    order.check().map_err(orders::Refusal::Invalid)?;
    orders::tell_by_mail(&app, &id, email.trim()).await?;
    Ok(to_order(&id))
}

/// Leads to the page of an order.
pub fn to_order(id: &str) -> Response {
    Redirect::to(&format!("/orders/{id}")).into_response()
}

impl OrderPage<'_> {
    fn is_kept_fresh(&self) -> bool {
        self.status.fresh.as_ref().is_some_and(|fresh| fresh.kept)
    }

    /// It was not replaced by a newer one.
    fn may_be_kept_fresh(&self) -> bool {
        self.status.fresh.as_ref().is_none_or(|fresh| fresh.newest.is_none())
    }

    /// Whether an image of the order would start on a machine, and let nobody in.
    fn lets_nobody_in(&self) -> bool {
        let starts = self.status.artifacts.iter().any(|file| file.artifact.format.is_bootable());
        starts && self.status.messages.iter().any(|message| message == NOBODY_CAN_LOG_IN)
    }

    /// What is said of the image, but for what stands further up.
    fn messages(&self) -> Vec<&String> {
        self.status.messages.iter().filter(|message| *message != NOBODY_CAN_LOG_IN).collect()
    }

    fn is_final(&self) -> bool {
        self.status.state.is_final()
    }

    fn tar(&self) -> Option<&str> {
        Format::ALL.into_iter().filter(|format| format.is_tar()).find_map(|format| self.file(format))
    }

    /// The path of the script that iPXE is told to begin with.
    fn netboot_address(&self) -> Option<&str> {
        self.status.artifacts.iter().find(|d| d.artifact.name.ends_with(".netboot.ipxe")).map(|d| d.url.as_str())
    }

    fn file(&self, format: Format) -> Option<&str> {
        self.status.artifacts.iter().find(|d| d.artifact.format == format).map(|d| d.artifact.name.as_str())
    }

    /// What a document is about, as in “iso with OVMF”.
    fn about(&self, document: &DocumentLink) -> String {
        let about = document.about.as_deref().unwrap_or_default();
        match about.split_once(" with ") {
            Some((format, firmware)) => say!("{format} with {firmware}", format = format, firmware = firmware),
            None => about.to_owned(),
        }
    }

    fn screens(&self) -> impl Iterator<Item = &DocumentLink> {
        self.status.documents.iter().filter(|d| d.kind == DocumentKind::BootScreen)
    }

    /// The name under which a licence is listed.
    fn licence(&self, name: &str) -> String {
        if name.is_empty() { say!("none stated") } else { name.to_owned() }
    }

    fn heading(&self) -> String {
        match self.status.state {
            BuildState::Waiting if self.status.lacks_packages => say!("Your order waits for packages that are built from source"),
            BuildState::Waiting => say!("Your order is in the queue"),
            BuildState::Building => say!("Your image is being built"),
            BuildState::Ready => say!("Your image is ready"),
            BuildState::Failed => say!("Your image could not be built"),
            BuildState::Cancelled => say!("The order was cancelled"),
            BuildState::Expired => say!("Your image was removed"),
        }
    }

    /// The step's name in the API, by which the script finds it.
    fn step_id(&self, step: &StepStatus) -> String {
        serde_json::to_value(step.step).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// What the page is drawn for, so that the script sees when that changes.
    fn waits_for(&self) -> String {
        format!("{} {}", self.status.lacks_packages, self.status.from_source.len())
    }

    /// How far a package is that is built from source, as the state of a step.
    fn source_step(&self, source: &SourceStatus) -> StepState {
        match source.state {
            BuildState::Waiting => StepState::Waiting,
            BuildState::Building => StepState::Running,
            BuildState::Ready | BuildState::Expired => StepState::Done,
            BuildState::Failed | BuildState::Cancelled => StepState::Failed,
        }
    }

    /// What the bar of a step is drawn from: `max`, and `value` unless nothing is known.
    fn bar(&self, step: &StepStatus) -> (u64, Option<u64>) {
        let max = step.total.max(1);
        match step.state {
            StepState::Done => (max, Some(max)),
            StepState::Running if step.total == 0 => (max, None),
            StepState::Running | StepState::Failed | StepState::Waiting => (max, Some(step.done)),
        }
    }

    /// How far a running step is, in words.
    fn share(&self, step: &StepStatus) -> String {
        match (step.state, step.total) {
            (StepState::Running, 1..) => format!("{} %", step.done.saturating_mul(100) / step.total),
            _ => String::new(),
        }
    }

    /// Number and sizes of the packages, in words.
    fn contents(&self) -> String {
        clock::contents(&self.status.summary)
    }

    fn took(&self) -> Option<String> {
        let seconds = self.status.ended?.checked_sub(self.status.started?)?;
        Some(clock::measured(u64::try_from(seconds).ok()?))
    }
}

impl StepState {
    fn name(self) -> &'static str {
        match self {
            StepState::Waiting => "waiting",
            StepState::Running => "running",
            StepState::Done => "done",
            StepState::Failed => "failed",
        }
    }
}
