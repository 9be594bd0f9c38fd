//! Programs of the host that writers use, run with an argument list, a fixed environment and their messages kept.

use std::ffi::OsStr;
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::store::is_disk_full;
use crate::write::{Error, Workspace};

/// How long to sleep between two looks at a program that is running.
const POLL: Duration = Duration::from_millis(20);
/// Bytes of a failed program's messages that are shown.
const SHOWN: usize = 4000;

/// A program that was started; dropping it ends it.
pub(crate) struct Tool {
    name: &'static str,
    child: Child,
    /// Collects the end of what the program says. In memory: on a full disk a log file would stay empty just when it is needed.
    said: Option<JoinHandle<Vec<u8>>>,
    folder: PathBuf,
}

impl Tool {
    /// Starts a program. `package` is the Debian package that has it; `epoch` is given to it as SOURCE_DATE_EPOCH. Its standard
    /// input is empty.
    pub(crate) fn start<S: AsRef<OsStr>>(
        workspace: &Workspace,
        (name, package): (&'static str, &str),
        args: impl IntoIterator<Item = S>,
        epoch: i64,
    ) -> Result<Tool, Error> {
        let failed = |e| Error::io(Path::new(name), e);
        let (messages, out) = io::pipe().map_err(failed)?;
        let errors = out.try_clone().map_err(failed)?;
        let mut command = Command::new(name);
        command.args(args).env("LC_ALL", "C").env("TZ", "UTC").env("SOURCE_DATE_EPOCH", epoch.max(0).to_string());
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        let child = command.spawn().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Error::MissingTool { tool: name.to_owned(), package: package.to_owned() },
            _ => failed(e),
        })?;
        // The command holds the pipe's other end; without it the pipe ends with the program.
        drop(command);
        Ok(Tool {
            name,
            child,
            said: Some(thread::spawn(move || last_bytes(messages))),
            folder: workspace.folder().to_path_buf(),
        })
    }

    /// Waits for the end, asking `going` now and then whether to go on.
    pub(crate) fn finish(mut self, mut going: impl FnMut() -> Result<(), Error>) -> Result<(), Error> {
        loop {
            match self.child.try_wait().map_err(|e| Error::io(Path::new(self.name), e))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(status)),
                None => going()?,
            }
            thread::sleep(POLL);
        }
    }

    /// The error of a program that has ended.
    fn failure(&mut self, status: ExitStatus) -> Error {
        let said = self.said.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let output = String::from_utf8_lossy(&said).trim().to_owned();
        // Programs say ENOSPC in words of their own, some only "I/O error", so the disk is asked as well.
        match output.contains("No space left on device") || disk_is_full(&self.folder) {
            true => Error::DiskFull { path: self.folder.clone() },
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
    Tool::start(workspace, program, args, epoch)?.finish(going)
}

/// What a program says of its version.
pub(crate) fn version((name, package): (&'static str, &str)) -> Result<Vec<u8>, Error> {
    let output = Command::new(name).arg("--version").env("LC_ALL", "C").stdin(Stdio::null()).output();
    let output = output.map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => Error::MissingTool { tool: name.to_owned(), package: package.to_owned() },
        _ => Error::io(Path::new(name), e),
    })?;
    Ok(output.stdout)
}

/// Reads to the end and keeps the last [`SHOWN`] bytes.
fn last_bytes(mut messages: PipeReader) -> Vec<u8> {
    let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = messages.read(&mut buffer) {
        kept.extend_from_slice(buffer.get(..count).unwrap_or_default());
        kept.drain(..kept.len().saturating_sub(SHOWN));
    }
    kept
}

/// Whether a folder has no room for another mebibyte.
fn disk_is_full(folder: &Path) -> bool {
    let mut probe = tempfile::tempfile_in(folder);
    let written = probe.as_mut().map(|file| file.write_all(&vec![0; 1 << 20]));
    matches!(written, Ok(Err(error)) if is_disk_full(&error))
}
