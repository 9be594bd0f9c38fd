//! What could be built for a package: for each set of wishes that one build can meet, that build and what it adds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use gentoo::Eapi;
use gentoo::index::Entry;
use gentoo::required_use::RequiredUse;
use serde::Serialize;

use crate::known::{Known, defaults, knows, licenses};
use crate::wish::{Group, flag_words};

/// Most builds considered for one package.
const MAX_VARIANTS: usize = 48;

/// Flags that take something away when they are on; nobody who did not ask for them should get them.
const TAKES_AWAY: [&str; 3] = ["minimal", "vanilla", "static"];

/// How a build comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = BuildKind)]
pub enum Kind {
    /// The build there is gets other flags.
    TurnOn,
    /// One more build of a package that is there (FEATURES=binpkg-multi-instance).
    Second,
    /// A package or version that is not there yet.
    New,
}

/// What a build adds to who installs it and to the binhost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Adds {
    /// Packages of the binhost that are drawn in besides, by their path there.
    pub packages: Vec<String>,
    /// Their download, in bytes.
    pub download: u64,
    /// What is needed and not there either, so that it has to be built too.
    pub builds: Vec<String>,
    pub licenses: Vec<String>,
    /// Size of the package file, in bytes.
    pub size: u64,
    /// Whether the size is only a guess: that of the build without the change, or a median.
    pub guessed: bool,
    /// Where this is known from; nothing where it is not.
    pub known_from: Option<String>,
    /// It is what another version's ebuild says.
    pub other_version: bool,
}

/// Something that could be built.
#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub kind: Kind,
    /// `=category/package-version`, or what was asked for where no version is known.
    pub package: String,
    pub slot: String,
    /// The flags that differ from the build there is, or from the ebuild's own.
    pub changes: BTreeMap<String, bool>,
    pub adds: Adds,
    base: Option<Base>,
    wanted: BTreeMap<String, bool>,
}

/// What a build is made from.
#[derive(Clone, Debug)]
struct Base {
    package: Entry,
    /// It is a build that is here, not an ebuild.
    built: bool,
}

/// Why wishes cannot be met by any build.
pub(crate) type Reason = String;

impl Variant {
    /// Whether the build meets all that an order asks of the package, and takes away nothing that the order did not ask to go.
    pub fn meets(&self, group: &Group, known: &Known) -> bool {
        let Some(base) = &self.base else { return group.flags.iter().all(|(f, on)| self.wanted.get(f) == Some(on)) };
        if !self.takes_away().all(|flag| group.flags.contains_key(flag)) {
            return false;
        }
        let fits = group.parsed().iter().all(|atom| atom.matches_package(base.package.package()));
        fits && group.flags.iter().all(|(flag, on)| self.state(base, flag, known) == Some(*on))
    }

    /// The wished flags by which the build lacks something that the one there is has.
    fn takes_away(&self) -> impl Iterator<Item = &str> {
        let taken = self.changes.iter().filter(|(flag, on)| !**on || TAKES_AWAY.contains(&flag.as_str()));
        taken.map(|(flag, _)| flag.as_str()).filter(|flag| self.wanted.contains_key(*flag))
    }

    fn state(&self, base: &Base, flag: &str, known: &Known) -> Option<bool> {
        self.changes.get(flag).copied().or_else(|| base.state(flag, known))
    }

    /// The line of package.use for it. What is to be built with the flags it has by itself is no entry there.
    pub fn package_use(&self) -> String {
        match self.changes.is_empty() {
            true => format!("# {} as it is", self.package),
            false => format!("{} {}", self.package, flag_words(&self.changes).join(" ")),
        }
    }
}

impl Base {
    fn state(&self, flag: &str, known: &Known) -> Option<bool> {
        match self.built {
            true => known.state(&self.package, flag),
            false => knows(&self.package, flag).then(|| defaults(&self.package).contains(flag)),
        }
    }

    fn enabled(&self) -> BTreeSet<String> {
        match self.built {
            true => self.package.use_flags.iter().map(str::to_owned).collect(),
            false => defaults(&self.package),
        }
    }

