//! Packages that are built from source for an operator's own binhost: what may be built, having it built, and taking what was built.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use binhost::openpgp::{Keyring, SigningKey};
use binhost::{AddError, Added, Asked, OwnBinhost};
use contract::Step;
use contract::lease::SourceLimits;
use gentoo::Atom;
use queue::{Part, Work};
use resolver::{Explanation, Wish};
use serde::Deserialize;

use crate::app::App;
use crate::attestation::read_key;
use crate::clock;
use crate::config::{ChannelConfig, Config, ConfigError, allows, is_pattern};
use crate::db::{NewSourceBuild, SourceBuild, step_number};
use crate::orders::hash;
use crate::secret::{self, NoRandomness};

/// How an operator has packages built from source for a channel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceBuildsConfig {
    /// The binhost of the channel that gets what is built: a folder, made where it is not there.
    pub binhost: String,
    /// The secret OpenPGP key that signs what is built, as `hatchery keygen` makes it. The binhost's keyring must have its certificate.
    pub signing_key_file: PathBuf,
    /// What may be built: `category/package`, or `category/*`. Empty allows all that the worker's build root has ebuilds for.
    #[serde(default)]
    pub packages: Vec<String>,
    /// What is built without being asked for, when an order lacks it: as above. Empty builds nothing by itself.
    #[serde(default)]
    pub unasked: Vec<String>,
    /// What users may have built, by an order that waits for it: as above; what is in `unasked` counts here too. Empty lets them have nothing built.
    #[serde(default)]
    pub for_orders: Vec<String>,
    /// The most that one package may take: minutes, and MiB of memory and of disk.
    #[serde(default = "default_minutes")]
    pub minutes: u64,
    #[serde(default = "default_memory")]
    pub memory_mebibytes: u64,
    #[serde(default = "default_disk")]
    pub disk_mebibytes: u64,
}

fn default_minutes() -> u64 {
    120
}

fn default_memory() -> u64 {
    4 << 10
}

fn default_disk() -> u64 {
    16 << 10
}

/// Most packages of a channel that wait to be built.
pub(crate) const MAX_WAITING: usize = 500;
/// How long a package takes of which no build is known, until builds are seen. Seconds.
const GUESS: f64 = 300.0;
/// Most flags of a request.
const MAX_FLAGS: usize = 100;

impl SourceBuildsConfig {
    /// Checks what the types alone cannot say.
    pub(crate) fn check(&self, channel: &ChannelConfig) -> Result<(), ConfigError> {
        let invalid = |why: String| Err(ConfigError::Invalid(format!("channel {}: source_builds: {why}", channel.name)));
        let Some(binhost) = channel.binhosts.iter().find(|binhost| binhost.name == self.binhost) else {
            return invalid(format!("the channel has no binhost “{}”", self.binhost.escape_debug()));
        };
        if binhost.folder().is_none() {
            return invalid(format!("the binhost {} is no folder (file:///…)", binhost.name));
        }
        if channel.prefix.is_some() {
            return invalid("packages of a prefix are not built".into());
        }
        if let Some(bad) = self.packages.iter().chain(&self.unasked).chain(&self.for_orders).find(|text| !is_pattern(text)) {
            return invalid(format!("“{}” is neither a package nor a category with /*", bad.escape_debug()));
        }
        if self.minutes == 0 || self.memory_mebibytes == 0 || self.disk_mebibytes == 0 {
            return invalid("a limit of 0 lets nothing be built".into());
        }
        Ok(())
    }

    /// Whether an order may wait for what it lacks: all of it is to be built, and users may have it built.
    pub fn serves(&self, refused: &Explanation) -> bool {
        let may = |wish: &Wish| self.lists(&self.for_orders, wish) || self.lists(&self.unasked, wish);
        refused.lacking().next().is_some() && refused.lacking().all(may)
    }

    /// Whether a package may be built at all, and is in this list, of which an empty one has none.
    fn lists(&self, list: &[String], wish: &Wish) -> bool {
        let listed = |atom: Atom| !list.is_empty() && allows(list, &atom) && allows(&self.packages, &atom);
        Atom::parse(&wish.package).is_ok_and(listed)
    }

    fn limits(&self) -> SourceLimits {
        SourceLimits {
            seconds: self.minutes.saturating_mul(60),
            memory_bytes: self.memory_mebibytes.saturating_mul(1 << 20),
            disk_bytes: self.disk_mebibytes.saturating_mul(1 << 20),
        }
    }
}

