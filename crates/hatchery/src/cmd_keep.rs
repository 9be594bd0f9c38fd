//! `hatchery backup`, `restore`, `export`, `import` and `migrate`: what an operator does with the data of a site.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
pub struct ExportArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// Put the tokens and the signing key in, too
    #[arg(long)]
    keys: bool,
    /// The archive, a file that is not there yet; - writes it to the standard output
    to: PathBuf,
}

#[derive(clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// The archive that `hatchery export` made; - reads it from the standard input
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

pub fn export(args: ExportArgs) -> anyhow::Result<Outcome> {
    let config = args.site.load()?;
    let run = |to: &mut (dyn Write + Send)| block_on(server::export(&config, args.site.config.as_deref(), args.keys, to));
    let exported = if args.to == Path::new("-") {
        run(&mut std::io::stdout())?.context("the site was not exported")?
    } else {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.to);
        let mut file = file.with_context(|| format!("{} cannot be made; is it there already?", args.to.display()))?;
        let exported = run(&mut file)?.inspect_err(|_| {
            let _ = std::fs::remove_file(&args.to);
        });
        let exported = exported.context("the site was not exported")?;
        file.sync_all().with_context(|| format!("{} could not be written to the disk", args.to.display()))?;
        exported
    };
    eprintln!("{} rows, {} images, {} files in all.", exported.rows, exported.images, exported.files);
    eprintln!("Whoever can read the archive can read all orders: keep it as safe as the site.");
    Ok(Outcome::Done)
}

pub fn import(args: ImportArgs) -> anyhow::Result<Outcome> {
    let config = args.site.load()?;
    let run = |from: &mut (dyn Read + Send)| block_on(server::import(&config, from));
    let imported = if args.from == Path::new("-") {
        run(&mut std::io::stdin())?
    } else {
        let file = File::open(&args.from).with_context(|| format!("{} cannot be read", args.from.display()))?;
        run(&mut BufReader::new(file))?
    };
    let imported = imported.context("the archive was not taken in")?;
    println!("{} rows and {} images are taken in.", imported.rows, imported.images);
    println!(
        "Binhosts, presets and keyrings are in {}: name them in the configuration, then start the site.",
        imported.carried.display()
    );
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
