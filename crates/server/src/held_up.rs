//! What keeps what waits from being begun. It is kept for a moment, as every page of an order that waits asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::lease::LeaseRequest;

use crate::app::App;
use crate::db::{self, Gate};
use crate::kept::Kept;
use crate::turns::none_can_make;

/// What other servers changed may be heard of so much later; what this one changed counts at once.
const KEPT: Duration = Duration::from_secs(1);

/// Why nothing is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeldUp {
    /// The operator has paused the queue.
    Paused,
    NoWorker,
    /// There are workers, and none that can make this build: it takes an architecture, a format, memory or a build root that they lack.
    NoneCan,
}

/// What was found last.
struct Found {
    is_paused: bool,
    /// What the workers can that are there.
    abilities: Vec<LeaseRequest>,
}

/// Keeps what was found last.
#[derive(Default)]
pub struct KeptHeldUp {
    /// Of a change of the queue and of the workers.
    kept: Kept<Found, (u64, u64)>,
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
        Ok(self.what_holds_up().await?.all())
    }

    /// What keeps this build, which waits, from being begun, if anything does. That no worker can make it stays when the queue goes on.
    pub async fn holds_up(&self, build: &str) -> db::Result<Option<HeldUp>> {
        let found = self.what_holds_up().await?;
        let outlook = self.outlook().await?;
        let turn = outlook.turns().iter().find(|turn| turn.build == build);
        let none_can = turn.is_some_and(|turn| none_can_make(&found.abilities, turn, self.config.boot_gate));
        Ok(if none_can { Some(HeldUp::NoneCan) } else { found.all() })
    }

    async fn what_holds_up(&self) -> db::Result<Arc<Found>> {
        let state = (self.bus.version(), self.held_up.shown.load(Ordering::Acquire));
        if let Some(found) = self.held_up.kept.of(&state, KEPT) {
            return Ok(found);
        }
        let is_paused = self.db.gate().await? == Gate::Paused;
        let abilities = self.db.workers().await?.into_iter().map(|worker| worker.abilities).collect();
        Ok(self.held_up.kept.keep_of(state, Found { is_paused, abilities }))
    }
}

impl Found {
    fn all(&self) -> Option<HeldUp> {
        match (self.is_paused, self.abilities.is_empty()) {
            (true, _) => Some(HeldUp::Paused),
            (false, true) => Some(HeldUp::NoWorker),
            (false, false) => None,
        }
    }
}
