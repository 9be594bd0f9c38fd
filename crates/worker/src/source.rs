//! Packages from source: `emerge --buildpkgonly` of a build root, in the sandbox that package scripts have.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use composer::ComposeError;
use composer::sandbox::{BuildRoot, Command, Excess, Limits, Listener, Ran, RunEnd, SandboxError};
use contract::lease::{SourceJob, SourceLimits};
use contract::{Failure, Job, Step};

use crate::build::{Watch, compose_failure};
use crate::workshop::Workshop;

/// The systems that packages are built on, by the channel that they are for.
pub type BuildRoots = BTreeMap<String, PathBuf>;

/// PATH in a build root, as Portage's own scripts have it.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin";
/// Where emerge puts what it built (PKGDIR), below the sandbox's own folder.
const PACKAGES: &str = "packages";
/// A package larger than this is not taken over: it passes through memory. Bytes.
const LARGEST: u64 = 1 << 30;
/// What Portage must not do, as the sandbox does it or it cannot be had there, and how packages are named.
const FEATURES: &str = "binpkg-multi-instance -binpkg-signing -buildpkg-live -ccache -cgroup -distcc -distlocks -getbinpkg \
                        -ipc-sandbox -mount-sandbox -network-sandbox -news -parallel-fetch -pid-sandbox -sandbox -selinux -sfperms \
                        -usersandbox -userfetch -userpriv -usersync -xattr";

/// The roots in which emerge answers. What is wrong with the others goes to the log.
pub(crate) fn usable(roots: &BuildRoots, workshop: &Workshop) -> Vec<String> {
    let mut channels = Vec::new();
    for (channel, dir) in roots {
        match try_out(&BuildRoot::new(dir), workshop) {
            Ok(said) => {
                tracing::info!(channel, root = %dir.display(), portage = said, "packages can be built from source");
                channels.push(channel.clone());
            }
            Err(failure) => {
                tracing::warn!(channel, root = %dir.display(), reason = failure.message, advice = failure.advice, "nothing can be built in this build root");
            }
        }
    }
    channels
}

/// What emerge says that it is.
fn try_out(root: &BuildRoot, workshop: &Workshop) -> Result<String, Failure> {
    let limits = SourceLimits { seconds: 120, memory_bytes: 1 << 30, disk_bytes: 1 << 30 };
    let ran = run(root, &["--version"], &[], limits, workshop, &mut Silent)?;
    let said = ran.tail.iter().rev().find(|line| line.starts_with("Portage ")).cloned();
    said.filter(|_| ran.succeeded()).ok_or_else(|| failure(None, "emerge does not run there", &ran.tail))
}

/// Builds the package of a job; the file is in `out_dir`.
pub(crate) fn build_package(
    job: &Job,
    source: &SourceJob,
    roots: &BuildRoots,
    workshop: &Workshop,
    out_dir: &Path,
    watch: &dyn Watch,
) -> Result<PathBuf, Failure> {
    let Some(dir) = roots.get(&job.plan.channel) else {
        return Err(failure(Some(source), &format!("this worker has no build root for the channel {}", job.plan.channel), &[]));
    };
    check(source)?;
    watch.log(&format!("emerge --buildpkgonly {}, USE=\"{}\"", source.package, source.flags.join(" ")));
    watch.progress(Step::Merge, 0, 1, &source.package);
    let words =
        ["--buildpkgonly", "--oneshot", "--usepkg=n", "--color=n", "--nospinner", "--quiet-fail=n", "--ignore-default-opts"];
    let words = [&words[..], &["--", &source.package]].concat();
    let env = [("USE", source.flags.join(" "))];
    let ran = run(&BuildRoot::new(dir), &words, &env, source.limits, workshop, &mut Told(watch))?;
    if !ran.succeeded() {
        return Err(failure(Some(source), &ended(&ran.end), &ran.tail));
    }
    watch.progress(Step::Merge, 1, 1, &source.package);
    let mut packages = ran.outputs.iter().filter(|(name, _)| name.ends_with(".gpkg.tar"));
    let (Some((_, bytes)), None) = (packages.next(), packages.next()) else {
        let why = format!("emerge left no GPKG that is not larger than {} MiB, or several", LARGEST >> 20);
        return Err(failure(Some(source), &why, &ran.tail));
    };
    let path = out_dir.join("package.gpkg.tar");
    fs::write(&path, bytes).map_err(|e| failure(Some(source), &format!("{} cannot be written: {e}", path.display()), &[]))?;
    Ok(path)
}

