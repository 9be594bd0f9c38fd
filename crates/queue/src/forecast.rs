//! When each build will be ready: the queue is played many times over as [`policy`](crate::policy) would serve it, each time with other
//! build times out of what was seen, with builds that fail early, and with orders still to come.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};

use crate::Random;
use crate::calibration::{Foreseen, Range};
use crate::cost::{CostModel, Work};
use crate::policy::{self, Claim, Waiting};

/// How often the queue is played.
const DRAWS: usize = 160;
/// Most builds served in one play, those still to come included.
const MAX_SERVED: usize = 20_000;
/// From the end of a build until its worker has the next one, or from an order until an idle one has it. It asked already, and is answered.
/// Seconds.
const HANDOVER: f64 = 0.1;
/// However many came lately, the workers are not taken to have more of their time taken by newcomers for long: a rush ends, and where it does
/// not, users or operators do something about it. Without this bound, a rush of minutes would be forecast to last for ever.
const FULLEST: f64 = 0.8;

/// A build that waits, and what there is to do for it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub waiting: Waiting,
    pub work: Work,
}

/// A build that a worker has in hand.
#[derive(Clone, Debug)]
pub struct Running {
    pub id: u64,
    pub work: Work,
    pub worker: String,
    /// Seconds since the worker began.
    pub elapsed: f64,
    /// The steps that are done, with their seconds.
    pub done: Vec<(u8, f64)>,
    /// The step at hand, how much of it is done (0 to 1), and its seconds so far.
    pub current: Option<(u8, f64, f64)>,
}

impl Running {
    /// A build whose worker began so many seconds ago, when these are its steps with the seconds that each takes in all.
    pub fn part_way(id: u64, work: &Work, worker: &str, steps: &[(u8, f64)], elapsed: f64) -> Running {
        let (mut done, mut over, mut current) = (Vec::new(), 0.0, None);
        for (step, seconds) in steps {
            if over + seconds > elapsed {
                current = Some((*step, (elapsed - over) / seconds, elapsed - over));
                break;
            }
            done.push((*step, *seconds));
            over += seconds;
        }
        Running { id, work: work.clone(), worker: worker.to_owned(), elapsed, done, current }
    }
}

/// The share of builds that will fail, when so many of those that ended lately did. While little was seen, one of forty is taken to.
pub fn failing(failed: u64, ended: u64) -> f64 {
    (failed as f64 + 0.5) / (ended as f64 + 20.0)
}

/// Orders still to come, as they came lately.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// New builds a second.
    pub per_second: f64,
    /// Build times of such builds. Seconds.
    pub seconds: Vec<f64>,
    /// Seconds of their users' work that were before them when they came ([`Claim::work_before`]).
    pub work_before: Vec<f64>,
}

/// Orders are watched at least so long before they tell how many will come. Seconds.
const LEAST_WATCHED: f64 = 120.0;

/// A build that came lately.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// Who ordered it.
    pub user: u64,
    /// How long it takes.
    pub seconds: f64,
    /// Seconds of its user's work that were before it.
    pub work_before: f64,
}

impl Arrivals {
    /// What is to be expected after all these came in the last `watched` seconds. Others like them come from the same users, who have got
    /// `used` since ([`policy::claims`]), or as theirs did from somebody new.
    pub fn seen(came: impl Iterator<Item = Came>, used: &BTreeMap<u64, f64>, watched: f64) -> Arrivals {
        let before = |came: &Came| if came.work_before > 0.0 { used.get(&came.user).copied().unwrap_or(0.0) } else { 0.0 };
        let (seconds, work_before): (Vec<f64>, Vec<f64>) = came.map(|came| (came.seconds, before(&came))).unzip();
        Arrivals { per_second: seconds.len() as f64 / watched.max(LEAST_WATCHED), seconds, work_before }
    }
}

/// All that decides when builds are ready.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    /// Seconds, of the clock by which [`Waiting`] says since when.
    pub now: f64,
    pub waiting: Vec<Entry>,
    pub running: Vec<Running>,
    /// Workers at hand that have nothing to do.
    pub idle: Vec<String>,
    /// See [`policy::claims`].
    pub used: BTreeMap<u64, f64>,
    pub arrivals: Arrivals,
    /// The share of builds that fail, and so end early.
    pub failing: f64,
}

/// The forecast of a whole queue, before calibration.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    foreseen: HashMap<u64, Foreseen>,
}

impl Forecast {
    /// When the build with this id is ready, if it does not fail; none for a build that is not in the queue, or when there is no worker.
    pub fn of(&self, id: u64) -> Option<Foreseen> {
        self.foreseen.get(&id).copied()
    }
}

