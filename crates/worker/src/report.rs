//! Reporting while a lease is held: events are collected and sent about once a second, which also renews the lease; at once when a step begins,
//! so that the server knows how long each takes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use contract::lease::EventBatch;
use contract::{Event, Lease, Step};

use crate::build::Watch;
use crate::client::{ServerClient, WorkerError};

/// How often events are sent at most; also the heartbeat when nothing happens.
const BEAT: Duration = Duration::from_millis(700);

/// Sends a build's events to the server and learns whether it is still wanted.
pub struct LeaseReporter {
    events: Mutex<Option<Sender<Event>>>,
    cancelled: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl LeaseReporter {
    /// Starts the reporting thread. When the worker itself is told to stop, the build is cancelled locally and its lease lapses.
    pub fn start(client: ServerClient, lease: &Lease, stop: &AtomicBool) -> Self {
        let (sender, receiver) = channel();
        let cancelled = Arc::new(AtomicBool::new(stop.load(Ordering::Relaxed)));
        let lost = Arc::new(AtomicBool::new(false));
        let pump = Pump { client, lease: lease.clone(), cancelled: cancelled.clone(), lost: lost.clone() };
        let thread = std::thread::spawn(move || pump.run(receiver));
        LeaseReporter { events: Mutex::new(Some(sender)), cancelled, lost, thread: Mutex::new(Some(thread)) }
    }

    /// Sends what is left and stops. True when the lease was lost on the way.
    pub fn finish(&self) -> bool {
        if let Ok(mut events) = self.events.lock() {
            events.take();
        }
        let thread = self.thread.lock().ok().and_then(|mut t| t.take());
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            return true;
        }
        self.lost.load(Ordering::Relaxed)
    }

    fn send(&self, event: Event) {
        if let Ok(events) = self.events.lock()
            && let Some(sender) = events.as_ref()
            && sender.send(event).is_err()
        {
            // The pump ended because the lease is lost, which `cancelled` says already.
            self.cancelled.store(true, Ordering::Relaxed);
        }
    }
}

impl Watch for LeaseReporter {
    fn progress(&self, step: Step, done: u64, total: u64, what: &str) {
        self.send(Event::Progress { step, done, total, what: what.to_owned() });
    }

    fn log(&self, line: &str) {
        self.send(Event::Log { line: line.to_owned() });
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

struct Pump {
    client: ServerClient,
    lease: Lease,
    cancelled: Arc<AtomicBool>,
    lost: Arc<AtomicBool>,
}

impl Pump {
    fn run(self, receiver: Receiver<Event>) {
        let (mut sequence, mut step) = (0, None);
        let mut last_heard = Instant::now();
        loop {
            let (events, closed) = collect(&receiver, &mut step);
            let batch = EventBatch { sequence, events };
            loop {
                match self.client.events(&self.lease, &batch) {
                    Ok(answer) => {
                        if answer.cancel {
                            self.cancelled.store(true, Ordering::Relaxed);
                        }
                        last_heard = Instant::now();
                        break;
                    }
                    Err(WorkerError::Unreachable(_)) if last_heard.elapsed().as_secs() < self.lease.ttl_seconds => {
                        std::thread::sleep(BEAT);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "lease lost");
                        self.lost.store(true, Ordering::Relaxed);
                        self.cancelled.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            }
            sequence += 1;
            if closed {
                return;
            }
        }
    }
}

/// Gathers events for one beat, or until another step than the one at hand begins. Of the progress of one step only the newest counts; log
/// lines are all kept.
fn collect(receiver: &Receiver<Event>, at_hand: &mut Option<Step>) -> (Vec<Event>, bool) {
    let until = Instant::now() + BEAT;
    let mut events: Vec<Event> = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                if let (Event::Progress { step: new, .. }, Some(Event::Progress { step: old, .. })) = (&event, events.last())
                    && new == old
                {
                    events.pop();
                }
                let begins = match &event {
                    Event::Progress { step, .. } => at_hand.replace(*step) != Some(*step),
                    Event::Log { .. } => false,
                };
                events.push(event);
                if begins {
                    return (events, false);
                }
            }
            Err(RecvTimeoutError::Timeout) => return (events, false),
            Err(RecvTimeoutError::Disconnected) => return (events, true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told_when_it_begins() {
        let (sender, receiver) = channel();
        let progress = |step, done| Event::Progress { step, done, total: 9, what: String::new() };
        let log = || Event::Log { line: "a line".into() };
        for event in
            [progress(Step::Fetch, 0), progress(Step::Fetch, 1), log(), progress(Step::Fetch, 2), progress(Step::Merge, 0), log()]
        {
            sender.send(event).unwrap();
        }
        drop(sender);
        let mut step = None;
        let sizes: Vec<(usize, bool)> = std::iter::from_fn(|| Some(collect(&receiver, &mut step)))
            .map(|(events, closed)| (events.len(), closed))
            .take(3)
            .collect();
        // The first sign of a step ends a batch; of what was told of a step in one batch between lines, the newest is kept.
        assert_eq!(sizes, [(1, false), (4, false), (1, true)]);
    }
}
