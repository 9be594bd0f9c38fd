//! What can be ordered: the channels and the presets, and the plan an order gets of them. It keeps no state but what it read, so that
//! `hatchery plan` and `hatchery build` plan exactly as the site does.

use std::path::PathBuf;
use std::sync::Arc;

use contract::lease::BinhostAccess;
use contract::plan::PLAN_VERSION;
use contract::{Job, Order, OrderError, Plan};
use tokio::sync::Semaphore;

use crate::channels::{Availability, Channel, Channels, Unavailable};
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::orders::Refusal;
use crate::planner;
use crate::presets::{Preset, Presets};
use crate::settings;

/// The channels and presets of a site.
pub struct Catalogue {
    pub(crate) channels: Channels,
    pub(crate) presets: Presets,
    /// How many plans are made at once: planning is work for a processor, and others want it too.
    planning: Semaphore,
}

/// An order with all it refers to looked up, and its plan.
pub struct Planned {
    pub(crate) channel: Arc<Channel>,
    pub plan: Plan,
    pub title: String,
}

impl Catalogue {
    /// Sets up what a configuration names; no index is read before it is needed.
    pub fn new(config: &Config) -> Result<Catalogue, ConfigError> {
        config.check()?;
        let all = Presets::load(config.presets_dir.as_deref())?;
        let presets = all.clone().for_channels(&config.channels);
        let built_in = Presets::load(None)?;
        for lost in all.all().iter().filter(|p| presets.get(&p.name).is_none() && built_in.get(&p.name).is_none()) {
            tracing::warn!(preset = lost.name, arch = lost.arch, channels = ?lost.channels, "no channel serves this preset, so it is not shown");
        }
        if config.channels.is_empty() {
            tracing::warn!("the configuration has no [[channel]], so nothing can be ordered");
        }
        if let Some(unknown) = config.warm.iter().find(|name| presets.get(name).is_none()) {
            let known: Vec<&str> = presets.all().iter().map(|preset| preset.name.as_str()).collect();
            let message =
                format!("warm names “{}”, which is no preset of this site; it has {}", unknown.escape_debug(), known.join(", "));
            return Err(ConfigError::Invalid(message));
        }
        Ok(Catalogue {
            channels: Channels::new(config, &config.data_dir.join("indexes")),
            presets,
            planning: Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)),
        })
    }

    /// Checks and plans an order without keeping it.
    pub async fn plan(&self, order: &Order) -> Result<Planned, Refusal> {
        order.check()?;
        settings::check_names(&order.system)?;
        let preset = self.find_preset(order)?;
        let channel = self.find_channel(order, preset.as_ref()).await?;
        check_prefix(order, &channel)?;
        if let Some(atom) = channel.config.not_allowed(&order.packages) {
            let allowed = channel.config.packages_allowed.join(", ");
            let message = format!("“{atom}” is not among what this site's operator allows to be ordered by name: {allowed}");
            return Err(OrderError::new("packages", message).into());
        }
        let snapshot = channel.snapshot().await.map_err(|reason| self.unavailable(order, preset.as_ref(), &reason))?;
        let title = preset.as_ref().map_or_else(own_choice, |p| p.title.clone());
        let _turn = self.planning.acquire().await.map_err(|e| Refusal::Internal(Box::new(e)))?;
        let (for_planner, for_plan) = (channel.clone(), order.clone());
        let plan = tokio::task::spawn_blocking(move || planner::plan(&for_planner, &snapshot, &for_plan, preset.as_ref()))
            .await
            .map_err(|e| Refusal::Internal(Box::new(e)))??;
        settings::check_by_plan(&order.system, &plan)?;
        Ok(Planned { channel, plan, title })
    }

    /// Takes the plan of a lock file instead of making one: the same packages, whatever the channel has by now.
    ///
    /// # Errors
    /// When the order and the lock do not go together, or the lock's channel or binhosts are not configured.
    pub fn locked(&self, order: &Order, plan: Plan) -> Result<Planned, Refusal> {
        order.check()?;
        let wrong = |message: String| Refusal::from(OrderError::new("lock", message));
        if plan.version != PLAN_VERSION {
            return Err(wrong(format!("the lock file has version {}, and this Hatchery reads {PLAN_VERSION}", plan.version)));
        }
        if plan.arch != order.arch || plan.prefix != order.prefix {
            return Err(wrong("the lock file is for another architecture or prefix than the order".into()));
        }
        let channel = self.channels.get(&plan.channel).cloned();
        let channel = channel.ok_or_else(|| wrong(format!("the lock file's channel “{}” is not configured", plan.channel)))?;
        let missing = plan.binhosts.iter().find(|b| !channel.config.binhosts.iter().any(|known| known.name == b.name));
        if let Some(missing) = missing {
            return Err(wrong(format!("the lock file's binhost “{}” is not one of the channel's", missing.name)));
        }
        let title = self.find_preset(order)?.map_or_else(own_choice, |p| p.title);
        Ok(Planned { channel, plan, title })
    }

    /// An order of a channel that cannot be planned yet.
    pub(crate) fn unplanned(&self, order: &Order, channel: &str) -> Result<Planned, Refusal> {
        let channel = self.channels.get(channel).cloned();
        let channel = channel.ok_or_else(|| OrderError::new("channel", "the channel is no longer offered"))?;
        let title = self.find_preset(order)?.map_or_else(own_choice, |p| p.title);
        let plan = Plan::empty(&channel.config.name, &order.arch);
        Ok(Planned { channel, plan, title })
    }

    /// The indexes of a channel have changed.
    pub(crate) fn read_again(&self, channel: &str) {
        if let Some(channel) = self.channels.get(channel) {
            channel.read_again();
        }
    }

    /// The channel that an order would be served from.
    pub(crate) async fn channel_of(&self, order: &Order) -> Result<Arc<Channel>, Refusal> {
        let preset = self.find_preset(order)?;
        self.find_channel(order, preset.as_ref()).await
    }

    fn find_preset(&self, order: &Order) -> Result<Option<Preset>, Refusal> {
        let Some(name) = &order.preset else {
            return Ok(None);
        };
        let Some(preset) = self.presets.get(name) else {
            let known: Vec<&str> = self.presets.all().iter().map(|p| p.name.as_str()).collect();
            return Err(
                OrderError::new("preset", format!("there is no preset “{name}”; choose from {}", known.join(", "))).into()
            );
        };
        if preset.arch != order.arch {
            let message = format!("the preset “{name}” is for {}, but the order is for {}", preset.arch, order.arch);
            return Err(OrderError::new("preset", message).into());
        }
        Ok(Some(preset.clone()))
    }

    async fn find_channel(&self, order: &Order, preset: Option<&Preset>) -> Result<Arc<Channel>, Refusal> {
        let of_preset = || self.channels.of_preset(preset?);
        if let Some(name) = order.channel.as_deref().or_else(of_preset) {
            let Some(channel) = self.channels.get(name) else {
                let known: Vec<&str> = self.channels.all().iter().map(|c| c.config.name.as_str()).collect();
                return Err(OrderError::new(
                    "channel",
                    format!("there is no channel “{name}”; choose from {}", known.join(", ")),
                )
                .into());
            };
            if channel.config.arch != order.arch {
                let message = format!("the channel “{name}” is for {}, but the order is for {}", channel.config.arch, order.arch);
                return Err(OrderError::new("channel", message).into());
            }
            return Ok(channel.clone());
        }
        if let Some(channel) = self.channels.default_for(&order.arch, order.prefix.is_some()).await {
            return Ok(channel.clone());
        }
        let reasons: Vec<Unavailable> = self
            .channels
            .all()
            .iter()
            .filter(|c| c.config.arch == order.arch && c.config.prefix.is_some() == order.prefix.is_some())
            .filter_map(|c| match c.availability() {
                Availability::Unavailable(reason) => Some(reason),
                Availability::Unknown | Availability::Available(_) => None,
            })
            .collect();
        if reasons.is_empty() {
            let kind = if order.prefix.is_some() { " with packages for a prefix" } else { "" };
            return Err(OrderError::new("arch", format!("this site has no channel for “{}”{kind}", order.arch)).into());
        }
        let all = |of: fn(&Unavailable) -> String| reasons.iter().map(of).collect::<Vec<_>>().join("; ");
        Err(Refusal::Unavailable { reason: all(ToString::to_string), advice: None, in_full: all(Unavailable::in_full) })
    }

    /// Says which channel works instead.
    fn unavailable(&self, order: &Order, preset: Option<&Preset>, reason: &Unavailable) -> Refusal {
        let good = self.channels.known_good(&order.arch, preset);
        let advice = good.map(|c| format!("The channel “{}” works; order from it.", c.config.name));
        let Unavailable { channel, reason: why, .. } = reason;
        let told = format!("the channel “{channel}” cannot be read now: {why}.");
        Refusal::Unavailable { reason: told, advice, in_full: reason.in_full() }
    }
}

