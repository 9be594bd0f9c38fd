//! Everything there is to choose from, in a compact form that is made once and shared by all requests: the packages of the binhosts
//! and of the installed base, ranked, with their masks; dependency strings and atoms are read on first use and kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use gentoo::atom::{Operator, SlotOperator};
use gentoo::index::Entry;
use gentoo::useflags::{ImplicitIuse, PackageUse};
use gentoo::{Atom, Dep, Eapi};

use crate::Source;
use crate::depstring::{Conjunction, Item, Need, normalize};
use crate::mask::{Mask, Masks};

/// Index of a package in [`Universe::packages`].
pub(crate) type PkgId = u32;
/// Index of a `category/package` in [`Universe::names`].
pub(crate) type CpId = u32;
/// Number of a `category/package:slot`.
pub(crate) type SlotId = u32;

/// A map keyed by the small numbers above. They are our own, so that no one can choose them to collide.
pub(crate) type IdMap<V> = HashMap<u32, V, std::hash::BuildHasherDefault<IdHasher>>;

/// Spreads small numbers over a hash table.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u32(u32::from(*b)));
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Binhost { binhost: u32, entry: u32 },
    Installed { entry: u32 },
}

/// One build of a package.
pub(crate) struct Pkg {
    pub origin: Origin,
    pub cp: CpId,
    pub slot: SlotId,
    /// Rank of the version among the packages of this name; equal for equal versions (of one binhost, where earlier ones win).
    pub version_rank: u32,
    /// Rank among the packages of this name, BUILD_TIME included. Higher is better.
    pub rank: u32,
    pub installed: bool,
    /// Why it may not be chosen.
    pub mask: Option<Mask>,
    deps: OnceLock<Deps>,
    exact: OnceLock<AtomRef>,
}

/// The dependencies that count on the target, with conditionals resolved.
#[derive(Default)]
pub(crate) struct Deps {
    pub rdepend: Part,
    pub idepend: Part,
    pub pdepend: Part,
    /// RDEPEND with `:0/3=` as it stands, where these are otherwise ignored: Portage does not ignore them when it expands virtuals.
    pub bound_rdepend: Option<Conjunction>,
    /// Set when a string cannot be read; such a package cannot be chosen.
    pub broken: Option<String>,
}

/// One dependency string.
#[derive(Default)]
pub(crate) struct Part {
    /// All of it, in the order written.
    pub items: Conjunction,
    /// Atoms that leave nothing to choose.
    pub plain: Vec<Need>,
    /// Alternatives, and virtuals.
    pub choices: Conjunction,
}

impl Part {
    fn new(items: Conjunction) -> Part {
        let mut part = Part::default();
        for item in &items {
            match item {
                Item::Atom(need) if !need.atom.is_virtual => part.plain.push(need.clone()),
                _ => part.choices.push(item.clone()),
            }
        }
        Part { items, ..part }
    }
}

impl Deps {
    /// Everything that is needed, of whatever kind.
    pub fn items(&self) -> impl Iterator<Item = &Item> {
        self.rdepend.items.iter().chain(&self.idepend.items).chain(&self.pdepend.items)
    }
}

/// A `category/package`.
pub(crate) struct Name {
    pub text: String,
    /// The packages of binhosts, best first.
    pub available: Vec<PkgId>,
    /// The installed ones, best first.
    pub installed: Vec<PkgId>,
}

/// An atom in its evaluated form, shared by all that carry it.
pub(crate) struct AtomData {
    pub id: u32,
    pub atom: Atom,
    pub text: String,
    /// None when no package has the name.
    pub cp: Option<CpId>,
    pub is_virtual: bool,
    /// `:=`, bound or not.
    pub slot_operator: bool,
    /// `:slot=`: bound to the slot found at build time.
    pub slot_operator_built: bool,
    /// A package.provided of the profile satisfies it.
    pub provided: bool,
    matches: OnceLock<Matches>,
    without_use: OnceLock<AtomRef>,
    without_sign: OnceLock<AtomRef>,
    by_subslot: OnceLock<Vec<(PkgId, AtomRef)>>,
}

