//! Debian's own reader of its packages.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::SampleError;

/// A running `dpkg-deb --fsys-tarfile`.
pub struct Dpkg {
    child: Child,
    path: String,
}

impl Dpkg {
    /// Starts it on a package.
    pub fn open(path: &Path) -> Result<Dpkg, SampleError> {
        let mut command = Command::new("dpkg-deb");
        command.arg("--fsys-tarfile").arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|e| SampleError::program("dpkg-deb", e.to_string()))?;
        Ok(Dpkg { child, path: path.display().to_string() })
    }

    /// The tar stream that it writes; to be taken once.
    pub fn stream(&mut self) -> Result<impl Read + use<>, SampleError> {
        self.child.stdout.take().ok_or_else(|| SampleError::program("dpkg-deb", "its output was taken twice"))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`SampleError::Program`] with what it said.
    pub fn finish(self) -> Result<(), SampleError> {
        let result = self.child.wait_with_output().map_err(|e| SampleError::program("dpkg-deb", e.to_string()))?;
        let said = String::from_utf8_lossy(&result.stderr);
        match result.status.success() {
            true => Ok(()),
            false => Err(SampleError::program("dpkg-deb", format!("{}: {}", self.path, said.trim()))),
        }
    }
}
