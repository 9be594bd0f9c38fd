//! From recipes and apt's answers to the builds to make: names, versions, slots, and dependencies that are bound as Portage binds them.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::atom::SlotOperator;
use gentoo::dep::Tree;
use gentoo::{Atom, Cpv, Dep};

use crate::SampleError;
use crate::arch::Arch;
use crate::debs::{Deb, Debs};
use crate::facts::Facts;
use crate::recipe::{Build, Recipe};
use crate::version;

/// The C library's package: programs depend on it by version, as Portage makes them do.
const LIBC: &str = "sys-libs/glibc";

/// One binary package to make.
#[derive(Clone, Debug)]
pub struct Target {
    pub arch: Arch,
    pub recipe: Recipe,
    pub build: Build,
    pub debs: Vec<Deb>,
    pub cpv: Cpv,
    /// Slot and sub-slot; equal when there is no sub-slot.
    pub slot: (String, String),
    /// 1 for the first build of a version.
    pub build_id: u32,
}

impl Target {
    /// Where it lies below the binhost.
    pub fn path(&self) -> String {
        format!("{}/{}/{}-{}.gpkg.tar", self.cpv.category, self.cpv.package, self.cpv.pf(), self.build_id)
    }

    /// Flags that are on, the implicit ones included.
    pub fn enabled(&self, flag: &str) -> bool {
        self.build.enabled.iter().any(|f| f == flag) || self.arch.implicit_use().contains(&flag)
    }

    /// What the description says of its origin, like `sample, from Debian's bash 5.2.15-2`.
    pub fn origin(&self) -> String {
        let names: Vec<String> = self.debs.iter().map(|d| format!("{} {}", d.name, d.version)).collect();
        if names.is_empty() { "sample".to_owned() } else { format!("sample, from Debian's {}", names.join(", ")) }
    }
}

/// The builds of all recipes for which this Debian has the packages.
///
/// # Errors
/// [`SampleError::Recipe`] when a version or slot comes out wrong.
pub fn targets(recipes: &[Recipe], arch: Arch, debs: &Debs) -> Result<Vec<Target>, SampleError> {
    let mut targets: Vec<Target> = Vec::new();
    let mut virtuals = Vec::new();
    for recipe in recipes {
        match &recipe.version_of {
            Some(other) => virtuals.push((recipe, other)),
            None => targets.extend(targets_of(recipe, arch, debs, None)?),
        }
    }
    for (recipe, other) in virtuals {
        let version = targets.iter().find(|t| t.recipe.name == *other).map(|t| t.cpv.version.as_str().to_owned());
        let version = version.ok_or_else(|| SampleError::recipe(&recipe.name, format!("there is no package {other}")))?;
        targets.extend(targets_of(recipe, arch, debs, Some(&version))?);
    }
    targets.sort_by(|a, b| (&a.recipe.name, a.build_id).cmp(&(&b.recipe.name, b.build_id)));
    Ok(targets)
}

fn targets_of(recipe: &Recipe, arch: Arch, debs: &Debs, version: Option<&str>) -> Result<Vec<Target>, SampleError> {
    let mut targets = Vec::new();
    for build in recipe.builds.iter().filter(|b| b.is_for(arch)) {
        let specs: Vec<&String> = recipe.debs_of(build).collect();
        let found: Vec<Deb> = specs.iter().filter_map(|spec| debs.find(spec).cloned()).collect();
        if !specs.is_empty() && found.is_empty() {
            continue;
        }
        let version = match version {
            Some(version) => version.to_owned(),
            None => version_of(recipe, found.first()),
        };
        let cpv = format!("{}-{version}", recipe.name);
        let cpv = Cpv::parse(&cpv).map_err(|e| SampleError::recipe(&recipe.name, e.to_string()))?;
        let recipe = filled(recipe, &version);
        let slot = match recipe.slot.split_once('/') {
            Some((slot, sub)) => (slot.to_owned(), sub.to_owned()),
            None => (recipe.slot.clone(), recipe.slot.clone()),
        };
        let build_id = targets.len() as u32 + 1;
        targets.push(Target { arch, recipe, build: build.clone(), debs: found, cpv, slot, build_id });
    }
    Ok(targets)
}

fn version_of(recipe: &Recipe, first: Option<&Deb>) -> String {
    let debian = first.map(|deb| version::gentoo_version(&deb.version)).unwrap_or_default();
    let source = first.map(|deb| version::gentoo_version(deb.source_version())).unwrap_or_default();
    match &recipe.version {
        Some(template) => version::fill(&template.replace("{source}", &source), &debian),
        None => debian,
    }
}

