//! One build, from plan to files. [`build`] reads as the table of contents of everything Hatchery does to a package.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use attest::Digests;
use binhost::openpgp::Keyring;
use binhost::{BinhostError, VerifiedStage3};
use composer::boot::Start;
use composer::{ComposeError, ConfigureRequest, MergeRequest, Root};
use contract::lease::BinhostAccess;
use contract::{Artifact, Failure, Format, Job, Origin, Plan, Step};
use gentoo::binpkg::BinaryPackage;
use image::{Groups, Tree, WriteOptions};

use crate::boot::{self, EvidenceFile};
use crate::control;
use crate::formats::{self, Source};
use crate::workshop::Workshop;

/// Who looks on while a build runs.
pub trait Watch: Sync {
    /// `done` of `total` in the step's own unit; `what` is the package or file at hand.
    fn progress(&self, step: Step, done: u64, total: u64, what: &str);
    /// A line for the build's log.
    fn log(&self, line: &str);
    /// True when the build is no longer wanted.
    fn cancelled(&self) -> bool;
}

/// What a build made.
pub struct Built {
    pub files: Vec<BuiltFile>,
    /// The job's plan with the SHA-256 of each package filled in: the lock file.
    pub plan: Plan,
    /// What packages and the configuration had to say (elog, notes of formats).
    pub messages: Vec<String>,
    /// Of the images' starts, and the control files, where the job asks for them.
    pub evidence: Vec<EvidenceFile>,
}

/// One finished file.
pub struct BuiltFile {
    pub artifact: Artifact,
    pub path: PathBuf,
}

/// Builds every format of the job into `out_dir`.
pub fn build(job: &Job, workshop: &Workshop, out_dir: &Path, watch: &dyn Watch) -> Result<Built, Failure> {
    check_arch(job, workshop)?;
    let _in_use = workshop.store.in_use().map_err(|e| store_failure(&e))?;
    let (mut plan, stage3) = fetch(job, workshop, watch)?;
    let base = stage3.map(|stage3| unpack(stage3, workshop, watch)).transpose()?;
    let mut root = merge(job, &plan, base.as_ref(), workshop, watch)?;
    plan.summary.installed_size = root.tree.totals().bytes;
    plan.summary.measured = true;
    // A prefix lives on a system that has its settings, and boots nothing.
    let configured = match plan.prefix {
        None => configure(job, &plan, &mut root, workshop, watch)?,
        Some(_) => {
            configure_portage(job, &plan, &mut root, workshop, watch)?;
            Configured::default()
        }
    };
    let files = write_formats(job, &plan, &mut root, &configured, workshop, out_dir, watch)?;
    let mut evidence = match job.control_files {
        true => control::control_files(&files)?,
        false => Vec::new(),
    };
    if job.boot_gate {
        evidence.extend(boot::start_images(job, &files, workshop.scratch()?.path(), out_dir, watch)?);
    }
    Ok(Built { files, plan, messages: root.messages, evidence })
}

/// Nothing is fetched for an image whose scripts cannot be run here. A prefix runs none.
fn check_arch(job: &Job, workshop: &Workshop) -> Result<(), Failure> {
    if job.plan.prefix.is_some() {
        return Ok(());
    }
    let scratch = workshop.scratch()?;
    composer::sandbox::check_arch(scratch.path(), &job.plan.arch).map_err(|e| compose_failure(Step::Merge, &e.into()))
}

/// Fetches and verifies the stage3 and every package, so that a gone mirror or a bad package is known before any work is done.
fn fetch(job: &Job, workshop: &Workshop, watch: &dyn Watch) -> Result<(Plan, Option<VerifiedStage3>), Failure> {
    let access = access_by_name(job);
    let mut plan = job.plan.clone();
    let total = plan.download_size() + plan.base.as_ref().map_or(0, |base| base.size);
    let mut done = 0;
    let mut stage3 = None;
    if let Some(base) = &plan.base {
        watch.log(&format!("fetching the stage3 {}", base.path));
        let mut progress = |bytes: u64| watch.progress(Step::Fetch, bytes.min(base.size), total, &base.path);
        stage3 = Some(open_stage3(job, base, workshop, &mut progress)?);
        done += base.size;
    }
    watch.log(&format!("fetching {} packages", plan.packages.len()));
    for package in &mut plan.packages {
        stop_if_cancelled(watch, Step::Fetch)?;
        watch.progress(Step::Fetch, done, total, &package.cpv);
        let binhost = lookup(&access, &package.binhost, &package.cpv)?;
        let verified = workshop
            .client
            .package(binhost, package, &mut |bytes| {
                watch.progress(Step::Fetch, done + bytes.min(package.size), total, &package.cpv);
            })
            .map_err(|e| fetch_failure(&package.cpv, &e))?;
        done += package.size;
        package.sha256 = Some(verified.sha256);
        package.origin = Some(origin(&verified.package, &package.repo));
    }
    watch.progress(Step::Fetch, total, total, "");
    Ok((plan, stage3))
}

