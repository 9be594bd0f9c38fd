//! The operator's configuration: one TOML file, every field with a default, unknown fields refused.

mod channel;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::accounts::AccountsConfig;
use crate::limits::Limits;
use crate::tokens;

pub use channel::{BaseConfig, BinhostConfig, ChannelConfig, PrefixConfig};
pub(crate) use channel::{allows, is_pattern};

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
    /// A mail server that has not taken a mail after so long is tried again later. Seconds, from 1 to 60.
    #[serde(default = "default_mail_timeout")]
    pub timeout_seconds: u64,
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
    /// The same for those who have no business with this machine's folders: none of their paths.
    pub(crate) fn without_paths(&self) -> String {
        match self {
            ConfigError::Unreadable { key, source, .. } => format!("{key} cannot be read: {source}"),
            ConfigError::Invalid(text) if !text.contains('/') => self.to_string(),
            ConfigError::Invalid(_) | ConfigError::Syntax(_) | ConfigError::InFile { .. } => {
                "its operator has to correct the configuration".to_owned()
            }
        }
    }

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

fn default_mail_timeout() -> u64 {
    30
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
        let mut names = std::collections::BTreeSet::new();
        for channel in &self.channels {
            if !names.insert(&channel.name) {
                return invalid(format!("the channel name “{}” is used twice", channel.name.escape_debug()));
            }
            channel.check(self.public_url.is_some())?;
        }
        if self.keep_days < self.keep_unclaimed_days || self.keep_unclaimed_days == 0 {
            return invalid("keep_unclaimed_days must be at least 1, and keep_days not less".into());
        }
        if let Some(accounts) = &self.accounts {
            accounts.check(self.mail.is_some())?;
        }
        if self.worker_token.is_some() && self.worker_token_file.is_some() {
            return invalid(
                "give worker_token or worker_token_file, not both: what the first says would replace what the file has".into(),
            );
        }
        if self.worker_token.as_ref().is_some_and(|token| !tokens::is_good(token.trim())) {
            return invalid(
                "worker_token must have at least 16 characters and no spaces; leave it out and one is made at the start".into(),
            );
        }
        if let Some(mail) = &self.mail
            && !(1..=60).contains(&mail.timeout_seconds)
        {
            return invalid("[mail] timeout_seconds must be from 1 to 60".into());
        }
        if self.lease_ttl_seconds == 0 {
            return invalid("lease_ttl_seconds must not be 0".into());
        }
        if let Some(url) = &self.public_url {
            let read = url.parse::<axum::http::Uri>().ok();
            let is_site = |uri: &axum::http::Uri| {
                matches!(uri.scheme_str(), Some("http" | "https"))
                    && uri.host().is_some_and(|host| !host.is_empty())
                    && uri.query().is_none()
            };
            if !read.as_ref().is_some_and(is_site) {
                let bad = url.escape_debug();
                return invalid(format!(
                    "public_url “{bad}” is no address of a site; give one like https://hatchery.example.org"
                ));
            }
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
        for bad in ["https://", "https://exa mple.org", "https://example.org/?x", "ftp://example.org", "example.org"] {
            assert!(told(&format!("public_url='{bad}'")).contains("https://hatchery.example.org"), "{bad}");
        }
        Config::from_toml("public_url='https://example.org:8443/hatchery'").unwrap();
        assert!(told("worker_token='short'").contains("worker_token must have at least 16"));
        assert!(told("worker_token='0123456789abcdef'\nworker_token_file='/f'").contains("not both"));
        assert!(told("database='mysql://root:secret@db/x'").contains("postgres://USER@HOST/NAME"));
        assert!(told("[mail]\nhost='mx'\nfrom='a@b.org'\ntimeout_seconds=61").contains("from 1 to 60"));
        assert!(!told("database='mysql://root:secret@db/x'").contains("secret"));
        assert!(told(&channel("boot_packages=['sys-boot']")).contains("boot_packages: “sys-boot”"));
        assert!(told(&channel("packages_allowed=['vim']")).contains("app-editors/*"));
        assert!(told(&channel("install_mask='/'")).contains("install_mask: “/” would leave nothing"));
        assert!(told(&channel("").replace("file:///b", "/b")).contains("file:///"));
    }

    #[test]
    fn a_channel_agrees_with_its_profile() {
        let checked = |lines: &str| {
            let text = CHANNEL.replace("arch='amd64'\n", lines);
            let config = Config::from_toml(&format!("{text}allow_unsigned=true\n")).unwrap();
            config.channels[0].check_against(&gentoo::profile::Profile::minimal("amd64")).map_err(|e| e.to_string())
        };
        checked("arch='amd64'\naccept_license='-* @FREE linux-fw'\n").unwrap();
        assert!(checked("arch='amd46'\n").unwrap_err().contains("arch is “amd46”, but the profile is for “amd64”"));
        let error = checked("arch='amd64'\naccept_license='-* @FREEE'\n").unwrap_err();
        assert!(error.contains("no group of licences “@FREEE”. Did you mean FREE?"), "{error}");
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
