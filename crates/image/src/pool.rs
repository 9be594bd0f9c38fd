//! Work on several cores with results in order: what makes compression parallel and its output the same for any number of threads.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::write::Error;

/// Results without work that may wait for their turn: so far one open job is begun ahead of another that is not finished, where only few
/// are open. They take little memory.
const AHEAD: usize = 256;

/// What is emitted.
pub(crate) enum Job<J, R> {
    /// Something to work on, and about how long it takes beside others.
    Open(J, u64),
    /// Something that needs no work: it takes its turn, and no other thread is asked.
    Done(R),
}

/// What the consumer has next.
enum Turn<R> {
    Now(R),
    Later(Receiver<Result<R, Error>>),
}

/// Open jobs. The longest is taken first, so that no thread is left alone with a long one at the end; of those as long, the oldest.
struct Queue<T> {
    /// The jobs with their lengths, and whether there will be no more.
    state: Mutex<(Vec<(u64, T)>, bool)>,
    changed: Condvar,
}

impl<T> Default for Queue<T> {
    fn default() -> Queue<T> {
        Queue { state: Mutex::new((Vec::new(), false)), changed: Condvar::new() }
    }
}

impl<T> Queue<T> {
    fn open(&self) -> Entrance<'_, T> {
        Entrance(self)
    }

    /// Waits for a job; `None` when there will be none.
    fn take(&self) -> Option<T> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = |state: &mut (Vec<(u64, T)>, bool)| state.0.is_empty() && !state.1;
        let mut state = self.changed.wait_while(state, waiting).unwrap_or_else(PoisonError::into_inner);
        let longest =
            state.0.iter().enumerate().max_by_key(|(at, (length, _))| (*length, std::cmp::Reverse(*at))).map(|(at, _)| at);
        longest.map(|at| state.0.remove(at).1)
    }
}

/// What jobs are put through; when it is dropped, be it by a panic, there will be no more.
struct Entrance<'q, T>(&'q Queue<T>);

impl<T> Entrance<'_, T> {
    fn put(&self, job: T, length: u64) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).0.push((length, job));
        self.0.changed.notify_one();
    }
}

impl<T> Drop for Entrance<'_, T> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.0.changed.notify_all();
    }
}

/// [`mixed`] where everything needs work.
pub(crate) fn ordered<J: Send, R: Send>(
    threads: usize,
    produce: impl FnOnce(&mut dyn FnMut(J) -> Result<(), Error>) -> Result<(), Error>,
    work: impl Fn(J) -> Result<R, Error> + Sync,
    consume: impl FnMut(R) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    mixed(threads, |emit| produce(&mut |job| emit(Job::Open(job, 0))), work, consume)
}

