//! What packages in the graph need is selected and added, or found missing.

use std::collections::BTreeSet;

use super::{Block, Dependency, Depth, Graph, Ignored, Learnt, Parent, Priority, Stop};
use crate::depstring::{Item, Need};
use crate::universe::{AtomRef, PkgId};

impl Graph<'_> {
    pub(super) fn add_pkg_deps(&mut self, pkg: PkgId, allow_unsatisfied: bool) -> Result<(), Stop> {
        let u = self.u;
        let deps = u.deps(pkg);
        let runtime = Priority { runtime: true, ..Priority::default() };
        let kinds = [
            (&deps.rdepend, runtime),
            (&deps.idepend, Priority { install: true, ..runtime }),
            (&deps.pdepend, Priority { post: true, ..Priority::default() }),
        ];
        for (part, priority) in kinds {
            if !part.choices.is_empty() {
                self.choice_stack.push((pkg, priority, &part.choices));
            }
            if !part.plain.is_empty() {
                self.add_chosen(pkg, priority, &part.plain, allow_unsatisfied)?;
            }
        }
        self.deps_added[pkg as usize] = true;
        Ok(())
    }

    /// Adds part of a package's dependencies, choices having been made: packages are selected and added as children.
    pub(super) fn add_chosen(
        &mut self,
        pkg: PkgId,
        priority: Priority,
        chosen: &[Need],
        allow_unsatisfied: bool,
    ) -> Result<(), Stop> {
        let depth = self.links.of(pkg).depth.unwrap_or(Depth::Steps(0)).next();
        let mut visited_virtuals = Vec::new();
        let mut own: Vec<&Need> = Vec::with_capacity(chosen.len());
        own.extend(chosen.iter().filter(|n| n.owner.is_none() && !n.atom.provided));
        self.add_needs(pkg, pkg, priority, depth, &own, &mut visited_virtuals, allow_unsatisfied)?;

        // What a virtual needs was chosen together with the virtual; it is added right away, with the virtual as parent.
        let mut pending: Vec<(PkgId, PkgId, AtomRef)> = virtuals_in(&own, pkg);
        let mut done = BTreeSet::new();
        while let Some((virtual_pkg, parent, atom)) = pending.pop() {
            if !done.insert(virtual_pkg) || !visited_virtuals.contains(&virtual_pkg) {
                continue;
            }
            let runtime = Priority { runtime: true, ..Priority::default() };
            let edge = if parent == pkg { priority } else { runtime };
            let edge = Priority { satisfied: self.is_satisfied(&atom), ..edge };
            self.add_pkg(virtual_pkg, &Dependency { atom, parent: Parent::Pkg(parent), priority: edge, depth });
            let needs: Vec<&Need> = chosen.iter().filter(|n| n.owner == Some(virtual_pkg)).collect();
            self.add_needs(virtual_pkg, pkg, runtime, depth, &needs, &mut visited_virtuals, allow_unsatisfied)?;
            pending.extend(virtuals_in(&needs, virtual_pkg));
        }
        Ok(())
    }

    /// Adds atoms as dependencies of `parent`; packages are selected on behalf of `selector`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn add_needs(
        &mut self,
        parent: PkgId,
        selector: PkgId,
        priority: Priority,
        depth: Depth,
        needs: &[&Need],
        visited_virtuals: &mut Vec<PkgId>,
        allow_unsatisfied: bool,
    ) -> Result<(), Stop> {
        for (need, child) in self.minimize_children(selector, needs)? {
            let atom = need.stands_for.as_ref().map_or(&need.atom, |(_, written)| written).clone();
            if atom.atom.blocker.is_some() {
                self.blocks.push(Block { atom, parent });
                continue;
            }
            let satisfied = self.is_satisfied_for(&atom, child);
            let priority = Priority { slot_operator: atom.slot_operator && priority.runtime, satisfied, ..priority };
            let dep = Dependency { atom, parent: Parent::Pkg(parent), priority, depth };
            if let Some(child) = child
                && self.may_ignore(&dep, child)
            {
                self.ignored.push(Ignored::Dep(dep));
                continue;
            }
            let added = self.add_dep(dep, child, allow_unsatisfied)?;
            if let (Some((stands_for, _)), Some(added)) = (&need.stands_for, added)
                && *stands_for == added
            {
                visited_virtuals.push(added);
            }
        }
        Ok(())
    }

    /// An installed package already satisfies the dependency, and the one selected instead is not in the graph otherwise.
    pub(super) fn may_ignore(&self, dep: &Dependency, child: PkgId) -> bool {
        dep.priority.satisfied
            && !self.follow_installed
            && !self.u.pkg(child).installed
            && self.merges_in_slot(child).next().is_none()
            && !self.is_arg(child)
    }

    pub(super) fn is_satisfied(&self, atom: &AtomRef) -> bool {
        !self.u.matches(atom).installed.is_empty()
    }

    pub(super) fn is_satisfied_for(&self, atom: &AtomRef, child: Option<PkgId>) -> bool {
        let same_slot = |p: &&PkgId| match child {
            Some(child) if atom.slot_operator => {
                self.u.pkg(**p).slot == self.u.pkg(child).slot && self.u.entry(**p).subslot == self.u.entry(child).subslot
            }
            _ => true,
        };
        self.u.matches(atom).installed.iter().any(|p| same_slot(&p))
    }

    /// Adds a dependency on a selected package; reports what is in the graph for it in the end.
    pub fn add_dep(&mut self, dep: Dependency, child: Option<PkgId>, allow_unsatisfied: bool) -> Result<Option<PkgId>, Stop> {
        let child = match child {
            Some(child) => Some(child),
            None => self.select(&dep.atom, None)?.map(|(pkg, _)| pkg),
        };
        match child {
            Some(child) => Ok(self.add_pkg(child, &dep)),
            None if allow_unsatisfied => {
                self.add_broken(dep)?;
                Ok(None)
            }
            None => Err(self.unsatisfied(dep)?),
        }
    }

    /// A dependency of an installed package that the graph would break: the installed one that satisfied it comes back into the graph, so
    /// that the conflict shows.
    pub(super) fn add_broken(&mut self, dep: Dependency) -> Result<(), Stop> {
        let Some(installed) = self.u.matches(&dep.atom).installed.first().copied() else { return Ok(()) };
        self.add_pkg(installed, &dep);
        Ok(())
    }

    /// Nothing satisfies the dependency: decides what the next attempt should do differently.
    pub(super) fn unsatisfied(&mut self, dep: Dependency) -> Result<Stop, Stop> {
        let stop = Stop::Missing { atom: dep.atom.clone(), parent: dep.parent };
        let Parent::Pkg(parent) = dep.parent else { return Ok(stop) };
        if !self.backtracking {
            return Ok(stop);
        }
        if !self.is_ruled_out(parent) && dep.atom.slot_operator_built && self.could_be_rebuilt(parent, &dep.atom)? {
            self.findings.mask_built.insert(parent);
            self.findings.restart = true;
            return Ok(stop);
        }
        let without_use = self.u.without_use(&dep.atom);
        if self.select(&without_use, None)?.is_some() {
            return Ok(stop);
        }
        let ruled_out = |(pkg, learnt): (&PkgId, &Learnt)| {
            learnt.slot_conflict.as_ref().is_some_and(BTreeSet::is_empty)
                && !learnt.missing_dependency
                && !learnt.slot_operator
                && self.u.atom_matches(&dep.atom, *pkg)
        };
        if self.lessons.masked.iter().any(ruled_out) {
            return Ok(Stop::Stuck { atom: dep.atom, parent: dep.parent });
        }
        self.findings.missing_parent = Some(parent);
        self.findings.restart = true;
        Ok(stop)
    }

    /// Whether another build of the parent (or itself) has a `:=` dependency on the same name that something satisfies.
    pub(super) fn could_be_rebuilt(&mut self, parent: PkgId, atom: &AtomRef) -> Result<bool, Stop> {
        let u = self.u;
        for candidate in self.similar_available(parent) {
            let deps = u.deps(candidate);
            let mut pending: Vec<&Item> = deps.items().collect();
            while let Some(item) = pending.pop() {
                match item {
                    Item::Any(alternatives) => pending.extend(alternatives.iter().flatten()),
                    Item::Atom(need) => {
                        let fits = need.atom.slot_operator && need.atom.cp.is_some() && need.atom.cp == atom.cp;
                        if fits && self.select(&u.without_use(&need.atom), None)?.is_some() {
                            return Ok(true);
                        }
                    }
                }
            }
        }
        Ok(false)
    }
}

/// The virtuals that needs stand for, with who needs them.
fn virtuals_in(needs: &[&Need], parent: PkgId) -> Vec<(PkgId, PkgId, AtomRef)> {
    needs.iter().filter_map(|n| n.stands_for.as_ref().map(|(pkg, written)| (*pkg, parent, written.clone()))).collect()
}
