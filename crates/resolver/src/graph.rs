//! One attempt at a dependency graph: packages are chosen greedily, dependencies before alternatives, the last found first, as Portage's
//! depgraph does it. What goes wrong is handed to `search`, which learns from it and starts anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::depstring::{Item, Need};
use crate::universe::{AtomRef, CpId, IdMap, PkgId, Universe};

/// Most selections a request may cost. Real requests need up to thirty thousand; a hostile index must not hang the resolver.
pub(crate) const MAX_STEPS: u64 = 1_000_000;
/// Deepest nesting of virtuals that depend on virtuals.
const MAX_VIRTUAL_DEPTH: usize = 24;

/// Who needs a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Parent {
    /// The request's atom of that number.
    Arg(u32),
    Pkg(PkgId),
}

/// An atom of the request.
#[derive(Clone)]
pub(crate) struct Arg {
    pub atom: AtomRef,
    /// What was asked for: the atom as written, or the set it belongs to.
    pub asked: String,
    pub from_set: bool,
}

/// What kind of dependency an edge is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Priority {
    /// RDEPEND or IDEPEND.
    pub runtime: bool,
    /// IDEPEND.
    pub install: bool,
    /// PDEPEND.
    pub post: bool,
    /// Asked for with `:=`.
    pub slot_operator: bool,
    /// An installed package satisfies it.
    pub satisfied: bool,
}

/// A dependency about to be added.
#[derive(Clone)]
pub(crate) struct Dependency {
    pub atom: AtomRef,
    pub parent: Parent,
    pub priority: Priority,
    pub depth: Depth,
}

/// Distance from the request; `Unreachable` for what is looked at only to keep installed packages whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    Steps(u32),
    Unreachable,
}

impl Depth {
    fn next(self) -> Depth {
        match self {
            Depth::Steps(n) => Depth::Steps(n.saturating_add(1)),
            Depth::Unreachable => Depth::Unreachable,
        }
    }
}

/// An edge to a child.
#[derive(Clone)]
pub(crate) struct Edge {
    pub child: PkgId,
    pub priority: Priority,
    pub atom: AtomRef,
}

/// Why a package was masked by an earlier attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Learnt {
    /// The `(parent, atom)` pairs it did not satisfy in a slot conflict.
    pub slot_conflict: Option<BTreeSet<(Parent, u32)>>,
    pub missing_dependency: bool,
    pub slot_operator: bool,
}

/// What earlier attempts taught.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lessons {
    pub masked: BTreeMap<PkgId, Learnt>,
    /// For packages in a cycle, their children in it.
    pub circular: BTreeMap<PkgId, BTreeSet<PkgId>>,
}

/// Why an attempt ended early.
#[derive(Clone)]
pub(crate) enum Stop {
    /// Nothing satisfies the atom.
    Missing { atom: AtomRef, parent: Parent },
    /// Trying further would choose something a slot conflict has ruled out.
    Stuck { atom: AtomRef, parent: Parent },
    /// The search has become too long.
    TooLong,
}

/// Packages to do without, each with the `(parent, atom)` pairs it does not satisfy.
pub(crate) type Proposal = Vec<(PkgId, BTreeSet<(Parent, u32)>)>;

/// What an attempt found out for the next one.
#[derive(Clone, Default)]
pub(crate) struct Findings {
    pub missing_parent: Option<PkgId>,
    /// Several ways on.
    pub slot_conflict: Vec<Proposal>,
    pub mask_built: BTreeSet<PkgId>,
    pub circular: BTreeMap<PkgId, BTreeSet<PkgId>>,
    pub restart: bool,
}

/// A blocker and who carries it.
#[derive(Clone)]
pub(crate) struct Block {
    pub atom: AtomRef,
    pub parent: PkgId,
}

