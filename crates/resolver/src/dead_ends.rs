//! Packages that a half-broken mirror still has, but that need others which it lists and does not have. With several binhosts, another
//! one's package may serve in their place; finding that out by trial and error would take an attempt for each of them.

use crate::depstring::{Conjunction, Item};
use crate::graph::Lessons;
use crate::universe::{PkgId, Universe};

/// What to know from the start: that no package with a dependency nothing satisfies can be chosen. Nothing to know where no file is gone.
/// Found out once, as it is the same for every request.
pub(crate) fn lessons(u: &Universe) -> Option<&Lessons> {
    u.dead_ends.get_or_init(|| find_lessons(u)).as_ref()
}

fn find_lessons(u: &Universe) -> Option<Lessons> {
    if u.source.gone.is_empty() {
        return None;
    }
    let mut lessons = Lessons::default();
    for pkg in dead_ends(u) {
        lessons.masked.entry(pkg).or_default().missing_dependency = true;
    }
    (!lessons.masked.is_empty()).then_some(lessons)
}

/// The packages that policy allows, but that cannot be merged whatever else is chosen.
fn dead_ends(u: &Universe) -> Vec<PkgId> {
    let allowed: Vec<bool> = (0..u.packages.len()).map(|id| u.packages[id].mask.is_none()).collect();
    let mut alive = allowed.clone();
    loop {
        let mut changed = false;
        for id in 0..u.packages.len() {
            if alive[id] && !u.packages[id].installed && !can_be_met(u, id as PkgId, &alive) {
                alive[id] = false;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    (0..u.packages.len()).filter(|id| allowed[*id] && !alive[*id]).map(|id| id as PkgId).collect()
}

fn can_be_met(u: &Universe, id: PkgId, alive: &[bool]) -> bool {
    let deps = u.deps(id);
    deps.broken.is_none() && [&deps.rdepend, &deps.idepend, &deps.pdepend].iter().all(|part| all_met(u, &part.items, alive))
}

fn all_met(u: &Universe, items: &Conjunction, alive: &[bool]) -> bool {
    items.iter().all(|item| match item {
        Item::Atom(need) if need.atom.atom.blocker.is_some() => true,
        Item::Atom(need) => {
            let matches = u.matches(&need.atom);
            need.atom.provided || matches.available.iter().chain(&matches.installed).any(|p| alive[*p as usize])
        }
        Item::Any(alternatives) => alternatives.iter().any(|alternative| all_met(u, alternative, alive)),
    })
}
