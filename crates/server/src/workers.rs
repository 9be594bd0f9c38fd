//! The workers heard of. The database knows them, as each may ask any server; it is told of them only so often as it matters.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::lease::LeaseRequest;

use crate::app::App;
use crate::clock::exact_now;
use crate::db::{self, COMES_AGAIN};

/// A worker that builds is noted so often.
const BUSY_PERIOD: Duration = Duration::from_secs(30);
/// A worker that asks once in a while is noted so often, and taken for asking meanwhile.
const ASKING_PERIOD: Duration = Duration::from_secs(2);

/// When each worker was last noted by this server.
#[derive(Default)]
pub struct Workers(Mutex<HashMap<String, Instant>>);

impl Workers {
    fn is_due(&self, name: &str, period: Duration) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.retain(|_, when| when.elapsed() < BUSY_PERIOD);
        if noted.get(name).is_some_and(|when| when.elapsed() < period) {
            return false;
        }
        noted.insert(name.to_owned(), Instant::now());
        true
    }

    /// The worker will be noted again when it shows itself.
    fn forget(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

/// A worker that asks for work. It is dropped without [`Asks::answered`] when the worker went away instead of waiting: lost, or stopped.
pub struct Asks {
    app: Arc<App>,
    name: String,
    seen: f64,
    answered: bool,
}

impl Asks {
    /// The worker has its answer, or comes again for it.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Asks {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let (app, name, seen) = (self.app.clone(), std::mem::take(&mut self.name), self.seen);
        tokio::spawn(async move {
            tracing::info!(worker = name, "went away while it waited for work");
            if let Err(error) = app.db.worker_left(&name, seen).await {
                tracing::warn!(worker = name, %error, "that a worker went away could not be noted");
            }
        });
    }
}

impl App {
    /// A worker asks for work, and waits for it as long as this.
    pub async fn worker_asks(
        self: &Arc<Self>,
        name: &str,
        waits: Duration,
        abilities: &LeaseRequest,
    ) -> db::Result<Option<Asks>> {
        let period = if waits > ASKING_PERIOD { Duration::ZERO } else { ASKING_PERIOD };
        if !self.workers.is_due(name, period) {
            return Ok(None);
        }
        let until = exact_now() + waits.max(ASKING_PERIOD).as_secs_f64() + COMES_AGAIN;
        let seen = self.db.worker_asks(name, until, abilities).await?;
        self.held_up.worker_came();
        Ok(Some(Asks { app: self.clone(), name: name.to_owned(), seen, answered: false }))
    }

    /// A worker has a build in hand.
    pub async fn worker_builds(&self, name: &str) -> db::Result<()> {
        if self.workers.is_due(name, BUSY_PERIOD) {
            self.db.saw_worker(name).await?;
            self.held_up.worker_came();
        }
        Ok(())
    }

    /// A worker got a build.
    pub fn worker_took_work(&self, name: &str) {
        self.workers.forget(name);
    }
}
