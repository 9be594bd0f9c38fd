//! The folders a worker builds in. Several processes may share them; each has scratch space of its own.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use binhost::Client;
use contract::{Failure, Step};
use image::Store;
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

use crate::build::compose_failure;

/// The packages that were fetched take at most one part in so many of what may be kept; the store has the rest.
const PACKAGES_PART: u64 = 4;

/// With less than so many bytes left a disk counts as full.
pub(crate) const LITTLE_ROOM: u64 = 64 << 20;

/// The folders a worker builds in: the packages it has fetched, the store of file contents and compressed forms, and scratch space.
pub struct Workshop {
    dir: PathBuf,
    pub(crate) store: Store,
    pub(crate) client: Client,
    scratch: Scratch,
}

impl Workshop {
    /// Opens or makes the folders below `dir`, and removes what killed builds left behind.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let unusable = |e: &dyn std::fmt::Display| {
            Failure::new(
                Step::Fetch,
                format!("the work folder {} cannot be used: {e}", dir.display()),
                "Choose a folder that can be written, on a disk with room.",
            )
        };
        let scratch = Scratch::open(&dir.join("scratch")).map_err(|e| unusable(&e))?;
        composer::sandbox::check(&scratch.dir).map_err(|e| compose_failure(Step::Merge, &e.into()))?;
        let store = Store::open(dir.join("store")).map_err(|e| unusable(&e))?;
        Ok(Workshop { dir: dir.to_owned(), store, client: Client::new(&dir.join("packages")), scratch })
    }

    /// A fresh folder that is removed when dropped.
    pub fn scratch(&self) -> Result<TempDir, Failure> {
        tempfile::Builder::new().prefix("build-").tempdir_in(&self.scratch.dir).map_err(|e| {
            Failure::new(
                Step::Fetch,
                format!("no scratch folder could be made in {}: {e}", self.dir.display()),
                "Make room on the worker's disk and order again.",
            )
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the disk is full. Where it cannot be asked, whatever writes there will say so.
    pub(crate) fn is_full(&self) -> bool {
        statvfs(&self.dir).is_ok_and(|disk| disk.blocks_available().saturating_mul(disk.fragment_size()) < LITTLE_ROOM)
    }

    /// The architectures, by Gentoo's names, whose images can be made here.
    pub fn arches(&self) -> Result<Vec<String>, Failure> {
        let scratch = self.scratch()?;
        let found = composer::sandbox::arches(scratch.path()).map_err(|e| compose_failure(Step::Merge, &e.into()))?;
        Ok(found.into_iter().map(str::to_owned).collect())
    }

    /// The packages' cache and the binhosts behind it.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Removes what was not used for longest until packages, store and forms take at most `most` bytes. What a running build needs, of
    /// this worker or another, stays. Returns the bytes removed.
    pub fn trim(&self, most: u64) -> io::Result<u64> {
        let packages = most / PACKAGES_PART;
        let removed = self.client.trim_cache(packages)?;
        let trimmed = self.store.trim(most - packages).map_err(io::Error::other)?;
        Ok(removed + trimmed.removed)
    }
}

/// This process's part of the scratch space. A lock says that the process lives.
struct Scratch {
    dir: PathBuf,
    _lock: File,
}

impl Scratch {
    fn open(parent: &Path) -> io::Result<Scratch> {
        fs::create_dir_all(parent)?;
        sweep(parent)?;
        loop {
            let (lock, path) =
                tempfile::Builder::new().prefix("worker-").suffix(".lock").tempfile_in(parent)?.keep().map_err(|e| e.error)?;
            lock.lock()?;
            // Another process that sweeps may have taken it for a dead one's before it was locked.
            if lock.metadata()?.nlink() > 0 {
                let dir = path.with_extension("");
                fs::create_dir(&dir)?;
                return Ok(Scratch { dir, _lock: lock });
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept by the next process.
        let _ = composer::sandbox::remove_tree(&self.dir);
        let _ = fs::remove_file(lock_path(&self.dir));
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    dir.with_extension("lock")
}

/// Removes what processes left that no longer live.
fn sweep(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let Ok(lock) = File::options().write(true).create(true).truncate(false).open(lock_path(&path)) else { continue };
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => continue,
            Err(TryLockError::Error(e)) => return Err(e),
            Ok(()) if path.is_dir() => composer::sandbox::remove_tree(&path).map_err(io::Error::other)?,
            Ok(()) => (),
        }
        match fs::remove_file(lock_path(&path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => (),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scratch_of_the_living_stays_and_of_the_dead_goes() {
        let parent = tempfile::tempdir().unwrap();
        let alive = Scratch::open(parent.path()).unwrap();
        fs::write(alive.dir.join("work"), "x").unwrap();
        let dead = parent.path().join("worker-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("left"), "x").unwrap();
        File::create(lock_path(&dead)).unwrap();
        // As versions before locks left it.
        fs::create_dir(parent.path().join("build-old")).unwrap();

        let other = Scratch::open(parent.path()).unwrap();
        assert!(alive.dir.join("work").exists() && other.dir.exists());
        let names = || fs::read_dir(parent.path()).unwrap().count();
        assert_eq!(names(), 4, "a folder and a lock for each of the two");
        drop((alive, other));
        assert_eq!(names(), 0);
    }
}
