//! `hatchery work`: a worker for a site on this or another machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Context;

use crate::Outcome;

#[derive(clap::Args)]
pub struct Args {
    /// The site's address, like https://hatchery.example
    #[arg(long)]
    server: String,
    /// A file holding the worker token the site's operator gave out
    #[arg(long, value_name = "FILE")]
    token_file: PathBuf,
    /// Where packages, the store and unfinished work are kept
    #[arg(long, env = "HATCHERY_WORK_DIR", default_value = "var/worker")]
    dir: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
    /// The name the operator sees, and by which the site knows what this worker has [default: the machine's name]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    roots: RootArgs,
    /// End when the process that started this one ends
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

/// Systems that packages are built from source on.
#[derive(clap::Args)]
pub struct RootArgs {
    /// Build packages for this channel from source, with the Portage and the configuration of the system in the folder; may be given again
    #[arg(long = "build-root", value_name = "CHANNEL=FOLDER", value_parser = build_root)]
    pub build_roots: Vec<(String, PathBuf)>,
}

impl RootArgs {
    /// As they are given to another process.
    pub fn words(&self) -> Vec<OsString> {
        let word = |(channel, folder): &(String, PathBuf)| {
            let mut word = OsString::from(format!("--build-root={channel}="));
            word.push(folder);
            word
        };
        self.build_roots.iter().map(word).collect()
    }
}

fn build_root(text: &str) -> Result<(String, PathBuf), String> {
    let (channel, folder) = text.split_once('=').ok_or("give a channel and a folder, like `own=/srv/build-root`")?;
    Ok((channel.to_owned(), folder.into()))
}

/// How much is kept for later builds.
#[derive(clap::Args)]
pub struct CacheArgs {
    /// How much packages, file contents and compressed forms may take in the work folder, in GiB
    #[arg(long, env = "HATCHERY_CACHE_SIZE", value_name = "GIB", default_value_t = 20)]
    cache_size: u64,
}

impl CacheArgs {
    pub fn bytes(&self) -> u64 {
        self.cache_size.saturating_mul(1 << 30)
    }
}

/// The name of this machine (uname(2)); several workers on one machine are given names of their own.
fn machine_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "worker".to_owned(),
        name => name.to_owned(),
    }
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.exit_with_parent {
        nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    }
    let token = std::fs::read_to_string(&args.token_file)
        .with_context(|| format!("the worker token cannot be read from {}", args.token_file.display()))?;
    let config = worker::Config {
        server: args.server,
        token: token.trim().to_owned(),
        name: args.name.unwrap_or_else(machine_name),
        dir: args.dir,
        cache_size: args.cache.bytes(),
        build_roots: args.roots.build_roots.into_iter().collect(),
    };
    worker::run(&config, &AtomicBool::new(false))?;
    Ok(Outcome::Done)
}