/// What a package says of where it is from.
fn origin(package: &BinaryPackage, repo: &str) -> Origin {
    let text = |key| package.text(key).unwrap_or_default();
    let installed_size = text("SIZE").trim().parse().ok();
    Origin { installed_size, ..Origin::of(text("DESCRIPTION"), text("HOMEPAGE"), text("REPO_REVISIONS"), repo) }
}

fn merge(job: &Job, plan: &Plan, base: Option<&Tree>, workshop: &Workshop, watch: &dyn Watch) -> Result<Root, Failure> {
    let access = access_by_name(job);
    let work_dir = workshop.scratch()?;
    let request = MergeRequest { plan, store: &workshop.store, work_dir: work_dir.path(), notice: &job.notice, base };
    let mut open = |package: &contract::PlannedPackage| {
        let binhost = lookup(&access, &package.binhost, &package.cpv).map_err(|f| f.message)?;
        workshop
            .client
            .package(binhost, package, &mut |_| {})
            .map(|verified| verified.package)
            .map_err(composer::FetchError::from)
    };
    watch.log("merging packages");
    let watch = StepWatch { step: Step::Merge, watch };
    let root = match &plan.prefix {
        None => composer::merge(request, &mut open, &watch),
        Some(prefix) => composer::prefix::compose(&request, prefix, &mut open, &watch),
    };
    root.map_err(|e| compose_failure(Step::Merge, &e))
}

/// The root that a stage3 is, from the very file that was verified.
fn unpack(verified: VerifiedStage3, workshop: &Workshop, watch: &dyn Watch) -> Result<Tree, Failure> {
    watch.log("unpacking the stage3");
    let tree = composer::read_stage3(verified.file, &verified.stage3.path, &workshop.store);
    tree.map_err(|e| compose_failure(Step::Merge, &e))
}

/// The verified stage3, fetched where it is not in the cache.
fn open_stage3(
    job: &Job,
    stage3: &contract::Stage3,
    workshop: &Workshop,
    progress: &mut dyn FnMut(u64),
) -> Result<VerifiedStage3, Failure> {
    let access = job.stage3.as_ref().ok_or_else(|| {
        Failure::new(
            Step::Fetch,
            format!("the plan is built on {}, and this job does not say where that is", stage3.path),
            "Use a channel with a stage3, or make a new plan.",
        )
    })?;
    workshop.client.stage3(access, stage3, progress).map_err(|e| fetch_failure(&stage3.path, &e))
}

/// What the formats need besides the finished root.
#[derive(Default)]
struct Configured {
    /// For formats that start by themselves.
    boot: BTreeMap<Start, image::BootMedia>,
    /// The root without the personal settings, for formats that keep the two apart.
    packages: Option<Tree>,
}