/// Plays the queue. The same queue and seed give the same forecast.
pub fn forecast(queue: &Queue, model: &CostModel, seed: u64) -> Forecast {
    let waiting: Vec<Waiting> = queue.waiting.iter().map(|e| e.waiting.clone()).collect();
    let claims = policy::claims(&waiting, &queue.used);
    let usual = |entry: &Entry| Next { id: entry.waiting.id, seconds: model.seconds(&entry.work, None) };
    let mut line: Vec<(Claim, Next)> = claims.into_iter().zip(queue.waiting.iter().map(usual)).collect();
    line.sort_by_key(|(claim, _)| *claim);
    let running: Vec<(u64, f64, Left)> =
        queue.running.iter().map(|r| (r.id, model.speed(Some(&r.worker)), Left::of(r, model))).collect();
    let idle: Vec<f64> = queue.idle.iter().map(|name| model.speed(Some(name))).collect();
    let mut random = Random::new(seed);
    let mut times: HashMap<u64, Vec<f64>> = HashMap::new();
    for _ in 0..DRAWS {
        let mut play = Play { queue, model, random: &mut random, workers: BinaryHeap::new(), speeds: Vec::new() };
        play.start(&running, &idle, &mut |id, time| times.entry(id).or_default().push(time));
        play.serve(&line, &mut |id, time| times.entry(id).or_default().push(time));
    }
    // Who is before the idle workers in the line is taken at once.
    let waits: HashSet<u64> = line.iter().skip(idle.len()).map(|(_, next)| next.id).collect();
    let foreseen = |(id, times)| Some((id, Foreseen { range: Range::of(times)?, waits: waits.contains(&id) }));
    Forecast { foreseen: times.into_iter().filter_map(foreseen).collect() }
}

/// A time that can be sorted.
#[derive(Clone, Copy, PartialEq)]
struct Time(f64);

impl Eq for Time {}

impl Ord for Time {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Time {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The queue played once.
struct Play<'a> {
    queue: &'a Queue,
    model: &'a CostModel,
    random: &'a mut Random,
    /// When each worker is free, soonest first, with its place in `speeds`.
    workers: BinaryHeap<Reverse<(Time, usize)>>,
    speeds: Vec<f64>,
}

/// A build in the line, and what it usually takes. Seconds.
struct Next {
    id: u64,
    seconds: f64,
}

impl Play<'_> {
    /// What runs runs to its end, and who is idle is free now.
    fn start(&mut self, running: &[(u64, f64, Left)], idle: &[f64], ready: &mut impl FnMut(u64, f64)) {
        for (id, speed, left) in running {
            let left = left.draw(self.model, self.random);
            ready(*id, left);
            let ends = self.end_of(left);
            self.worker_is_free(*speed, ends);
        }
        // The quickest of those that are idle gets the first build.
        for speed in idle {
            self.worker_is_free(*speed, *speed * 1e-6);
        }
    }

    /// Workers take what is next, until all that waits now was taken.
    fn serve(&mut self, line: &[(Claim, Next)], ready: &mut impl FnMut(u64, f64)) {
        let mut line = line.iter().peekable();
        let rate = self.rate();
        let mut to_come = self.random.waiting_time(rate);
        // Newcomers that have come, best claim first, with the seconds they take.
        let mut newcomers: BinaryHeap<Reverse<(Claim, Time)>> = BinaryHeap::new();
        for _ in 0..MAX_SERVED {
            let Some((claim, next)) = line.peek() else { return };
            let Some(Reverse((Time(time), worker))) = self.workers.pop() else { return };
            while to_come <= time {
                let before = self.random.pick(&self.queue.arrivals.work_before, 0.0);
                let seconds = self.random.pick(&self.queue.arrivals.seconds, 0.0);
                newcomers.push(Reverse((Claim::of_newcomer(self.queue.now + to_come, before), Time(seconds))));
                to_come += self.random.waiting_time(rate);
            }
            let seconds = match newcomers.peek() {
                Some(Reverse((newcomer, Time(seconds)))) if newcomer < claim => {
                    let seconds = *seconds;
                    newcomers.pop();
                    seconds
                }
                _ => {
                    let speed = self.speeds.get(worker).copied().unwrap_or(1.0);
                    let seconds = next.seconds * speed * self.model.draw_deviation(self.random).exp();
                    ready(next.id, time + HANDOVER + seconds);
                    line.next();
                    seconds
                }
            };
            let ends = self.end_of(seconds);
            self.workers.push(Reverse((Time(time + HANDOVER + ends), worker)));
        }
    }

