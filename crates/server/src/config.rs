//! The operator's configuration: one TOML file, every field with a default, unknown fields refused.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use binhost::openpgp::Keyring;
use contract::lease::BinhostAccess;
use serde::Deserialize;

use crate::accounts::AccountsConfig;
use crate::limits::Limits;
use crate::source_builds::SourceBuildsConfig;

/// Configuration of one server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port to listen on; port 0 takes a free one.
    #[serde(deserialize_with = "socket_address")]
    pub listen: SocketAddr,
    /// The address people reach the site by, like `https://hatchery.example`; used in mails and in the API's links.
    /// None means the listening address.
    pub public_url: Option<String>,
    /// Everything the server keeps: database, artifacts, cached indexes, the worker token.
    pub data_dir: PathBuf,
    /// `postgres://…`, or the path of a SQLite file; none means `hatchery.sqlite` in `data_dir`.
    pub database: Option<String>,
    /// Folder of preset files that are added to, or replace, the built-in ones.
    pub presets_dir: Option<PathBuf>,
    /// The token workers show. None of the two: one is made at the first start and kept in `data_dir/worker.token`, mode 0600.
    pub worker_token: Option<String>,
    pub worker_token_file: Option<PathBuf>,
    /// The token the operator shows; none means `data_dir/operator.token`, made at the first start, mode 0600.
    pub operator_token_file: Option<PathBuf>,
    /// The operator's secret OpenPGP key, as `hatchery keygen` makes it, that the images' checksums are signed with; none signs nothing.
    pub signing_key_file: Option<PathBuf>,
    /// Images that start by themselves are started in a virtual machine before they are given out; a worker without one gets no work.
    pub boot_gate: bool,
    /// A worker silent for so long has lost its build. Seconds.
    pub lease_ttl_seconds: u64,
    /// A channel's indexes are asked for again after so long. Seconds.
    pub index_ttl_seconds: u64,
    /// Images are kept so long after they were ready. Days.
    pub keep_days: u32,
    /// Images that nobody has downloaded are kept only so long. Days.
    pub keep_unclaimed_days: u32,
    /// Presets whose images are made ahead when nothing else is to be done, as they are ordered without personal settings.
    pub warm: Vec<String>,
    /// Orders are refused while so many builds wait.
    pub max_waiting: u64,
    /// The site is reached through one proxy, which says in `X-Forwarded-For` who asks.
    pub behind_proxy: bool,
    /// Largest file a worker may send. Bytes.
    pub max_artifact_bytes: u64,
    /// Where images are kept; none means the folder `artifacts` in `data_dir`.
    pub storage: Option<S3Config>,
    /// How to send mail; none means that no mail is sent, and the order form says so.
    pub mail: Option<MailConfig>,
    /// How users log in who want to; none means that nobody does.
    pub accounts: Option<AccountsConfig>,
    /// What one user, and all together, may take.
    pub limits: Limits,
    /// Webhooks may go to addresses inside this network, and to this machine. For sites whose users are all trusted.
    pub webhooks_inside: bool,
    #[serde(rename = "channel")]
    pub channels: Vec<ChannelConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8480)),
            public_url: None,
            data_dir: PathBuf::from("var/server"),
            database: None,
            presets_dir: None,
            worker_token: None,
            worker_token_file: None,
            operator_token_file: None,
            signing_key_file: None,
            boot_gate: false,
            lease_ttl_seconds: 60,
            index_ttl_seconds: 900,
            keep_days: 14,
            keep_unclaimed_days: 4,
            warm: Vec::new(),
            max_waiting: 1_000,
            behind_proxy: false,
            max_artifact_bytes: 32 << 30,
            storage: None,
            mail: None,
            accounts: None,
            limits: Limits::default(),
            webhooks_inside: false,
            channels: Vec::new(),
        }
    }
}

/// A bucket of an S3-compatible storage, in which images are kept.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Config {
    /// The storage's address, like `https://s3.example.org`.
    pub endpoint: String,
    /// The same as browsers reach it; downloads are sent there. None means `endpoint`.
    #[serde(default)]
    pub public_endpoint: Option<String>,
    pub bucket: String,
    /// What all names in the bucket begin with, like `images/`; none where the bucket holds nothing else.
    #[serde(default)]
    pub prefix: String,
    #[serde(default = "default_region")]
    pub region: String,
    /// The bucket is part of the host's name instead of the path.
    #[serde(default)]
    pub virtual_host: bool,
    pub access_key: String,
    /// A file holding the secret key alone.
    pub secret_key_file: PathBuf,
}

