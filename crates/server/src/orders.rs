//! Placing orders: plan, join or queue, keep.

use contract::hash::FieldHasher;
use contract::{Format, Notify, Order, OrderError, Plan, PlannedPackage, System};

use crate::app::App;
use crate::catalogue::Planned;
use crate::client::Client;
use crate::clock;
use crate::db::{Access, Again, Gate, Lacking, NewBuild, NewOrder, NewPromise, Placed};
use crate::demands;
use crate::lacking::{self, Sources};
use crate::limits::Limited;
use crate::outlook::Outlook;
use crate::planner::PlanRefused;
use crate::secret::{self, NoRandomness};
use crate::source_builds;
use crate::words;
use crate::work::{self, work_of};

/// Why an order was not taken, for the person who placed it.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Invalid(#[from] OrderError),
    #[error("{reason}{}", advice.as_deref().map(|a| format!(" {a}")).unwrap_or_default())]
    Unavailable {
        reason: String,
        advice: Option<String>,
        /// The reason with the paths of this machine, for its operator.
        in_full: String,
    },
    #[error(transparent)]
    NoPlan(#[from] PlanRefused),
    #[error("{waiting} images wait to be built already, which is all this site takes; please order again later")]
    QueueFull { waiting: u64 },
    #[error("this site takes no orders at the moment; what was ordered is still built. Please order again later")]
    Closed,
    #[error(transparent)]
    Limited(#[from] Limited),
    #[error("the system would take {wanted} as installed, and this site makes none above {most}; order fewer packages")]
    TooLarge { wanted: String, most: String },
    #[error(
        "this site is on trial: only invited users can order. Log in at /log-in, with the token that the operator gave you or as whom they invited, or show the token as “Authorization: Bearer”"
    )]
    NotInvited,
    #[error("this idempotency key was used before for another order; send a new one")]
    KeyReused,
    #[error("the site has an error of its own and could not take the order; it was logged, please try again later")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Refusal::Internal(Box::new(error))
    }
}

impl From<NoRandomness> for Refusal {
    fn from(error: NoRandomness) -> Self {
        Refusal::Internal(Box::new(error))
    }
}

/// The order that a request led to.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// The secret-bearing identifier.
    pub order: String,
    /// The same request had come before.
    pub repeated: bool,
}

/// A planned order, and what its build is kept as.
pub struct Prepared {
    /// The identifier of the build, if it becomes one of its own.
    pub id: String,
    pub planned: Planned,
    join_key: String,
    image_name: String,
    notice: String,
    formats: Vec<Format>,
    pub work: queue::Work,
    sketch: queue::Sketch,
    lacking: Option<Lacking>,
}

impl Prepared {
    pub fn new(planned: Planned, order: &Order) -> Result<Prepared, Refusal> {
        let mut formats = order.formats.clone();
        formats.sort();
        Ok(Prepared {
            id: secret::token::<8>()?,
            join_key: join_key(&planned.plan, order, &formats)?,
            image_name: planned.image_name(order),
            notice: planned.notice(),
            work: work_of(&planned.plan.summary, &formats),
            sketch: queue::Sketch::of(planned.plan.packages.iter().map(|package| (number_of(package), package.size))),
            formats,
            lacking: None,
            planned,
        })
    }

    /// An order that is planned when these builds from source are there. `work` is what there will be to do, as far as is known.
    pub fn lacking(planned: Planned, order: &Order, work: queue::Work, sources: Sources) -> Result<Prepared, Refusal> {
        let order_kept = Order { system: System::default(), notify: Notify::default(), ..order.clone() };
        let text = |value: &Order| serde_json::to_string(value).map_err(|e| Refusal::Internal(Box::new(e)));
        let whole = text(&Order { notify: Notify::default(), ..order.clone() })?;
        let join_key = hash("hatchery lacking 1", [env!("CARGO_PKG_VERSION"), &whole]);
        let lacking = Some(Lacking { order: order_kept, sources: sources.builds, word: sources.word });
        Ok(Prepared { join_key, work, lacking, ..Prepared::new(planned, order)? })
    }

    /// The same, with what is left to do for the worker that is likely to get it.
    pub async fn expected(mut self, app: &App) -> Result<Prepared, Refusal> {
        self.work = self.left_to(&work::known_by_workers(app).await?);
        Ok(self)
    }