/// Puts the personal settings in, and prepares what an image needs to boot where a format asks for it.
fn configure(job: &Job, plan: &Plan, root: &mut Root, workshop: &Workshop, watch: &dyn Watch) -> Result<Configured, Failure> {
    stop_if_cancelled(watch, Step::Configure)?;
    let packages = job.formats.iter().copied().any(formats::keeps_stages).then(|| root.tree.clone());
    watch.progress(Step::Configure, 0, 2, "settings");
    let failure = |e: ComposeError| compose_failure(Step::Configure, &e);
    let work_dir = workshop.scratch()?;
    let request = ConfigureRequest {
        store: &workshop.store,
        system: &job.system,
        services: &plan.services,
        notice: &job.notice,
        image_name: &job.image_name,
        arch: &plan.arch,
        work_dir: work_dir.path(),
    };
    let said = composer::configure(&mut root.tree, &request, &StepWatch { step: Step::Configure, watch }).map_err(failure)?;
    said.iter().for_each(|line| watch.log(line));
    root.messages.extend(said);
    configure_portage(job, plan, root, workshop, watch)?;
    watch.progress(Step::Configure, 1, 2, "boot");
    let starts: BTreeSet<Start> = job.formats.iter().copied().filter_map(formats::start).collect();
    let boot = if starts.is_empty() {
        BTreeMap::new()
    } else {
        let request = composer::boot::BootRequest {
            volume_id: volume_id(plan),
            title: job.image_name.clone(),
            image_name: job.image_name.clone(),
            starts: starts.into_iter().collect(),
            kernel_cmdline: job.system.kernel_cmdline.clone().unwrap_or_default(),
            arch: plan.arch.clone(),
            work_dir: work_dir.path().to_owned(),
        };
        composer::boot::prepare(&root.tree, &workshop.store, &request, &StepWatch { step: Step::Configure, watch })
            .map_err(failure)?
    };
    watch.progress(Step::Configure, 2, 2, "");
    Ok(Configured { boot, packages })
}

/// Has the image's own Portage go on from the plan.
fn configure_portage(job: &Job, plan: &Plan, root: &mut Root, workshop: &Workshop, watch: &dyn Watch) -> Result<(), Failure> {
    let keys = gnupg_home(job)?;
    let keys = keys.as_ref().map(|home| composer::TrustedKeys { pubring: &home.pubring, trustdb: &home.trustdb });
    let said = composer::configure_portage(&mut root.tree, &workshop.store, plan, &job.binhosts, keys)
        .map_err(|e| compose_failure(Step::Configure, &e))?;
    said.iter().for_each(|line| watch.log(line));
    root.messages.extend(said);
    Ok(())
}

/// The keys of the binhosts that the image can fetch from, for its own Portage to verify by; none where none needs any.
fn gnupg_home(job: &Job) -> Result<Option<binhost::openpgp::GnupgHome>, Failure> {
    let is_folder = |name: &str| job.plan.binhosts.iter().any(|b| b.name == name && b.uri.starts_with("file:"));
    let reachable = |access: &&BinhostAccess| !access.allow_unsigned && !is_folder(&access.name);
    let keyrings: Vec<&str> = job.binhosts.iter().filter(reachable).map(|access| access.keyring.as_str()).collect();
    if keyrings.is_empty() {
        return Ok(None);
    }
    let home = Keyring::from_armored(&keyrings.join("\n")).and_then(|keyring| keyring.to_gnupg());
    home.map(Some).map_err(|error| {
        Failure::new(
            Step::Configure,
            format!("the binhosts' keys cannot be put into the image: {error}"),
            "Tell the operator: the channel's keyring has to be mended.",
        )
    })
}

/// ISO 9660 allows 32 characters of A–Z, 0–9 and _ in a volume identifier; the initramfs finds its medium by it. It comes from the plan,
/// so that the same order gives the same bytes; it is a label for people and machines, never a key.
fn volume_id(plan: &Plan) -> String {
    let tail: String = plan.hash().0.chars().take(16).collect();
    format!("HATCHERY_{}", tail.to_ascii_uppercase())
}

