//! What one plan has and another has not: the packages that came, went or changed, and what changed of them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use contract::plan::short_slot;
use contract::{Plan, PlannedPackage};
use gentoo::Cpv;
use serde::Serialize;

/// From an older plan to a newer one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Difference {
    /// One for each package and slot that is not the same in both, by name, then slot.
    pub packages: Vec<Change>,
    /// Packages that are the same in both.
    pub unchanged: u64,
    /// Atoms that only the newer plan was asked for, and that only the older one was.
    pub world_added: Vec<String>,
    pub world_removed: Vec<String>,
    /// The stage3 that both are built on is not the same, or only one has one.
    pub other_base: bool,
    /// What the newer plan has to fetch more than the older one, or less. Bytes.
    pub download_size: i64,
    /// Security advisories that touched the older plan and not the newer one, and the other way round, by id. Empty unless given to
    /// [`Difference::with_advisories`].
    pub advisories_gone: Vec<String>,
    pub advisories_new: Vec<String>,
}

/// A package, in one slot, that is not the same in both plans.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Change {
    /// `category/package`.
    pub name: String,
    /// The slot, without the sub-slot.
    pub slot: String,
    pub kind: ChangeKind,
    /// As the older plan has it; none where it was added.
    pub old: Option<Side>,
    /// As the newer plan has it; none where it was removed.
    pub new: Option<Side>,
    /// Flags of IUSE that the package is now built with and was not, and the other way round. Empty unless it is in both.
    pub use_added: Vec<String>,
    pub use_removed: Vec<String>,
}

/// One package as a plan has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Side {
    /// The version with its revision.
    pub version: String,
    pub build_id: Option<u32>,
    /// Bytes of the package file.
    pub size: u64,
    /// The name of the binhost.
    pub binhost: String,
}

/// What happened to a package; where several things did, the first of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    Removed,
    /// A newer version.
    Upgraded,
    /// An older version.
    Downgraded,
    /// The same version with other USE flags.
    Use,
    /// The same version and flags, built again.
    Rebuilt,
}

impl ChangeKind {
    /// All, in the order in which people are told.
    pub const ALL: [ChangeKind; 6] = [
        ChangeKind::Upgraded,
        ChangeKind::Downgraded,
        ChangeKind::Added,
        ChangeKind::Removed,
        ChangeKind::Use,
        ChangeKind::Rebuilt,
    ];

    /// One word for it.
    pub fn label(self) -> &'static str {
        match self {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Upgraded => "upgraded",
            ChangeKind::Downgraded => "downgraded",
            ChangeKind::Use => "other USE",
            ChangeKind::Rebuilt => "rebuilt",
        }
    }
}

impl Difference {
    /// Compares two plans.
    pub fn between(old: &Plan, new: &Plan) -> Difference {
        let (mut before, mut after) = (by_slot(old), by_slot(new));
        let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
        let mut difference = Difference {
            world_added: only_in(&new.world, &old.world),
            world_removed: only_in(&old.world, &new.world),
            other_base: old.base != new.base,
            download_size: signed(new.download_size()).saturating_sub(signed(old.download_size())),
            ..Difference::default()
        };
        for (name, slot) in keys {
            let key = (name, slot);
            // A broken plan may have one slot twice; the pairs are then as they come.
            let (mut olds, mut news) = (before.remove(&key).unwrap_or_default(), after.remove(&key).unwrap_or_default());
            while !olds.is_empty() || !news.is_empty() {
                let pair = (olds.pop(), news.pop());
                match change(&key, pair.0, pair.1) {
                    Some(change) => difference.packages.push(change),
                    None => difference.unchanged += 1,
                }
            }
        }
        difference
    }

