//! The queue's outlook: whose turn is next, and when each build will be ready. Worked out from the database by the crate `queue`, and kept
//! for a moment, as many pages ask for it at once.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use queue::forecast::{Arrivals, Came, Entry, Forecast, Queue, Running};
use queue::policy::{self, Waiting, Wanting};
use queue::{Calibration, CostModel, Foreseen, Range, Work};
use tokio::sync::Notify;

use crate::app::App;
use crate::clock::exact_now;
use crate::db::{self, QueueRows, step_seconds};
use crate::reconcile::wait;
use crate::turns::none_can_make;

/// An outlook older than this is worked out anew, changes or not.
const STALE: Duration = Duration::from_secs(5);
/// The outlook of a queue longer than this serves for ten times as long as it took to work out, changes or not: a long queue does not take all
/// of the processor for itself. Then it is worked out anew behind those who ask, who take the last one meanwhile. Builds that wait.
const LONG: usize = 200;
/// An outlook older than this is waited for, however long the queue.
const OLDEST: Duration = Duration::from_secs(30);

/// The queue's outlook at one moment.
pub struct Outlook {
    made: Instant,
    /// How long working it out took.
    took: Duration,
    /// Waiting builds in the order they are served.
    turns: Vec<Turn>,
    positions: HashMap<String, u64>,
    /// The work of its user's that is before each waiting build. Seconds.
    work_before: HashMap<String, f64>,
    numbers: HashMap<String, u64>,
    /// What the forecast was made of.
    queue: Queue,
    forecast: Forecast,
    calibration: Calibration,
    model: Arc<CostModel>,
}

/// Stands for a build that is not in the queue, and for the user who may order it.
const NEWCOMER: u64 = u64::MAX;

/// A waiting build, and what its worker must be able to do.
pub struct Turn {
    pub build: String,
    pub arch: String,
    /// The names of the formats.
    pub formats: Vec<String>,
    /// The channel whose packages it builds from source; none for an image.
    pub source_for: Option<String>,
}

impl Turn {
    fn of(row: &db::WaitingRow) -> Turn {
        Turn { build: row.id.clone(), arch: row.arch.clone(), formats: row.formats.clone(), source_for: row.source_for.clone() }
    }
}

/// Keeps the newest outlook.
#[derive(Default)]
pub struct Outlooks {
    kept: RwLock<Option<(u64, Arc<Outlook>)>>,
    /// One is worked out at a time; who waited for it takes it too.
    turn: tokio::sync::Mutex<()>,
    /// Somebody was given one of a long queue that is old.
    old: Notify,
}

impl Outlook {
    /// Whether it still serves, `unchanged` saying whether nothing has changed since.
    fn serves(&self, unchanged: bool) -> bool {
        let age = self.made.elapsed();
        let rest = if self.turns.len() > LONG { (self.took * 10).min(STALE) } else { Duration::ZERO };
        age < rest || (unchanged && age < STALE)
    }

    /// Whether it serves until the next one is there.
    fn serves_meanwhile(&self) -> bool {
        self.turns.len() > LONG && self.made.elapsed() < OLDEST
    }

    /// The waiting builds, in the order they are served.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// A waiting build.
    pub fn turn(&self, build: &str) -> Option<&Turn> {
        match self.position(build) {
            Some(position) => self.turns.get(usize::try_from(position).ok()?.checked_sub(1)?),
            None => self.stuck_turns().iter().find(|turn| turn.build == build),
        }
    }

    /// The waiting builds that no worker can make which is there.
    pub fn stuck(&self) -> impl Iterator<Item = &str> {
        self.stuck_turns().iter().map(|turn| turn.build.as_str())
    }

    /// They stand behind those that have a position.
    fn stuck_turns(&self) -> &[Turn] {
        self.turns.get(self.positions.len()..).unwrap_or_default()
    }

    /// The place of a waiting build in the queue; 1 is served next.
    pub fn position(&self, build: &str) -> Option<u64> {
        self.positions.get(build).copied()
    }

    /// Seconds of its user's work that are before a waiting build.
    pub fn work_before(&self, build: &str) -> Option<f64> {
        self.work_before.get(build).copied()
    }

    /// When a build will be ready, as the forecast has it and as it is to be named; from now.
    pub fn ready(&self, build: &str) -> Option<(Foreseen, Range)> {
        let forecast = self.forecast.of(*self.numbers.get(build)?)?.after(self.made.elapsed().as_secs_f64());
        Some((forecast, self.calibration.apply(forecast)))
    }

