//! LICENSE expressions, licence groups and ACCEPT_LICENSE (PMS 7.3.6; GLEP 23; Portage `LicenseManager.py`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::ParseError;
use crate::dep::Tree;
use crate::error::shown;
use crate::license_names::{FREE, OTHER_REDISTRIBUTABLE};
use crate::names::is_license;

/// What Hatchery accepts unless an operator says otherwise: what may be passed on as a binary.
pub const DEFAULT_ACCEPT_LICENSE: &str = "@BINARY-REDISTRIBUTABLE";

/// A LICENSE expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct License(Tree<String>);

impl License {
    /// Reads a LICENSE variable.
    ///
    /// # Errors
    /// When it does not follow PMS 8.2 or names something that can be no licence.
    pub fn parse(text: &str) -> Result<License, ParseError> {
        let leaf = |word: &str| match is_license(word) {
            true => Ok(word.to_owned()),
            false => Err(format!("“{}” is not the name of a licence", shown(word))),
        };
        Tree::parse_with("licence expression", text, leaf).map(License)
    }

    /// What applies to a package with these flags: conditionals are resolved, alternatives stay.
    pub fn applying(&self, enabled: &dyn Fn(&str) -> bool) -> Tree<String> {
        self.0.resolve_conditionals(enabled)
    }

    /// Every licence named, conditions and alternatives alike.
    pub fn names(&self) -> BTreeSet<&str> {
        self.0.atoms().into_iter().map(String::as_str).collect()
    }
}

impl fmt::Display for License {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Licence groups, as `profiles/license_groups` defines them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LicenseGroups(BTreeMap<String, Vec<String>>);

impl LicenseGroups {
    /// Reads the text of a `license_groups` file on top of what is known: a name, then its members, `@OTHER` for a group.
    pub fn read(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            if let Some(name) = words.next() {
                self.0.entry(name.to_owned()).or_default().extend(words.map(str::to_owned));
            }
        }
    }

    /// The licences of a group, groups inside it resolved. A group that is not known has none; circles are passed once.
    pub fn members(&self, group: &str) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        let mut seen = BTreeSet::from([group]);
        let mut pending = vec![group];
        while let Some(name) = pending.pop() {
            for member in self.0.get(name).into_iter().flatten() {
                match member.strip_prefix('@') {
                    Some(inner) if seen.insert(inner) => pending.push(inner),
                    Some(_) => {}
                    None if member.starts_with('-') => {}
                    None => {
                        found.insert(member.as_str());
                    }
                }
            }
        }
        found
    }

    /// The names of the groups.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether the group is defined.
    pub fn contains(&self, group: &str) -> bool {
        self.0.contains_key(group)
    }
}

impl LicenseGroups {
    /// `@FREE` and `@BINARY-REDISTRIBUTABLE` as Gentoo's tree has them, for a system without a tree.
    pub fn well_known() -> LicenseGroups {
        let mut groups = LicenseGroups::default();
        groups.read(&format!("FREE {FREE}\nBINARY-REDISTRIBUTABLE @FREE {OTHER_REDISTRIBUTABLE}\n"));
        groups
    }
}

/// An ACCEPT_LICENSE setting with its groups resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptLicense {
    /// `*` was accepted, and `refused` are the exceptions.
    everything: bool,
    accepted: BTreeSet<String>,
    refused: BTreeSet<String>,
    /// Groups that were named but are not defined.
    undefined: BTreeSet<String>,
    /// The setting as written.
    text: String,
}

impl AcceptLicense {
    /// Reads the incremental variable: `*`, `-*`, `name`, `-name`, `@GROUP`, `-@GROUP`.
    pub fn parse(text: &str, groups: &LicenseGroups) -> AcceptLicense {
        let mut accept =
            AcceptLicense { text: text.split_ascii_whitespace().collect::<Vec<_>>().join(" "), ..Default::default() };
        for token in text.split_ascii_whitespace() {
            let (name, taken_back) = match token.strip_prefix('-') {
                Some(name) => (name, true),
                None => (token, false),
            };
            match name.strip_prefix('@') {
                None if name == "*" => {
                    (accept.everything, accept.accepted, accept.refused) = (!taken_back, BTreeSet::new(), BTreeSet::new());
                }
                None => accept.set(name, !taken_back),
                Some(group) => {
                    if !groups.contains(group) {
                        accept.undefined.insert(group.to_owned());
                    }
                    groups.members(group).into_iter().for_each(|member| accept.set(member, !taken_back));
                }
            }
        }
        accept
    }

