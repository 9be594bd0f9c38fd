//! Orders that wait for packages: what no binhost has is built from source first, where the operator allows it; then the order is planned with
//! it, and queued. All of it is in the database, so that a server that starts anew goes on where another was.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Failure, Order, Step};
use gentoo::Atom;
use queue::{Range, Work};
use resolver::Explanation;

use crate::app::App;
use crate::catalogue::Planned;
use crate::db::{self, BuildState, LackingRow, NeedRow};
use crate::orders::{self, Prepared, Refusal};
use crate::planner::PlanRefused;
use crate::reconcile::wait;
use crate::source_builds::{self, NotBuilt, Request};
use crate::work;

/// How often it is looked whether a build can be planned by now.
const PERIOD: Duration = Duration::from_secs(1);
/// What cannot be planned for a trouble that passes, such as of a mirror, is looked at again after so long.
const AGAIN: Duration = Duration::from_secs(20);
/// Builds that are looked at in one go.
const AT_ONCE: u32 = 100;
/// Most packages that are built from source for one order.
const MOST: usize = 20;

/// The order for a build that is planned when what it lacks has been built; that is queued by this.
///
/// # Errors
/// The refusal of the plan, where the order does not ask for it or the operator does not allow it; or that too much waits already.
pub async fn prepare(app: &App, order: &Order, refused: PlanRefused) -> Result<Prepared, Refusal> {
    let wanted = if order.from_source { wanted(app, &refused) } else { None };
    let Some(wanted) = wanted else { return Err(Refusal::NoPlan(refused)) };
    let planned = app.catalogue.unplanned(order, &refused.channel)?;
    let work = work_without(app, order, &refused.explanation).await;
    Prepared::lacking(planned, order, work, queue_all(app, &wanted).await?)
}

/// What is built from source for an order.
pub struct Sources {
    pub builds: Vec<String>,
    /// What the log of its build says of them.
    pub word: String,
}

async fn queue_all(app: &App, wanted: &[Request]) -> Result<Sources, Refusal> {
    let mut builds = Vec::new();
    for request in wanted {
        builds.push(source_builds::place(app, request, true).await.map_err(not_built)?);
    }
    let titles: Vec<String> = wanted.iter().map(Request::title).collect();
    Ok(Sources { builds, word: format!("— {} is built from source first; the order waits for it —", titles.join(", ")) })
}

/// What would have to be built for a plan, if all of it may be.
fn wanted(app: &App, refused: &PlanRefused) -> Option<Vec<Request>> {
    if !refused.from_source {
        return None;
    }
    let lacking = refused.explanation.lacking();
    // What is allowed and yet no package that can be built is refused as if it were not allowed.
    lacking.map(|wish| Request::of_wish(app, &refused.channel, wish).ok()).collect()
}

/// What there will be to do, as far as can be told from the same order without what it lacks.
async fn work_without(app: &App, order: &Order, lacks: &Explanation) -> Work {
    let name = |text: &str| Atom::parse(text).map_or_else(|_| text.to_owned(), |atom| atom.cp());
    let lacking: Vec<String> = lacks.lacking().map(|wish| name(&wish.package)).collect();
    let packages = order.packages.iter().filter(|word| !lacking.contains(&name(word))).cloned().collect();
    let rest = Order { packages, ..order.clone() };
    match app.catalogue.plan(&rest).await {
        Ok(planned) => work::work_of(&planned.plan.summary, &order.formats),
        Err(_) => work::work_of(&contract::Summary::default(), &order.formats),
    }
}

fn not_built(error: NotBuilt) -> Refusal {
    match error {
        NotBuilt::Full => Refusal::QueueFull { waiting: source_builds::MAX_WAITING as u64 },
        error => Refusal::Internal(Box::new(error)),
    }
}

/// When a build will be ready that waits for these, after which a worker of usual speed takes `seconds` for it. From now; none where nobody can
/// say.
pub async fn ready(app: &App, needs: &[NeedRow], seconds: f64) -> db::Result<Option<Range>> {
    let outlook = app.outlook().await?;
    let open = needs.iter().filter(|need| !need.state.is_final());
    let latest =
        open.map(|need| Some(outlook.ready(&need.id)?.1)).try_fold(Range::NOW, |latest, range| Some(latest.with(range?)));
    // The whole of it comes later by what the image itself takes.
    Ok(latest.map(|latest| latest.after(-seconds)))
}

