//! Zip with Unix modes, links and times: PKWARE's APPNOTE 6.3, with Info-ZIP's extra fields UT (times) and ux (owners).
//!
//! Files are deflated in pieces on several cores, each ending on a byte boundary, and joined. Pieces of files seen before are taken from
//! the store. What zip cannot carry is listed in the report and in a text file inside.

mod deflate;

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::content::Stretch;
use crate::entry::{Entry, Kind};
use crate::forms;
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{Error, Item, Meter, Progress, Workspace, WriteOptions, WriteReport, items, write_all};
use crate::zip_notes::Losses;
use crate::zip_record::{Record, central_directory};

use self::deflate::{Deflated, Deflater, Piece};

/// Sizes and offsets from here on need zip64; a deflated piece may be a little larger than the raw one, hence the margin below 4 GiB.
const ZIP64_FROM: u64 = 0xff00_0000;
/// The text inside the image that lists what zip could not carry.
const NOTES_NAME: &str = "HATCHERY-ZIP-NOTES";

/// Writes a zip file.
///
/// # Errors
/// Those of [`Error`]; the output appears only when it is whole.
pub fn write_zip(
    tree: &Tree,
    store: &Store,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    write_with_limit(tree, store, options, out, progress, ZIP64_FROM)
}

fn write_with_limit<'a>(
    tree: &'a Tree,
    store: &'a Store,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
    zip64_from: u64,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let (path, file) = workspace.create("image.zip")?;
    let mut zip = ZipFile::new(file, path, zip64_from);
    let mut losses = Losses::default();
    let deflater = Deflater::new(store)?;
    let produce = |emit: &mut dyn FnMut(Piece<'a>) -> Result<(), Error>| {
        let mut meter = Meter::new(progress, content_size(tree));
        for item in items(tree).filter(|item| !item.path.is_empty()) {
            losses.look_at(&item);
            if let Some(record) = record_of(&item, options) {
                emit_entry(&item, record, &mut meter, emit)?;
            }
            meter.check()?;
        }
        let notes = losses.text().into_bytes();
        let name = free_name(tree).into_bytes();
        emit(Piece::bytes(Record::new(name, 0o100_644, (0, 0), options.epoch, notes.len() as u64), notes))
    };
    forms::write(&deflater.forms, &deflater, options.thread_count(), produce, |piece, form| zip.take(piece, form))?;
    zip.finish()?;
    workspace.publish("image.zip")?;
    Ok(WriteReport { notes: losses.sentences() })
}

/// Bytes of all files, where each name of an inode counts: zip repeats the content.
fn content_size(tree: &Tree) -> u64 {
    tree.iter().map(|(_, entry)| entry.size()).sum()
}

/// A name for the notes that the tree does not use.
fn free_name(tree: &Tree) -> String {
    let names = std::iter::once(format!("{NOTES_NAME}.txt")).chain((2u32..).map(|n| format!("{NOTES_NAME}-{n}.txt")));
    names.into_iter().find(|name| !tree.contains(name)).unwrap_or_else(|| NOTES_NAME.to_owned())
}

/// The zip record of an entry; `None` for what zip has no form for.
fn record_of(item: &Item, options: &WriteOptions) -> Option<Record> {
    let (kind_bits, slash, size) = match &item.entry.kind {
        Kind::Dir => (0o040_000, "/", 0),
        Kind::File { size, .. } => (0o100_000, "", *size),
        Kind::Symlink(target) => (0o120_000, "", target.len() as u64),
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } | Kind::Fifo => return None,
    };
    let Entry { mode, uid, gid, .. } = item.entry;
    let name = [item.path, slash.as_bytes()].concat();
    Some(Record::new(name, kind_bits | (mode & 0o7777), (*uid, *gid), options.mtime(item.entry), size))
}

/// Gives an entry with a file's content, which each name of an inode has, or a link's target.
fn emit_entry<'a>(
    item: &Item<'a>,
    record: Record,
    meter: &mut Meter,
    emit: &mut dyn FnMut(Piece<'a>) -> Result<(), Error>,
) -> Result<(), Error> {
    match &item.entry.kind {
        Kind::Symlink(target) => emit(Piece::bytes(record, target.clone())),
        Kind::File { blob, size, .. } => Piece::of_file(record, Stretch::whole(item.path, (blob, *size))).try_for_each(|piece| {
            meter.add(piece.length())?;
            emit(piece)
        }),
        _ => emit(Piece::empty(record)),
    }
}

/// The file being written, with the records written so far.
struct ZipFile {
    file: std::io::BufWriter<File>,
    path: PathBuf,
    /// Bytes written so far.
    at: u64,
    zip64_from: u64,
    records: Vec<Record>,
    /// Of the entry begun last, as far as it is written.
    crc: crc32fast::Hasher,
}

impl ZipFile {
    fn new(file: File, path: PathBuf, zip64_from: u64) -> ZipFile {
        let file = std::io::BufWriter::with_capacity(1 << 18, file);
        ZipFile { file, path, at: 0, zip64_from, records: Vec::new(), crc: crc32fast::Hasher::new() }
    }

    fn take(&mut self, mut piece: Piece, form: &[u8]) -> Result<(), Error> {
        if let Some(record) = piece.record.take() {
            self.start(record)?;
        }
        match Deflated::of(form) {
            Some(deflated) => self.piece(&piece, &deflated),
            None => Ok(()),
        }
    }

    fn start(&mut self, mut record: Record) -> Result<(), Error> {
        record.begin(self.at, self.zip64_from);
        self.crc = crc32fast::Hasher::new();
        let header = record.is_dir().then(|| record.local_header());
        self.records.push(record);
        header.map_or(Ok(()), |header| self.write(&header))
    }

    /// Writes a piece of the entry begun last. Its header comes with the first; where more pieces follow, it is written again at the
    /// end, when CRC and size are known.
    fn piece(&mut self, piece: &Piece, deflated: &Deflated) -> Result<(), Error> {
        let Some(record) = self.records.last_mut() else { return Ok(()) };
        let (first, last, bytes) = (self.at == record.offset, piece.is_last(), deflated.bytes);
        self.crc.combine(&crc32fast::Hasher::new_with_initial_len(deflated.crc, piece.length()));
        record.compressed += bytes.len() as u64;
        record.stored = deflated.stored;
        record.crc = if last { self.crc.clone().finalize() } else { 0 };
        let (offset, header) = (record.offset, record.local_header());
        if first {
            self.write(&header)?;
        }
        self.write(bytes)?;
        if first || !last {
            return Ok(());
        }
        let (file, end) = (&mut self.file, self.at);
        let patched = (file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&header)))
            .and_then(|()| file.seek(SeekFrom::Start(end)));
        patched.map(drop).map_err(|e| Error::io(&self.path, e))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.at += bytes.len() as u64;
        write_all(&mut self.file, &self.path, bytes)
    }

    fn finish(mut self) -> Result<(), Error> {
        let directory = central_directory(&self.records, self.at, self.zip64_from);
        self.write(&directory)?;
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }
}
#[cfg(test)]
#[path = "zip_tests.rs"]
mod tests;