/// The channels whose operator has packages built.
#[derive(Default)]
pub struct SourceBuilds(BTreeMap<String, Own>);

/// What a channel's packages are added to.
struct Own {
    config: SourceBuildsConfig,
    binhost: OwnBinhost,
    key: SigningKey,
}

/// Why nothing will be built.
#[derive(Debug, thiserror::Error)]
pub enum NotBuilt {
    #[error("the channel “{0}” has no [channel.source_builds], so nothing is built for it")]
    NoChannel(String),
    #[error("“{0}” is no package that can be built: give an atom like app-editors/vim or =app-editors/vim-9.1.0, and USE flags")]
    NotUnderstood(String),
    #[error("the channel's source_builds do not allow {0} to be built")]
    NotAllowed(String),
    #[error("so many packages wait to be built already that no more are taken")]
    Full,
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Random(#[from] NoRandomness),
}

/// Why what a worker built was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("the operator no longer has packages built for the channel “{0}”")]
    NoChannel(String),
    #[error("the build asks for what is no atom: {0}")]
    Atom(String),
    #[error(transparent)]
    Add(#[from] AddError),
}

impl SourceBuilds {
    /// Reads the keys, and makes the binhosts that are not there yet.
    ///
    /// # Errors
    /// When a key cannot be used or its packages would not be trusted, or a folder cannot be written.
    pub fn new(config: &Config) -> Result<SourceBuilds, ConfigError> {
        let mut channels = BTreeMap::new();
        for channel in &config.channels {
            if let Some(source) = &channel.source_builds {
                channels.insert(channel.name.clone(), Own::new(source, channel)?);
            }
        }
        Ok(SourceBuilds(channels))
    }

    /// Whether the operator may have a package built for a channel.
    pub fn may_build(&self, channel: &str, package: &str) -> bool {
        let Ok(atom) = Atom::parse(package) else { return false };
        self.0.get(channel).is_some_and(|own| allows(&own.config.packages, &atom))
    }

    /// What a build may take.
    pub fn limits(&self, channel: &str) -> Option<SourceLimits> {
        self.0.get(channel).map(|own| own.config.limits())
    }
}

impl Own {
    fn new(config: &SourceBuildsConfig, channel: &ChannelConfig) -> Result<Own, ConfigError> {
        let invalid = |why: String| ConfigError::Invalid(format!("channel {}: source_builds: {why}", channel.name));
        let key = read_key(&config.signing_key_file)?;
        let known = channel.binhosts.iter().find(|binhost| binhost.name == config.binhost);
        let (Some(binhost), Some(folder)) = (known, known.and_then(|binhost| binhost.folder())) else {
            return Err(invalid(format!("the binhost {} is no folder", config.binhost)));
        };
        let access = binhost.access()?;
        let keyring = Keyring::from_armored(&access.keyring).map(|keyring| keyring.fingerprints()).unwrap_or_default();
        if !access.allow_unsigned && !keyring.contains(&key.fingerprint()) {
            return Err(invalid(format!(
                "the keyring of the binhost {} does not have the key {} that signs what is built, so nobody would trust it",
                config.binhost,
                key.fingerprint()
            )));
        }
        let header = BTreeMap::from([("ARCH".to_owned(), channel.arch.clone())]);
        let binhost = OwnBinhost::open(folder, &header).map_err(|e| invalid(e.to_string()))?;
        Ok(Own { config: config.clone(), binhost, key })
    }
}

/// A package that may be built for a channel.
pub struct Request {
    channel: String,
    arch: String,
    atom: Atom,
    /// An atom without USE dependencies.
    package: String,
    flags: Vec<String>,
}

impl Request {
    /// What is asked for by an atom and flags.
    ///
    /// # Errors
    /// When it may not or cannot be built.
    pub fn new(app: &App, channel: &str, package: &str, flags: &[String]) -> Result<Request, NotBuilt> {
        let own = app.source_builds.0.get(channel).ok_or_else(|| NotBuilt::NoChannel(channel.to_owned()))?;
        let not_understood = || NotBuilt::NotUnderstood(package.to_owned());
        let atom = Atom::parse(package).ok().filter(|atom| atom.blocker.is_none()).ok_or_else(not_understood)?;
        let wish = advice::Wish::from(&atom);
        let mut flags: Vec<String> = wish.flag_words().into_iter().chain(flags.iter().cloned()).collect();
        flags.sort();
        flags.dedup();
        let is_flag = |flag: &String| gentoo::names::is_use_flag(flag.strip_prefix('-').unwrap_or(flag));
        if flags.len() > MAX_FLAGS || !flags.iter().all(is_flag) {
            return Err(not_understood());
        }
        if !allows(&own.config.packages, &atom) {
            return Err(NotBuilt::NotAllowed(atom.cp()));
        }
        let channel_config = app.config.channels.iter().find(|known| known.name == channel);
        let arch = channel_config.map(|known| known.arch.clone()).unwrap_or_default();
        let package = Atom { use_deps: Vec::new(), ..atom.clone() }.to_string();
        Ok(Request { channel: channel.to_owned(), arch, atom, package, flags })
    }

