//! Forms: compressed pieces of images, kept so that the next image copies what it can and compresses only what is new.
//!
//! A form is found by a [`FormKey`], a hash of all that its bytes are made from: the kind of form with its parameters and the version of
//! the code, metadata and [`BlobId`]s, but never the raw content, so that a hit reads none of it. A root has very many small ones (every
//! entry of a zip file), so they are not files of their own:
//!
//! ```text
//! forms/NAME.pack    the bytes of forms, one after the other
//! forms/NAME.index   a record of 64 bytes for each: key, place, checksum
//! ```
//!
//! Both only grow, by the one process that holds the lock of the pack; all others read. A form's record is written after its bytes, and
//! nothing is synced: what a crash or a power cut left behind does not match its checksum and counts as not there. Forms can always be
//! made again, so one that cannot be read is no error but a miss.

mod index;
mod key;
mod pieces;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

pub use self::key::{FormKey, KeyHasher};
pub(crate) use self::pieces::{Press, write};

use self::index::{Index, Place, RECORD, Record};
use crate::store::StoreError;

/// A pack that has grown to this size is not added to. Whole packs are what is removed when the store is trimmed.
const PACK_SIZE: u64 = 64 << 20;
/// How exact a file's time of last use is. Setting it each time would write to the disk for every read.
pub(crate) const USE_STEP: Duration = Duration::from_secs(3600);

/// The forms of a [`crate::Store`], as of when [`crate::Store::forms`] was called, and those put since. May be shared by threads.
#[derive(Debug)]
pub struct Forms {
    shelf: Arc<Shelf>,
    /// The packs that were read from. Held open, they stay readable when another process trims the store.
    open: Mutex<HashMap<usize, Arc<File>>>,
}

impl Forms {
    /// The bytes of a form, checked; `None` when it is not there or was damaged (then it is forgotten, to be put again).
    pub fn get(&self, key: &FormKey) -> Option<Vec<u8>> {
        let place = self.place(key)?;
        let mut bytes = Vec::new();
        let good = self.read(&place, place.length, &mut bytes).is_ok() && place.is_of(&bytes);
        if !good {
            self.forget(key, &place);
        }
        good.then_some(bytes)
    }

    /// Where a form is.
    fn place(&self, key: &FormKey) -> Option<Place> {
        self.shelf.index().place(key)
    }

    /// So many bytes from a place on, unchecked, into a buffer that is reused.
    fn read(&self, place: &Place, length: u64, bytes: &mut Vec<u8>) -> io::Result<()> {
        let pack = self.pack(place)?;
        // A length that goes beyond the file is refused before room is made for it.
        let end = place.offset.checked_add(length).filter(|end| pack.metadata().is_ok_and(|found| *end <= found.len()));
        end.ok_or(io::ErrorKind::UnexpectedEof)?;
        bytes.resize(usize::try_from(length).map_err(|_| io::ErrorKind::OutOfMemory)?, 0);
        pack.read_exact_at(bytes, place.offset)
    }

    /// Forgets a form that is not what was kept.
    fn forget(&self, key: &FormKey, place: &Place) {
        self.shelf.forget(key, place);
    }

    /// Whether a form is there, unread; it may still turn out to be damaged.
    pub fn contains(&self, key: &FormKey) -> bool {
        self.place(key).is_some()
    }

    /// Keeps a form. Putting one that is there already does nothing.
    ///
    /// # Errors
    /// `DiskFull` and `Io` of the store; nothing is kept then.
    pub fn put(&self, key: &FormKey, bytes: &[u8]) -> Result<(), StoreError> {
        match self.place(key) {
            // Opening its pack says that it is in use.
            Some(place) if self.pack(&place).is_ok() => Ok(()),
            _ => self.shelf.put(key, bytes),
        }
    }

    /// The pack that a place is in, opened; opening it counts as a use.
    fn pack(&self, place: &Place) -> io::Result<Arc<File>> {
        let number = place.pack;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = open.get(&number) {
            return Ok(file.clone());
        }
        let path = self.shelf.index().pack(number).map(|name| self.shelf.pack_path(name)).ok_or(io::ErrorKind::NotFound)?;
        let file = Arc::new(File::open(path)?);
        mark_used(&file);
        open.insert(number, file.clone());
        Ok(file)
    }
}

/// Whether a file's time says that it is in use now, to within [`USE_STEP`].
pub(crate) fn is_used(found: &fs::Metadata) -> bool {
    found.modified().is_ok_and(|time| time.elapsed().is_ok_and(|age| age < USE_STEP))
}

