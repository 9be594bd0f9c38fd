//! Recipes: which Debian packages make which Gentoo package, as data in `recipes/*.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::SampleError;
use crate::account::Account;
use crate::arch::Arch;

/// One Gentoo package of the sample channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// `category/package`.
    pub name: String,
    /// Debian packages by name, the first one gives the version. `a|b` takes the first that this Debian has, `?a` may be absent, and
    /// `@a` is what the meta package `a` depends on.
    #[serde(default)]
    pub debs: Vec<String>,
    /// Version, or a template over Debian's (`{v}`, `{1}`, `{2}`…, and `{source}` for that of the source package).
    #[serde(default)]
    pub version: Option<String>,
    /// The recipe whose version this one has too; only its name then counts, no content of it.
    #[serde(default)]
    pub version_of: Option<String>,
    /// Slot, with sub-slot after a slash; a template like [`Recipe::version`].
    #[serde(default = "default_slot")]
    pub slot: String,
    pub description: String,
    pub license: String,
    #[serde(default)]
    pub homepage: String,
    /// Flags as an ebuild would declare them.
    #[serde(default)]
    pub iuse: String,
    #[serde(default)]
    pub depend: String,
    /// Dependencies with USE conditionals; libraries need not be named, they are found by their sonames.
    #[serde(default)]
    pub rdepend: String,
    #[serde(default)]
    pub pdepend: String,
    #[serde(default)]
    pub idepend: String,
    #[serde(default)]
    pub properties: String,
    /// Part of `@system` in the sample's profile.
    #[serde(default)]
    pub system: bool,
    /// Globs over installed paths (`*` matches any text, slashes too): when given, only these are kept.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Globs of what is left out, after `keep`.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Units of Debian's for systemd that are taken all the same: globs below `usr/lib/systemd/system` and `usr/lib/systemd/user`.
    #[serde(default)]
    pub units: Vec<String>,
    /// Sonames that several packages provide, so that whoever needs one of them depends on this package, a virtual.
    #[serde(default)]
    pub libraries: Vec<String>,
    /// Files that lie elsewhere than in Debian: a glob with one `*` to a path in which `*` is the same text.
    #[serde(default)]
    pub moves: BTreeMap<String, String>,
    /// Empty directories to make, with their modes.
    #[serde(default)]
    pub dirs: BTreeMap<String, u32>,
    /// Symbolic links: path to target.
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    /// Files of our own.
    #[serde(default)]
    pub files: BTreeMap<String, TextFile>,
    /// Files that whoever makes the sample gives ([`crate::Options::given`]): path to the name they are given by. Without all of them the
    /// recipe is left out.
    #[serde(default)]
    pub given: BTreeMap<String, String>,
    /// What was given: path to file.
    #[serde(skip)]
    pub found: BTreeMap<String, Given>,
    /// Modes of Debian's files that differ here: path to mode.
    #[serde(default)]
    pub modes: BTreeMap<String, u32>,
    /// Bash functions of the environment, by name; those that PMS knows as phases are listed in DEFINED_PHASES.
    #[serde(default)]
    pub functions: BTreeMap<String, String>,
    /// The account that the package makes, for `acct-user` and `acct-group`.
    #[serde(default)]
    pub account: Option<Account>,
    /// Sonames that may stay unresolved, each with the reason why nothing breaks.
    #[serde(default)]
    pub unresolved: BTreeMap<String, String>,
    /// The builds to make; none means a single one with no flag on.
    #[serde(default, rename = "build")]
    pub builds: Vec<Build>,
}

/// One build of a recipe: its USE, and what it adds and leaves out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The architectures it is made for; all when there is none.
    #[serde(default)]
    pub arch: Vec<String>,
    /// Flags that are on.
    #[serde(default, rename = "use")]
    pub enabled: Vec<String>,
    /// More Debian packages, besides the recipe's. When the recipe has none, the first gives the version.
    #[serde(default)]
    pub debs: Vec<String>,
    #[serde(default)]
    pub keep: Vec<String>,
    #[serde(default)]
    pub drop: Vec<String>,
    #[serde(default)]
    pub dirs: BTreeMap<String, u32>,
    #[serde(default)]
    pub links: BTreeMap<String, String>,
    #[serde(default)]
    pub files: BTreeMap<String, TextFile>,
}

/// A program from outside.
#[derive(Clone, Debug)]
pub struct Given {
    pub path: PathBuf,
    /// Hexadecimal.
    pub sha256: String,
}

/// A text file of our own.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "GivenText")]
pub struct TextFile {
    pub text: String,
    pub mode: u32,
}

