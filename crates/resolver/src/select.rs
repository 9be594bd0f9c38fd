//! Which package an atom gets: the best one that may be chosen, unless one already in the graph serves, or an installed one does.

use crate::depstring::Need;
use crate::graph::{Graph, Parent, Stop};
use crate::universe::{AtomRef, PkgId};

impl Graph<'_> {
    /// Whether the package may not be chosen, by policy or by what earlier attempts taught.
    pub fn is_masked(&self, pkg: PkgId) -> bool {
        self.is_ruled_out(pkg) || (self.u.pkg(pkg).mask.is_some() && !self.in_graph[pkg as usize]) || self.is_broken(pkg)
    }

    fn is_broken(&self, pkg: PkgId) -> bool {
        !self.u.pkg(pkg).installed && self.u.deps(pkg).broken.is_some()
    }

    /// The package for an atom, and whether it is in the graph already. `parent` is who asks; it matters for installed packages only.
    pub fn select(&mut self, atom: &AtomRef, parent: Option<PkgId>) -> Result<Option<(PkgId, bool)>, Stop> {
        let Some(cp) = atom.cp else { return Ok(None) };
        let generation = self.generation[cp as usize];
        if let Some((made, known)) = self.select_cache.get(&atom.id)
            && *made == generation
        {
            return Ok(*known);
        }
        self.step()?;
        let found = if self.follow_installed { self.select_from_graph(atom) } else { self.select_best(atom, parent) };
        self.select_cache.insert(atom.id, (generation, found));
        if let Some((pkg, _)) = found
            && self.u.pkg(pkg).mask.is_none()
        {
            let selected = self.selected.entry(cp).or_default();
            if !selected.contains(&pkg) {
                selected.push(pkg);
            }
        }
        Ok(found)
    }

    fn select_best(&self, atom: &AtomRef, parent: Option<PkgId>) -> Option<(PkgId, bool)> {
        let matches = self.u.matches(atom);
        let best = matches.available.iter().copied().find(|p| !self.is_masked(*p));
        let installed = matches.installed.iter().copied().find(|p| !self.is_ruled_out(*p));
        for candidate in [best, installed].into_iter().flatten() {
            if let Some(existing) = self.highest_merge_in_slot(candidate)
                && self.u.atom_matches(atom, existing)
                && !best.is_some_and(|b| self.is_below_in_other_slot(existing, b))
            {
                return Some((existing, true));
            }
        }
        // An installed package serves unless one of the request's atoms asks for the available one.
        let Some(installed) = installed else { return best.map(|p| (p, false)) };
        let Some(best) = best else { return Some((installed, false)) };
        let replaces = parent.is_some_and(|p| self.will_replace(p, atom).is_some());
        if !replaces && self.is_arg(best) {
            return Some((best, false));
        }
        Some((installed, false))
    }

    fn is_below_in_other_slot(&self, existing: PkgId, best: PkgId) -> bool {
        let (existing, best) = (self.u.pkg(existing), self.u.pkg(best));
        existing.rank < best.rank && existing.slot != best.slot
    }

    /// While the installed packages' dependencies are followed, nothing new is chosen.
    fn select_from_graph(&self, atom: &AtomRef) -> Option<(PkgId, bool)> {
        let matches = self.final_matches(atom);
        let last = matches.last()?;
        match matches.iter().rev().find(|p| self.in_graph[**p as usize]) {
            Some(pkg) => Some((*pkg, true)),
            None => Some((*last, false)),
        }
    }

    /// Whether one of the request's atoms asks for the package.
    pub fn is_arg(&self, pkg: PkgId) -> bool {
        !self.matching_args(pkg).is_empty()
    }

    /// The request's atoms that ask for the package. An atom whose best match is in a higher slot does not ask for lower ones.
    pub fn matching_args(&self, pkg: PkgId) -> Vec<u32> {
        let own = self.u.pkg(pkg);
        let asks = |index: &u32| {
            let atom = &self.args[*index as usize].atom;
            if !self.u.atom_matches(atom, pkg) {
                return false;
            }
            let higher_slot = |p: &PkgId| {
                let other = self.u.pkg(*p);
                other.rank > own.rank && other.slot != own.slot && self.u.atom_matches(atom, *p)
            };
            !self.selected.get(&own.cp).is_some_and(|s| s.iter().any(higher_slot))
        };
        self.args_of.get(&own.cp).into_iter().flatten().copied().filter(asks).collect()
    }

    /// The installed package that the atom means and that the parent, being of the same slot, will replace.
    pub fn will_replace(&self, parent: PkgId, atom: &AtomRef) -> Option<PkgId> {
        if atom.cp != Some(self.u.pkg(parent).cp) {
            return None;
        }
        let slot = self.u.pkg(parent).slot;
        self.u.matches(atom).installed.iter().copied().find(|p| self.u.pkg(*p).slot == slot)
    }

    /// Selects a package per atom and drops those that other selections make needless, when several atoms name the same package.
    pub fn minimize_children<'n>(&mut self, parent: PkgId, needs: &[&'n Need]) -> Result<Vec<(&'n Need, Option<PkgId>)>, Stop> {
        let mut out: Vec<(&Need, Option<PkgId>)> = Vec::with_capacity(needs.len());
        let mut found: Vec<(&Need, PkgId)> = Vec::with_capacity(needs.len());
        for need in needs {
            if need.atom.atom.blocker.is_some() {
                out.push((need, None));
                continue;
            }
            match self.select(&need.atom, Some(parent))? {
                None => out.push((need, None)),
                Some((pkg, _)) => found.push((need, pkg)),
            }
        }
        let mut cps: Vec<u32> = found.iter().map(|(_, p)| self.u.pkg(*p).cp).collect();
        cps.sort_unstable();
        if cps.windows(2).all(|pair| pair[0] != pair[1]) {
            out.extend(found.into_iter().map(|(need, pkg)| (need, Some(pkg))));
            return Ok(out);
        }
        let mut names = Vec::new();
        for (_, pkg) in &found {
            let cp = self.u.pkg(*pkg).cp;
            if !names.contains(&cp) {
                names.push(cp);
            }
        }
        for cp in names {
            let group: Vec<(&Need, PkgId)> = found.iter().copied().filter(|(_, p)| self.u.pkg(*p).cp == cp).collect();
            let mut pkgs: Vec<PkgId> = Vec::new();
            for (_, pkg) in &group {
                if !pkgs.contains(pkg) {
                    pkgs.push(*pkg);
                }
            }
            if pkgs.len() < 2 {
                out.extend(group.iter().map(|(need, pkg)| (*need, Some(*pkg))));
            } else {
                out.extend(self.minimize_group(&group, pkgs));
            }
        }
        Ok(out)
    }

    /// Of several packages of one name, keeps those that are needed so that each atom is satisfied; older ones go first.
    fn minimize_group<'n>(&self, group: &[(&'n Need, PkgId)], mut pkgs: Vec<PkgId>) -> Vec<(&'n Need, Option<PkgId>)> {
        let u = self.u;
        let serves = |need: &Need, own: PkgId, pkg: PkgId| own == pkg || u.atom_matches(&need.atom, pkg);
        pkgs.sort_by_key(|p| (!u.pkg(*p).installed, u.pkg(*p).rank));
        let mut kept = pkgs.clone();
        for pkg in pkgs {
            let needed = group
                .iter()
                .any(|(need, own)| serves(need, *own, pkg) && kept.iter().filter(|k| serves(need, *own, **k)).count() < 2);
            if !needed {
                kept.retain(|k| *k != pkg);
            }
        }
        // Atoms bound to a slot come first, then those in conflict with the graph: so a message about a conflict shows them.
        let weight = |need: &Need, own: PkgId| {
            let conflicts = kept.iter().filter(|k| serves(need, own, **k)).any(|k| {
                self.merges_in_slot(*k).next().is_some_and(|existing| existing != *k && !u.atom_matches(&need.atom, existing))
            });
            match (need.atom.slot_operator_built, conflicts) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2,
            }
        };
        let mut out: Vec<(u8, &Need, Option<PkgId>)> = group
            .iter()
            .map(|(need, own)| {
                (
                    weight(need, *own),
                    *need,
                    kept.iter().copied().filter(|k| serves(need, *own, *k)).max_by_key(|k| u.pkg(*k).rank),
                )
            })
            .collect();
        out.sort_by_key(|(weight, _, _)| *weight);
        out.into_iter().map(|(_, need, pkg)| (need, pkg)).collect()
    }

    /// The text of who needs something.
    pub fn parent_text(&self, parent: Parent) -> String {
        match parent {
            Parent::Arg(index) => self.args[index as usize].asked.clone(),
            Parent::Pkg(pkg) => self.u.entry(pkg).cpv.to_string(),
        }
    }
}
