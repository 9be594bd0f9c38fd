//! The world that a scenario is played in: what users, workers and chance do, one event after the other.

mod seen;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{Outcome, Scenario, Served};
use crate::calibration::{Foreseen, Promise, Range};
use crate::cost::{CostModel, Part, Sample, Work};
use crate::policy::{self, Waiting};
use crate::random::Random;

/// The kinds of work, what one of each really takes, and what the server guesses at first. Seconds.
const KINDS: [(u8, &str, f64, f64); 9] = [
    (0, "fetch MB", 0.045, 0.02),
    (0, "fetch package", 0.03, 0.02),
    (1, "merge MB", 0.02, 0.03),
    (1, "merge package", 0.12, 0.05),
    (2, "configure", 4.0, 2.0),
    (3, "write iso", 0.05, 0.03),
    (3, "write tar.bz2", 0.09, 0.05),
    (3, "write zip", 0.03, 0.03),
    (4, "upload MB", 0.008, 0.01),
];
/// The deviation of the logarithm of installed size / package size. Drawing sets of 60 to 200 packages from real binhosts gives 0.04 to 0.12.
const HIDDEN: f64 = 0.08;
/// Seconds until a lost worker's build is taken over.
const LEASE: f64 = 60.0;
/// A worker that asks for work has begun with it within so long.
const HANDOVER: f64 = 0.2;

/// Plays a scenario.
pub fn run(scenario: &Scenario) -> Outcome {
    let mut world = World::new(scenario);
    while world.outcome.served.len() + world.outcome.failed + world.outcome.found_ready < scenario.orders {
        let Some(Reverse((Moment(now), _, event))) = world.events.pop() else { break };
        world.now = now;
        world.happen(event);
        world.hand_out();
    }
    world.outcome.available = world.now * world.workers.len() as f64;
    world.outcome
}

#[derive(Clone, Copy, PartialEq)]
struct Moment(f64);

impl Eq for Moment {}

impl Ord for Moment {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Somebody orders, and the next one is on the way.
    Order,
    Burst,
    /// One order of a burst by this user.
    OrderOf(usize),
    /// A worker ends the attempt it has in hand.
    Ends {
        worker: usize,
        attempt: usize,
    },
    /// A lease lapses.
    Lapses {
        build: usize,
    },
    Leaves,
    Returns,
}

/// An order that waits for its build.
struct Order {
    user: u64,
    since: f64,
    known: usize,
    before: usize,
    promise: Option<(Foreseen, Range)>,
}

struct Build {
    /// What it is; equal orders are joined on it.
    what: u64,
    work: Work,
    orders: Vec<Order>,
    /// The factors on its steps that nothing explains.
    luck: Vec<f64>,
}

/// A build in a worker's hand.
struct Attempt {
    build: usize,
    number: usize,
    began: f64,
    /// What each step really takes.
    steps: Vec<(u8, f64)>,
}

struct Worker {
    name: String,
    speed: f64,
    there: bool,
    attempt: Option<Attempt>,
}