/// The packages an atom matches, best first.
#[derive(Default)]
pub(crate) struct Matches {
    pub available: Vec<PkgId>,
    pub installed: Vec<PkgId>,
}

pub(crate) type AtomRef = Arc<AtomData>;

/// The packages to choose from. Make one per channel and keep it: requests only read it.
pub struct Universe {
    pub(crate) source: Source,
    pub(crate) packages: Vec<Pkg>,
    pub(crate) names: Vec<Name>,
    by_name: HashMap<String, CpId>,
    slots: Vec<(CpId, String)>,
    slot_atoms: Vec<OnceLock<AtomRef>>,
    /// Flags packages have without naming them in IUSE (PMS 11.1.1).
    implicit: ImplicitIuse,
    atoms: Mutex<HashMap<String, AtomRef>>,
}

impl Universe {
    /// Reads what the binhosts offer and the base has installed. Dependency strings are read later, when first needed.
    pub fn new(source: Source) -> Universe {
        let mut builder = Builder::default();
        for (binhost, b) in source.binhosts.iter().enumerate() {
            for (entry, e) in b.index.entries.iter().enumerate() {
                builder.add(Origin::Binhost { binhost: binhost as u32, entry: entry as u32 }, e);
            }
        }
        for (entry, e) in source.installed.iter().flat_map(|i| i.entries.iter()).enumerate() {
            builder.add(Origin::Installed { entry: entry as u32 }, e);
        }
        let mut universe = Universe {
            implicit: implicit_flags(&source),
            packages: builder.packages,
            names: builder.names,
            by_name: builder.by_name,
            slot_atoms: builder.slots.iter().map(|_| OnceLock::new()).collect(),
            slots: builder.slots,
            atoms: Mutex::default(),
            source,
        };
        universe.rank();
        universe.mask();
        universe
    }

    /// Number of packages the binhosts offer.
    pub fn len(&self) -> usize {
        self.names.iter().map(|n| n.available.len()).sum()
    }