    /// What is left to do where these are the workers.
    pub fn left_to(&self, workers: &[queue::Known]) -> queue::Work {
        work::left_to_the_best(&self.work, &self.sketch, workers)
    }

    /// The build to be queued, if there is no equal one.
    pub fn build<'a>(&'a self, order: &'a Order) -> NewBuild<'a> {
        NewBuild {
            id: &self.id,
            join_key: &self.join_key,
            channel: &self.planned.channel.config.name,
            image_name: &self.image_name,
            notice: &self.notice,
            formats: &self.formats,
            system: &order.system,
            plan: &self.planned.plan,
            work: &self.work,
            sketch: &self.sketch,
            lacking: self.lacking.as_ref(),
        }
    }
}

/// Stands for a package's file, to tell which workers have it. Two that were taken for one would cost some time, and nothing else.
fn number_of(package: &PlannedPackage) -> u64 {
    let (size, time) = (package.size.to_string(), package.build_time.to_string());
    let hash = hash("hatchery package file", [package.binhost.as_str(), &package.path, &size, &time]);
    hash.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

/// Takes an order. With an idempotency key, the same request again leads to the same order.
pub async fn place(app: &App, order: &Order, client: Client, idempotency_key: Option<&str>) -> Result<Taken, Refusal> {
    let key = idempotency_key.map(|key| hash("hatchery idempotency key", [key]));
    let request_hash = request_hash(order)?;
    if let Some(key) = &key
        && let Some(earlier) = app.db.repeated(key, &request_hash).await?
    {
        return answer(app, earlier, String::new());
    }
    if app.db.gate().await? == Gate::Draining {
        return Err(Refusal::Closed);
    }
    if !client.who.is_invited(&app.config) && app.db.access().await? == Access::Invited {
        return Err(Refusal::NotInvited);
    }
    let user = client.user(&app.secret);
    app.may_plan(&user).await?;
    app.may_order(&user).await?;
    let prepared = match app.catalogue.plan(order).await {
        Ok(planned) => {
            check_size(app, &planned.plan)?;
            Prepared::new(planned, order)?.expected(app).await?
        }
        Err(Refusal::NoPlan(refused)) => {
            let unmet = &refused.explanation.unmet_wishes;
            app.db.count_wishes(&refused.channel, unmet).await?;
            demands::note(app, &refused.channel, order, unmet).await?;
            if let Err(error) = source_builds::ask_unasked(app, &refused.channel, unmet).await {
                tracing::warn!(%error, "what an order lacked is not built");
            }
            lacking::prepare(app, order, refused).await?
        }
        Err(other) => return Err(other),
    };
    let (order_id, address_token) = (secret::token::<20>()?, secret::token::<20>()?);
    let account = client.who.account();
    let own_email = account.filter(|account| account.tell && app.mailer.is_some()).and_then(|account| account.email.as_deref());
    let new_order = NewOrder {
        id: &order_id,
        title: &prepared.planned.title,
        request: &without_secrets(order),
        email: order.notify.email.as_deref().or(own_email),
        address_token: &address_token,
        ask: app.config.mail.as_ref().is_some_and(|mail| mail.confirm),
        webhook: order.notify.webhook.as_deref(),
        browsers_of: None,
        user: &user,
        account: account.map(|account| account.id.as_str()),
        language: words::language(),
        idempotency_key: key.as_deref(),
        request_hash: &request_hash,
        // Others may have ordered while this was planned.
        most: Some(&app.most()),
    };
    let placed = app.db.place(&new_order, &prepared.build(order)).await?;
    if let Placed::New { build, joined } = &placed {
        tracing::info!(order = number(&order_id), build = %build, joined, channel = %prepared.planned.channel.config.name, "order taken");
        app.bus.state_changed(build);
        promise(app, &[(order_id.clone(), build.clone())], &*app.outlook().await?).await?;
        // What it lacked was noted above.
        if prepared.lacking.is_none() {
            demands::note(app, &prepared.planned.channel.config.name, order, &[]).await?;
        }
    }
    answer(app, placed, order_id)
}

/// Whether the site makes systems so large.
pub fn check_size(app: &App, plan: &Plan) -> Result<(), Refusal> {
    let (wanted, most) = (plan.summary.installed_size, app.config.limits.max_installed_bytes);
    if wanted > most {
        return Err(Refusal::TooLarge { wanted: clock::size(wanted), most: clock::size(most) });
    }
    Ok(())
}

/// Has an order's build made again that failed or expired. Whether there was anything to make again.
pub async fn again(app: &App, order: &str, client: &Client) -> Result<bool, Refusal> {
    if app.db.gate().await? == Gate::Draining {
        return Err(Refusal::Closed);
    }
    app.may_plan(&client.user(&app.secret)).await?;
    let build = match app.db.order_again(order, &app.most_again()).await? {
        Again::Queued(build) => build,
        Again::Nothing => return Ok(false),
        Again::TooMany(reached) => return Err(app.too_many(reached)),
    };
    tracing::info!(order = number(order), build, "to be built again");
    app.bus.state_changed(&build);
    promise(app, &[(order.to_owned(), build)], &*app.outlook().await?).await?;
    Ok(true)
}

/// Has mail tell of an order's end. One that named an address already keeps it.
pub async fn tell_by_mail(app: &App, order: &str, email: &str) -> Result<(), Refusal> {
    let ask = app.config.mail.as_ref().is_some_and(|mail| mail.confirm);
    if app.db.tell_by_mail(order, email, &secret::token::<20>()?, ask).await? {
        tracing::info!(order = number(order), "a mail is to tell of the end");
        app.bus.notices.notify_one();
    }
    Ok(())
}

/// Keeps what orders (each with its build) are told of when they will be ready, to be compared with what comes. An outlook that does not know
/// an order yet, or no worker, promises nothing; the next one will.
pub async fn promise(app: &App, orders: &[(String, String)], outlook: &Outlook) -> crate::db::Result<()> {
    let mut told = Vec::new();
    for (order, build) in orders {
        let (work_before, ranges) = (outlook.work_before(build), outlook.ready(build));
        if ranges.is_some() || work_before.is_some_and(|seconds| seconds > 0.0) {
            told.push(NewPromise { order, build, work_before, ranges });
        }
    }
    if told.is_empty() { Ok(()) } else { app.db.promise(&told).await }
}

/// The order that the form with this key led to before, if any.
pub async fn order_of_form(app: &App, key: &str) -> Result<Option<String>, Refusal> {
    Ok(app.db.order_of_key(&hash("hatchery idempotency key", [key])).await?)
}

fn answer(app: &App, placed: Placed, order: String) -> Result<Taken, Refusal> {
    match placed {
        Placed::New { .. } => Ok(Taken { order, repeated: false }),
        Placed::Repeated { order } => Ok(Taken { order, repeated: true }),
        Placed::KeyReused => Err(Refusal::KeyReused),
        Placed::TooMany(reached) => Err(app.too_many(reached)),
    }
}

/// What makes two orders' images equal: the plan, the formats, the personal settings, and the version that writes them.
fn join_key(plan: &Plan, order: &Order, formats: &[Format]) -> Result<String, Refusal> {
    let system = serde_json::to_string(&order.system).map_err(|e| Refusal::Internal(Box::new(e)))?;
    let formats: Vec<&str> = formats.iter().map(|f| f.name()).collect();
    Ok(hash("hatchery join key 1", [env!("CARGO_PKG_VERSION"), &plan.hash().0, &system].into_iter().chain(formats)))
}

fn request_hash(order: &Order) -> Result<String, Refusal> {
    let text = serde_json::to_string(order).map_err(|e| Refusal::Internal(Box::new(e)))?;
    Ok(hash("hatchery order request", [text.as_str()]))
}

/// The number under which logs know an order. The identifier itself is a secret; from this nobody finds it.
pub fn number(order: &str) -> String {
    hash("hatchery order number", [order]).chars().take(12).collect()
}

/// A hash of texts, none of which can be taken for a part of another.
pub(crate) fn hash<'a>(domain: &str, fields: impl IntoIterator<Item = &'a str>) -> String {
    let mut hasher = FieldHasher::new(domain);
    for field in fields {
        hasher.field(field);
    }
    hasher.finish()
}

/// The order without password hashes, which only the build needs.
pub fn without_secrets(order: &Order) -> Order {
    let mut order = order.clone();
    order.system.root_password_hash = None;
    for user in &mut order.system.users {
        user.password_hash = None;
    }
    order
}
