//! What keeps what waits from being begun. It is kept for a moment, as every page of an order that waits asks for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use contract::lease::LeaseRequest;
use queue::Range;

use crate::app::App;
use crate::db::{self, Build, BuildState, Gate};
use crate::kept::Kept;
use crate::outlook::Outlook;
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

/// What is known of the gate and of the workers.
pub struct Held {
    gate: Gate,
    /// What the workers can that are there.
    abilities: Vec<LeaseRequest>,
    boot_gate: bool,
}

/// Keeps what was found last.
#[derive(Default)]
pub struct KeptHeldUp {
    /// Of a change of the queue and of the workers.
    kept: Kept<Held, (u64, u64)>,
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
    /// What keeps what waits from being begun.
    pub async fn held(&self) -> db::Result<Arc<Held>> {
        let state = (self.bus.version(), self.held_up.shown.load(Ordering::Acquire));
        if let Some(found) = self.held_up.kept.of(&state, KEPT) {
            return Ok(found);
        }
        let gate = self.db.gate().await?;
        let abilities = self.db.workers().await?.into_iter().map(|worker| worker.abilities).collect();
        Ok(self.held_up.kept.keep_of(state, Held { gate, abilities, boot_gate: self.config.boot_gate }))
    }
}

impl Held {
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// What keeps all that waits from being begun, if anything does.
    pub fn all(&self) -> Option<HeldUp> {
        match (self.gate, self.abilities.is_empty()) {
            (Gate::Paused, _) => Some(HeldUp::Paused),
            (Gate::Open | Gate::Draining, true) => Some(HeldUp::NoWorker),
            (Gate::Open | Gate::Draining, false) => None,
        }
    }

    /// What keeps this build, which waits, from being begun, if anything does. That no worker can make it stays when the queue goes on.
    pub fn of(&self, build: &str, outlook: &Outlook) -> Option<HeldUp> {
        let none_can = outlook.turn(build).is_some_and(|turn| none_can_make(&self.abilities, turn, self.boot_gate));
        if none_can { Some(HeldUp::NoneCan) } else { self.all() }
    }

    /// When a build that waits or runs will be ready, where that can be said.
    pub fn ready(&self, build: &Build, outlook: &Outlook) -> Option<Range> {
        let held_up = build.state == BuildState::Waiting && self.of(&build.id, outlook).is_some();
        let range = outlook.ready(&build.id).filter(|_| !held_up && !build.state.is_final());
        range.map(|(_, range)| range)
    }
}
