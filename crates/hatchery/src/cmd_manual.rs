//! `hatchery completions` and `hatchery man`: made from the commands themselves.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;

use crate::{Cli, Outcome};

#[derive(clap::Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

#[derive(clap::Args)]
pub struct ManArgs {
    /// The folder that the pages are written to; without one, the page of the whole is printed
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn completions(args: CompletionsArgs) -> anyhow::Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hatchery", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(Outcome::Done)
}

pub fn man(args: ManArgs) -> anyhow::Result<Outcome> {
    let Some(folder) = args.output else {
        clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
        return Ok(Outcome::Done);
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), &folder)
        .with_context(|| format!("no pages can be written to {}", folder.display()))?;
    println!("{}", folder.display());
    Ok(Outcome::Done)
}
