//! Ranges that hold as often as they claim. Each promise that was made is compared with what came; from that, ranges to come are moved,
//! widened or narrowed (split conformal prediction on the logarithm of the waiting time: Lei and others, Distribution-free predictive
//! inference for regression, 2018).

use serde::{Deserialize, Serialize};

/// When something will be there, in seconds from the moment of the forecast.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range {
    /// Nine of ten times it is between `low90` and `high90`.
    pub low90: f64,
    /// Every other time it is between `low50` and `high50`.
    pub low50: f64,
    /// As often earlier as later.
    pub middle: f64,
    pub high50: f64,
    pub high90: f64,
}

impl Range {
    /// What is there already.
    pub const NOW: Range = Range { low90: 0.0, low50: 0.0, middle: 0.0, high50: 0.0, high90: 0.0 };

    /// The range that holds these times, which need not be sorted. None when there are none.
    pub fn of(mut times: Vec<f64>) -> Option<Range> {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| times.get(((times.len() as f64 - 1.0) * share).round() as usize).copied();
        Some(Range { low90: at(0.05)?, low50: at(0.25)?, middle: at(0.5)?, high50: at(0.75)?, high90: at(0.95)? })
    }

    /// The same range when `seconds` have gone by; what is over is now.
    pub fn after(self, seconds: f64) -> Range {
        self.map(|time| (time - seconds).max(0.0))
    }

    /// When both are there, if each is as early, or as late, as the other.
    pub fn with(self, other: Range) -> Range {
        Range {
            low90: self.low90.max(other.low90),
            low50: self.low50.max(other.low50),
            middle: self.middle.max(other.middle),
            high50: self.high50.max(other.high50),
            high90: self.high90.max(other.high90),
        }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Range {
        Range {
            low90: change(self.low90),
            low50: change(self.low50),
            middle: change(self.middle),
            high50: change(self.high50),
            high90: change(self.high90),
        }
    }

    pub fn holds90(&self, actual: f64) -> bool {
        (self.low90..=self.high90).contains(&actual)
    }

    pub fn holds50(&self, actual: f64) -> bool {
        (self.low50..=self.high50).contains(&actual)
    }
}

/// A range as the forecast has it, before calibration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Foreseen {
    #[serde(flatten)]
    pub range: Range,
    /// It has to wait until a worker is free; otherwise one begins with it at once, or has begun.
    #[serde(default = "may_be")]
    pub waits: bool,
}

/// What earlier versions kept does not say it.
fn may_be() -> bool {
    true
}

impl Foreseen {
    /// The same when `seconds` have gone by.
    pub fn after(self, seconds: f64) -> Foreseen {
        Foreseen { range: self.range.after(seconds), ..self }
    }
}

/// What was foreseen, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    pub forecast: Foreseen,
    /// Seconds it really took.
    pub actual: f64,
}

/// Most promises looked back on.
pub const MAX_PROMISES: usize = 300;
/// With fewer promises than this, ranges stay as wide as they come, and wider.
const FEW: usize = 20;
/// Times and distances below this are not told apart. Seconds, and logarithms of factors.
const LEAST_TIME: f64 = 0.5;
const LEAST_SPREAD: f64 = 0.02;
/// A promise counts half as much as one that so many came after.
const HALF_AGE: f64 = 100.0;
/// The deviation within which forecasts are equally sure: a promise counts for others the less, the more or less sure it was. Logarithms of
/// factors on the spread.
const ALIKE: f64 = 0.5;
/// Corrections are learnt for so many kinds of forecasts, from the surest to the least sure that was seen.
const KINDS: usize = 7;

/// How forecasts are to be corrected. One of a build that begins at once is wrong for other reasons than one of an order that waits, and one
/// that is sure for others than one that is not. So each is corrected by what became of those that waited, or did not, as well, and were about
/// as sure (localized conformal prediction: Guan, Localized conformal prediction: a generalized inference framework for conformal prediction,
/// 2023).
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    at_once: Corrections,
    waits: Corrections,
}

