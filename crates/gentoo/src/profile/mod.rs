//! Profiles (PMS 5): what a Gentoo tree says about defaults, USE, masks and the system set.

mod error;
mod flags;
mod lines;
mod masks;
mod nodes;
mod variables;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::atom::{Atom, PackageRef};
use crate::cpv::Cpv;
use crate::index::Entry;
use crate::keywords::AcceptKeywords;
use crate::license::{AcceptLicense, DEFAULT_ACCEPT_LICENSE, LicenseGroups};
use crate::useflags::{ImplicitIuse, bare_flag};

pub use error::ProfileError;
pub use masks::{Mask, Masks};

use flags::{FlagLayer, apply_use};
use lines::{read_lines, read_text};

/// Variables whose values add up from parent to child instead of replacing each other (PMS 5.3.1).
const INCREMENTAL: [&str; 11] = [
    "ACCEPT_KEYWORDS",
    "CONFIG_PROTECT",
    "CONFIG_PROTECT_MASK",
    "ENV_UNSET",
    "FEATURES",
    "IUSE_IMPLICIT",
    "PROFILE_ONLY_VARIABLES",
    "USE_EXPAND",
    "USE_EXPAND_HIDDEN",
    "USE_EXPAND_IMPLICIT",
    "USE_EXPAND_UNPREFIXED",
];

/// A profile with all its parents, read once. The public fields may be changed to what an operator wants.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Gentoo's name of the architecture, like `amd64`.
    pub arch: String,
    /// ACCEPT_KEYWORDS; the profile's own setting, normally the stable keyword of the arch.
    pub accept_keywords: AcceptKeywords,
    /// ACCEPT_LICENSE; [`DEFAULT_ACCEPT_LICENSE`] whatever the profile says, as images are passed on.
    pub accept_license: AcceptLicense,
    pub license_groups: LicenseGroups,
    /// Flags that packages have without naming them in IUSE.
    pub implicit_iuse: ImplicitIuse,
    /// The variables of `make.defaults`, incremental ones added up (sorted), USE aside.
    pub variables: BTreeMap<String, String>,
    /// `@system`: the atoms with a star in `packages`.
    pub system: Vec<Atom>,
    /// The other atoms of `packages`, Portage's `@profile`.
    pub profile_set: Vec<Atom>,
    pub masks: Masks,
    /// `package.provided`: what counts as installed though it is not.
    pub provided: Vec<Cpv>,
    /// Why Gentoo gave the profile up and which one to take instead; none for a current one.
    pub deprecated: Option<String>,
    /// The folders read, parents first; none for a minimal profile.
    pub nodes: Vec<PathBuf>,
    layers: Vec<Layer>,
    /// `package.accept_keywords`, by `category/package`.
    package_keywords: PackageKeywords,
}

/// Keywords for the packages that atoms match, by `category/package`.
type PackageKeywords = HashMap<String, Vec<(Atom, Vec<String>)>>;

/// The USE settings of one folder.
#[derive(Clone, Debug, Default)]
struct Layer {
    /// USE of `make.defaults` with the USE_EXPAND variables folded in.
    defaults: Vec<String>,
    /// Whether the folder is of the profile itself; `profiles` of the repository concerns single packages only.
    is_profile: bool,
    package_use: FlagLayer,
    mask: FlagLayer,
    force: FlagLayer,
}

impl Profile {
    /// A profile without a tree: the arch's stable keyword, no masks, an empty system set, and the well-known free licences.
    pub fn minimal(arch: &str) -> Profile {
        let license_groups = LicenseGroups::well_known();
        let variables = BTreeMap::from([("ARCH".to_owned(), arch.to_owned())]);
        Profile {
            arch: arch.to_owned(),
            accept_keywords: AcceptKeywords::parse(arch),
            accept_license: AcceptLicense::parse(DEFAULT_ACCEPT_LICENSE, &license_groups),
            license_groups,
            implicit_iuse: ImplicitIuse::from_variables(&variables),
            variables,
            system: Vec::new(),
            profile_set: Vec::new(),
            masks: Masks::default(),
            provided: Vec::new(),
            deprecated: None,
            nodes: Vec::new(),
            layers: Vec::new(),
            package_keywords: PackageKeywords::new(),
        }
    }

