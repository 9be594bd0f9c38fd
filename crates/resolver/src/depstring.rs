//! Dependency strings in the shape the resolver works on: conjunctions of atoms and of alternatives, conditionals resolved, needless
//! nesting gone.

use std::collections::{BTreeMap, HashMap, HashSet};

use gentoo::dep::Tree;
use gentoo::{Atom, Dep};

use crate::universe::{AtomRef, PkgId};

/// All of these are needed.
pub(crate) type Conjunction = Vec<Item>;

/// A part of a conjunction.
#[derive(Clone)]
pub(crate) enum Item {
    Atom(Need),
    /// One of these is needed; in the order written, which is the order of preference.
    Any(Vec<Conjunction>),
}

/// An atom that is needed, with what a virtual's expansion must remember.
#[derive(Clone)]
pub(crate) struct Need {
    pub atom: AtomRef,
    /// The virtual among whose dependencies it stands, when one was expanded.
    pub owner: Option<PkgId>,
    /// The atom stands for this one version of a virtual; the atom as written.
    pub stands_for: Option<(PkgId, AtomRef)>,
}

impl Need {
    pub fn new(atom: AtomRef) -> Need {
        Need { atom, owner: None, stands_for: None }
    }
}

/// Brings a dependency tree into shape. `enabled` tells the flags of the package it belongs to.
pub(crate) fn normalize(tree: &Dep, enabled: &dyn Fn(&str) -> bool, intern: &mut dyn FnMut(Atom) -> AtomRef) -> Conjunction {
    let mut out = Vec::new();
    add_all(std::slice::from_ref(tree), enabled, intern, &mut out);
    out
}

fn add_all(trees: &[Dep], enabled: &dyn Fn(&str) -> bool, intern: &mut dyn FnMut(Atom) -> AtomRef, out: &mut Conjunction) {
    for tree in trees {
        match tree {
            Tree::Atom(atom) => out.push(Item::Atom(Need::new(intern(atom.evaluate(enabled))))),
            Tree::All(deps) => add_all(deps, enabled, intern, out),
            // `^^` cannot stand in package dependencies since EAPI 0 (PMS 8.2); were it there, one of its parts is what it needs.
            Tree::AnyOf(deps) | Tree::ExactlyOne(deps) => add_any(deps, enabled, intern, out),
            Tree::AtMostOne(_) => {}
            Tree::UseConditional { flag, negated, deps } => {
                if enabled(flag) != *negated {
                    add_all(deps, enabled, intern, out);
                }
            }
        }
    }
}

fn add_any(deps: &[Dep], enabled: &dyn Fn(&str) -> bool, intern: &mut dyn FnMut(Atom) -> AtomRef, out: &mut Conjunction) {
    let mut alternatives = Vec::new();
    for dep in deps {
        let mut alternative = Vec::new();
        add_all(std::slice::from_ref(dep), enabled, intern, &mut alternative);
        match (alternative.len(), alternative.pop()) {
            (_, None) => {}
            (1, Some(Item::Any(nested))) => alternatives.extend(nested),
            (_, Some(last)) => {
                alternative.push(last);
                alternatives.push(alternative);
            }
        }
    }
    match (alternatives.len(), alternatives.pop()) {
        (_, None) => {}
        (1, Some(only)) => out.extend(only),
        (_, Some(last)) => {
            alternatives.push(last);
            out.push(Item::Any(alternatives));
        }
    }
}

/// Largest number of conjunctions that joining overlapping alternatives may make; beyond it they are chosen one by one.
const MAX_PRODUCT: usize = 4096;

/// Joins alternatives that share a package name into one choice over their combinations, so that one package may serve several of them.
/// Returns `None` when none overlap.
pub(crate) fn join_overlapping(items: &[Item]) -> Option<Conjunction> {
    if items.iter().filter(|i| matches!(i, Item::Any(_))).count() < 2 {
        return None;
    }
    let groups = overlapping_groups(items);
    if groups.iter().all(|g| g.len() < 2) {
        return None;
    }
    let mut out: Conjunction = items.iter().filter(|i| !has_names(i)).cloned().collect();
    let mut joined_any = false;
    for group in groups {
        let mut seen = HashSet::new();
        let unique: Vec<&Item> = group.iter().map(|index| &items[*index]).filter(|item| seen.insert(describe(item))).collect();
        joined_any |= group.len() > 1;
        match unique.as_slice() {
            [only] => out.push((*only).clone()),
            several => match product(several) {
                Some(alternatives) => out.push(Item::Any(alternatives)),
                None => out.extend(several.iter().map(|item| (*item).clone())),
            },
        }
    }
    joined_any.then_some(out)
}