    /// With the security advisories (ids like `202401-01`) that touch each of the two.
    pub fn with_advisories<'a>(
        mut self,
        old: impl IntoIterator<Item = &'a str>,
        new: impl IntoIterator<Item = &'a str>,
    ) -> Difference {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
        self.advisories_gone = old.difference(&new).map(|id| (*id).to_owned()).collect();
        self.advisories_new = new.difference(&old).map(|id| (*id).to_owned()).collect();
        self
    }

    /// Whether the two are made of the same packages.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && !self.other_base && self.world_added.is_empty() && self.world_removed.is_empty()
    }

    /// The changes of one kind.
    pub fn of_kind(&self, kind: ChangeKind) -> impl Iterator<Item = &Change> {
        self.packages.iter().filter(move |change| change.kind == kind)
    }

    /// One line: `3 upgraded, 1 added, 2 rebuilt; 1 security advisory no longer touches it`.
    pub fn summary(&self) -> String {
        let counts = ChangeKind::ALL.into_iter().map(|kind| (self.of_kind(kind).count(), kind.label()));
        let mut parts: Vec<String> = counts.filter(|(n, _)| *n > 0).map(|(n, label)| format!("{n} {label}")).collect();
        if self.other_base {
            parts.push("another stage3".to_owned());
        }
        let mut text = if parts.is_empty() { "the same packages".to_owned() } else { parts.join(", ") };
        let advisories = |n: usize| if n == 1 { "1 security advisory".to_owned() } else { format!("{n} security advisories") };
        let touch = |n: usize| if n == 1 { "touches" } else { "touch" };
        let (gone, new) = (self.advisories_gone.len(), self.advisories_new.len());
        if gone > 0 {
            text += &format!("; {} no longer {} it", advisories(gone), touch(gone));
        }
        if new > 0 {
            text += &format!("; {} now {} it", advisories(new), touch(new));
        }
        text
    }
}

/// The whole difference as lines for people.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.summary())?;
        for kind in ChangeKind::ALL {
            for change in self.of_kind(kind) {
                writeln!(f, "{change}")?;
            }
        }
        for (sign, atoms) in [("+", &self.world_added), ("-", &self.world_removed)] {
            for atom in atoms {
                writeln!(f, "{sign} asked for: {atom}")?;
            }
        }
        for (words, ids) in [("no longer touched by", &self.advisories_gone), ("now touched by", &self.advisories_new)] {
            for id in ids {
                writeln!(f, "{words} GLSA {id}")?;
            }
        }
        Ok(())
    }
}

/// `upgraded app-editors/vim 9.1 → 9.2, +lua -X`; the slot only where it is not 0.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.label(), self.name)?;
        if self.slot != "0" {
            write!(f, ":{}", self.slot)?;
        }
        match (&self.old, &self.new) {
            (Some(old), Some(new)) if old.version == new.version => write!(f, " {}", new.version)?,
            (Some(old), Some(new)) => write!(f, " {} → {}", old.version, new.version)?,
            (Some(side), None) | (None, Some(side)) => write!(f, " {}", side.version)?,
            (None, None) => {}
        }
        let flags = self.use_added.iter().map(|flag| format!("+{flag}"));
        let flags: Vec<String> = flags.chain(self.use_removed.iter().map(|flag| format!("-{flag}"))).collect();
        if flags.is_empty() { Ok(()) } else { write!(f, ", {}", flags.join(" ")) }
    }
}

type Key = (String, String);

/// The packages by name and slot. What has no valid name stands under all that it has of one.
fn by_slot(plan: &Plan) -> BTreeMap<Key, Vec<&PlannedPackage>> {
    let mut map: BTreeMap<Key, Vec<&PlannedPackage>> = BTreeMap::new();
    for package in &plan.packages {
        let name = Cpv::parse(&package.cpv).map_or_else(|_| package.cpv.clone(), |cpv| cpv.cp());
        let slot = short_slot(&package.slot).split('/').next().unwrap_or_default().to_owned();
        map.entry((name, slot)).or_default().push(package);
    }
    map
}

fn change((name, slot): &Key, old: Option<&PlannedPackage>, new: Option<&PlannedPackage>) -> Option<Change> {
    let (mut use_added, mut use_removed) = (Vec::new(), Vec::new());
    let kind = match (old, new) {
        (None, None) => return None,
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(old), Some(new)) => {
            use_added = only_in(&new.use_flags, &old.use_flags);
            use_removed = only_in(&old.use_flags, &new.use_flags);
            match by_version(old, new) {
                Ordering::Less => ChangeKind::Upgraded,
                Ordering::Greater => ChangeKind::Downgraded,
                Ordering::Equal if !use_added.is_empty() || !use_removed.is_empty() => ChangeKind::Use,
                Ordering::Equal if is_same_file(old, new) => return None,
                Ordering::Equal => ChangeKind::Rebuilt,
            }
        }
    };
    let (name, slot) = (name.clone(), slot.clone());
    Some(Change { name, slot, kind, old: old.map(side), new: new.map(side), use_added, use_removed })
}