    /// How many builds will come in a second: as many as came, but no more than the workers can take on for long.
    fn rate(&self) -> f64 {
        let Arrivals { per_second, seconds, .. } = &self.queue.arrivals;
        let usual = seconds.iter().sum::<f64>() / seconds.len().max(1) as f64;
        let capacity: f64 = self.speeds.iter().map(|speed| 1.0 / speed.max(1e-6)).sum();
        per_second.min(FULLEST * capacity / (usual + HANDOVER))
    }

    fn worker_is_free(&mut self, speed: f64, at: f64) {
        self.workers.push(Reverse((Time(at), self.speeds.len())));
        self.speeds.push(speed);
    }

    /// When a build that takes so long gives its worker back: earlier where it fails.
    fn end_of(&mut self, seconds: f64) -> f64 {
        if self.random.unit() < self.queue.failing { seconds * self.random.unit() } else { seconds }
    }
}

/// What is left of a running build, before chance.
enum Left {
    /// Nothing is known but what it is expected to take in all, and how long it has run.
    OfAll { total: f64, elapsed: f64 },
    /// The seconds left at the pace it has shown, and how much of the chance is still open (0 to 1).
    AtPace { seconds: f64, open: f64 },
}

impl Left {
    fn of(running: &Running, model: &CostModel) -> Left {
        let speed = model.speed(Some(&running.worker));
        let total = model.seconds(&running.work, Some(&running.worker));
        let Some((step, share, in_step)) = running.current else {
            return Left::OfAll { total, elapsed: running.elapsed };
        };
        let share = share.clamp(0.0, 1.0);
        let mut steps: Vec<u8> = running.work.parts.iter().map(|p| p.step).collect();
        steps.sort_unstable();
        steps.dedup();
        let expected = |wanted: &dyn Fn(u8) -> bool| -> f64 {
            steps.iter().filter(|s| wanted(**s)).map(|s| model.step_seconds(&running.work, *s) * speed).sum()
        };
        // A step that shows how far it is tells its own time, the better the farther it is.
        let guess = expected(&|s| s == step);
        let here = if share > 0.0 { guess * (1.0 - share) + in_step } else { guess.max(in_step) };
        let left = here * (1.0 - share) + expected(&|s| s > step);
        let (was, should) = (running.done.iter().map(|(_, s)| s).sum::<f64>(), expected(&|s| s < step));
        let trust = should / (should + 0.3 * total);
        let pace = if was > 0.0 && should > 0.0 { trust * (was / should).ln().clamp(-1.0, 1.0) } else { 0.0 };
        Left::AtPace { seconds: left * pace.exp(), open: (left / total.max(left)).sqrt() }
    }

