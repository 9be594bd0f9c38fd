//! `hatchery backup`, `restore` and `migrate`: what an operator does with the data of a site.

use std::path::PathBuf;

use anyhow::Context;

use crate::{Outcome, channels};

/// How these commands find a site's data.
#[derive(clap::Args)]
struct SiteArgs {
    /// The site's configuration; without one, embedded defaults serve
    #[arg(long, value_name = "FILE", env = "HATCHERY_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept, when there is no configuration file
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
}

#[derive(clap::Args)]
pub struct BackupArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// A folder that is not there yet
    to: PathBuf,
}

#[derive(clap::Args)]
pub struct RestoreArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The folder that `hatchery backup` made
    from: PathBuf,
}

#[derive(clap::Args)]
pub struct MigrateArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The version of the tables to go forward or back to
    #[arg(long, default_value_t = server::NEWEST_TABLES)]
    to: i64,
}

impl SiteArgs {
    fn load(&self) -> anyhow::Result<server::Config> {
        channels::load(self.config.as_deref(), &self.data_dir)
    }
}

pub fn backup(args: BackupArgs) -> anyhow::Result<Outcome> {
    let config = args.site.load()?;
    block_on(server::backup(&config, &args.to))?.context("no backup was made")?;
    println!("{} holds the backup. Whoever can read it can read all orders: keep it as safe as the site.", args.to.display());
    Ok(Outcome::Done)
}

pub fn restore(args: RestoreArgs) -> anyhow::Result<Outcome> {
    let config = args.site.load()?;
    block_on(server::restore(&config, &args.from))?.context("nothing was restored")?;
    println!("The site is restored; start it with hatchery serve.");
    Ok(Outcome::Done)
}

pub fn migrate(args: MigrateArgs) -> anyhow::Result<Outcome> {
    let config = args.site.load()?;
    block_on(server::migrate(&config, args.to))?.context("the tables were left as they are")?;
    println!("The tables are at version {}.", args.to);
    Ok(Outcome::Done)
}

fn block_on<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    Ok(tokio::runtime::Runtime::new()?.block_on(work))
}
