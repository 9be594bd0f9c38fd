//! The store: what files contain, kept once by SHA-256.
//!
//! A blob `abcd…` lives at `ab/cd…`. It is written to `tmp/` first and renamed when it is whole, so that a process that dies leaves no
//! half blob, and several processes can write at once (the second rename replaces equal bytes by equal bytes).

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::forms::{Forms, Shelf, is_used, mark_used};

/// Files up to this size are hashed in memory before anything is written: most are known already, and then nothing is.
const SMALL: usize = 1 << 20;
const BUFFER: usize = 128 << 10;
/// What a crashed process left in `tmp/` is swept away once it is this old; nothing takes that long to write one file.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 3600);

/// The name of a blob: the SHA-256 of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// The name that content has.
    pub fn of(content: &[u8]) -> BlobId {
        BlobId(Sha256::digest(content).into())
    }

    /// The digest itself.
    pub(crate) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<BlobId> {
        let mut digest = [0; 32];
        hex::decode_to_slice(text, &mut digest).ok()?;
        Some(BlobId(digest))
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for BlobId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        BlobId::from_hex(&text).ok_or_else(|| D::Error::custom("not a SHA-256"))
    }
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the disk is full: {} cannot grow; free some space there and try again", path.display())]
    DiskFull { path: PathBuf },
    #[error("the store has lost the content {blob}; build again and it is put back")]
    Missing { blob: BlobId },
    #[error("the store's content {blob} was damaged on disk and has been set aside; build again and it is put back")]
    Damaged { blob: BlobId },
    #[error("reading what should be stored: {0}")]
    Source(#[source] io::Error),
    #[error("the store at {}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl StoreError {
    pub(crate) fn io(path: &Path, source: io::Error) -> StoreError {
        match is_disk_full(&source) {
            true => StoreError::DiskFull { path: path.to_path_buf() },
            false => StoreError::Io { path: path.to_path_buf(), source },
        }
    }
}

/// A folder of blobs, and of the compressed forms made of them. Cheap to clone; may be used by several threads and processes at once.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    shelf: Arc<Shelf>,
}

impl Store {
    /// Opens a store, making the folder where it is missing.
    pub fn open(root: impl AsRef<Path>) -> Result<Store, StoreError> {
        let root = root.as_ref().to_path_buf();
        let shelf = Arc::new(Shelf::new(root.join("forms")));
        let store = Store { root, shelf };
        let tmp = store.tmp();
        fs::create_dir_all(&tmp).map_err(|e| store.failed(&tmp, e))?;
        store.sweep();
        Ok(store)
    }

    /// The compressed forms that are kept beside the blobs, as of now.
    pub fn forms(&self) -> Result<Forms, StoreError> {
        self.shelf.open()
    }

    /// Keeps all that `content` gives; returns its name and size in bytes.
    ///
    /// # Errors
    /// `Source` when `content` fails, `DiskFull` and `Io` when the store does. Nothing is kept then.
    pub fn put(&self, content: &mut dyn Read) -> Result<(BlobId, u64), StoreError> {
        let mut start = Vec::with_capacity(BUFFER);
        (&mut *content).take(SMALL as u64 + 1).read_to_end(&mut start).map_err(StoreError::Source)?;
        match start.len() <= SMALL {
            true => self.put_bytes(&start),
            false => self.put_large(start, content),
        }
    }

    /// Keeps these bytes; see [`Store::put`].
    pub fn put_bytes(&self, content: &[u8]) -> Result<(BlobId, u64), StoreError> {
        let blob = BlobId::of(content);
        let size = content.len() as u64;
        if !self.holds(&blob, size) {
            let mut file = self.temp_file()?;
            file.write_all(content).map_err(|e| self.failed(file.path(), e))?;
            self.keep(file, &blob)?;
        }
        Ok((blob, size))
    }

    fn put_large(&self, mut buffer: Vec<u8>, content: &mut dyn Read) -> Result<(BlobId, u64), StoreError> {
        let mut file = self.temp_file()?;
        let mut hasher = Sha256::new();
        let mut size = 0;
        while !buffer.is_empty() {
            hasher.update(&buffer);
            size += buffer.len() as u64;
            file.write_all(&buffer).map_err(|e| self.failed(file.path(), e))?;
            buffer.clear();
            (&mut *content).take(SMALL as u64).read_to_end(&mut buffer).map_err(StoreError::Source)?;
        }
        let blob = BlobId(hasher.finalize().into());
        if !self.holds(&blob, size) {
            self.keep(file, &blob)?;
        }
        Ok((blob, size))
    }

    /// Whether a blob of this name and size is there. Its content is checked whenever it is read.
    /// This counts as a use.
    fn holds(&self, blob: &BlobId, size: u64) -> bool {
        let path = self.path(blob);
        let there = || fs::metadata(&path).ok().filter(|found| found.is_file() && found.len() == size);
        match there() {
            None => false,
            Some(found) if is_used(&found) => true,
            // Looked for once more: if it was trimmed away before its time was set, it is gone now.
            Some(_) => File::open(&path).is_ok_and(|file| {
                mark_used(&file);
                there().is_some()
            }),
        }
    }

    /// Whether a blob of this name is there, unread.
    pub fn contains(&self, blob: &BlobId) -> bool {
        self.path(blob).is_file()
    }

