//! Progress for a person who waits: bars on a terminal, one line per step elsewhere.

use std::io::IsTerminal;
use std::sync::Mutex;

use contract::Step;
use indicatif::{ProgressBar, ProgressStyle};

/// Shows one build's steps on standard error.
pub struct Display {
    bar: Option<ProgressBar>,
    step: Mutex<Option<Step>>,
}

impl Display {
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(1000);
            if let Ok(style) = ProgressStyle::with_template("{prefix:>15} [{bar:30}] {percent:>3}% {elapsed} {wide_msg}") {
                bar.set_style(style.progress_chars("=> "));
            }
            bar
        });
        Display { bar, step: Mutex::new(None) }
    }

    /// A step is at `done` of `total`.
    pub fn step(&self, step: Step, done: u64, total: u64, what: &str) {
        let mut current = match self.step.lock() {
            Ok(current) => current,
            Err(poisoned) => poisoned.into_inner(),
        };
        let is_new = *current != Some(step);
        *current = Some(step);
        match &self.bar {
            Some(bar) => {
                bar.set_prefix(step.label());
                bar.set_position(done.min(total).saturating_mul(1000).checked_div(total).unwrap_or(0));
                bar.set_message(what.to_owned());
            }
            None if is_new => eprintln!("{} …", step.label()),
            None => {}
        }
    }

    /// A line above the bar.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => eprintln!("{line}"),
        }
    }

    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A build on this machine, watched directly.
impl worker::Watch for Display {
    fn progress(&self, step: Step, done: u64, total: u64, what: &str) {
        self.step(step, done, total, what);
    }
    fn log(&self, line: &str) {
        // The build's own log is for the curious: RUST_LOG=hatchery=debug shows it.
        tracing::debug!("{line}");
    }
    fn cancelled(&self) -> bool {
        false
    }
}