struct World<'a> {
    scenario: &'a Scenario,
    random: Random,
    now: f64,
    events: BinaryHeap<Reverse<(Moment, usize, Event)>>,
    /// Counts events and attempts, so that each is told apart.
    count: usize,
    builds: Vec<Build>,
    waiting: Vec<usize>,
    /// Builds whose worker was lost and whose lease still runs.
    lost: Vec<(usize, Attempt, String)>,
    ready: HashMap<u64, f64>,
    workers: Vec<Worker>,
    samples: Vec<Sample>,
    /// What was learnt of the samples, and of how many.
    model: (usize, CostModel),
    promises: Vec<Promise>,
    /// User, seconds and end of builds that were served.
    got: Vec<(u64, f64, f64)>,
    /// When new builds came, whose, what they take, and the work before them.
    came: Vec<(f64, u64, f64, f64)>,
    /// Ends of builds: whether each failed.
    ends: Vec<bool>,
    outcome: Outcome,
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario) -> World<'a> {
        let workers = scenario.workers.iter().enumerate().map(|(i, speed)| Worker {
            name: format!("worker {i}"),
            speed: *speed,
            there: true,
            attempt: None,
        });
        let mut world = World {
            scenario,
            random: Random::new(scenario.seed),
            now: 0.0,
            events: BinaryHeap::new(),
            count: 0,
            builds: Vec::new(),
            waiting: Vec::new(),
            lost: Vec::new(),
            ready: HashMap::new(),
            workers: workers.collect(),
            samples: Vec::new(),
            model: (0, CostModel::learn(&[])),
            promises: Vec::new(),
            got: Vec::new(),
            came: Vec::new(),
            ends: Vec::new(),
            outcome: Outcome::default(),
        };
        world.at(0.0, Event::Order);
        world.at(scenario.between_bursts / 2.0, Event::Burst);
        world.at(scenario.away.0, Event::Leaves);
        world.at(scenario.away.1, Event::Returns);
        world
    }

    fn at(&mut self, time: f64, event: Event) {
        self.count += 1;
        self.events.push(Reverse((Moment(time), self.count, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Order => {
                // Few users order most.
                let user = (self.random.unit().powi(2) * self.scenario.users as f64) as usize;
                self.order(user);
                let next = self.now + self.random.waiting_time(1.0 / self.scenario.between_orders);
                self.at(next, Event::Order);
            }
            Event::Burst => {
                let anybody = self.random.below(self.scenario.users);
                let user = self.scenario.bursts_of.unwrap_or(anybody);
                for _ in 0..5 + self.random.below(11) {
                    let time = self.now + 300.0 * self.random.unit();
                    self.at(time, Event::OrderOf(user));
                }
                let next = self.now + self.random.waiting_time(1.0 / self.scenario.between_bursts);
                self.at(next, Event::Burst);
            }
            Event::OrderOf(user) => self.order(user),
            Event::Ends { worker, attempt } => self.end(worker, attempt),
            Event::Lapses { build } => {
                self.lost.retain(|(b, _, _)| *b != build);
                self.waiting.push(build);
                self.outcome.lapsed += 1;
            }
            Event::Leaves => self.lose(0, true),
            Event::Returns => {
                if let Some(worker) = self.workers.first_mut() {
                    worker.there = true;
                }
            }
        }
    }

    /// A worker is lost with what it has in hand; for long, or only to come back at once without it.
    fn lose(&mut self, worker: usize, for_long: bool) {
        let Some(worker) = self.workers.get_mut(worker) else { return };
        worker.there = !for_long;
        if let Some(attempt) = worker.attempt.take() {
            let build = attempt.build;
            self.lost.push((build, attempt, worker.name.clone()));
            self.at(self.now + LEASE, Event::Lapses { build });
        }
    }

    /// Somebody orders: joined to what there is, or queued; and promised a time.
    fn order(&mut self, user: usize) {
        let popular = self.random.unit() < self.scenario.popular;
        // The channels move on every four hours, and with them what is popular.
        let what = if popular {
            (self.now / 14_400.0) as u64 * 6 + self.random.below(6) as u64
        } else {
            1_000_000 + self.random.next_u64() / 2
        };
        if self.ready.get(&what).is_some_and(|since| self.now - since < 86_400.0) {
            self.outcome.found_ready += 1;
            return;
        }
        let order = Order { user: user as u64, since: self.now, known: self.samples.len(), before: 0, promise: None };
        let alive = |b: &usize| self.waiting.contains(b) || self.in_hand().any(|r| r == *b);
        let known =
            (0..self.builds.len()).rev().find(|b| self.builds.get(*b).is_some_and(|build| build.what == what) && alive(b));
        let build = match known {
            Some(build) => {
                self.outcome.joined += 1;
                build
            }
            None => {
                let (work, luck) = self.work_of(what);
                self.builds.push(Build { what, work, orders: Vec::new(), luck });
                self.waiting.push(self.builds.len() - 1);
                self.builds.len() - 1
            }
        };
        if let Some(b) = self.builds.get_mut(build) {
            b.orders.push(order);
        }
        self.promise(build, known.is_none());
    }

    fn in_hand(&self) -> impl Iterator<Item = usize> + '_ {
        self.workers.iter().filter_map(|w| w.attempt.as_ref()).chain(self.lost.iter().map(|(_, a, _)| a)).map(|a| a.build)
    }

    /// What there is to do; the same for the same thing.
    fn work_of(&mut self, what: u64) -> (Work, Vec<f64>) {
        let mut random = Random::new(what);
        let megabytes = 150.0 * (0.7 * random.normal()).exp();
        let packages = (megabytes * (0.6 + 0.8 * random.unit())).round();
        let installed = megabytes * 3.1 * (HIDDEN * random.normal()).exp();
        let formats = 1 + random.below(7);
        let amount = |kind: &str| match kind {
            "fetch MB" => megabytes,
            "fetch package" | "merge package" => packages,
            "merge MB" => megabytes * 3.1,
            "configure" => 1.0,
            "write iso" if formats & 1 == 0 => 0.0,
            "write tar.bz2" if formats & 2 == 0 => 0.0,
            "write zip" if formats & 4 == 0 => 0.0,
            "upload MB" => megabytes * f64::from(formats.count_ones()),
            _ => megabytes * 3.1,
        };
        let parts = KINDS.iter().map(|(step, kind, _, guess)| Part::new(*step, *kind, amount(kind), *guess));
        let work = Work { parts: parts.collect() };
        // What is installed is not known beforehand, so the server's amount is off by a factor of its own.
        let hidden = installed / (megabytes * 3.1);
        let luck = (0..5u8).map(|step| {
            let common = if step == 1 || step == 3 { hidden } else { 1.0 };
            common * (self.scenario.noise * self.random.normal()).exp()
        });
        (work, luck.collect())
    }

    /// Free workers take what is next.
    fn hand_out(&mut self) {
        while let Some(worker) = self.free_worker() {
            if self.waiting.is_empty() {
                return;
            }
            let model = self.model();
            let queue = self.queue(&model);
            let waiting: Vec<Waiting> = queue.waiting.into_iter().map(|e| e.waiting).collect();
            let Some(build) = policy::turns(&waiting, &queue.used).first().and_then(|i| waiting.get(*i)).map(|w| w.id as usize)
            else {
                return;
            };
            self.waiting.retain(|b| *b != build);
            self.begin(worker, build);
        }
    }

    /// A worker that asks for work and gets it: any that is idle, if no quicker one is.
    fn free_worker(&mut self) -> Option<usize> {
        let model = self.model();
        let speeds: Vec<Option<f64>> =
            self.workers.iter().map(|w| (w.there && w.attempt.is_none()).then(|| model.speed(Some(&w.name)))).collect();
        let gets = |worker: &usize| {
            let others = speeds.iter().enumerate().filter(|(i, _)| i != worker).filter_map(|(_, speed)| *speed);
            let own = speeds.get(*worker).copied().flatten();
            own.is_some_and(|own| policy::gets_a_build(own, &others.collect::<Vec<_>>(), self.waiting.len()))
        };
        let free: Vec<usize> = (0..self.workers.len()).filter(gets).collect();
        free.get(self.random.below(free.len())).copied()
    }

    fn begin(&mut self, worker: usize, build: usize) {
        self.count += 1;
        let number = self.count;
        let Some((w, b)) = self.workers.get_mut(worker).zip(self.builds.get(build)) else { return };
        let steps: Vec<(u8, f64)> = (0u8..5)
            .zip(&b.luck)
            .map(|(step, luck)| {
                let parts = b.work.parts.iter().zip(KINDS).filter(|(p, _)| p.step == step);
                (step, (parts.map(|(p, (_, _, rate, _))| p.amount * rate).sum::<f64>() * luck * w.speed).max(0.1))
            })
            .collect();
        let began = self.now + HANDOVER * self.random.unit();
        let seconds: f64 = steps.iter().map(|(_, s)| s).sum();
        w.attempt = Some(Attempt { build, number, began, steps });
        let fate = self.random.unit();
        let early = seconds * self.random.unit();
        if fate < self.scenario.failing + self.scenario.losing {
            // It ends in the middle of its steps; how, is decided then.
            self.at(began + early, Event::Ends { worker, attempt: number });
        } else {
            self.at(began + seconds, Event::Ends { worker, attempt: number });
        }
    }

    fn end(&mut self, worker: usize, attempt: usize) {
        let Some(w) = self.workers.get_mut(worker) else { return };
        let Some(held) = w.attempt.take_if(|a| a.number == attempt) else { return };
        let seconds: f64 = held.steps.iter().map(|(_, s)| s).sum();
        let took = self.now - held.began;
        if took < seconds - 0.001 {
            let lost = self.random.unit() * (self.scenario.failing + self.scenario.losing) < self.scenario.losing;
            if lost {
                w.attempt = Some(held);
                self.lose(worker, false);
                return;
            }
            self.ends.push(true);
            self.close(held.build, took, false);
            return;
        }
        self.ends.push(false);
        if let Some(b) = self.builds.get(held.build) {
            self.samples.push(Sample { work: b.work.clone(), worker: w.name.clone(), steps: held.steps });
        }
        self.outcome.builds.push(took);
        self.close(held.build, took, true);
    }

    fn close(&mut self, build: usize, took: f64, ready: bool) {
        let Some(b) = self.builds.get_mut(build) else { return };
        let orders = std::mem::take(&mut b.orders);
        let share = took / orders.len().max(1) as f64;
        if ready {
            self.ready.insert(b.what, self.now);
        }
        for order in orders {
            self.got.push((order.user, share, self.now));
            let actual = self.now - order.since;
            match order.promise {
                Some((forecast, named)) if ready => {
                    self.promises.push(Promise { forecast, actual });
                    self.outcome.served.push(Served {
                        user: order.user,
                        known: order.known,
                        before: order.before,
                        forecast,
                        named,
                        actual,
                    });
                }
                _ => self.outcome.failed += usize::from(!ready),
            }
        }
    }
}