/// Plans what waits for it, until the server stops.
pub async fn run(app: Arc<App>) {
    let mut later: HashMap<String, Instant> = HashMap::new();
    while wait(&app, PERIOD, std::future::pending()).await {
        let rows = match app.db.lacking(AT_ONCE).await {
            Ok(rows) => rows,
            Err(error) => {
                tracing::error!(%error, "builds that wait for packages could not be looked for");
                continue;
            }
        };
        let now = Instant::now();
        later.retain(|_, at| *at > now);
        for row in &rows {
            if later.contains_key(&row.id) {
                continue;
            }
            if let Err(error) = look_at(&app, row).await {
                tracing::warn!(build = row.id, %error, "a build that waited for packages cannot be planned now");
                later.insert(row.id.clone(), now + AGAIN);
            }
        }
    }
}

/// Plans a build whose packages were built, has more built, or says why it cannot be made.
async fn look_at(app: &App, row: &LackingRow) -> Result<(), Refusal> {
    let needs = app.db.needs(&row.id).await?;
    if let Some(need) = needs.iter().find(|need| need.state != BuildState::Ready) {
        return fail(app, row, of_need(need)).await;
    }
    if let Some(need) = needs.first().filter(|_| app.db.is_shared()) {
        // Another server may have taken the packages; this one has not read its indexes since.
        app.catalogue.read_again(&need.channel);
    }
    match app.catalogue.plan(&row.order).await {
        Ok(planned) => plan(app, row, planned).await,
        Err(Refusal::NoPlan(refused)) => build_more(app, row, &needs, &refused).await,
        Err(Refusal::Invalid(error)) => fail(app, row, unplannable(&error.to_string())).await,
        Err(other) => Err(other),
    }
}

async fn plan(app: &App, row: &LackingRow, planned: Planned) -> Result<(), Refusal> {
    if let Err(refusal) = orders::check_size(app, &planned.plan) {
        return fail(app, row, unplannable(&refusal.to_string())).await;
    }
    let prepared = Prepared::new(planned, &row.order)?.expected(app).await?;
    let told = app.db.planned(&row.id, &prepared.build(&row.order)).await?;
    tracing::info!(build = row.id, "planned with what was built from source");
    app.bus.state_changed(&row.id);
    orders::promise(app, &told, &*app.outlook().await?).await?;
    Ok(())
}

/// What was built was not all that it lacks.
async fn build_more(app: &App, row: &LackingRow, needs: &[NeedRow], refused: &PlanRefused) -> Result<(), Refusal> {
    let Some(wanted) = wanted(app, refused) else { return fail(app, row, unplannable(&refused.to_string())).await };
    let known = |request: &&Request| needs.iter().any(|need| request.is(&need.source));
    if let Some(again) = wanted.iter().find(known) {
        let why = format!("{} was built from source, and the plan lacks it all the same.\n{refused}", again.title());
        return fail(app, row, unplannable(&why)).await;
    }
    if needs.len() + wanted.len() > MOST {
        let why = format!("More than {MOST} packages would have to be built from source for it. The next would be:\n{refused}");
        return fail(app, row, unplannable(&why)).await;
    }
    let sources = queue_all(app, &wanted).await?;
    app.db.needs_more(&row.id, &sources.builds, &sources.word).await?;
    app.bus.state_changed(&row.id);
    Ok(())
}

async fn fail(app: &App, row: &LackingRow, failure: Failure) -> Result<(), Refusal> {
    tracing::info!(build = row.id, reason = failure.message, "not planned");
    if app.db.fail_lacking(&row.id, &failure).await? {
        app.bus.state_changed(&row.id);
    }
    Ok(())
}

fn of_need(need: &NeedRow) -> Failure {
    let message = match (&need.failure, need.state) {
        (Some(failure), _) => format!("{} was to be built from source for this order.\n{}", need.title, failure.message),
        (None, BuildState::Cancelled) => {
            format!("{} was to be built from source for this order, and the operator cancelled that.", need.title)
        }
        (None, state) => format!("{} was to be built from source for this order; it is {state}.", need.title),
    };
    let advice =
        "Order without this package or these flags, or have it tried again; the operator sees what happened, and can mend it.";
    Failure::new(Step::Merge, message, advice).for_package(need.source.package.clone())
}

fn unplannable(why: &str) -> Failure {
    let advice = "Change the order by what is said above, and order anew.";
    Failure::new(Step::Fetch, format!("The order cannot be planned.\n{why}"), advice)
}
