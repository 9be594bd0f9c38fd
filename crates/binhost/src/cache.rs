//! The cache on disk, shared by any number of processes. Files appear in it complete, by a rename, and are never written again.
//!
//! ```text
//! index/URI-HASH            the last index of a binhost, uncompressed; its time is when it was last known to be current
//! package/ab/SHA-256        package files by content
//! origin/ORIGIN-HASH        which content a package of a binhost's index had
//! partial/ORIGIN-HASH       what has arrived of a download, locked while somebody is at it
//! ```

use std::fs::{self, File, Permissions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tempfile::TempPath;

use crate::error::BinhostError;

/// An unfinished download is not continued after this time.
const PARTIAL_LIFE: Duration = Duration::from_secs(7 * 86_400);
const FOLDERS: [&str; 4] = ["index", "package", "origin", "partial"];

pub(crate) struct Cache {
    folder: PathBuf,
}

impl Cache {
    pub(crate) fn new(folder: &Path) -> Cache {
        Cache { folder: folder.into() }
    }

    /// Puts the cache's name to an error of its disk.
    pub(crate) fn error(&self, what: &str) -> impl FnOnce(io::Error) -> BinhostError {
        move |e| BinhostError::disk(&self.folder, what, e)
    }

    fn path(&self, kind: &str, name: &str) -> PathBuf {
        self.folder.join(kind).join(name)
    }

    fn package_path(&self, sha256: &str) -> Option<PathBuf> {
        let hexadecimal = sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let start = sha256.get(..2).filter(|_| hexadecimal)?;
        Some(self.folder.join("package").join(start).join(sha256))
    }

    fn make_folders(&self) -> io::Result<()> {
        FOLDERS.iter().try_for_each(|name| fs::create_dir_all(self.folder.join(name)))
    }

    /// The last index of a binhost, and when it was last known to be current.
    pub(crate) fn index(&self, key: &str) -> io::Result<Option<(Vec<u8>, SystemTime)>> {
        let path = self.path("index", key);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some((bytes, fs::metadata(&path)?.modified()?))),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    pub(crate) fn keep_index(&self, key: &str, bytes: &[u8]) -> io::Result<()> {
        self.make_folders()?;
        self.write_whole(&self.path("index", key), bytes)
    }

    /// Notes that the kept index is current now.
    pub(crate) fn touch_index(&self, key: &str) -> io::Result<()> {
        File::open(self.path("index", key))?.set_modified(SystemTime::now())
    }

    /// The content that a package had when it was fetched before.
    pub(crate) fn origin(&self, key: &str) -> io::Result<Option<String>> {
        match fs::read_to_string(self.path("origin", key)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens a kept package. Its content still has to be checked against its name.
    pub(crate) fn package(&self, sha256: &str) -> io::Result<Option<File>> {
        let Some(path) = self.package_path(sha256) else { return Ok(None) };
        match File::open(path) {
            Ok(file) => Ok(Some(file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Marks a kept package as used, for [`Cache::trim`].
    pub(crate) fn touch(&self, file: &File) -> io::Result<()> {
        file.set_modified(SystemTime::now())
    }

    /// Removes a package whose content is not what its name says.
    pub(crate) fn discard(&self, sha256: &str) -> io::Result<()> {
        match self.package_path(sha256).map(fs::remove_file) {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// What has arrived of a download, to be continued by nobody but the caller. When somebody else is at it, a file of the caller's
    /// own.
    pub(crate) fn partial(&self, key: &str) -> io::Result<Partial> {
        self.make_folders()?;
        let path = self.path("partial", key);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        // The former owner may have moved the file away between the opening and the locking.
        if file.try_lock().is_ok() && fs::metadata(&path).map(|m| m.ino()).ok() == Some(file.metadata()?.ino()) {
            return Ok(Partial { file, path: TempPath::try_from_path(path)?, keep: true });
        }
        let (file, path) = tempfile::NamedTempFile::new_in(self.folder.join("partial"))?.into_parts();
        Ok(Partial { file, path, keep: false })
    }

    /// Takes a verified download in, and returns its file.
    pub(crate) fn keep(&self, partial: Partial, key: &str, sha256: &str) -> io::Result<()> {
        let Partial { file, path, .. } = partial;
        let target = self.package_path(sha256).ok_or_else(|| io::Error::other("not a SHA-256 hash"))?;
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        file.sync_data()?;
        path.persist(&target).map_err(|e| e.error)?;
        // Only now: a crash must not leave a partial download that can never be continued.
        file.set_permissions(Permissions::from_mode(0o444))?;
        self.write_whole(&self.path("origin", key), format!("{sha256}\n").as_bytes())
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(self.folder.join("partial"))?;
        file.write_all(bytes)?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    }

    /// Removes the packages that were not used for longest until the rest takes no more than `max_bytes`, and what downloads left
    /// behind long ago. Those open somewhere stay readable there. Returns the bytes of packages removed.
    pub(crate) fn trim(&self, max_bytes: u64) -> io::Result<u64> {
        self.make_folders()?;
        for (modified, _, path) in files(&self.folder.join("partial"))? {
            if modified.elapsed().is_ok_and(|age| age > PARTIAL_LIFE) {
                fs::remove_file(path)?;
            }
        }
        let mut packages = Vec::new();
        for folder in fs::read_dir(self.folder.join("package"))? {
            packages.extend(files(&folder?.path())?);
        }
        packages.sort();
        let total: u64 = packages.iter().map(|(_, len, _)| len).sum();
        let mut removed = 0;
        for (_, len, path) in packages {
            if total - removed <= max_bytes {
                break;
            }
            fs::remove_file(path)?;
            removed += len;
        }
        Ok(removed)
    }
}

/// The files of a folder: when they were changed, their sizes and paths.
fn files(folder: &Path) -> io::Result<Vec<(SystemTime, u64, PathBuf)>> {
    let describe = |entry: io::Result<fs::DirEntry>| {
        let entry = entry?;
        let metadata = entry.metadata()?;
        Ok((metadata.modified()?, metadata.len(), entry.path()))
    };
    fs::read_dir(folder)?.map(describe).collect()
}

/// A download under way. Dropped, it stays for the next attempt if it is the shared one.
pub(crate) struct Partial {
    pub(crate) file: File,
    path: TempPath,
    keep: bool,
}

impl Partial {
    pub(crate) fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Cuts it to `len` bytes and goes to its end.
    pub(crate) fn cut(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.file.seek(io::SeekFrom::Start(len))?;
        Ok(())
    }

    /// Leaves it for the next attempt.
    pub(crate) fn leave(self) -> io::Result<()> {
        if self.keep {
            self.path.keep().map_err(|e| e.error)?;
        }
        Ok(())
    }
}

/// A name for something by all that identifies it, length-prefixed so that fields never run together.
pub(crate) fn key(fields: &[&str]) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_le_bytes());
        hash.update(field.as_bytes());
    }
    hex::encode(hash.finalize())
}
