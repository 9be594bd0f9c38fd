//! The packages an atom could get while choices are made.

use std::rc::Rc;

use crate::graph::{Graph, Stop};
use crate::universe::{AtomRef, PkgId};

impl Graph<'_> {
    /// Lowest first: the one it would be given, unless that would push out a
    /// better one or collide with what is in the graph; of virtuals one per slot and sub-slot.
    pub fn candidates(&mut self, atom: &AtomRef, parent: Option<PkgId>) -> Result<Rc<[PkgId]>, Stop> {
        let Some(cp) = atom.cp else { return Ok(Rc::default()) };
        // What a virtual gets depends on what it needs in turn; and within the expansion of virtuals, on how one came there.
        if atom.is_virtual && !self.virtual_stack.is_empty() {
            return Ok(self.candidates_of_virtual(atom, parent)?.into());
        }
        let generation = if atom.is_virtual { self.epoch } else { self.generation[cp as usize] };
        if let Some((made, known)) = self.candidate_cache.get(&atom.id)
            && *made == generation
        {
            return Ok(known.clone());
        }
        let mut found: Rc<[PkgId]> = Rc::default();
        if atom.is_virtual {
            found = self.candidates_of_virtual(atom, parent)?.into();
        } else if let Some((pkg, _)) = self.select(atom, None)?
            && self.is_eligible(pkg, atom, true, parent)?
        {
            found = Rc::from([pkg]);
        }
        self.candidate_cache.insert(atom.id, (generation, found.clone()));
        Ok(found)
    }

    fn candidates_of_virtual(&mut self, atom: &AtomRef, parent: Option<PkgId>) -> Result<Vec<PkgId>, Stop> {
        let u = self.u;
        let mut found = Vec::new();
        let Some((pkg, _)) = self.select(atom, None)? else { return Ok(found) };
        if self.is_eligible(pkg, atom, true, parent)? {
            found.push(pkg);
        }
        if atom.atom.subslot.is_some() {
            return Ok(found);
        }
        let same_slot = |a: PkgId, b: PkgId| u.pkg(a).slot == u.pkg(b).slot && u.entry(a).subslot == u.entry(b).subslot;
        for (best, in_slot) in u.by_subslot(atom) {
            if found.first().is_some_and(|first| same_slot(*first, *best)) {
                continue;
            }
            if let Some((pkg, _)) = self.select(in_slot, None)?
                && self.is_eligible(pkg, atom, false, parent)?
                && !found.contains(&pkg)
            {
                found.push(pkg);
            }
        }
        found.sort_by_key(|p| u.pkg(*p).rank);
        Ok(found)
    }

    fn is_eligible(&mut self, pkg: PkgId, atom: &AtomRef, avoid_conflict: bool, parent: Option<PkgId>) -> Result<bool, Stop> {
        let u = self.u;
        if self.follow_installed {
            return Ok(true);
        }
        if u.pkg(pkg).installed && self.is_arg(pkg) {
            return Ok(false);
        }
        if u.is_virtual(pkg) && !self.virtual_can_be_had(pkg)? {
            return Ok(false);
        }
        if !avoid_conflict {
            return Ok(true);
        }
        match self.highest_merge_in_slot(pkg) {
            None => {
                let slot_atom = u.slot_atom(pkg);
                let highest = self.select(&slot_atom, parent)?.map(|(p, _)| p);
                Ok(!highest.is_some_and(|h| u.pkg(pkg).rank < u.pkg(h).rank && u.atom_matches(atom, h)))
            }
            // Only where the package in the graph fits as well is it the one to take; else the conflict is for later.
            Some(existing) => Ok(existing == pkg || !u.atom_matches(atom, existing)),
        }
    }

    /// Whether everything a virtual needs can be had, USE dependencies aside.
    fn virtual_can_be_had(&mut self, pkg: PkgId) -> Result<bool, Stop> {
        if self.virtual_stack.contains(&pkg) || self.virtuals_too_deep() {
            return Ok(false);
        }
        let u = self.u;
        self.virtual_stack.push(pkg);
        let chosen = self.choose(&u.deps(pkg).rdepend.items, Some(pkg));
        self.virtual_stack.pop();
        for need in chosen? {
            if need.atom.atom.blocker.is_none() && self.select(&u.without_use(&need.atom), None)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