    /// Whether the binhosts offer nothing at all.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(|n| n.available.is_empty())
    }

    /// Names of packages that contain `text`, best match first, at most `limit`: the whole name, then its start, then anywhere.
    pub fn search(&self, text: &str, limit: usize) -> Vec<SearchHit<'_>> {
        let needle = text.trim().to_ascii_lowercase();
        if needle.is_empty() || needle.len() > 128 {
            return Vec::new();
        }
        let mut hits: Vec<(u8, &str, PkgId)> = Vec::new();
        for name in &self.names {
            let Some(best) = name.available.iter().copied().find(|p| self.pkg(*p).mask.is_none()) else { continue };
            let package = name.text.split_once('/').map_or(name.text.as_str(), |(_, p)| p);
            let weight = match (package == needle || name.text == needle, contains_ignoring_case(&name.text, &needle)) {
                (true, _) => 0,
                (_, Some(at)) if name.text.len() - package.len() == at || at == 0 => 1,
                (_, Some(_)) => 2,
                _ if contains_ignoring_case(&self.entry(best).desc, &needle).is_some() => 3,
                _ => continue,
            };
            hits.push((weight, &name.text, best));
        }
        hits.sort_unstable();
        hits.truncate(limit);
        hits.into_iter().map(|(_, name, best)| SearchHit { name, best: self.entry(best) }).collect()
    }

    pub(crate) fn pkg(&self, id: PkgId) -> &Pkg {
        &self.packages[id as usize]
    }

    pub(crate) fn entry(&self, id: PkgId) -> &Entry {
        match self.pkg(id).origin {
            Origin::Binhost { binhost, entry } => &self.source.binhosts[binhost as usize].index.entries[entry as usize],
            Origin::Installed { entry } => match &self.source.installed {
                Some(installed) => &installed.entries[entry as usize],
                None => unreachable!("an installed package comes from an installed base"),
            },
        }
    }

    pub(crate) fn name(&self, text: &str) -> Option<CpId> {
        self.by_name.get(text).copied()
    }

    pub(crate) fn slot_name(&self, slot: SlotId) -> &str {
        &self.slots[slot as usize].1
    }

    /// The atom `category/package:slot` for the slot of a package.
    pub(crate) fn slot_atom(&self, id: PkgId) -> AtomRef {
        let slot = self.pkg(id).slot as usize;
        let make = || {
            let cpv = &self.entry(id).cpv;
            self.intern(Atom { slot: Some(self.slots[slot].1.clone()), ..Atom::any(&cpv.category, &cpv.package) })
        };
        self.slot_atoms[slot].get_or_init(make).clone()
    }

    /// Whether the name is that of a virtual.
    pub(crate) fn is_virtual(&self, id: PkgId) -> bool {
        self.names[self.pkg(id).cp as usize].text.starts_with("virtual/")
    }

    /// The packages of one slot, best first, installed ones last.
    pub(crate) fn in_slot(&self, id: PkgId) -> impl Iterator<Item = PkgId> {
        let (slot, name) = (self.pkg(id).slot, &self.names[self.pkg(id).cp as usize]);
        name.available.iter().chain(&name.installed).copied().filter(move |p| self.pkg(*p).slot == slot)
    }

    /// The dependencies of a package, read on first use.
    pub(crate) fn deps(&self, id: PkgId) -> &Deps {
        self.pkg(id).deps.get_or_init(|| self.read_deps(id))
    }

    fn read_deps(&self, id: PkgId) -> Deps {
        let entry = self.entry(id);
        let mut deps = Deps::default();
        let eapi = Eapi::parse(&entry.eapi);
        for (key, text) in [("RDEPEND", &entry.rdepend), ("PDEPEND", &entry.pdepend), ("IDEPEND", &entry.idepend)] {
            if text.is_empty() || (key == "IDEPEND" && !eapi.as_ref().is_ok_and(|e| e.has_idepend())) {
                continue;
            }
            match Dep::parse(text) {
                Ok(tree) => {
                    let enabled = |flag: &str| self.is_enabled(id, flag);
                    let read = normalize(&tree, &enabled, &mut |atom| self.intern_dependency(atom));
                    match key {
                        "RDEPEND" if self.source.ignore_built_slot_operators => {
                            deps.bound_rdepend = Some(normalize(&tree, &enabled, &mut |atom| self.intern(atom)));
                            deps.rdepend = Part::new(read);
                        }
                        "RDEPEND" => deps.rdepend = Part::new(read),
                        "PDEPEND" => deps.pdepend = Part::new(read),
                        _ => deps.idepend = Part::new(read),
                    }
                }
                Err(e) => deps.broken = Some(format!("{key}: {e}")),
            }
        }
        deps
    }

    fn intern_dependency(&self, mut atom: Atom) -> AtomRef {
        if self.source.ignore_built_slot_operators && atom.slot_operator == Some(SlotOperator::Equal) && atom.slot.is_some() {
            (atom.slot, atom.subslot) = (None, None);
        }
        self.intern(atom)
    }

    /// The shared form of an atom.
    pub(crate) fn intern(&self, atom: Atom) -> AtomRef {
        let text = atom.to_string();
        let mut table = self.atoms.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = table.get(&text) {
            return known.clone();
        }
        let equal = atom.slot_operator == Some(SlotOperator::Equal);
        let data = Arc::new(AtomData {
            id: table.len() as u32,
            cp: self.name(&atom.cp()),
            is_virtual: atom.category == "virtual",
            slot_operator: equal,
            slot_operator_built: equal && atom.slot.is_some(),
            provided: atom.blocker.is_none() && self.source.profile.provides(&atom),
            text: text.clone(),
            atom,
            matches: OnceLock::new(),
            without_use: OnceLock::new(),
            without_sign: OnceLock::new(),
            by_subslot: OnceLock::new(),
        });
        table.insert(text, data.clone());
        data
    }

    /// The atom without its USE dependencies.
    pub(crate) fn without_use(&self, atom: &AtomRef) -> AtomRef {
        if atom.atom.use_deps.is_empty() {
            return atom.clone();
        }
        atom.without_use.get_or_init(|| self.intern(atom.atom.without_use())).clone()
    }

    /// A blocker as the atom it blocks.
    pub(crate) fn blocked_atom(&self, atom: &AtomRef) -> AtomRef {
        atom.without_sign.get_or_init(|| self.intern(Atom { blocker: None, ..atom.atom.clone() })).clone()
    }

    /// For each slot and sub-slot that the atom matches, the best package in it and the atom narrowed to it.
    pub(crate) fn by_subslot<'a>(&self, atom: &'a AtomRef) -> &'a [(PkgId, AtomRef)] {
        atom.by_subslot.get_or_init(|| {
            let matches = self.matches(atom);
            let mut found: Vec<(PkgId, AtomRef)> = Vec::new();
            for pkg in matches.available.iter().chain(&matches.installed) {
                let entry = self.entry(*pkg);
                let same = |known: &Entry| known.slot == entry.slot && known.subslot == entry.subslot;
                if found.iter().any(|(known, _)| same(self.entry(*known))) {
                    continue;
                }
                let (slot, subslot) = (Some(entry.slot.clone()), Some(entry.subslot.clone()));
                found.push((*pkg, self.intern(Atom { slot, subslot, ..atom.atom.clone() })));
            }
            found
        })
    }

    /// An atom that means exactly the version of a package, with the USE dependencies of another atom.
    pub(crate) fn exact(&self, id: PkgId, use_deps: &AtomRef) -> AtomRef {
        let cpv = &self.entry(id).cpv;
        let make = |deps| {
            let version = Some((Operator::Equal, cpv.version.clone()));
            self.intern(Atom { version, use_deps: deps, ..Atom::any(&cpv.category, &cpv.package) })
        };
        if use_deps.atom.use_deps.is_empty() {
            return self.pkg(id).exact.get_or_init(|| make(Vec::new())).clone();
        }
        make(use_deps.atom.use_deps.clone())
    }

    /// What expanding a virtual puts in its place.
    pub(crate) fn expansion(&self, id: PkgId) -> &Conjunction {
        let deps = self.deps(id);
        deps.bound_rdepend.as_ref().unwrap_or(&deps.rdepend.items)
    }

    /// The packages an atom matches, USE dependencies included; a blocker's sign plays no part.
    pub(crate) fn matches<'a>(&self, atom: &'a AtomRef) -> &'a Matches {
        atom.matches.get_or_init(|| {
            let Some(cp) = atom.cp else { return Matches::default() };
            let name = &self.names[cp as usize];
            let pick = |list: &[PkgId]| list.iter().copied().filter(|p| self.evaluate_match(&atom.atom, *p)).collect();
            Matches { available: pick(&name.available), installed: pick(&name.installed) }
        })
    }

    /// Whether the atom matches the package, USE dependencies included.
    pub(crate) fn atom_matches(&self, atom: &AtomRef, id: PkgId) -> bool {
        if atom.cp != Some(self.pkg(id).cp) {
            return false;
        }
        let matches = self.matches(atom);
        if self.pkg(id).installed { matches.installed.contains(&id) } else { matches.available.contains(&id) }
    }

    fn evaluate_match(&self, atom: &Atom, id: PkgId) -> bool {
        let entry = self.entry(id);
        atom.matches_version(&entry.cpv.version)
            && atom.matches_slot(&entry.slot, &entry.subslot)
            && (atom.repo.is_none() || atom.repo.as_deref() == Some(entry.repo.as_str()))
            && atom.use_deps.iter().all(|dep| dep.satisfied_by(&entry.built_use(&self.implicit), &|_| false))
    }

    /// Whether the package was built with the flag; flags it does not have do not count.
    pub(crate) fn is_enabled(&self, id: PkgId, flag: &str) -> bool {
        self.entry(id).built_use(&self.implicit).is_enabled(flag)
    }

    /// Whether a USE dependency may ask for the flag without a default.
    pub(crate) fn has_flag(&self, id: PkgId, flag: &str) -> bool {
        self.entry(id).built_use(&self.implicit).has_flag(flag)
    }

    /// Ranks the packages of each name and sorts the lists, best first. An earlier binhost wins before the version does.
    fn rank(&mut self) {
        let order_binhosts = self.source.prefer_binhost_order;
        let mut ranks = vec![(0u32, 0u32); self.packages.len()];
        for name in &self.names {
            let mut all: Vec<PkgId> = name.available.iter().chain(&name.installed).copied().collect();
            let distance = |p: PkgId| match self.pkg(p).origin {
                Origin::Binhost { binhost, .. } if order_binhosts => binhost,
                _ => 0,
            };
            let key = |p: PkgId| (std::cmp::Reverse(distance(p)), &self.entry(p).cpv.version);
            all.sort_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| self.entry(*a).build_time.cmp(&self.entry(*b).build_time)));
            let mut version_rank = 0;
            for (rank, id) in all.iter().enumerate() {
                if rank > 0 && key(all[rank - 1]) != key(*id) {
                    version_rank += 1;
                }
                ranks[*id as usize] = (version_rank, rank as u32);
            }
        }
        for (pkg, (version_rank, rank)) in self.packages.iter_mut().zip(ranks) {
            (pkg.version_rank, pkg.rank) = (version_rank, rank);
        }
        let packages = &self.packages;
        for name in &mut self.names {
            name.available.sort_by_key(|p| std::cmp::Reverse(packages[*p as usize].rank));
            name.installed.sort_by_key(|p| std::cmp::Reverse(packages[*p as usize].rank));
        }
    }

    fn mask(&mut self) {
        let masks = Masks::new(&self.source);
        let mut found: Vec<Option<Mask>> = Vec::with_capacity(self.packages.len());
        for pkg in &self.packages {
            let mask = match pkg.origin {
                Origin::Binhost { binhost, entry } => {
                    let b = &self.source.binhosts[binhost as usize];
                    masks.of(&b.index.entries[entry as usize], &b.access.name)
                }
                Origin::Installed { .. } => None,
            };
            found.push(mask);
        }
        for (pkg, mask) in self.packages.iter_mut().zip(found) {
            pkg.mask = mask;
        }
    }
}