    fn set(&mut self, name: &str, accept: bool) {
        let (into, from) = if accept { (&mut self.accepted, &mut self.refused) } else { (&mut self.refused, &mut self.accepted) };
        from.remove(name);
        into.insert(name.to_owned());
    }

    /// The setting as written, for messages.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Groups that were named but are not defined; accepting them accepted nothing.
    pub fn undefined_groups(&self) -> &BTreeSet<String> {
        &self.undefined
    }

    /// Whether one licence is accepted.
    pub fn accepts_name(&self, name: &str) -> bool {
        self.accepted.contains(name) || (self.everything && !self.refused.contains(name))
    }

    /// The licences that stand in the way, sorted: none means that the package is accepted. Of an alternative without an accepted
    /// branch all are listed, since any one would do.
    pub fn unaccepted(&self, license: &License, enabled: &dyn Fn(&str) -> bool) -> Vec<String> {
        let mut missing = BTreeSet::new();
        self.collect(&license.0.resolve_conditionals(enabled), &mut missing);
        missing.into_iter().collect()
    }

    fn collect(&self, tree: &Tree<String>, missing: &mut BTreeSet<String>) {
        match tree {
            Tree::Atom(name) if self.accepts_name(name) => {}
            Tree::Atom(name) => {
                missing.insert(name.clone());
            }
            Tree::AnyOf(choices) => {
                let each: Vec<BTreeSet<String>> = choices
                    .iter()
                    .map(|choice| {
                        let mut own = BTreeSet::new();
                        self.collect(choice, &mut own);
                        own
                    })
                    .collect();
                if !each.iter().any(BTreeSet::is_empty) {
                    missing.extend(each.into_iter().flatten());
                }
            }
            group => group.children().iter().for_each(|child| self.collect(child, missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> LicenseGroups {
        let mut groups = LicenseGroups::default();
        groups.read("# comment\nGPL GPL-2 GPL-3 # tail\nFREE @GPL MIT @LOOP\nLOOP @FREE BSD\nBINARY-REDISTRIBUTABLE @FREE linux-fw-redistributable\n");
        groups
    }

    fn unaccepted(accept: &str, license: &str, flags: &[&str]) -> Vec<String> {
        let license = License::parse(license).unwrap();
        AcceptLicense::parse(accept, &groups()).unaccepted(&license, &|flag| flags.contains(&flag))
    }

    #[test]
    fn groups_nest_and_circles_end() {
        assert_eq!(groups().members("FREE").into_iter().collect::<Vec<_>>(), ["BSD", "GPL-2", "GPL-3", "MIT"]);
    }

    #[test]
    fn the_licence_in_the_way_is_named() {
        let none: [&str; 0] = [];
        assert_eq!(unaccepted(DEFAULT_ACCEPT_LICENSE, "GPL-2 linux-fw-redistributable", &[]), none);
        assert_eq!(unaccepted(DEFAULT_ACCEPT_LICENSE, "GPL-2 NVIDIA", &[]), ["NVIDIA"]);
        assert_eq!(unaccepted("@FREE", "|| ( NVIDIA MIT )", &[]), none);
        assert_eq!(unaccepted("@FREE", "|| ( NVIDIA ( MIT Oracle ) )", &[]), ["NVIDIA", "Oracle"]);
        assert_eq!(unaccepted("@FREE", "MIT nonfree? ( NVIDIA )", &[]), none);
        assert_eq!(unaccepted("@FREE", "MIT nonfree? ( NVIDIA )", &["nonfree"]), ["NVIDIA"]);
        assert_eq!(unaccepted("* -@GPL", "GPL-2 Oracle", &[]), ["GPL-2"]);
        assert_eq!(unaccepted("* -* MIT", "MIT BSD", &[]), ["BSD"]);
        assert_eq!(unaccepted("@FREE -MIT", "MIT", &[]), ["MIT"]);
        assert_eq!(unaccepted("@FREE", "", &[]), none);
    }

    #[test]
    fn an_undefined_group_is_told() {
        let accept = AcceptLicense::parse("@FREE @NOPE", &groups());
        assert_eq!(accept.undefined_groups().iter().collect::<Vec<_>>(), ["NOPE"]);
    }
}
