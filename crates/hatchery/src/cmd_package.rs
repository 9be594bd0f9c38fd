//! `hatchery package`: this program as binary packages, for a binhost.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::{Outcome, cmd_sample};

#[derive(clap::Args)]
pub struct Args {
    /// Where the packages go
    #[arg(long, short, value_name = "DIR")]
    output: PathBuf,
    /// Where the sample channel is kept, which makes them and signs them
    #[arg(long, env = "HATCHERY_DIR", default_value = "var")]
    data_dir: PathBuf,
}

/// The package and the accounts that it needs, as folders of the binhost.
const PACKAGES: [&str; 3] = ["acct-group/hatchery", "acct-user/hatchery", "app-admin/hatchery"];

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let Some(arch) = cmd_sample::own_arch() else {
        bail!("this program is for {}, and packages are made for amd64 and x86", std::env::consts::ARCH);
    };
    let binhost = cmd_sample::make(&args.data_dir, arch)?.join(arch.folder()).join("binhost");
    for package in PACKAGES {
        copy(&binhost.join(package), &args.output.join(package))?;
    }
    Ok(Outcome::Done)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    let entries = std::fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))?;
    for entry in entries {
        let entry = entry?;
        let copied = to.join(entry.file_name());
        std::fs::copy(entry.path(), &copied).with_context(|| format!("{} cannot be written", copied.display()))?;
        println!("{}", copied.display());
    }
    Ok(())
}
