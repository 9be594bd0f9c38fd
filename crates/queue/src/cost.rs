//! How long a build takes: a rate for each kind of work, learnt from finished builds, and how fast each worker is.
//!
//! A build's work is a list of parts, each of one step and kind with an amount (megabytes, packages, times). A step takes the sum of
//! amount × rate over its parts. The rates are fitted so that the relative errors are least, newer samples counting more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::affinity::{Known, Sketch};
use crate::least_squares::Normal;

/// One kind of work in one step of a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The step it is done in; a later step has a higher number.
    pub step: u8,
    /// What is done, like `fetch MB`. Parts of one kind have one rate.
    pub kind: String,
    pub amount: f64,
    /// Seconds for one of it, to start from while nothing was seen.
    pub guess: f64,
    /// What a worker may have of the packages that spares it this; none when nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spared_by: Option<String>,
    /// Which part of the amount is left to do where a worker has some of it; from 0 to 1.
    #[serde(default = "all")]
    pub left: f64,
}

fn all() -> f64 {
    1.0
}

impl Part {
    pub fn new(step: u8, kind: impl Into<String>, amount: f64, guess: f64) -> Part {
        Part { step, kind: kind.into(), amount, guess, spared_by: None, left: all() }
    }

    /// The same, of which a worker is spared what it has of this ([`Known`]).
    pub fn spared_by(self, what: impl Into<String>) -> Part {
        Part { spared_by: Some(what.into()), ..self }
    }

    /// What is to be done of it.
    pub fn to_do(&self) -> f64 {
        self.amount.max(0.0) * self.left.clamp(0.0, 1.0)
    }
}

/// Everything there is to do for a build.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    pub parts: Vec<Part>,
}

impl Work {
    /// What of it is left to a worker that has this of the packages in the sketch.
    pub fn left_to(&self, known: &Known, sketch: &Sketch) -> Work {
        let left = |part: &Part| part.spared_by.as_ref().map_or(1.0, |what| 1.0 - known.share(what, sketch));
        Work { parts: self.parts.iter().map(|part| Part { left: left(part), ..part.clone() }).collect() }
    }
}

/// A finished build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub work: Work,
    pub worker: String,
    /// How long each step took: its number and seconds.
    pub steps: Vec<(u8, f64)>,
}

impl Sample {
    /// How long it took in all. Seconds.
    pub fn seconds(&self) -> f64 {
        self.steps.iter().map(|(_, seconds)| seconds).sum()
    }
}

/// Most samples learnt from; the newest count.
pub const MAX_SAMPLES: usize = 200;
/// A sample counts half as much as one that is so many builds newer.
const HALF_AGE: f64 = 80.0;
/// How often rates and speeds take turns.
const ROUNDS: usize = 6;
/// A worker's speed is taken to be usual as if so many of its builds had shown it.
const SPEED_WEIGHT: f64 = 1.5;
/// The deviation of the logarithm of a build's time before anything was seen: within a factor of four, nine times of ten.
const UNKNOWN: f64 = 0.85;
/// The guess about the deviation counts like so many samples.
const UNKNOWN_WEIGHT: f64 = 1.0;
/// Samples that are farther off than this factor count as if they were just so far off.
const OUTLIER: f64 = 3.0;
/// No step takes less. Seconds.
const LEAST: f64 = 0.02;

/// What was learnt of finished builds.
#[derive(Clone, Debug)]
pub struct CostModel {
    rates: BTreeMap<String, f64>,
    /// Factor on the usual time, by worker.
    speeds: BTreeMap<String, f64>,
    /// Logarithms of actual / predicted time, of the samples, each with the weights of all up to it.
    residuals: Vec<(f64, f64)>,
}

impl CostModel {
    /// Learns from finished builds, oldest first.
    pub fn learn(samples: &[Sample]) -> CostModel {
        let samples = samples.get(samples.len().saturating_sub(MAX_SAMPLES)..).unwrap_or_default();
        let mut fit = Fit::new(samples);
        // Rates and speeds explain each other, so they take turns.
        for _ in 0..ROUNDS {
            fit.improve_rates();
            fit.learn_speeds();
        }
        let mut model = fit.model();
        let mut weights = 0.0;
        let residuals = samples.iter().enumerate().map(|(index, sample)| {
            weights += weight(index, samples.len());
            ((sample.seconds().max(LEAST) / model.seconds(&sample.work, Some(&sample.worker))).ln(), weights)
        });
        model.residuals = residuals.collect();
        model
    }

    fn rate(&self, part: &Part) -> f64 {
        self.rates.get(&part.kind).copied().unwrap_or(part.guess)
    }

    /// Factor on the usual time for a worker; for none, that of a worker nobody knows.
    pub fn speed(&self, worker: Option<&str>) -> f64 {
        worker.and_then(|name| self.speeds.get(name)).copied().unwrap_or(1.0)
    }

