//! What keeps all that waits from being begun. It is kept for a moment, as every page of an order that waits asks for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::app::App;
use crate::db::{self, Gate};
use crate::kept::Kept;

/// What other servers changed may be heard of so much later; what this one changed counts at once.
const KEPT: Duration = Duration::from_secs(1);

/// Why nothing is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// The operator has paused the queue.
    Paused,
    NoWorker,
}

/// What was found last.
#[derive(Default)]
pub struct KeptHeldUp {
    /// Of a change of the queue and of the workers.
    kept: Kept<Option<HeldUp>, (u64, u64)>,
    /// Counts the workers that showed themselves here.
    shown: AtomicU64,
}

impl KeptHeldUp {
    /// A worker showed itself.
    pub fn worker_came(&self) {
        self.shown.fetch_add(1, Ordering::AcqRel);
    }
}

impl App {
    /// What keeps all that waits from being begun, if anything does.
    pub async fn held_up(&self) -> db::Result<Option<HeldUp>> {
        let state = (self.bus.version(), self.held_up.shown.load(Ordering::Acquire));
        if let Some(found) = self.held_up.kept.of(&state, KEPT) {
            return Ok(*found);
        }
        let found = if self.db.gate().await? == Gate::Paused {
            Some(HeldUp::Paused)
        } else {
            (self.db.workers_present().await? == 0).then_some(HeldUp::NoWorker)
        };
        Ok(*self.held_up.kept.keep_of(state, found))
    }
}
