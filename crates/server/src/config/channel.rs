//! What an operator says of a channel: its binhosts, its profile, and what may be ordered from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use binhost::openpgp::Keyring;
use contract::lease::BinhostAccess;
use gentoo::license::AcceptLicense;
use gentoo::profile::Profile;
use serde::Deserialize;

use super::ConfigError;
use crate::source_builds::SourceBuildsConfig;

/// A set of binhosts with a profile, from which images are made.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChannelConfig {
    /// Short name for orders, like `gentoo-amd64`.
    pub name: String,
    pub title: String,
    pub arch: String,
    #[serde(default)]
    pub description: String,
    /// A sentence said inside each image about where it comes from; none means one with the title.
    #[serde(default)]
    pub notice: Option<String>,
    /// Atoms added when a format that boots by itself is ordered.
    #[serde(default)]
    pub boot_packages: Vec<String>,
    /// Folder of the profile inside a Gentoo repository (below its `profiles`); none means that no profile masks or provides anything.
    #[serde(default)]
    pub profile: Option<PathBuf>,
    /// The Gentoo repository whose `metadata/glsa` and `metadata/md5-cache` tell of advisories and sources; none means the profile's.
    #[serde(default)]
    pub repository: Option<PathBuf>,
    /// Instead of the profile's ACCEPT_KEYWORDS, like `amd64 ~amd64`; `**` takes packages without keywords too.
    #[serde(default)]
    pub accept_keywords: Option<String>,
    /// Instead of `@BINARY-REDISTRIBUTABLE`. Widen it only where images are not passed on to others.
    #[serde(default)]
    pub accept_license: Option<String>,
    /// INSTALL_MASK (make.conf(5)): what is left out of every package, like `/usr/share/doc -/usr/share/doc/x`.
    #[serde(default)]
    pub install_mask: String,
    /// The stage3 that images of this channel are built on; none makes them of packages alone.
    #[serde(default)]
    pub base: Option<BaseConfig>,
    /// The binhosts hold Gentoo Prefix packages: orders are for a folder of a foreign system, and for nothing else.
    #[serde(default)]
    pub prefix: Option<PrefixConfig>,
    /// Atoms of packages that this site gives to nobody, whoever depends on them.
    #[serde(default)]
    pub packages_denied: Vec<String>,
    /// What orders may ask for by name: `category/package`, or `category/*`. Empty allows all; what presets name and what packages
    /// depend on is always allowed.
    #[serde(default)]
    pub packages_allowed: Vec<String>,
    /// Have packages built from source, for one of the binhosts.
    #[serde(default)]
    pub source_builds: Option<SourceBuildsConfig>,
    /// Best first: a later binhost fills what the earlier ones lack.
    #[serde(rename = "binhost")]
    pub binhosts: Vec<BinhostConfig>,
}

/// Where Gentoo's release keys are on a machine that has sec-keys/openpgp-keys-gentoo-release.
pub const GENTOO_RELEASE_KEYS: &str = "/usr/share/openpgp-keys/gentoo-release.asc";

/// The base of a channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// The list that names the newest stage3, like
    /// `https://distfiles.gentoo.org/releases/amd64/autobuilds/latest-stage3-amd64-openrc.txt`, or the same as `file:///…`.
    pub stage3: String,
    /// Armored OpenPGP certificates whose signatures count; none means Gentoo's release keys as this machine has them.
    #[serde(default)]
    pub keyring_file: Option<PathBuf>,
    /// Take a stage3 without a signature.
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// A channel of Gentoo Prefix packages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrefixConfig {
    /// The EPREFIX that the packages were built at. They can be moved to any path that is not longer.
    pub built_at: String,
    /// What the host brings, as CPVs (portage(5), package.provided): the C library of a prefix-guest, for one.
    #[serde(default)]
    pub host_provides: Vec<String>,
}

/// One binhost of a channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinhostConfig {
    pub name: String,
    /// `https://…` or `file:///…`.
    pub uri: String,
    /// Armored OpenPGP certificates whose signatures count.
    #[serde(default)]
    pub keyring_file: Option<PathBuf>,
    /// The same as text; added to those of the file.
    #[serde(default)]
    pub keyring: String,
    /// Take packages without a signature from here.
    #[serde(default)]
    pub allow_unsigned: bool,
    /// Give the folder out below `/binhost`, and name that address in the images, so that they update from it. Needs `public_url`.
    #[serde(default)]
    pub serve: bool,
}

