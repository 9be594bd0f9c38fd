//! The last word on a result: whatever the search did, a set of packages is only given out when everything in it is satisfied by it.

use std::collections::BTreeSet;

use gentoo::atom::Blocker;

use crate::depstring::{Item, describe};
use crate::graph::{Arg, Graph};
use crate::universe::{AtomRef, PkgId, Universe};

/// Checks that the packages of a graph satisfy the request and each other, that slots hold one package each, that nothing masked is among
/// them, and that no blocker hits.
///
/// # Errors
/// What is wrong, for a report to the developers: this must not happen.
pub(crate) fn verify(u: &Universe, args: &[Arg], graph: &Graph<'_>) -> Result<(), String> {
    let result = Outcome::new(u, graph);
    let mut slots = BTreeSet::new();
    for pkg in &result.present {
        if !slots.insert(u.pkg(*pkg).slot) {
            return Err(format!("slot of {} is taken twice", u.entry(*pkg).cpv));
        }
    }
    for arg in args {
        if !arg.atom.provided && !result.has(&arg.atom) {
            return Err(format!("{} is not in the result", arg.atom.text));
        }
    }
    for pkg in graph.nodes.iter().filter(|p| !u.pkg(**p).installed) {
        let cpv = &u.entry(*pkg).cpv;
        if let Some(mask) = &u.pkg(*pkg).mask {
            return Err(format!("{cpv} is masked: {mask:?}"));
        }
        let deps = u.deps(*pkg);
        for item in deps.items() {
            if !result.satisfies(item, *pkg) {
                return Err(format!("{cpv} needs {}", describe(item)));
            }
        }
    }
    Ok(())
}

/// What is there in the end.
struct Outcome<'a> {
    u: &'a Universe,
    present: Vec<PkgId>,
    is_present: Vec<bool>,
}

impl<'a> Outcome<'a> {
    fn new(u: &'a Universe, graph: &Graph<'_>) -> Outcome<'a> {
        let mut present: Vec<PkgId> = graph.nodes.iter().copied().filter(|p| !u.pkg(*p).installed).collect();
        let taken: BTreeSet<u32> = present.iter().map(|p| u.pkg(*p).slot).collect();
        let same_version = |i: PkgId, p: &PkgId| u.entry(i).cpv == u.entry(*p).cpv;
        let staying: Vec<PkgId> = u
            .names
            .iter()
            .flat_map(|n| n.installed.iter().copied())
            .filter(|i| !graph.lessons.going.contains(i))
            .filter(|i| !taken.contains(&u.pkg(*i).slot) && !present.iter().any(|p| same_version(*i, p)))
            .collect();
        present.extend(staying);
        let mut is_present = vec![false; u.packages.len()];
        for pkg in &present {
            is_present[*pkg as usize] = true;
        }
        Outcome { u, present, is_present }
    }

    fn matching<'b>(&'b self, atom: &'b AtomRef) -> impl Iterator<Item = PkgId> + 'b {
        let matches = self.u.matches(atom);
        matches.available.iter().chain(&matches.installed).copied().filter(|p| self.is_present[*p as usize])
    }

    fn has(&self, atom: &AtomRef) -> bool {
        self.matching(atom).next().is_some()
    }

    fn satisfies(&self, item: &Item, owner: PkgId) -> bool {
        match item {
            Item::Any(alternatives) => alternatives.iter().any(|a| a.iter().all(|i| self.satisfies(i, owner))),
            Item::Atom(need) => match need.atom.atom.blocker {
                None => need.atom.provided || self.has(&need.atom),
                Some(kind) => !self.is_blocked(&need.atom, kind, owner),
            },
        }
    }

    fn is_blocked(&self, atom: &AtomRef, kind: Blocker, owner: PkgId) -> bool {
        let own_slot = self.u.pkg(owner).slot;
        self.matching(atom).any(|p| kind == Blocker::Strong || self.u.pkg(p).slot != own_slot)
    }
}
