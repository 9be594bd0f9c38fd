//! Layers of USE settings: `use.mask`, `package.use.mask` and their kin (PMS 5.2.8 to 5.2.11), parents first.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use super::ProfileError;
use super::lines::read_lines;
use crate::PackageRef;
use crate::atom::{Atom, Operator};
use crate::names::is_use_flag;

/// One layer: settings for everything, then for packages; and the same for stable packages.
#[derive(Clone, Debug, Default)]
pub(super) struct FlagLayer {
    pub always: FlagRules,
    pub stable: FlagRules,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FlagRules {
    pub global: Vec<String>,
    /// By `category/package`.
    packages: HashMap<String, Vec<(Atom, Vec<String>)>>,
}

impl FlagLayer {
    /// Reads `KIND`, `package.KIND` and their stable variants of one folder, where KIND is like `use.mask`.
    pub fn read(node: &Path, kind: &str) -> Result<FlagLayer, ProfileError> {
        let stable = kind.replacen("use", "use.stable", 1);
        Ok(FlagLayer { always: FlagRules::read(node, kind)?, stable: FlagRules::read(node, &stable)? })
    }

    /// The words that apply to a package, in order.
    pub fn words<'a>(&'a self, package: PackageRef<'_>, stable: bool) -> Vec<&'a str> {
        let mut words: Vec<&str> = self.always.global.iter().map(String::as_str).collect();
        if stable {
            words.extend(self.stable.global.iter().map(String::as_str));
        }
        words.extend(self.always.package_words(package));
        if stable {
            words.extend(self.stable.package_words(package));
        }
        words
    }
}

impl FlagRules {
    fn read(node: &Path, kind: &str) -> Result<FlagRules, ProfileError> {
        let mut rules = FlagRules::default();
        // `use` itself is no file: the global flags are USE of make.defaults.
        if kind.contains('.') {
            for line in read_lines(&node.join(kind))? {
                for word in line.words() {
                    rules.global.push(check_flag(word).map_err(|reason| line.error(reason))?);
                }
            }
        }
        for line in read_lines(&node.join(format!("package.{kind}")))? {
            let mut words = line.words();
            let atom = Atom::parse(words.next().unwrap_or_default()).map_err(|e| line.error(e))?;
            let flags = words.map(check_flag).collect::<Result<Vec<_>, _>>().map_err(|reason| line.error(reason))?;
            let same_name = rules.packages.entry(atom.cp()).or_default();
            match same_name.iter_mut().find(|(known, _)| *known == atom) {
                Some((_, known)) => known.extend(flags),
                None => same_name.push((atom, flags)),
            }
        }
        Ok(rules)
    }

    /// The words for a package, the most specific atom's last.
    pub fn package_words<'a>(&'a self, package: PackageRef<'_>) -> Vec<&'a str> {
        let Some(rules) = self.packages.get(&package.cpv.cp()) else { return Vec::new() };
        let mut matching: Vec<&(Atom, Vec<String>)> = rules.iter().filter(|(atom, _)| atom.matches_package(package)).collect();
        let mut ordered = Vec::with_capacity(matching.len());
        while let Some(best) = most_specific(&matching, package) {
            ordered.push(matching.remove(best));
        }
        ordered.iter().rev().flat_map(|(_, flags)| flags.iter().map(String::as_str)).collect()
    }
}

fn check_flag(word: &str) -> Result<String, String> {
    match is_use_flag(word.strip_prefix('-').unwrap_or(word)) {
        true => Ok(word.to_owned()),
        false => Err(format!("“{}” is not a USE flag", word.escape_debug())),
    }
}

/// The index of the most specific atom, by Portage's ranks (`best_match_to_list`): `=`, `~`, `=*`, a slot, other operators (of those the
/// one whose version is closest), a bare name; the earlier one when they are alike.
fn most_specific(rules: &[&(Atom, Vec<String>)], package: PackageRef<'_>) -> Option<usize> {
    let mut best: Option<(usize, i32)> = None;
    for (index, (atom, _)) in rules.iter().enumerate() {
        let rank = rank(atom);
        let better = match best {
            None => true,
            Some((_, top)) if rank != top => rank > top,
            Some((current, _)) => rank == 2 && is_closer(atom, &rules.get(current)?.0, package),
        };
        if better {
            best = Some((index, rank));
        }
    }
    best.map(|(index, _)| index)
}

fn rank(atom: &Atom) -> i32 {
    let by_operator = match atom.operator() {
        Some(Operator::Equal) => 6,
        Some(Operator::Revision) => 5,
        Some(Operator::Prefix) => 4,
        Some(Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual) => 2,
        None => 1,
    };
    if atom.slot.is_some() { by_operator.max(3) } else { by_operator }
}

/// Whether `atom`'s version lies between the package's and the one of `other`.
fn is_closer(atom: &Atom, other: &Atom, package: PackageRef<'_>) -> bool {
    let (Some((_, own)), Some((_, theirs))) = (&atom.version, &other.version) else { return false };
    let wanted = &package.cpv.version;
    theirs != wanted && own != theirs && (own == wanted || (theirs < own && own < wanted) || (wanted < own && own < theirs))
}

/// Applies USE words to a set (Portage `config.regenerate`): `-x`, `-prefix_*`, `-*`.
pub(super) fn apply_use<'a>(set: &mut BTreeSet<String>, words: impl IntoIterator<Item = &'a str>) {
    for word in words {
        match word.strip_prefix('-') {
            Some("*") => set.clear(),
            Some(taken) => {
                if let Some(prefix) = taken.strip_suffix('*').filter(|p| p.ends_with('_')) {
                    set.retain(|flag| !flag.starts_with(prefix));
                }
                set.remove(taken);
            }
            None => {
                set.insert(word.strip_prefix('+').unwrap_or(word).to_owned());
            }
        }
    }
}
