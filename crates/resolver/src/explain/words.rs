//! Lists, sentences and near misses, as people write them.

use std::collections::{BTreeMap, HashSet};

use gentoo::useflags::{UseDep, UseDepKind};
use gentoo::{Atom, Cpv};

use super::NAMED;
use crate::universe::Universe;

pub(super) fn cp_of(cpv: &str) -> String {
    Cpv::parse(cpv).map_or_else(|_| cpv.to_owned(), |c| c.cp())
}

pub(super) fn wished_package(atom: &Atom) -> String {
    Atom { use_deps: Vec::new(), blocker: None, ..atom.clone() }.to_string()
}

/// The flags of an atom as they are wished for, `-` before those that have to be off, sorted. `differing` are those that the nearest build has
/// otherwise; what a build without the flag would do for is wished for only if it is among them.
pub(super) fn wished_flags(atom: &Atom, differing: &[String]) -> Vec<String> {
    let wanted = |dep: &UseDep| dep.kind != UseDepKind::Disabled;
    let differs = |dep: &UseDep| differing.iter().any(|flag| flag.get(1..) == Some(dep.flag.as_str()));
    let wished = atom.use_deps.iter().filter(|dep| dep.default != Some(wanted(dep)) || differs(dep));
    let mut flags: Vec<String> = wished.map(|dep| format!("{}{}", if wanted(dep) { "" } else { "-" }, dep.flag)).collect();
    flags.sort();
    flags
}

pub(super) fn slots_text(slots: &[String]) -> String {
    if slots.len() == 1 { format!("only slot {}", list(slots)) } else { format!("the slots {}", list(slots)) }
}

pub(super) fn is_or_are(items: &[String]) -> &'static str {
    if items.len() == 1 { "is" } else { "are" }
}

/// The text of a mask's comment as a sentence.
pub(super) fn sentence(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = text.chars().take(300).collect();
    if cut.ends_with(['.', '!', '?']) { cut } else { format!("{cut}.") }
}

/// Each item once, where it came first.
pub(super) fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = HashSet::new();
    items.filter(|item| seen.insert(item.clone())).collect()
}

/// `a, b and c`; of long lists the first few.
pub(super) fn list(items: &[String]) -> String {
    join(items, "and")
}

pub(super) fn either(items: &[String]) -> String {
    join(items, "or")
}

pub(super) fn join(items: &[String], word: &str) -> String {
    match items {
        [] => "none".to_owned(),
        [only] => only.clone(),
        _ if items.len() > NAMED => format!("{} {word} {} more", items[..NAMED].join(", "), items.len() - NAMED),
        [first @ .., last] => format!("{} {word} {last}", first.join(", ")),
    }
}

pub(super) fn did_you_mean(names: &[String], otherwise: &str) -> String {
    if names.is_empty() { otherwise.to_owned() } else { format!("Did you mean {}?", either(names)) }
}

/// Names like the one given: the same package in another category, then those that few changes lead to.
pub(crate) fn similar_names(u: &Universe, wanted: &str) -> Vec<String> {
    let package = wanted.rsplit_once('/').map_or(wanted, |(_, p)| p).to_ascii_lowercase();
    let limit = match package.len() {
        0..=2 => 0,
        3..=4 => 1,
        _ => 2,
    };
    let mut found: BTreeMap<(usize, &str), ()> = BTreeMap::new();
    for name in u.names.iter().filter(|n| n.available.iter().any(|p| u.pkg(*p).mask.is_none())) {
        let own = name.text.rsplit_once('/').map_or(name.text.as_str(), |(_, p)| p).to_ascii_lowercase();
        let distance = contract::nearest::edit_distance(&package, &own, limit);
        if distance <= limit {
            found.insert((distance, &name.text), ());
        } else if package.len() >= 4 && own.split(['-', '_']).any(|word| word == package) {
            found.insert((limit + 1, &name.text), ());
        }
    }
    found.into_keys().take(3).map(|(_, name)| name.to_owned()).collect()
}