/// How a recipe gives a text: itself, or by the name of a file of `deploy/`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GivenText {
    text: Option<String>,
    from: Option<String>,
    #[serde(default = "default_mode")]
    mode: u32,
}

impl TryFrom<GivenText> for TextFile {
    type Error = String;

    fn try_from(given: GivenText) -> Result<TextFile, String> {
        let deployed = |name: &str| DEPLOYED.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let text = match (given.text, given.from) {
            (Some(text), None) => text,
            (None, Some(name)) => {
                deployed(&name).ok_or_else(|| format!("“{name}” is no file of deploy/ that recipes can take"))?
            }
            _ => return Err("a file has either a `text` or a `from`".to_owned()),
        };
        Ok(TextFile { text, mode: given.mode })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RecipeFile {
    package: Vec<Recipe>,
}

fn default_slot() -> String {
    "0".to_owned()
}

fn default_mode() -> u32 {
    0o644
}

/// The services of Hatchery's own package, which are those that `deploy/` has for everybody.
const DEPLOYED: [(&str, &str); 6] = [
    ("openrc/hatchery", include_str!("../../../deploy/openrc/hatchery")),
    ("openrc/hatchery.confd", include_str!("../../../deploy/openrc/hatchery.confd")),
    ("openrc/hatchery-worker.confd", include_str!("../../../deploy/openrc/hatchery-worker.confd")),
    ("systemd/hatchery.service", include_str!("../../../deploy/systemd/hatchery.service")),
    ("systemd/hatchery-site.service", include_str!("../../../deploy/systemd/hatchery-site.service")),
    ("systemd/hatchery-worker@.service", include_str!("../../../deploy/systemd/hatchery-worker@.service")),
];

/// The recipes that are compiled in, by file.
pub const FILES: &[(&str, &str)] = &[
    ("accounts", include_str!("../recipes/accounts.toml")),
    ("base", include_str!("../recipes/base.toml")),
    ("boot", include_str!("../recipes/boot.toml")),
    ("desktop", include_str!("../recipes/desktop.toml")),
    ("hatchery", include_str!("../recipes/hatchery.toml")),
    ("libraries", include_str!("../recipes/libraries.toml")),
    ("network", include_str!("../recipes/network.toml")),
    ("server", include_str!("../recipes/server.toml")),
    ("services", include_str!("../recipes/services.toml")),
    ("systemd", include_str!("../recipes/systemd.toml")),
    ("tools", include_str!("../recipes/tools.toml")),
    ("virtuals", include_str!("../recipes/virtuals.toml")),
];

/// Reads and checks all recipes: those in the files `*.toml` of `folder`, or the ones that are compiled in.
///
/// # Errors
/// [`SampleError::Recipe`] names the file or package and what is wrong with it.
pub fn all(folder: Option<&Path>, arch: Arch) -> Result<Vec<Recipe>, SampleError> {
    let mut recipes = Vec::new();
    for (file, text) in texts(folder)? {
        let parsed: RecipeFile = toml::from_str(&arch.fill(&text)).map_err(|e| SampleError::recipe(&file, e.to_string()))?;
        recipes.extend(parsed.package);
    }
    let mut names = BTreeSet::new();
    for recipe in &mut recipes {
        recipe.check()?;
        if !names.insert(recipe.name.clone()) {
            return Err(SampleError::recipe(&recipe.name, "there are two recipes of this name"));
        }
        if recipe.builds.is_empty() {
            recipe.builds.push(Build::default());
        }
    }
    recipes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(recipes)
}

/// Puts in what is given, and drops the recipes that need what is not.
///
/// # Errors
/// When a file cannot be read.
pub fn with_given(recipes: Vec<Recipe>, given: &BTreeMap<String, PathBuf>) -> Result<Vec<Recipe>, SampleError> {
    let mut kept = Vec::new();
    for mut recipe in recipes {
        for (at, name) in &recipe.given {
            if let Some(path) = given.get(name) {
                let bytes = fs::read(path).map_err(SampleError::io(path))?;
                let sha256 = hex::encode(Sha256::digest(&bytes));
                recipe.found.insert(at.clone(), Given { path: path.clone(), sha256 });
            }
        }
        if recipe.found.len() == recipe.given.len() {
            kept.push(recipe);
        }
    }
    Ok(kept)
}

/// The texts of the recipe files, by name.
fn texts(folder: Option<&Path>) -> Result<Vec<(String, String)>, SampleError> {
    let Some(folder) = folder else {
        return Ok(FILES.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect());
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(SampleError::io(folder))? {
        let path = entry.map_err(SampleError::io(folder))?.path();
        if path.extension().is_some_and(|e| e == "toml") {
            found.push((path.display().to_string(), fs::read_to_string(&path).map_err(SampleError::io(&path))?));
        }
    }
    found.sort();
    Ok(found)
}

impl Build {
    /// Whether it is made for an architecture.
    pub fn is_for(&self, arch: Arch) -> bool {
        self.arch.is_empty() || self.arch.iter().any(|name| name == arch.keyword())
    }
}

impl Recipe {
    /// The category.
    pub fn category(&self) -> &str {
        self.name.split_once('/').map_or("", |(category, _)| category)
    }

    /// The package's name without its category.
    pub fn package(&self) -> &str {
        self.name.split_once('/').map_or("", |(_, package)| package)
    }

    /// The flags of IUSE without their defaults.
    pub fn flags(&self) -> BTreeSet<&str> {
        self.iuse.split_whitespace().map(|flag| flag.trim_start_matches(['+', '-'])).collect()
    }

    /// All Debian packages that one build takes.
    pub fn debs_of<'a>(&'a self, build: &'a Build) -> impl Iterator<Item = &'a String> {
        self.debs.iter().chain(&build.debs)
    }

    fn check(&self) -> Result<(), SampleError> {
        let fail = |message: String| Err(SampleError::recipe(&self.name, message));
        if self.category().is_empty() || self.package().is_empty() {
            return fail("the name is not category/package".to_owned());
        }
        let flags = self.flags();
        for build in &self.builds {
            if let Some(unknown) = build.arch.iter().find(|name| Arch::named(name).is_none()) {
                return fail(format!("a build is for “{unknown}”, which is no architecture of the sample"));
            }
            if let Some(unknown) = build.enabled.iter().find(|flag| !flags.contains(flag.as_str())) {
                return fail(format!("a build enables “{unknown}”, which IUSE does not declare"));
            }
            let has_version = self.version.is_some() || self.version_of.is_some();
            if !has_version && self.debs_of(build).next().is_none() {
                return fail("there is neither a version nor a Debian package to take it from".to_owned());
            }
        }
        for (path, _) in self.files.iter().chain(self.builds.iter().flat_map(|b| &b.files)) {
            if path.starts_with('/') || path.split('/').any(|part| matches!(part, "" | "." | "..")) {
                return fail(format!("“{path}” is not a relative path"));
            }
        }
        Ok(())
    }
}

/// The place of `path` after the moves of a recipe.
pub fn moved(moves: &BTreeMap<String, String>, path: String) -> String {
    for (from, to) in moves {
        let (start, end) = from.split_once('*').unwrap_or((from, ""));
        let text = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
        if let Some(text) = text.filter(|text| from.contains('*') || text.is_empty()) {
            return to.replace('*', text);
        }
    }
    path
}

/// Whether `path` matches a glob in which `*` stands for any text.
pub fn glob(pattern: &str, path: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipes_are_sound() {
        for arch in Arch::ALL {
            let recipes = all(None, arch).unwrap();
            assert!(recipes.len() >= 60, "{}", recipes.len());
            assert!(!format!("{recipes:?}").contains("@MULTIARCH@"));
        }
    }

    #[test]
    fn files_are_moved() {
        let moves = BTreeMap::from([("boot/vmlinuz-*".to_owned(), "usr/lib/modules/*/vmlinuz".to_owned())]);
        assert_eq!(moved(&moves, "boot/vmlinuz-6.1.0-1-amd64".to_owned()), "usr/lib/modules/6.1.0-1-amd64/vmlinuz");
        assert_eq!(moved(&moves, "boot/config-6.1.0-1-amd64".to_owned()), "boot/config-6.1.0-1-amd64");
    }

    #[test]
    fn globs() {
        for (pattern, path, expected) in [
            ("usr/bin/*", "usr/bin/bash", true),
            ("usr/bin/bash", "usr/bin/bash", true),
            ("usr/bin/bash", "usr/bin/bashbug", false),
            ("usr/lib/modules/*/kernel/sound/*", "usr/lib/modules/6.1/kernel/sound/core/snd.ko", true),
            ("*/sound/*", "usr/x/sound/y", true),
            ("*.la", "usr/lib/x.la", true),
            ("*.la", "usr/lib/x.lab", false),
            ("a*b*c", "abc", true),
            ("a*bc*c", "abc", false),
        ] {
            assert_eq!(glob(pattern, path), expected, "{pattern} {path}");
        }
    }
}