    /// The ebuild that it was built from, where it is known: it has the dependencies of all flags.
    fn ebuild(&self, known: &Known) -> Option<Entry> {
        match self.built {
            true => known.ebuilds(&self.package.cpv.cp()).iter().find(|e| e.cpv == self.package.cpv).cloned(),
            false => Some(self.package.clone()),
        }
    }
}

/// The builds that could meet wishes about one package: one for each set of wishes that agree, the wishes of most orders first; and for
/// each group that none can meet, the reason. `keep` is what was asked for and met already.
pub(crate) fn variants(
    groups: &[(Group, u64)],
    keep: &[Group],
    known: &Known,
    max_added: u64,
) -> (Vec<Variant>, Vec<(Group, Reason)>) {
    let (mut seeds, mut refused) = (Vec::new(), Vec::new());
    for (group, _) in groups {
        match base(group, known).and_then(|base| variant(base, group, group.flags.clone(), known)) {
            Ok(seed) => seeds.push(seed),
            Err(reason) => refused.push((group.clone(), reason)),
        }
    }
    let mut found = turned_on(&seeds, groups, keep, known, max_added);
    // The builds that meet as many wishes as one can come first, so that the limit never cuts them off; then unions of fewer, which draw in
    // less.
    let mut pending: VecDeque<Variant> = seeds.iter().map(|seed| widest(seed, &seeds, known)).collect();
    pending.extend(seeds);
    while let Some(next) = pending.pop_front() {
        if found.len() >= MAX_VARIANTS || found.iter().any(|v| v.kind == next.kind && v.same_build(&next)) {
            continue;
        }
        let unions: Vec<Variant> = found.iter().filter_map(|other| other.with(&next, known)).collect();
        found.push(next);
        pending.extend(unions);
    }
    (found, refused)
}

/// A build with all the wishes that can be put to those of a seed, those of most orders first.
fn widest(seed: &Variant, seeds: &[Variant], known: &Known) -> Variant {
    seeds.iter().fold(seed.clone(), |build, other| build.with(other, known).unwrap_or(build))
}

/// One build for the wishes of most orders: the one there is, with more flags on, where nobody asked for them to be off, what that draws in
/// is known and there, and it is little enough for everybody.
fn turned_on(seeds: &[Variant], groups: &[(Group, u64)], keep: &[Group], known: &Known, max_added: u64) -> Vec<Variant> {
    let mut found: Vec<Variant> = Vec::new();
    for seed in seeds.iter().filter(|s| s.kind == Kind::Second) {
        let nobody_minds =
            |changes: &BTreeMap<String, bool>| !groups.iter().map(|(g, _)| g).chain(keep).any(|group| group.contradicts(changes));
        let of_same = found.iter().position(|v| v.package == seed.package && v.slot == seed.slot);
        let together = match of_same {
            Some(index) => found.get(index).and_then(|other| other.with(seed, known)),
            None => Some(seed.clone()),
        };
        let Some(mut together) = together else { continue };
        let adds = &together.adds;
        let little = adds.known_from.is_some() && !adds.other_version && adds.builds.is_empty() && adds.download <= max_added;
        let takes_nothing = together.takes_away().next().is_none() && together.changes.values().all(|on| *on);
        if !little || !takes_nothing || !nobody_minds(&together.changes) {
            continue;
        }
        together.kind = Kind::TurnOn;
        match of_same {
            Some(index) => found[index] = together,
            None => found.push(together),
        }
    }
    found
}

impl Variant {
    fn same_build(&self, other: &Variant) -> bool {
        self.package == other.package && self.slot == other.slot && self.changes == other.changes
    }

    /// One build that meets what both meet; none when they contradict each other, or one takes away what the other did not ask to go.
    fn with(&self, other: &Variant, known: &Known) -> Option<Variant> {
        if self.package != other.package || self.slot != other.slot {
            return None;
        }
        if self.wanted.iter().any(|(flag, on)| other.wanted.get(flag).is_some_and(|o| o != on)) {
            return None;
        }
        let only_for_one = |a: &Variant, b: &Variant| a.takes_away().any(|flag| !b.wanted.contains_key(flag));
        if only_for_one(self, other) || only_for_one(other, self) {
            return None;
        }
        let mut wanted = self.wanted.clone();
        wanted.extend(other.wanted.clone());
        let base = self.base.clone();
        made(base, self.package.clone(), wanted, known).ok()
    }
}