fn by_version(old: &PlannedPackage, new: &PlannedPackage) -> Ordering {
    match (Cpv::parse(&old.cpv), Cpv::parse(&new.cpv)) {
        (Ok(old), Ok(new)) => old.version.cmp(&new.version),
        _ => old.cpv.cmp(&new.cpv),
    }
}

/// Whether it is the very same build, wherever it is fetched from. A SHA-256 is known only once a package was fetched, so it decides
/// only where both have one.
fn is_same_file(old: &PlannedPackage, new: &PlannedPackage) -> bool {
    match (&old.sha256, &new.sha256) {
        (Some(old), Some(new)) => old == new,
        _ => (old.build_time, old.build_id, old.size) == (new.build_time, new.build_id, new.size),
    }
}

fn side(package: &PlannedPackage) -> Side {
    let version = Cpv::parse(&package.cpv).map_or_else(|_| String::new(), |cpv| cpv.version.to_string());
    Side { version, build_id: package.build_id, size: package.size, binhost: package.binhost.clone() }
}

/// Those of `these` that `others` lacks, sorted, each once.
fn only_in(these: &[String], others: &[String]) -> Vec<String> {
    let others: BTreeSet<&String> = others.iter().collect();
    these.iter().collect::<BTreeSet<_>>().difference(&others).map(|item| (*item).clone()).collect()
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(cpv: &str, slot: &str, flags: &[&str], build_time: u64) -> PlannedPackage {
        let json = serde_json::json!({
            "cpv": cpv, "slot": slot, "build_time": build_time, "use": flags, "binhost": "b", "path": format!("{cpv}.gpkg.tar"),
            "size": 10, "format": "gpkg", "because": [],
        });
        serde_json::from_value(json).unwrap()
    }

    fn plan(world: &[&str], packages: Vec<PlannedPackage>) -> Plan {
        let json = serde_json::json!({
            "version": 1, "arch": "amd64", "channel": "c", "chost": "x", "binhosts": [], "world": world, "packages": packages,
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn each_kind_of_change_is_told() {
        let old = plan(
            &["a/up", "a/gone"],
            vec![
                package("a/up-1.9", "0", &[], 1),
                package("a/down-2", "0/2", &[], 1),
                package("a/gone-1", "0", &[], 1),
                package("a/flags-1", "0", &["X", "ssl"], 1),
                package("a/again-1-r1", "0", &["x"], 1),
                package("a/same-1", "0", &["x"], 1),
                package("a/slots-1", "1/1", &[], 1),
            ],
        );
        let new = plan(
            &["a/up", "a/new"],
            vec![
                package("a/slots-1", "1/1", &[], 1),
                package("a/slots-2", "2/2", &[], 1),
                package("a/up-1.10", "0/7", &[], 2),
                package("a/down-1", "0/1", &[], 2),
                package("a/new-3", "0", &[], 2),
                package("a/flags-1", "0", &["lua", "ssl"], 2),
                package("a/again-1-r1", "0", &["x"], 2),
                package("a/same-1", "0", &["x"], 1),
            ],
        );
        let difference = Difference::between(&old, &new).with_advisories(["1", "2"], ["2"]);
        assert_eq!(
            difference.to_string(),
            "1 upgraded, 1 downgraded, 2 added, 1 removed, 1 other USE, 1 rebuilt; 1 security advisory no longer touches it\n\
             upgraded a/up 1.9 → 1.10\n\
             downgraded a/down 2 → 1\n\
             added a/new 3\n\
             added a/slots:2 2\n\
             removed a/gone 1\n\
             other USE a/flags 1, +lua -X\n\
             rebuilt a/again 1-r1\n\
             + asked for: a/new\n\
             - asked for: a/gone\n\
             no longer touched by GLSA 1\n"
        );
        assert_eq!((difference.unchanged, difference.download_size), (2, 10));
        let back = Difference::between(&new, &old);
        assert_eq!(back.of_kind(ChangeKind::Removed).count(), 2, "the way back takes away what was added");
    }

    #[test]
    fn the_same_packages_make_no_difference_wherever_they_are_from() {
        let old = plan(&[], vec![package("a/b-1", "0", &[], 1), package("not a name", "0", &[], 1)]);
        let mut new = old.clone();
        for package in &mut new.packages {
            package.binhost = "mirror".into();
            package.sha256 = Some("ab".into());
        }
        let difference = Difference::between(&old, &new);
        assert!(difference.is_empty() && difference.unchanged == 2, "{difference}");
        assert_eq!(difference.summary(), "the same packages");
    }
}