    /// When a build would be ready that somebody new orders now; from now. Not worked out where the queue is long, or there is no worker.
    pub fn newcomer(&self, work: &Work) -> Option<Range> {
        if self.turns.len() > LONG {
            return None;
        }
        let mut queue = self.queue.clone();
        let wanted = Wanting { user: NEWCOMER, since: queue.now, doubtful: false };
        let waiting = Waiting { id: NEWCOMER, rank: 0, wanted_by: vec![wanted], cost: self.build_seconds(work) };
        queue.waiting.push(Entry { waiting, work: work.clone() });
        let foreseen = queue::forecast::forecast(&queue, &self.model, 1).of(NEWCOMER)?;
        Some(self.calibration.apply(foreseen))
    }

    /// How long a worker of usual speed takes for a build. Seconds.
    pub fn build_seconds(&self, work: &Work) -> f64 {
        self.model.seconds(work, None)
    }

    /// How long a worker takes, as a factor on the usual time.
    pub fn speed(&self, worker: &str) -> f64 {
        self.model.speed(Some(worker))
    }
}

impl App {
    /// The outlook as it is now: a moment old at most, or somewhat older where the queue is long.
    pub async fn outlook(&self) -> db::Result<Arc<Outlook>> {
        let Some((of, outlook)) = self.kept_outlook() else { return self.new_outlook().await };
        if outlook.serves(of == self.bus.version()) {
            return Ok(outlook);
        }
        if outlook.serves_meanwhile() {
            self.outlooks.old.notify_one();
            return Ok(outlook);
        }
        self.new_outlook().await
    }