    /// Opens a blob without checking its content; for readers that check by themselves. [`Store::reader`] checks.
    pub fn open_blob(&self, blob: &BlobId) -> Result<File, StoreError> {
        let path = self.path(blob);
        let opened = match File::open(&path) {
            // Trimming takes things away for a moment to look at them.
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.lock_for_use().and_then(|_lock| File::open(&path)),
            opened => opened,
        };
        let file = opened.map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { blob: *blob },
            _ => self.failed(&path, e),
        })?;
        mark_used(&file);
        Ok(file)
    }

    /// Opens a blob so that its content is checked: reading to the end fails when the content is wrong.
    pub fn reader(&self, blob: &BlobId) -> Result<VerifiedReader, StoreError> {
        Ok(VerifiedReader { file: self.open_blob(blob)?, hasher: Some(Sha256::new()), blob: *blob, store: self.clone() })
    }

    /// Reads a blob whole and checks it.
    pub fn read(&self, blob: &BlobId) -> Result<Vec<u8>, StoreError> {
        let mut content = Vec::new();
        let mut file = self.open_blob(blob)?;
        file.read_to_end(&mut content).map_err(|e| self.failed(&self.path(blob), e))?;
        if BlobId::of(&content) != *blob {
            return Err(self.damaged(blob));
        }
        Ok(content)
    }

    /// Copies a blob to `out` and checks it on the way.
    pub fn copy(&self, blob: &BlobId, out: &mut dyn Write) -> Result<u64, StoreError> {
        io::copy(&mut self.reader(blob)?, out).map_err(|e| from_reading(e, blob, |e| self.failed(&self.path(blob), e)))
    }

    /// Where a blob is; the file may not be there.
    pub fn path(&self, blob: &BlobId) -> PathBuf {
        let name = blob.to_string();
        let (folder, rest) = name.split_at(2);
        self.root.join(folder).join(rest)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }

    fn temp_file(&self) -> Result<NamedTempFile, StoreError> {
        NamedTempFile::new_in(self.tmp()).map_err(|e| self.failed(&self.tmp(), e))
    }

    /// Renames a whole file to its blob's place.
    ///
    /// There is no fsync: for the tens of thousands of small files of a root it would cost minutes, and it buys nothing here. After a
    /// power cut a blob may be short or empty; `holds` compares the size, every reader compares the hash, and all that a store
    /// holds can be made again from packages.
    fn keep(&self, file: NamedTempFile, blob: &BlobId) -> Result<(), StoreError> {
        let path = self.path(blob);
        let file = match file.persist(&path) {
            Ok(_) => return Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::NotFound => error.file,
            Err(error) => return Err(self.failed(&path, error.error)),
        };
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(|e| self.failed(folder, e))?;
        file.persist(&path).map(drop).map_err(|e| self.failed(&path, e.error))
    }

    /// The error of a blob that was read and is not what its name says; it is set aside.
    pub(crate) fn damaged(&self, blob: &BlobId) -> StoreError {
        self.set_aside(blob);
        StoreError::Damaged { blob: *blob }
    }

    /// Takes a damaged blob out of the way, so that the next `put` of its content heals the store.
    fn set_aside(&self, blob: &BlobId) {
        let bad = self.root.join("damaged");
        let moved = fs::create_dir_all(&bad).and_then(|()| fs::rename(self.path(blob), bad.join(blob.to_string())));
        if moved.is_err() {
            // Another process may have been quicker. On a read-only disk the blob stays, and every reader refuses it again.
            let _ = fs::remove_file(self.path(blob));
        }
    }

    /// Removes what crashed processes left; failing at that is no reason to refuse work.
    fn sweep(&self) {
        let old = |path: &Path| {
            let modified = fs::metadata(path).and_then(|m| m.modified()).unwrap_or_else(|_| SystemTime::now());
            SystemTime::now().duration_since(modified).is_ok_and(|age| age > LEFTOVER_AGE)
        };
        for entry in fs::read_dir(self.tmp()).into_iter().flatten().flatten() {
            if old(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn failed(&self, path: &Path, source: io::Error) -> StoreError {
        StoreError::io(path, source)
    }
}

/// Whether an error means that no space is left (the disk's, or the user's quota).
pub(crate) fn is_disk_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reads a blob and compares its hash at the end; see [`Store::reader`].
#[derive(Debug)]
pub struct VerifiedReader {
    file: File,
    /// `None` once the end was reached and the hash was right.
    hasher: Option<Sha256>,
    blob: BlobId,
    store: Store,
}

impl VerifiedReader {
    /// Like [`Read::read`], with the store's own error.
    pub(crate) fn read_piece(&mut self, buffer: &mut [u8]) -> Result<usize, StoreError> {
        let (blob, store) = (self.blob, self.store.clone());
        self.read(buffer).map_err(|e| from_reading(e, &blob, |e| store.failed(&store.path(&blob), e)))
    }
}

impl Read for VerifiedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        if count > 0 {
            if let Some(hasher) = &mut self.hasher {
                hasher.update(buffer.get(..count).unwrap_or_default());
            }
        } else if !buffer.is_empty()
            && let Some(hasher) = self.hasher.take()
            && BlobId(hasher.finalize().into()) != self.blob
        {
            return Err(io::Error::other(self.store.damaged(&self.blob)));
        }
        Ok(count)
    }
}

/// Turns the error of a [`VerifiedReader`] back into what it was.
fn from_reading(error: io::Error, blob: &BlobId, other: impl FnOnce(io::Error) -> StoreError) -> StoreError {
    match error.get_ref().is_some_and(|inner| inner.is::<StoreError>()) {
        true => StoreError::Damaged { blob: *blob },
        false => other(error),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
