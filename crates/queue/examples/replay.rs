//! Names the times of a real run once more, by the forecasts of today: of what `bench/forecast.py --record FILE` wrote.
//!
//!     cargo run --release -p queue --example replay -- FILE...
//!
//! Each order is looked at when it came, with what had come and ended by then. Only what decides about times is there: the work each build
//! turned out to be is taken to have been known, and all workers to have been there all the time.

use std::collections::BTreeMap;

use queue::calibration::Promise;
use queue::forecast::{Arrivals, Came, Entry, Queue, Running, forecast};
use queue::policy::{self, Waiting, Wanting};
use queue::{Calibration, CostModel, Foreseen, Range, Sample, Work};
use serde::Deserialize;

/// What somebody ordered; times in seconds of one clock.
#[derive(Deserialize)]
struct Build {
    user: u64,
    /// When it was ordered.
    at: f64,
    started: f64,
    ended: f64,
    failed: bool,
    worker: String,
    work: Work,
    steps: Vec<(u8, f64)>,
}

/// What was named for an order, and what came.
struct Named {
    /// Builds that had ended, and builds that waited.
    known: usize,
    waiting: usize,
    foreseen: Foreseen,
    named: Range,
    actual: f64,
    ended: f64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let builds: Vec<Build> = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let build = median(builds.iter().filter(|b| !b.failed).map(|b| b.steps.iter().map(|(_, seconds)| seconds).sum()));
        println!("{file}, median build {build:.1} s\n");
        println!(
            "| orders | count | in the 90% range | in the 50% range | uncalibrated | width of 90% / build | error of the middle |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        let all = replay(&builds);
        let row = |name: &str, counts: &dyn Fn(&Named) -> bool| row(name, all.iter().filter(|n| counts(n)).collect(), build);
        row("all", &|_| true);
        row("when up to 20 builds had ended", &|n| n.known <= 20);
        row("when 21 to 200 had", &|n| (21..=200).contains(&n.known));
        row("when more had", &|n| n.known > 200);
        row("began at once", &|n| n.known > 20 && !n.foreseen.waits);
        row("waited", &|n| n.known > 20 && n.foreseen.waits);
        row("others waited before", &|n| n.known > 20 && n.waiting > 0);
        println!();
    }
    Ok(())
}

fn row(name: &str, of: Vec<&Named>, build: f64) {
    if of.is_empty() {
        return println!("| {name} | 0 | | | | | |");
    }
    let share = |holds: &dyn Fn(&Named) -> bool| 100.0 * of.iter().filter(|n| holds(n)).count() as f64 / of.len() as f64;
    println!(
        "| {name} | {} | {:.0}% | {:.0}% | {:.0}% | {:.2} | {:.1}% |",
        of.len(),
        share(&|n| n.named.holds90(n.actual)),
        share(&|n| n.named.holds50(n.actual)),
        share(&|n| n.foreseen.range.holds90(n.actual)),
        median(of.iter().map(|n| n.named.high90 - n.named.low90)) / build,
        100.0 * median(of.iter().map(|n| (n.named.middle - n.actual).abs() / n.actual.max(0.5))),
    );
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The orders in the sequence of their coming.
fn replay(builds: &[Build]) -> Vec<Named> {
    let mut workers: Vec<&str> = builds.iter().map(|b| b.worker.as_str()).collect();
    workers.sort_unstable();
    workers.dedup();
    let (mut all, mut came) = (Vec::new(), Vec::new());
    for (index, build) in builds.iter().enumerate() {
        let now = build.at;
        let mut ended: Vec<&Build> = builds.iter().filter(|b| b.ended <= now).collect();
        ended.sort_by(|a, b| a.ended.total_cmp(&b.ended));
        let samples: Vec<Sample> = ended.iter().filter(|b| !b.failed).map(|b| sample(b)).collect();
        let model = CostModel::learn(&samples);
        let mut queue = queue(builds.get(..=index).unwrap_or_default(), &workers, &ended, &model, now);
        let claimants: Vec<Waiting> = queue.waiting.iter().map(|e| e.waiting.clone()).collect();
        let work_before = policy::claims(&claimants, &queue.used).last().map_or(0.0, |claim| claim.work_before(now));
        came.push((build, work_before));
        let watched = now - builds.first().map_or(now, |first| first.at);
        let seen = |(b, work_before): &(&Build, f64)| Came {
            user: b.user,
            seconds: model.seconds(&b.work, None),
            work_before: *work_before,
        };
        queue.arrivals = Arrivals::seen(came.iter().map(seen), &queue.used, watched);
        let calibration = Calibration::learn(&promises(&all, now));
        if let Some(foreseen) = forecast(&queue, &model, 1).of(index as u64).filter(|_| !build.failed) {
            let (known, waiting, named) = (samples.len(), queue.waiting.len() - 1, calibration.apply(foreseen));
            all.push(Named { known, waiting, foreseen, named, actual: build.ended - now, ended: build.ended });
        }
    }
    all
}

fn sample(build: &Build) -> Sample {
    Sample { work: build.work.clone(), worker: build.worker.clone(), steps: build.steps.clone() }
}

/// What had come of earlier promises, oldest first.
fn promises(named: &[Named], now: f64) -> Vec<Promise> {
    let mut past: Vec<&Named> = named.iter().filter(|n| n.ended <= now).collect();
    past.sort_by(|a, b| a.ended.total_cmp(&b.ended));
    past.into_iter().map(|n| Promise { forecast: n.foreseen, actual: n.actual }).collect()
}

/// The queue when the last of these builds was ordered.
fn queue(builds: &[Build], workers: &[&str], ended: &[&Build], model: &CostModel, now: f64) -> Queue {
    let last = builds.len() - 1;
    let numbered = || (0..).zip(builds);
    let running: Vec<Running> =
        numbered().filter(|(_, b)| b.started <= now && b.ended > now && b.at < now).map(|(id, b)| running(id, b, now)).collect();
    let waiting = numbered().filter(|(id, b)| b.started > now || *id == last as u64).map(|(id, b)| {
        let wanted_by = vec![Wanting { user: b.user, since: b.at, doubtful: false }];
        Entry { waiting: Waiting { id, rank: 0, wanted_by, cost: model.seconds(&b.work, None) }, work: b.work.clone() }
    });
    let mut used: BTreeMap<u64, f64> = BTreeMap::new();
    for build in ended {
        *used.entry(build.user).or_default() += policy::remembered(build.ended - build.started, now - build.ended);
    }
    for build in running.iter().filter_map(|r| builds.get(r.id as usize)) {
        *used.entry(build.user).or_default() += model.seconds(&build.work, None);
    }
    let lately = ended.iter().rev().take(200);
    let failed = lately.clone().filter(|b| b.failed).count() as f64;
    Queue {
        now,
        waiting: waiting.collect(),
        idle: workers.iter().filter(|name| running.iter().all(|r| r.worker != **name)).map(|name| (*name).to_owned()).collect(),
        running,
        used,
        arrivals: Arrivals::default(),
        failing: (failed + 0.5) / (lately.count() as f64 + 20.0),
    }
}

fn running(id: u64, build: &Build, now: f64) -> Running {
    let elapsed = now - build.started;
    let (mut done, mut over, mut current) = (Vec::new(), 0.0, None);
    for (step, seconds) in &build.steps {
        if over + seconds > elapsed {
            current = Some((*step, (elapsed - over) / seconds, elapsed - over));
            break;
        }
        done.push((*step, *seconds));
        over += seconds;
    }
    Running { id, work: build.work.clone(), worker: build.worker.clone(), elapsed, done, current }
}
