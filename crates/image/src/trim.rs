//! Keeping the store within a size: what was not used for longest goes first, and nothing that a running build needs.
//!
//! ```text
//! lock            held by whoever trims, and for a moment by whoever begins to use the store
//! uses/NAME       one for each use, locked as long as the process lives; its time is when the use began
//! ```
//!
//! Each use of a blob or pack sets its time (to within [`USE_STEP`]), so what has been used since the oldest use began is younger than
//! that, and stays.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::{NamedTempFile, TempPath};

use crate::forms::USE_STEP;
use crate::store::{Store, StoreError};

const LOCK: &str = "lock";
const USES: &str = "uses";

/// Says that what is put into, or read from, a store from now on has to stay, until this is dropped or the process ends.
#[derive(Debug)]
pub struct InUse {
    /// Locked as long as this is open.
    _file: File,
    _path: TempPath,
}

/// What trimming came to, in bytes on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed {
    pub removed: u64,
    pub left: u64,
}

/// Something that can be removed as one.
struct Kept {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl Store {
    /// Begins a use of the store; a build holds one from its first to its last look.
    pub fn in_use(&self) -> Result<InUse, StoreError> {
        let folder = self.root().join(USES);
        let begin = || {
            fs::create_dir_all(&folder)?;
            let _lock = self.lock_for_use()?;
            let (file, path) = NamedTempFile::new_in(&folder)?.into_parts();
            file.lock()?;
            Ok(InUse { _file: file, _path: path })
        };
        begin().map_err(|e| StoreError::io(&folder, e))
    }

    /// Removes what was not used for longest until the rest takes at most `most` bytes, or is in use. Others may use the store
    /// meanwhile.
    pub fn trim(&self, most: u64) -> Result<Trimmed, StoreError> {
        self.try_trim(most).map_err(|e| StoreError::io(self.root(), e))
    }

    fn try_trim(&self, most: u64) -> io::Result<Trimmed> {
        let lock = self.lock_file()?;
        lock.lock()?;
        let mut kept = self.blobs()?;
        kept.extend(packs(&self.root().join("forms"))?);
        // What has no use to anybody is counted as the oldest.
        kept.extend(files(&self.root().join("damaged"))?.into_iter().map(|kept| Kept { used: SystemTime::UNIX_EPOCH, ..kept }));
        kept.sort_by_key(|kept| kept.used);
        let needed_from = oldest_use(&self.root().join(USES))?.and_then(|begun| begun.checked_sub(USE_STEP));
        let mut trimmed = Trimmed { removed: 0, left: kept.iter().map(|kept| kept.bytes).sum() };
        for kept in kept {
            if trimmed.left <= most || needed_from.is_some_and(|from| kept.used >= from) {
                break;
            }
            if self.remove(&kept)? {
                trimmed.removed += kept.bytes;
                trimmed.left -= kept.bytes;
            }
        }
        Ok(trimmed)
    }

    /// Removes it unless somebody has begun to use it: it is moved away first, then looked at once more. Who comes in between does not
    /// find it, and waits for the end of trimming or puts it again.
    fn remove(&self, kept: &Kept) -> io::Result<bool> {
        let aside = self.root().join("tmp").join("trimmed");
        match fs::rename(&kept.path, &aside) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(true),
            other => other?,
        }
        if used(&fs::metadata(&aside)?)? > kept.used && kept.used > SystemTime::UNIX_EPOCH {
            fs::rename(&aside, &kept.path)?;
            return Ok(false);
        }
        fs::remove_file(&aside)?;
        if kept.path.extension().is_some_and(|ending| ending == "pack") {
            remove_if_there(&kept.path.with_extension("index"))?;
        }
        Ok(true)
    }

    /// Blobs are in folders of two digits.
    fn blobs(&self) -> io::Result<Vec<Kept>> {
        let mut blobs = Vec::new();
        for entry in fs::read_dir(self.root())? {
            let entry = entry?;
            if entry.file_name().len() == 2 {
                blobs.extend(files(&entry.path())?);
            }
        }
        Ok(blobs)
    }

    /// Waits until nobody trims, as long as the answer is held.
    pub(crate) fn lock_for_use(&self) -> io::Result<File> {
        let lock = self.lock_file()?;
        lock.lock_shared()?;
        Ok(lock)
    }

    fn lock_file(&self) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(false).open(self.root().join(LOCK))
    }
}

/// When the oldest use began whose process still lives; what others left is removed.
fn oldest_use(folder: &Path) -> io::Result<Option<SystemTime>> {
    let mut oldest = None;
    for kept in files(folder)? {
        let file = match File::open(&kept.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        match file.try_lock() {
            Ok(()) => remove_if_there(&kept.path)?,
            Err(TryLockError::WouldBlock) => oldest = Some(oldest.map_or(kept.used, |old: SystemTime| old.min(kept.used))),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    Ok(oldest)
}

/// The packs of forms, each with its index; an index alone is of no use.
fn packs(folder: &Path) -> io::Result<Vec<Kept>> {
    let (packs, others): (Vec<Kept>, Vec<Kept>) =
        files(folder)?.into_iter().partition(|kept| kept.path.extension().is_some_and(|ending| ending == "pack"));
    for index in others.iter().filter(|index| !index.path.with_extension("pack").exists()) {
        remove_if_there(&index.path)?;
    }
    let with_index = |pack: Kept| {
        let index = fs::metadata(pack.path.with_extension("index")).map_or(0, |found| on_disk(&found));
        Kept { bytes: pack.bytes + index, ..pack }
    };
    Ok(packs.into_iter().map(with_index).collect())
}

/// The files of a folder, which may be missing. Those that vanish meanwhile are left out.
fn files(folder: &Path) -> io::Result<Vec<Kept>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        match entry.metadata() {
            Ok(metadata) => found.push(Kept { used: used(&metadata)?, bytes: on_disk(&metadata), path: entry.path() }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => (),
            Err(e) => return Err(e),
        }
    }
    Ok(found)
}

fn used(metadata: &fs::Metadata) -> io::Result<SystemTime> {
    metadata.modified()
}

/// What a file takes of its disk.
fn on_disk(metadata: &fs::Metadata) -> u64 {
    metadata.blocks() * 512
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "trim_tests.rs"]
mod tests;
