//! pkg_pretend of several packages side by side. It must not write to the filesystem (PMS 9.1.1), so each runs as an onlooker: on the
//! target as it is, which it cannot change. What it says is told in the plan's order, whoever is done first. One that does not succeed so
//! runs again, in its turn and alone: what it says and does there is what counts.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::pretend::Pretender;
use super::vdb::Vdb;
use crate::sandbox::{Onlookers, PhaseHost};
use crate::{ComposeError, Observer};

/// Fewer than this many for each onlooker are not worth its start.
const WORTH: usize = 4;
/// More would only wait for the disk.
const MOST: usize = 16;
/// How often is looked whether the work should stop.
const LOOK: Duration = Duration::from_millis(100);

/// What a pkg_pretend that succeeded said.
pub struct Heard {
    pub lines: Vec<String>,
    pub messages: Vec<String>,
}

/// Runs them on all processors; `None` for each that is to be run alone. `before` is what is installed before the merge.
pub fn look_on(
    onlookers: &Onlookers,
    arch: &str,
    pretenders: &[Pretender],
    before: &Vdb,
    observer: &dyn Observer,
) -> Vec<Option<Heard>> {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let threads = processors.min(pretenders.len() / WORTH).min(MOST);
    let mut heard: Vec<Option<Heard>> = pretenders.iter().map(|_| None).collect();
    if threads < 2 {
        return heard;
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (tell, next, stop) = (tell.clone(), &next, &stop);
            scope.spawn(move || {
                let work = || -> Result<(), ComposeError> {
                    let mut host = onlookers.start()?;
                    host.enable(arch)?;
                    while let Some((at, pretender)) = take(next, pretenders).filter(|_| !stop.load(Ordering::Relaxed)) {
                        if let Some(heard) = listen(&mut host, pretender, before, stop)? {
                            // Nobody listens any more where the work was stopped.
                            let _stopped = tell.send((at, heard));
                        }
                    }
                    Ok(host.close()?)
                };
                if let Err(error) = work() {
                    tracing::warn!(%error, "no onlooker for pkg_pretend: it is run alone");
                }
            });
        }
        drop(tell);
        loop {
            match told.recv_timeout(LOOK) {
                Ok((at, said)) => {
                    if let Some(slot) = heard.get_mut(at) {
                        *slot = Some(said);
                    }
                }
                Err(RecvTimeoutError::Timeout) => stop.store(observer.cancelled(), Ordering::Relaxed),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    });
    heard
}

fn take<'a>(next: &AtomicUsize, pretenders: &'a [Pretender]) -> Option<(usize, &'a Pretender)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, pretenders.get(at)?))
}

/// One pkg_pretend; `None` where it fails, for whatever reason.
fn listen(host: &mut PhaseHost, pretender: &Pretender, before: &Vdb, stop: &AtomicBool) -> Result<Option<Heard>, ComposeError> {
    let ear = Ear { lines: Mutex::default(), stop };
    match pretender.run(host, before, &ear) {
        Ok(messages) => Ok(Some(Heard { lines: ear.lines.into_inner().unwrap_or_default(), messages })),
        // The script's own failure; a broken sandbox has no package.
        Err(error) if error.package.is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Keeps what is said until its turn.
struct Ear<'a> {
    lines: Mutex<Vec<String>>,
    stop: &'a AtomicBool,
}

impl Observer for Ear<'_> {
    fn progress(&self, _done: u64, _total: u64, _what: &str) {}
    fn log(&self, line: &str) {
        if let Ok(mut lines) = self.lines.lock() {
            lines.push(line.to_owned());
        }
    }
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
