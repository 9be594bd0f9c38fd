//! News of changes inside one server process. It carries no data: who hears it reads the database, which is the truth.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, broadcast};

/// What changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Something about one build: state, progress, log.
    Build(Arc<str>),
    /// A build left or entered the queue, so positions moved.
    Queue,
}

/// Tells live pages and reconcilers that there is something new to read.
pub struct Bus {
    changes: broadcast::Sender<Change>,
    /// Counts changes, so that what was worked out before one is known to be old.
    version: AtomicU64,
    /// A notice waits to be sent.
    pub mail: Notify,
}

impl Bus {
    pub fn new() -> Self {
        Bus { changes: broadcast::Sender::new(1_024), version: AtomicU64::new(0), mail: Notify::new() }
    }

    /// Hears every change from now on; who lags behind is told so and reads everything again.
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The build has new progress or log lines.
    pub fn build_changed(&self, build: &str) {
        self.send(Change::Build(build.into()));
    }

    /// The number of the last change of the queue.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The build changed its state, and with it the queue.
    pub fn state_changed(&self, build: &str) {
        self.version.fetch_add(1, Ordering::AcqRel);
        self.send(Change::Build(build.into()));
        self.send(Change::Queue);
    }

    fn send(&self, change: Change) {
        // Having no listener is no error.
        let _ = self.changes.send(change);
    }
}
