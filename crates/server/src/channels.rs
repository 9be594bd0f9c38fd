//! The channels at run time: their indexes, read when they are needed and kept for a while, and whether they can be reached.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use binhost::{BinhostError, Client, IndexSnapshot};
use contract::lease::BinhostAccess;
use contract::{BinhostRef, Stage3};
use gentoo::keywords::AcceptKeywords;
use gentoo::profile::{Profile, ProfileError};

use crate::config::{BaseConfig, BinhostConfig, ChannelConfig, Config, ConfigError};
use crate::mirrors::{self, Index, Mirror, MirrorView};
use crate::presets::Preset;

/// A channel that could not be read is not asked again for so long.
const RETRY: Duration = Duration::from_secs(60);

/// What an index says of the flags that no IUSE names (PMS 11.1.1).
const IMPLICIT: [&str; 3] = ["IUSE_IMPLICIT", "USE_EXPAND_IMPLICIT", "USE_EXPAND_UNPREFIXED"];

/// All channels of a site, in the operator's order.
pub struct Channels {
    list: Vec<Arc<Channel>>,
}

/// One channel.
pub struct Channel {
    pub config: ChannelConfig,
    client: Arc<Client>,
    /// The address of the site, without a slash at the end, where the operator named one.
    site: Option<String>,
    ttl: Duration,
    /// Held while the indexes are read, so that they are read once however many ask.
    reading: tokio::sync::Mutex<()>,
    last: RwLock<Option<Reading>>,
    /// What was seen of each binhost, in the configuration's order, and of the stage3.
    mirrors: Vec<Mirror>,
    base_mirror: Mirror,
    /// The stage3 that was read last.
    base: Mutex<Option<Arc<Base>>>,
}

/// A stage3, and what it has installed.
struct Base {
    stage3: Stage3,
    installed: resolver::Installed,
}

/// The last attempt to read a channel.
#[derive(Clone)]
struct Reading {
    when: Instant,
    outcome: Result<Arc<Snapshot>, Unavailable>,
}

/// A channel as it was at one moment: what plans are made from.
pub struct Snapshot {
    /// What the resolver chooses from.
    pub universe: resolver::Universe,
    /// How many packages the channel offers, all builds counted.
    pub package_count: usize,
    /// What images are built on.
    pub base: Option<Stage3>,
    /// The profile as Portage writes it, `gentoo:default/linux/amd64/23.0`.
    pub profile: Option<String>,
}

/// Why a channel cannot be ordered from at the moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the channel “{channel}” cannot be read now: {reason}")]
pub struct Unavailable {
    pub channel: String,
    /// For everybody: without paths of this machine.
    pub reason: String,
    /// For the operator and the log.
    pub in_full: String,
}

impl Unavailable {
    /// The sentence, for the operator.
    pub fn in_full(&self) -> String {
        format!("the channel “{}” cannot be read now: {}", self.channel, self.in_full)
    }
}

/// Why something of a channel cannot be read, for everybody and in full.
struct Why {
    reason: String,
    in_full: String,
}

impl From<BinhostError> for Why {
    fn from(error: BinhostError) -> Self {
        Why { reason: error.without_paths(), in_full: error.to_string() }
    }
}

impl From<ConfigError> for Why {
    fn from(error: ConfigError) -> Self {
        Why { reason: error.without_paths(), in_full: error.to_string() }
    }
}

impl From<ProfileError> for Why {
    fn from(error: ProfileError) -> Self {
        let reason = match &error {
            ProfileError::Io { source, .. } => format!("its profile cannot be read: {source}"),
            ProfileError::Syntax { .. } | ProfileError::Structure { .. } => {
                "its profile is damaged or newer than what is understood; its operator has to look after it".to_owned()
            }
        };
        Why { reason, in_full: error.to_string() }
    }
}

/// What is known of a channel without asking anybody.
#[derive(Clone)]
pub enum Availability {
    /// It was not read yet.
    Unknown,
    Available(Arc<Snapshot>),
    Unavailable(Unavailable),
}