/// The title of an order without a preset.
fn own_choice() -> String {
    "Own choice of packages".to_owned()
}

/// Packages that were built for a prefix go into one, and no others do.
fn check_prefix(order: &Order, channel: &Channel) -> Result<(), OrderError> {
    let title = &channel.config.title;
    match (&order.prefix, &channel.config.prefix) {
        (None, None) => Ok(()),
        (None, Some(_)) => {
            let message = format!(
                "the channel “{title}” has packages for a prefix: name the folder it is for, like /home/larry/gentoo, or choose another \
                 channel"
            );
            Err(OrderError::new("prefix", message))
        }
        (Some(_), None) => {
            let message =
                format!("the channel “{title}” has no packages for a prefix: leave the folder empty, or choose another channel");
            Err(OrderError::new("prefix", message))
        }
        (Some(wanted), Some(config)) if wanted.len() > config.built_at.len() => {
            let message = format!(
                "{wanted} has {} characters, and this channel's packages were built at {}, which has {}: a longer path does not fit into \
                 their programs, so choose one of at most {} characters",
                wanted.len(),
                config.built_at,
                config.built_at.len(),
                config.built_at.len()
            );
            Err(OrderError::new("prefix", message))
        }
        (Some(_), Some(_)) => Ok(()),
    }
}

