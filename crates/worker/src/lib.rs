//! A worker: leases a job, builds it, uploads what came out. It holds no state that matters: kill it at any moment and another
//! worker builds the same image from the same plan. [`build`] alone, without any server, is what `hatchery build` runs.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

mod boot;
mod build;
mod client;
mod control;
mod formats;
mod memory;
mod report;
mod source;
mod workshop;

pub use boot::EvidenceFile;
pub use build::{Built, BuiltFile, Watch, build};
pub use client::{ServerClient, WorkerError};
pub use report::LeaseReporter;
pub use source::BuildRoots;
pub use workshop::Workshop;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use contract::lease::{EndReport, LeaseRequest, PROTOCOL, SourceJob};
use contract::{Failure, Format, Lease, Step};

/// How a worker is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// The server's address, like `http://127.0.0.1:8480`.
    pub server: String,
    /// The token the server's operator gave out.
    pub token: String,
    /// A name for the operator's eyes.
    pub name: String,
    /// Where packages, the store and unfinished work are kept.
    pub dir: PathBuf,
    /// What was not used for longest is removed where packages, store and forms take more than so many bytes, between builds.
    pub cache_size: u64,
    /// The systems that it builds packages from source on; none where it makes images alone.
    pub build_roots: BuildRoots,
}

/// How long the server may wait for work to come before it answers that there is none. Seconds.
const WAIT: u32 = 20;
/// How long an idle worker waits before it asks again.
const IDLE: Duration = Duration::from_secs(1);
/// How long it waits after the server could not be reached.
const UNREACHABLE: Duration = Duration::from_secs(3);

/// How long it waits for room on its disk.
const FULL: Duration = Duration::from_secs(5);
/// How long a worker that gave a build back leaves it to others.
const GAVE_BACK: Duration = Duration::from_secs(10);

/// Works until `stop` is set. A failed build is the order's matter and reported there; only a worker that cannot work at all returns.
pub fn run(config: &Config, stop: &AtomicBool) -> Result<(), WorkerError> {
    let unfit = |e: Failure| WorkerError::Unfit(format!("{}. {}", e.message.trim_end_matches('.'), e.advice));
    let client = ServerClient::new(&config.server, &config.token)?;
    let workshop = Workshop::open(&config.dir).map_err(unfit)?;
    let arches = workshop.arches().map_err(unfit)?;
    trim(&workshop, config.cache_size);
    tracing::info!(?arches, "ready to work");
    let starts_images = machine::check();
    if let Err(missing) = &starts_images {
        tracing::warn!(
            "images cannot be started here ({missing}): a site that starts them before it gives them out has no work for us"
        );
    }
    let request = LeaseRequest {
        worker: config.name.clone(),
        arches,
        starts_images: starts_images.is_ok(),
        protocol: PROTOCOL,
        formats: Format::ALL.iter().map(|format| format.name().to_owned()).collect(),
        wait_seconds: WAIT,
        memory_bytes: memory::memory(),
        builds_source_for: source::usable(&config.build_roots, &workshop),
    };
    let mut had_room = true;
    while !stop.load(Ordering::Relaxed) {
        let has_room = has_room(&workshop);
        if has_room != had_room {
            tell_of_room(&workshop, has_room);
            had_room = has_room;
        }
        if !has_room {
            std::thread::sleep(FULL);
            continue;
        }
        match client.lease(&request) {
            Ok(Some(lease)) => {
                let gave_back = serve_lease(&client, &workshop, &config.build_roots, lease, stop);
                trim(&workshop, config.cache_size);
                if gave_back {
                    std::thread::sleep(GAVE_BACK);
                }
            }
            Ok(None) => std::thread::sleep(IDLE),
            Err(error @ WorkerError::Refused { .. }) => return Err(error),
            Err(error) => {
                tracing::warn!(server = config.server, %error, "cannot ask for work, trying again");
                std::thread::sleep(UNREACHABLE);
            }
        }
    }
    Ok(())
}

/// Whether there is room to work. A worker without takes nothing: what waits is built elsewhere, or here when there is room again. What is kept
/// for the next builds alone goes first.
fn has_room(workshop: &Workshop) -> bool {
    if !workshop.is_full() {
        return true;
    }
    trim(workshop, 0);
    !workshop.is_full()
}

/// Says that there is room no more, or again: once, as it may stay so for days.
fn tell_of_room(workshop: &Workshop, has_room: bool) {
    let (folder, mebibytes) = (workshop.dir().display(), workshop::LITTLE_ROOM >> 20);
    if has_room {
        tracing::info!(%folder, "there is room on the disk again: work is taken");
    } else {
        tracing::warn!(%folder, "less than {mebibytes} MiB are free on the disk: no work is taken until there is room");
    }
}

