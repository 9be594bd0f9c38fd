//! A worker as an operator starts it on a machine: `hatchery work`.

use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Ended with the test, and by `kill -9`.
pub struct Worker(Child);

impl Worker {
    /// Starts one for a site; `program` runs `hatchery`, wherever and as whomever it is to run. It keeps its things in `dir`, and what it says
    /// is added to a log beside that folder.
    pub fn start(program: Command, server: &str, token: &Path, dir: &Path) -> Worker {
        Worker::start_with(program, server, token, dir, &[])
    }

    /// The same with further words for `hatchery work`.
    pub fn start_with(mut program: Command, server: &str, token: &Path, dir: &Path, words: &[String]) -> Worker {
        let log = std::fs::File::options().create(true).append(true).open(dir.with_extension("log")).expect("a log");
        let child = program
            .args(["work", "--server", server, "--token-file"])
            .arg(token)
            .arg("--dir")
            .arg(dir)
            .args(words)
            .args(["--name", &dir.file_name().expect("a name").to_string_lossy()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the worker starts");
        Worker(child)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // One that has ended by itself is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