impl Channels {
    /// Sets up the channels of a configuration; nothing is fetched yet. `cache_dir` keeps indexes from run to run.
    pub fn new(config: &Config, cache_dir: &Path) -> Channels {
        let client = Arc::new(Client::new(cache_dir));
        let list = config
            .channels
            .iter()
            .map(|channel| {
                Arc::new(Channel {
                    config: channel.clone(),
                    client: client.clone(),
                    site: config.public_url.as_ref().map(|url| url.trim_end_matches('/').to_owned()),
                    ttl: Duration::from_secs(config.index_ttl_seconds),
                    reading: tokio::sync::Mutex::new(()),
                    last: RwLock::new(None),
                    mirrors: channel.binhosts.iter().map(|_| Mirror::default()).collect(),
                    base_mirror: Mirror::default(),
                    base: Mutex::default(),
                })
            })
            .collect();
        Channels { list }
    }

    pub fn all(&self) -> &[Arc<Channel>] {
        &self.list
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Channel>> {
        self.list.iter().find(|c| c.config.name == name)
    }

    /// The channel for an order that names none: the first of its architecture, and of its kind, that can be read.
    pub async fn default_for(&self, arch: &str, prefix: bool) -> Option<&Arc<Channel>> {
        for channel in self.list.iter().filter(|c| c.config.arch == arch && c.config.prefix.is_some() == prefix) {
            if channel.snapshot().await.is_ok() {
                return Some(channel);
            }
        }
        None
    }

    /// The channel to take where a preset names some: the first of them that there is for its architecture.
    pub fn of_preset<'a>(&self, preset: &'a Preset) -> Option<&'a str> {
        let is_fit = |name: &&String| self.get(name).is_some_and(|c| c.config.arch == preset.arch);
        preset.channels.iter().find(is_fit).map(String::as_str)
    }

    /// The first channel of the architecture that is known to be readable, as advice for people; of those that a preset names, where it
    /// names some.
    pub fn known_good(&self, arch: &str, preset: Option<&Preset>) -> Option<&Arc<Channel>> {
        let serves = |name: &String| preset.is_none_or(|p| p.channels.is_empty() || p.channels.contains(name));
        let is_good = |c: &&Arc<Channel>| {
            c.config.arch == arch && serves(&c.config.name) && matches!(c.availability(), Availability::Available(_))
        };
        self.list.iter().find(is_good)
    }
}

impl Channel {
    /// What the last attempt to read the channel showed.
    pub fn availability(&self) -> Availability {
        match self.last_reading() {
            None => Availability::Unknown,
            Some(Reading { outcome: Ok(snapshot), .. }) => Availability::Available(snapshot),
            Some(Reading { outcome: Err(reason), .. }) => Availability::Unavailable(reason),
        }
    }

    /// The channel's indexes, not older than the time to live; read now where they are.
    pub async fn snapshot(self: &Arc<Self>) -> Result<Arc<Snapshot>, Unavailable> {
        if let Some(outcome) = self.fresh() {
            return outcome;
        }
        let _reading = self.reading.lock().await;
        // Somebody else may have read it while we waited.
        if let Some(outcome) = self.fresh() {
            return outcome;
        }
        let channel = self.clone();
        let outcome = match tokio::task::spawn_blocking(move || channel.read()).await {
            Ok(outcome) => outcome,
            Err(error) => {
                Err(self.unavailable(format!("reading it broke off ({error}); the operator should look at the server's log")))
            }
        };
        match &outcome {
            Ok(snapshot) => tracing::info!(channel = %self.config.name, packages = snapshot.package_count, "channel read"),
            Err(reason) => tracing::warn!(channel = %self.config.name, reason = %reason.in_full, "channel cannot be read"),
        }
        let reading = Reading { when: Instant::now(), outcome: outcome.clone() };
        *self.last.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(reading);
        outcome
    }