/// A graph under construction.
pub(crate) struct Graph<'a> {
    pub u: &'a Universe,
    pub args: &'a [Arg],
    /// The request's atoms by the name they ask for.
    pub args_of: IdMap<Vec<u32>>,
    pub lessons: Lessons,
    /// Whether the search may start anew; if not, slot conflicts end it.
    pub backtracking: bool,

    /// Packages in the order they came into the graph.
    pub nodes: Vec<PkgId>,
    pub in_graph: Vec<bool>,
    pub children: IdMap<Vec<Edge>>,
    pub parents: IdMap<Vec<Parent>>,
    pub parent_atoms: IdMap<Vec<(Parent, AtomRef)>>,
    pub depth: IdMap<Depth>,
    pub blocks: Vec<Block>,
    /// To be merged, by name, in the order added.
    pub merges: IdMap<Vec<PkgId>>,
    /// Names that hold more than one package.
    pub multi: Vec<CpId>,
    /// Dependencies with `:=`, by the child's slot.
    pub slot_operator_deps: Vec<(Dependency, PkgId)>,
    pub complete: bool,
    pub findings: Findings,
    pub steps: u64,

    deps_added: Vec<bool>,
    dep_stack: Vec<PkgId>,
    choice_stack: Vec<(PkgId, Priority, &'a [Item])>,
    pub ignored: Vec<Ignored>,
    /// Counts the changes to each name's packages in the graph; what was remembered under an older count is void.
    pub generation: Vec<u32>,
    /// Counts all changes.
    pub epoch: u32,
    pub select_cache: IdMap<(u32, Option<(PkgId, bool)>)>,
    pub candidate_cache: IdMap<(u32, Vec<PkgId>)>,
    /// Everything that was ever selected and is visible, by name.
    pub selected: IdMap<Vec<PkgId>>,
    pub(crate) virtual_stack: Vec<PkgId>,
    /// Whether the installed packages' own dependencies are being followed.
    pub follow_installed: bool,
}

/// Something left out while installed packages are taken to be whole.
#[derive(Clone)]
pub(crate) enum Ignored {
    Pkg(PkgId),
    Dep(Dependency),
}

