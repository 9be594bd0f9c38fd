//! What is known of packages: the builds there are, builds elsewhere, and ebuilds; and what a package draws in.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use gentoo::dep::Tree;
use gentoo::index::Entry;
use gentoo::license::License;
use gentoo::useflags::{ImplicitIuse, PackageUse};
use gentoo::{Atom, Dep};

/// Most packages that are followed from one package.
const MAX_REACH: usize = 5_000;

type ByName = BTreeMap<String, Vec<Entry>>;

/// Gives the ebuilds of a `category/package`; nothing for one that does not exist.
pub type Repository = Box<dyn Fn(&str) -> Vec<Entry>>;

/// Builds and ebuilds by name.
pub struct Known {
    here: ByName,
    elsewhere: ByName,
    repository: Option<Repository>,
    ebuilds: RefCell<BTreeMap<String, Rc<[Entry]>>>,
    implicit: ImplicitIuse,
    typical: u64,
    direct: RefCell<BTreeMap<String, Rc<Direct>>>,
}

/// What a package needs by itself.
#[derive(Debug, Default)]
struct Direct {
    there: Vec<Entry>,
    missing: Vec<Atom>,
}

impl Known {
    /// `here` are the builds of the binhost that is advised, `elsewhere` those of others, and `repository` gives the ebuilds of a name (see
    /// [`ebuild`]); the last two may be absent, and then less is known of what a flag adds.
    pub fn new<'a>(
        implicit: ImplicitIuse,
        here: impl IntoIterator<Item = &'a Entry>,
        elsewhere: impl IntoIterator<Item = &'a Entry>,
        repository: Option<Repository>,
    ) -> Known {
        let here = by_name(here);
        let mut sizes: Vec<u64> = here.values().flatten().map(|e| e.size).collect();
        sizes.sort_unstable();
        Known {
            here,
            elsewhere: by_name(elsewhere),
            repository,
            ebuilds: RefCell::default(),
            implicit,
            typical: sizes.get(sizes.len() / 2).copied().unwrap_or_default(),
            direct: RefCell::default(),
        }
    }

    /// The size of a build of which nothing is known, in bytes: the median of those there are.
    pub fn typical_size(&self) -> u64 {
        self.typical
    }

    /// Whether a repository is known, so that what it does not have does not exist.
    pub(crate) fn has_ebuilds(&self) -> bool {
        self.repository.is_some()
    }

    /// The builds of a name here, the newest first.
    pub(crate) fn here(&self, cp: &str) -> &[Entry] {
        self.here.get(cp).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn elsewhere(&self, cp: &str) -> &[Entry] {
        self.elsewhere.get(cp).map_or(&[], Vec::as_slice)
    }

    /// The ebuilds of a name, the newest first.
    pub(crate) fn ebuilds(&self, cp: &str) -> Rc<[Entry]> {
        let Some(repository) = &self.repository else { return Rc::from([]) };
        if let Some(found) = self.ebuilds.borrow().get(cp) {
            return Rc::clone(found);
        }
        let mut ebuilds = repository(cp);
        ebuilds.sort_by(|a, b| b.cpv.cmp(&a.cpv));
        let found: Rc<[Entry]> = Rc::from(ebuilds);
        self.ebuilds.borrow_mut().insert(cp.to_owned(), Rc::clone(&found));
        found
    }

    /// Whether a build has the flag, and if so, whether it is on.
    pub(crate) fn state(&self, build: &Entry, flag: &str) -> Option<bool> {
        let flags = build.built_use(&self.implicit);
        flags.has_flag(flag).then(|| flags.is_enabled(flag))
    }

    /// What a package with these flags draws in at run time, from what is here; what is not here is followed by its ebuild.
    pub(crate) fn reach(&self, package: &Entry, enabled: &BTreeSet<String>) -> Reach {
        let mut reach = Reach::default();
        let mut pending = vec![Rc::new(self.direct(package, enabled))];
        while let Some(direct) = pending.pop() {
            for build in &direct.there {
                if reach.there.insert(build.path.to_string(), build.size).is_none() {
                    pending.push(self.remembered(build.path.as_str(), || {
                        self.direct(build, &build.use_flags.iter().map(str::to_owned).collect())
                    }));
                }
            }
            for atom in &direct.missing {
                let text = atom.to_string();
                if !reach.missing.contains(&text)
                    && let Some(ebuild) = self.ebuilds(&atom.cp()).iter().find(|e| atom.matches_package(e.package()))
                {
                    pending.push(self.remembered(&text, || {
                        let mut enabled = defaults(ebuild);
                        enabled
                            .extend(atom.use_deps.iter().filter(|d| d.wanted(&|_| false) == Some(true)).map(|d| d.flag.clone()));
                        self.direct(ebuild, &enabled)
                    }));
                }
                reach.missing.insert(text);
            }
            if reach.there.len() + reach.missing.len() > MAX_REACH {
                break;
            }
        }
        reach
    }

    /// Reading dependency strings is what takes the time, so what one package needs by itself is worked out once.
    fn remembered(&self, name: &str, direct: impl FnOnce() -> Direct) -> Rc<Direct> {
        if let Some(found) = self.direct.borrow().get(name) {
            return Rc::clone(found);
        }
        let found = Rc::new(direct());
        self.direct.borrow_mut().insert(name.to_owned(), Rc::clone(&found));
        found
    }

    fn direct(&self, package: &Entry, enabled: &BTreeSet<String>) -> Direct {
        let mut direct = Direct::default();
        for text in [&package.rdepend, &package.pdepend, &package.idepend] {
            if let Ok(dep) = Dep::parse(text) {
                self.follow(&dep.evaluate(&|flag| enabled.contains(flag)), &mut direct);
            }
        }
        direct
    }

    fn follow(&self, dep: &Dep, direct: &mut Direct) {
        match dep {
            Tree::Atom(atom) if atom.blocker.is_some() => {}
            Tree::Atom(atom) => match self.pick(atom) {
                Some(build) => direct.there.push(build.clone()),
                None => direct.missing.push(Atom { slot_operator: None, subslot: None, ..atom.clone() }),
            },
            Tree::AnyOf(alternatives) | Tree::ExactlyOne(alternatives) => {
                let there = |tree: &&Dep| tree.atoms().iter().all(|a| a.blocker.is_some() || self.pick(a).is_some());
                if let Some(chosen) = alternatives.iter().find(there).or(alternatives.first()) {
                    self.follow(chosen, direct);
                }
            }
            Tree::AtMostOne(_) => {}
            Tree::All(deps) | Tree::UseConditional { deps, .. } => deps.iter().for_each(|d| self.follow(d, direct)),
        }
    }

    /// The newest build here that satisfies an atom.
    fn pick(&self, atom: &Atom) -> Option<&Entry> {
        let fits = |build: &&Entry| {
            let flags = build.built_use(&self.implicit);
            atom.matches_package(build.package()) && atom.use_deps.iter().all(|d| d.satisfied_by(&flags, &|_| false))
        };
        self.here(&atom.cp()).iter().find(fits)
    }
}