    fn last_reading(&self) -> Option<Reading> {
        self.last.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Result<Arc<Snapshot>, Unavailable>> {
        let last = self.last_reading()?;
        let valid_for = if last.outcome.is_ok() { self.ttl } else { self.ttl.min(RETRY) };
        (last.when.elapsed() < valid_for).then_some(last.outcome)
    }

    /// A reason that names no path.
    fn unavailable(&self, reason: String) -> Unavailable {
        self.cannot_read(Why { in_full: reason.clone(), reason })
    }

    fn cannot_read(&self, why: impl Into<Why>) -> Unavailable {
        let Why { reason, in_full } = why.into();
        Unavailable { channel: self.config.name.clone(), reason, in_full }
    }

    /// Reads every index of the channel. All must be there: a plan made without the best binhost would silently be another one. The others are
    /// read even where one cannot be, so that the operator sees how each does.
    fn read(&self) -> Result<Arc<Snapshot>, Unavailable> {
        let mut profile = self.profile()?;
        let read: Vec<_> =
            self.config.binhosts.iter().zip(&self.mirrors).map(|(binhost, mirror)| self.index(binhost, mirror)).collect();
        let base = self.base();
        let mut binhosts = Vec::with_capacity(read.len());
        let (mut gone, mut told) = (BTreeSet::new(), false);
        for (binhost, read) in self.config.binhosts.iter().zip(read) {
            let (index, absent) = read?;
            // A new binhost of one's own knows nothing of the profile yet.
            if !told && IMPLICIT.iter().any(|key| index.packages.header.contains_key(*key)) {
                profile.set_implicit_iuse_from_index(&index.packages.header);
                told = true;
            }
            gone.extend(absent.into_iter().map(|path| (binhost.name.clone(), path)));
            let reference = BinhostRef {
                name: binhost.name.clone(),
                uri: self.served_at(&binhost.name).unwrap_or_else(|| binhost.uri.clone()),
                index_sha256: index.sha256,
                timestamp: index.timestamp,
            };
            binhosts.push(resolver::Binhost { access: reference, index: Arc::new(index.packages) });
        }
        let base = base?;
        let package_count = binhosts.iter().map(|b| b.index.entries.len()).sum();
        let mut source = resolver::Source::new(binhosts, profile);
        source.arch.clone_from(&self.config.arch);
        source.channel.clone_from(&self.config.name);
        // Whoever orders gets the image from us, so licences that forbid passing packages on count.
        source.published = true;
        source.gone = gone;
        source.installed = base.as_ref().map(|base| base.installed.clone());
        let base = base.map(|base| base.stage3.clone());
        Ok(Arc::new(Snapshot { universe: resolver::Universe::new(source), package_count, base, profile: self.profile_name() }))
    }

    /// The index of a binhost, with the paths that it lists and its folder does not have.
    fn index(&self, binhost: &BinhostConfig, mirror: &Mirror) -> Result<(IndexSnapshot, BTreeSet<String>), Unavailable> {
        let read = || -> Result<_, Why> {
            let access = binhost.access()?;
            let index = self.client.index(&access)?;
            let absent = self.client.absent(&access, &index.packages)?;
            Ok((index, absent))
        };
        let read = read();
        let seen = |(index, absent): &(IndexSnapshot, BTreeSet<String>)| {
            Index::read_now(Some(index.timestamp), index.packages.entries.len(), absent.len())
        };
        mirror.note(&read.as_ref().map(seen).map_err(|why| why.in_full.clone()));
        read.map_err(|why| self.cannot_read(why))
    }

    /// How each binhost does, best first, and the mirror of the stage3, as far as this server knows.
    pub fn mirrors(&self) -> Vec<MirrorView> {
        let availability = self.availability();
        let binhosts = self.config.binhosts.iter().zip(&self.mirrors);
        let binhosts = binhosts.map(|(binhost, mirror)| mirror.view(&binhost.name, &binhost.uri, &availability));
        let base = self.config.base.iter().map(|base| self.base_mirror.view("stage3", &base.stage3, &availability));
        binhosts.chain(base).collect()
    }

    /// The newest stage3 with what it has installed.
    fn base(&self) -> Result<Option<Arc<Base>>, Unavailable> {
        let Some(config) = &self.config.base else { return Ok(None) };
        let read = self.newest_base(config);
        let seen = |base: &Arc<Base>| Index::read_now(mirrors::made(&base.stage3), base.installed.entries.len(), 0);
        self.base_mirror.note(&read.as_ref().map(seen).map_err(|why| why.in_full.clone()));
        read.map(Some).map_err(|why| self.cannot_read(why))
    }

    /// It is fetched and read when its list names another than before.
    fn newest_base(&self, config: &BaseConfig) -> Result<Arc<Base>, Why> {
        let (access, list) = config.access()?;
        let stage3 = self.client.latest_stage3(&access, &list)?;
        let mut known = self.base.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(base) = known.as_ref().filter(|base| base.stage3 == stage3) {
            return Ok(base.clone());
        }
        tracing::info!(channel = %self.config.name, stage3 = %stage3.path, "fetching the stage3");
        let installed = self.client.stage3(&access, &stage3, &mut |_| {})?.installed()?.into();
        let base = Arc::new(Base { stage3, installed });
        *known = Some(base.clone());
        Ok(base)
    }

    fn profile(&self) -> Result<Profile, Unavailable> {
        let mut profile = self.profile_alone()?;
        self.config.check_against(&profile).map_err(|e| self.cannot_read(e))?;
        if let Some(keywords) = &self.config.accept_keywords {
            profile.accept_keywords = AcceptKeywords::parse(keywords);
        }
        for atom in self.config.denied().map_err(|e| self.cannot_read(e))? {
            profile.masks.mask(atom, "the operator of this site does not offer it");
        }
        if let Some(licences) = &self.config.accept_license {
            profile.set_accept_license(licences);
        }
        if let Some(prefix) = &self.config.prefix {
            profile.provided.extend(prefix.provided().map_err(|e| self.unavailable(e))?);
        }
        Ok(profile)
    }

    fn profile_alone(&self) -> Result<Profile, Unavailable> {
        let Some(path) = &self.config.profile else {
            return Ok(Profile::minimal(&self.config.arch));
        };
        let Some((repository, _)) = repository_of(path) else {
            let reason = "its profile is not below a folder named “profiles”".to_owned();
            let in_full = format!("the profile {} is not below a folder named “profiles”", path.display());
            return Err(self.cannot_read(Why { reason, in_full }));
        };
        Profile::load(path, repository).map_err(|e| self.cannot_read(e))
    }

    /// The name of the profile; that of its repository is what it says itself (PMS 4.4).
    fn profile_name(&self) -> Option<String> {
        let (repository, profile) = repository_of(self.config.profile.as_deref()?)?;
        let name = std::fs::read_to_string(repository.join("profiles/repo_name")).ok()?;
        Some(format!("{}:{}", name.trim(), profile.to_str()?))
    }

    /// The binhosts, best first, with their keyrings as they are on disk now.
    pub fn access(&self) -> Result<Vec<BinhostAccess>, ConfigError> {
        self.config.binhosts.iter().map(|b| b.access()).collect()
    }

    /// The folder of a binhost that this site gives out.
    pub fn served_folder(&self, binhost: &str) -> Option<PathBuf> {
        let binhost = self.config.binhosts.iter().find(|known| known.name == binhost && known.serve)?;
        binhost.folder().map(Path::to_owned)
    }

    /// The address at which this site gives a binhost out, if it does.
    fn served_at(&self, binhost: &str) -> Option<String> {
        self.served_folder(binhost)?;
        Some(format!("{}/binhost/{}/{binhost}", self.site.as_deref()?, self.config.name))
    }

    /// Where the channel's stage3 is, with its keyring as it is on disk now.
    pub fn stage3_access(&self) -> Result<Option<BinhostAccess>, ConfigError> {
        self.config.base.as_ref().map(|base| base.access().map(|(access, _)| access)).transpose()
    }

    /// The Gentoo repository that tells of advisories and sources: the one named, or else the profile's.
    pub fn repository(&self) -> Option<PathBuf> {
        repository(&self.config)
    }

    /// The indexes have changed: the next [`Channel::snapshot`] reads them.
    pub fn read_again(&self) {
        *self.last.write().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }

    /// Whether the next [`Channel::snapshot`] answers at once.
    pub fn is_fresh(&self) -> bool {
        self.fresh().is_some()
    }
}

/// The Gentoo repository of a channel: the one named, or else the profile's.
pub fn repository(channel: &ChannelConfig) -> Option<PathBuf> {
    let of_profile = || repository_of(channel.profile.as_deref()?).map(|(repository, _)| repository);
    channel.repository.as_deref().or_else(of_profile).map(Path::to_owned)
}

/// The repository that a profile's folder is in, and the profile's name: the path below `profiles`.
fn repository_of(profile: &Path) -> Option<(&Path, &Path)> {
    let profiles = profile.ancestors().find(|a| a.file_name().is_some_and(|n| n == "profiles"))?;
    Some((profiles.parent()?, profile.strip_prefix(profiles).ok()?))
}
