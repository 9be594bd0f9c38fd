//! A real SMTP server on loopback: aiosmtpd, which `scripts/setup test` installs from PyPI. Mail lands in a Maildir.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::{free_port, test_venv, wait_for};

pub struct MailServer {
    pub port: u16,
    maildir: PathBuf,
    process: Child,
}

impl MailServer {
    /// Starts the server; `None`, with a line that says so, where aiosmtpd is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        let venv = test_venv();
        let python = venv.join("bin/python");
        if !Command::new(&python).args(["-c", "import aiosmtpd"]).output().is_ok_and(|o| o.status.success()) {
            eprintln!("SKIPPED: mail needs aiosmtpd in {}: run scripts/setup test", venv.display());
            return None;
        }
        let port = free_port();
        let maildir = dir.join("maildir");
        let process = Command::new(python)
            .args(["-m", "aiosmtpd", "--nosetuid", "--listen", &format!("127.0.0.1:{port}")])
            .args(["--class", "aiosmtpd.handlers.Mailbox"])
            .arg(&maildir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("aiosmtpd starts");
        wait_for("the SMTP server", Duration::from_secs(30), || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        Some(MailServer { port, maildir, process })
    }

    /// Every mail that has arrived, as text.
    pub fn mails(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.maildir.join("new")) else { return Vec::new() };
        entries.flatten().filter_map(|e| fs::read_to_string(e.path()).ok()).collect()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // A process that ended by itself is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
