//! Programs of the host that writers use, run with an argument list, a fixed environment and their messages kept.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use crate::write::{Error, Workspace};

/// How long to sleep between two looks at a program that is running.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a failed program's messages that are shown.
const SHOWN: usize = 4000;

/// A program that was started; dropping it ends it.
pub(crate) struct Tool {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Tool {
    /// Starts a program. `package` is the Debian package that has it; `epoch` is given to it as SOURCE_DATE_EPOCH. With `feed` its
    /// standard input is what [`Tool::write`] gives it, otherwise it is empty.
    pub(crate) fn start<S: AsRef<OsStr>>(
        workspace: &Workspace,
        (name, package): (&'static str, &str),
        args: impl IntoIterator<Item = S>,
        epoch: i64,
        feed: bool,
    ) -> Result<Tool, Error> {
        let (log, out) = workspace.create(&format!("{name}.log"))?;
        let errors = out.try_clone().map_err(|e| Error::io(&log, e))?;
        let spawned = Command::new(name)
            .args(args)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("SOURCE_DATE_EPOCH", epoch.max(0).to_string())
            .stdin(if feed { Stdio::piped() } else { Stdio::null() })
            .stdout(out)
            .stderr(errors)
            .spawn();
        match spawned {
            Ok(child) => Ok(Tool { name, child, log }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                Err(Error::MissingTool { tool: name.to_owned(), package: package.to_owned() })
            }
            Err(e) => Err(Error::io(Path::new(name), e)),
        }
    }

    /// Feeds the program. When it has stopped reading, its own message tells why.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let result = match &mut self.child.stdin {
            Some(stdin) => ChildStdin::write_all(stdin, bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        match result {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                let status = self.child.wait().map_err(|e| Error::io(Path::new(self.name), e))?;
                Err(self.failure(status))
            }
            other => other.map_err(|e| Error::io(Path::new(self.name), e)),
        }
    }

    /// Waits for the end, asking `going` now and then whether to go on.
    pub(crate) fn finish(mut self, mut going: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
        drop(self.child.stdin.take());
        loop {
            match self.child.try_wait().map_err(|e| Error::io(Path::new(self.name), e))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(status)),
                None => going()?,
            }
            thread::sleep(POLL);
        }
    }

    fn failure(&self, status: ExitStatus) -> Error {
        let output = tail(&self.log);
        // The program's words for ENOSPC; it cannot hand us the number itself.
        match output.contains("No space left on device") || output.contains("Disk quota exceeded") {
            true => Error::DiskFull { path: self.log.parent().and_then(Path::parent).unwrap_or(&self.log).to_path_buf() },
            false => Error::Tool { tool: self.name.to_owned(), status: status.to_string(), output },
        }
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail only when the program has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run<S: AsRef<OsStr>>(
    workspace: &Workspace,
    program: (&'static str, &str),
    args: impl IntoIterator<Item = S>,
    epoch: i64,
    going: impl FnMut() -> Result<(), Error>,
) -> Result<(), Error> {
    Tool::start(workspace, program, args, epoch, false)?.finish(going)
}

/// The last messages of a program.
fn tail(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let start = bytes.len().saturating_sub(SHOWN);
    String::from_utf8_lossy(bytes.get(start..).unwrap_or_default()).trim().to_owned()
}

/// Whether a program is there to be run.
pub(crate) fn is_installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| File::open(dir.join(name)).is_ok_and(|f| f.metadata().is_ok_and(|m| m.is_file())))
}