/// Corrections, and the spread of the forecasts that each is for, the least first. Never empty.
#[derive(Clone, Debug, PartialEq)]
struct Corrections(Vec<(f64, Correction)>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Correction {
    /// Added to the logarithm of every time.
    shift: f64,
    /// Factors on the distance of each end from the middle, in logarithms.
    low90: f64,
    low50: f64,
    high50: f64,
    high90: f64,
    /// How far from the middle anything came, before and after. Nothing is widened beyond that. Logarithms of factors.
    farthest: (f64, f64),
}

impl Calibration {
    /// Learns from promises and what came, oldest first.
    pub fn learn(promises: &[Promise]) -> Calibration {
        let promises = promises.get(promises.len().saturating_sub(MAX_PROMISES)..).unwrap_or_default();
        let (waits, at_once): (Vec<&Promise>, Vec<&Promise>) = promises.iter().partition(|p| p.forecast.waits);
        Calibration { at_once: Corrections::learn(&at_once), waits: Corrections::learn(&waits) }
    }

    /// The range to name.
    pub fn apply(&self, forecast: Foreseen) -> Range {
        let corrections = if forecast.waits { &self.waits } else { &self.at_once };
        corrections.at(spread(&forecast.range)).apply(forecast.range)
    }
}

impl Corrections {
    fn learn(promises: &[&Promise]) -> Corrections {
        if promises.len() < FEW {
            return Corrections(vec![(0.0, Correction::CAUTIOUS)]);
        }
        let spreads: Vec<f64> = promises.iter().map(|p| spread(&p.forecast.range)).collect();
        let least = spreads.iter().copied().fold(f64::INFINITY, f64::min);
        let most = spreads.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let of_kind = |kind: usize| {
            let at = least + (most - least) * kind as f64 / (KINDS - 1) as f64;
            let weight = |(age, spread): (usize, &f64)| {
                0.5f64.powf(age as f64 / HALF_AGE) * (-0.5 * ((spread - at) / ALIKE).powi(2)).exp()
            };
            let mut weights: Vec<f64> = spreads.iter().rev().enumerate().map(weight).collect();
            weights.reverse();
            (at, Correction::learn(promises, &weights))
        };
        Corrections((0..KINDS).map(of_kind).collect())
    }

    /// The correction for forecasts of this spread, between those of the kinds on both sides.
    fn at(&self, spread: f64) -> Correction {
        let above = self.0.iter().position(|(at, _)| *at >= spread).unwrap_or(self.0.len());
        let below = self.0.get(above.saturating_sub(1));
        match (below, self.0.get(above).or(below)) {
            (Some((low, below)), Some((high, above))) => {
                let share = if high > low { ((spread - low) / (high - low)).clamp(0.0, 1.0) } else { 1.0 };
                below.towards(above, share)
            }
            _ => Correction::CAUTIOUS,
        }
    }
}

impl Correction {
    /// While little was seen: wider than forecast.
    const CAUTIOUS: Correction =
        Correction { shift: 0.0, low90: 1.5, low50: 1.2, high50: 1.2, high90: 1.5, farthest: (f64::INFINITY, f64::INFINITY) };

    /// Learns from promises that count by these weights.
    fn learn(promises: &[&Promise], weights: &[f64]) -> Correction {
        let off = |p: &Promise| log(p.actual) - log(p.forecast.range.middle);
        let weighed = |value: &dyn Fn(&Promise) -> f64| -> Vec<(f64, f64)> {
            promises.iter().map(|p| value(p)).zip(weights.iter().copied()).collect()
        };
        let shift = quantile(weighed(&off), 0.5);
        // How far it was from the middle, in units of the distance that was forecast for this end.
        let factor = |end: fn(&Range) -> f64, share: f64| {
            let score = |p: &Promise| {
                let distance = log(end(&p.forecast.range)) - log(p.forecast.range.middle);
                let sign = if end(&p.forecast.range) < p.forecast.range.middle { -1.0 } else { 1.0 };
                sign * (off(p) - shift) / distance.abs().max(LEAST_SPREAD)
            };
            quantile(weighed(&score), share).max(0.05)
        };
        let offs = || promises.iter().map(|p| off(p) - shift);
        Correction {
            shift,
            farthest: (offs().fold(0.0, |most, off| most.max(-off)), offs().fold(0.0, f64::max)),
            low90: factor(|r| r.low90, 0.95),
            low50: factor(|r| r.low50, 0.75),
            high50: factor(|r| r.high50.max(r.middle + 1e-6), 0.75),
            high90: factor(|r| r.high90.max(r.middle + 1e-6), 0.95),
        }
    }

    fn apply(&self, forecast: Range) -> Range {
        let middle = log(forecast.middle);
        let end = |time: f64, factor: f64, sign: f64| {
            let distance = (log(time) - middle).abs().max(LEAST_SPREAD);
            let farthest = if sign < 0.0 { self.farthest.0 } else { self.farthest.1 };
            (middle + self.shift + sign * (distance * factor).min(distance.max(farthest))).exp()
        };
        let (low50, high50) = (end(forecast.low50, self.low50, -1.0), end(forecast.high50, self.high50, 1.0));
        Range {
            low90: end(forecast.low90, self.low90, -1.0).min(low50),
            low50,
            middle: (middle + self.shift).exp(),
            high50,
            high90: end(forecast.high90, self.high90, 1.0).max(high50),
        }
    }

    /// What is between the two; 0 is this one, 1 the other.
    fn towards(&self, other: &Correction, share: f64) -> Correction {
        let between = |a: f64, b: f64| a + (b - a) * share;
        Correction {
            shift: between(self.shift, other.shift),
            low90: between(self.low90, other.low90),
            low50: between(self.low50, other.low50),
            high50: between(self.high50, other.high50),
            high90: between(self.high90, other.high90),
            farthest: (self.farthest.0.max(other.farthest.0), self.farthest.1.max(other.farthest.1)),
        }
    }
}

/// How unsure a forecast is: the logarithm of the width of its range, which is in logarithms itself.
fn spread(forecast: &Range) -> f64 {
    (log(forecast.high90) - log(forecast.low90)).max(LEAST_SPREAD).ln()
}

fn log(seconds: f64) -> f64 {
    seconds.max(LEAST_TIME).ln()
}

/// The value that a share of all is not above, by weights, with the one more that a next observation counts for.
fn quantile(mut values: Vec<(f64, f64)>, share: f64) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), (_, w)| (sum + w, squares + w * w));
    // So many observations of equal weight would know as much.
    let known = if squares > 0.0 { sum * sum / squares } else { 0.0 };
    let place = sum * share * (1.0 + 1.0 / known.max(1.0)) - 1e-9 * sum;
    let mut passed = 0.0;
    let found = values.iter().find(|(_, weight)| {
        passed += weight;
        passed >= place
    });
    found.or(values.last()).map_or(0.0, |(value, _)| *value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    fn at_once(range: Range) -> Foreseen {
        Foreseen { range, waits: false }
    }

    /// A forecaster that is half too early and three times too sure of it.
    fn promises(count: usize, random: &mut Random) -> Vec<Promise> {
        (0..count)
            .map(|_| {
                let truth = 100.0 * random.normal().exp();
                let range = |sigma: f64| Range {
                    low90: truth / 2.0 * (-1.645 * sigma).exp(),
                    low50: truth / 2.0 * (-0.674 * sigma).exp(),
                    middle: truth / 2.0,
                    high50: truth / 2.0 * (0.674 * sigma).exp(),
                    high90: truth / 2.0 * (1.645 * sigma).exp(),
                };
                Promise { forecast: at_once(range(0.1)), actual: truth * (0.3 * random.normal()).exp() }
            })
            .collect()
    }

    #[test]
    fn ranges_come_to_hold_as_often_as_they_claim() {
        let mut random = Random::new(3);
        let calibration = Calibration::learn(&promises(300, &mut random));
        let later = promises(2_000, &mut random);
        let named: Vec<(Range, f64)> = later.iter().map(|p| (calibration.apply(p.forecast), p.actual)).collect();
        let share = |holds: &dyn Fn(&(Range, f64)) -> bool| named.iter().filter(|n| holds(n)).count() as f64 / named.len() as f64;
        let (in90, in50) = (share(&|(r, a)| r.holds90(*a)), share(&|(r, a)| r.holds50(*a)));
        assert!((0.85..0.95).contains(&in90), "{in90}");
        assert!((0.42..0.58).contains(&in50), "{in50}");
        let raw = later.iter().filter(|p| p.forecast.range.holds90(p.actual)).count();
        assert!(raw < 200, "the forecast alone was bad: {raw}");
    }

    #[test]
    fn the_sure_are_not_corrected_by_the_unsure() {
        let mut random = Random::new(5);
        let range = |middle: f64, sigma: f64| Range {
            low90: middle * (-1.645 * sigma).exp(),
            low50: middle * (-0.674 * sigma).exp(),
            middle,
            high50: middle * (0.674 * sigma).exp(),
            high90: middle * (1.645 * sigma).exp(),
        };
        // Who waits for others waits twice as long as was thought; who does not is served as was thought.
        let promises: Vec<Promise> = (0..300)
            .map(|i| match i % 2 {
                0 => Promise { forecast: at_once(range(50.0, 0.1)), actual: 50.0 * (0.1 * random.normal()).exp() },
                _ => Promise { forecast: at_once(range(50.0, 1.0)), actual: 100.0 * random.normal().exp() },
            })
            .collect();
        let calibration = Calibration::learn(&promises);
        let (sure, unsure) = (calibration.apply(at_once(range(50.0, 0.1))), calibration.apply(at_once(range(50.0, 1.0))));
        assert!((45.0..55.0).contains(&sure.middle) && sure.high90 < 75.0, "{sure:?}");
        assert!((80.0..130.0).contains(&unsure.middle) && unsure.high90 > 300.0, "{unsure:?}");
        // One that is surer than all that were seen is corrected as the surest.
        assert!((45.0..55.0).contains(&calibration.apply(at_once(range(50.0, 0.01))).middle));
    }

    #[test]
    fn who_begins_at_once_is_not_corrected_by_who_waits() {
        let mut random = Random::new(6);
        let range = Range { low90: 40.0, low50: 45.0, middle: 50.0, high50: 55.0, high90: 62.0 };
        let promises: Vec<Promise> = (0..200)
            .map(|i| {
                let (waits, factor) = (i % 2 == 0, (0.1 * random.normal()).exp());
                let actual = if waits { 150.0 * factor } else { 50.0 * factor };
                Promise { forecast: Foreseen { range, waits }, actual }
            })
            .collect();
        let calibration = Calibration::learn(&promises);
        let named = |waits| calibration.apply(Foreseen { range, waits });
        assert!((47.0..53.0).contains(&named(false).middle) && named(false).high90 < 65.0, "{:?}", named(false));
        assert!((140.0..160.0).contains(&named(true).middle), "{:?}", named(true));
    }

    #[test]
    fn nothing_is_widened_beyond_what_was_ever_seen() {
        let sure = Range { low90: 9.8, low50: 9.9, middle: 10.0, high50: 10.1, high90: 10.2 };
        let unsure = Range { low90: 5.0, low50: 8.0, middle: 10.0, high50: 50.0, high90: 200.0 };
        // Those that were sure of it were off by a factor of three, which is sixty times their own distance.
        let promises = [10.0, 30.0, 10.0, 4.0].repeat(10).into_iter().map(|actual| Promise { forecast: at_once(sure), actual });
        let calibration = Calibration::learn(&promises.collect::<Vec<_>>());
        let named = calibration.apply(at_once(sure));
        assert!((20.0..31.0).contains(&named.high90) && (3.9..7.0).contains(&named.low90), "{named:?}");
        let named = calibration.apply(at_once(unsure));
        assert!(named.high90 < 201.0, "{named:?}");
    }

    #[test]
    fn what_earlier_versions_kept_can_be_read() {
        let kept = r#"{"low90":1.0,"low50":2.0,"middle":3.0,"high50":4.0,"high90":5.0}"#;
        let read: Foreseen = serde_json::from_str(kept).unwrap();
        assert!(read.waits && read.range.middle == 3.0, "{read:?}");
        let written = serde_json::to_string(&Foreseen { waits: false, ..read }).unwrap();
        assert_eq!(serde_json::from_str::<Range>(&written).unwrap(), read.range, "and earlier versions read what is kept now");
    }

    #[test]
    fn a_range_is_ordered_whatever_was_learnt() {
        let mut random = Random::new(9);
        for count in [0, 5, 20, 50] {
            let calibration = Calibration::learn(&promises(count, &mut random));
            let forecast = Range { low90: 1.0, low50: 50.0, middle: 60.0, high50: 60.0, high90: 60.0 };
            let range = calibration.apply(at_once(forecast));
            let all = [range.low90, range.low50, range.middle, range.high50, range.high90];
            assert!(all.is_sorted() && all.iter().all(|t| t.is_finite()), "{range:?}");
        }
        assert_eq!(Range::of(Vec::new()), None);
        assert_eq!(Range::of(vec![5.0]).unwrap().after(7.0).high90, 0.0);
    }
}
