//! Who watches the work.

/// Is told how the work goes, and may stop it. Called from the thread that works, often: it must be quick.
pub trait Observer {
    /// `done` of `total` packages (or of whatever the step counts); `what` is the one being worked on.
    fn progress(&self, done: u64, total: u64, what: &str);
    /// A line for the log.
    fn log(&self, line: &str);
    /// Whether the work should stop.
    fn cancelled(&self) -> bool;
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _done: u64, _total: u64, _what: &str) {}
    fn log(&self, _line: &str) {}
    fn cancelled(&self) -> bool {
        false
    }
}
