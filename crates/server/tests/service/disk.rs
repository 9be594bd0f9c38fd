//! A small disk of its own, to be filled.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Gone when dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one at a folder. None, with a line that says so, where nothing can be mounted.
    pub fn mount(at: &Path, megabytes: u32) -> Option<Disk> {
        let size = format!("size={megabytes}m,mode=0777");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "hatchery-test"]).arg(at).output().expect("mount runs");
        if output.status.success() {
            return Some(Disk(at.to_owned()));
        }
        eprintln!("SKIPPED: a small disk cannot be mounted here: {}", String::from_utf8_lossy(&output.stderr).trim());
        None
    }

    /// Fills it to the last byte, until the file that is given back is removed.
    pub fn fill(&self) -> PathBuf {
        let path = self.0.join("filled");
        let mut file = std::fs::File::create(&path).expect("a file");
        for block in [64 << 10, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What still has a file open there keeps it until it ends.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
