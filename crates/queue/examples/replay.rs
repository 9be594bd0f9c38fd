//! Names the times of a real run once more, by the forecasts of today: of what `bench/forecast.py --record FILE` wrote.
//!
//!     cargo run --release -p queue --example replay -- FILE...
//!
//! Each order is looked at when it came, with what had come and ended by then. Only what decides about times is there: the work each build
//! turned out to be is taken to have been known, and all workers to have been there all the time.

use std::collections::BTreeMap;

use queue::calibration::Promise;
use queue::forecast::{Arrivals, Came, Entry, Queue, Running, failing, forecast};
use queue::policy::{self, Waiting, Wanting};
use queue::simulation::{Outcome, Score, Served};
use queue::{Calibration, CostModel, Sample, Work};
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in std::env::args().skip(1) {
        let builds: Vec<Build> = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let outcome = replay(&builds);
        println!("{file}, median build {:.1} s\n", outcome.score(|_| true).build);
        println!(
            "| orders | count | in the 90% range | in the 50% range | uncalibrated | width of 90% / build | error of the middle |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        row("all", &outcome.score(|_| true));
        row("when up to 20 builds had ended", &outcome.score(|n| n.known <= 20));
        row("when 21 to 200 had", &outcome.score(|n| (21..=200).contains(&n.known)));
        row("when more had", &outcome.score(|n| n.known > 200));
        row("began at once", &outcome.score(|n| n.known > 20 && !n.forecast.waits));
        row("waited", &outcome.score(|n| n.known > 20 && n.forecast.waits));
        row("others waited before", &outcome.score(|n| n.known > 20 && n.before > 0));
        println!();
    }
    Ok(())
}

fn row(name: &str, score: &Score) {
    if score.orders == 0 {
        return println!("| {name} | 0 | | | | | |");
    }
    println!(
        "| {name} | {} | {:.0}% | {:.0}% | {:.0}% | {:.2} | {:.1}% |",
        score.orders,
        100.0 * score.in90,
        100.0 * score.in50,
        100.0 * score.uncalibrated90,
        score.width / score.build,
        100.0 * score.error,
    );
}

/// The orders in the sequence of their coming.
fn replay(builds: &[Build]) -> Outcome {
    let mut workers: Vec<&str> = builds.iter().map(|b| b.worker.as_str()).collect();
    workers.sort_unstable();
    workers.dedup();
    // Of each order that was promised a time, when its build ended and what was promised.
    let (mut all, mut came): (Vec<(f64, Served)>, _) = (Vec::new(), Vec::new());
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
            let (known, before, named) = (samples.len(), queue.waiting.len() - 1, calibration.apply(foreseen));
            let actual = build.ended - now;
            all.push((build.ended, Served { user: build.user, known, before, forecast: foreseen, named, actual }));
        }
    }
    let seconds = |build: &Build| build.steps.iter().map(|(_, seconds)| seconds).sum();
    Outcome {
        served: all.into_iter().map(|(_, served)| served).collect(),
        builds: builds.iter().filter(|b| !b.failed).map(seconds).collect(),
        ..Outcome::default()
    }
}

fn sample(build: &Build) -> Sample {
    Sample { work: build.work.clone(), worker: build.worker.clone(), steps: build.steps.clone() }
}

/// What had come of earlier promises, oldest first.
fn promises(all: &[(f64, Served)], now: f64) -> Vec<Promise> {
    let mut past: Vec<&(f64, Served)> = all.iter().filter(|(ended, _)| *ended <= now).collect();
    past.sort_by(|a, b| a.0.total_cmp(&b.0));
    past.into_iter().map(|(_, served)| Promise { forecast: served.forecast, actual: served.actual }).collect()
}

/// The queue when the last of these builds was ordered.
fn queue(builds: &[Build], workers: &[&str], ended: &[&Build], model: &CostModel, now: f64) -> Queue {
    let last = builds.len() - 1;
    let numbered = || (0..).zip(builds);
    let running: Vec<Running> = numbered()
        .filter(|(_, b)| b.started <= now && b.ended > now && b.at < now)
        .map(|(id, b)| Running::part_way(id, &b.work, &b.worker, &b.steps, now - b.started))
        .collect();
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
    Queue {
        now,
        waiting: waiting.collect(),
        idle: workers.iter().filter(|name| running.iter().all(|r| r.worker != **name)).map(|name| (*name).to_owned()).collect(),
        running,
        used,
        arrivals: Arrivals::default(),
        failing: failing(lately.clone().filter(|b| b.failed).count() as u64, lately.count() as u64),
    }
}
