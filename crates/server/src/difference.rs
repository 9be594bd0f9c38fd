//! What two plans differ in, package by package.

use std::collections::{BTreeMap, BTreeSet};

use contract::plan::short_slot;
use contract::{Plan, PlannedPackage, Summary};
use serde::Serialize;

/// What became of an earlier plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Packages (CPV) that only the newer one has.
    pub added: Vec<String>,
    /// Packages (CPV) that only the earlier one has.
    pub removed: Vec<String>,
    pub changed: Vec<Change>,
    /// Packages that are the same in both.
    pub same: usize,
    /// How much each is.
    pub before: Summary,
    pub after: Summary,
}

/// A package that both have, but not the same build of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// `category/package`, with the slot where it is not 0.
    pub name: String,
    pub before: String,
    pub after: String,
    /// Another version, and not only another build of it.
    pub is_other_version: bool,
    /// Flags that only the newer, or only the earlier one was built with.
    pub flags_added: Vec<String>,
    pub flags_removed: Vec<String>,
    /// Bytes of the package files.
    pub size_before: u64,
    pub size_after: u64,
}

impl Difference {
    /// Compares an earlier plan with a newer one. Packages are the same kind of thing by category, name and slot.
    pub fn between(before: &Plan, after: &Plan) -> Difference {
        let (old, new) = (by_name(before), by_name(after));
        let only = |these: &BTreeMap<String, &PlannedPackage>, those: &BTreeMap<String, &PlannedPackage>| -> Vec<String> {
            these.iter().filter(|(name, _)| !those.contains_key(*name)).map(|(_, package)| package.cpv.clone()).collect()
        };
        let both = || old.iter().filter_map(|(name, package)| Some((name, *package, *new.get(name)?)));
        let changed: Vec<Change> = both().filter_map(|(name, before, after)| Change::between(name, before, after)).collect();
        Difference {
            added: only(&new, &old),
            removed: only(&old, &new),
            same: both().count() - changed.len(),
            changed,
            before: before.summary,
            after: after.summary,
        }
    }

    /// Nothing differs but what is told of the whole.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Change {
    fn between(name: &str, before: &PlannedPackage, after: &PlannedPackage) -> Option<Change> {
        let is_other_version = before.cpv != after.cpv;
        let is_same = !is_other_version
            && (before.build_id, before.build_time, before.size) == (after.build_id, after.build_time, after.size)
            && before.use_flags == after.use_flags;
        if is_same {
            return None;
        }
        let flags = |package: &PlannedPackage| package.use_flags.iter().cloned().collect::<BTreeSet<String>>();
        let (had, has) = (flags(before), flags(after));
        Some(Change {
            name: name.to_owned(),
            before: build(before),
            after: build(after),
            is_other_version,
            flags_added: has.difference(&had).cloned().collect(),
            flags_removed: had.difference(&has).cloned().collect(),
            size_before: before.size,
            size_after: after.size,
        })
    }
}

fn by_name(plan: &Plan) -> BTreeMap<String, &PlannedPackage> {
    let name = |package: &PlannedPackage| {
        let name = gentoo::Cpv::parse(&package.cpv)
            .map_or_else(|_| package.cpv.clone(), |cpv| format!("{}/{}", cpv.category, cpv.package));
        match short_slot(&package.slot).split('/').next() {
            None | Some("0" | "") => name,
            Some(slot) => format!("{name}:{slot}"),
        }
    };
    plan.packages.iter().map(|package| (name(package), package)).collect()
}

/// The version, with the number of the build where there is one.
fn build(package: &PlannedPackage) -> String {
    let version = gentoo::Cpv::parse(&package.cpv).map_or_else(|_| package.cpv.clone(), |cpv| cpv.version.to_string());
    match package.build_id {
        Some(id) => format!("{version}-{id}"),
        None => version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(packages: &[(&str, &str, u32, &[&str])]) -> Plan {
        let package = |(cpv, slot, build_id, flags): &(&str, &str, u32, &[&str])| {
            serde_json::json!({
                "cpv": cpv, "slot": slot, "build_id": build_id, "build_time": build_id, "use": flags, "binhost": "b", "path": "p",
                "size": 100, "format": "gpkg", "because": ["@world"],
            })
        };
        serde_json::from_value(serde_json::json!({
            "version": 1, "arch": "amd64", "channel": "c", "chost": "x", "binhosts": [], "world": [],
            "packages": packages.iter().map(package).collect::<Vec<_>>(),
        }))
        .unwrap()
    }

    #[test]
    fn packages_come_go_and_change() {
        let before = plan(&[
            ("app-editors/vim-9.0", "0", 1, &["X", "python"]),
            ("dev-lang/python-3.11.4", "3.11", 1, &[]),
            ("app-misc/tmux-3.3", "0", 1, &[]),
            ("sys-libs/zlib-1.2", "0/1", 1, &[]),
        ]);
        let after = plan(&[
            ("app-editors/vim-9.1", "0", 1, &["python", "lua"]),
            ("dev-lang/python-3.11.4", "3.11", 2, &[]),
            ("dev-lang/python-3.12.0", "3.12", 1, &[]),
            ("sys-libs/zlib-1.2", "0/1", 1, &[]),
        ]);
        let difference = Difference::between(&before, &after);
        assert_eq!(
            (difference.added.as_slice(), difference.removed.as_slice()),
            (&["dev-lang/python-3.12.0".to_owned()][..], &["app-misc/tmux-3.3".to_owned()][..])
        );
        assert_eq!(difference.same, 1);
        let [vim, python] = &difference.changed[..] else { panic!("{difference:?}") };
        assert_eq!((vim.before.as_str(), vim.after.as_str(), vim.is_other_version), ("9.0-1", "9.1-1", true));
        assert_eq!((vim.flags_added.join(" "), vim.flags_removed.join(" ")), ("lua".into(), "X".into()));
        assert_eq!((python.name.as_str(), python.is_other_version), ("dev-lang/python:3.11", false));
        assert!(Difference::between(&before, &before).is_empty());
    }
}