/// Sets a file's time to now unless it is nearly that. On a disk that cannot be written nothing is trimmed either, so failing at this is
/// no reason not to read.
pub(crate) fn mark_used(file: &File) {
    if !file.metadata().is_ok_and(|found| is_used(&found)) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// What all handles of one store in this process share.
#[derive(Debug)]
pub(crate) struct Shelf {
    folder: PathBuf,
    index: Mutex<Index>,
    writer: Mutex<Option<Writer>>,
}

impl Shelf {
    pub(crate) fn new(folder: PathBuf) -> Shelf {
        Shelf { folder, index: Mutex::default(), writer: Mutex::default() }
    }

    /// A handle that knows what other processes have put so far.
    pub(crate) fn open(self: &Arc<Self>) -> Result<Forms, StoreError> {
        fs::create_dir_all(&self.folder).map_err(|e| StoreError::io(&self.folder, e))?;
        self.index().refresh(&self.folder).map_err(|e| StoreError::io(&self.folder, e))?;
        Ok(Forms { shelf: self.clone(), open: Mutex::default() })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pack_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.pack"))
    }

    fn index_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.index"))
    }

    fn put(&self, key: &FormKey, bytes: &[u8]) -> Result<(), StoreError> {
        let mut slot = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writer = match slot.take().filter(Writer::has_room) {
            Some(writer) => writer,
            None => Writer::open(self).map_err(|e| StoreError::io(&self.folder, e))?,
        };
        let record = writer.write(key, bytes).map_err(|e| StoreError::io(&self.pack_path(&writer.name), e));
        let name = writer.name.clone();
        *slot = Some(writer);
        self.index().add(&name, &record?);
        Ok(())
    }

    /// Forgets a form that cannot be read, here and for all others: its record is blanked. Where that fails, the next reader finds the
    /// damage as this one did.
    fn forget(&self, key: &FormKey, place: &Place) {
        let mut index = self.index();
        if index.place(key).is_some_and(|known| known == *place) {
            index.remove(key);
        }
        if let Some(name) = index.pack(place.pack) {
            let file = OpenOptions::new().write(true).open(self.index_path(name));
            let _ = file.and_then(|file| file.write_all_at(&[0; RECORD], place.record));
        }
    }
}

/// The pack that this process adds to.
#[derive(Debug)]
struct Writer {
    name: String,
    /// Locked as long as this value lives.
    pack: File,
    index: File,
    end: u64,
    records: u64,
}

impl Writer {
    /// Goes on with a pack that nobody adds to and that has room, or begins one.
    fn open(shelf: &Shelf) -> io::Result<Writer> {
        for name in index::packs(&shelf.folder)? {
            let path = shelf.pack_path(&name);
            let has_room = fs::metadata(&path).is_ok_and(|found| found.len() < PACK_SIZE);
            if let Some(pack) = has_room.then(|| lock(&path)).transpose()?.flatten() {
                return Writer::resume(shelf, name, pack);
            }
        }
        let path = tempfile::Builder::new().prefix("").suffix(".pack").rand_bytes(12).tempfile_in(&shelf.folder)?;
        let (pack, path) = path.keep().map_err(|e| e.error)?;
        pack.lock()?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Writer::resume(shelf, name, pack)
    }

    fn resume(shelf: &Shelf, name: String, pack: File) -> io::Result<Writer> {
        let index = OpenOptions::new().write(true).create(true).truncate(false).open(shelf.index_path(&name))?;
        // What a crash left of a record is written over.
        let records = index.metadata()?.len() / RECORD as u64;
        let end = pack.metadata()?.len();
        Ok(Writer { name, pack, index, end, records })
    }

    /// Whether this pack is to be added to: it is not full, and not removed by another process.
    fn has_room(&self) -> bool {
        self.end < PACK_SIZE && self.pack.metadata().is_ok_and(|found| found.nlink() > 0)
    }

    fn write(&mut self, key: &FormKey, bytes: &[u8]) -> io::Result<Record> {
        self.pack.write_all_at(bytes, self.end)?;
        let place = Place {
            pack: 0,
            record: self.records * RECORD as u64,
            offset: self.end,
            length: bytes.len() as u64,
            checksum: crc32fast::hash(bytes),
        };
        let record = Record { key: *key, place };
        self.end += place.length;
        self.index.write_all_at(&record.bytes(), record.place.record)?;
        self.records += 1;
        Ok(record)
    }
}

/// The pack at this path, locked; `None` when it is another's, or gone.
fn lock(path: &Path) -> io::Result<Option<File>> {
    let file = match OpenOptions::new().write(true).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    match file.try_lock() {
        Ok(()) => Ok((file.metadata()?.nlink() > 0).then_some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests;