/// What a package draws in.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    /// The builds that are here, by their path, with their size in bytes.
    pub there: BTreeMap<String, u64>,
    /// What no build here satisfies.
    pub missing: BTreeSet<String>,
}

fn by_name<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> ByName {
    let mut names = ByName::new();
    for entry in entries {
        names.entry(entry.cpv.cp()).or_default().push(entry.clone());
    }
    for builds in names.values_mut() {
        builds.sort_by(|a, b| (&b.cpv, b.build_id).cmp(&(&a.cpv, a.build_id)));
    }
    names
}

/// The flags that an ebuild turns on by itself: `+flag` in IUSE (PMS 7.3.3).
pub(crate) fn defaults(ebuild: &Entry) -> BTreeSet<String> {
    ebuild.iuse.iter().filter_map(|flag| flag.strip_prefix('+')).map(str::to_owned).collect()
}

/// Whether a flag is in IUSE.
pub(crate) fn knows(package: &Entry, flag: &str) -> bool {
    package.iuse_names().any(|f| f == flag)
}

/// The licences that apply to a package with these flags.
pub(crate) fn licenses(package: &Entry, enabled: &BTreeSet<String>) -> BTreeSet<String> {
    let Ok(license) = License::parse(&package.license) else { return BTreeSet::new() };
    license.applying(&|flag| enabled.contains(flag)).atoms().into_iter().cloned().collect()
}

/// An ebuild from its entry in a metadata cache (`metadata/md5-cache`, one `KEY=value` a line), under its name with version.
///
/// # Errors
/// When the name is none, or a field holds nonsense.
pub fn ebuild(cpv: &str, cache: &str) -> Result<Entry, String> {
    let mut entry = Entry::new(gentoo::Cpv::parse(cpv).map_err(|e| e.to_string())?);
    for (key, value) in cache.lines().filter_map(|line| line.split_once('=')).filter(|(key, _)| !key.starts_with('_')) {
        entry.set(key, value)?;
    }
    Ok(entry)
}