    /// The usual time of one step of a build. Seconds.
    pub fn step_seconds(&self, work: &Work, step: u8) -> f64 {
        let sum: f64 = work.parts.iter().filter(|p| p.step == step).map(|p| p.to_do() * self.rate(p)).sum();
        sum.max(LEAST)
    }

    /// The time a build is expected to take. Seconds.
    pub fn seconds(&self, work: &Work, worker: Option<&str>) -> f64 {
        let sum: f64 = work.parts.iter().map(|p| p.to_do() * self.rate(p)).sum();
        sum.max(LEAST) * self.speed(worker)
    }

    /// A likely logarithm of actual / expected time: one that was seen, or with few seen, one of a wide guess.
    pub fn draw_deviation(&self, random: &mut crate::Random) -> f64 {
        let n = self.residuals.len() as f64;
        if random.unit() < UNKNOWN_WEIGHT / (n + UNKNOWN_WEIGHT) {
            return UNKNOWN * random.normal();
        }
        // Samples explain themselves a little too well; and between two that were seen, others are possible.
        let inflate = 1.0 + 2.0 / (n + 1.0);
        let drawn = random.unit() * self.residuals.last().map_or(0.0, |(_, weights)| *weights);
        let index = self.residuals.partition_point(|(_, weights)| *weights <= drawn);
        self.residuals.get(index).map_or(0.0, |(residual, _)| *residual) * inflate + 0.02 * random.normal()
    }

    /// How many samples it was learnt from.
    pub fn samples(&self) -> usize {
        self.residuals.len()
    }
}

/// How much the sample at this place counts, of so many.
fn weight(index: usize, samples: usize) -> f64 {
    0.5f64.powf((samples - 1 - index) as f64 / HALF_AGE)
}

/// The samples with kinds and workers by number, while rates and speeds are fitted.
#[derive(Default)]
struct Fit<'a> {
    kinds: BTreeMap<&'a str, usize>,
    workers: BTreeMap<&'a str, usize>,
    guesses: Vec<f64>,
    rates: Vec<f64>,
    speeds: Vec<f64>,
    samples: Vec<FitSample>,
}

struct FitSample {
    worker: usize,
    weight: f64,
    seconds: f64,
    /// Of each step what it took, and its parts by kind and amount.
    steps: Vec<(f64, Vec<(usize, f64)>)>,
}

