//! Which forms there are and where: the index files of all packs, in memory.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::hash::BuildHasherDefault;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::key::{FormKey, OfKey};

/// Bytes of a record: key (32), offset (8), length (8), checksum of the bytes (4), eight unused, checksum of all before (4). All numbers
/// little-endian.
pub(super) const RECORD: usize = 64;

/// Where a form is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the pack in this process.
    pub(super) pack: usize,
    /// Where its record is in the index file.
    pub(super) record: u64,
    pub(super) offset: u64,
    pub(super) length: u64,
    /// CRC-32 of the bytes.
    pub(super) checksum: u32,
}

impl Place {
    /// Bytes of the form.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Whether these bytes are what was kept.
    pub(super) fn is_of(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.length && crc32fast::hash(bytes) == self.checksum
    }

    /// Whether a form begins where this one ends.
    pub(super) fn is_before(&self, next: &Place) -> bool {
        self.pack == next.pack && self.offset.checked_add(self.length) == Some(next.offset)
    }
}

/// A form and where it is in its pack.
pub(super) struct Record {
    pub key: FormKey,
    pub place: Place,
}

impl Record {
    pub(super) fn bytes(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        let Place { offset, length, checksum, .. } = self.place;
        crate::bytes::put(&mut bytes, 0, &self.key.0);
        crate::bytes::put_u64(&mut bytes, 32, offset);
        crate::bytes::put_u64(&mut bytes, 40, length);
        crate::bytes::put_u32(&mut bytes, 48, checksum);
        let all = crc32fast::hash(&bytes[..RECORD - 4]);
        crate::bytes::put_u32(&mut bytes, RECORD - 4, all);
        bytes
    }

    /// Reads a record at a place in an index file; `None` for a blanked or damaged one.
    fn read(bytes: &[u8; RECORD], pack: usize, record: u64) -> Option<Record> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let short = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        if short(RECORD - 4)? != crc32fast::hash(&bytes[..RECORD - 4]) {
            return None;
        }
        let key = FormKey(bytes.get(..32)?.try_into().ok()?);
        Some(Record { key, place: Place { pack, record, offset: number(32)?, length: number(40)?, checksum: short(48)? } })
    }
}

/// A pack that was seen at some time.
#[derive(Debug)]
struct Pack {
    name: String,
    /// Bytes of its index file that were read.
    seen: u64,
}

/// The forms of all packs.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By number; those that are gone keep theirs.
    packs: Vec<Pack>,
    places: HashMap<FormKey, Place, BuildHasherDefault<OfKey>>,
}

impl Index {
    pub(super) fn place(&self, key: &FormKey) -> Option<Place> {
        self.places.get(key).copied()
    }

    pub(super) fn pack(&self, number: usize) -> Option<&str> {
        self.packs.get(number).map(|pack| pack.name.as_str())
    }

    pub(super) fn remove(&mut self, key: &FormKey) {
        self.places.remove(key);
    }

    /// Adds a form that this process has put into a pack.
    pub(super) fn add(&mut self, pack: &str, record: &Record) {
        let pack = self.number(pack);
        self.places.insert(record.key, Place { pack, ..record.place });
    }

    fn number(&mut self, name: &str) -> usize {
        let known = self.packs.iter().rposition(|pack| pack.name == name);
        known.unwrap_or_else(|| {
            self.packs.push(Pack { name: name.to_owned(), seen: 0 });
            self.packs.len() - 1
        })
    }

    /// Takes up what was added since the last time, and forgets the packs that are gone.
    pub(super) fn refresh(&mut self, folder: &Path) -> io::Result<()> {
        let present = packs(folder)?;
        for name in &present {
            let number = self.number(name);
            match File::open(folder.join(format!("{name}.index"))) {
                Ok(file) => self.read(number, &file)?,
                // Not begun yet, or just removed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => (),
                Err(e) => return Err(e),
            }
        }
        let gone: BTreeSet<usize> =
            self.packs.iter().enumerate().filter(|(_, pack)| !present.contains(&pack.name)).map(|(number, _)| number).collect();
        if !gone.is_empty() {
            self.places.retain(|_, place| !gone.contains(&place.pack));
        }
        Ok(())
    }

    fn read(&mut self, number: usize, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        let Some(pack) = self.packs.get_mut(number) else { return Ok(()) };
        let mut at = pack.seen;
        let fresh = length.saturating_sub(at) / RECORD as u64 * RECORD as u64;
        let mut bytes = vec![0; usize::try_from(fresh).map_err(|_| io::ErrorKind::OutOfMemory)?];
        file.read_exact_at(&mut bytes, at)?;
        pack.seen += fresh;
        for record in bytes.as_chunks::<RECORD>().0 {
            if let Some(Record { key, place }) = Record::read(record, number, at) {
                self.places.insert(key, place);
            }
            at += RECORD as u64;
        }
        Ok(())
    }
}

/// The names of the packs in a folder.
pub(super) fn packs(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|name| name.strip_suffix(".pack")).map(str::to_owned));
    }
    Ok(names)
}