/// The server is not asked to be good: nothing of what it sends is an option or a setting.
fn check(source: &SourceJob) -> Result<(), Failure> {
    let is_flag = |flag: &String| gentoo::names::is_use_flag(flag.strip_prefix('-').unwrap_or(flag));
    let atom = gentoo::Atom::parse(&source.package).ok().filter(|atom| atom.use_deps.is_empty() && atom.blocker.is_none());
    match atom.is_some() && source.flags.iter().all(is_flag) {
        true => Ok(()),
        false => Err(failure(Some(source), "the job names no package or flag that can be built", &[])),
    }
}

/// Runs emerge in a build root, which it cannot change, without a network.
fn run(
    root: &BuildRoot,
    words: &[&str],
    env: &[(&str, String)],
    limits: SourceLimits,
    workshop: &Workshop,
    listener: &mut dyn Listener,
) -> Result<Ran, Failure> {
    let sandbox = |error: SandboxError| compose_failure(Step::Merge, &ComposeError::from(error));
    let shown = root.shown().map_err(|e| {
        Failure::new(
            Step::Merge,
            format!("the build root {} cannot be read: {e}", root.dir().display()),
            "The operator names it with `--build-root CHANNEL=FOLDER`; the worker's user and others must be able to read it.",
        )
    })?;
    let fixed = [
        ("PATH", SEARCH_PATH),
        ("HOME", "/tmp/portage/homedir"),
        ("TERM", "dumb"),
        ("LC_ALL", "C.UTF-8"),
        ("PORTAGE_TMPDIR", "/tmp/portage/work"),
        ("PKGDIR", "/tmp/portage/packages"),
        ("PORTAGE_USERNAME", "root"),
        ("PORTAGE_GRPNAME", "root"),
        ("BINPKG_FORMAT", "gpkg"),
        ("FEATURES", FEATURES),
        // What is not among the distfiles cannot be had.
        ("GENTOO_MIRRORS", ""),
        ("FETCHCOMMAND", "/bin/false"),
        ("RESUMECOMMAND", "/bin/false"),
    ];
    let fixed = fixed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let asked = env.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let command = Command {
        argv: std::iter::once("emerge").chain(words.iter().copied()).map(str::to_owned).collect(),
        env: fixed.chain(asked).collect(),
        outputs: vec![PACKAGES.into()],
        largest_output: LARGEST,
        build_root: Some(shown),
        timeout: limits.seconds,
        limits: Limits { memory: limits.memory_bytes, disk: limits.disk_bytes, ..Limits::default() },
        ..Command::default()
    };
    let scratch = workshop.scratch()?;
    let mut host = root.host(scratch.path()).map_err(sandbox)?;
    let ran = host.run(&command, listener).map_err(sandbox)?;
    host.close().map_err(sandbox)?;
    Ok(ran)
}

fn ended(end: &RunEnd) -> String {
    match end {
        RunEnd::Exit(code) => format!("emerge ended with status {code}"),
        RunEnd::Signal(signal) => format!("emerge was ended by the signal {signal}"),
        RunEnd::TimedOut => "it took longer than the operator allows".into(),
        RunEnd::OverLimit(Excess::Memory) => "it took more memory than the operator allows".into(),
        RunEnd::OverLimit(Excess::Processes) => "it started more processes than are allowed".into(),
        RunEnd::OverLimit(Excess::Disk) => "it took more of the disk than the operator allows".into(),
        RunEnd::Cancelled => "the build was cancelled".into(),
    }
}

fn failure(source: Option<&SourceJob>, why: &str, tail: &[String]) -> Failure {
    let package = source.map(|source| source.package.clone());
    let mut message = match &package {
        Some(package) => format!("{package} could not be built from source: {why}"),
        None => why.to_owned(),
    };
    if !tail.is_empty() {
        message += &format!("\nIts last words were:\n{}", tail.join("\n"));
    }
    let advice = "What the package needs to be built must be installed in the worker's build root, and its sources among the distfiles \
                  there; see “Packages built from source” in the book.";
    Failure { package, ..Failure::new(Step::Merge, message, advice) }
}

/// Passes emerge's words on.
struct Told<'a>(&'a dyn Watch);

impl Listener for Told<'_> {
    fn line(&mut self, line: &str) {
        self.0.log(line);
    }

    fn cancelled(&mut self) -> bool {
        self.0.cancelled()
    }
}

struct Silent;

impl Listener for Silent {
    fn line(&mut self, _line: &str) {}
}
