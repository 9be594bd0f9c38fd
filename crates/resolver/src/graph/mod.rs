//! One attempt at a dependency graph: packages are chosen greedily, dependencies before alternatives, the last found first, as Portage's
//! depgraph does it. What goes wrong is handed to `search`, which learns from it and starts anew.

mod links;
mod needs;
mod nodes;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::depstring::Item;
use crate::universe::{AtomRef, CpId, IdMap, PkgId, Universe};

use links::LinkTable;

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
    /// Installed packages that are to go, if nothing turns out to need them.
    pub going: BTreeSet<PkgId>,
}

/// Where an attempt's lessons could have made a difference.
pub(crate) struct History {
    /// By package: whether it mattered if it was masked.
    pub consulted: Vec<bool>,
    /// For each package, the atoms of the alternatives that were weighed on its behalf, which its cycles could have spoken against.
    pub weighed: IdMap<Vec<AtomRef>>,
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
    /// Masks are asked for through `is_ruled_out`, which remembers the question.
    pub lessons: Lessons,
    /// The packages of `lessons.masked`.
    ruled_out: Vec<bool>,
    /// Whose mask was asked for.
    consulted: Vec<Cell<bool>>,
    /// See [`History::weighed`].
    pub weighed: IdMap<Vec<AtomRef>>,
    /// Whether the search may start anew; if not, slot conflicts end it.
    pub backtracking: bool,

    /// Packages in the order they came into the graph.
    pub nodes: Vec<PkgId>,
    pub in_graph: Vec<bool>,
    links: LinkTable,
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
    pub candidate_cache: IdMap<(u32, Rc<[PkgId]>)>,
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
        let mut graph = Graph {
            u,
            args,
            args_of,
            lessons: Lessons::default(),
            ruled_out: vec![false; u.packages.len()],
            consulted: vec![Cell::new(false); u.packages.len()],
            weighed: IdMap::default(),
            backtracking,
            nodes: Vec::new(),
            in_graph: vec![false; u.packages.len()],
            links: LinkTable::new(u.packages.len()),
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
        };
        graph.learn(lessons);
        graph
    }

    /// An empty graph with other lessons, in the room this one took.
    pub fn anew(mut self, lessons: Lessons) -> Graph<'a> {
        self.ruled_out.fill(false);
        self.consulted.fill(Cell::new(false));
        self.weighed.clear();
        self.nodes.clear();
        self.in_graph.fill(false);
        self.links.clear();
        self.blocks.clear();
        self.merges.clear();
        self.multi.clear();
        self.slot_operator_deps.clear();
        self.complete = false;
        self.findings = Findings::default();
        self.deps_added.fill(false);
        self.dep_stack.clear();
        self.choice_stack.clear();
        self.ignored.clear();
        self.generation.fill(0);
        self.epoch = 0;
        self.select_cache.clear();
        self.candidate_cache.clear();
        self.selected.clear();
        self.virtual_stack.clear();
        self.follow_installed = false;
        self.learn(lessons);
        self
    }

    fn learn(&mut self, lessons: Lessons) {
        for pkg in lessons.masked.keys() {
            self.ruled_out[*pkg as usize] = true;
        }
        self.lessons = lessons;
    }

    /// What the attempt was asked on its way. Called at its end.
    pub fn history(&mut self) -> History {
        History { consulted: self.consulted.iter().map(Cell::get).collect(), weighed: std::mem::take(&mut self.weighed) }
    }

    /// Whether an earlier attempt taught to do without the package.
    pub fn is_ruled_out(&self, pkg: PkgId) -> bool {
        self.consulted[pkg as usize].set(true);
        self.ruled_out[pkg as usize]
    }

    pub fn children(&self, pkg: PkgId) -> &[Edge] {
        &self.links.of(pkg).children
    }

    pub fn parents(&self, pkg: PkgId) -> &[Parent] {
        &self.links.of(pkg).parents
    }

    /// What asks for a package, with the atoms it does so with.
    pub fn parent_atoms(&self, pkg: PkgId) -> &[(Parent, AtomRef)] {
        &self.links.of(pkg).parent_atoms
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

    pub fn deps_were_added(&self, pkg: PkgId) -> bool {
        self.deps_added[pkg as usize]
    }

    pub fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > MAX_STEPS { Err(Stop::TooLong) } else { Ok(()) }
    }

    pub fn virtuals_too_deep(&self) -> bool {
        self.virtual_stack.len() >= MAX_VIRTUAL_DEPTH
    }
}
