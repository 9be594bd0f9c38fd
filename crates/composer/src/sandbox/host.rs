//! The composer's end of the sandbox: starts the helper, keeps the tree on disk like the tree in memory, and runs commands.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, TryLockError};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use super::helper::INSIDE;
use super::limits::Limits;
use super::mirror::OnDisk;
use super::wire::{Area, Reply, Request, RunEnd, RunRequest, Shown, receive, send, to_text};
use super::{SandboxError, helper_program, idmap, place};

/// How directories of helpers are named in a work directory.
const PREFIX: &str = "phase-host-";
/// The file in each that its owner holds locked.
const LOCK: &str = "lock";
/// Lines of output kept for an error message.
const TAIL: usize = 30;

/// A command for the sandbox. It finds the target as `/`, `/tmp/portage` as its own directory with `files` in it, and no network.
#[derive(Clone, Debug)]
pub struct Command {
    pub argv: Vec<String>,
    /// Its whole environment.
    pub env: Vec<(String, String)>,
    /// Files for `/tmp/portage`, by plain name.
    pub files: Vec<(String, Vec<u8>)>,
    /// Files of `/tmp/portage` to give back, and folders, whose files are named by their paths.
    pub outputs: Vec<String>,
    /// Bytes of the largest file given back; it is held in memory.
    pub largest_output: u64,
    /// Whose `/tmp/portage/temp` it has: `SLOT/OWNER`, plain names both. It is kept until another owner takes the slot; none gets a fresh one.
    pub temp: Option<String>,
    /// EPREFIX, for a command that is a guest on a foreign system: instead of the target as `/`, it finds this machine's programs and
    /// libraries, not to be written, and the part of the target below this path.
    pub guest: Option<String>,
    /// What it finds instead of the target: folders of a system that things are built on.
    pub build_root: Option<Vec<Shown>>,
    /// Seconds until it is killed.
    pub timeout: u64,
    pub limits: Limits,
}

/// What a command may usually give back. Bytes.
const LARGEST_OUTPUT: u64 = 64 << 20;