fn write_formats(
    job: &Job,
    plan: &Plan,
    root: &mut Root,
    configured: &Configured,
    workshop: &Workshop,
    out_dir: &Path,
    watch: &dyn Watch,
) -> Result<Vec<BuiltFile>, Failure> {
    let options = WriteOptions { groups: groups(job, root, workshop)?, ..WriteOptions::at(plan.newest_build_time()) };
    let Root { tree, messages, .. } = root;
    let source = Source {
        tree,
        packages: configured.packages.as_ref(),
        store: &workshop.store,
        boot: &configured.boot,
        options: &options,
    };
    let count = job.formats.len() as u64;
    std::thread::scope(|scope| {
        // A finished file is hashed while the next is written.
        let (finished, to_describe) = mpsc::channel::<(String, Format)>();
        let describe = |(name, format): (String, Format)| {
            let path = out_dir.join(&name);
            Ok(BuiltFile { artifact: describe(&path, name, format)?, path })
        };
        let described = scope.spawn(move || to_describe.into_iter().map(describe).collect::<Result<Vec<BuiltFile>, Failure>>());
        for (index, &format) in job.formats.iter().enumerate() {
            stop_if_cancelled(watch, Step::Write)?;
            let name = format!("{}.{}", job.image_name, format.name());
            watch.log(&format!("writing {name}"));
            let progress = |done: u64, total: u64| {
                // Each format counts for an equal share, in thousandths, as their units differ.
                let share = (done.min(total) * 1000).checked_div(total).unwrap_or(0);
                watch.progress(Step::Write, index as u64 * 1000 + share, count * 1000, &name);
                !watch.cancelled()
            };
            let notes = source.write(job, format, &out_dir.join(&name), &progress)?;
            messages.extend(notes.into_iter().map(|note| format!("{name}: {note}")));
            // One that has failed has ended its thread; its error comes below.
            formats::file_names(&job.image_name, format).into_iter().for_each(|file| _ = finished.send((file, format)));
        }
        drop(finished);
        let files = described.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        watch.progress(Step::Write, count * 1000, count * 1000, "");
        Ok(files)
    })
}

/// Which package each file is of, where a format is written in that order.
fn groups(job: &Job, root: &Root, workshop: &Workshop) -> Result<Groups, Failure> {
    match job.formats.iter().copied().any(formats::is_grouped) {
        true => composer::groups(&root.tree, &workshop.store).map_err(|e| compose_failure(Step::Write, &e)),
        false => Ok(Groups::default()),
    }
}

/// Size and hashes of a finished file.
fn describe(path: &Path, name: String, format: Format) -> Result<Artifact, Failure> {
    let read = File::open(path).and_then(|mut file| Digests::read(&mut file));
    let Digests { size, sha256, sha512, blake2b } = read.map_err(|e| {
        Failure::new(
            Step::Write,
            format!("{name} could not be read back: {e}"),
            "The worker's disk may be failing or full; order again or tell the operator.",
        )
    })?;
    Ok(Artifact { name, format, size, sha256, sha512, blake2b })
}

fn access_by_name(job: &Job) -> HashMap<&str, &BinhostAccess> {
    job.binhosts.iter().map(|b| (b.name.as_str(), b)).collect()
}

fn lookup<'a>(access: &HashMap<&str, &'a BinhostAccess>, name: &str, cpv: &str) -> Result<&'a BinhostAccess, Failure> {
    access.get(name).copied().ok_or_else(|| {
        Failure::new(
            Step::Fetch,
            format!("{cpv} is to come from the binhost “{name}”, which this job does not describe"),
            "Name that binhost (its address and key) and build again.",
        )
        .for_package(cpv)
    })
}

fn stop_if_cancelled(watch: &dyn Watch, step: Step) -> Result<(), Failure> {
    if !watch.cancelled() {
        return Ok(());
    }
    Err(Failure::new(step, "the build was cancelled", "Order again when you want it."))
}

fn fetch_failure(cpv: &str, error: &BinhostError) -> Failure {
    Failure::new(Step::Fetch, error.to_string(), error.advice()).for_package(cpv)
}

fn store_failure(error: &image::StoreError) -> Failure {
    Failure::new(Step::Fetch, error.to_string(), "The worker's disk needs room or care; then order again.")
}

pub(crate) fn compose_failure(step: Step, error: &ComposeError) -> Failure {
    let mut message = error.to_string();
    if !error.output.is_empty() {
        message += &format!("\nIts last words were:\n{}", error.output.join("\n"));
    }
    Failure {
        step,
        package: error.package.clone(),
        setting: error.setting.map(|setting| setting.name().to_owned()),
        message,
        advice: error.advice.clone(),
    }
}

/// The composer's view of whoever watches: its progress belongs to one step.
struct StepWatch<'a> {
    step: Step,
    watch: &'a dyn Watch,
}

impl composer::Observer for StepWatch<'_> {
    fn progress(&self, done: u64, total: u64, what: &str) {
        self.watch.progress(self.step, done, total, what);
    }
    fn log(&self, line: &str) {
        self.watch.log(line);
    }
    fn cancelled(&self) -> bool {
        self.watch.cancelled()
    }
}
