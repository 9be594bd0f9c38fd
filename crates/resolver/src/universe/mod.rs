//! Everything there is to choose from, in a compact form that is made once and shared by all requests: the packages of the binhosts
//! and of the installed base, ranked, with their masks; dependency strings and atoms are read on first use and kept.

mod atoms;
mod build;
mod categories;
mod search;

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use gentoo::index::Entry;
use gentoo::useflags::{ImplicitIuse, PackageUse};
use gentoo::{Atom, Dep, Eapi, Text};

use crate::Source;
use crate::depstring::{Conjunction, Item, Need, normalize};
use crate::graph::Lessons;
use crate::mask::Mask;

use build::{Builder, implicit_flags};
pub use search::SearchHit;

/// Index of a package in [`Universe::packages`].
pub(crate) type PkgId = u32;
/// Index of a `category/package` in [`Universe::names`].
pub(crate) type CpId = u32;
/// Number of a `category/package:slot`.
pub(crate) type SlotId = u32;

/// USE dependencies of an atom, and bytes of a dependency, from which on a package's flags are looked up by hash. Below, walking them is
/// quicker than making the table.
const FEW_FLAGS: usize = 16;
const LONG_DEPENDENCY: usize = 16 << 10;

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
    deps: OnceLock<Box<Deps>>,
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
    slots: Vec<(CpId, Text)>,
    slot_atoms: Vec<OnceLock<AtomRef>>,
    /// What [`crate::dead_ends`] finds.
    pub(crate) dead_ends: OnceLock<Option<Lessons>>,
    /// Flags packages have without naming them in IUSE (PMS 11.1.1).
    implicit: ImplicitIuse,
    atoms: Mutex<HashMap<String, AtomRef>>,
}

impl Universe {
    /// Reads what the binhosts offer and the base has installed. Dependency strings are read later, when first needed.
    pub fn new(source: Source) -> Universe {
        let mut builder = Builder::default();
        builder.packages.reserve(source.binhosts.iter().map(|b| b.index.entries.len()).sum());
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
            dead_ends: OnceLock::new(),
            atoms: Mutex::default(),
            source,
        };
        universe.mask();
        universe.drop_copies();
        universe.rank();
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

    /// The builds of a `category/package` that may be chosen, best first. None for a name that no binhost has.
    pub fn builds(&self, name: &str) -> Vec<&Entry> {
        let Some(name) = self.name(name).and_then(|cp| self.names.get(cp as usize)) else { return Vec::new() };
        name.available.iter().filter(|p| self.pkg(**p).mask.is_none()).map(|p| self.entry(*p)).collect()
    }

    /// All that the binhosts list, masked or not.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.source.binhosts.iter().flat_map(|binhost| &binhost.index.entries)
    }

    /// The flags that packages have without naming them in IUSE (PMS 11.1.1).
    pub fn implicit_iuse(&self) -> &ImplicitIuse {
        &self.implicit
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
        self.pkg(id).deps.get_or_init(|| Box::new(self.read_deps(id)))
    }

    fn read_deps(&self, id: PkgId) -> Deps {
        let entry = self.entry(id);
        let mut deps = Deps::default();
        let eapi = Eapi::parse(&entry.eapi);
        let flags = OnceCell::new();
        for (key, text) in [("RDEPEND", &entry.rdepend), ("PDEPEND", &entry.pdepend), ("IDEPEND", &entry.idepend)] {
            if text.is_empty() || (key == "IDEPEND" && !eapi.as_ref().is_ok_and(|e| e.has_idepend())) {
                continue;
            }
            match Dep::parse(text) {
                Ok(tree) => {
                    // A long text may have a condition for every few bytes.
                    let indexed = || flags.get_or_init(|| entry.built_use(&self.implicit).indexed());
                    let is_long = text.len() > LONG_DEPENDENCY;
                    let enabled = |flag: &str| if is_long { indexed().is_enabled(flag) } else { self.is_enabled(id, flag) };
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

    /// Whether the package was built with the flag; flags it does not have do not count.
    pub(crate) fn is_enabled(&self, id: PkgId, flag: &str) -> bool {
        self.entry(id).built_use(&self.implicit).is_enabled(flag)
    }

    /// Whether a USE dependency may ask for the flag without a default.
    pub(crate) fn has_flag(&self, id: PkgId, flag: &str) -> bool {
        self.entry(id).built_use(&self.implicit).has_flag(flag)
    }
}