impl ChannelConfig {
    /// Checks what the types alone cannot say. `has_address` says whether the site knows the address people reach it by.
    pub(super) fn check(&self, has_address: bool) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(self.wrong(text));
        if !is_word(&self.name) {
            return Err(ConfigError::Invalid(format!("the channel name “{}” is no plain word", self.name.escape_debug())));
        }
        if !is_word(&self.arch) {
            return invalid(format!("“{}” is not an architecture", self.arch.escape_debug()));
        }
        if let Some(base) = &self.base {
            base.folder_and_list()?;
        }
        if let Some(prefix) = &self.prefix {
            prefix.check().or_else(&invalid)?;
            if self.base.is_some() {
                return invalid("it has a stage3 as its base, and a prefix has none".into());
            }
        }
        self.check_packages()?;
        if let Some(source_builds) = &self.source_builds {
            source_builds.check(self)?;
        }
        if self.binhosts.is_empty() {
            return invalid("it has no binhost".into());
        }
        let mut names = BTreeSet::new();
        for binhost in &self.binhosts {
            if !names.insert(&binhost.name) {
                return invalid(format!("the binhost name “{}” is used twice", binhost.name.escape_debug()));
            }
            binhost.check(has_address).or_else(&invalid)?;
        }
        Ok(())
    }

    /// What is wrong with this channel.
    fn wrong(&self, text: String) -> ConfigError {
        ConfigError::Invalid(format!("channel {}: {text}", self.name))
    }

    fn check_packages(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: &str, advice: &str| {
            self.wrong(format!("{key}: “{}” is not understood; {advice}", text.escape_debug()))
        };
        self.denied()?;
        if let Some(bad) = self.packages_allowed.iter().find(|text| !is_pattern(text)) {
            return Err(wrong("packages_allowed", bad, "give packages like app-editors/vim, or categories like app-editors/*"));
        }
        if let Some(bad) = self.boot_packages.iter().find(|text| gentoo::Atom::parse(text).is_err()) {
            return Err(wrong("boot_packages", bad, "give atoms like sys-boot/grub or sys-apps/busybox[static]"));
        }
        let masks: Vec<String> = self.install_mask.split_whitespace().map(str::to_owned).collect();
        contract::check_install_mask(&masks).map_err(|error| self.wrong(format!("install_mask: {}", error.message)))
    }

    /// Checks what only the profile tells.
    pub(crate) fn check_against(&self, profile: &Profile) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(self.wrong(text));
        if self.prefix.is_none() && self.arch != profile.arch {
            return invalid(format!(
                "arch is “{}”, but the profile is for “{}”; both have to be the same",
                self.arch, profile.arch
            ));
        }
        let accepted = AcceptLicense::parse(self.accept_license.as_deref().unwrap_or_default(), &profile.license_groups);
        let Some(unknown) = accepted.undefined_groups().first() else { return Ok(()) };
        let meant = contract::nearest::did_you_mean(unknown, profile.license_groups.names()).unwrap_or_default();
        invalid(format!("accept_license: there is no group of licences “@{}”. {meant}", unknown.escape_debug()))
    }

    /// [`ChannelConfig::packages_denied`], read.
    pub(crate) fn denied(&self) -> Result<Vec<gentoo::Atom>, ConfigError> {
        let read = |text: &String| gentoo::Atom::parse(text).map_err(|e| self.wrong(format!("packages_denied: {e}")));
        self.packages_denied.iter().map(read).collect()
    }

    /// The first of these atoms that orders may not ask for by name.
    pub(crate) fn not_allowed<'a>(&self, atoms: &'a [String]) -> Option<&'a String> {
        let is_allowed = |text: &&String| gentoo::Atom::parse(text).is_ok_and(|atom| allows(&self.packages_allowed, &atom));
        if self.packages_allowed.is_empty() {
            return None;
        }
        atoms.iter().find(|atom| !is_allowed(atom))
    }
}

/// Whether it is `category/package` or `category/*`.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.strip_suffix("/*").is_some_and(gentoo::names::is_category) || is_plain_name(text)
}

/// Whether one of these patterns is meant by the atom; no pattern allows all.
pub(crate) fn allows(patterns: &[String], atom: &gentoo::Atom) -> bool {
    let (name, category) = (atom.cp(), format!("{}/*", atom.category));
    patterns.is_empty() || patterns.iter().any(|allowed| *allowed == name || *allowed == category)
}