/// What a group's build is made from: the nearest build, or else an ebuild, that has all its flags; the newest of each.
fn base(group: &Group, known: &Known) -> Result<Option<Base>, Reason> {
    let (atoms, cp) = (group.parsed(), &group.target.package);
    let fits = |e: &&Entry| atoms.iter().all(|a| a.matches_package(e.package()));
    let builds = known.here(cp).iter().filter(fits).map(|e| Base { package: e.clone(), built: true });
    let ebuilds = known.ebuilds(cp);
    let ebuilds = ebuilds.iter().filter(fits).map(|e| Base { package: e.clone(), built: false });
    let all: Vec<Base> = builds.chain(ebuilds).collect();
    if all.is_empty() {
        return match known.has_ebuilds() {
            true => Err(format!("the repository has no {}", group.atoms.join(" and "))),
            false => Ok(None),
        };
    }
    let has_all = |base: &&Base| group.flags.keys().all(|flag| base.state(flag, known).is_some());
    let differs = |base: &&Base| group.flags.iter().filter(|(flag, on)| base.state(flag, known) != Some(**on)).count();
    // The first of the nearest is taken, so a build goes before an ebuild, and the newest before older ones.
    let built = all.iter().filter(|b| b.built).filter(has_all).min_by_key(differs);
    built.or_else(|| all.iter().find(has_all)).cloned().map(Some).ok_or_else(|| {
        let unknown: Vec<&str> =
            group.flags.keys().filter(|f| all.iter().all(|b| b.state(f, known).is_none())).map(String::as_str).collect();
        match unknown.is_empty() {
            true => "no one version has all these flags".to_owned(),
            false => format!("no version has the flag {}", unknown.join(", ")),
        }
    })
}

fn variant(base: Option<Base>, group: &Group, wanted: BTreeMap<String, bool>, known: &Known) -> Result<Variant, Reason> {
    let package = match &base {
        Some(base) => format!("={}", base.package.cpv),
        None => group.atoms.join(" "),
    };
    made(base, package, wanted, known)
}

/// The build with the flags wanted, and those that REQUIRED_USE demands with them.
fn made(base: Option<Base>, package: String, wanted: BTreeMap<String, bool>, known: &Known) -> Result<Variant, Reason> {
    let Some(base) = base else {
        let adds = Adds { size: known.typical_size(), guessed: true, ..Adds::default() };
        return Ok(Variant { kind: Kind::New, package, slot: String::new(), changes: wanted.clone(), adds, base: None, wanted });
    };
    let mut changes: BTreeMap<String, bool> =
        wanted.iter().filter(|(flag, on)| base.state(flag, known) != Some(**on)).map(|(f, on)| (f.clone(), *on)).collect();
    satisfy_required_use(&base, &wanted, &mut changes, known)?;
    let adds = adds(&base, &changes, known);
    let kind = if base.built { Kind::Second } else { Kind::New };
    Ok(Variant { kind, package, slot: base.package.slot.to_string(), changes, adds, base: Some(base), wanted })
}

fn with_changes(enabled: &BTreeSet<String>, changes: &BTreeMap<String, bool>) -> BTreeSet<String> {
    let mut enabled = enabled.clone();
    for (flag, on) in changes {
        if *on {
            enabled.insert(flag.clone());
        } else {
            enabled.remove(flag);
        }
    }
    enabled
}

