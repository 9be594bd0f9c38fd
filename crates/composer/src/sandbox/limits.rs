//! Limits on what all processes of a command use together; the kernel's own limits hold for each process alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::statvfs::statvfs;
use serde::{Deserialize, Serialize};

const GIB: u64 = 1024 * 1024 * 1024;
/// How often is looked.
pub const PERIOD: Duration = Duration::from_millis(250);
/// What remains free of a disk, as a part of what was free: other builds are on it, too.
const RESERVE: u64 = 10;

/// The most that the processes of a command may use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory in use (proportional set size).
    pub memory: u64,
    pub processes: u64,
    /// Bytes written to disk that are still there.
    pub disk: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { memory: 4 * GIB, processes: 1024, disk: 16 * GIB }
    }
}

/// The limit that a command went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Excess {
    Memory,
    Processes,
    Disk,
}

/// Watches a running command from the first process of its namespace.
pub struct Meter {
    limits: Limits,
    /// Bytes that were free on the disk at the start.
    free: u64,
    next: Instant,
}

impl Meter {
    pub fn start(limits: Limits) -> io::Result<Meter> {
        let free = free_bytes()?;
        let disk = limits.disk.min(free - free / RESERVE);
        Ok(Meter { limits: Limits { disk, ..limits }, free, next: Instant::now() + PERIOD })
    }

    /// The limit that is exceeded; looks once in a [`PERIOD`] and finds nothing in between.
    pub fn excess(&mut self) -> io::Result<Option<Excess>> {
        if Instant::now() < self.next {
            return Ok(None);
        }
        let processes = processes()?;
        let result = if processes.len() as u64 > self.limits.processes {
            Some(Excess::Processes)
        } else if self.too_much_memory(&processes) {
            Some(Excess::Memory)
        } else if self.too_much_disk()? {
            Some(Excess::Disk)
        } else {
            None
        };
        self.next = Instant::now() + PERIOD;
        Ok(result)
    }

    /// Resident pages are counted quickly, but shared ones once for each process; only if those are too many the exact figure counts.
    fn too_much_memory(&self, processes: &[PathBuf]) -> bool {
        let resident: u64 = processes.iter().filter_map(|process| resident(process)).sum();
        resident > self.limits.memory
            && processes.iter().filter_map(|process| proportional(process)).sum::<u64>() > self.limits.memory
    }

    /// Others use the disk as well; only if much was taken it is looked whether it is here.
    fn too_much_disk(&self) -> io::Result<bool> {
        Ok(self.free.saturating_sub(free_bytes()?) > self.limits.disk && used_bytes(Path::new(".")) > self.limits.disk)
    }
}

/// The directories in /proc of all processes but this one.
fn processes() -> io::Result<Vec<PathBuf>> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for child in fs::read_dir("/proc")? {
        let child = child?;
        let name = child.file_name();
        let is_process = name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()) && name != own);
        found.extend(is_process.then(|| child.path()));
    }
    Ok(found)
}

/// The second field of /proc/PID/statm (proc_pid_statm(5)), in bytes. A process may be gone at any moment.
fn resident(process: &Path) -> Option<u64> {
    let pages: u64 = fs::read_to_string(process.join("statm")).ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// `Pss` of /proc/PID/smaps_rollup, in bytes.
fn proportional(process: &Path) -> Option<u64> {
    let text = fs::read_to_string(process.join("smaps_rollup")).ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

fn free_bytes() -> io::Result<u64> {
    let disk = statvfs(".")?;
    Ok(disk.blocks_available().saturating_mul(disk.fragment_size()))
}

/// Bytes that a directory's files take; what cannot be read, as it is just being removed, takes none.
fn used_bytes(dir: &Path) -> u64 {
    let mut total = 0;
    let mut ahead = vec![dir.to_path_buf()];
    while let Some(dir) = ahead.pop() {
        for child in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = child.metadata() else { continue };
            total += meta.blocks() * 512;
            if meta.is_dir() {
                ahead.push(child.path());
            }
        }
    }
    total
}
