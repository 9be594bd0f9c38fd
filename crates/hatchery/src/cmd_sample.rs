//! `hatchery sample`: the sample channel, made on the spot.

use std::path::{Path, PathBuf};
use std::process::Command;
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
    let own = own_program(&dir, arch)?;
    let given = own.iter().map(|path| ("hatchery".to_owned(), path.clone())).collect();
    let made = sample::make(&sample::Options { dir: dir.clone(), arch, jobs: 0, recipes: None, given }, &mut progress)
        .context("the sample channel could not be made")?;
    eprintln!("sample channel: {} packages", made.packages);
    Ok(dir)
}

/// The architecture that this program is for, where the sample is made for it.
pub fn own_arch() -> Option<sample::Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(sample::Arch::Amd64),
        "x86" => Some(sample::Arch::X86),
        _ => None,
    }
}

/// This program without what only debuggers read, for the package of Hatchery itself; none where it is for another architecture.
fn own_program(dir: &Path, arch: sample::Arch) -> anyhow::Result<Option<PathBuf>> {
    if own_arch() != Some(arch) {
        return Ok(None);
    }
    let folder = dir.join("own");
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let stripped = folder.join("hatchery");
    let running = std::env::current_exe()?;
    // Processes that make the sample at once each strip into a file of their own.
    let fresh = tempfile::NamedTempFile::new_in(&folder)?;
    let status = Command::new("strip").arg("--strip-all").arg("-o").arg(fresh.path()).arg(&running).status();
    if !status.is_ok_and(|status| status.success()) {
        tracing::warn!("strip (binutils) did not work; the package of Hatchery keeps its debugging information");
        std::fs::copy(&running, fresh.path())?;
    }
    fresh.persist(&stripped)?;
    Ok(Some(stripped))
}
