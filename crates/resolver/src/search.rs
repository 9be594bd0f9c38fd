//! The search: attempts at a graph, each told what the ones before it taught, depth first, until one succeeds.

use std::collections::BTreeSet;

use crate::conflicts::{Blocked, Conflict};
use crate::graph::{Arg, Findings, Graph, Lessons, Parent, Stop};
use crate::order::{Cycles, find_cycles};
use crate::repeat::CyclicAttempt;
use crate::universe::{AtomRef, PkgId, Universe};

/// Attempts that may follow the first one, as many as Portage makes.
const MAX_RETRIES: u32 = 20;
/// Most times that packages of the base may be left out before it is given up; each time may show more that have to go.
const MAX_REMOVALS: u32 = 8;
/// How many packages may be masked on one way.
const MAX_DEPTH: u32 = 10;

/// Why there is no graph.
#[derive(Clone)]
pub(crate) enum Failure {
    Missing { atom: AtomRef, parent: Parent },
    SlotConflict(Vec<ConflictReport>),
    Blocked(Vec<Blocked>),
    TooLong,
}

/// A slot conflict with everything that asks for its packages.
#[derive(Clone)]
pub(crate) struct ConflictReport {
    pub packages: Conflict,
    pub asked: Vec<(Parent, AtomRef)>,
}

/// A way through the lessons that waits to be tried.
#[derive(Clone)]
struct Branch {
    lessons: Lessons,
    masks: u32,
}

/// The outcome of a search.
pub(crate) struct Found<'a> {
    pub graph: Graph<'a>,
    /// The graph has cycles of packages bound to each other's slots, which Portage refuses.
    pub true_cycles: bool,
    pub steps: u64,
}

pub(crate) struct NotFound<'a> {
    /// What went wrong in the first attempt, before any detour: the plainest reason.
    pub failure: Failure,
    pub graph: Graph<'a>,
    /// Installed packages without which the last attempt that failed for blockers alone would have gone well.
    removable: BTreeSet<PkgId>,
}

/// Looks for a graph. Where a mirror is half-broken, first without what it leaves hanging. If that lacks something, the reasons are those
/// of a search that knows nothing beforehand, as they name the file that is gone.
pub(crate) fn search<'a>(u: &'a Universe, args: &'a [Arg]) -> Result<Found<'a>, Box<NotFound<'a>>> {
    if let Some(lessons) = crate::dead_ends::lessons(u) {
        match search_with_removals(u, args, lessons) {
            Err(not_found) if matches!(not_found.failure, Failure::Missing { .. }) => {}
            ended => return ended,
        }
    }
    search_with_removals(u, args, &Lessons::default())
}

/// Looks for a graph. Where soft blockers against installed packages are all that stands in the way, the same without these.
fn search_with_removals<'a>(u: &'a Universe, args: &'a [Arg], lessons: &Lessons) -> Result<Found<'a>, Box<NotFound<'a>>> {
    let mut lessons = lessons.clone();
    let first = match search_from(u, args, lessons.clone()) {
        Err(first) => first,
        found => return found,
    };
    let mut going = first.removable.clone();
    for _ in 0..MAX_REMOVALS {
        if going.is_subset(&lessons.going) {
            break;
        }
        lessons.going.append(&mut going);
        match search_from(u, args, lessons.clone()) {
            Err(next) => going = next.removable,
            found => return found,
        }
    }
    Err(first)
}

fn search_from<'a>(u: &'a Universe, args: &'a [Arg], lessons: Lessons) -> Result<Found<'a>, Box<NotFound<'a>>> {
    let mut search = Search::new(u, args, lessons);
    for _ in 0..=MAX_RETRIES {
        let Some(branch) = search.waiting.pop() else { break };
        match search.attempt(&branch) {
            Ended::Well(graph) => return Ok(Found { graph: *graph, true_cycles: false, steps: search.steps }),
            Ended::Learnt(findings) if findings.restart => branch_out(&branch, findings, &mut search.waiting, &mut search.known),
            Ended::Learnt(_) => {}
            Ended::TooLong => break,
        }
    }
    search.make_do()
}

