//! The merge order: what a package needs to run before the package, what it asks for afterwards (PDEPEND) after it, libc and the shell
//! that phases run in as early as their own dependencies allow. Cycles are broken where it matters least.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::graph::{Edge, Graph};
use crate::net::{NOWHERE, Net, Places, components};
use crate::universe::PkgId;

/// For packages in cycles that Portage refuses, the packages that lead to them there.
pub(crate) type Cycles = BTreeMap<PkgId, BTreeSet<PkgId>>;

/// Edges that may be looked at for the shortest cycles, and likewise for breaking circles. Real graphs need some ten thousand; hostile ones
/// get a cruder answer.
const MAX_EFFORT: usize = 3_000_000;

/// For each package to be merged, by its place among them, those that should be there first, and how much that matters: 3 for IDEPEND, 2
/// for RDEPEND with `:=`, 1 for RDEPEND, 0 for the package that has it in PDEPEND.
type Needs = Vec<Vec<(u32, u8)>>;

/// For each of them, how early it is wanted (lower is earlier), and its name to decide ties.
type Weights = Vec<(usize, String)>;

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
    let nodes = &graph.nodes;
    let places = Places::of(nodes, graph.u.packages.len());
    let waits = |e: &&Edge| e.priority.runtime && !e.priority.satisfied;
    let mut bound: Vec<bool> = Vec::new();
    let mut net = Net::default();
    for pkg in nodes {
        for edge in graph.children(*pkg).iter().filter(|e| e.child != *pkg).filter(waits) {
            if let Some(child) = places.find(edge.child) {
                net.ends.push(child);
                bound.push(edge.priority.slot_operator);
            }
        }
        net.close_row();
    }
    let components = components(&net);
    let mut component_of = vec![0; nodes.len()];
    for (index, members) in components.iter().enumerate() {
        members.iter().for_each(|p| component_of[*p as usize] = index);
    }
    // Components come dependencies first, so one pass tells which of them reach a cycle that cannot be merged.
    let mut stuck = vec![false; components.len()];
    for (index, members) in components.iter().enumerate() {
        stuck[index] = members.iter().flat_map(|p| net.range(*p)).any(|at| {
            let to = component_of[net.ends[at] as usize];
            stuck[to] || (bound[at] && to == index)
        });
    }
    let mut cycles = Cycles::new();
    let mut effort = 0;
    let mut within = Places::of(&[], nodes.len());
    for (_, members) in components.iter().enumerate().filter(|(i, m)| stuck[*i] && m.len() > 1) {
        within.renew(members);
        let inside = net.narrowed_to(members, &within);
        for path in (0..inside.len() as u32).flat_map(|p| shortest_cycles(p, &inside, &mut effort)) {
            let names: Vec<PkgId> = path.iter().map(|p| nodes[members[*p as usize] as usize]).collect();
            for (at, pkg) in names.iter().enumerate() {
                let before = if at == 0 { names.len() - 1 } else { at - 1 };
                cycles.entry(*pkg).or_default().insert(names[before]);
            }
        }
    }
    // A component that is stuck on account of bound slots has more than one member, so there are cycles exactly when any is stuck.
    cycles
}

/// The shortest ways from a package's children back to it, each ending with the package. None once too much effort was spent.
fn shortest_cycles(start: u32, inside: &Net, effort: &mut usize) -> Vec<Vec<u32>> {
    let mut found: Vec<Vec<u32>> = Vec::new();
    for child in inside.row(start) {
        if *effort > MAX_EFFORT && (*effort > 2 * MAX_EFFORT || !found.is_empty()) {
            break;
        }
        found.extend(shortest_path(*child, start, inside, effort));
    }
    let shortest = found.iter().map(Vec::len).min().unwrap_or(0);
    found.retain(|p| p.len() == shortest);
    found
}

fn shortest_path(from: u32, to: u32, inside: &Net, effort: &mut usize) -> Option<Vec<u32>> {
    let mut came_from = vec![NOWHERE; inside.len()];
    came_from[from as usize] = from;
    let mut queue = VecDeque::from([from]);
    while let Some(pkg) = queue.pop_front() {
        if pkg == to {
            let mut path = vec![pkg];
            let mut at = pkg;
            while at != from {
                at = came_from[at as usize];
                path.push(at);
            }
            path.reverse();
            return Some(path);
        }
        for next in inside.row(pkg) {
            *effort += 1;
            if came_from[*next as usize] == NOWHERE {
                came_from[*next as usize] = pkg;
                queue.push_back(*next);
            }
        }
    }
    None
}

/// The packages to be merged, in order.
pub(crate) fn merge_order(graph: &Graph<'_>) -> Vec<PkgId> {
    let merged: Vec<PkgId> = graph.nodes.iter().copied().filter(|p| !graph.u.pkg(*p).installed).collect();
    let places = Places::of(&merged, graph.u.packages.len());
    let hardness = |e: &Edge| match () {
        () if e.priority.install => 3,
        () if e.priority.slot_operator => 2,
        () => 1,
    };
    let mut needs: Needs = vec![Vec::new(); merged.len()];
    let mut note = |pkg: u32, first: u32, hardness: u8| {
        let own = &mut needs[pkg as usize];
        match own.iter_mut().find(|(known, _)| *known == first) {
            Some((_, weight)) => *weight = (*weight).max(hardness),
            None => own.push((first, hardness)),
        }
    };
    for (at, pkg) in merged.iter().enumerate() {
        for edge in graph.children(*pkg).iter().filter(|e| e.child != *pkg) {
            match places.find(edge.child) {
                Some(child) if edge.priority.post => note(child, at as u32, 0),
                Some(child) => note(at as u32, child, hardness(edge)),
                None => {}
            }
        }
    }
    let weight: Weights = merged.iter().map(|p| (earliness(graph, *p), graph.u.entry(*p).cpv.to_string())).collect();
    arrange(&needs, &weight).into_iter().map(|at| merged[at as usize]).collect()
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
    Emit(u32),
    /// Put these in order; only needs of at least this hardness count.
    Arrange(Vec<u32>, u8),
}

