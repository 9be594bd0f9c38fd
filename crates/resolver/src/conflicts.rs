//! What must be settled once everything has been pulled in: installed packages that would break, several packages in one slot, and
//! blockers.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::atom::Blocker;

use crate::graph::{Block, Dependency, Depth, Graph, Ignored, Parent, Priority, Proposal, Stop};
use crate::universe::{AtomRef, PkgId};

/// Several packages in one slot, in the order they came.
pub(crate) type Conflict = Vec<PkgId>;

/// A blocker and the package it hits, which nothing resolves.
#[derive(Clone)]
pub(crate) struct Blocked {
    pub atom: AtomRef,
    pub parent: PkgId,
    pub blocked: PkgId,
}

/// A node of the graph that decides which packages of conflicts are needed.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    /// Everything that is in no conflict.
    Outside,
    Pkg(PkgId),
    /// Any of these serves.
    OneOf(Vec<PkgId>),
}

impl Graph<'_> {
    /// The slots that hold several packages.
    pub fn slot_conflicts(&self) -> Vec<Conflict> {
        let mut found = Vec::new();
        for cp in &self.multi {
            let mut slots: BTreeMap<u32, (usize, Conflict)> = BTreeMap::new();
            for (at, pkg) in self.merges.get(cp).into_iter().flatten().enumerate() {
                slots.entry(self.u.pkg(*pkg).slot).or_insert_with(|| (at, Vec::new())).1.push(*pkg);
            }
            let mut slots: Vec<_> = slots.into_values().filter(|(_, pkgs)| pkgs.len() > 1).collect();
            slots.sort();
            found.extend(slots.into_iter().map(|(_, pkgs)| pkgs));
        }
        found
    }

    /// Follows the dependencies of installed packages when something of theirs changes, so that none is broken.
    pub fn complete(&mut self) -> Result<(), Stop> {
        self.complete |= !self.lessons.going.is_empty();
        self.complete |= self.installed_change() || (self.backtracking && !self.slot_conflicts().is_empty());
        if !self.complete {
            return Ok(());
        }
        self.follow_installed = true;
        self.forget_all();
        let runtime = Priority { runtime: true, ..Priority::default() };
        if self.u.source.installed.is_some() {
            // The base's own packages are what `@world` and `@system` would name.
            let roots: Vec<PkgId> = self.u.names.iter().flat_map(|n| n.installed.iter().copied()).collect();
            for pkg in roots {
                let replaced = self.merges_in_slot(pkg).next().is_some();
                if !replaced && !self.in_graph[pkg as usize] && !self.lessons.going.contains(&pkg) {
                    let dep = Dependency {
                        atom: self.u.slot_atom(pkg),
                        parent: Parent::Pkg(pkg),
                        priority: runtime,
                        depth: Depth::Unreachable,
                    };
                    self.add_pkg(pkg, &dep);
                }
            }
        }
        for ignored in std::mem::take(&mut self.ignored) {
            match ignored {
                Ignored::Pkg(pkg) => self.queue(pkg),
                Ignored::Dep(dep) => {
                    self.add_dep(dep, None, true)?;
                }
            }
        }
        self.grow(true)
    }

    /// Whether the graph changes the version, slot or USE of something installed.
    fn installed_change(&self) -> bool {
        let u = self.u;
        self.nodes.iter().filter(|p| !u.pkg(**p).installed).any(|p| {
            let (pkg, entry) = (u.pkg(*p), u.entry(*p));
            let installed = &u.names[pkg.cp as usize].installed;
            let in_slot = installed.iter().find(|i| u.pkg(**i).slot == pkg.slot).map(|i| u.entry(*i));
            let changed = in_slot.is_some_and(|i| {
                fn flags(e: &gentoo::index::Entry) -> (BTreeSet<&str>, BTreeSet<&str>) {
                    let iuse: BTreeSet<&str> = e.iuse_names().collect();
                    let enabled: BTreeSet<&str> = e.use_flags.iter().filter(|f| iuse.contains(f)).collect();
                    (iuse, enabled)
                }
                i.cpv.version != entry.cpv.version || i.subslot != entry.subslot || flags(i) != flags(entry)
            });
            let new_slot = !installed.is_empty()
                && !installed.iter().any(|i| u.pkg(*i).slot == pkg.slot && u.entry(*i).subslot == entry.subslot);
            changed || new_slot
        })
    }

    /// Resolves slot conflicts in which one package satisfies everybody, and notes the others for the next attempt.
    pub fn settle_slots(&mut self) -> Result<(), Stop> {
        self.drop_needless()?;
        // Later conflicts may only follow from the first, so one is learnt from at a time.
        for conflict in self.slot_conflicts() {
            if self.learn_from(&conflict) {
                break;
            }
        }
        Ok(())
    }

    /// Drops the packages of conflicts that nobody needs.
    fn drop_needless(&mut self) -> Result<(), Stop> {
        let conflicts = self.slot_conflicts();
        if conflicts.is_empty() {
            return Ok(());
        }
        let in_conflict: BTreeSet<PkgId> = conflicts.iter().flatten().copied().collect();
        let indirect = self.needed_by_conflicts_only(&in_conflict);
        let (edges, mut forced) = self.conflict_graph(&conflicts, &in_conflict, &indirect);
        forced.extend(needed_packages(&edges));
        let mut pending: Vec<PkgId> = forced.iter().copied().collect();
        let mut seen = BTreeSet::new();
        while let Some(pkg) = pending.pop() {
            if !seen.insert(pkg) {
                continue;
            }
            for child in edges.get(&Node::Pkg(pkg)).into_iter().flatten() {
                if let Node::Pkg(child) = child {
                    forced.insert(*child);
                    pending.push(*child);
                }
            }
        }
        let dropped: Vec<PkgId> = conflicts.iter().flatten().copied().filter(|p| !forced.contains(p)).collect();
        let mut look_again: Vec<PkgId> = Vec::new();
        for pkg in &dropped {
            for (parent, _) in self.parent_atoms(*pkg) {
                if let Parent::Pkg(parent) = parent
                    && !dropped.contains(parent)
                    && !look_again.contains(parent)
                {
                    look_again.push(*parent);
                }
            }
            self.remove_pkg(*pkg);
        }
        for pkg in forced {
            if !look_again.contains(&pkg) {
                look_again.push(pkg);
            }
        }
        for pkg in look_again {
            if self.in_graph[pkg as usize] {
                self.queue(pkg);
            }
        }
        if self.has_queue() {
            self.grow(self.follow_installed)?;
        }
        Ok(())
    }

    /// Packages all of whose parents are in conflicts, directly or not.
    fn needed_by_conflicts_only(&self, in_conflict: &BTreeSet<PkgId>) -> BTreeSet<PkgId> {
        let children = |p: PkgId| self.children(p).iter().map(|e| e.child);
        let mut candidates: BTreeSet<PkgId> =
            in_conflict.iter().flat_map(|p| children(*p)).filter(|c| !in_conflict.contains(c)).collect();
        let mut found = BTreeSet::new();
        while let Some(pkg) = candidates.pop_first() {
            let only = self.parent_atoms(pkg).iter().all(|(parent, _)| match parent {
                Parent::Pkg(p) => in_conflict.contains(p) || found.contains(p),
                Parent::Arg(_) => false,
            });
            if only {
                found.insert(pkg);
                candidates.extend(children(pkg).filter(|c| !in_conflict.contains(c) && !found.contains(c)));
            }
        }
        found
    }

    /// Who needs which packages of the conflicts; and those that stay in any case, because something fits none of them.
    fn conflict_graph(
        &self,
        conflicts: &[Conflict],
        in_conflict: &BTreeSet<PkgId>,
        indirect: &BTreeSet<PkgId>,
    ) -> (BTreeMap<Node, Vec<Node>>, BTreeSet<PkgId>) {
        let mut edges: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        let mut add = |parent: Node, child: Node| {
            let children = edges.entry(parent).or_default();
            if !children.contains(&child) {
                children.push(child);
            }
        };
        let node_of = |parent: &Parent| match parent {
            Parent::Pkg(p) if in_conflict.contains(p) || indirect.contains(p) => Node::Pkg(*p),
            _ => Node::Outside,
        };
        let mut unsatisfiable = BTreeSet::new();
        for conflict in conflicts {
            let unwanted = conflict.iter().any(|p| self.u.pkg(*p).installed && self.is_arg(*p));
            for (parent, atom) in self.atoms_on(conflict) {
                let fits = |p: &PkgId| self.u.atom_matches(&atom, *p) && !(unwanted && self.u.pkg(*p).installed);
                let matched: Vec<PkgId> = conflict.iter().copied().filter(fits).collect();
                match matched.as_slice() {
                    [] => unsatisfiable.extend(conflict.iter().copied()),
                    [only] => add(node_of(&parent), Node::Pkg(*only)),
                    _ => add(node_of(&parent), Node::OneOf(matched)),
                }
            }
        }
        for pkg in indirect {
            for (parent, _) in self.parent_atoms(*pkg) {
                add(node_of(parent), Node::Pkg(*pkg));
            }
        }
        (edges, unsatisfiable)
    }

    /// Everything that asks for the packages of a conflict.
    fn atoms_on(&self, conflict: &Conflict) -> Vec<(Parent, AtomRef)> {
        let mut found: Vec<(Parent, AtomRef)> = Vec::new();
        for (parent, atom) in conflict.iter().flat_map(|p| self.parent_atoms(*p)) {
            if !found.iter().any(|(p, a)| p == parent && a.id == atom.id) {
                found.push((*parent, atom.clone()));
            }
        }
        found
    }

    /// A conflict nothing resolves: proposes what the next attempts should do without. Tells whether there is anything to propose.
    fn learn_from(&mut self, conflict: &Conflict) -> bool {
        let asked = self.atoms_on(conflict);
        let mut in_conflict = Vec::new();
        for pkg in conflict {
            let mut fits_all = true;
            for (parent, atom) in &asked {
                if self.u.atom_matches(atom, *pkg) {
                    self.note_parent_atom(*pkg, *parent, atom);
                } else {
                    fits_all = false;
                }
            }
            if !fits_all {
                in_conflict.push(*pkg);
            }
        }
        if in_conflict.is_empty() || !self.backtracking {
            return false;
        }
        if let Some(first) = conflict.iter().copied().min_by_key(|p| self.u.pkg(*p).version_rank)
            && !in_conflict.contains(&first)
        {
            in_conflict.push(first);
        }
        in_conflict.sort_by_key(|p| std::cmp::Reverse(self.u.pkg(*p).rank));
        let mut proposals: Vec<Proposal> = Vec::new();
        for pkg in &in_conflict {
            let fits =
                |parent: &Parent, atom: &AtomRef| self.parent_atoms(*pkg).iter().any(|(p, a)| p == parent && a.id == atom.id);
            let against: Vec<&(Parent, AtomRef)> = asked.iter().filter(|(p, a)| !fits(p, a)).collect();
            let mut proposal = Proposal::new();
            if !against.is_empty() {
                for similar in self.similar_available(*pkg) {
                    if in_conflict.contains(&similar) {
                        continue;
                    }
                    let reasons: BTreeSet<(Parent, u32)> =
                        against.iter().filter(|(_, a)| !self.u.atom_matches(a, similar)).map(|(p, a)| (*p, a.id)).collect();
                    if !reasons.is_empty() {
                        proposal.push((similar, reasons));
                    }
                }
            }
            proposal.push((*pkg, against.iter().map(|(p, a)| (*p, a.id)).collect()));
            proposals.push(proposal);
        }
        proposals.sort_by_key(|p| p.last().map_or(0, |(_, reasons)| reasons.len()));
        self.findings.slot_conflict = proposals;
        self.findings.restart = true;
        true
    }

    /// The blockers that nothing resolves.
    pub fn unresolved_blockers(&self) -> Vec<Blocked> {
        let goes = |pkg: PkgId| self.lessons.going.contains(&pkg) && !self.in_graph[pkg as usize];
        self.blockers_that_hit().into_iter().filter(|block| !goes(block.parent) && !goes(block.blocked)).collect()
    }

    /// The blockers that hit something which is not replaced, whether or not it goes.
    pub fn blockers_that_hit(&self) -> Vec<Blocked> {
        let u = self.u;
        let mut blocks = self.blocks.clone();
        blocks.extend(self.blockers_of_installed());
        let second_in_slot: Vec<PkgId> = self.slot_conflicts().into_iter().flat_map(|c| c.into_iter().skip(1)).collect();
        let mut found: Vec<Blocked> = Vec::new();
        for block in blocks.iter().filter(|b| !second_in_slot.contains(&b.parent)) {
            let strong = block.atom.atom.blocker == Some(Blocker::Strong);
            let positive = u.blocked_atom(&block.atom);
            for blocked in self.final_matches(&positive) {
                let own_slot = u.pkg(blocked).slot == u.pkg(block.parent).slot;
                let both_installed = u.pkg(blocked).installed && u.pkg(block.parent).installed;
                if (own_slot && !strong)
                    || both_installed
                    || found.iter().any(|f| f.parent == block.parent && f.blocked == blocked)
                {
                    continue;
                }
                found.push(Blocked { atom: block.atom.clone(), parent: block.parent, blocked });
            }
        }
        found
    }

    /// The installed package that Portage would uninstall to resolve a blocker: the one of the two that is installed, when the blocker is
    /// a soft one (`!`), the other is merged, and neither the request nor the system set needs it. What else may need it shows only when
    /// the dependencies of all that is installed are followed.
    pub fn removable(&self, block: &Blocked) -> Option<PkgId> {
        let u = self.u;
        let installed = |pkg: PkgId| u.pkg(pkg).installed;
        let candidate = match (installed(block.parent), installed(block.blocked)) {
            (false, true) => block.blocked,
            (true, false) => block.parent,
            _ => return None,
        };
        let of_system = |set: &[gentoo::Atom]| {
            let atoms = set.iter().map(|atom| u.intern(atom.clone())).filter(|atom| u.atom_matches(atom, candidate));
            let mut needed = atoms.filter(|atom| self.final_matches(atom).iter().all(|other| *other == candidate));
            needed.next().is_some()
        };
        let soft = block.atom.atom.blocker == Some(Blocker::Weak);
        (soft && !of_system(&u.source.profile.system) && !of_system(&u.source.profile.profile_set)).then_some(candidate)
    }

    /// The runtime blockers of installed packages that stay and whose dependencies were not followed.
    fn blockers_of_installed(&self) -> Vec<Block> {
        let u = self.u;
        let mut found = Vec::new();
        for pkg in u.names.iter().flat_map(|n| n.installed.iter().copied()) {
            if self.deps_were_added(pkg) || self.merges_in_slot(pkg).any(|m| m != pkg) {
                continue;
            }
            let deps = u.deps(pkg);
            for item in deps.items() {
                if let crate::depstring::Item::Atom(need) = item
                    && need.atom.atom.blocker.is_some()
                {
                    found.push(Block { atom: need.atom.clone(), parent: pkg });
                }
            }
        }
        found
    }
}

/// The packages that are needed, starting from what is in no conflict. Where any of several would serve, one that is needed anyway does, and
/// else the one that came first.
fn needed_packages(edges: &BTreeMap<Node, Vec<Node>>) -> BTreeSet<PkgId> {
    let mut needed = BTreeSet::new();
    let mut explored: Vec<Node> = Vec::new();
    let mut pending = vec![Node::Outside];
    let mut open: Vec<Vec<PkgId>> = Vec::new();
    loop {
        while let Some(node) = pending.pop() {
            for child in edges.get(&node).into_iter().flatten() {
                if explored.contains(child) {
                    continue;
                }
                explored.push(child.clone());
                match child {
                    Node::Pkg(pkg) => {
                        needed.insert(*pkg);
                        pending.push(child.clone());
                    }
                    Node::OneOf(pkgs) => open.push(pkgs.clone()),
                    Node::Outside => {}
                }
            }
        }
        let Some(choice) = open.pop() else { return needed };
        if !choice.iter().any(|p| needed.contains(p))
            && let Some(first) = choice.first()
        {
            needed.insert(*first);
            pending.push(Node::Pkg(*first));
        }
    }
}
