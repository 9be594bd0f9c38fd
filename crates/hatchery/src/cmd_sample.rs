//! `hatchery sample`: the sample channel, made on the spot.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::Context;

use crate::{Outcome, channels};

#[derive(clap::Args)]
pub struct Args {
    /// Where it is kept
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
    /// The architecture
    #[arg(long, default_value = "amd64", value_parser = architecture)]
    arch: sample::Arch,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let dir = make(&args.data_dir, args.arch)?;
    println!("{}", dir.display());
    Ok(Outcome::Done)
}

fn architecture(name: &str) -> Result<sample::Arch, String> {
    sample::Arch::named(name).ok_or_else(|| {
        let known: Vec<&str> = sample::Arch::ALL.iter().map(|arch| arch.keyword()).collect();
        format!("the sample is made for {}", known.join(" and "))
    })
}

/// Makes the sample channel, or brings it up to date; what is there already is kept.
pub fn make(data_dir: &Path, arch: sample::Arch) -> anyhow::Result<PathBuf> {
    let dir = channels::sample_dir(data_dir);
    let last = Mutex::new(String::new());
    let mut progress = |what: &str, done: u64, total: u64| {
        let line = format!("sample channel: {what}");
        if let Ok(mut last) = last.lock()
            && *last != line
        {
            tracing::debug!(done, total, "{line}");
            *last = line;
        }
    };
    eprintln!("making the sample channel in {} (kept for the next time)", dir.display());
    let made = sample::make(&sample::Options { dir: dir.clone(), arch, jobs: 0, recipes: None }, &mut progress)
        .context("the sample channel could not be made")?;
    eprintln!("sample channel: {} packages", made.packages);
    Ok(dir)
}