/// Orders packages so that what they need comes before them. In a circle what is asked for afterwards (PDEPEND) gives way first; then the
/// package that lacks least goes ahead, and the rest is ordered again.
fn arrange(needs: &Needs, weight: &Weights) -> Vec<u32> {
    let mut order = Vec::with_capacity(needs.len());
    let mut effort = 0;
    let mut places = Places::of(&[], needs.len());
    let mut tasks = vec![Task::Arrange((0..needs.len() as u32).collect(), 0)];
    while let Some(task) = tasks.pop() {
        let (packages, hardness) = match task {
            Task::Emit(pkg) => {
                order.push(pkg);
                continue;
            }
            Task::Arrange(packages, hardness) => (packages, hardness),
        };
        places.renew(&packages);
        let mut net = Net::default();
        for pkg in &packages {
            let own = &needs[*pkg as usize];
            effort += own.len() + 1;
            net.ends.extend(own.iter().filter(|(_, w)| *w >= hardness).filter_map(|(first, _)| places.find(*first)));
            net.close_row();
        }
        let groups = components(&net);
        let urgency = |member: u32| {
            let (early, name) = &weight[packages[member as usize] as usize];
            (*early, name.as_str())
        };
        // What is pushed last is done first.
        for index in group_order(&groups, &net, &urgency).into_iter().rev() {
            let group: Vec<u32> = groups[index].iter().map(|member| packages[*member as usize]).collect();
            match (group.as_slice(), hardness) {
                ([only], _) => tasks.push(Task::Emit(*only)),
                (_, 0) => tasks.push(Task::Arrange(group, 1)),
                _ => tasks.extend(break_circle(&group, &mut places, needs, weight, hardness, effort > MAX_EFFORT)),
            }
        }
    }
    order
}

/// What to do with a circle, last things first.
fn break_circle(group: &[u32], places: &mut Places, needs: &Needs, weight: &Weights, hardness: u8, crudely: bool) -> Vec<Task> {
    places.renew(group);
    let mut sorted = group.to_vec();
    sorted.sort_by_cached_key(|p| (lacks(*p, places, needs), &weight[*p as usize]));
    match sorted.split_first() {
        Some((first, rest)) if !crudely => vec![Task::Arrange(rest.to_vec(), hardness), Task::Emit(*first)],
        _ => sorted.into_iter().rev().map(Task::Emit).collect(),
    }
}

/// How much of a group a package needs: the number of its hardest needs, then of the softer ones.
fn lacks(pkg: u32, group: &Places, needs: &Needs) -> [usize; 3] {
    let own = &needs[pkg as usize];
    let count = |hardness: u8| own.iter().filter(|(c, w)| *w == hardness && group.find(*c).is_some()).count();
    [count(3), count(2), count(1)]
}

/// The order of groups, of which none needs another in a circle: the most urgent of those whose needs are met goes next.
fn group_order<'w>(groups: &[Vec<u32>], net: &Net, urgency_of: &dyn Fn(u32) -> (usize, &'w str)) -> Vec<usize> {
    let mut group_of = vec![0; net.len()];
    for (index, group) in groups.iter().enumerate() {
        group.iter().for_each(|p| group_of[*p as usize] = index);
    }
    let mut waiting_for = vec![0_usize; groups.len()];
    let mut wanted_by: Vec<Vec<usize>> = vec![Vec::new(); groups.len()];
    for (index, group) in groups.iter().enumerate() {
        for child in group.iter().flat_map(|p| net.row(*p)) {
            let other = group_of[*child as usize];
            // Whoever noted itself last for the other one is this group, if it did so before.
            if other != index && wanted_by[other].last() != Some(&index) {
                wanted_by[other].push(index);
                waiting_for[index] += 1;
            }
        }
    }
    // A group is as urgent as the most urgent of all that wait for it, so that what the shell needs comes before what nobody hurries for.
    // Groups come dependencies first, so going backwards meets those who wait before those they wait for.
    let mut urgency: Vec<(usize, &str)> =
        groups.iter().map(|g| g.iter().map(|p| urgency_of(*p)).min().unwrap_or((0, ""))).collect();
    for index in (0..groups.len()).rev() {
        if let Some(inherited) = wanted_by[index].iter().map(|w| urgency[*w].0).min() {
            urgency[index].0 = urgency[index].0.min(inherited);
        }
    }
    let mut ready: BTreeSet<((usize, &str), usize)> =
        (0..groups.len()).filter(|i| waiting_for[*i] == 0).map(|i| (urgency[i], i)).collect();
    let mut order = Vec::with_capacity(groups.len());
    while let Some((_, index)) = ready.pop_first() {
        order.push(index);
        for other in &wanted_by[index] {
            waiting_for[*other] -= 1;
            if waiting_for[*other] == 0 {
                ready.insert((urgency[*other], *other));
            }
        }
    }
    order
}
