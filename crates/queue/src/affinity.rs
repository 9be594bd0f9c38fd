//! Which worker a build goes to where its packages are: a sketch of each build's packages, and the choice between builds whose turn it
//! nearly is.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

/// So many packages of a build are remembered, those that weigh most: in real plans they have most of the bytes.
const LARGEST: usize = 48;
/// A build is passed over so often at most.
const MOST_PASSES: u32 = 2;
/// So many builds are looked at, from the one whose turn it is on.
pub const WINDOW: usize = 6;
/// A build is preferred only when it saves so many seconds more than the one whose turn it is.
const WORTH: f64 = 1.0;

/// The packages of a build that weigh most, by a number that stands for the package's file, with their size in KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sketch(Vec<(u64, u32)>);

impl Sketch {
    /// Of packages with their sizes in bytes.
    pub fn of(packages: impl IntoIterator<Item = (u64, u64)>) -> Sketch {
        let kib = |bytes: u64| u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let mut all: Vec<(u64, u32)> = packages.into_iter().map(|(package, bytes)| (package, kib(bytes))).collect();
        all.sort_by_key(|(package, size)| (std::cmp::Reverse(*size), *package));
        all.truncate(LARGEST);
        Sketch(all)
    }

    /// The packages in it.
    pub fn packages(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|(package, _)| *package)
    }

    /// Which part of its bytes are packages that a worker has; from 0 to 1.
    pub fn share_in(&self, known: &HashSet<u64>) -> f64 {
        let sum = |sizes: &mut dyn Iterator<Item = u32>| sizes.map(f64::from).sum::<f64>();
        let all = sum(&mut self.0.iter().map(|(_, size)| *size));
        let had = sum(&mut self.0.iter().filter(|(package, _)| known.contains(package)).map(|(_, size)| *size));
        if all > 0.0 { had / all } else { 0.0 }
    }
}

/// What a worker has of packages after its last builds: for each thing that is kept, like the files or what a format makes of them, the packages
/// it has that of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known(BTreeMap<String, HashSet<u64>>);

impl Known {
    /// It has this of these packages.
    pub fn add(&mut self, what: &str, packages: &Sketch) {
        // Most are added again and again, so the name is copied only once.
        match self.0.get_mut(what) {
            Some(known) => known.extend(packages.packages()),
            None => drop(self.0.insert(what.to_owned(), packages.packages().collect())),
        }
    }

    /// Of which part of the bytes it has this; from 0 to 1.
    pub fn share(&self, what: &str, sketch: &Sketch) -> f64 {
        self.0.get(what).map_or(0.0, |known| sketch.share_in(known))
    }
}

/// A build that a worker could be given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The operator's word, as in [`Waiting`](crate::policy::Waiting).
    pub rank: i64,
    /// Nobody has asked for it yet.
    pub ahead: bool,
    /// How often it was its turn and another was given out.
    pub passed_over: u32,
    /// Seconds that this worker saves with the packages it has.
    pub saves: f64,
}

/// Which of the builds a worker is given, as its place in the list. They come in their turn: the first has it, and leaves it to another of
/// its rank only when that saves this worker more, and not more than twice.
pub fn choose(candidates: &[Candidate]) -> usize {
    let Some(first) = candidates.first().filter(|first| first.passed_over < MOST_PASSES && !first.ahead) else { return 0 };
    let mut chosen = (0, first.saves + WORTH);
    for (at, candidate) in candidates.iter().enumerate().skip(1).take(WINDOW - 1) {
        if candidate.rank != first.rank || candidate.ahead {
            break;
        }
        if candidate.saves > chosen.1 {
            chosen = (at, candidate.saves);
        }
        // Nor is one passed over too often that is not first.
        if candidate.passed_over >= MOST_PASSES {
            break;
        }
    }
    chosen.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Random;

    #[test]
    fn the_share_counts_bytes_and_not_packages() {
        let sketch = Sketch::of([(1, 9 << 20), (2, 1 << 20)]);
        assert!((sketch.share_in(&HashSet::from([1])) - 0.9).abs() < 1e-9);
        assert!((sketch.share_in(&HashSet::from([2, 3])) - 0.1).abs() < 1e-9);
        assert_eq!(Sketch::default().share_in(&HashSet::from([1])), 0.0);
        assert_eq!(Sketch::of((0..1_000).map(|i| (i, i << 10))).packages().min(), Some(952), "the largest are kept");
    }

    #[test]
    fn a_turn_is_left_to_what_saves_more_but_not_for_ever() {
        let plain = Candidate { rank: 0, ahead: false, passed_over: 0, saves: 0.0 };
        let known = Candidate { saves: 20.0, ..plain };
        assert_eq!(choose(&[]), 0);
        assert_eq!(choose(&[plain, plain, known]), 2);
        assert_eq!(choose(&[known, plain, Candidate { saves: 20.5, ..plain }]), 0, "a little is not worth a turn");
        assert_eq!(choose(&[Candidate { passed_over: 2, ..plain }, known]), 0);
        assert_eq!(choose(&[plain, Candidate { passed_over: 2, ..plain }, known]), 0, "nor is the second passed over for ever");
        assert_eq!(choose(&[plain, Candidate { rank: 1, ..known }]), 0, "the operator's word goes before");
        assert_eq!(choose(&[plain, Candidate { ahead: true, ..known }]), 0, "what nobody asked for waits");
    }

    /// Four workers, builds of six kinds whose packages have nothing in common, and always some that wait.
    fn fetched(with_affinity: bool) -> (f64, u32) {
        let mut random = Random::new(7);
        let (mut has, mut waiting) = (vec![HashSet::new(); 4], Vec::new());
        let (mut fetched, mut most_passes) = (0.0, 0);
        for turn in 0..400 {
            while waiting.len() < 8 {
                let kind = random.below(6) as u64;
                waiting.push((Sketch::of((0..10).map(|i| (kind * 100 + i, 1 << 20))), 0u32));
            }
            let known: &mut HashSet<u64> = &mut has[turn % 4];
            let candidate = |(sketch, passed_over): &(Sketch, u32)| Candidate {
                rank: 0,
                ahead: false,
                passed_over: *passed_over,
                saves: 60.0 * sketch.share_in(known),
            };
            let candidates: Vec<Candidate> = waiting.iter().map(candidate).collect();
            let at = if with_affinity { choose(&candidates) } else { 0 };
            waiting[..at].iter_mut().for_each(|(_, passes)| *passes += 1);
            let (sketch, passes) = waiting.remove(at);
            most_passes = most_passes.max(passes);
            fetched += 1.0 - sketch.share_in(known);
            // A worker keeps the packages of one kind and of another.
            if known.len() >= 20 {
                known.clear();
            }
            known.extend(sketch.packages());
        }
        (fetched, most_passes)
    }

    #[test]
    fn builds_go_where_their_packages_are() {
        let ((with, passes), (without, _)) = (fetched(true), fetched(false));
        assert!(with < 0.8 * without, "{with} builds' worth of packages were fetched, and {without} in turn");
        assert!(passes <= MOST_PASSES, "one was passed over {passes} times");
    }
}