    /// What an order lacks.
    ///
    /// # Errors
    /// When it may not or cannot be built.
    pub fn of_wish(app: &App, channel: &str, wish: &Wish) -> Result<Request, NotBuilt> {
        Request::new(app, channel, &wish.package, &wish.flags)
    }

    /// What people call it: `app-editors/vim[python]`.
    pub fn title(&self) -> String {
        title(&self.package, &self.flags)
    }

    /// Whether this build is of the same.
    pub fn is(&self, build: &SourceBuild) -> bool {
        (&self.package, &self.flags) == (&build.package, &build.flags)
    }
}

/// What people call a package with flags, `-` before those that are off: `app-editors/vim[python,-X]`.
pub fn title(package: &str, flags: &[String]) -> String {
    if flags.is_empty() { package.to_owned() } else { format!("{package}[{}]", flags.join(",")) }
}

/// Has a package built for a channel, with these flags; the build. One that waits or runs already is joined.
///
/// # Errors
/// When it may not or cannot be built.
pub async fn ask(app: &App, channel: &str, package: &str, flags: &[String]) -> Result<String, NotBuilt> {
    place(app, &Request::new(app, channel, package, flags)?, false).await
}

/// Queues what was asked for; `for_orders` says that it is wanted by orders alone that wait for it.
///
/// # Errors
/// When too much waits already.
pub async fn place(app: &App, request: &Request, for_orders: bool) -> Result<String, NotBuilt> {
    let Request { channel, arch, atom, package, flags } = request;
    let title = request.title();
    let key = hash("hatchery source build", [channel, package].into_iter().chain(flags).map(String::as_str));
    let id = secret::token::<8>()?;
    let source = SourceBuild { package: package.clone(), flags: flags.clone(), path: None, for_orders };
    let work = work_of(atom);
    let new = NewSourceBuild { id: &id, join_key: &key, channel, arch, title: &title, source: &source, work: &work };
    let build = app.db.place_source(&new, MAX_WAITING).await?.ok_or(NotBuilt::Full)?;
    tracing::info!(build, channel, title, "to be built from source");
    app.bus.state_changed(&build);
    Ok(build)
}

/// What an order lacked is built where the operator has said so. Returns what will be.
pub async fn ask_unasked(app: &App, channel: &str, unmet: &[Wish]) -> Result<Vec<String>, NotBuilt> {
    let Some(own) = app.source_builds.0.get(channel) else { return Ok(Vec::new()) };
    let mut asked = Vec::new();
    for wish in unmet {
        if own.config.lists(&own.config.unasked, wish) {
            asked.push(place(app, &Request::of_wish(app, channel, wish)?, false).await?);
        }
    }
    Ok(asked)
}

/// What there is to do. How long it takes is learnt for each package alone.
fn work_of(atom: &Atom) -> Work {
    let part = Part::new(step_number(Step::Merge), format!("source {}", atom.cp()), 1.0, GUESS);
    Work { parts: vec![part] }
}

/// Checks, signs and adds what a worker built; from then on the channel has it.
///
/// # Errors
/// When it is not what was asked for, or cannot be added.
pub fn take(app: &Arc<App>, channel: &str, source: &SourceBuild, file: File) -> Result<Added, NotTaken> {
    let own = app.source_builds.0.get(channel).ok_or_else(|| NotTaken::NoChannel(channel.to_owned()))?;
    let package = Atom::parse(&source.package).map_err(|e| NotTaken::Atom(e.to_string()))?;
    let added = own.binhost.add(file, Asked { package: &package, flags: &source.flags }, &own.key)?;
    app.catalogue.read_again(channel);
    tracing::info!(channel, cpv = added.cpv, path = added.path, at = clock::now(), "built from source, signed and added");
    Ok(added)
}