/// A search under way.
struct Search<'a> {
    u: &'a Universe,
    args: &'a [Arg],
    waiting: Vec<Branch>,
    /// All ways that were ever thought of.
    known: Vec<Lessons>,
    first_failure: Option<(Failure, Graph<'a>)>,
    /// See [`NotFound::removable`].
    removable: BTreeSet<PkgId>,
    /// The first graph with cycles.
    cyclic: Option<Graph<'a>>,
    /// Every attempt that ended in cycles.
    cyclic_attempts: Vec<CyclicAttempt>,
    /// A graph nobody needs any more, whose room the next attempt takes.
    spare: Option<Graph<'a>>,
    steps: u64,
}

/// How an attempt ended.
enum Ended<'a> {
    Well(Box<Graph<'a>>),
    Learnt(Findings),
    TooLong,
}

impl<'a> Search<'a> {
    fn new(u: &'a Universe, args: &'a [Arg], lessons: Lessons) -> Search<'a> {
        Search {
            u,
            args,
            known: vec![lessons.clone()],
            waiting: vec![Branch { lessons, masks: 0 }],
            first_failure: None,
            removable: BTreeSet::new(),
            cyclic: None,
            cyclic_attempts: Vec::new(),
            spare: None,
            steps: 0,
        }
    }

    fn attempt(&mut self, branch: &Branch) -> Ended<'a> {
        if let Some(same) = self.cyclic_attempts.iter().find(|a| a.would_repeat(self.u, &branch.lessons)) {
            return Ended::Learnt(findings_of(same.cycles.clone(), branch));
        }
        let lessons = branch.lessons.clone();
        let mut graph = match self.spare.take() {
            Some(spare) => spare.anew(lessons),
            None => Graph::new(self.u, self.args, lessons, true),
        };
        graph.steps = self.steps;
        let outcome = complete(&mut graph);
        self.steps = graph.steps;
        match outcome {
            Ok(cycles) if cycles.is_empty() => Ended::Well(Box::new(graph)),
            Ok(cycles) => {
                let lessons = branch.lessons.clone();
                self.cyclic_attempts.push(CyclicAttempt { lessons, history: graph.history(), cycles: cycles.clone() });
                match self.cyclic {
                    None => self.cyclic = Some(graph),
                    Some(_) => self.spare = Some(graph),
                }
                Ended::Learnt(findings_of(cycles, branch))
            }
            Err(failure) => {
                let findings = std::mem::take(&mut graph.findings);
                if let Failure::Blocked(blocked) = &failure {
                    let all: Option<BTreeSet<PkgId>> = blocked.iter().map(|block| graph.removable(block)).collect();
                    self.removable = all.unwrap_or_default();
                }
                let too_long = matches!(failure, Failure::TooLong);
                if self.first_failure.is_none() || too_long {
                    self.first_failure = Some((failure, graph));
                } else {
                    self.spare = Some(graph);
                }
                if too_long { Ended::TooLong } else { Ended::Learnt(findings) }
            }
        }
    }

    /// The outcome when no attempt went well. What Portage refuses for its cycles alone, a fresh root allows: nothing there needs the other
    /// to be merged.
    fn make_do(self) -> Result<Found<'a>, Box<NotFound<'a>>> {
        if let Some(graph) = self.cyclic {
            return Ok(Found { graph, true_cycles: true, steps: self.steps });
        }
        match self.first_failure {
            Some((failure, graph)) => Err(Box::new(NotFound { failure, graph, removable: self.removable })),
            None => unreachable!("the first attempt succeeds, is cyclic or fails"),
        }
    }
}