/// Whether it is `category/package`.
fn is_plain_name(text: &str) -> bool {
    text.split_once('/')
        .is_some_and(|(category, package)| gentoo::names::is_category(category) && gentoo::names::is_package(package))
}

impl BaseConfig {
    /// The folder of the list, with its keyring read, and the list's name.
    pub(crate) fn access(&self) -> Result<(BinhostAccess, String), ConfigError> {
        let (uri, list) = self.folder_and_list()?;
        let keyring = match (&self.keyring_file, self.allow_unsigned) {
            (None, true) => String::new(),
            (given, _) => {
                let path = given.clone().unwrap_or_else(|| GENTOO_RELEASE_KEYS.into());
                std::fs::read_to_string(&path).map_err(|source| match given {
                    Some(_) => ConfigError::Unreadable { key: "keyring_file", path, source },
                    None => ConfigError::Invalid(format!(
                        "the stage3 cannot be checked, as there are no release keys at {GENTOO_RELEASE_KEYS} ({source}): install \
                         sec-keys/openpgp-keys-gentoo-release, or fetch them from https://qa-reports.gentoo.org/output/service-keys.gpg, \
                         compare their fingerprints with https://www.gentoo.org/downloads/signatures/, and name the file as keyring_file"
                    )),
                })?
            }
        };
        Ok((BinhostAccess { name: "stage3".into(), uri, keyring, allow_unsigned: self.allow_unsigned }, list))
    }

    fn folder_and_list(&self) -> Result<(String, String), ConfigError> {
        let parts = self.stage3.rsplit_once('/').filter(|(folder, list)| folder.contains("://") && list.ends_with(".txt"));
        let parts = parts.map(|(folder, list)| (folder.to_owned(), list.to_owned()));
        parts.ok_or_else(|| {
            ConfigError::Invalid(format!(
                "the stage3 “{}” is not the address of a latest-stage3-….txt",
                self.stage3.escape_debug()
            ))
        })
    }
}

impl PrefixConfig {
    fn check(&self) -> Result<(), String> {
        contract::check_eprefix("built_at", &self.built_at).map_err(|e| e.to_string())?;
        self.provided().map(drop)
    }

    /// [`PrefixConfig::host_provides`], read.
    pub(crate) fn provided(&self) -> Result<Vec<gentoo::Cpv>, String> {
        self.host_provides.iter().map(|cpv| gentoo::Cpv::parse(cpv).map_err(|e| format!("host_provides: {e}"))).collect()
    }
}

impl BinhostConfig {
    /// The folder of this machine that it is; none for one on the web.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.uri.strip_prefix("file://").filter(|path| path.starts_with('/')).map(Path::new)
    }

    fn check(&self, has_address: bool) -> Result<(), String> {
        let known = ["https://", "http://", "file:///"];
        if !is_word(&self.name) {
            return Err(format!("the binhost name “{}” is no plain word", self.name.escape_debug()));
        }
        if !known.iter().any(|start| self.uri.starts_with(start)) {
            let (uri, known) = (self.uri.escape_debug(), known.join(", "));
            return Err(format!("the uri “{uri}” of the binhost {} begins with none of {known}", self.name));
        }
        if self.serve && (!has_address || self.folder().is_none()) {
            return Err(format!(
                "the binhost {} is to be served: that needs public_url, and a folder (file:///…) as its uri",
                self.name
            ));
        }
        if self.keyring_file.is_none() && self.keyring.is_empty() && !self.allow_unsigned {
            return Err(format!(
                "the binhost {} has neither keyring_file nor allow_unsigned, so none of its packages could be trusted",
                self.name
            ));
        }
        Ok(())
    }

    /// The binhost with its keyring read.
    pub(crate) fn access(&self) -> Result<BinhostAccess, ConfigError> {
        let mut keyring = self.keyring.clone();
        if let Some(path) = &self.keyring_file {
            keyring += &std::fs::read_to_string(path).map_err(ConfigError::unreadable("keyring_file", path))?;
        }
        if !self.allow_unsigned {
            let trusted = Keyring::from_armored(&keyring);
            trusted.map_err(|error| ConfigError::Invalid(format!("the binhost {}: {error}", self.name)))?;
        }
        Ok(BinhostAccess { name: self.name.clone(), uri: self.uri.clone(), keyring, allow_unsigned: self.allow_unsigned })
    }
}

/// Whether it can be a part of a name or a path: letters, digits, `.`, `_` and `-`.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