impl<'a> Graph<'a> {
    pub fn new(u: &'a Universe, args: &'a [Arg], lessons: Lessons, backtracking: bool) -> Graph<'a> {
        let mut args_of: IdMap<Vec<u32>> = IdMap::default();
        for (index, arg) in args.iter().enumerate() {
            if let Some(cp) = arg.atom.cp {
                args_of.entry(cp).or_default().push(index as u32);
            }
        }
        Graph {
            u,
            args,
            args_of,
            lessons,
            backtracking,
            nodes: Vec::new(),
            in_graph: vec![false; u.packages.len()],
            children: IdMap::default(),
            parents: IdMap::default(),
            parent_atoms: IdMap::default(),
            depth: IdMap::default(),
            blocks: Vec::new(),
            merges: IdMap::default(),
            multi: Vec::new(),
            slot_operator_deps: Vec::new(),
            complete: false,
            findings: Findings::default(),
            steps: 0,
            deps_added: vec![false; u.packages.len()],
            dep_stack: Vec::new(),
            choice_stack: Vec::new(),
            ignored: Vec::new(),
            generation: vec![0; u.names.len()],
            epoch: 0,
            select_cache: IdMap::default(),
            candidate_cache: IdMap::default(),
            selected: IdMap::default(),
            virtual_stack: Vec::new(),
            follow_installed: false,
        }
    }

    /// Adds what was asked for, then what that needs.
    pub fn build(&mut self) -> Result<(), Stop> {
        for index in 0..self.args.len() {
            let (parent, atom) = (Parent::Arg(index as u32), self.args[index].atom.clone());
            if atom.provided {
                continue;
            }
            let Some((pkg, _)) = self.select(&atom, None)? else { return Err(Stop::Missing { atom, parent }) };
            let dep = Dependency { atom, parent, priority: Priority::default(), depth: Depth::Steps(0) };
            self.add_pkg(pkg, &dep);
        }
        self.grow(false)
    }

    /// Works off all that is queued: plain dependencies first, one queued choice when none is left.
    pub fn grow(&mut self, allow_unsatisfied: bool) -> Result<(), Stop> {
        loop {
            while let Some(pkg) = self.dep_stack.pop() {
                self.add_pkg_deps(pkg, allow_unsatisfied)?;
            }
            let Some((pkg, priority, items)) = self.choice_stack.pop() else { return Ok(()) };
            let chosen = self.choose(items, Some(pkg))?;
            self.add_chosen(pkg, priority, &chosen, allow_unsatisfied)?;
        }
    }

    /// Queues a package whose dependencies are to be looked at again.
    pub fn queue(&mut self, pkg: PkgId) {
        self.dep_stack.push(pkg);
    }

    pub fn has_queue(&self) -> bool {
        !self.dep_stack.is_empty()
    }

    fn add_pkg_deps(&mut self, pkg: PkgId, allow_unsatisfied: bool) -> Result<(), Stop> {
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

    pub fn deps_were_added(&self, pkg: PkgId) -> bool {
        self.deps_added[pkg as usize]
    }

    /// Adds part of a package's dependencies, choices having been made: packages are selected and added as children.
    fn add_chosen(&mut self, pkg: PkgId, priority: Priority, chosen: &[Need], allow_unsatisfied: bool) -> Result<(), Stop> {
        let depth = self.depth.get(&pkg).copied().unwrap_or(Depth::Steps(0)).next();
        let mut visited_virtuals = Vec::new();
        let own: Vec<&Need> = chosen.iter().filter(|n| n.owner.is_none() && !n.atom.provided).collect();
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
    fn add_needs(
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
    fn may_ignore(&self, dep: &Dependency, child: PkgId) -> bool {
        dep.priority.satisfied
            && !self.follow_installed
            && !self.u.pkg(child).installed
            && self.merges_in_slot(child).next().is_none()
            && !self.is_arg(child)
    }

    fn is_satisfied(&self, atom: &AtomRef) -> bool {
        !self.u.matches(atom).installed.is_empty()
    }

    fn is_satisfied_for(&self, atom: &AtomRef, child: Option<PkgId>) -> bool {
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
    fn add_broken(&mut self, dep: Dependency) -> Result<(), Stop> {
        let Some(installed) = self.u.matches(&dep.atom).installed.first().copied() else { return Ok(()) };
        self.add_pkg(installed, &dep);
        Ok(())
    }

    /// Nothing satisfies the dependency: decides what the next attempt should do differently.
    fn unsatisfied(&mut self, dep: Dependency) -> Result<Stop, Stop> {
        let stop = Stop::Missing { atom: dep.atom.clone(), parent: dep.parent };
        let Parent::Pkg(parent) = dep.parent else { return Ok(stop) };
        if !self.backtracking {
            return Ok(stop);
        }
        if !self.lessons.masked.contains_key(&parent)
            && dep.atom.slot_operator_built
            && self.could_be_rebuilt(parent, &dep.atom)?
        {
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
    fn could_be_rebuilt(&mut self, parent: PkgId, atom: &AtomRef) -> Result<bool, Stop> {
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

    /// Packages of the same slot that could be merged instead, the package itself among them unless it is installed.
    pub fn similar_available(&self, pkg: PkgId) -> Vec<PkgId> {
        let usable = |p: &PkgId| !self.u.pkg(*p).installed && !self.is_masked(*p) && !self.same_as_installed(*p);
        self.u.in_slot(pkg).filter(usable).collect()
    }

    /// Whether the very build is installed.
    fn same_as_installed(&self, pkg: PkgId) -> bool {
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
        let depth = self.depth.get(&pkg).filter(|_| known).map_or(depth, |d| (*d).min(depth));
        self.depth.insert(pkg, depth);
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

    fn enter(&mut self, pkg: PkgId) {
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

    fn connect(&mut self, child: PkgId, parent: Parent, atom: &AtomRef, priority: Priority) {
        if let Parent::Pkg(from) = parent {
            self.children.entry(from).or_default().push(Edge { child, priority, atom: atom.clone() });
        }
        let parents = self.parents.entry(child).or_default();
        if !parents.contains(&parent) {
            parents.push(parent);
        }
        self.note_parent_atom(child, parent, atom);
    }

    pub fn note_parent_atom(&mut self, child: PkgId, parent: Parent, atom: &AtomRef) {
        let atoms = self.parent_atoms.entry(child).or_default();
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
            for parent in self.parents.remove(&pkg).unwrap_or_default() {
                if let Parent::Pkg(parent) = parent
                    && let Some(edges) = self.children.get_mut(&parent)
                {
                    edges.retain(|e| e.child != pkg);
                }
            }
            self.parent_atoms.remove(&pkg);
            self.slot_operator_deps.retain(|(_, child)| *child != pkg);
            self.blocks.retain(|b| b.parent != pkg);
            let mut seen = BTreeSet::new();
            for edge in self.children.remove(&pkg).unwrap_or_default() {
                if edge.child == pkg || !seen.insert(edge.child) {
                    continue;
                }
                if let Some(parents) = self.parents.get_mut(&edge.child) {
                    parents.retain(|p| *p != Parent::Pkg(pkg));
                    if parents.is_empty() {
                        pending.push(edge.child);
                    }
                }
                if let Some(atoms) = self.parent_atoms.get_mut(&edge.child) {
                    atoms.retain(|(p, _)| *p != Parent::Pkg(pkg));
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

    fn lowest_merge_in_slot(&self, pkg: PkgId) -> Option<PkgId> {
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

    pub fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Stop::TooLong) } else { Ok(()) }
    }

    pub fn virtuals_too_deep(&self) -> bool {
        self.virtual_stack.len() >= MAX_VIRTUAL_DEPTH
    }
}

/// The virtuals that needs stand for, with who needs them.
fn virtuals_in(needs: &[&Need], parent: PkgId) -> Vec<(PkgId, PkgId, AtomRef)> {
    needs.iter().filter_map(|n| n.stands_for.as_ref().map(|(pkg, written)| (*pkg, parent, written.clone()))).collect()
}
