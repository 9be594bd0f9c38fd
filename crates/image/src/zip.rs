//! Zip with Unix modes, links and times: PKWARE's APPNOTE 6.3, with Info-ZIP's extra fields UT (times) and ux (owners).
//!
//! Files are deflated in pieces of fixed size on several cores, each ending on a byte boundary, and joined. What zip cannot carry is
//! listed in the report and in a text file inside.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::entry::{Entry, Kind};
use crate::pool;
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{
    Error, Item, Meter, Progress, Workspace, WriteOptions, WriteReport, content_of, for_each_piece, items, write_all,
};
use crate::zip_notes::Losses;
use crate::zip_record::{Record, central_directory};

/// Raw bytes deflated as one piece. Fixed, so that the output depends on nothing else.
const PIECE: usize = 1 << 20;
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

fn write_with_limit(
    tree: &Tree,
    store: &Store,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
    zip64_from: u64,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let (path, file) = workspace.create("image.zip")?;
    let mut zip =
        ZipFile { file: std::io::BufWriter::with_capacity(1 << 18, file), path, at: 0, zip64_from, records: Vec::new() };
    let mut losses = Losses::default();
    let produce = |emit: &mut dyn FnMut(Job) -> Result<(), Error>| {
        let mut meter = Meter::new(progress, content_size(tree));
        for item in items(tree).filter(|item| !item.path.is_empty()) {
            losses.look_at(&item);
            if let Some(record) = record_of(&item, options) {
                emit(Job::Start(record))?;
                emit_content(store, &item, &mut meter, emit)?;
            }
            meter.check()?;
        }
        let notes = losses.text();
        emit(Job::Start(Record::new(free_name(tree).into_bytes(), 0o100_644, (0, 0), options.epoch, notes.len() as u64)))?;
        emit_bytes(notes.as_bytes(), emit)
    };
    pool::ordered(options.thread_count(), produce, deflate, |done| zip.take(done))?;
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

/// What travels through the pool.
enum Job {
    Start(Record),
    /// A piece of the entry's content, and the CRC of all of it with the last.
    Piece {
        bytes: Vec<u8>,
        end: Option<u32>,
        /// The only piece of its entry, so that storing it plainly is a choice.
        only: bool,
    },
}

enum Done {
    Start(Record),
    Piece { bytes: Vec<u8>, end: Option<u32>, stored: bool },
}

fn emit_content(
    store: &Store,
    item: &Item,
    meter: &mut Meter,
    emit: &mut dyn FnMut(Job) -> Result<(), Error>,
) -> Result<(), Error> {
    let (blob, size) = match (&item.entry.kind, content_of(item)) {
        (Kind::Symlink(target), _) => return emit_bytes(target, emit),
        (Kind::File { blob, size, .. }, _) => (blob, *size),
        _ => return Ok(()),
    };
    let mut crc = Crc::new();
    let mut buffer = Vec::with_capacity(usize::try_from(size).unwrap_or(PIECE).min(PIECE));
    let mut emitted = false;
    for_each_piece(store, item.path, (blob, size), |mut bytes| {
        crc.update(bytes);
        meter.add(bytes.len() as u64)?;
        while buffer.len() + bytes.len() > PIECE {
            let (head, tail) = bytes.split_at(PIECE - buffer.len());
            buffer.extend_from_slice(head);
            emit(Job::Piece { bytes: std::mem::replace(&mut buffer, Vec::with_capacity(PIECE)), end: None, only: false })?;
            emitted = true;
            bytes = tail;
        }
        buffer.extend_from_slice(bytes);
        Ok(())
    })?;
    emit(Job::Piece { bytes: buffer, end: Some(crc.sum()), only: !emitted })
}

fn emit_bytes(bytes: &[u8], emit: &mut dyn FnMut(Job) -> Result<(), Error>) -> Result<(), Error> {
    let mut crc = Crc::new();
    crc.update(bytes);
    emit(Job::Piece { bytes: bytes.to_vec(), end: Some(crc.sum()), only: true })
}

/// Deflates a piece. All but an entry's last end with a sync flush: on a byte boundary, open for more blocks.
fn deflate(job: Job) -> Result<Done, Error> {
    let (bytes, end, only) = match job {
        Job::Start(record) => return Ok(Done::Start(record)),
        Job::Piece { bytes, end, only } => (bytes, end, only),
    };
    let flush = if end.is_some() { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut compress = Compress::new(Compression::default(), false);
    let mut deflated = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 64);
    loop {
        let rest = bytes.get(usize::try_from(compress.total_in()).unwrap_or(bytes.len())..).unwrap_or_default();
        let status = compress.compress_vec(rest, &mut deflated, flush);
        let status = status.map_err(|e| Error::Io { path: PathBuf::from("deflate"), source: e.into() })?;
        // Room left in the output after a sync flush means that all of it is out.
        let out_full = deflated.len() == deflated.capacity();
        if status == Status::StreamEnd || (end.is_none() && !out_full) {
            break;
        }
        deflated.reserve(64 << 10);
    }
    match only && deflated.len() >= bytes.len() {
        true => Ok(Done::Piece { bytes, end, stored: true }),
        false => Ok(Done::Piece { bytes: deflated, end, stored: false }),
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
}

impl ZipFile {
    fn take(&mut self, done: Done) -> Result<(), Error> {
        match done {
            Done::Start(mut record) => {
                record.begin(self.at, self.zip64_from);
                let header = record.is_dir().then(|| record.local_header());
                self.records.push(record);
                header.map_or(Ok(()), |header| self.write(&header))
            }
            Done::Piece { bytes, end, stored } => self.take_piece(&bytes, end, stored),
        }
    }

    /// Writes a piece of the entry begun last. Its header comes with the first; where more pieces follow, it is written again at the
    /// end, when CRC and size are known.
    fn take_piece(&mut self, bytes: &[u8], end: Option<u32>, stored: bool) -> Result<(), Error> {
        let Some(record) = self.records.last_mut() else { return Ok(()) };
        let first = self.at == record.offset;
        record.compressed += bytes.len() as u64;
        record.stored = stored;
        record.crc = end.unwrap_or(0);
        let (offset, header) = (record.offset, record.local_header());
        if first {
            self.write(&header)?;
        }
        self.write(bytes)?;
        if first || end.is_none() {
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