impl Planned {
    /// `hatchery-amd64-server-20261122`: the preset (own choices are named by their arch) and the day of the newest index, so that the
    /// same plan gives the same name whenever it is built. The day is left out while there is no plan.
    pub fn image_name(&self, order: &Order) -> String {
        let stem = match &order.preset {
            Some(preset) => preset.clone(),
            None => format!("{}-own", order.arch),
        };
        match self.plan.binhosts.iter().map(|b| b.timestamp).max() {
            Some(newest) => format!("hatchery-{stem}-{}", clock::compact_date(i64::try_from(newest).unwrap_or(0))),
            None => format!("hatchery-{stem}"),
        }
    }

    /// One line said inside the image about where it comes from.
    pub fn notice(&self) -> String {
        self.channel.config.notice.clone().unwrap_or_else(|| {
            format!(
                "Made by Hatchery, which is unofficial and not part of the Gentoo project, from the channel “{}”.",
                self.channel.config.title
            )
        })
    }

    /// The Gentoo repository that tells of advisories and sources.
    pub fn repository(&self) -> Option<PathBuf> {
        self.channel.repository()
    }

    /// Where the plan's binhosts are, with their keyrings.
    pub fn binhosts(&self) -> Result<Vec<BinhostAccess>, ConfigError> {
        self.channel.access()
    }

    /// The job a worker would get for it, for building without a queue.
    pub fn job(&self, order: &Order) -> Result<Job, ConfigError> {
        let mut formats = order.formats.clone();
        formats.sort();
        Ok(Job {
            build: "local".into(),
            plan: self.plan.clone(),
            binhosts: self.binhosts()?,
            stage3: self.channel.stage3_access()?,
            system: order.system.clone(),
            formats,
            image_name: self.image_name(order),
            notice: self.notice(),
            boot_gate: false,
            control_files: false,
            source: None,
        })
    }
}