/// A search result.
#[derive(Clone, Debug)]
pub struct SearchHit<'a> {
    /// `category/package`.
    pub name: &'a str,
    /// The package one gets when asking for the name alone.
    pub best: &'a Entry,
}

fn contains_ignoring_case(hay: &str, needle: &str) -> Option<usize> {
    let (hay, needle) = (hay.as_bytes(), needle.as_bytes());
    hay.windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle))
}

/// The implicit flags of the profile; without a tree, those of the first index that names any.
fn implicit_flags(source: &Source) -> ImplicitIuse {
    if !source.profile.nodes.is_empty() {
        return source.profile.implicit_iuse.clone();
    }
    let header = source.binhosts.iter().map(|b| &b.index.header).find(|h| h.contains_key("IUSE_IMPLICIT"));
    header.map_or_else(|| source.profile.implicit_iuse.clone(), ImplicitIuse::from_variables)
}

#[derive(Default)]
struct Builder {
    packages: Vec<Pkg>,
    names: Vec<Name>,
    by_name: HashMap<String, CpId>,
    slots: Vec<(CpId, String)>,
    by_slot: HashMap<(CpId, String), SlotId>,
}

impl Builder {
    fn add(&mut self, origin: Origin, entry: &Entry) {
        let id = self.packages.len() as PkgId;
        let text = entry.cpv.cp();
        let cp = match self.by_name.get(&text) {
            Some(cp) => *cp,
            None => {
                let cp = self.names.len() as CpId;
                self.names.push(Name { text: text.clone(), available: Vec::new(), installed: Vec::new() });
                self.by_name.insert(text, cp);
                cp
            }
        };
        let key = (cp, entry.slot.clone());
        let slot = match self.by_slot.get(&key) {
            Some(slot) => *slot,
            None => {
                let slot = self.slots.len() as SlotId;
                self.slots.push(key.clone());
                self.by_slot.insert(key, slot);
                slot
            }
        };
        let installed = matches!(origin, Origin::Installed { .. });
        let name = &mut self.names[cp as usize];
        if installed {
            name.installed.push(id)
        } else {
            name.available.push(id)
        }
        self.packages.push(Pkg {
            origin,
            cp,
            slot,
            version_rank: 0,
            rank: 0,
            installed,
            mask: None,
            deps: OnceLock::new(),
            exact: OnceLock::new(),
        });
    }
}
