//! `hatchery build`: what the site and a worker do together, with no server.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use attest::{Digests, Listed, Run};
use contract::{Artifact, Job, Order, Plan};
use server::{Attestor, Catalogue, Config, Made, Planned};

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
    /// Build just the packages of this lock file (….plan.json) again, whatever the channel has by now
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    #[command(flatten)]
    cache: CacheArgs,
    /// Start the images in a virtual machine, and fail if one does not come up
    #[arg(long)]
    boot_gate: bool,
    /// Make a control file of zsync beside each image, by which only what changed has to be downloaded
    #[arg(long)]
    control_files: bool,
    #[command(flatten)]
    source: SourceArgs,
}

pub fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut order = cmd_order::read_order(&args.order)?;
    let config = args.source.config(&mut order, false)?;
    let attestor = Attestor::new(&config, None)?;
    let planned = match &args.lock {
        Some(lock) => locked(&config, &order, lock)?,
        None => match cmd_plan::plan(&config, &order)? {
            Ok(planned) => planned,
            Err(refused) => {
                eprintln!("{}", refused.explanation);
                return Ok(Outcome::NoPlan);
            }
        },
    };
    let job = Job { boot_gate: args.boot_gate, control_files: args.control_files, ..planned.job(&order)? };
    if job.boot_gate {
        machine::check()?;
    }
    std::fs::create_dir_all(&args.output).with_context(|| format!("{} cannot be made", args.output.display()))?;
    let started = now();
    let display = Display::new();
    let workshop = worker::Workshop::open(&args.source.work_dir()).map_err(failed)?;
    let built = worker::build(&job, &workshop, &args.output, &display);
    display.finish();
    let built = built.map_err(failed)?;
    workshop.trim(args.cache.bytes()).context("the work folder could not be trimmed")?;
    for message in &built.messages {
        eprintln!("{message}");
    }
    let artifacts: Vec<Artifact> = built.files.iter().map(|file| file.artifact.clone()).collect();
    let mut others = Vec::new();
    for file in &built.evidence {
        let digests = Digests::read(&mut File::open(&file.path)?)?;
        others.push(Listed { name: file.evidence.name.clone(), digests });
    }
    let repository = planned.repository();
    let made = Made {
        image_name: &job.image_name,
        plan: &built.plan,
        artifacts: &artifacts,
        others: &others,
        repository: repository.as_deref(),
        run: Run { build: &job.build, started, ended: now() },
    };
    let documents = attestor.documents(&made)?;
    let mut paths: Vec<PathBuf> = built.files.iter().map(|file| file.path.clone()).collect();
    for file in &built.evidence {
        println!("{}", shown(&file.path));
    }
    for document in documents {
        let path = args.output.join(&document.name);
        std::fs::write(&path, &document.body).with_context(|| format!("{} cannot be written", path.display()))?;
        paths.push(path);
    }
    for path in &paths {
        let synced = File::open(path).and_then(|file| file.sync_all());
        synced.with_context(|| format!("{} could not be written to the disk", path.display()))?;
        println!("{}", shown(path));
    }
    Ok(Outcome::Done)
}

/// The plan of a lock file, on the channel it names.
fn locked(config: &Config, order: &Order, path: &Path) -> anyhow::Result<Planned> {
    let text = std::fs::read_to_string(path).with_context(|| format!("the lock file {} cannot be read", path.display()))?;
    let plan: Plan = serde_json::from_str(&text).with_context(|| format!("{} is no lock file", path.display()))?;
    Ok(Catalogue::new(config)?.locked(order, plan)?)
}

/// Seconds since the epoch.
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}

fn failed(failure: contract::Failure) -> anyhow::Error {
    let package = failure.package.as_ref().map(|p| format!(" ({p})")).unwrap_or_default();
    anyhow::anyhow!("{}{package}: {}\n{}", failure.step.label(), failure.message, failure.advice)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
