//! `hatchery build`: what the site and a worker do together, with no server.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::cmd_plan::SourceArgs;
use crate::cmd_work::CacheArgs;
use crate::progress::Display;
use crate::{Outcome, cmd_order, cmd_plan};

#[derive(clap::Args)]
pub struct Args {
    /// The order, in TOML
    order: PathBuf,
    /// Where the images go
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    source: SourceArgs,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut order = cmd_order::read_order(&args.order)?;
    let config = args.source.config(&mut order, false)?;
    let planned = match cmd_plan::plan(&config, &order)? {
        Ok(planned) => planned,
        Err(refused) => {
            eprintln!("{}", refused.explanation);
            return Ok(Outcome::NoPlan);
        }
    };
    let job = planned.job(&order)?;
    std::fs::create_dir_all(&args.output).with_context(|| format!("{} cannot be made", args.output.display()))?;
    let display = Display::new();
    let workshop = worker::Workshop::open(&args.source.work_dir()).map_err(failed)?;
    let built = worker::build(&job, &workshop, &args.output, &display);
    display.finish();
    let built = built.map_err(failed)?;
    workshop.trim(args.cache.bytes()).context("the work folder could not be trimmed")?;
    for message in &built.messages {
        eprintln!("{message}");
    }
    let lock = args.output.join(format!("{}.plan.json", job.image_name));
    std::fs::write(&lock, serde_json::to_vec_pretty(&built.plan)?)
        .with_context(|| format!("{} cannot be written", lock.display()))?;
    let sums: String = built.files.iter().map(|f| format!("{}  {}\n", f.artifact.sha256, f.artifact.name)).collect();
    let sums_path = args.output.join(format!("{}.SHA256SUMS", job.image_name));
    std::fs::write(&sums_path, sums).with_context(|| format!("{} cannot be written", sums_path.display()))?;
    for path in built.files.iter().map(|f| f.path.as_path()).chain([lock.as_path(), sums_path.as_path()]) {
        let synced = std::fs::File::open(path).and_then(|file| file.sync_all());
        synced.with_context(|| format!("{} could not be written to the disk", path.display()))?;
        println!("{}", shown(path));
    }
    Ok(Outcome::Done)
}

fn failed(failure: contract::Failure) -> anyhow::Error {
    let package = failure.package.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
    anyhow::anyhow!("{}{package}: {}\n{}", failure.step.label(), failure.message, failure.advice)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
