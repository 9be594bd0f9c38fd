//! Orders that are kept fresh: when the channel has other packages for one than it was built from, it is ordered anew, behind all who wait
//! by the fair rules of the queue, and its user is told what changed.

use std::sync::Arc;
use std::time::Duration;

use attest::GlsaReport;
use contract::{Order, Plan};
use resolver::Difference;
use serde::Serialize;

use crate::app::App;
use crate::clock::{self, now};
use crate::db::{self, BuildState, FreshRow, Gate, KeptFresh, NewOrder, OrderRow, Placed};
use crate::limits::Limited;
use crate::orders::{self, Prepared, Refusal};
use crate::reconcile::wait;
use crate::secret;

/// How often it is looked whether one is due.
const PERIOD: Duration = Duration::from_secs(2);
/// Lines of changes that are kept with an order.
const MAX_LINES: usize = 400;

/// What an order's page and the API say of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Freshness {
    /// It is kept fresh: there will be a new order when something changes.
    pub kept: bool,
    /// Why it is kept fresh no more, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// The page of the order that has taken its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// The page of the order whose place it has taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// What is other than in the order before, a line each; the first sums it up.
    pub changes: Vec<String>,
}

/// What an order is to the row of orders that it is in, if it is in one.
pub async fn of_order(app: &App, order: &str) -> db::Result<Option<Freshness>> {
    let Some((row, renewal)) = app.db.fresh_of(order).await? else { return Ok(None) };
    Ok(Some(Freshness {
        kept: row.ended.is_none() && row.newest == order,
        newest: Some(&row.newest).filter(|newest| newest.as_str() != order).map(|newest| app.order_url(newest)),
        ended: row.ended,
        previous: renewal.as_ref().map(|renewal| app.order_url(&renewal.previous)),
        changes: renewal.map(|renewal| renewal.changes.lines().map(str::to_owned).collect()).unwrap_or_default(),
    }))
}

/// Keeps an order fresh from now on.
pub async fn keep(app: &App, order: &str) -> Result<(), Refusal> {
    let most = app.config.limits.fresh_orders;
    let reason = match app.db.keep_fresh(order, most).await? {
        KeptFresh::Kept => return Ok(()),
        KeptFresh::NotNewest => "this order was made anew already; keep the new one fresh".to_owned(),
        KeptFresh::TooMany => format!("this site keeps at most {most} orders of one user fresh; stop one of them first"),
    };
    Err(Refusal::Limited(Limited { reason, retry_after: 3_600 }))
}

/// Looks after all of them, until the server stops.
pub async fn run(app: Arc<App>) {
    let every = i64::try_from(app.config.index_ttl_seconds).unwrap_or(i64::MAX);
    while wait(&app, PERIOD, std::future::pending()).await {
        loop {
            let row = match app.db.next_fresh(every).await {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => {
                    tracing::error!(%error, "orders that are kept fresh could not be looked for");
                    break;
                }
            };
            if let Err(error) = look_at(&app, &row).await {
                tracing::warn!(order = orders::number(&row.newest), %error, "an order cannot be kept fresh now");
            }
            if *app.stopping.borrow() {
                break;
            }
        }
    }
}

/// Orders anew what has changed.
async fn look_at(app: &App, row: &FreshRow) -> Result<(), Refusal> {
    let Some(last) = app.db.order(&row.newest).await? else { return Ok(()) };
    if last.cancelled {
        app.db.let_be(&row.newest, "its order was cancelled").await?;
        return Ok(());
    }
    let build = app.db.build(&last.build).await?.ok_or(sqlx::Error::RowNotFound)?;
    let is_over = !matches!(build.state, BuildState::Waiting | BuildState::Building);
    if !is_over || app.db.gate().await? != Gate::Open || app.db.queue_length().await?.0 >= app.config.max_waiting {
        return Ok(());
    }
    let order = Order { system: app.db.system(&last.build).await?, ..last.request.clone() };
    let planned = app.catalogue.plan(&order).await?;
    let difference = difference(app.db.plan(&last.build).await?, &planned.plan, planned.repository()).await?;
    let rested = last.created.saturating_add(i64::from(app.config.limits.fresh_hours).saturating_mul(3_600)) <= now();
    if difference.is_empty() || (!rested && difference.advisories_gone.is_empty()) {
        return Ok(());
    }
    let (wanted, most) = (planned.plan.summary.installed_size, app.config.limits.max_installed_bytes);
    if wanted > most {
        return Err(Refusal::TooLarge { wanted: clock::size(wanted), most: clock::size(most) });
    }
    let unclaimed = app.config.limits.fresh_unclaimed;
    if app.db.nobody_fetches(row, unclaimed).await? {
        app.db.let_be(&row.newest, &format!("nobody fetched its last {unclaimed} images")).await?;
        tracing::info!(order = orders::number(&row.newest), "kept fresh no more: nobody fetches it");
        return Ok(());
    }
    let prepared = Prepared::new(planned, &order)?.expected(app).await?;
    let placed = place(app, row, &last, &order, &prepared).await?;
    app.db.renewed(row, &placed, &lines(&difference)).await?;
    tracing::info!(order = orders::number(&placed), changes = %difference.summary(), "ordered anew to be fresh");
    Ok(())
}

/// What changed, advisories among it.
async fn difference(old: Plan, new: &Plan, repository: Option<std::path::PathBuf>) -> Result<Difference, Refusal> {
    let new = new.clone();
    let compared = tokio::task::spawn_blocking(move || {
        let [before, after] = [&old, &new].map(|plan| GlsaReport::of(plan, repository.as_deref()));
        let ids = |report: &GlsaReport| report.findings().iter().map(|finding| finding.id.clone()).collect::<Vec<_>>();
        let (before, after) = (ids(&before), ids(&after));
        let all = Difference::between(&old, &new);
        all.with_advisories(before.iter().map(String::as_str), after.iter().map(String::as_str))
    });
    compared.await.map_err(|e| Refusal::Internal(Box::new(e)))
}

fn lines(difference: &Difference) -> String {
    difference.to_string().lines().take(MAX_LINES).collect::<Vec<_>>().join("\n")
}

/// Places the new order, for the same user, who is told by the same ways. The same change leads to the same order, whichever server finds it
/// and however often.
async fn place(app: &App, row: &FreshRow, last: &OrderRow, order: &Order, prepared: &Prepared) -> Result<String, Refusal> {
    let build = prepared.build(order);
    let key = orders::hash("hatchery kept fresh", [row.id.as_str(), row.newest.as_str(), build.join_key]);
    let (id, address_token) = (secret::token::<20>()?, secret::token::<20>()?);
    let new_order = NewOrder {
        id: &id,
        title: &last.title,
        request: &last.request,
        email: last.email.as_deref(),
        address_token: &address_token,
        ask: app.config.mail.as_ref().is_some_and(|mail| mail.confirm),
        webhook: last.webhook.as_deref(),
        browsers_of: Some(&last.id),
        user: &row.user,
        account: last.account.as_deref(),
        language: last.language,
        idempotency_key: Some(&key),
        request_hash: &key,
        most: None,
    };
    match app.db.place(&new_order, &build).await? {
        Placed::New { build, .. } => {
            app.bus.state_changed(&build);
            orders::promise(app, &[(id.clone(), build)], &*app.outlook().await?).await?;
            Ok(id)
        }
        Placed::Repeated { order } => Ok(order),
        Placed::KeyReused => Err(Refusal::KeyReused),
        Placed::TooMany(reached) => Err(app.too_many(reached)),
    }
}
