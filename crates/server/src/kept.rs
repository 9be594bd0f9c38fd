//! What is worked out once and serves for a while.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A value, when it was worked out, and the state that it is of where it serves no longer than that stands.
pub struct Kept<T, S = ()>(Mutex<Option<(Instant, S, Arc<T>)>>);

impl<T, S> Default for Kept<T, S> {
    fn default() -> Self {
        Kept(Mutex::new(None))
    }
}

impl<T> Kept<T> {
    /// The value, if it is not older than that.
    pub fn newer_than(&self, age: Duration) -> Option<Arc<T>> {
        self.of(&(), age)
    }

    /// Keeps a value that is as of now.
    pub fn keep(&self, value: T) -> Arc<T> {
        self.keep_of((), value)
    }
}

impl<T, S: PartialEq> Kept<T, S> {
    /// The value, if it is of this state and not older than that.
    pub fn of(&self, state: &S, age: Duration) -> Option<Arc<T>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|(at, of, _)| at.elapsed() < age && of == state).map(|(_, _, value)| value.clone())
    }

    /// Keeps a value that is as of now, and of this state: as it was before the value was worked out, so that what changed meanwhile makes it old.
    pub fn keep_of(&self, state: S, value: T) -> Arc<T> {
        let value = Arc::new(value);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), state, value.clone()));
        value
    }
}
