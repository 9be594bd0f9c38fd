//! What a build did when.

use contract::Step;

use super::percent;
use crate::clock;
use crate::db::{StepProgress, step_number, step_seconds};
use crate::status::OrderStatus;

/// The times of a build, one bar each.
pub struct Timeline {
    pub bars: Vec<Bar>,
    /// Pixels.
    pub height: usize,
    pub total: String,
}

/// One span of time.
pub struct Bar {
    pub label: String,
    /// Percents of the width.
    pub x: String,
    pub width: String,
    /// Pixels from the top.
    pub y: usize,
    /// How long it took.
    pub words: String,
    /// Waiting for a worker, not a step.
    pub waits: bool,
}

/// Pixels from one bar to the next.
const ROW: usize = 40;

impl Timeline {
    /// From the order to the end, or to `now` while the build goes on. None before a worker took it.
    pub fn of(order: &OrderStatus, progress: &[StepProgress], now: f64) -> Option<Timeline> {
        let started = order.started? as f64;
        let end = order.ended.map_or(now, |ended| ended as f64).max(started);
        let start = (order.created as f64).min(started);
        let times = step_seconds(progress, end);
        let mut spans = vec![(say!("wait for a worker"), started - start, true)];
        for step in Step::ALL {
            if let Some((_, seconds)) = times.iter().find(|(number, _)| *number == step_number(step)) {
                spans.push((say!(step.label()), *seconds, false));
            }
        }
        if spans.len() == 1 {
            return None;
        }
        let whole: f64 = spans.iter().map(|(_, seconds, _)| seconds.max(0.0)).sum::<f64>().max(1e-3);
        let mut at = 0.0;
        let bars: Vec<Bar> = spans
            .into_iter()
            .zip(0..)
            .map(|((label, seconds, waits), row)| {
                let seconds = seconds.max(0.0);
                let x = percent(at / whole);
                at += seconds;
                let words = clock::measured(seconds.round() as u64);
                Bar { label, x, width: percent(seconds / whole), y: row * ROW, words, waits }
            })
            .collect();
        Some(Timeline { height: bars.len() * ROW, bars, total: clock::measured(whole.round() as u64) })
    }

    /// The whole picture in words.
    pub fn words(&self) -> String {
        let parts: Vec<String> = self.bars.iter().map(|bar| format!("{}: {}", bar.label, bar.words)).collect();
        parts.join("; ")
    }
}