impl Default for Command {
    fn default() -> Command {
        Command {
            argv: Vec::new(),
            env: Vec::new(),
            files: Vec::new(),
            outputs: Vec::new(),
            largest_output: LARGEST_OUTPUT,
            temp: None,
            guest: None,
            build_root: None,
            timeout: 0,
            limits: Limits::default(),
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ran {
    pub end: RunEnd,
    /// The last lines it printed.
    pub tail: Vec<String>,
    /// The files asked for that exist.
    pub outputs: BTreeMap<String, Vec<u8>>,
}

impl Ran {
    pub fn succeeded(&self) -> bool {
        self.end == RunEnd::Exit(0)
    }
}

/// Who listens to a running command.
pub trait Listener {
    /// A line of its output.
    fn line(&mut self, line: &str);
    /// Answers a question the script asked, in one line.
    fn answer(&mut self, _words: &[String]) -> String {
        String::new()
    }
    /// Whether it should be killed.
    fn cancelled(&mut self) -> bool {
        false
    }
}

/// The running helper with its trees on disk. Dropped, it ends and takes its files and processes with it.
pub struct PhaseHost {
    child: Child,
    to: Option<BufWriter<ChildStdin>>,
    pub(super) from: BufReader<ChildStdout>,
    dir: PathBuf,
    _lock: File,
    /// Its target is another's, and its commands cannot write there.
    onlooking: bool,
    /// When it was started by the clock that files here get their times from, seconds since the epoch: what is not older was made in it.
    pub(super) began: i64,
    pub(super) areas: HashMap<Area, OnDisk>,
}

/// What Linux says of ENOSPC.
const DISK_FULL: &str = "No space left on device";

impl PhaseHost {
    /// Starts a helper with a directory of its own below `work_dir`; sweeps there first.
    pub fn start(work_dir: &Path) -> Result<PhaseHost, SandboxError> {
        sweep(work_dir)?;
        let (dir, lock) = directory(work_dir)?;
        PhaseHost::start_in(dir, lock, None)
    }

    /// Starts a helper whose target is this folder, which its commands cannot write to.
    pub(super) fn start_on(work_dir: &Path, target: &Path) -> Result<PhaseHost, SandboxError> {
        let target = fs::canonicalize(target).map_err(|error| broken(target, &error))?;
        sweep(work_dir)?;
        let (dir, lock) = directory(work_dir)?;
        PhaseHost::start_in(dir, lock, Some(&target))
    }

    /// For helpers whose commands find this one's target and cannot change it. This one has to live as long, and to rest meanwhile.
    pub fn onlookers(&self, work_dir: &Path) -> Result<Onlookers, SandboxError> {
        let target = self.dir.join(INSIDE).join("target");
        let target = std::path::absolute(&target).map_err(|error| broken(&target, &error))?;
        Ok(Onlookers { work_dir: work_dir.to_owned(), target })
    }

    fn start_in(dir: PathBuf, lock: File, target: Option<&Path>) -> Result<PhaseHost, SandboxError> {
        let (program, argument) = helper_program();
        let mut child = std::process::Command::new(&program)
            .arg(argument)
            .current_dir(&dir)
            // A terminal's Ctrl-C is for the composer to answer.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(|error| broken(&program, &error))?;
        let pid = child.id();
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(SandboxError::Broken { message: "its process has no pipes".into() });
        };
        let to = Some(BufWriter::with_capacity(256 * 1024, to));
        let from = BufReader::with_capacity(256 * 1024, from);
        let began = lock.metadata().map_err(|error| broken(&dir, &error))?.mtime();
        let mut host = PhaseHost { child, to, from, dir, _lock: lock, onlooking: target.is_some(), began, areas: HashMap::new() };
        match host.reply()? {
            Reply::Unshared => {}
            Reply::Failed { message } => return Err(unavailable(message)),
            other => return Err(unexpected(&other)),
        }
        idmap::map(pid)?;
        host.ask(&Request::Enter { target: target.map(|path| to_text(path.as_os_str().as_bytes())) })?;
        match host.reply()? {
            Reply::Done => Ok(host),
            Reply::Failed { message } => Err(unavailable(message)),
            other => Err(unexpected(&other)),
        }
    }

    /// Whether bubblewrap works in here.
    pub fn probe(&mut self) -> Result<(), SandboxError> {
        self.ask(&Request::Probe)?;
        match self.reply()? {
            Reply::Done => Ok(()),
            Reply::Failed { message } => Err(SandboxError::Unavailable {
                message,
                advice:
                    "Install bubblewrap (`apt install bubblewrap`, sys-apps/bubblewrap); in a container, allow it to mount /proc."
                        .into(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes programs of an architecture (Gentoo's name) run in here, with an emulator where that is needed.
    ///
    /// # Errors
    /// [`SandboxError::Unavailable`] when they cannot be run.
    pub fn enable(&mut self, arch: &str) -> Result<(), SandboxError> {
        self.ask(&Request::Enable { arch: arch.to_owned() })?;
        match self.reply()? {
            Reply::Done => Ok(()),
            // No machine and no emulator helps against that.
            Reply::Failed { message } if message.contains(DISK_FULL) => Err(SandboxError::Broken { message }),
            Reply::Failed { message } => Err(SandboxError::Unavailable {
                message,
                advice: "Take a machine of that architecture, or install QEMU's user mode (`apt install qemu-user-static`, \
                         app-emulation/qemu with static-user); that needs Linux 6.7 or later, or its registration in binfmt_misc with \
                         the flag F."
                    .into(),
            }),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs a command to its end.
    pub fn run(&mut self, command: &Command, listener: &mut dyn Listener) -> Result<Ran, SandboxError> {
        let files = command.files.iter().map(|(name, content)| (name.clone(), to_text(content))).collect();
        self.ask(&Request::Run(RunRequest {
            argv: command.argv.clone(),
            env: command.env.clone(),
            files,
            outputs: command.outputs.clone(),
            largest_output: command.largest_output,
            temp: command.temp.clone(),
            guest: command.guest.clone(),
            build_root: command.build_root.clone(),
            onlooking: self.onlooking,
            timeout: command.timeout,
            limits: command.limits,
        }))?;
        let mut tail = std::collections::VecDeque::new();
        let mut outputs = BTreeMap::new();
        let mut cancelled = false;
        loop {
            if !cancelled && listener.cancelled() {
                cancelled = true;
                self.ask(&Request::Cancel)?;
            }
            match self.reply()? {
                Reply::Line { line } => {
                    listener.line(&line);
                    if tail.len() == TAIL {
                        tail.pop_front();
                    }
                    tail.push_back(line);
                }
                Reply::Tick => {}
                Reply::Query { words } => {
                    let line = listener.answer(&words);
                    self.ask(&Request::Answer { line })?;
                }
                Reply::Output { name, size } => {
                    let mut content = Vec::new();
                    (&mut self.from).take(size).read_to_end(&mut content).map_err(|error| gone(&error))?;
                    outputs.insert(name, content);
                }
                Reply::Ended(end) => return Ok(Ran { end, tail: tail.into(), outputs }),
                Reply::Failed { message } => return Err(SandboxError::Broken { message }),
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Ends the helper and removes all it had on disk.
    ///
    /// # Errors
    /// When something stays behind; the next [`sweep`] tries again.
    pub fn close(mut self) -> Result<(), SandboxError> {
        self.quit()
    }

    fn quit(&mut self) -> Result<(), SandboxError> {
        if self.to.is_none() {
            return Ok(());
        }
        self.ask(&Request::Quit)?;
        let answer = self.done();
        self.to = None;
        self.child.wait().map_err(|error| gone(&error))?;
        answer?;
        fs::remove_dir_all(&self.dir).map_err(|error| broken(&self.dir, &error))
    }

    /// Sends a request; all but the ones that content or more requests follow are flushed by [`PhaseHost::reply`].
    pub(super) fn ask(&mut self, request: &Request) -> Result<(), SandboxError> {
        send(self.writer()?, request).map_err(|error| gone(&error))
    }

    pub(super) fn writer(&mut self) -> Result<&mut BufWriter<ChildStdin>, SandboxError> {
        self.to.as_mut().ok_or_else(|| SandboxError::Broken { message: "its process was ended".into() })
    }

    pub(super) fn reply(&mut self) -> Result<Reply, SandboxError> {
        self.writer()?.flush().map_err(|error| gone(&error))?;
        match receive(&mut self.from).map_err(|error| gone(&error))? {
            Some(reply) => Ok(reply),
            None => Err(SandboxError::Broken { message: "its process ended unexpectedly".into() }),
        }
    }

    pub(super) fn done(&mut self) -> Result<(), SandboxError> {
        match self.reply()? {
            Reply::Done => Ok(()),
            Reply::Failed { message } => Err(SandboxError::Broken { message }),
            other => Err(unexpected(&other)),
        }
    }
}

impl Drop for PhaseHost {
    fn drop(&mut self) {
        if self.to.is_some() && self.quit().is_err() {
            self.to = None;
            // It may be gone already; what it leaves on disk is swept at the next start.
            let _ended = self.child.kill();
            let _ended = self.child.wait();
        }
    }
}

/// Helpers that look on: each has a process and a directory of its own, and the target of the one that they were had from.
#[derive(Clone, Debug)]
pub struct Onlookers {
    work_dir: PathBuf,
    target: PathBuf,
}

impl Onlookers {
    /// Starts one.
    pub fn start(&self) -> Result<PhaseHost, SandboxError> {
        let (dir, lock) = directory(&self.work_dir)?;
        PhaseHost::start_in(dir, lock, Some(&self.target))
    }
}

/// A fresh directory for a helper, and the lock on it.
fn directory(work_dir: &Path) -> Result<(PathBuf, File), SandboxError> {
    let dir = place::fresh(work_dir, PREFIX).map_err(|error| broken(work_dir, &error))?.keep();
    let lock = File::create(dir.join(LOCK)).map_err(|error| broken(&dir, &error))?;
    lock.lock().map_err(|error| broken(&dir, &error))?;
    Ok((dir, lock))
}

/// Removes directories of helpers that nobody holds locked.
pub fn sweep(work_dir: &Path) -> Result<(), SandboxError> {
    fs::create_dir_all(work_dir).map_err(|error| broken(work_dir, &error))?;
    for child in fs::read_dir(work_dir).map_err(|error| broken(work_dir, &error))? {
        let dir = child.map_err(|error| broken(work_dir, &error))?.path();
        let ours = dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let Some(lock) = ours.then(|| File::open(dir.join(LOCK)).ok()).flatten() else { continue };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(error)) => return Err(broken(&dir, &error)),
        }
        match dir.join(INSIDE).exists() {
            // Foreign ids own what is inside: a helper removes it.
            true => PhaseHost::start_in(dir, lock, None)?.close()?,
            false => fs::remove_dir_all(&dir).map_err(|error| broken(&dir, &error))?,
        }
    }
    Ok(())
}

/// See [`super::remove_tree`].
pub fn remove_tree(dir: &Path) -> Result<(), SandboxError> {
    let children = match fs::read_dir(dir) {
        Ok(children) => children,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(broken(dir, &error)),
    };
    sweep(dir)?;
    for child in children {
        let path = child.map_err(|error| broken(dir, &error))?.path();
        if path.is_dir() && !path.is_symlink() {
            sweep(&path)?;
        }
    }
    fs::remove_dir_all(dir).map_err(|error| broken(dir, &error))
}

fn unavailable(message: String) -> SandboxError {
    SandboxError::Unavailable {
        message,
        advice: "Allow user namespaces: `sysctl user.max_user_namespaces=15000`, on Ubuntu also \
                 `sysctl kernel.apparmor_restrict_unprivileged_userns=0`; in a container, allow unshare and mount."
            .into(),
    }
}

fn broken(path: &Path, error: &io::Error) -> SandboxError {
    SandboxError::Broken { message: format!("{}: {error}", path.display()) }
}

pub(super) fn gone(error: &io::Error) -> SandboxError {
    SandboxError::Broken { message: format!("its process does not answer ({error})") }
}

pub(super) fn unexpected(reply: &Reply) -> SandboxError {
    SandboxError::Broken { message: format!("an answer out of turn: {reply:?}") }
}
