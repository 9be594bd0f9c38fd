//! Packages enter the graph and leave it; what is in a slot, and what will be there in the end.

use std::collections::BTreeSet;

use super::{Dependency, Depth, Edge, Graph, Ignored, Parent, Priority};
use crate::universe::{AtomRef, PkgId};

impl Graph<'_> {
    /// Packages of the same slot that could be merged instead, the package itself among them unless it is installed.
    pub fn similar_available(&self, pkg: PkgId) -> Vec<PkgId> {
        let usable = |p: &PkgId| !self.u.pkg(*p).installed && !self.is_masked(*p) && !self.same_as_installed(*p);
        self.u.in_slot(pkg).filter(usable).collect()
    }

    /// Whether the very build is installed.
    pub(super) fn same_as_installed(&self, pkg: PkgId) -> bool {
        let entry = self.u.entry(pkg);
        let name = &self.u.names[self.u.pkg(pkg).cp as usize];
        name.installed.iter().any(|i| {
            let installed = self.u.entry(*i);
            installed.cpv == entry.cpv && installed.build_time == entry.build_time && installed.build_id == entry.build_id
        })
    }

    /// Adds a package as child of a dependency's parent. If the slot is taken by a package that fits as well, that one serves.
    /// Returns what is in the graph in the end, nothing when the parent itself replaces the child.
    pub fn add_pkg(&mut self, pkg: PkgId, dep: &Dependency) -> Option<PkgId> {
        let mut pkg = pkg;
        let existing = self.lowest_merge_in_slot(pkg);
        if let Some(existing) = existing {
            let same_version = self.u.entry(existing).cpv == self.u.entry(pkg).cpv;
            let fits = if existing == pkg { same_version } else { self.u.atom_matches(&dep.atom, existing) };
            if fits {
                pkg = existing;
            } else if self.u.pkg(pkg).installed
                && let Parent::Pkg(parent) = dep.parent
                && self.u.pkg(parent).slot == self.u.pkg(pkg).slot
            {
                return None;
            }
        }
        let known = self.in_graph[pkg as usize];
        if !known {
            self.enter(pkg);
        }
        if dep.parent != Parent::Pkg(pkg) {
            self.connect(pkg, dep.parent, &dep.atom, dep.priority);
        }
        let mut depth = dep.depth;
        for index in self.matching_args(pkg) {
            let atom = self.args[index as usize].atom.clone();
            self.connect(pkg, Parent::Arg(index), &atom, dep.priority);
            depth = Depth::Steps(0);
        }
        let links = self.links.of_mut(pkg);
        links.depth = Some(links.depth.filter(|_| known).map_or(depth, |d| d.min(depth)));
        if dep.atom.slot_operator {
            self.slot_operator_deps.push((dep.clone(), pkg));
        }
        if !known {
            if self.u.pkg(pkg).installed && !self.follow_installed {
                self.ignored.push(Ignored::Pkg(pkg));
            } else {
                self.dep_stack.push(pkg);
            }
        }
        Some(pkg)
    }

    pub(super) fn enter(&mut self, pkg: PkgId) {
        self.in_graph[pkg as usize] = true;
        self.nodes.push(pkg);
        let cp = self.u.pkg(pkg).cp;
        let merges = self.merges.entry(cp).or_default();
        merges.push(pkg);
        if merges.len() == 2 {
            self.multi.push(cp);
        }
        self.generation[cp as usize] += 1;
        self.epoch += 1;
    }

    pub fn forget_all(&mut self) {
        self.epoch += 1;
        self.select_cache.clear();
        self.candidate_cache.clear();
    }

    pub(super) fn connect(&mut self, child: PkgId, parent: Parent, atom: &AtomRef, priority: Priority) {
        let Parent::Pkg(from) = parent else {
            let parents = &mut self.links.of_mut(child).parents;
            if !parents.contains(&parent) {
                parents.push(parent);
            }
            return self.note_parent_atom(child, parent, atom);
        };
        let (new_parent, new_atom) = self.is_new(child, from, atom);
        self.links.of_mut(from).children.push(Edge { child, priority, atom: atom.clone() });
        let links = self.links.of_mut(child);
        if new_parent {
            links.parents.push(parent);
        }
        if new_atom {
            links.parent_atoms.push((parent, atom.clone()));
        }
    }

    /// Whether a package is not yet the child of another, and not yet with this atom. Both sides know; the one with less to say is asked.
    fn is_new(&self, child: PkgId, from: PkgId, atom: &AtomRef) -> (bool, bool) {
        let (children, own) = (self.children(from), self.links.of(child));
        if children.len() <= own.parent_atoms.len() {
            let mut edges = children.iter().filter(|e| e.child == child).peekable();
            return (edges.peek().is_none(), edges.all(|e| e.atom.id != atom.id));
        }
        let parent = Parent::Pkg(from);
        let same = |(p, a): &(Parent, AtomRef)| *p == parent && a.id == atom.id;
        (!own.parents.contains(&parent), !own.parent_atoms.iter().any(same))
    }

    pub fn note_parent_atom(&mut self, child: PkgId, parent: Parent, atom: &AtomRef) {
        let atoms = &mut self.links.of_mut(child).parent_atoms;
        if !atoms.iter().any(|(p, a)| *p == parent && a.id == atom.id) {
            atoms.push((parent, atom.clone()));
        }
    }

    /// Takes a package out, and whatever only it needed.
    pub fn remove_pkg(&mut self, pkg: PkgId) {
        let mut pending = vec![pkg];
        while let Some(pkg) = pending.pop() {
            if !self.in_graph[pkg as usize] {
                continue;
            }
            self.in_graph[pkg as usize] = false;
            self.deps_added[pkg as usize] = false;
            self.nodes.retain(|p| *p != pkg);
            let cp = self.u.pkg(pkg).cp;
            if let Some(merges) = self.merges.get_mut(&cp) {
                merges.retain(|p| *p != pkg);
                if merges.len() < 2 {
                    self.multi.retain(|c| *c != cp);
                }
            }
            let links = self.links.of_mut(pkg);
            links.parent_atoms.clear();
            let (parents, children) = (std::mem::take(&mut links.parents), std::mem::take(&mut links.children));
            for parent in parents {
                if let Parent::Pkg(parent) = parent {
                    self.links.of_mut(parent).children.retain(|e| e.child != pkg);
                }
            }
            self.slot_operator_deps.retain(|(_, child)| *child != pkg);
            self.blocks.retain(|b| b.parent != pkg);
            let mut seen = BTreeSet::new();
            for edge in children {
                if edge.child == pkg || !seen.insert(edge.child) {
                    continue;
                }
                let links = self.links.of_mut(edge.child);
                links.parents.retain(|p| *p != Parent::Pkg(pkg));
                links.parent_atoms.retain(|(p, _)| *p != Parent::Pkg(pkg));
                if links.parents.is_empty() {
                    pending.push(edge.child);
                }
            }
        }
        self.forget_all();
    }

    /// The packages to be merged (and the installed ones in the graph) in the slot of a package, in the order added.
    pub fn merges_in_slot(&self, pkg: PkgId) -> impl Iterator<Item = PkgId> {
        let slot = self.u.pkg(pkg).slot;
        self.merges.get(&self.u.pkg(pkg).cp).into_iter().flatten().copied().filter(move |p| self.u.pkg(*p).slot == slot)
    }

    pub(super) fn lowest_merge_in_slot(&self, pkg: PkgId) -> Option<PkgId> {
        self.merges_in_slot(pkg).min_by_key(|p| self.u.pkg(*p).version_rank)
    }

    /// The one with the highest version; of equal ones that added last.
    pub fn highest_merge_in_slot(&self, pkg: PkgId) -> Option<PkgId> {
        self.merges_in_slot(pkg).max_by_key(|p| self.u.pkg(*p).version_rank)
    }

    /// What will be there in the end: packages of the graph, and installed ones that none of them replaces. Lowest version first.
    pub fn final_matches(&self, atom: &AtomRef) -> Vec<PkgId> {
        let Some(cp) = atom.cp else { return Vec::new() };
        let merges = self.merges.get(&cp).map(Vec::as_slice).unwrap_or_default();
        let mut found: Vec<PkgId> = merges.iter().copied().filter(|p| self.u.atom_matches(atom, *p)).collect();
        let replaced = |i: PkgId| {
            merges
                .iter()
                .any(|m| *m == i || self.u.pkg(*m).slot == self.u.pkg(i).slot || self.u.entry(*m).cpv == self.u.entry(i).cpv)
        };
        found.extend(self.u.matches(atom).installed.iter().copied().filter(|i| !replaced(*i)));
        found.sort_by_key(|p| self.u.pkg(*p).version_rank);
        found
    }

    /// Whether the slot of a package will be occupied in the end.
    pub fn slot_will_be_taken(&self, pkg: PkgId) -> bool {
        self.merges_in_slot(pkg).next().is_some() || self.u.in_slot(pkg).any(|p| self.u.pkg(p).installed)
    }
}
