//! The plan beside the order form: how much it is, when it is ready, and each thing that stands in the way with what mends it.

use std::time::Duration;

use contract::OrderError;
use resolver::{Trouble, TroubleKind};

use super::form::FormInput;
use super::form_packages::word_for;
use crate::app::App;
use crate::channels::Availability;
use crate::orders::Refusal;
use crate::preview::{self, Preview};
use crate::words;

/// So long a page waits for its plan. A channel that is not read yet may take longer; the page is then shown without.
pub const PATIENCE: Duration = Duration::from_millis(1_500);

/// What is known of an order that is being filled in.
pub enum PlanView {
    /// It can be ordered.
    Fine(Box<Preview>),
    /// It cannot, as it is.
    Conflicts(Vec<Conflict>),
    /// It is not worked out yet.
    Pending,
}

/// One thing that stands in the way.
pub struct Conflict {
    /// In words, a sentence or more each.
    pub lines: Vec<String>,
    /// Who needs it, nearest first.
    pub because: Vec<String>,
    /// The identifier of the field it is about.
    pub field: Option<&'static str>,
    pub mends: Vec<Mend>,
}

/// What a button does against a conflict.
#[derive(Debug, PartialEq, Eq)]
pub enum Mend {
    /// Another atom instead of what was typed.
    Take { typed: String, offered: String },
    /// A package less.
    LeaveOut(String),
    /// A format, where none is chosen, or none that fits.
    Format(&'static str),
    /// A field is emptied.
    Empty(&'static str),
    /// It is built from source first, and the order waits for that.
    FromSource,
    /// The channel that works.
    Channel { name: String, title: String },
}

/// Works out what was filled in. A password that will be there is no part of it.
pub async fn plan(app: &App, input: &FormInput, has_password: bool) -> PlanView {
    let worked_out = async {
        let order = input.order(app, None)?;
        preview::preview(app, &order, has_password).await
    };
    match tokio::time::timeout(PATIENCE, worked_out).await {
        Ok(Ok(preview)) => PlanView::Fine(Box::new(preview)),
        Ok(Err(refusal)) => PlanView::Conflicts(conflicts(app, input, &refusal)),
        Err(_) => PlanView::Pending,
    }
}

/// What stands in the way of an order, each with what mends it.
pub fn conflicts(app: &App, input: &FormInput, refusal: &Refusal) -> Vec<Conflict> {
    let plain = |mends| Conflict { lines: lines(&refusal.to_string()), because: Vec::new(), field: None, mends };
    match refusal {
        Refusal::Invalid(error) => vec![wrong_field(error)],
        Refusal::NoPlan(refused) => {
            let troubles = &refused.explanation.troubles;
            let mut conflicts: Vec<Conflict> =
                troubles.iter().map(|trouble| conflict(app, input, &refused.channel, trouble)).collect();
            if let Some(first) = conflicts.first_mut().filter(|_| refused.from_source) {
                first.mends.insert(0, Mend::FromSource);
            }
            conflicts
        }
        Refusal::Unavailable { .. } => {
            let good = app.catalogue.channels.known_good(&input.arch(app), app.catalogue.presets.get(&input.preset));
            let good = good.filter(|channel| channel.config.name != input.channel);
            let mend =
                |c: &crate::channels::Channel| Mend::Channel { name: c.config.name.clone(), title: c.config.title.clone() };
            vec![plain(good.map(|channel| mend(channel)).into_iter().collect())]
        }
        Refusal::QueueFull { .. }
        | Refusal::Closed
        | Refusal::Limited(_)
        | Refusal::TooLarge { .. }
        | Refusal::NotInvited
        | Refusal::KeyReused
        | Refusal::Internal(_) => vec![plain(Vec::new())],
    }
}

fn lines(text: &str) -> Vec<String> {
    text.lines().filter(|line| !line.trim().is_empty()).map(words::heard).collect()
}

/// A field of the form that is not right.
fn wrong_field(error: &OrderError) -> Conflict {
    let (field, mends) = match error.field.as_str() {
        "formats" => ("step-formats", vec![Mend::Format("iso")]),
        "system.root_filesystem" => ("root_filesystem", vec![Mend::Empty("root_filesystem"), Mend::Format("qcow2")]),
        "prefix" => ("prefix", vec![Mend::Empty("prefix")]),
        "channel" => ("step-packages", vec![Mend::Empty("channel")]),
        "preset" => ("step-start", vec![Mend::Empty("preset")]),
        "install_mask" => ("install_mask", vec![Mend::Empty("install_mask")]),
        "packages" => ("packages", Vec::new()),
        "system.hostname" => ("hostname", Vec::new()),
        "system.root_ssh_keys" => ("ssh_keys", Vec::new()),
        "system.root_password_hash" => ("root_password", Vec::new()),
        "system.locale" => ("locale", Vec::new()),
        "system.locales" => ("locales", Vec::new()),
        "system.timezone" => ("timezone", Vec::new()),
        "system.keymap" => ("keymap", Vec::new()),
        "system.services" => ("services", Vec::new()),
        "system.users" => ("user_name", Vec::new()),
        "system.network" => ("network_addresses", Vec::new()),
        "system.kernel_cmdline" => ("kernel_cmdline", Vec::new()),
        "system.fstab" => ("fstab", Vec::new()),
        "system.first_boot" => ("first_boot", Vec::new()),
        "notify.email" => ("email", Vec::new()),
        _ => return Conflict { lines: lines(&error.to_string()), because: Vec::new(), field: None, mends: Vec::new() },
    };
    Conflict { lines: lines(&error.message), because: Vec::new(), field: Some(field), mends }
}

/// What the resolver says is in the way. What the form itself asked for can be changed or left out at once.
fn conflict(app: &App, input: &FormInput, channel: &str, trouble: &Trouble) -> Conflict {
    let packages = input.packages();
    // What the sentences name of the form's own words may be left out.
    let named = |word: &&String| {
        let said = trouble.because.iter().chain([&trouble.advice]).flat_map(|text| text.split_whitespace());
        said.map(|said| said.trim_end_matches([',', '.', ';', ':'])).any(|said| said == word.as_str())
    };
    let subject = word_for(&packages, &trouble.subject);
    let mut mends = Vec::new();
    if let Some(typed) = subject {
        let offered = trouble.offer.iter().cloned().chain(similar(app, channel, trouble));
        mends.extend(offered.map(|offered| Mend::Take { typed: typed.clone(), offered }));
    }
    match subject {
        Some(word) => mends.push(Mend::LeaveOut(word.clone())),
        None => mends.extend(packages.iter().filter(named).map(|word| Mend::LeaveOut(word.clone()))),
    }
    let texts = [trouble.message.as_str(), trouble.advice.as_str()];
    let lines = texts.iter().flat_map(|text| lines(text)).collect();
    Conflict { lines, because: trouble.because.iter().map(words::heard).collect(), field: None, mends }
}

/// Names like that of a package which nobody has.
fn similar(app: &App, channel: &str, trouble: &Trouble) -> Vec<String> {
    if !matches!(trouble.kind, TroubleKind::UnknownPackage | TroubleKind::Request) || trouble.subject.starts_with('@') {
        return Vec::new();
    }
    match app.catalogue.channels.get(channel).map(|channel| channel.availability()) {
        Some(Availability::Available(snapshot)) => snapshot.universe.similar(&trouble.subject),
        _ => Vec::new(),
    }
}

impl PlanView {
    pub fn preview(&self) -> Option<&Preview> {
        match self {
            PlanView::Fine(preview) => Some(preview),
            PlanView::Conflicts(_) | PlanView::Pending => None,
        }
    }

    pub fn conflicts(&self) -> &[Conflict] {
        match self {
            PlanView::Conflicts(conflicts) => conflicts,
            PlanView::Fine(_) | PlanView::Pending => &[],
        }
    }
}