/// Runs `produce` on the calling thread, `work` on `threads` threads for every open job that it emits, and `consume` on one more thread
/// with the results, in the order of emission. Memory is bounded: at most three open jobs per thread are in flight, and [`AHEAD`] results
/// that needed no work.
///
/// The first error of any of the three ends all and is returned; one of `consume` before one of `produce`, which is then its consequence.
pub(crate) fn mixed<J: Send, R: Send>(
    threads: usize,
    produce: impl FnOnce(&mut dyn FnMut(Job<J, R>) -> Result<(), Error>) -> Result<(), Error>,
    work: impl Fn(J) -> Result<R, Error> + Sync,
    mut consume: impl FnMut(R) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let threads = threads.max(1);
    let jobs = Queue::<(J, SyncSender<Result<R, Error>>)>::default();
    let (order_sender, order_receiver) = sync_channel::<Turn<R>>(AHEAD.max(3 * threads));
    // A permit for each open job from its emission until its result is consumed.
    let (permit_sender, permit_receiver) = sync_channel::<()>(3 * threads);
    thread::scope(|scope| {
        let open = jobs.open();
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((job, result)) = jobs.take() {
                    // Nobody waits for the result when the consumer has failed; that error is the one reported.
                    let _ = result.send(work(job));
                }
            });
        }
        let consumer = scope.spawn(move || {
            for turn in order_receiver {
                match turn {
                    Turn::Now(result) => consume(result)?,
                    Turn::Later(result) => {
                        // A worker that panicked sends nothing; the scope passes its panic on.
                        let Ok(result) = result.recv() else { break };
                        consume(result?)?;
                        // Its permit was sent before the turn.
                        let _ = permit_receiver.try_recv();
                    }
                }
            }
            Ok(())
        });
        let produced = produce(&mut |job| {
            let sent = match job {
                Job::Done(result) => order_sender.send(Turn::Now(result)).is_ok(),
                Job::Open(job, length) => {
                    let (result_sender, result_receiver) = sync_channel(1);
                    let sent = permit_sender.send(()).is_ok() && order_sender.send(Turn::Later(result_receiver)).is_ok();
                    if sent {
                        open.put((job, result_sender), length);
                    }
                    sent
                }
            };
            // The consumer is gone: its own error says why.
            if sent { Ok(()) } else { Err(Error::Cancelled) }
        });
        drop((order_sender, open, permit_sender));
        let consumed = consumer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        consumed.and(produced)
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn squares(threads: usize) -> Vec<u64> {
        let mut got = Vec::new();
        let produce = |emit: &mut dyn FnMut(u64) -> Result<(), Error>| (0..500).try_for_each(emit);
        let work = |n: u64| {
            (0..(n % 7) * 1000).for_each(|i| _ = std::hint::black_box(i));
            Ok(n * n)
        };
        ordered(threads, produce, work, |n| {
            got.push(n);
            Ok(())
        })
        .unwrap();
        got
    }

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        let expected: Vec<u64> = (0..500).map(|n| n * n).collect();
        for threads in [0, 1, 2, 7] {
            assert_eq!(squares(threads), expected);
        }
    }

    #[test]
    fn what_is_done_takes_its_turn() {
        let mut got = Vec::new();
        let produce = |emit: &mut dyn FnMut(Job<u64, u64>) -> Result<(), Error>| {
            (0..300).try_for_each(|n| emit(if n % 3 == 0 { Job::Open(n, n % 5) } else { Job::Done(n) }))
        };
        let work = |n: u64| {
            (0..(n % 7) * 1000).for_each(|i| _ = std::hint::black_box(i));
            Ok(n)
        };
        mixed(3, produce, work, |n| {
            got.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(got, (0..300).collect::<Vec<_>>());
    }

    /// Two open jobs far from each other are worked on at once: the first ends when the other has begun.
    #[test]
    fn what_is_done_keeps_no_thread_waiting() {
        let (begun, other_has_begun) = sync_channel(1);
        let other_has_begun = Mutex::new(other_has_begun);
        let produce = |emit: &mut dyn FnMut(Job<u64, u64>) -> Result<(), Error>| {
            (0..100).try_for_each(|n| emit(if n == 10 || n == 90 { Job::Open(n, 1) } else { Job::Done(n) }))
        };
        let work = |n: u64| {
            match n {
                10 => other_has_begun.lock().unwrap().recv_timeout(Duration::from_secs(120)).expect("the other waits"),
                _ => begun.send(()).unwrap(),
            }
            Ok(n)
        };
        let mut got = Vec::new();
        mixed(2, produce, work, |n| {
            got.push(n);
            Ok(())
        })
        .unwrap();
        assert_eq!(got, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn the_longest_is_taken_first_and_the_oldest_of_those_as_long() {
        let jobs = Queue::default();
        let open = jobs.open();
        for (job, length) in [("a", 1), ("b", 7), ("c", 1), ("d", 7)] {
            open.put(job, length);
        }
        drop(open);
        let taken: Vec<&str> = std::iter::from_fn(|| jobs.take()).collect();
        assert_eq!(taken, ["b", "d", "a", "c"]);
    }

    #[test]
    fn the_error_that_was_first_is_told() {
        let boot = |text: &str| Error::Boot(text.to_owned());
        let failing = |p: u64, w: u64, c: u64| {
            let produce = move |emit: &mut dyn FnMut(u64) -> Result<(), Error>| {
                (0..100).try_for_each(|n| if n == p { Err(boot("produce")) } else { emit(n) })
            };
            let work = |n| if n == w { Err(boot("work")) } else { Ok(n) };
            let consume = |n| if n == c { Err(boot("consume")) } else { Ok(()) };
            ordered(2, produce, work, consume).unwrap_err().to_string()
        };
        assert_eq!(failing(50, 1000, 1000), "produce");
        assert_eq!(failing(1000, 50, 1000), "work");
        assert_eq!(failing(1000, 1000, 50), "consume");
        assert_eq!(failing(1000, 50, 20), "consume");
    }
}
