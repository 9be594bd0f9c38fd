//! The merge order: what a package needs to run before the package, what it asks for afterwards (PDEPEND) after it, libc and the shell
//! that phases run in as early as their own dependencies allow. Cycles are broken where it matters least.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::graph::{Edge, Graph};
use crate::universe::PkgId;

/// For packages in cycles that Portage refuses, the packages that lead to them there.
pub(crate) type Cycles = BTreeMap<PkgId, BTreeSet<PkgId>>;

/// Edges that may be looked at for the shortest cycles, and likewise for breaking circles. Real graphs need some ten thousand; hostile ones
/// get a cruder answer.
const MAX_EFFORT: usize = 3_000_000;

/// For each package, those that should be there first, and how much that matters: 3 for IDEPEND, 2 for RDEPEND with `:=`, 1 for RDEPEND, 0
/// for the package that has it in PDEPEND.
type Needs = HashMap<PkgId, Vec<(PkgId, u8)>>;

/// For each package, how early it is wanted (lower is earlier), and its name to decide ties.
type Weights = HashMap<PkgId, (usize, String)>;

/// What all phases run in, most urgent first.
const EARLY: [&str; 12] = [
    "sys-apps/baselayout",
    "sys-libs/glibc",
    "sys-libs/musl",
    "sys-devel/gcc",
    "app-shells/bash",
    "sys-apps/coreutils",
    "app-alternatives/sh",
    "sys-apps/sed",
    "sys-apps/grep",
    "app-alternatives/awk",
    "sys-apps/findutils",
    "sys-apps/shadow",
];

/// The cycles of a graph in which packages are bound to each other's slots, as Portage would report them; none when it would merge all.
pub(crate) fn find_cycles(graph: &Graph<'_>) -> Cycles {
    let successors = |p: PkgId| {
        let edges = graph.children.get(&p).map(Vec::as_slice).unwrap_or_default();
        edges.iter().filter(move |e| e.child != p && e.priority.runtime && !e.priority.satisfied)
    };
    let components = components(&graph.nodes, &|p| successors(p).map(|e| e.child).collect());
    let mut component_of: HashMap<PkgId, usize> = HashMap::new();
    for (index, members) in components.iter().enumerate() {
        component_of.extend(members.iter().map(|p| (*p, index)));
    }
    // Components come dependencies first, so one pass tells which of them reach a cycle that cannot be merged.
    let mut stuck = vec![false; components.len()];
    for (index, members) in components.iter().enumerate() {
        let bound = |e: &Edge| e.priority.slot_operator && component_of.get(&e.child) == Some(&index);
        let reaches = |e: &Edge| component_of.get(&e.child).is_some_and(|c| stuck[*c]);
        stuck[index] = members.iter().any(|p| successors(*p).any(|e| bound(e) || reaches(e)));
    }
    let mut cycles = Cycles::new();
    let mut effort = 0;
    for (index, members) in components.iter().enumerate().filter(|(i, m)| stuck[*i] && m.len() > 1) {
        let inside = |p: PkgId| {
            let mut found: Vec<PkgId> = Vec::new();
            for e in successors(p).filter(|e| component_of.get(&e.child) == Some(&index)) {
                if !found.contains(&e.child) {
                    found.push(e.child);
                }
            }
            found
        };
        for path in members.iter().flat_map(|p| shortest_cycles(*p, &inside, &mut effort)) {
            for (at, pkg) in path.iter().enumerate() {
                let before = if at == 0 { path.len() - 1 } else { at - 1 };
                cycles.entry(*pkg).or_default().insert(path[before]);
            }
        }
    }
    // A component that is stuck on account of bound slots has more than one member, so there are cycles exactly when any is stuck.
    cycles
}

/// The shortest ways from a package's children back to it, each ending with the package. None once too much effort was spent.
fn shortest_cycles(start: PkgId, inside: &dyn Fn(PkgId) -> Vec<PkgId>, effort: &mut usize) -> Vec<Vec<PkgId>> {
    let mut found: Vec<Vec<PkgId>> = Vec::new();
    for child in inside(start) {
        if *effort > MAX_EFFORT && (*effort > 2 * MAX_EFFORT || !found.is_empty()) {
            break;
        }
        found.extend(shortest_path(child, start, inside, effort));
    }
    let shortest = found.iter().map(Vec::len).min().unwrap_or(0);
    found.retain(|p| p.len() == shortest);
    found
}

