//! Whether a merge order is valid, told from the planned packages alone.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::dep::Tree;
use gentoo::index::Entry;
use gentoo::useflags::ImplicitIuse;
use gentoo::{Atom, Dep};

/// What is wrong with the order: packages merged before something that they need and that does not need them in turn.
pub fn faults(entries: &[&Entry], implicit: &ImplicitIuse, ignore_built: bool) -> Vec<String> {
    let mut by_name: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, entry) in entries.iter().enumerate() {
        by_name.entry(entry.cpv.cp()).or_default().push(at);
    }
    let meant = |atom: &Atom| -> Vec<usize> {
        let candidates = by_name.get(&atom.cp()).cloned().unwrap_or_default();
        candidates.into_iter().filter(|at| matches(atom, entries[*at], implicit, ignore_built)).collect()
    };
    // `may` has every package that could serve, `must` those without which a dependency is not satisfied.
    let (mut may, mut must): (Vec<BTreeSet<usize>>, Vec<BTreeSet<usize>>) = (Vec::new(), Vec::new());
    for entry in entries {
        let (mut own_may, mut own_must) = (BTreeSet::new(), BTreeSet::new());
        for text in [&entry.rdepend, &entry.idepend] {
            let tree = Dep::parse(text).unwrap().evaluate(&|flag| entry.use_flags.iter().any(|f| f == flag));
            for atom in tree.atoms().into_iter().filter(|a| a.blocker.is_none()) {
                own_may.extend(meant(atom));
            }
            let mut pending = vec![&tree];
            while let Some(tree) = pending.pop() {
                match tree {
                    Tree::Atom(atom) if atom.blocker.is_none() => {
                        if let [only] = meant(atom).as_slice() {
                            own_must.insert(*only);
                        }
                    }
                    Tree::All(deps) => pending.extend(deps),
                    _ => {}
                }
            }
        }
        may.push(own_may);
        must.push(own_must);
    }
    let reach: Vec<BTreeSet<usize>> = (0..entries.len()).map(|at| reachable(at, &may)).collect();
    let mut found = Vec::new();
    for (at, needs) in must.iter().enumerate() {
        for need in needs.iter().filter(|n| **n > at && !reach[**n].contains(&at)) {
            found.push(format!("{} is merged before {}, which it needs", entries[at].cpv, entries[*need].cpv));
        }
    }
    found
}

fn reachable(from: usize, edges: &[BTreeSet<usize>]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<usize> = edges[from].iter().copied().collect();
    while let Some(at) = pending.pop() {
        if found.insert(at) {
            pending.extend(&edges[at]);
        }
    }
    found
}

fn matches(atom: &Atom, entry: &Entry, implicit: &ImplicitIuse, ignore_built: bool) -> bool {
    let mut atom = atom.clone();
    if ignore_built && atom.slot_operator == Some(gentoo::atom::SlotOperator::Equal) {
        (atom.slot, atom.subslot) = (None, None);
    }
    atom.matches(&entry.cpv, &entry.slot, &entry.subslot, &entry.repo)
        && atom.use_deps.iter().all(|d| d.satisfied_by(&entry.built_use(implicit), &|_| false))
}