/// What cycles teach; nothing where the attempt knew of them already.
fn findings_of(cycles: Cycles, branch: &Branch) -> Findings {
    let known = cycles.keys().any(|p| branch.lessons.circular.contains_key(p));
    Findings { restart: !known, circular: cycles, ..Findings::default() }
}

/// One attempt. Returns the cycles Portage would refuse, none when all is well.
fn complete(graph: &mut Graph<'_>) -> Result<Cycles, Failure> {
    let failed = |stop: Stop| match stop {
        Stop::Missing { atom, parent } | Stop::Stuck { atom, parent } => Failure::Missing { atom, parent },
        Stop::TooLong => Failure::TooLong,
    };
    graph.build().map_err(failed)?;
    graph.complete().map_err(failed)?;
    graph.settle_slots().map_err(failed)?;
    let conflicts = graph.slot_conflicts();
    if !conflicts.is_empty() {
        return Err(Failure::SlotConflict(report(graph, conflicts)));
    }
    let blocked = graph.unresolved_blockers();
    if !blocked.is_empty() {
        return Err(Failure::Blocked(blocked));
    }
    Ok(find_cycles(graph))
}

fn report(graph: &Graph<'_>, conflicts: Vec<Conflict>) -> Vec<ConflictReport> {
    let asked = |packages: &Conflict| {
        let mut found: Vec<(Parent, AtomRef)> = Vec::new();
        for (parent, atom) in packages.iter().flat_map(|p| graph.parent_atoms(*p)) {
            if !found.iter().any(|(p, a)| p == parent && a.id == atom.id) {
                found.push((*parent, atom.clone()));
            }
        }
        found
    };
    conflicts.into_iter().map(|packages| ConflictReport { asked: asked(&packages), packages }).collect()
}

/// Adds the ways that an attempt's findings open.
fn branch_out(from: &Branch, findings: Findings, waiting: &mut Vec<Branch>, known: &mut Vec<Lessons>) {
    let mut base = from.clone();
    let config = !findings.mask_built.is_empty() || !findings.circular.is_empty();
    if config {
        for (pkg, children) in findings.circular {
            base.lessons.circular.entry(pkg).or_default().extend(children);
        }
        for pkg in findings.mask_built {
            base.lessons.masked.entry(pkg).or_default().slot_operator = true;
        }
        let explore = findings.slot_conflict.is_empty() && findings.missing_parent.is_none();
        remember(base.clone(), explore, waiting, known);
    }
    if !findings.slot_conflict.is_empty() {
        for proposal in findings.slot_conflict {
            let mut next = base.clone();
            next.masks += 1;
            for (pkg, reasons) in proposal {
                next.lessons.masked.entry(pkg).or_default().slot_conflict = Some(reasons);
            }
            remember(next, true, waiting, known);
        }
    } else if let Some(parent) = findings.missing_parent {
        let mut next = base;
        next.masks += 1;
        next.lessons.masked.entry(parent).or_default().missing_dependency = true;
        remember(next, true, waiting, known);
    }
}

fn remember(branch: Branch, explore: bool, waiting: &mut Vec<Branch>, known: &mut Vec<Lessons>) {
    if branch.masks > MAX_DEPTH || !is_consistent(&branch.lessons) || known.contains(&branch.lessons) {
        return;
    }
    known.push(branch.lessons.clone());
    if explore {
        waiting.push(branch);
    }
}

/// A package masked only for the sake of packages that are masked themselves need not be masked any more.
fn is_consistent(lessons: &Lessons) -> bool {
    lessons.masked.values().all(|learnt| {
        if learnt.missing_dependency || learnt.slot_operator {
            return true;
        }
        let reasons: Option<&BTreeSet<(Parent, u32)>> = learnt.slot_conflict.as_ref();
        reasons.is_none_or(|reasons| {
            reasons.is_empty()
                || reasons.iter().any(|(parent, _)| match parent {
                    Parent::Pkg(p) => !lessons.masked.contains_key(p),
                    Parent::Arg(_) => true,
                })
        })
    })
}