    /// Reads the profile in `profile_dir` of the Gentoo tree in `repository` (the folder that has `profiles/`).
    ///
    /// # Errors
    /// When a file cannot be read or understood; the message names file and line.
    pub fn load(profile_dir: &Path, repository: &Path) -> Result<Profile, ProfileError> {
        let nodes = nodes::profile_nodes(profile_dir, repository)?;
        let assignments = read_make_defaults(&nodes)?;
        let variables = stack_variables(&assignments);
        let arch = variables.get("ARCH").cloned().unwrap_or_default();
        if arch.is_empty() {
            return Err(ProfileError::structure(
                profile_dir,
                "no make.defaults of the profile sets ARCH; it is not a complete profile",
            ));
        }
        let own = repository.join("profiles");
        let repo_name = read_text(&own.join("repo_name"))?.unwrap_or_default().trim().to_owned();
        let (system, profile_set) = read_packages(&nodes)?;
        let mut profile = Profile {
            accept_keywords: AcceptKeywords::parse(variables.get("ACCEPT_KEYWORDS").unwrap_or(&arch)),
            implicit_iuse: ImplicitIuse::from_variables(&variables),
            license_groups: read_license_groups(&own, &nodes)?,
            masks: Masks::read(repository, &repo_name, &nodes)?,
            provided: read_provided(&nodes)?,
            deprecated: read_text(&profile_dir.join("deprecated"))?.map(|text| text.trim().to_owned()),
            layers: read_layers(&own, &nodes, &assignments, &variables)?,
            package_keywords: read_accept_keywords(&nodes)?,
            ..Profile::minimal(&arch)
        };
        let arches = read_lines(&own.join("arch.list"))?.into_iter().map(|line| line.text);
        profile.implicit_iuse.add_legacy(arches.chain(profile.use_mask()).chain(profile.use_force()));
        profile.accept_license = AcceptLicense::parse(DEFAULT_ACCEPT_LICENSE, &profile.license_groups);
        (profile.variables, profile.system, profile.profile_set, profile.nodes) = (variables, system, profile_set, nodes);
        Ok(profile)
    }

    /// Sets ACCEPT_LICENSE, with the profile's licence groups.
    pub fn set_accept_license(&mut self, text: &str) {
        self.accept_license = AcceptLicense::parse(text, &self.license_groups);
    }

    /// Takes the implicit flags from an index's header, where there is no tree to tell.
    pub fn set_implicit_iuse_from_index(&mut self, header: &BTreeMap<String, String>) {
        self.implicit_iuse = ImplicitIuse::from_variables(header);
    }

    /// The global USE flags: the profile's defaults, forced ones added, masked ones taken out.
    pub fn use_flags(&self) -> BTreeSet<String> {
        let mut flags = BTreeSet::new();
        self.profile_layers().for_each(|layer| apply_use(&mut flags, layer.defaults.iter().map(String::as_str)));
        flags.extend(self.use_force());
        flags.retain({
            let masked = self.use_mask();
            move |flag| !masked.contains(flag)
        });
        flags
    }

    /// The flags `use.mask` masks for everything.
    pub fn use_mask(&self) -> BTreeSet<String> {
        self.global(|layer| &layer.mask)
    }

    /// The flags `use.force` forces for everything.
    pub fn use_force(&self) -> BTreeSet<String> {
        self.global(|layer| &layer.force)
    }

    /// The flags masked for one package; `stable` as [`Profile::is_stable`] says.
    pub fn use_mask_for(&self, package: PackageRef<'_>, stable: bool) -> BTreeSet<String> {
        self.for_package(|layer| &layer.mask, package, stable)
    }

    /// The flags forced for one package.
    pub fn use_force_for(&self, package: PackageRef<'_>, stable: bool) -> BTreeSet<String> {
        self.for_package(|layer| &layer.force, package, stable)
    }

    /// The USE flags the profile would build a package with, out of its IUSE and the implicit ones (Portage's USE_ORDER without
    /// anything of a user's).
    pub fn use_for(&self, entry: &Entry) -> BTreeSet<String> {
        let package = entry.package();
        let stable = self.is_stable(package, &entry.keywords);
        let mut flags = BTreeSet::new();
        let own_layers = self.layers.iter().filter(|layer| !layer.is_profile);
        own_layers.for_each(|layer| apply_use(&mut flags, layer.package_use.words(package, stable)));
        apply_use(&mut flags, entry.iuse.iter().filter(|flag| flag.starts_with(['+', '-'])));
        for layer in self.profile_layers() {
            apply_use(&mut flags, layer.defaults.iter().map(String::as_str));
            apply_use(&mut flags, layer.package_use.words(package, stable));
        }
        flags.extend(self.use_force_for(package, stable));
        let masked = self.use_mask_for(package, stable);
        let named: BTreeSet<&str> = entry.iuse.iter().map(bare_flag).collect();
        flags.retain(|flag| {
            !masked.contains(flag) && (named.contains(flag.as_str()) || self.implicit_iuse.contains(&entry.eapi, flag))
        });
        flags
    }