    /// How long it still takes, by chance. Seconds.
    fn draw(&self, model: &CostModel, random: &mut Random) -> f64 {
        let deviation = model.draw_deviation(random);
        match self {
            Left::OfAll { total, elapsed } => (total * deviation.exp() - elapsed).max(0.02 * total),
            Left::AtPace { seconds, open } => (seconds * (deviation * open).exp()).max(0.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::{Part, Sample};
    use crate::policy::Wanting;

    fn work(seconds: f64) -> Work {
        let part = |step, share: f64| Part::new(step, format!("step {step}"), seconds * share, 1.0);
        Work { parts: vec![part(0, 0.4), part(1, 0.6)] }
    }

    fn model() -> CostModel {
        let mut random = Random::new(5);
        let mut sample = |seconds: f64| {
            let mut noise = || (0.05 * random.normal()).exp();
            Sample {
                work: work(seconds),
                worker: "w".into(),
                steps: vec![(0, 0.4 * seconds * noise()), (1, 0.6 * seconds * noise())],
            }
        };
        CostModel::learn(&(0..100).map(|i| sample(50.0 + f64::from(i))).collect::<Vec<_>>())
    }

    fn entry(id: u64, user: u64, since: f64) -> Entry {
        let wanted_by = vec![Wanting { user, since, doubtful: false }];
        Entry { waiting: Waiting { id, rank: 0, wanted_by, cost: 100.0 }, work: work(100.0) }
    }

    fn middle(forecast: &Forecast, id: u64) -> f64 {
        forecast.of(id).unwrap().range.middle
    }

    #[test]
    fn the_queue_is_played_by_the_policy_on_all_workers() {
        let model = model();
        let mut queue =
            Queue { waiting: (1..=4).map(|id| entry(id, 1, 0.0)).collect(), idle: vec!["w".into()], ..Queue::default() };
        queue.waiting.push(entry(5, 2, 30.0));
        let one = forecast(&queue, &model, 1);
        // The other user's order is served second, though it came last.
        for (id, expected) in [(1, 100.0), (5, 200.0), (2, 300.0), (4, 500.0)] {
            assert!((middle(&one, id) / expected - 1.0f64).abs() < 0.1, "{id}: {:?}", one.of(id));
        }
        queue.idle.push("w2".into());
        let two = forecast(&queue, &model, 1);
        assert!((middle(&two, 4) / 300.0 - 1.0).abs() < 0.1, "{:?}", two.of(4));
        queue.idle.clear();
        assert_eq!(forecast(&queue, &model, 1).of(1), None, "without a worker nothing is promised");
    }

    #[test]
    fn newcomers_are_reckoned_with() {
        let model = model();
        let arrivals = Arrivals { per_second: 0.008, seconds: vec![100.0], work_before: vec![0.0] };
        let mut queue =
            Queue { waiting: (1..=6).map(|id| entry(id, 1, 0.0)).collect(), idle: vec!["w".into()], ..Queue::default() };
        let calm = forecast(&queue, &model, 1);
        queue.arrivals = arrivals;
        let busy = forecast(&queue, &model, 1);
        assert!((middle(&busy, 1) / middle(&calm, 1) - 1.0).abs() < 0.1, "who is first stays first");
        assert!(middle(&busy, 6) > 1.5 * middle(&calm, 6), "{:?} {:?}", calm.of(6), busy.of(6));
    }

    #[test]
    fn a_young_site_does_not_take_an_hour_for_granted() {
        let seen = |watched| {
            let came = (0..30).map(|user| Came { user, seconds: 5.0, work_before: 1.0 });
            Arrivals::seen(came, &BTreeMap::new(), watched)
        };
        assert!((seen(3_600.0).per_second - 30.0 / 3_600.0).abs() < 1e-9);
        assert!((seen(300.0).per_second - 0.1).abs() < 1e-9);
        assert!(seen(0.0).per_second <= 0.25, "the first moments say little");
        assert_eq!(seen(300.0).work_before.len(), 30);
    }

    #[test]
    fn who_comes_again_has_got_something_since() {
        let came = [(1, 3.0), (2, 0.0), (3, 7.0)].map(|(user, work_before)| Came { user, seconds: 5.0, work_before });
        let used = BTreeMap::from([(1, 40.0), (2, 50.0)]);
        // The second was new when it came, and so is one like it; what the third had got is forgotten.
        assert_eq!(Arrivals::seen(came.into_iter(), &used, 60.0).work_before, [40.0, 0.0, 0.0]);
    }

    #[test]
    fn a_rush_is_not_taken_to_last() {
        let model = model();
        let came = (0..60).map(|_| Came { user: 1, seconds: 100.0, work_before: 0.0 });
        let arrivals = Arrivals::seen(came, &BTreeMap::new(), 300.0);
        let waiting = (1..=6).map(|id| entry(id, 1, 0.0)).collect();
        let queue = Queue { waiting, idle: vec!["w".into()], arrivals, ..Queue::default() };
        let last = forecast(&queue, &model, 1).of(6).unwrap();
        // Twenty times as much comes as one worker can do; for as long as that lasts, the sixth would wait for an hour and a half.
        assert!(last.waits && (600.0..4_000.0).contains(&last.range.middle), "{last:?}");
        assert!(!forecast(&queue, &model, 1).of(1).unwrap().waits, "the first is taken at once");
    }

    #[test]
    fn what_runs_is_judged_by_what_it_has_done() {
        let model = model();
        let left = |elapsed: f64, done: Vec<(u8, f64)>, current| {
            let running = Running { id: 1, work: work(100.0), worker: "w".into(), elapsed, done, current };
            let queue = Queue { running: vec![running], ..Queue::default() };
            forecast(&queue, &model, 1).of(1).unwrap().range
        };
        let fresh = left(0.0, vec![], None);
        let half = left(70.0, vec![(0, 40.0)], Some((1, 0.5, 30.0)));
        assert!((half.middle - 30.0).abs() < 4.0, "{half:?}");
        assert!(half.high90 - half.low90 < fresh.high90 - fresh.low90);
        let slow = left(110.0, vec![(0, 80.0)], Some((1, 0.5, 30.0)));
        assert!(slow.middle > 1.1 * half.middle, "{slow:?}");
        let overdue = left(500.0, vec![], None);
        assert!(overdue.middle > 0.0 && overdue.middle < 10.0, "{overdue:?}");
    }

    #[test]
    fn the_same_question_has_the_same_answer() {
        let queue = Queue { waiting: vec![entry(1, 1, 0.0)], idle: vec!["w".into()], ..Queue::default() };
        assert_eq!(forecast(&queue, &model(), 4).of(1), forecast(&queue, &model(), 4).of(1));
    }
}
