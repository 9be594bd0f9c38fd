//! Reading back what comes with an image, and what of it holds.

use std::collections::{BTreeMap, BTreeSet};

use contract::Plan;
use contract::plan::short_slot;
use gentoo::vdb::Installed;

use crate::component::{contents, is_complete};
use crate::{Digests, SumKind, parse_sums};

/// Largest list of checksums that is read, in bytes.
pub const MAX_SUMS: u64 = 4 << 20;

/// What a list of checksums says of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SumOutcome {
    Agrees,
    NotListed,
    /// The list has another checksum.
    Differs {
        listed: String,
        found: String,
    },
}

/// Holds a file against a list of checksums.
pub fn check_sum(list: &str, kind: SumKind, name: &str, digests: &Digests) -> SumOutcome {
    let found = digests.get(kind);
    match parse_sums(list).into_iter().find(|(listed, _)| *listed == name) {
        None => SumOutcome::NotListed,
        Some((_, sum)) if sum.eq_ignore_ascii_case(found) => SumOutcome::Agrees,
        Some((_, sum)) => SumOutcome::Differs { listed: sum.to_owned(), found: found.to_owned() },
    }
}

/// What makes two records of a package the same: version, slot, build.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Build {
    slot: String,
    build_time: u64,
    build_id: Option<u32>,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "slot {}, built at {}", self.slot, self.build_time)?;
        self.build_id.map_or(Ok(()), |id| write!(f, ", build {id}"))
    }
}

/// Compares a lock with what an image has installed (its `/var/db/pkg`): every difference in a sentence, none when they agree. Where the
/// lock is of before the packages of a stage3 were recorded, the image may have any besides, but for those that the lock removes.
pub fn compare(plan: &Plan, installed: &[Installed]) -> Vec<String> {
    let wanted: BTreeMap<&str, Build> = contents(plan)
        .map(|p| (p.cpv, Build { slot: short_slot(p.slot).to_owned(), build_time: p.build_time, build_id: p.build_id }))
        .collect();
    let found: BTreeMap<String, Build> = installed.iter().map(|i| (i.entry.cpv.to_string(), build_of(i))).collect();
    let mut differences = Vec::new();
    for (cpv, build) in &wanted {
        match found.get(*cpv) {
            None => differences.push(format!("{cpv} is in the lock and not in the image")),
            Some(other) if !same(build, other) => {
                differences.push(format!("{cpv} is another build in the image: the lock has {build}, the image {other}"));
            }
            Some(_) => {}
        }
    }
    let removed = plan.removals.iter().filter(|removal| found.contains_key(&removal.cpv));
    differences.extend(removed.map(|removal| format!("{} is in the image and the lock removes it from the stage3", removal.cpv)));
    if is_complete(plan) {
        let names: BTreeSet<&str> = wanted.keys().copied().collect();
        let more = found.keys().filter(|cpv| !names.contains(cpv.as_str()));
        differences.extend(more.map(|cpv| format!("{cpv} is in the image and not in the lock")));
    }
    differences
}

fn build_of(installed: &Installed) -> Build {
    let entry = &installed.entry;
    Build { slot: entry.slot_text(), build_time: entry.build_time, build_id: entry.build_id }
}

/// Binhosts with one build of a version have no build id in one place or the other.
fn same(a: &Build, b: &Build) -> bool {
    a.slot == b.slot && a.build_time == b.build_time && (a.build_id == b.build_id || a.build_id.is_none() || b.build_id.is_none())
}
