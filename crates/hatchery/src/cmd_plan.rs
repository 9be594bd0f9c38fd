//! `hatchery plan`: which packages an order or a list of atoms gets, in merge order, and why each is there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use contract::{Format, Order, Plan};
use server::{BinhostConfig, Catalogue, ChannelConfig, Config, Planned, PrefixConfig, Refusal};

use crate::{Outcome, channels, cmd_order, follow};

#[derive(clap::Args)]
pub struct Args {
    /// An order file (its name ends in .toml), or package atoms
    #[arg(required = true, value_name = "ORDER.toml | ATOM…")]
    what: Vec<String>,
    /// Print the plan as JSON: the lock file
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: SourceArgs,
}

/// Where packages come from, when the configured channels are not meant.
#[derive(clap::Args)]
pub struct SourceArgs {
    /// The configuration with the channels; without one, the embedded ones serve
    #[arg(long, value_name = "FILE", env = "HATCHERY_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept, when there is no configuration file
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
    /// Take packages from this binhost instead of a channel; repeat it, earlier ones win
    #[arg(long, value_name = "DIR-or-URL")]
    binhost: Vec<String>,
    /// The architecture of those binhosts; an order names its own
    #[arg(long, default_value = "amd64")]
    arch: String,
    /// The profile to use with those binhosts: its folder in a Gentoo repository
    #[arg(long, value_name = "DIR", requires = "binhost")]
    profile: Option<PathBuf>,
    /// ACCEPT_KEYWORDS instead of the profile's, like "amd64 ~amd64"
    #[arg(long, value_name = "KEYWORDS", requires = "binhost")]
    accept_keywords: Option<String>,
    /// The OpenPGP certificates that those binhosts' packages must be signed by
    #[arg(long, value_name = "FILE", requires = "binhost")]
    keyring: Option<PathBuf>,
    /// Those binhosts have Gentoo Prefix packages, built at this EPREFIX
    #[arg(long, value_name = "EPREFIX", requires = "binhost")]
    built_at: Option<String>,
    /// A package (as a CPV) that the system around a prefix brings, like sys-libs/glibc-2.36; repeat it
    #[arg(long, value_name = "CPV", requires = "built_at")]
    host_provides: Vec<String>,
    /// Take unsigned packages (all XPAK) from those binhosts
    #[arg(long, requires = "binhost")]
    allow_unsigned: bool,
}

/// The name of the channel that `--binhost` makes.
const AD_HOC: &str = "command-line";

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut order = wanted(&args.what, &args.source.arch)?;
    // Nothing is fetched for a plan but indexes, so no trust is needed yet.
    let config = args.source.config(&mut order, true)?;
    match plan(&config, &order)? {
        Ok(planned) if args.json => println!("{}", serde_json::to_string_pretty(&planned.plan)?),
        Ok(planned) => print(&planned.plan),
        Err(refused) => {
            if args.json {
                println!(
                    "{}",
                    serde_json::json!({ "explanation": refused.explanation.to_string(), "details": refused.explanation })
                );
            }
            eprintln!("{}", refused.explanation);
            return Ok(Outcome::NoPlan);
        }
    }
    Ok(Outcome::Done)
}

/// Plans an order exactly as a site with this configuration would. The inner error is the explanation of why there is no plan.
pub fn plan(config: &Config, order: &Order) -> anyhow::Result<Result<Planned, server::PlanRefused>> {
    let catalogue = Catalogue::new(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    match runtime.block_on(catalogue.plan(order)) {
        Ok(planned) => Ok(Ok(planned)),
        Err(Refusal::NoPlan(refused)) => Ok(Err(refused)),
        // Whoever plans here is the operator.
        Err(Refusal::Unavailable { in_full, .. }) => Err(anyhow::anyhow!(in_full)),
        Err(other) => Err(other.into()),
    }
}

fn wanted(what: &[String], arch: &str) -> anyhow::Result<Order> {
    if let [path] = what
        && path.ends_with(".toml")
    {
        return cmd_order::read_order(Path::new(path));
    }
    let order = Order { arch: arch.to_owned(), packages: what.to_vec(), formats: vec![Format::TarBz2], ..Order::default() };
    order.check()?;
    Ok(order)
}

impl SourceArgs {
    /// The configuration to plan with; with `--binhost`, the order is put on a channel of just those.
    pub fn config(&self, order: &mut Order, only_plan: bool) -> anyhow::Result<Config> {
        let mut config = channels::load(self.config.as_deref(), &self.data_dir)?;
        if self.binhost.is_empty() {
            return Ok(config);
        }
        let binhosts = self.binhost.iter().enumerate().map(|(index, given)| {
            Ok(BinhostConfig {
                name: format!("binhost{}", index + 1),
                uri: uri(given)?,
                keyring_file: self.keyring.clone(),
                keyring: String::new(),
                allow_unsigned: self.allow_unsigned || only_plan,
                serve: false,
            })
        });
        config.channels = vec![ChannelConfig {
            name: AD_HOC.into(),
            title: "Binhosts of the command line".into(),
            arch: order.arch.clone(),
            description: String::new(),
            notice: None,
            boot_packages: Vec::new(),
            repository: None,
            profile: self.profile.as_deref().map(std::path::absolute).transpose()?,
            accept_keywords: self.accept_keywords.clone(),
            // Licence groups are defined by a Gentoo tree; without one, they cannot be told apart.
            accept_license: self.profile.is_none().then(|| "*".to_owned()),
            base: None,
            prefix: self.built_at.clone().map(|built_at| PrefixConfig { built_at, host_provides: self.host_provides.clone() }),
            install_mask: String::new(),
            packages_denied: Vec::new(),
            packages_allowed: Vec::new(),
            source_builds: None,
            binhosts: binhosts.collect::<anyhow::Result<_>>()?,
        }];
        order.channel = Some(AD_HOC.into());
        Ok(config)
    }

    /// Where work is done and packages are kept.
    pub fn work_dir(&self) -> PathBuf {
        self.data_dir.join("build")
    }
}

/// A folder as a `file://` address; addresses as they are.
fn uri(given: &str) -> anyhow::Result<String> {
    if given.contains("://") {
        return Ok(given.to_owned());
    }
    let folder = std::fs::canonicalize(given).with_context(|| format!("the binhost {given} cannot be found"))?;
    let folder = folder.to_str().with_context(|| format!("the path {} is not Unicode", folder.display()))?;
    Ok(format!("file://{folder}"))
}

fn print(plan: &Plan) {
    for package in &plan.packages {
        let build = package.build_id.map(|id| format!("-{id}")).unwrap_or_default();
        let flags = if package.use_flags.is_empty() { String::new() } else { format!(" [{}]", package.use_flags.join(" ")) };
        println!("{}{build}:{}{flags}", package.cpv, package.slot);
        if let Some(reason) = package.because.first() {
            println!("    {reason}");
        }
    }
    for note in &plan.notes {
        println!("Note: {note}");
    }
    let summary = &plan.summary;
    println!(
        "{} packages, {} to fetch, about {} installed",
        summary.packages,
        follow::size(summary.download_size),
        follow::size(summary.installed_size)
    );
}
