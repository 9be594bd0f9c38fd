//! What orders asked for.

use std::collections::BTreeMap;
use std::fmt;

use gentoo::useflags::UseDepKind;
use gentoo::{Atom, ParseError};
use serde::Serialize;

/// A package asked for with certain flags, or at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Without USE dependencies.
    pub atom: Atom,
    /// The flags asked for, on or off.
    pub flags: BTreeMap<String, bool>,
}

/// The orders that asked for the same.
#[derive(Clone, Debug)]
pub struct Demand {
    /// How many.
    pub orders: u64,
    /// What no build met. Empty where all was met.
    pub unmet: Vec<Wish>,
    /// What was asked for by its flags, and met: builds that have to stay.
    pub met: Vec<Wish>,
}

impl Wish {
    /// Reads a wish from the package, with version and slot where they matter, and the flags, `-` before unwanted ones.
    ///
    /// # Errors
    /// When the package is no atom or a flag no flag.
    pub fn parse<'a>(package: &str, flags: impl IntoIterator<Item = &'a str>) -> Result<Wish, ParseError> {
        let flags: Vec<&str> = flags.into_iter().collect();
        let text = if flags.is_empty() { package.to_owned() } else { format!("{package}[{}]", flags.join(",")) };
        Ok(Wish::from(&Atom::parse(&text)?))
    }

    /// The flags, `-` before those asked to be off.
    pub fn flag_words(&self) -> Vec<String> {
        flag_words(&self.flags)
    }
}

impl From<&Atom> for Wish {
    fn from(atom: &Atom) -> Wish {
        let flags = atom.use_deps.iter().map(|dep| (dep.flag.clone(), dep.kind != UseDepKind::Disabled)).collect();
        Wish { atom: Atom { blocker: None, slot_operator: None, ..atom.without_use() }, flags }
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.atom.fmt(f)?;
        if self.flags.is_empty() { Ok(()) } else { write!(f, "[{}]", flag_words(&self.flags).join(",")) }
    }
}

/// Flags as they are written in package.use: `-` before those that are off.
pub(crate) fn flag_words(flags: &BTreeMap<String, bool>) -> Vec<String> {
    flags.iter().map(|(flag, on)| format!("{}{flag}", if *on { "" } else { "-" })).collect()
}

/// All that one order asks of one package in one slot: one build has to meet it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Group {
    pub target: Target,
    /// The atoms as text, sorted; what versions and slots may serve.
    pub atoms: Vec<String>,
    pub flags: BTreeMap<String, bool>,
}

/// What can be there once: a package in a slot, where one was named.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Target {
    pub package: String,
    pub slot: Option<String>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.package)?;
        self.slot.as_ref().map_or(Ok(()), |slot| write!(f, ":{slot}"))
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.atoms.join(" and "))?;
        if self.flags.is_empty() { Ok(()) } else { write!(f, "[{}]", flag_words(&self.flags).join(",")) }
    }
}

impl Group {
    pub fn parsed(&self) -> Vec<Atom> {
        self.atoms.iter().filter_map(|text| Atom::parse(text).ok()).collect()
    }

    /// Whether another asks for a flag the other way.
    pub fn contradicts(&self, flags: &BTreeMap<String, bool>) -> bool {
        flags.iter().any(|(flag, on)| self.flags.get(flag).is_some_and(|other| other != on))
    }
}

/// The wishes of one order, one group for each package and slot. Where an order contradicts itself, the later wish counts.
pub(crate) fn groups(wishes: &[Wish]) -> Vec<Group> {
    let mut found: BTreeMap<Target, Group> = BTreeMap::new();
    for wish in wishes {
        let target = Target { package: wish.atom.cp(), slot: wish.atom.slot.clone() };
        let group = found.entry(target.clone()).or_insert(Group { target, atoms: Vec::new(), flags: BTreeMap::new() });
        group.atoms.push(wish.atom.to_string());
        group.flags.extend(wish.flags.clone());
    }
    let mut groups: Vec<Group> = found.into_values().collect();
    for group in &mut groups {
        group.atoms.sort();
        group.atoms.dedup();
    }
    groups
}