/// A mail server that takes our notices.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MailConfig {
    pub host: String,
    #[serde(default = "default_smtp_port")]
    pub port: u16,
    /// The sender, like `Hatchery <hatchery@example.org>`.
    pub from: String,
    #[serde(default)]
    pub security: MailSecurity,
    #[serde(default)]
    pub user: Option<String>,
    /// A file holding the password alone.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Ask whoever reads at an address whether it is theirs, before anything else is sent there.
    #[serde(default = "yes")]
    pub confirm: bool,
}

/// How the connection to the mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailSecurity {
    /// Not at all: for a mail server on the same machine.
    #[default]
    None,
    /// Plain first, then TLS, which is required.
    Starttls,
    /// TLS from the first byte.
    Tls,
}

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

/// What is wrong with the configuration, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{key} {} cannot be read: {source}", path.display())]
    Unreadable { key: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the configuration is not understood: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("the configuration cannot work: {0}")]
    Invalid(String),
    #[error("{}: {source}", path.display())]
    InFile { path: PathBuf, source: Box<ConfigError> },
}

impl ConfigError {
    /// What to do with the error of reading a file that the configuration names as `key`.
    pub(crate) fn unreadable(key: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ConfigError {
        let path = path.to_owned();
        move |source| ConfigError::Unreadable { key, path, source }
    }
}

/// An address and port, as an operator is told how to write them.
fn socket_address<'de, D: serde::Deserializer<'de>>(value: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(value)?;
    let advice = "give an IP address and a port, like 127.0.0.1:8480, 0.0.0.0:8480 or [::]:8480";
    text.parse().map_err(|_| serde::de::Error::custom(format!("“{}” cannot be listened on: {advice}", text.escape_debug())))
}

fn yes() -> bool {
    true
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_smtp_port() -> u16 {
    25
}

impl Config {
    /// Reads a configuration from TOML text.
    pub fn from_toml(text: &str) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(ConfigError::unreadable("the configuration", path))?;
        Config::from_toml(&text).map_err(|error| ConfigError::InFile { path: path.to_owned(), source: Box::new(error) })
    }

    /// Checks what the types alone cannot say.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        let word =
            |s: &str| !s.is_empty() && s.len() <= 64 && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let mut names = std::collections::BTreeSet::new();
        for channel in &self.channels {
            if !word(&channel.name) || !names.insert(&channel.name) {
                return invalid(format!("the channel name “{}” is used twice or is no plain word", channel.name.escape_debug()));
            }
            if !word(&channel.arch) {
                return invalid(format!("channel {}: “{}” is not an architecture", channel.name, channel.arch.escape_debug()));
            }
            if let Some(base) = &channel.base {
                base.folder_and_list()?;
            }
            if let Some(prefix) = &channel.prefix {
                prefix.check().map_err(|problem| ConfigError::Invalid(format!("channel {}: {problem}", channel.name)))?;
                if channel.base.is_some() {
                    return invalid(format!("channel {} has a stage3 as its base, and a prefix has none", channel.name));
                }
            }
            channel.check_packages()?;
            if let Some(source_builds) = &channel.source_builds {
                source_builds.check(channel)?;
            }
            if channel.binhosts.is_empty() {
                return invalid(format!("channel {} has no binhost", channel.name));
            }
            let mut binhosts = std::collections::BTreeSet::new();
            for binhost in &channel.binhosts {
                if !word(&binhost.name) || !binhosts.insert(&binhost.name) {
                    return invalid(format!(
                        "channel {}: the binhost name “{}” is used twice or is no plain word",
                        channel.name,
                        binhost.name.escape_debug()
                    ));
                }
                binhost.check_uri().map_err(|why| ConfigError::Invalid(format!("channel {}: {why}", channel.name)))?;
                if binhost.serve && (self.public_url.is_none() || binhost.folder().is_none()) {
                    return invalid(format!(
                        "binhost {} of channel {} is to be served: that needs public_url, and a folder (file:///…) as its uri",
                        binhost.name, channel.name
                    ));
                }
                if binhost.keyring_file.is_none() && binhost.keyring.is_empty() && !binhost.allow_unsigned {
                    return invalid(format!(
                        "binhost {} of channel {} has neither keyring_file nor allow_unsigned, so none of its packages could be trusted",
                        binhost.name, channel.name
                    ));
                }
            }
        }
        if self.keep_days < self.keep_unclaimed_days || self.keep_unclaimed_days == 0 {
            return invalid("keep_unclaimed_days must be at least 1, and keep_days not less".into());
        }
        if let Some(accounts) = &self.accounts {
            accounts.check(self.mail.is_some())?;
        }
        if self.lease_ttl_seconds == 0 {
            return invalid("lease_ttl_seconds must not be 0".into());
        }
        if let Some(url) = &self.public_url
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return invalid(format!("public_url “{}” must begin with http:// or https://", url.escape_debug()));
        }
        if let Some((scheme, _)) = self.database.as_ref().and_then(|address| address.split_once("://"))
            && !["postgres", "postgresql"].contains(&scheme)
        {
            return invalid(format!(
                "database begins with {}://: give postgres://USER@HOST/NAME, or the path of a SQLite file",
                scheme.escape_debug()
            ));
        }
        Ok(())
    }
}