/// Keeps the worker's folders within their size. Work goes on where that fails: what is too much is removed the next time.
fn trim(workshop: &Workshop, cache_size: u64) {
    match workshop.trim(cache_size) {
        Ok(0) => (),
        Ok(removed) => tracing::info!(removed, "removed what was not used for longest"),
        Err(error) => tracing::warn!(%error, "the worker's folder could not be trimmed"),
    }
}

/// Builds one leased job and reports how it ended. If the lease is lost on the way, the work is dropped: it is somebody else's now. Tells whether
/// it was given back.
fn serve_lease(client: &ServerClient, workshop: &Workshop, roots: &BuildRoots, lease: Lease, stop: &AtomicBool) -> bool {
    let build_id = lease.job.build.clone();
    tracing::info!(build = %build_id, packages = lease.job.plan.packages.len(), "leased");
    let reporter = LeaseReporter::start(client.clone(), &lease, stop);
    let ended = match &lease.job.source {
        None => build_and_upload(client, workshop, &lease, &reporter),
        Some(source) => build_from_source(client, workshop, roots, (&lease, source), &reporter),
    };
    let lost = reporter.finish();
    if lost {
        tracing::warn!(build = %build_id, "the lease was lost; the work is dropped");
        return false;
    }
    let report = ended.unwrap_or_else(|ended| ended);
    if let Err(error) = client.end(&lease, &report) {
        tracing::error!(build = %build_id, %error, "the end of the build could not be reported; the lease will lapse and it is built again");
    }
    let gave_back = matches!(report, EndReport::GivenBack { .. });
    if gave_back {
        tracing::warn!(build = %build_id, "the disk is full: the build was given back");
    }
    gave_back
}

fn failed(failure: Failure) -> EndReport {
    EndReport::Failed { failure }
}

/// How a build ends that did not come to its end. Asked while what was written so far is still there: a full disk is no fault of the build.
fn not_built(workshop: &Workshop, failure: Failure) -> EndReport {
    if workshop.is_full() { EndReport::GivenBack { failure } } else { failed(failure) }
}

/// Builds a package and gives it to the server, which checks and signs it and adds it to the operator's binhost.
fn build_from_source(
    client: &ServerClient,
    workshop: &Workshop,
    roots: &BuildRoots,
    (lease, job): (&Lease, &SourceJob),
    reporter: &LeaseReporter,
) -> Result<EndReport, EndReport> {
    let given_up = |failure| not_built(workshop, failure);
    let out_dir = workshop.scratch().map_err(given_up)?;
    let package = source::build_package(&lease.job, job, roots, workshop, out_dir.path(), reporter).map_err(given_up)?;
    reporter.progress(Step::Upload, 0, 1, &job.package);
    client.upload_package(lease, &package, || !reporter.cancelled()).map_err(|error| {
        failed(
            Failure::new(
                Step::Upload,
                format!("what was built of {} did not get into the binhost: {error}", job.package),
                "Look at the binhost's folder and the server's log, and have it built again.",
            )
            .for_package(job.package.clone()),
        )
    })?;
    reporter.progress(Step::Upload, 1, 1, "");
    let plan = Box::new(lease.job.plan.clone());
    Ok(EndReport::Ready { artifacts: Vec::new(), plan, messages: Vec::new(), evidence: Vec::new() })
}

fn build_and_upload(
    client: &ServerClient,
    workshop: &Workshop,
    lease: &Lease,
    reporter: &LeaseReporter,
) -> Result<EndReport, EndReport> {
    let given_up = |failure| not_built(workshop, failure);
    let out_dir = workshop.scratch().map_err(given_up)?;
    let built = build(&lease.job, workshop, out_dir.path(), reporter).map_err(given_up)?;
    let upload = |name: &str, path: &Path| {
        client.upload(lease, name, path, || !reporter.cancelled()).map_err(|error| {
            failed(Failure::new(
                Step::Upload,
                format!("{name} could not be stored: {error}"),
                "Order again; if it fails again, the operator should look at the server's disk and log.",
            ))
        })
    };
    let total: u64 = built.files.iter().map(|f| f.artifact.size).sum();
    let mut done = 0;
    for file in &built.files {
        reporter.progress(Step::Upload, done, total, &file.artifact.name);
        upload(&file.artifact.name, &file.path)?;
        done += file.artifact.size;
    }
    for file in &built.evidence {
        upload(&file.evidence.name, &file.path)?;
    }
    reporter.progress(Step::Upload, total, total, "");
    let evidence = built.evidence.into_iter().map(|f| f.evidence).collect();
    let artifacts = built.files.into_iter().map(|f| f.artifact).collect();
    Ok(EndReport::Ready { artifacts, plan: Box::new(built.plan), messages: built.messages, evidence })
}