impl<'a> Fit<'a> {
    fn new(samples: &'a [Sample]) -> Fit<'a> {
        let mut fit = Fit::default();
        for (index, sample) in samples.iter().enumerate() {
            let next = fit.workers.len();
            let worker = *fit.workers.entry(&sample.worker).or_insert(next);
            fit.speeds.resize(fit.workers.len(), 1.0);
            let steps = sample.steps.iter().map(|(step, seconds)| {
                let parts = sample.work.parts.iter().filter(|p| p.step == *step && p.to_do() > 0.0);
                (*seconds, parts.map(|p| (kind(&mut fit.kinds, &mut fit.guesses, p), p.to_do())).collect())
            });
            let steps = steps.collect();
            let weight = weight(index, samples.len());
            fit.samples.push(FitSample { worker, weight, seconds: sample.seconds().max(LEAST), steps });
        }
        fit.rates = fit.guesses.clone();
        fit
    }

    fn step_seconds(&self, parts: &[(usize, f64)]) -> f64 {
        let sum: f64 = parts.iter().map(|(kind, amount)| amount * self.rates.get(*kind).copied().unwrap_or(0.0)).sum();
        sum.max(LEAST)
    }

    fn speed(&self, worker: usize) -> f64 {
        self.speeds.get(worker).copied().unwrap_or(1.0)
    }

    /// Finds the rates by which the relative errors are least (weighted least squares), the errors being relative to what was predicted last.
    fn improve_rates(&mut self) {
        let mut normal = Normal::new(&self.guesses);
        for sample in &self.samples {
            let speed = self.speed(sample.worker);
            for (seconds, parts) in &sample.steps {
                let predicted = self.step_seconds(parts) * speed;
                let actual = seconds.clamp(predicted / OUTLIER, predicted * OUTLIER);
                let relative: Vec<(usize, f64)> =
                    parts.iter().map(|(kind, amount)| (*kind, amount * speed / predicted)).collect();
                normal.add(sample.weight, &relative, actual / predicted);
            }
        }
        normal.solve(&mut self.rates);
    }

    fn learn_speeds(&mut self) {
        let mut seen = vec![(0.0, 0.0); self.speeds.len()];
        for sample in &self.samples {
            let usual: f64 = sample.steps.iter().map(|(_, parts)| self.step_seconds(parts)).sum();
            let off = (sample.seconds / usual.max(LEAST)).ln().clamp(-OUTLIER.ln(), OUTLIER.ln());
            if let Some((sum, weights)) = seen.get_mut(sample.worker) {
                *sum += sample.weight * off;
                *weights += sample.weight;
            }
        }
        // What all have in common is in the rates.
        let (sum, weights) = seen.iter().fold((0.0, 0.0), |all: (f64, f64), one| (all.0 + one.0, all.1 + one.1));
        let common = if weights > 0.0 { sum / weights } else { 0.0 };
        self.rates.iter_mut().for_each(|rate| *rate *= common.exp());
        let speed = |(sum, weights): (f64, f64)| ((sum - common * weights) / (weights + SPEED_WEIGHT)).exp();
        self.speeds = seen.into_iter().map(speed).collect();
    }

    fn model(self) -> CostModel {
        let named = |names: BTreeMap<&str, usize>, values: &[f64]| {
            names.into_iter().filter_map(|(name, i)| Some((name.to_owned(), *values.get(i)?))).collect()
        };
        CostModel { rates: named(self.kinds, &self.rates), speeds: named(self.workers, &self.speeds), residuals: Vec::new() }
    }
}

fn kind<'a>(kinds: &mut BTreeMap<&'a str, usize>, guesses: &mut Vec<f64>, part: &'a Part) -> usize {
    *kinds.entry(&part.kind).or_insert_with(|| {
        guesses.push(part.guess.max(1e-9));
        guesses.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn work(fetch: f64, iso: f64) -> Work {
        let part = |step, kind: &str, amount| Part::new(step, kind, amount, 0.1);
        Work { parts: vec![part(0, "fetch", fetch), part(1, "iso", iso), part(1, "fixed", 1.0)] }
    }

    #[test]
    fn rates_and_speeds_are_found() {
        let mut random = Random::new(7);
        let samples: Vec<Sample> = (0..120)
            .map(|i| {
                let (fetch, iso) = (50.0 + 400.0 * random.unit(), 100.0 + 900.0 * random.unit());
                let slow = if i % 3 == 0 { 2.0 } else { 1.0 };
                let mut noise = || (0.05 * random.normal()).exp();
                let steps = vec![(0, fetch * 0.2 * slow * noise()), (1, (iso * 0.05 + 3.0) * slow * noise())];
                Sample { work: work(fetch, iso), worker: if i % 3 == 0 { "slow" } else { "quick" }.into(), steps }
            })
            .collect();
        let model = CostModel::learn(&samples);
        for (worker, factor) in [("slow", 2.0), ("quick", 1.0)] {
            let expected = (300.0 * 0.2 + 500.0 * 0.05 + 3.0) * factor;
            let found = model.seconds(&work(300.0, 500.0), Some(worker));
            assert!((found / expected).ln().abs() < 0.08, "{worker}: {found} instead of {expected}");
        }
        let wide = (0..2_000).filter(|_| model.draw_deviation(&mut random).abs() > 0.3).count();
        assert!(wide < 100, "{wide}");
    }

    #[test]
    fn a_worker_is_spared_what_it_has() {
        let sketch = Sketch::of([(1, 30 << 20), (2, 10 << 20)]);
        let mut known = Known::default();
        known.add("package", &Sketch::of([(1, 1)]));
        let mut work = work(100.0, 100.0);
        work.parts[0] = work.parts[0].clone().spared_by("package");
        let (model, left) = (CostModel::learn(&[]), work.left_to(&known, &sketch));
        assert!((model.step_seconds(&left, 0) - 2.5).abs() < 1e-9, "{left:?}");
        assert_eq!(model.step_seconds(&left, 1), model.step_seconds(&work, 1), "the rest is for everybody");
        assert_eq!(left.left_to(&Known::default(), &sketch), work, "and another worker has it all to do");
    }

    #[test]
    fn with_nothing_seen_the_guess_stands_and_is_wide() {
        let model = CostModel::learn(&[]);
        assert!((model.seconds(&work(100.0, 100.0), None) - 20.1).abs() < 1e-6);
        let mut random = Random::new(1);
        let wide = (0..1_000).filter(|_| model.draw_deviation(&mut random).abs() > 1.0).count();
        assert!((150..350).contains(&wide), "{wide}");
    }

    #[test]
    fn nonsense_does_not_break_it() {
        let steps = vec![(0, 0.0), (1, f64::MAX), (9, 5.0)];
        let model = CostModel::learn(&vec![Sample { work: work(0.0, 1e18), worker: String::new(), steps }; 5]);
        assert!(model.seconds(&work(1.0, 1.0), None).is_finite());
        assert!(
            CostModel::learn(&[Sample { work: Work::default(), worker: "w".into(), steps: vec![] }])
                .seconds(&Work::default(), None)
                > 0.0
        );
    }
}