impl ChannelConfig {
    fn check_packages(&self) -> Result<(), ConfigError> {
        let wrong = |key: &str, text: &str, advice: &str| {
            ConfigError::Invalid(format!("channel {}: {key}: “{}” is not understood; {advice}", self.name, text.escape_debug()))
        };
        self.denied()?;
        if let Some(bad) = self.packages_allowed.iter().find(|text| !is_pattern(text)) {
            return Err(wrong("packages_allowed", bad, "give packages like app-editors/vim, or categories like app-editors/*"));
        }
        if let Some(bad) = self.boot_packages.iter().find(|text| gentoo::Atom::parse(text).is_err()) {
            return Err(wrong("boot_packages", bad, "give atoms like sys-boot/grub or sys-apps/busybox[static]"));
        }
        let masks: Vec<String> = self.install_mask.split_whitespace().map(str::to_owned).collect();
        contract::check_install_mask(&masks)
            .map_err(|error| ConfigError::Invalid(format!("channel {}: install_mask: {}", self.name, error.message)))
    }

    /// [`ChannelConfig::packages_denied`], read.
    pub(crate) fn denied(&self) -> Result<Vec<gentoo::Atom>, ConfigError> {
        let read = |text: &String| {
            gentoo::Atom::parse(text).map_err(|e| ConfigError::Invalid(format!("channel {}: packages_denied: {e}", self.name)))
        };
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

    fn check_uri(&self) -> Result<(), String> {
        let known = ["https://", "http://", "file:///"];
        if known.iter().any(|start| self.uri.starts_with(start)) {
            return Ok(());
        }
        Err(format!(
            "the uri “{}” of the binhost {} begins with none of {}",
            self.uri.escape_debug(),
            self.name,
            known.join(", ")
        ))
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &str = "[[channel]]\nname='c'\ntitle='C'\narch='amd64'\n[[channel.binhost]]\nname='b'\nuri='file:///b'\n";

    #[test]
    fn unknown_fields_are_refused() {
        let error = Config::from_toml("lisen = '127.0.0.1:1'").unwrap_err();
        assert!(error.to_string().contains("lisen"), "{error}");
    }

    #[test]
    fn a_binhost_nobody_could_trust_is_refused() {
        let error = Config::from_toml(CHANNEL).unwrap_err();
        assert!(error.to_string().contains("allow_unsigned"), "{error}");
        Config::from_toml(&format!("{CHANNEL}allow_unsigned=true\n")).unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let told = |text: &str| Config::from_toml(text).unwrap_err().to_string();
        let channel = |line: &str| {
            format!("{}allow_unsigned=true\n", CHANNEL.replace("arch='amd64'\n", &format!("arch='amd64'\n{line}\n")))
        };
        Config::from_toml(&channel("boot_packages=['sys-apps/busybox[static]']\ninstall_mask='/usr/share/doc *.la'")).unwrap();
        assert!(told("listen='localhost:8480'").contains("127.0.0.1:8480"));
        assert!(told("database='mysql://root:secret@db/x'").contains("postgres://USER@HOST/NAME"));
        assert!(!told("database='mysql://root:secret@db/x'").contains("secret"));
        assert!(told(&channel("boot_packages=['sys-boot']")).contains("boot_packages: “sys-boot”"));
        assert!(told(&channel("packages_allowed=['vim']")).contains("app-editors/*"));
        assert!(told(&channel("install_mask='/'")).contains("install_mask: “/” would leave nothing"));
        assert!(told(&channel("").replace("file:///b", "/b")).contains("file:///"));
    }

    #[test]
    fn an_error_names_the_file_and_what_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hatchery.toml");
        std::fs::write(&path, "lisen = 1").unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().starts_with(path.to_str().unwrap()));
        let binhost = |keyring| BinhostConfig {
            name: "own".into(),
            uri: "file:///b".into(),
            keyring_file: Some(keyring),
            keyring: String::new(),
            allow_unsigned: false,
            serve: false,
        };
        let missing = binhost(dir.path().join("own.asc")).access().unwrap_err().to_string();
        assert!(missing.starts_with("keyring_file ") && missing.contains("own.asc"), "{missing}");
        let no_keyring = binhost(path).access().unwrap_err().to_string();
        assert!(no_keyring.contains("the binhost own: the keyring contains no OpenPGP certificate"), "{no_keyring}");
    }

    #[test]
    fn names_are_unique() {
        let text = format!("{CHANNEL}allow_unsigned=true\n{CHANNEL}allow_unsigned=true\n");
        assert!(Config::from_toml(&text).unwrap_err().to_string().contains("twice"));
    }
}