/// Whether the item is a choice that names packages at all (and not only blockers).
fn has_names(item: &Item) -> bool {
    matches!(item, Item::Any(_)) && !names(item).is_empty()
}

/// Category and package.
type Name<'a> = (&'a str, &'a str);

/// The package names in an item, blockers aside.
fn names(item: &Item) -> Vec<Name<'_>> {
    let mut found = Vec::new();
    let mut pending = vec![item];
    while let Some(item) = pending.pop() {
        match item {
            Item::Atom(need) if need.atom.atom.blocker.is_none() => {
                found.push((need.atom.atom.category.as_str(), need.atom.atom.package.as_str()))
            }
            Item::Atom(_) => {}
            Item::Any(alternatives) => pending.extend(alternatives.iter().flatten()),
        }
    }
    found
}

/// The choices of a conjunction in groups that share names, each group in the order written.
fn overlapping_groups(items: &[Item]) -> Vec<Vec<usize>> {
    // Every item leads to an earlier one of its group, or to itself when it is the first.
    let mut leads: Vec<usize> = (0..items.len()).collect();
    let mut first_with: HashMap<Name<'_>, usize> = HashMap::new();
    for (at, item) in items.iter().enumerate().filter(|(_, item)| has_names(item)) {
        for name in names(item) {
            let other = *first_with.entry(name).or_insert(at);
            let (one, other) = (first_of(&mut leads, at), first_of(&mut leads, other));
            leads[one.max(other)] = one.min(other);
        }
    }
    let mut groups: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for at in (0..items.len()).filter(|at| has_names(&items[*at])) {
        groups.entry(first_of(&mut leads, at)).or_default().push(at);
    }
    groups.into_values().collect()
}

/// The first item of a group; the way there gets shorter for the next time.
fn first_of(leads: &mut [usize], mut at: usize) -> usize {
    while leads[at] != at {
        leads[at] = leads[leads[at]];
        at = leads[at];
    }
    at
}

/// The alternatives of an item as plain conjunctions of atoms; nested choices are multiplied out. `None` when that grows too large.
fn alternatives_of(item: &Item) -> Option<Vec<Conjunction>> {
    let Item::Any(alternatives) = item else { return Some(vec![vec![item.clone()]]) };
    let mut out = Vec::new();
    for alternative in alternatives {
        let parts: Vec<&Item> = alternative.iter().collect();
        out.extend(product(&parts)?);
        if out.len() > MAX_PRODUCT {
            return None;
        }
    }
    Some(out)
}

fn product(items: &[&Item]) -> Option<Vec<Conjunction>> {
    let mut combined: Vec<Conjunction> = vec![Vec::new()];
    for item in items {
        let alternatives = alternatives_of(item)?;
        if combined.len().saturating_mul(alternatives.len()) > MAX_PRODUCT {
            return None;
        }
        // The first choice varies slowest, as when one reads the combinations from left to right.
        combined = combined
            .iter()
            .flat_map(|head| alternatives.iter().map(move |tail| head.iter().chain(tail).cloned().collect()))
            .collect();
    }
    Some(combined)
}

/// The item as text.
pub(crate) fn describe(item: &Item) -> String {
    match item {
        Item::Atom(need) => need.atom.text.clone(),
        Item::Any(alternatives) => {
            let parts: Vec<String> = alternatives
                .iter()
                .map(|conjunction| {
                    let inner: Vec<String> = conjunction.iter().map(describe).collect();
                    if inner.len() == 1 { inner.concat() } else { format!("( {} )", inner.join(" ")) }
                })
                .collect();
            format!("|| ( {} )", parts.join(" "))
        }
    }
}