fn shortest_path(from: PkgId, to: PkgId, inside: &dyn Fn(PkgId) -> Vec<PkgId>, effort: &mut usize) -> Option<Vec<PkgId>> {
    let mut came_from: HashMap<PkgId, Option<PkgId>> = HashMap::from([(from, None)]);
    let mut queue = VecDeque::from([from]);
    while let Some(pkg) = queue.pop_front() {
        if pkg == to {
            let mut path = vec![pkg];
            let mut at = pkg;
            while let Some(Some(before)) = came_from.get(&at) {
                path.push(*before);
                at = *before;
            }
            path.reverse();
            return Some(path);
        }
        for next in inside(pkg) {
            *effort += 1;
            came_from.entry(next).or_insert_with(|| {
                queue.push_back(next);
                Some(pkg)
            });
        }
    }
    None
}

/// Strongly connected components, those without dependencies on others first (Tarjan's, without recursion).
pub(crate) fn components(nodes: &[PkgId], successors: &dyn Fn(PkgId) -> Vec<PkgId>) -> Vec<Vec<PkgId>> {
    struct Visit {
        pkg: PkgId,
        children: Vec<PkgId>,
        next: usize,
    }
    let known: BTreeSet<PkgId> = nodes.iter().copied().collect();
    let mut index: HashMap<PkgId, usize> = HashMap::new();
    let mut low: HashMap<PkgId, usize> = HashMap::new();
    let mut on_stack: BTreeSet<PkgId> = BTreeSet::new();
    let mut stack: Vec<PkgId> = Vec::new();
    let mut found: Vec<Vec<PkgId>> = Vec::new();
    for root in nodes {
        if index.contains_key(root) {
            continue;
        }
        let mut work: Vec<Visit> = Vec::new();
        let mut enter = Some(*root);
        loop {
            if let Some(pkg) = enter.take() {
                let number = index.len();
                index.insert(pkg, number);
                low.insert(pkg, number);
                stack.push(pkg);
                on_stack.insert(pkg);
                let children = successors(pkg).into_iter().filter(|c| known.contains(c)).collect();
                work.push(Visit { pkg, children, next: 0 });
            }
            let Some(visit) = work.last_mut() else { break };
            if let Some(child) = visit.children.get(visit.next).copied() {
                visit.next += 1;
                match index.get(&child) {
                    None => enter = Some(child),
                    Some(number) if on_stack.contains(&child) => {
                        let own = low.entry(visit.pkg).or_insert(*number);
                        *own = (*own).min(*number);
                    }
                    Some(_) => {}
                }
                continue;
            }
            let pkg = visit.pkg;
            work.pop();
            let own = low.get(&pkg).copied().unwrap_or(0);
            if let Some(parent) = work.last() {
                let parent_low = low.entry(parent.pkg).or_insert(own);
                *parent_low = (*parent_low).min(own);
            }
            if index.get(&pkg) == Some(&own) {
                let mut members = Vec::new();
                while let Some(top) = stack.pop() {
                    on_stack.remove(&top);
                    members.push(top);
                    if top == pkg {
                        break;
                    }
                }
                members.reverse();
                found.push(members);
            }
        }
    }
    found
}

/// The packages to be merged, in order.
pub(crate) fn merge_order(graph: &Graph<'_>) -> Vec<PkgId> {
    let merged: Vec<PkgId> = graph.nodes.iter().copied().filter(|p| !graph.u.pkg(*p).installed).collect();
    let hardness = |e: &Edge| match () {
        () if e.priority.install => 3,
        () if e.priority.slot_operator => 2,
        () => 1,
    };
    let mut needs: Needs = merged.iter().map(|p| (*p, Vec::new())).collect();
    let mut note = |pkg: PkgId, first: PkgId, hardness: u8| {
        let Some(own) = needs.get_mut(&pkg) else { return };
        match own.iter_mut().find(|(known, _)| *known == first) {
            Some((_, weight)) => *weight = (*weight).max(hardness),
            None => own.push((first, hardness)),
        }
    };
    for pkg in &merged {
        let edges = graph.children.get(pkg).into_iter().flatten();
        for edge in edges.filter(|e| e.child != *pkg && !graph.u.pkg(e.child).installed) {
            if edge.priority.post {
                note(edge.child, *pkg, 0);
            } else {
                note(*pkg, edge.child, hardness(edge));
            }
        }
    }
    let weight: Weights = merged.iter().map(|p| (*p, (earliness(graph, *p), graph.u.entry(*p).cpv.to_string()))).collect();
    arrange(merged, &needs, &weight)
}

/// Lower numbers go first among packages that are free to go.
fn earliness(graph: &Graph<'_>, pkg: PkgId) -> usize {
    let cpv = &graph.u.entry(pkg).cpv;
    let name = cpv.cp();
    if let Some(at) = EARLY.iter().position(|early| *early == name) {
        return at;
    }
    match cpv.category.as_str() {
        "acct-group" => EARLY.len(),
        "acct-user" => EARLY.len() + 1,
        _ => EARLY.len() + 2,
    }
}

/// Something left to do while packages are put in order.
enum Task {
    Emit(PkgId),
    /// Put these in order; only needs of at least this hardness count.
    Arrange(Vec<PkgId>, u8),
}

