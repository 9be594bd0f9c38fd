//! Attempts whose outcome is known beforehand. An attempt that ended in cycles is followed by one that should avoid them; where it was
//! never asked what the new lessons answer, that one would go the very same way.

use std::collections::BTreeSet;

use crate::graph::{History, Lessons};
use crate::order::Cycles;
use crate::universe::{PkgId, Universe};

/// An attempt that ended in cycles.
pub(crate) struct CyclicAttempt {
    pub lessons: Lessons,
    pub history: History,
    pub cycles: Cycles,
}

impl CyclicAttempt {
    /// Whether an attempt with these lessons would go the same way to the end.
    pub fn would_repeat(&self, u: &Universe, lessons: &Lessons) -> bool {
        let masked = |p: &PkgId| self.lessons.masked.contains_key(p) != lessons.masked.contains_key(p);
        let mut all_masked = self.lessons.masked.keys().chain(lessons.masked.keys());
        let mut in_cycles = self.lessons.circular.keys().chain(lessons.circular.keys());
        !all_masked.any(|p| masked(p) && self.history.consulted[*p as usize]) && !in_cycles.any(|p| self.matters(u, *p, lessons))
    }

    /// Whether what is known about a package's cycles would have changed a choice.
    fn matters(&self, u: &Universe, pkg: PkgId, lessons: &Lessons) -> bool {
        let none = BTreeSet::new();
        let (then, now) = (self.lessons.circular.get(&pkg).unwrap_or(&none), lessons.circular.get(&pkg).unwrap_or(&none));
        let weighed = self.history.weighed.get(&pkg).map(Vec::as_slice).unwrap_or_default();
        then.symmetric_difference(now).any(|child| weighed.iter().any(|atom| u.atom_matches(atom, *child)))
    }
}
