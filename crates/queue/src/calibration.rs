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

/// A range as the forecast had it, before calibration, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Promise {
    pub forecast: Range,
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

/// How forecasts are to be corrected.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Added to the logarithm of every time.
    shift: f64,
    /// Factors on the distance of each end from the middle, in logarithms.
    low90: f64,
    low50: f64,
    high50: f64,
    high90: f64,
}

impl Calibration {
    /// Learns from promises and what came, oldest first.
    pub fn learn(promises: &[Promise]) -> Calibration {
        let promises = promises.get(promises.len().saturating_sub(MAX_PROMISES)..).unwrap_or_default();
        if promises.len() < FEW {
            return Calibration { shift: 0.0, low90: 1.5, low50: 1.2, high50: 1.2, high90: 1.5 };
        }
        let off = |p: &Promise| log(p.actual) - log(p.forecast.middle);
        let shift = quantile(promises.iter().map(off).collect(), 0.5);
        // How far it was from the middle, in units of the distance that was forecast for this end.
        let factor = |end: fn(&Range) -> f64, share: f64| {
            let scores = promises.iter().map(|p| {
                let distance = log(end(&p.forecast)) - log(p.forecast.middle);
                let sign = if end(&p.forecast) < p.forecast.middle { -1.0 } else { 1.0 };
                sign * (off(p) - shift) / distance.abs().max(LEAST_SPREAD)
            });
            quantile(scores.collect(), share).max(0.05)
        };
        Calibration {
            shift,
            low90: factor(|r| r.low90, 0.95),
            low50: factor(|r| r.low50, 0.75),
            high50: factor(|r| r.high50.max(r.middle + 1e-6), 0.75),
            high90: factor(|r| r.high90.max(r.middle + 1e-6), 0.95),
        }
    }

    /// The range to name.
    pub fn apply(&self, forecast: Range) -> Range {
        let middle = log(forecast.middle);
        let end = |time: f64, factor: f64, sign: f64| {
            let distance = (log(time) - middle).abs().max(LEAST_SPREAD);
            (middle + self.shift + sign * distance * factor).exp()
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
}

fn log(seconds: f64) -> f64 {
    seconds.max(LEAST_TIME).ln()
}

/// The value that a share of all is not above, with the one more that a next observation counts for.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = ((values.len() as f64 + 1.0) * share).ceil() as usize;
    values.get(place.clamp(1, values.len().max(1)) - 1).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

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
                Promise { forecast: range(0.1), actual: truth * (0.3 * random.normal()).exp() }
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
        let raw = later.iter().filter(|p| p.forecast.holds90(p.actual)).count();
        assert!(raw < 200, "the forecast alone was bad: {raw}");
    }

    #[test]
    fn a_range_is_ordered_whatever_was_learnt() {
        let mut random = Random::new(9);
        for count in [0, 5, 20, 50] {
            let calibration = Calibration::learn(&promises(count, &mut random));
            let forecast = Range { low90: 1.0, low50: 50.0, middle: 60.0, high50: 60.0, high90: 60.0 };
            let range = calibration.apply(forecast);
            let all = [range.low90, range.low50, range.middle, range.high50, range.high90];
            assert!(all.is_sorted() && all.iter().all(|t| t.is_finite()), "{range:?}");
        }
        assert_eq!(Range::of(Vec::new()), None);
        assert_eq!(Range::of(vec![5.0]).unwrap().after(7.0).high90, 0.0);
    }
}
