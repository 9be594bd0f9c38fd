//! Which alternative of `|| ( )` and which version of a virtual is taken: what is in the graph or installed before what is new, what
//! satisfies USE dependencies before what does not, and else the order written in the ebuild.

use std::cmp::Ordering;

use crate::depstring::{Conjunction, Item, Need, join_overlapping};
use crate::graph::{Graph, Stop};
use crate::universe::{AtomRef, CpId, PkgId, SlotId};

/// How good an alternative is; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Bin {
    /// Everything is in the graph or installed.
    Preferred,
    /// Everything can be had.
    NotInstalled,
    UnsatisfiedUseInGraph,
    UnsatisfiedUseInstalled,
    UnsatisfiedUse,
    /// Not all can be had, but is installed: all of it, some, or in another version.
    Installed,
    InstalledPartly,
    InstalledOtherwise,
    Other,
}

/// An alternative and what speaks for it.
struct Alternative {
    bin: Bin,
    atoms: Vec<Need>,
    /// The package each name would get.
    best_of_name: Vec<(CpId, PkgId)>,
    all_available: bool,
    all_installed_slots: bool,
    all_in_graph: bool,
    want_update: bool,
    new_slots: usize,
}

impl Graph<'_> {
    /// Makes all choices in a part of a package's dependencies and returns the atoms that remain.
    pub fn choose(&mut self, items: &[Item], parent: Option<PkgId>) -> Result<Vec<Need>, Stop> {
        self.step()?;
        let expanded = self.expand_virtuals(items, parent)?;
        match join_overlapping(&expanded) {
            Some(joined) => self.choose_all(&joined, parent, true),
            None => self.choose_all(&expanded, parent, false),
        }
    }

    /// Puts in the place of each virtual its versions with what these need.
    fn expand_virtuals(&mut self, items: &[Item], parent: Option<PkgId>) -> Result<Conjunction, Stop> {
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Atom(need) => match self.versions_of_virtual(need, parent)? {
                    Some(mut versions) if versions.len() == 1 => out.append(&mut versions[0]),
                    Some(versions) => out.push(Item::Any(versions)),
                    None => out.push(item.clone()),
                },
                Item::Any(alternatives) => {
                    let mut expanded = Vec::new();
                    for alternative in alternatives {
                        match alternative.as_slice() {
                            // A virtual that is an alternative by itself gives its versions as further alternatives.
                            [Item::Atom(need)] => match self.versions_of_virtual(need, parent)? {
                                Some(versions) => expanded.extend(versions),
                                None => expanded.push(alternative.clone()),
                            },
                            _ => expanded.push(self.expand_virtuals(alternative, parent)?),
                        }
                    }
                    out.push(Item::Any(expanded));
                }
            }
        }
        Ok(out)
    }

    /// The versions of a virtual, best first, each as what it needs and the version itself. None when the atom is no virtual that can be
    /// had.
    fn versions_of_virtual(&mut self, need: &Need, parent: Option<PkgId>) -> Result<Option<Vec<Conjunction>>, Stop> {
        if !need.atom.is_virtual || need.atom.atom.blocker.is_some() || self.virtuals_too_deep() {
            return Ok(None);
        }
        let u = self.u;
        let without_use = u.without_use(&need.atom);
        let mut out = Vec::new();
        for pkg in self.candidates(&without_use, parent)?.iter().rev().copied() {
            if self.virtual_stack.contains(&pkg) {
                continue;
            }
            self.virtual_stack.push(pkg);
            let chosen = self.choose(u.expansion(pkg), parent.or(Some(pkg)));
            self.virtual_stack.pop();
            let mut conjunction: Conjunction =
                chosen?.into_iter().map(|inner| Item::Atom(Need { owner: inner.owner.or(Some(pkg)), ..inner })).collect();
            let exact = u.exact(pkg, &need.atom);
            conjunction.push(Item::Atom(Need { atom: exact, owner: need.owner, stands_for: Some((pkg, need.atom.clone())) }));
            out.push(conjunction);
        }
        Ok((!out.is_empty()).then_some(out))
    }

    fn choose_all(&mut self, items: &[Item], parent: Option<PkgId>, fewest_slots: bool) -> Result<Vec<Need>, Stop> {
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Atom(need) if need.atom.provided => {}
                Item::Atom(need) => out.push(need.clone()),
                Item::Any(alternatives) if alternatives.iter().any(|a| is_provided(a)) => {}
                Item::Any(alternatives) => out.extend(self.choose_one(alternatives, parent, fewest_slots)?),
            }
        }
        Ok(out)
    }

    fn choose_one(&mut self, alternatives: &[Conjunction], parent: Option<PkgId>, fewest_slots: bool) -> Result<Vec<Need>, Stop> {
        let mut weighed = Vec::with_capacity(alternatives.len());
        for alternative in alternatives {
            self.steps += alternative.len() as u64;
            self.step()?;
            let atoms = self.choose_all(alternative, parent, fewest_slots)?;
            weighed.push(self.weigh(atoms, parent)?);
        }
        let mut ordered = Vec::with_capacity(weighed.len());
        weighed.sort_by_key(|a| a.bin);
        let mut rest = weighed.into_iter().peekable();
        while let Some(first) = rest.next() {
            let mut bin = vec![first];
            while let Some(next) = rest.next_if(|a| a.bin == bin[0].bin) {
                bin.push(next);
            }
            ordered.extend(self.order_bin(bin, fewest_slots));
        }
        let best = ordered.iter().position(|a| a.all_available).unwrap_or(0);
        Ok(ordered.into_iter().nth(best).map(|a| a.atoms).unwrap_or_default())
    }

    /// Orders alternatives that are equally good: upgrades and what is there already move to the front.
    fn order_bin(&self, mut bin: Vec<Alternative>, fewest_slots: bool) -> Vec<Alternative> {
        if fewest_slots {
            bin.sort_by_key(|a| a.new_slots);
        }
        let mut ordered: Vec<Alternative> = Vec::with_capacity(bin.len());
        for candidate in bin {
            let before = ordered.iter().position(|other| self.goes_before(&candidate, other));
            ordered.insert(before.unwrap_or(ordered.len()), candidate);
        }
        ordered
    }

    fn goes_before(&self, candidate: &Alternative, other: &Alternative) -> bool {
        if candidate.all_installed_slots && !other.all_installed_slots && !other.want_update {
            return true;
        }
        let (mut upgrade, mut downgrade) = (false, false);
        for (cp, pkg) in &candidate.best_of_name {
            if let Some((_, theirs)) = other.best_of_name.iter().find(|(name, _)| name == cp) {
                match self.u.pkg(*pkg).version_rank.cmp(&self.u.pkg(*theirs).version_rank) {
                    Ordering::Greater => upgrade = true,
                    Ordering::Less => downgrade = true,
                    Ordering::Equal => {}
                }
            }
        }
        (upgrade && !downgrade) || (candidate.all_in_graph && !other.all_in_graph && (upgrade || !downgrade))
    }

    /// Finds out what speaks for an alternative.
    fn weigh(&mut self, atoms: Vec<Need>, parent: Option<PkgId>) -> Result<Alternative, Stop> {
        let u = self.u;
        let mut all_available = true;
        let mut all_use_satisfied = true;
        let mut unwanted_downgrade = false;
        let mut best_of_slot: Vec<(SlotId, PkgId)> = Vec::new();
        let mut atoms_of_slot: Vec<(SlotId, AtomRef)> = Vec::new();
        let mut best_of_name: Vec<(CpId, PkgId)> = Vec::new();
        for need in atoms.iter().filter(|n| n.atom.atom.blocker.is_none()) {
            let replaced = parent.and_then(|p| self.will_replace(p, &need.atom));
            // USE dependencies must not decide whether an alternative is there at all.
            let without_use = u.without_use(&need.atom);
            let Some(mut pkg) = self.candidates(&without_use, parent)?.last().copied().or(replaced) else {
                (all_available, all_use_satisfied) = (false, false);
                break;
            };
            if replaced.is_none() {
                let same_slot: Vec<PkgId> = self.final_in_slot(pkg);
                if same_slot.len() > 1
                    && same_slot.last().is_some_and(|last| u.pkg(pkg).rank < u.pkg(*last).rank)
                    && !self.wants_downgrade(pkg)
                {
                    unwanted_downgrade = true;
                }
            }
            if !need.atom.atom.use_deps.is_empty() {
                match self.candidates(&need.atom, parent)?.last() {
                    Some(with_use) => pkg = *with_use,
                    None => all_use_satisfied = false,
                }
            }
            if replaced.is_none() {
                let slot_atom = u.slot_atom(pkg);
                if let Some(highest) = self.candidates(&slot_atom, parent)?.last().copied()
                    && u.pkg(pkg).rank < u.pkg(highest).rank
                    && (u.pkg(highest).installed || self.in_graph[highest as usize])
                    && !self.wants_downgrade(pkg)
                {
                    unwanted_downgrade = true;
                }
            }
            let (slot, cp) = (u.pkg(pkg).slot, u.pkg(pkg).cp);
            match best_of_slot.iter_mut().find(|(s, _)| *s == slot) {
                Some((_, known)) => *known = pkg,
                None => best_of_slot.push((slot, pkg)),
            }
            atoms_of_slot.push((slot, need.atom.clone()));
            self.note_best(&mut best_of_name, &atoms_of_slot, cp, slot, pkg);
        }
        let mut want_update = false;
        let mut new_slots = 0;
        for (_, pkg) in &best_of_slot {
            want_update |= parent.is_some() && self.wants_update(*pkg);
            if !u.is_virtual(*pkg) && !self.slot_will_be_taken(*pkg) {
                new_slots += 1;
            }
        }
        let mut alternative = Alternative {
            bin: Bin::Other,
            atoms,
            best_of_name,
            all_available,
            all_installed_slots: false,
            all_in_graph: false,
            want_update,
            new_slots,
        };
        alternative.bin = if all_available {
            self.bin_of_available(&mut alternative, &best_of_slot, all_use_satisfied, unwanted_downgrade, parent)
        } else {
            self.bin_of_unavailable(&mut alternative)
        };
        Ok(alternative)
    }

    /// Remembers the package a name would get. Where several atoms mean one slot, one that satisfies all of them is preferred.
    fn note_best(&self, best: &mut Vec<(CpId, PkgId)>, atoms: &[(SlotId, AtomRef)], cp: CpId, slot: SlotId, pkg: PkgId) {
        let u = self.u;
        let Some((_, known)) = best.iter_mut().find(|(name, _)| *name == cp) else {
            best.push((cp, pkg));
            return;
        };
        let fits_all = |p: PkgId| atoms.iter().filter(|(s, _)| *s == slot).all(|(_, a)| u.atom_matches(a, p));
        let (mut new_fits, mut known_fits) = (false, false);
        if u.pkg(*known).slot == slot {
            (new_fits, known_fits) = (fits_all(pkg), fits_all(*known));
            if known_fits && !new_fits {
                return;
            }
        }
        if u.pkg(pkg).version_rank > u.pkg(*known).version_rank || (new_fits && !known_fits) {
            *known = pkg;
        }
    }

    fn bin_of_available(
        &mut self,
        alternative: &mut Alternative,
        best_of_slot: &[(SlotId, PkgId)],
        use_satisfied: bool,
        unwanted_downgrade: bool,
        parent: Option<PkgId>,
    ) -> Bin {
        let u = self.u;
        let real = || alternative.atoms.iter().filter(|n| n.atom.atom.blocker.is_none() && !n.atom.is_virtual);
        let all_installed = real().all(|n| n.atom.cp.is_some_and(|cp| !u.names[cp as usize].installed.is_empty()));
        let all_installed_slots =
            all_installed && best_of_slot.iter().all(|(_, p)| u.is_virtual(*p) || u.in_slot(*p).any(|o| u.pkg(o).installed));
        let all_in_graph = real().all(|n| self.final_matches(&n.atom).iter().any(|p| self.in_graph[*p as usize]));
        alternative.all_installed_slots = all_installed_slots;
        if unwanted_downgrade {
            return Bin::Other;
        }
        alternative.all_in_graph = all_in_graph;
        if self.closes_known_cycle(&alternative.atoms, parent) {
            return Bin::Other;
        }
        match use_satisfied {
            true if all_in_graph || all_installed => Bin::Preferred,
            true => Bin::NotInstalled,
            false if all_in_graph => Bin::UnsatisfiedUseInGraph,
            false if all_installed_slots => Bin::UnsatisfiedUseInstalled,
            false => Bin::UnsatisfiedUse,
        }
    }

    fn bin_of_unavailable(&self, alternative: &mut Alternative) -> Bin {
        let u = self.u;
        let wanted: Vec<&AtomRef> = alternative.atoms.iter().map(|n| &n.atom).filter(|a| a.atom.blocker.is_none()).collect();
        let installed = |atom: &AtomRef| !u.matches(atom).installed.is_empty();
        let any_version = |atom: &AtomRef| atom.cp.is_some_and(|cp| !u.names[cp as usize].installed.is_empty());
        if wanted.iter().all(|a| installed(a)) {
            alternative.all_installed_slots = true;
            Bin::Installed
        } else if wanted.iter().any(|a| installed(a)) {
            Bin::InstalledPartly
        } else if wanted.iter().any(|a| any_version(a)) {
            Bin::InstalledOtherwise
        } else {
            Bin::Other
        }
    }

    /// Whether an earlier attempt found the parent in a cycle through one of these.
    fn closes_known_cycle(&mut self, atoms: &[Need], parent: Option<PkgId>) -> bool {
        let u = self.u;
        let real = || atoms.iter().filter(|n| n.atom.atom.blocker.is_none() && u.matches(&n.atom).installed.is_empty());
        let mut closes = false;
        for around in parent.into_iter().chain(self.virtual_stack.iter().copied()) {
            self.weighed.entry(around).or_default().extend(real().map(|n| n.atom.clone()));
            let children = self.lessons.circular.get(&around).into_iter().flatten();
            closes |= children.into_iter().any(|c| real().any(|n| u.atom_matches(&n.atom, *c)));
        }
        closes
    }

    /// What is in a slot in the end, lowest version first.
    fn final_in_slot(&self, pkg: PkgId) -> Vec<PkgId> {
        let mut found: Vec<PkgId> = self.merges_in_slot(pkg).collect();
        if found.is_empty() {
            found.extend(self.u.in_slot(pkg).filter(|p| self.u.pkg(*p).installed));
        }
        found.sort_by_key(|p| self.u.pkg(*p).version_rank);
        found
    }

    /// Whether only something lower than the package could be merged in its slot.
    fn wants_downgrade(&self, pkg: PkgId) -> bool {
        let available = self.similar_available(pkg);
        !available.is_empty() && available.iter().all(|p| self.u.pkg(*p).rank < self.u.pkg(pkg).rank)
    }

    fn wants_update(&self, pkg: PkgId) -> bool {
        !self.follow_installed && self.is_arg(pkg)
    }
}

fn is_provided(alternative: &[Item]) -> bool {
    alternative.iter().all(|item| match item {
        Item::Atom(need) => need.atom.provided,
        Item::Any(inner) => inner.iter().any(|a| is_provided(a)),
    })
}
