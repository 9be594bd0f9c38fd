//! Where foreign scripts run: a user namespace with ids of its own, and in it bubblewrap for each command.
//!
//! The namespace is held by a helper process (this executable again, see [`helper_main`]) that keeps the root on disk while scripts
//! need it. The composer sends it what changed in its tree, has commands run, and takes back what they changed. Nothing here needs root.

mod bubblewrap;
mod build_root;
mod disk;
mod foreign;
mod helper;
mod host;
mod idmap;
mod limits;
mod mirror;
mod place;
mod run;
mod scan;
mod seccomp;
mod watch;
mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;

pub use build_root::BuildRoot;
pub use host::{Command, Listener, Onlookers, PhaseHost, Ran};
pub use limits::{Excess, Limits};
pub use mirror::Scan;
pub use wire::{Area, RunEnd, Shown};

use crate::ComposeError;

/// PATH of what runs in a target.
pub(crate) const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The first argument that makes an executable of ours the helper.
pub const HELPER_ARGUMENT: &str = "__phase-host";

static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Makes another executable the helper than the running one, for good; for tests, whose own executable is a test harness.
pub fn use_helper(program: impl Into<PathBuf>) {
    HELPER.get_or_init(|| program.into());
}

/// What an executable does whose first argument is [`HELPER_ARGUMENT`]. It must be called before any thread is started, as a process
/// with threads gets no user namespace.
pub fn helper_main() -> ExitCode {
    ExitCode::from(helper::main())
}

/// Why no sandbox is to be had, or why it broke.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine cannot run package scripts as it is.
    #[error("package scripts cannot be run here: {message}")]
    Unavailable { message: String, advice: String },
    /// The helper reported a failure, or went away.
    #[error("the sandbox failed: {message}")]
    Broken { message: String },
    #[error("the store, while the sandbox was using it: {0}")]
    Store(#[from] image::StoreError),
    #[error("the sandbox left a tree that makes no sense: {0}")]
    Tree(#[from] image::TreeError),
}

impl From<SandboxError> for ComposeError {
    fn from(error: SandboxError) -> Self {
        let advice = match &error {
            SandboxError::Unavailable { advice, .. } => advice.clone(),
            SandboxError::Broken { .. } => {
                "Look at the disk of the work directory (space, quota); if it is sound, report this.".into()
            }
            SandboxError::Store(_) => "Check the disk that holds the worker's store: space, permissions, hardware.".into(),
            SandboxError::Tree(_) => String::new(),
        };
        ComposeError::new(error.to_string(), advice)
    }
}

/// Whether package scripts can be run here; tries all of it (about 50 ms).
///
/// # Errors
/// [`SandboxError::Unavailable`] says what is missing and how to get it.
pub fn check(work_dir: &Path) -> Result<(), SandboxError> {
    let mut host = PhaseHost::start(work_dir)?;
    host.probe()?;
    host.close()
}

/// Whether package scripts of an architecture (Gentoo's name) can be run here; tries it (about 50 ms).
///
/// # Errors
/// [`SandboxError::Unavailable`] says what is missing and how to get it.
pub fn check_arch(work_dir: &Path, arch: &str) -> Result<(), SandboxError> {
    let mut host = PhaseHost::start(work_dir)?;
    host.probe()?;
    host.enable(arch)?;
    host.close()
}

/// The architectures, by Gentoo's names, whose package scripts can be run here.
///
/// # Errors
/// As [`check`].
pub fn arches(work_dir: &Path) -> Result<Vec<&'static str>, SandboxError> {
    let mut host = PhaseHost::start(work_dir)?;
    host.probe()?;
    let mut found = Vec::new();
    for arch in foreign::known() {
        match host.enable(arch) {
            Ok(()) => found.push(arch),
            Err(SandboxError::Unavailable { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    host.close()?;
    Ok(found)
}

/// Removes what crashed processes left in a work directory; what belongs to a living one stays.
///
/// # Errors
/// When leftovers cannot be removed.
pub fn sweep(work_dir: &Path) -> Result<(), SandboxError> {
    host::sweep(work_dir)
}

/// Removes a directory, or nothing where there is none, together with the leftovers of crashed helpers in it and in its directories.
///
/// # Errors
/// When a living process uses it, or something cannot be removed.
pub fn remove_tree(dir: &Path) -> Result<(), SandboxError> {
    host::remove_tree(dir)
}

/// The executable that becomes the helper.
fn helper_program() -> (PathBuf, OsString) {
    let program = HELPER.get().cloned().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
    (program, HELPER_ARGUMENT.into())
}
