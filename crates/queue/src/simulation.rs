//! A service to try the queue on: users who order in bursts and order the same things, workers of different speeds, builds that fail, a
//! worker that is lost. What a build really takes is drawn from rates that the forecast is never shown; it sees only what a server sees.

mod world;

pub use world::run;

use crate::calibration::{Foreseen, Range};

/// What happens in a simulation.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub users: usize,
    /// How fast each worker is: the factor on a build's time.
    pub workers: Vec<f64>,
    /// The simulation ends when so many orders are served.
    pub orders: usize,
    /// Seconds between orders, on average and without the bursts.
    pub between_orders: f64,
    /// Seconds between bursts, on average: one user orders five to fifteen images within minutes.
    pub between_bursts: f64,
    /// Whose the bursts are; none means anybody's.
    pub bursts_of: Option<usize>,
    /// The share of orders that are for something popular, and so may join a build.
    pub popular: f64,
    /// The share of builds that fail.
    pub failing: f64,
    /// The share of builds whose worker is lost while they run; the lease lapses, and another takes them.
    pub losing: f64,
    /// From when to when the first worker is away. Seconds.
    pub away: (f64, f64),
    /// The deviation of the logarithm of a step's time that nothing explains.
    pub noise: f64,
}

impl Scenario {
    /// The same with as much to do as two of the workers can: most orders wait for several others.
    pub fn full(seed: u64) -> Scenario {
        Scenario { workers: vec![1.0, 0.8], between_orders: 42.0, away: (0.0, 0.0), ..Scenario::usual(seed) }
    }

    /// The same with more to do: now and then all workers are busy, and an order waits.
    pub fn busy(seed: u64) -> Scenario {
        Scenario { between_orders: 42.0, ..Scenario::usual(seed) }
    }

    /// 50 users and 4 workers, with bursts, failures and a lost worker.
    pub fn usual(seed: u64) -> Scenario {
        Scenario {
            seed,
            users: 50,
            workers: vec![1.0, 0.8, 1.25, 1.7],
            orders: 1_200,
            between_orders: 75.0,
            between_bursts: 7_200.0,
            bursts_of: None,
            popular: 0.3,
            failing: 0.04,
            losing: 0.005,
            away: (30_000.0, 37_200.0),
            noise: 0.1,
        }
    }
}

/// What was promised for an order, and what came.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    pub user: u64,
    /// Builds that had ended when the order came.
    pub known: usize,
    /// How many builds waited before it.
    pub before: usize,
    /// The forecast before calibration, and as it was named.
    pub forecast: Foreseen,
    pub named: Range,
    /// From the order to the image. Seconds.
    pub actual: f64,
}

/// What came of a simulation.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Orders in the sequence of their coming, as far as they got an image and did not find it ready.
    pub served: Vec<Served>,
    /// Times of the builds that became ready. Seconds.
    pub builds: Vec<f64>,
    /// What all workers could have built for. Seconds.
    pub available: f64,
    /// Orders whose build failed, orders that found their image ready, orders that joined a build that waited or ran, leases that lapsed.
    pub failed: usize,
    pub found_ready: usize,
    pub joined: usize,
    pub lapsed: usize,
}

/// How good the promises were, of the orders that came when at least so many builds had ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    pub orders: usize,
    /// The share of orders that were ready within their range.
    pub in90: f64,
    pub in50: f64,
    /// The share that would have been without calibration.
    pub uncalibrated90: f64,
    /// Median of the 90% range's width. Seconds.
    pub width: f64,
    /// Median time of a build. Seconds.
    pub build: f64,
    /// Median of |middle − actual| / actual.
    pub error: f64,
    /// Median time from order to image. Seconds.
    pub wait: f64,
}

impl Outcome {
    /// The share of their time that workers spent on builds that became ready.
    pub fn busy(&self) -> f64 {
        self.builds.iter().sum::<f64>() / self.available
    }

    /// The score of the orders that `counts` takes.
    pub fn score(&self, counts: impl Fn(&Served) -> bool) -> Score {
        let served: Vec<&Served> = self.served.iter().filter(|s| counts(s)).collect();
        let share =
            |holds: &dyn Fn(&Served) -> bool| served.iter().filter(|s| holds(s)).count() as f64 / served.len().max(1) as f64;
        Score {
            orders: served.len(),
            in90: share(&|s| s.named.holds90(s.actual)),
            in50: share(&|s| s.named.holds50(s.actual)),
            uncalibrated90: share(&|s| s.forecast.range.holds90(s.actual)),
            width: median(served.iter().map(|s| s.named.high90 - s.named.low90)),
            build: median(self.builds.iter().copied()),
            error: median(served.iter().map(|s| (s.named.middle - s.actual).abs() / s.actual)),
            wait: median(served.iter().map(|s| s.actual)),
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