/// The recipe with its templates filled and its account, if any, put in.
fn filled(recipe: &Recipe, version: &str) -> Recipe {
    let mut recipe = recipe.clone();
    recipe.slot = version::fill(&recipe.slot, version);
    for field in [&mut recipe.depend, &mut recipe.rdepend, &mut recipe.pdepend, &mut recipe.idepend] {
        *field = field.replace("{v}", version);
    }
    if let Some(account) = recipe.account.clone() {
        account.apply(&mut recipe);
    }
    recipe
}

/// The dependencies of one build, USE-evaluated and with their slots bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    pub depend: String,
    pub rdepend: String,
    pub pdepend: String,
    pub idepend: String,
}

/// Which builds provide a soname, by multilib category.
pub struct Providers<'a> {
    targets: &'a [Target],
    by_soname: BTreeMap<(String, String), Vec<usize>>,
}

impl<'a> Providers<'a> {
    /// `facts` are those of the targets, in the same order.
    pub fn new(targets: &'a [Target], facts: &[Facts]) -> Providers<'a> {
        let mut by_soname: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (index, facts) in facts.iter().enumerate() {
            for (category, names) in &facts.provides {
                for name in names {
                    by_soname.entry((category.clone(), name.clone())).or_default().push(index);
                }
            }
        }
        Providers { targets, by_soname }
    }

    /// The dependencies of all targets: their recipes', and one for each library they need. `facts` are in the order of the targets.
    ///
    /// # Errors
    /// [`SampleError::Recipe`] for a dependency string that cannot be read or a library whose provider no USE dependency can name.
    pub fn all_dependencies(&self, facts: &[Facts]) -> Result<Vec<Dependencies>, SampleError> {
        let each = self.targets.iter().zip(facts).map(|(target, facts)| self.dependencies(target, facts));
        let mut all = each.collect::<Result<Vec<_>, _>>()?;
        self.loosen_circles(&mut all)?;
        Ok(all)
    }

    /// Takes the `=` off dependencies that lie on a circle: bound slots fix an order, and Portage refuses circles of them.
    fn loosen_circles(&self, all: &mut [Dependencies]) -> Result<(), SampleError> {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let mut trees = Vec::new();
        for (target, dependencies) in self.targets.iter().zip(all.iter()) {
            let tree = Dep::parse(&dependencies.rdepend).map_err(|e| SampleError::recipe(&target.recipe.name, e.to_string()))?;
            let names = tree.atoms().into_iter().filter(|a| a.blocker.is_none()).map(Atom::cp);
            edges.entry(target.recipe.name.clone()).or_default().extend(names);
            trees.push(tree);
        }
        for ((target, dependencies), tree) in self.targets.iter().zip(all).zip(trees) {
            let loosened = tree.map(&mut |atom| {
                let mut atom = atom.clone();
                if atom.slot_operator.is_some() && reaches(&edges, &atom.cp(), &target.recipe.name) {
                    atom.slot_operator = None;
                }
                atom
            });
            dependencies.rdepend = loosened.to_string();
        }
        Ok(())
    }

    fn dependencies(&self, target: &Target, facts: &Facts) -> Result<Dependencies, SampleError> {
        let recipe = &target.recipe;
        let mut rdepend = self.evaluate(target, &recipe.rdepend)?;
        let named: BTreeSet<String> = rdepend.atoms().iter().filter(|a| a.blocker.is_none()).map(|a| a.to_string()).collect();
        let libraries = self.libraries(target, facts)?;
        if let Tree::All(parts) = &mut rdepend {
            parts.extend(libraries.into_iter().filter(|atom| !named.contains(&atom.to_string())).map(Tree::Atom));
        }
        Ok(Dependencies {
            depend: self.evaluate(target, &recipe.depend)?.to_string(),
            rdepend: rdepend.to_string(),
            pdepend: self.evaluate(target, &recipe.pdepend)?.to_string(),
            idepend: self.evaluate(target, &recipe.idepend)?.to_string(),
        })
    }

    /// Sonames that no package provides and no recipe excuses, with who needs them.
    pub fn unresolved(&self, facts: &[Facts]) -> Vec<String> {
        let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (target, facts) in self.targets.iter().zip(facts) {
            for (category, names) in &facts.requires {
                for name in names {
                    let excused = target.recipe.unresolved.contains_key(name);
                    if !excused && !self.by_soname.contains_key(&(category.clone(), name.clone())) {
                        missing.entry(name).or_default().insert(&target.recipe.name);
                    }
                }
            }
        }
        missing
            .iter()
            .map(|(name, by)| format!("{name} (needed by {})", by.iter().copied().collect::<Vec<_>>().join(", ")))
            .collect()
    }

    fn evaluate(&self, target: &Target, text: &str) -> Result<Dep, SampleError> {
        let dep = Dep::parse(text).map_err(|e| SampleError::recipe(&target.recipe.name, e.to_string()))?;
        Ok(dep.evaluate(&|flag| target.enabled(flag)).map(&mut |atom| self.bind(atom)))
    }

    /// `:=` becomes `:SLOT/SUBSLOT=` of the newest package it matches, as Portage binds it when it builds.
    fn bind(&self, atom: &Atom) -> Atom {
        let mut bound = atom.clone();
        let is_open = atom.slot_operator == Some(SlotOperator::Equal) && atom.subslot.is_none() && atom.blocker.is_none();
        let matches = |t: &&Target| atom.matches(&t.cpv, &t.slot.0, &t.slot.1, "");
        if let Some(target) =
            self.targets.iter().filter(matches).max_by(|a, b| a.cpv.version.cmp(&b.cpv.version)).filter(|_| is_open)
        {
            bound.slot = Some(target.slot.0.clone());
            bound.subslot = Some(target.slot.1.clone());
        }
        bound
    }

    fn libraries(&self, target: &Target, facts: &Facts) -> Result<Vec<Atom>, SampleError> {
        let mut atoms = BTreeMap::new();
        for (category, names) in &facts.requires {
            for name in names {
                let Some(providers) = self.by_soname.get(&(category.clone(), name.clone())) else { continue };
                let Some(first) = providers.first().and_then(|i| self.targets.get(*i)) else { continue };
                if first.recipe.name == target.recipe.name {
                    continue;
                }
                let atom = match self.targets.iter().find(|t| t.recipe.libraries.contains(name)) {
                    Some(through) => bound_atom(through),
                    None => self.library(target, first, providers)?,
                };
                atoms.insert(
                    atom.clone(),
                    Atom::parse(&atom).map_err(|e| SampleError::recipe(&target.recipe.name, e.to_string()))?,
                );
            }
        }
        Ok(atoms.into_values().collect())
    }

    /// The atom for a library: bound to slot and sub-slot, with the flag that sets the builds that have it apart from those that lack it.
    fn library(&self, target: &Target, provider: &Target, having: &[usize]) -> Result<String, SampleError> {
        let name = &provider.recipe.name;
        if name == LIBC {
            return Ok(format!(">={}", provider.cpv));
        }
        let (slot, sub) = &provider.slot;
        let having: Vec<&Target> =
            having.iter().filter_map(|i| self.targets.get(*i)).filter(|t| t.recipe.name == *name).collect();
        let lacking: Vec<&Target> =
            self.targets.iter().filter(|t| t.recipe.name == *name && !having.iter().any(|h| h.build_id == t.build_id)).collect();
        if lacking.is_empty() {
            return Ok(bound_atom(provider));
        }
        let separates =
            |flag: &&str, on: bool| having.iter().all(|t| t.enabled(flag) == on) && lacking.iter().all(|t| t.enabled(flag) != on);
        let flags = provider.recipe.flags();
        let flag = flags.iter().find(|f| separates(f, true)).map(|f| (*f).to_owned());
        let flag = flag.or_else(|| flags.iter().find(|f| separates(f, false)).map(|f| format!("-{f}")));
        let flag = flag.ok_or_else(|| {
            SampleError::recipe(
                &target.recipe.name,
                format!("no USE flag tells the builds of {name} with its library from those without"),
            )
        })?;
        Ok(format!("{name}:{slot}/{sub}=[{flag}]"))
    }
}

/// The atom for a package in its slot and sub-slot, as Portage binds `:=`.
fn bound_atom(target: &Target) -> String {
    let (slot, sub) = &target.slot;
    format!("{}:{slot}/{sub}=", target.recipe.name)
}

/// Whether one package needs another, directly or by way of others.
fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::from([from]);
    let mut pending = vec![from];
    while let Some(name) = pending.pop() {
        if name == to {
            return true;
        }
        let next = edges.get(name).into_iter().flatten().map(String::as_str);
        pending.extend(next.filter(|name| seen.insert(name)));
    }
    false
}