/// Adds one or two flags to the changes where REQUIRED_USE (PMS 7.3.4) does not allow them by themselves.
fn satisfy_required_use(
    base: &Base,
    wanted: &BTreeMap<String, bool>,
    changes: &mut BTreeMap<String, bool>,
    known: &Known,
) -> Result<(), Reason> {
    let Some(ebuild) = base.ebuild(known) else { return Ok(()) };
    let text = ebuild.extra.iter().find(|(key, _)| key.as_str() == "REQUIRED_USE").map(|(_, value)| value.as_str());
    let (Some(text), Ok(eapi)) = (text, Eapi::parse(&ebuild.eapi)) else { return Ok(()) };
    let Ok(required) = RequiredUse::parse(text) else { return Ok(()) };
    let enabled = base.enabled();
    let broken = |changes: &BTreeMap<String, bool>| {
        let enabled = with_changes(&enabled, changes);
        required.violations(eapi, &|flag| enabled.contains(flag))
    };
    // What is broken without any change was built all the same (a profile forces flags that the index does not show).
    let before = broken(&BTreeMap::new());
    let violations: Vec<String> = broken(changes).into_iter().filter(|part| !before.contains(part)).collect();
    if violations.is_empty() {
        return Ok(());
    }
    let now = with_changes(&enabled, changes);
    let mut free: Vec<&str> = required.flags();
    free.sort_unstable();
    free.dedup();
    free.retain(|flag| !wanted.contains_key(*flag));
    let singles = free.iter().map(|a| vec![*a]);
    let pairs = free.iter().enumerate().flat_map(|(i, a)| free.iter().skip(i + 1).map(move |b| vec![*a, *b]));
    for flipped in singles.chain(pairs) {
        let mut more = changes.clone();
        more.extend(flipped.iter().map(|flag| ((*flag).to_owned(), !now.contains(*flag))));
        if broken(&more).iter().all(|part| before.contains(part)) {
            *changes = more;
            return Ok(());
        }
    }
    Err(format!("its REQUIRED_USE forbids it: {}", violations.join(" ")))
}

/// What a build adds, from the ebuild's own dependencies, or from a build elsewhere with these very flags.
fn adds(base: &Base, changes: &BTreeMap<String, bool>, known: &Known) -> Adds {
    let (package, before) = (&base.package, base.enabled());
    let after = with_changes(&before, changes);
    let cp = package.cpv.cp();
    let like_it = |e: &&Entry| {
        let enabled: BTreeSet<&str> = e.use_flags.iter().collect();
        e.cpv == package.cpv && changes.iter().all(|(flag, on)| knows(e, flag) && enabled.contains(flag.as_str()) == *on)
    };
    let twin = known.elsewhere(&cp).iter().find(like_it);
    // What a flag draws in hardly changes from version to version, so another's ebuild tells more than nothing.
    let newest_with_flags =
        || known.ebuilds(&cp).iter().find(|e| !e.keywords.is_empty() && changes.keys().all(|flag| knows(e, flag))).cloned();
    let ebuild = base.ebuild(known).or_else(|| if twin.is_none() { newest_with_flags() } else { None });
    let (size, guessed) = match (twin, base.built) {
        (Some(twin), _) => (twin.size, false),
        (None, true) => (package.size, true),
        (None, false) => (known.typical_size(), true),
    };
    let (from, known_from) = match (&ebuild, twin) {
        (Some(ebuild), _) => (ebuild, Some(format!("the ebuild {}", ebuild.cpv))),
        (None, Some(twin)) => (twin, Some(format!("another binhost's build of {}", twin.cpv))),
        (None, None) => return Adds { size, guessed, ..Adds::default() },
    };
    let reached = known.reach(from, &after);
    // A new package adds all that it draws in; another build only what it would not without the changes.
    let (old, old_licenses) = match (base.built, &ebuild) {
        (true, Some(ebuild)) => (known.reach(ebuild, &before), licenses(ebuild, &before)),
        (true, None) => (known.reach(package, &before), licenses(package, &before)),
        (false, _) => (Default::default(), BTreeSet::new()),
    };
    let there: Vec<(String, u64)> = reached.there.into_iter().filter(|(path, _)| !old.there.contains_key(path)).collect();
    Adds {
        download: there.iter().map(|(_, size)| size).sum(),
        packages: there.into_iter().map(|(path, _)| path).collect(),
        builds: reached.missing.into_iter().filter(|atom| !old.missing.contains(atom)).collect(),
        licenses: licenses(from, &after).into_iter().filter(|name| !old_licenses.contains(name)).collect(),
        size,
        guessed,
        other_version: known_from.is_some() && from.cpv != package.cpv,
        known_from,
    }
}
