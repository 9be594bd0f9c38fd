//! Atoms, each read once and shared, and what they match.

use std::sync::{Arc, OnceLock};

use gentoo::Atom;
use gentoo::atom::{Operator, SlotOperator};
use gentoo::index::Entry;
use gentoo::useflags::PackageUse;

use super::{AtomData, AtomRef, FEW_FLAGS, Matches, PkgId, Universe};
use crate::depstring::Conjunction;

impl Universe {
    /// The atom `category/package:slot` for the slot of a package.
    pub(crate) fn slot_atom(&self, id: PkgId) -> AtomRef {
        let slot = self.pkg(id).slot as usize;
        let make = || {
            let cpv = &self.entry(id).cpv;
            self.intern(Atom { slot: Some(self.slots[slot].1.to_string()), ..Atom::any(&cpv.category, &cpv.package) })
        };
        self.slot_atoms[slot].get_or_init(make).clone()
    }

    pub(super) fn intern_dependency(&self, mut atom: Atom) -> AtomRef {
        if self.source.ignore_built_slot_operators && atom.slot_operator == Some(SlotOperator::Equal) && atom.slot.is_some() {
            (atom.slot, atom.subslot) = (None, None);
        }
        self.intern(atom)
    }

    /// The shared form of an atom.
    pub(crate) fn intern(&self, atom: Atom) -> AtomRef {
        let text = atom.to_string();
        let mut table = self.atoms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = table.get(&text) {
            return known.clone();
        }
        let equal = atom.slot_operator == Some(SlotOperator::Equal);
        let data = Arc::new(AtomData {
            id: table.len() as u32,
            cp: self.name(&atom.cp()),
            is_virtual: atom.category == "virtual",
            slot_operator: equal,
            slot_operator_built: equal && atom.slot.is_some(),
            provided: atom.blocker.is_none() && self.source.profile.provides(&atom),
            text: text.clone(),
            atom,
            matches: OnceLock::new(),
            without_use: OnceLock::new(),
            without_sign: OnceLock::new(),
            by_subslot: OnceLock::new(),
        });
        table.insert(text, data.clone());
        data
    }

    /// The atom without its USE dependencies.
    pub(crate) fn without_use(&self, atom: &AtomRef) -> AtomRef {
        if atom.atom.use_deps.is_empty() {
            return atom.clone();
        }
        atom.without_use.get_or_init(|| self.intern(atom.atom.without_use())).clone()
    }

    /// A blocker as the atom it blocks.
    pub(crate) fn blocked_atom(&self, atom: &AtomRef) -> AtomRef {
        atom.without_sign.get_or_init(|| self.intern(Atom { blocker: None, ..atom.atom.clone() })).clone()
    }

    /// For each slot and sub-slot that the atom matches, the best package in it and the atom narrowed to it.
    pub(crate) fn by_subslot<'a>(&self, atom: &'a AtomRef) -> &'a [(PkgId, AtomRef)] {
        atom.by_subslot.get_or_init(|| {
            let matches = self.matches(atom);
            let mut found: Vec<(PkgId, AtomRef)> = Vec::new();
            for pkg in matches.available.iter().chain(&matches.installed) {
                let entry = self.entry(*pkg);
                let same = |known: &Entry| known.slot == entry.slot && known.subslot == entry.subslot;
                if found.iter().any(|(known, _)| same(self.entry(*known))) {
                    continue;
                }
                let (slot, subslot) = (Some(entry.slot.to_string()), Some(entry.subslot.to_string()));
                found.push((*pkg, self.intern(Atom { slot, subslot, ..atom.atom.clone() })));
            }
            found
        })
    }

    /// An atom that means exactly the version of a package, with the USE dependencies of another atom.
    pub(crate) fn exact(&self, id: PkgId, use_deps: &AtomRef) -> AtomRef {
        let cpv = &self.entry(id).cpv;
        let make = |deps| {
            let version = Some((Operator::Equal, cpv.version.clone()));
            self.intern(Atom { version, use_deps: deps, ..Atom::any(&cpv.category, &cpv.package) })
        };
        if use_deps.atom.use_deps.is_empty() {
            return self.pkg(id).exact.get_or_init(|| make(Vec::new())).clone();
        }
        make(use_deps.atom.use_deps.clone())
    }

    /// What expanding a virtual puts in its place.
    pub(crate) fn expansion(&self, id: PkgId) -> &Conjunction {
        let deps = self.deps(id);
        deps.bound_rdepend.as_ref().unwrap_or(&deps.rdepend.items)
    }

    /// The packages an atom matches, USE dependencies included; a blocker's sign plays no part.
    pub(crate) fn matches<'a>(&self, atom: &'a AtomRef) -> &'a Matches {
        atom.matches.get_or_init(|| {
            let Some(cp) = atom.cp else { return Matches::default() };
            let name = &self.names[cp as usize];
            let pick = |list: &[PkgId]| list.iter().copied().filter(|p| self.evaluate_match(&atom.atom, *p)).collect();
            Matches { available: pick(&name.available), installed: pick(&name.installed) }
        })
    }

    /// Whether the atom matches the package, USE dependencies included.
    pub(crate) fn atom_matches(&self, atom: &AtomRef, id: PkgId) -> bool {
        if atom.cp != Some(self.pkg(id).cp) {
            return false;
        }
        let matches = self.matches(atom);
        if self.pkg(id).installed { matches.installed.contains(&id) } else { matches.available.contains(&id) }
    }

    pub(super) fn evaluate_match(&self, atom: &Atom, id: PkgId) -> bool {
        let entry = self.entry(id);
        atom.matches_version(&entry.cpv.version)
            && atom.matches_slot(&entry.slot, &entry.subslot)
            && (atom.repo.is_none() || atom.repo.as_deref() == Some(entry.repo.as_str()))
            && self.has_flags_asked(atom, entry)
    }

    /// Whether a build's flags are those of the atom's USE dependencies. Hundreds of them may be asked of thousands of flags.
    fn has_flags_asked(&self, atom: &Atom, entry: &Entry) -> bool {
        let use_deps = &atom.use_deps;
        let all = |built: &dyn PackageUse| use_deps.iter().all(|dep| dep.satisfied_by(built, &|_| false));
        let built = entry.built_use(&self.implicit);
        if use_deps.len() > FEW_FLAGS { all(&built.indexed()) } else { all(&built) }
    }
}