/// Orders packages so that what they need comes before them. In a circle what is asked for afterwards (PDEPEND) gives way first; then the
/// package that lacks least goes ahead, and the rest is ordered again.
fn arrange(packages: Vec<PkgId>, needs: &Needs, weight: &Weights) -> Vec<PkgId> {
    let mut order = Vec::with_capacity(packages.len());
    let mut effort = 0;
    let mut tasks = vec![Task::Arrange(packages, 0)];
    while let Some(task) = tasks.pop() {
        let (packages, hardness) = match task {
            Task::Emit(pkg) => {
                order.push(pkg);
                continue;
            }
            Task::Arrange(packages, hardness) => (packages, hardness),
        };
        let members: BTreeSet<PkgId> = packages.iter().copied().collect();
        let counted = |p: PkgId| -> Vec<PkgId> {
            let own = needs.get(&p).map(Vec::as_slice).unwrap_or_default();
            own.iter().filter(|(c, w)| *w >= hardness && members.contains(c)).map(|(c, _)| *c).collect()
        };
        effort += packages.iter().map(|p| needs.get(p).map_or(1, |n| n.len() + 1)).sum::<usize>();
        let groups = components(&packages, &counted);
        // What is pushed last is done first.
        for index in group_order(&groups, &counted, weight).into_iter().rev() {
            let group = &groups[index];
            match (group.as_slice(), hardness) {
                ([only], _) => tasks.push(Task::Emit(*only)),
                (_, 0) => tasks.push(Task::Arrange(group.clone(), 1)),
                _ => tasks.extend(break_circle(group, needs, weight, hardness, effort > MAX_EFFORT)),
            }
        }
    }
    order
}

/// What to do with a circle, last things first.
fn break_circle(group: &[PkgId], needs: &Needs, weight: &Weights, hardness: u8, crudely: bool) -> Vec<Task> {
    let members: BTreeSet<PkgId> = group.iter().copied().collect();
    let mut sorted = group.to_vec();
    sorted.sort_by_cached_key(|p| (lacks(*p, &members, needs), weight.get(p)));
    match sorted.split_first() {
        Some((first, rest)) if !crudely => vec![Task::Arrange(rest.to_vec(), hardness), Task::Emit(*first)],
        _ => sorted.into_iter().rev().map(Task::Emit).collect(),
    }
}

/// How much of a group a package needs: the number of its hardest needs, then of the softer ones.
fn lacks(pkg: PkgId, group: &BTreeSet<PkgId>, needs: &Needs) -> [usize; 3] {
    let own = needs.get(&pkg).map(Vec::as_slice).unwrap_or_default();
    let count = |hardness: u8| own.iter().filter(|(c, w)| *w == hardness && group.contains(c)).count();
    [count(3), count(2), count(1)]
}

/// The order of groups, of which none needs another in a circle: the most urgent of those whose needs are met goes next.
fn group_order(groups: &[Vec<PkgId>], counted: &dyn Fn(PkgId) -> Vec<PkgId>, weight: &Weights) -> Vec<usize> {
    let mut group_of: HashMap<PkgId, usize> = HashMap::new();
    for (index, group) in groups.iter().enumerate() {
        group_of.extend(group.iter().map(|p| (*p, index)));
    }
    let mut waiting_for: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); groups.len()];
    let mut wanted_by: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (index, group) in groups.iter().enumerate() {
        for child in group.iter().flat_map(|p| counted(*p)) {
            let other = group_of.get(&child).copied().unwrap_or(index);
            if other != index && waiting_for[index].insert(other) {
                wanted_by[other].push(index);
            }
        }
    }
    // A group is as urgent as the most urgent of all that wait for it, so that what the shell needs comes before what nobody hurries for.
    // Groups come dependencies first, so going backwards meets those who wait before those they wait for.
    let mut urgency: Vec<(usize, &str)> = groups
        .iter()
        .map(|g| g.iter().filter_map(|p| weight.get(p)).min().map_or((0, ""), |(w, name)| (*w, name.as_str())))
        .collect();
    for index in (0..groups.len()).rev() {
        if let Some(inherited) = wanted_by[index].iter().map(|w| urgency[*w].0).min() {
            urgency[index].0 = urgency[index].0.min(inherited);
        }
    }
    let mut ready: BTreeSet<((usize, &str), usize)> =
        (0..groups.len()).filter(|i| waiting_for[*i].is_empty()).map(|i| (urgency[i], i)).collect();
    let mut order = Vec::with_capacity(groups.len());
    while let Some((_, index)) = ready.pop_first() {
        order.push(index);
        for other in &wanted_by[index] {
            waiting_for[*other].remove(&index);
            if waiting_for[*other].is_empty() {
                ready.insert((urgency[*other], *other));
            }
        }
    }
    order
}