    /// Whether a package with these KEYWORDS is accepted, `package.accept_keywords` of the profile included.
    pub fn accepts_keywords(&self, package: PackageRef<'_>, keywords: &str) -> bool {
        self.accept_keywords_for(package).accepts(keywords)
    }

    /// Whether a package with these KEYWORDS counts as stable; see [`AcceptKeywords::is_stable`].
    pub fn is_stable(&self, package: PackageRef<'_>, keywords: &str) -> bool {
        self.accept_keywords_for(package).is_stable(keywords)
    }

    /// ACCEPT_KEYWORDS as it stands for one package.
    fn accept_keywords_for(&self, package: PackageRef<'_>) -> Cow<'_, AcceptKeywords> {
        let mut accept = Cow::Borrowed(&self.accept_keywords);
        if self.package_keywords.is_empty() {
            return accept;
        }
        let rules = self.package_keywords.get(&package.cpv.cp()).into_iter().flatten();
        for (_, words) in rules.filter(|(atom, _)| atom.matches_package(package)) {
            match words.is_empty() {
                // Without keywords the testing one of each accepted arch is meant.
                true => self
                    .accept_keywords
                    .words()
                    .filter(|w| !w.starts_with('~'))
                    .for_each(|w| accept.to_mut().extend(&format!("~{w}"))),
                false => accept.to_mut().extend(&words.join(" ")),
            }
        }
        accept
    }

    /// Whether `package.provided` satisfies the atom; slots and USE are not known there and match.
    pub fn provides(&self, atom: &Atom) -> bool {
        self.provided.iter().any(|cpv| atom.matches_cpv(cpv))
    }

    fn profile_layers(&self) -> impl Iterator<Item = &Layer> {
        self.layers.iter().filter(|layer| layer.is_profile)
    }

    fn global(&self, pick: impl Fn(&Layer) -> &FlagLayer) -> BTreeSet<String> {
        let mut flags = BTreeSet::new();
        self.profile_layers().for_each(|layer| apply_use(&mut flags, pick(layer).always.global.iter().map(String::as_str)));
        flags
    }

    fn for_package(&self, pick: impl Fn(&Layer) -> &FlagLayer, package: PackageRef<'_>, stable: bool) -> BTreeSet<String> {
        let mut flags = BTreeSet::new();
        self.layers.iter().for_each(|layer| apply_use(&mut flags, pick(layer).words(package, stable)));
        flags
    }
}

/// The assignments of each folder's `make.defaults`. `${X}` sees what parents set, USE aside.
fn read_make_defaults(nodes: &[PathBuf]) -> Result<Vec<BTreeMap<String, String>>, ProfileError> {
    let mut known = BTreeMap::new();
    let mut all = Vec::with_capacity(nodes.len());
    for node in nodes {
        // As in Portage, `${USE}` does not bring back what a parent set: that would override the parent's package.use.
        known.remove("USE");
        let mut own = BTreeMap::new();
        for path in lines::files(&node.join("make.defaults"))? {
            let text = read_text(&path)?.unwrap_or_default();
            own.extend(variables::read_assignments(&path, &text, &mut known)?);
        }
        all.push(own);
    }
    Ok(all)
}

/// The value of each variable after all folders: incremental ones add up, of others the last counts. USE needs the layers.
fn stack_variables(assignments: &[BTreeMap<String, String>]) -> BTreeMap<String, String> {
    let mut stacked = BTreeMap::new();
    let mut sets: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (name, value) in assignments.iter().flatten().filter(|(name, _)| *name != "USE") {
        match INCREMENTAL.contains(&name.as_str()) {
            true => crate::incremental::apply(sets.entry(name).or_default(), value.split_ascii_whitespace()),
            false => {
                stacked.insert(name.clone(), value.clone());
            }
        }
    }
    stacked.extend(sets.into_iter().map(|(name, set)| (name.to_owned(), set.into_iter().collect::<Vec<_>>().join(" "))));
    stacked
}

/// USE of one `make.defaults`, with its USE_EXPAND variables as flags before it (Portage `make_defaults_use`).
fn expand_use(assigned: &BTreeMap<String, String>, variables: &BTreeMap<String, String>) -> Vec<String> {
    let names = |list: &str| variables.get(list).map(String::as_str).unwrap_or_default().split_ascii_whitespace();
    let values = |name: &str| assigned.get(name).map(String::as_str).unwrap_or_default().split_ascii_whitespace();
    let mut words: Vec<String> = names("USE_EXPAND_UNPREFIXED").flat_map(values).map(str::to_owned).collect();
    for name in names("USE_EXPAND") {
        let prefix = name.to_ascii_lowercase();
        words.extend(values(name).map(|value| match value.strip_prefix('-') {
            Some(taken) => format!("-{prefix}_{taken}"),
            None => format!("{prefix}_{value}"),
        }));
    }
    words.extend(values("USE").map(str::to_owned));
    words
}

fn read_layers(
    own: &Path,
    nodes: &[PathBuf],
    assignments: &[BTreeMap<String, String>],
    variables: &BTreeMap<String, String>,
) -> Result<Vec<Layer>, ProfileError> {
    let read = |node: &Path, defaults: Vec<String>, is_profile: bool| {
        Ok(Layer {
            defaults,
            is_profile,
            package_use: FlagLayer::read(node, "use")?,
            mask: FlagLayer::read(node, "use.mask")?,
            force: FlagLayer::read(node, "use.force")?,
        })
    };
    let mut layers = vec![read(own, Vec::new(), false)?];
    for (node, assigned) in nodes.iter().zip(assignments) {
        layers.push(read(node, expand_use(assigned, variables), true)?);
    }
    Ok(layers)
}

/// `packages`: the system set and the rest; `-` takes back, `-*` everything.
fn read_packages(nodes: &[PathBuf]) -> Result<(Vec<Atom>, Vec<Atom>), ProfileError> {
    let mut found: Vec<(bool, Atom)> = Vec::new();
    for node in nodes {
        for line in read_lines(&node.join("packages"))? {
            let (text, taken_back) = match line.text.strip_prefix('-') {
                Some(text) => (text, true),
                None => (line.text.as_str(), false),
            };
            if taken_back && text == "*" {
                found.clear();
                continue;
            }
            let (text, is_system) = match text.strip_prefix('*') {
                Some(text) => (text, true),
                None => (text, false),
            };
            let item = (is_system, Atom::parse(text).map_err(|e| line.error(e))?);
            match taken_back {
                true => found.retain(|known| *known != item),
                false if found.contains(&item) => {}
                false => found.push(item),
            }
        }
    }
    let (system, rest): (Vec<_>, Vec<_>) = found.into_iter().partition(|(is_system, _)| *is_system);
    let atoms = |items: Vec<(bool, Atom)>| items.into_iter().map(|(_, atom)| atom).collect();
    Ok((atoms(system), atoms(rest)))
}

fn read_provided(nodes: &[PathBuf]) -> Result<Vec<Cpv>, ProfileError> {
    let mut found: Vec<Cpv> = Vec::new();
    for node in nodes {
        for line in read_lines(&node.join("package.provided"))? {
            match line.text.strip_prefix('-') {
                Some(taken_back) => found.retain(|cpv| cpv.to_string() != taken_back),
                None => found.push(Cpv::parse(&line.text).map_err(|e| line.error(e))?),
            }
        }
    }
    Ok(found)
}

fn read_accept_keywords(nodes: &[PathBuf]) -> Result<PackageKeywords, ProfileError> {
    let mut found = PackageKeywords::new();
    for node in nodes {
        for line in read_lines(&node.join("package.accept_keywords"))? {
            let mut words = line.words();
            let atom = Atom::parse(words.next().unwrap_or_default()).map_err(|e| line.error(e))?;
            found.entry(atom.cp()).or_default().push((atom, words.map(str::to_owned).collect()));
        }
    }
    Ok(found)
}

fn read_license_groups(own: &Path, nodes: &[PathBuf]) -> Result<LicenseGroups, ProfileError> {
    let mut groups = LicenseGroups::default();
    for folder in std::iter::once(own).chain(nodes.iter().map(PathBuf::as_path)) {
        groups.read(&read_text(&folder.join("license_groups"))?.unwrap_or_default());
    }
    Ok(groups)
}