    fn kept_outlook(&self) -> Option<(u64, Arc<Outlook>)> {
        self.outlooks.kept.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Works the outlook out, unless somebody has while this waited for its turn.
    async fn new_outlook(&self) -> db::Result<Arc<Outlook>> {
        let _turn = self.outlooks.turn.lock().await;
        // What changes while it is worked out makes it old at once.
        let version = self.bus.version();
        if let Some((_, outlook)) = self.kept_outlook().filter(|(of, outlook)| outlook.serves(*of == version)) {
            return Ok(outlook);
        }
        let began = Instant::now();
        let rows = self.db.queue_rows().await?;
        let (samples, promises) = (self.db.samples().await?, self.db.promises().await?);
        let workers = self.db.workers().await?;
        let boot_gate = self.config.boot_gate;
        let outlook = tokio::task::spawn_blocking(move || {
            let model = Arc::new(CostModel::learn(&samples));
            let calibration = Calibration::learn(&promises.into_iter().map(|(p, _)| p).collect::<Vec<_>>());
            Outlook { took: began.elapsed(), ..work_out(rows, model, calibration, (workers, boot_gate)) }
        });
        let outlook = Arc::new(outlook.await.map_err(|e| sqlx::Error::Decode(Box::new(e)))?);
        *self.outlooks.kept.write().unwrap_or_else(PoisonError::into_inner) = Some((version, outlook.clone()));
        Ok(outlook)
    }
}

/// Works the outlook of a long queue out anew when one is old that somebody was given.
pub async fn renew(app: Arc<App>) {
    while wait(&app, OLDEST, app.outlooks.old.notified()).await {
        let is_long = app.kept_outlook().is_some_and(|(_, outlook)| outlook.serves_meanwhile());
        if is_long && let Err(error) = app.new_outlook().await {
            tracing::error!(%error, "when builds will be ready could not be worked out");
        }
    }
}

/// The workers that are there with what they can, and whether images are started before they are given out.
type Hands = (Vec<db::WorkerRow>, bool);

fn work_out(mut rows: QueueRows, model: Arc<CostModel>, calibration: Calibration, (workers, boot_gate): Hands) -> Outlook {
    // Nobody waits for what no worker can make.
    let is_stuck =
        |row: &db::WaitingRow| none_can_make(workers.iter().map(|worker| &worker.abilities), &Turn::of(row), boot_gate);
    let (stuck, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut rows.waiting).into_iter().partition(is_stuck);
    rows.waiting = waiting;
    let mut users = Users::default();
    let now = exact_now();
    let used = used(&rows, &model, &mut users, now);
    let waiting: Vec<Entry> = rows.waiting.iter().map(|row| entry(row, &model, &mut users)).collect();
    let claimants: Vec<Waiting> = waiting.iter().map(|e| e.waiting.clone()).collect();
    let turns: Vec<&db::WaitingRow> =
        policy::turns(&claimants, &used).into_iter().filter_map(|index| rows.waiting.get(index)).collect();
    let work_before = policy::claims(&claimants, &used).into_iter().zip(&claimants).zip(&rows.waiting);
    let work_before = work_before.filter_map(|((claim, waiting), row)| {
        let since = waiting.wanted_by.first()?.since;
        Some((row.id.clone(), claim.work_before(since).max(0.0)))
    });
    let busy: Vec<&str> = rows.running.iter().map(|r| r.worker.as_str()).collect();
    let numbers = rows.waiting.iter().map(|w| (&w.id, w.place)).chain(rows.running.iter().map(|r| (&r.id, r.place)));
    let came = rows.came.iter().map(|came| Came {
        user: users.number(&came.user),
        seconds: model.seconds(&came.work, None),
        work_before: came.work_before,
    });
    let arrivals = Arrivals::seen(came, &used, rows.watched(now));
    let (failed, ended) = rows.failed;
    let queue = Queue {
        now,
        waiting,
        running: rows.running.iter().map(|row| running(row, now)).collect(),
        idle: idle(&workers, &busy),
        used,
        arrivals,
        failing: queue::forecast::failing(failed, ended),
    };
    Outlook {
        made: Instant::now(),
        took: Duration::ZERO,
        positions: turns.iter().zip(1..).map(|(row, position)| (row.id.clone(), position)).collect(),
        work_before: work_before.collect(),
        numbers: numbers.map(|(id, place)| (id.clone(), number(place))).collect(),
        turns: turns.into_iter().chain(&stuck).map(Turn::of).collect(),
        forecast: queue::forecast::forecast(&queue, &model, 1),
        queue,
        calibration,
        model,
    }
}

/// The workers that are free: those that ask for work. Where nobody asks and nobody builds, those that were there a while ago.
fn idle(workers: &[db::WorkerRow], busy: &[&str]) -> Vec<String> {
    let free = || workers.iter().filter(|worker| !busy.contains(&worker.name.as_str()));
    let nobody = busy.is_empty() && !workers.iter().any(|worker| worker.asking);
    free().filter(|worker| worker.asking || nobody).map(|worker| worker.name.clone()).collect()
}

/// Numbers for users; each order of an unknown user is a user of its own.
#[derive(Default)]
struct Users {
    known: HashMap<String, u64>,
    next: u64,
}

impl Users {
    fn number(&mut self, user: &str) -> u64 {
        if user.is_empty() {
            self.next += 1;
            return self.next;
        }
        let next = &mut self.next;
        *self.known.entry(user.to_owned()).or_insert_with(|| {
            *next += 1;
            *next
        })
    }
}

/// What each user got lately or has running. Seconds.
fn used(rows: &QueueRows, model: &CostModel, users: &mut Users, now: f64) -> BTreeMap<u64, f64> {
    let mut used: BTreeMap<u64, f64> = BTreeMap::new();
    for (user, seconds, ended) in rows.served.iter().filter(|(user, _, _)| !user.is_empty()) {
        *used.entry(users.number(user)).or_default() += policy::remembered(*seconds, now - *ended as f64);
    }
    for row in &rows.running {
        let share = model.seconds(&row.work, None) / row.users.len().max(1) as f64;
        for user in row.users.iter().filter(|user| !user.is_empty()) {
            *used.entry(users.number(user)).or_default() += share;
        }
    }
    used
}

fn entry(row: &db::WaitingRow, model: &CostModel, users: &mut Users) -> Entry {
    let wanted_by = row.wanted_by.iter().map(|wanted| Wanting {
        user: users.number(&wanted.user),
        since: wanted.since as f64,
        doubtful: wanted.doubtful,
    });
    let waiting =
        Waiting { id: number(row.place), rank: row.rank, wanted_by: wanted_by.collect(), cost: model.seconds(&row.work, None) };
    Entry { waiting, work: row.work.clone() }
}

fn running(row: &db::RunningRow, now: f64) -> Running {
    let mut done = step_seconds(&row.progress, now);
    // The last step heard of is the one at hand.
    let current = row.progress.last().zip(done.pop()).map(|(step, (number, seconds))| {
        let share = if step.total == 0 { 0.0 } else { step.done as f64 / step.total as f64 };
        (number, share, seconds)
    });
    let elapsed = (now - row.started as f64).max(0.0);
    Running { id: number(row.place), work: row.work.clone(), worker: row.worker.clone(), elapsed, done, current }
}

/// Builds are numbered by their place, so that of two with equal claims the one that came first goes first.
fn number(place: i64) -> u64 {
    u64::try_from(place).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use contract::lease::LeaseRequest;
    use contract::{Format, Summary};

    use super::*;
    use crate::work::work_of;

    /// A build that has waited for so many seconds.
    fn waiting(id: &str, place: i64, user: &str, waited: i64) -> db::WaitingRow {
        let summary = Summary { packages: 100, download_size: 100_000_000, installed_size: 300_000_000, measured: false };
        let wanted_by = vec![db::WantedRow { user: user.into(), since: crate::clock::now() - waited, doubtful: false }];
        db::WaitingRow {
            id: id.into(),
            place,
            arch: "amd64".into(),
            formats: vec!["iso".into()],
            rank: 0,
            work: work_of(&summary, &[Format::Iso]),
            wanted_by,
            source_for: None,
        }
    }

    #[test]
    fn turns_positions_and_times_agree() {
        let rows = QueueRows {
            waiting: vec![waiting("a", 1, "x", 100), waiting("b", 2, "x", 99), waiting("c", 3, "y", 90), waiting("d", 4, "", 95)],
            ..QueueRows::default()
        };
        let model = Arc::new(CostModel::learn(&[]));
        let workers = vec![worker("w", true, LeaseRequest::default())];
        let outlook = work_out(rows, model, Calibration::learn(&[]), (workers, false));
        assert_eq!(outlook.turns().iter().map(|turn| turn.build.as_str()).collect::<Vec<_>>(), ["a", "d", "c", "b"]);
        assert_eq!((outlook.position("c"), outlook.position("gone")), (Some(3), None));
        let middle = |id: &str| outlook.ready(id).unwrap().1.middle;
        assert!(middle("a") < middle("d") && middle("d") < middle("c") && middle("c") < middle("b"));
        assert!(outlook.work_before("b").unwrap() > 0.0);
        // Somebody new waits for no more than those who were before, and not for the second order of one of them.
        let small = Summary { packages: 10, download_size: 10_000_000, installed_size: 30_000_000, measured: false };
        let newcomer = outlook.newcomer(&work_of(&small, &[Format::Zip])).unwrap().middle;
        assert!(newcomer > middle("a") && newcomer < middle("b"), "{} {newcomer} {}", middle("a"), middle("b"));
    }

    #[test]
    fn what_no_worker_can_make_holds_nobody_up() {
        let source = db::WaitingRow { source_for: Some("own".into()), formats: Vec::new(), ..waiting("s", 1, "x", 100) };
        let outlook = |first: Option<&db::WaitingRow>| {
            let waiting = first.cloned().into_iter().chain([waiting("a", 2, "y", 90)]).collect();
            let workers = vec![worker("w", true, LeaseRequest { arches: vec!["amd64".into()], ..LeaseRequest::default() })];
            let rows = QueueRows { waiting, ..QueueRows::default() };
            work_out(rows, Arc::new(CostModel::learn(&[])), Calibration::learn(&[]), (workers, false))
        };
        let (alone, behind) = (outlook(None), outlook(Some(&source)));
        let middle = |outlook: &Outlook| outlook.forecast.of(2).unwrap().range.middle;
        assert_eq!(middle(&behind), middle(&alone));
        assert_eq!((behind.position("a"), behind.position("s")), (Some(1), None));
        assert!(behind.turns().iter().any(|turn| turn.build == "s"), "a worker that can make it may come");
        for build in ["a", "s"] {
            assert_eq!(behind.turn(build).map(|turn| turn.build.as_str()), Some(build));
        }
        assert!(behind.turn("x").is_none());
        assert_eq!((behind.stuck().collect::<Vec<_>>(), alone.stuck().count()), (vec!["s"], 0));
    }

    fn worker(name: &str, asking: bool, abilities: LeaseRequest) -> db::WorkerRow {
        db::WorkerRow { name: name.into(), seen: exact_now(), asking, abilities }
    }

    #[test]
    fn who_neither_builds_nor_asks_is_not_counted_on() {
        let row = |name: &str, asking| worker(name, asking, LeaseRequest::default());
        let workers = [row("asks", true), row("builds", false), row("gone", false)];
        assert_eq!(idle(&workers, &["builds"]), ["asks"]);
        assert_eq!(idle(&workers[1..], &["builds"]), Vec::<String>::new());
        assert_eq!(idle(&workers[2..], &[]), ["gone"], "it may come again");
    }

    #[test]
    fn without_a_worker_no_time_is_named() {
        let rows = QueueRows { waiting: vec![waiting("a", 1, "x", 100)], ..QueueRows::default() };
        let outlook = work_out(rows, Arc::new(CostModel::learn(&[])), Calibration::learn(&[]), (Vec::new(), false));
        assert!(outlook.ready("a").is_none());
        assert!(outlook.newcomer(&work_of(&Summary::default(), &[Format::Zip])).is_none());
    }
}
