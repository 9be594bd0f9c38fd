//! What all writers share: options, progress, errors, and the way an output file appears.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::entry::{Entry, Kind, LinkId};
use crate::groups::Groups;
use crate::store::{BlobId, Store, StoreError, is_disk_full};
use crate::tree::{Tree, TreeError, shown};

/// What one may choose about an image, whatever its format. Equal options and trees give equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteOptions {
    /// Times in the image later than this (seconds since the epoch) become this, and what has no time of its own has this one: the date
    /// of the image, as SOURCE_DATE_EPOCH is for others.
    pub epoch: i64,
    /// Threads that compress; 0 for as many as there are processors. The bytes written do not depend on it.
    pub threads: usize,
    /// Which files belong together; formats that choose the order of files keep them so. Without groups that order is by path.
    pub groups: Groups,
}

impl WriteOptions {
    /// Options for an image of this date.
    pub fn at(epoch: i64) -> WriteOptions {
        WriteOptions { epoch, ..WriteOptions::default() }
    }

    pub(crate) fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            n => n,
        }
    }

    pub(crate) fn mtime(&self, entry: &Entry) -> i64 {
        entry.mtime.min(self.epoch)
    }
}

/// Told about `done` of `total` (bytes of the tree's files, each counted once for every pass over them); answers whether to go on.
pub type Progress<'a> = &'a dyn Fn(u64, u64) -> bool;

/// What became of an image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// What the format could not carry and what the image cannot do, a sentence each.
    pub notes: Vec<String>,
}

/// Why an image was not written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("stopped on request")]
    Cancelled,
    #[error("the disk is full: {} cannot grow; free some space there and try again", path.display())]
    DiskFull { path: PathBuf },
    #[error("{path}: {source}")]
    Content {
        path: String,
        #[source]
        source: StoreError,
    },
    #[error("{path} has another size ({actual} bytes) than the tree says ({expected} bytes)")]
    WrongSize { path: String, expected: u64, actual: u64 },
    #[error(transparent)]
    Store(StoreError),
    #[error(transparent)]
    Tree(#[from] TreeError),
    #[error("writing {}: {source}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the program {tool} is missing on this machine; install Debian's package {package} (apt-get install {package})")]
    MissingTool { tool: String, package: String },
    #[error("{tool} failed ({status}): {output}")]
    Tool { tool: String, status: String, output: String },
    #[error("{0}")]
    Boot(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: io::Error) -> Error {
        match is_disk_full(&source) {
            true => Error::DiskFull { path: path.to_path_buf() },
            false => Error::Io { path: path.to_path_buf(), source },
        }
    }

    /// An error of the store that is about no file.
    pub(crate) fn store(source: StoreError) -> Error {
        match source {
            StoreError::DiskFull { path } => Error::DiskFull { path },
            source => Error::Store(source),
        }
    }

    pub(crate) fn content(path: &[u8], source: StoreError) -> Error {
        match source {
            StoreError::DiskFull { path } => Error::DiskFull { path },
            source => Error::Content { path: shown(path), source },
        }
    }
}

/// A folder beside the output for all that is made on the way; it vanishes with this value, and the output appears only by
/// [`Workspace::publish`], whole.
#[derive(Debug)]
pub(crate) struct Workspace {
    dir: TempDir,
    out: PathBuf,
}

impl Workspace {
    pub(crate) fn beside(out: &Path) -> Result<Workspace, Error> {
        let parent = match out.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
        let dir = tempfile::Builder::new().prefix(".hatchery-image-").tempdir_in(parent).map_err(|e| Error::io(parent, e))?;
        Ok(Workspace { dir, out: out.to_path_buf() })
    }

    /// The folder that the output will be in.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path().parent().unwrap_or(self.dir.path())
    }

    /// A path for a file of this name.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn create(&self, name: &str) -> Result<(PathBuf, File), Error> {
        let path = self.path(name);
        let file = File::create(&path).map_err(|e| Error::io(&path, e))?;
        Ok((path, file))
    }

    /// Makes a finished file the output: mode 0644 whatever the umask. It is not synced, as most are uploaded at once and then removed:
    /// who keeps it and says that it is there has to.
    pub(crate) fn publish(self, name: &str) -> Result<(), Error> {
        use std::os::unix::fs::PermissionsExt;
        let path = self.path(name);
        let file = File::open(&path).map_err(|e| Error::io(&path, e))?;
        file.set_permissions(fs::Permissions::from_mode(0o644)).map_err(|e| Error::io(&path, e))?;
        fs::rename(&path, &self.out).map_err(|e| Error::io(&self.out, e))
    }
}

/// Counts bytes and asks whether to go on.
pub(crate) struct Meter<'a> {
    progress: Progress<'a>,
    done: u64,
    total: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(progress: Progress<'a>, total: u64) -> Meter<'a> {
        Meter { progress, done: 0, total }
    }

    /// Adds to what is done. At least one call is made per file, and one per piece of a large one.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), Error> {
        self.done = self.done.saturating_add(bytes).min(self.total);
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        match (self.progress)(self.done, self.total) {
            true => Ok(()),
            false => Err(Error::Cancelled),
        }
    }
}

/// An entry on its way into an archive.
#[derive(Clone, Copy)]
pub(crate) struct Item<'a> {
    pub path: &'a [u8],
    pub entry: &'a Entry,
    /// The first name of the same inode, when this is a later one.
    pub hard_link: Option<&'a [u8]>,
}

/// All entries, each directory followed by all that is in it, with hard links told from first names. Unpackers depend on this: GNU tar
/// sets a directory's time when it meets the first entry outside.
pub(crate) fn items(tree: &Tree) -> impl Iterator<Item = Item<'_>> {
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by(|(a, _), (b, _)| by_components(a, b));
    in_order(entries)
}

/// All entries by group, those of none after them, and then the directories, each after all that is in it. By path where there are no
/// groups.
pub(crate) fn grouped_items<'a>(tree: &'a Tree, groups: &Groups) -> impl Iterator<Item = Item<'a>> {
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by(|(a, _), (b, _)| by_components(a, b));
    if !groups.is_empty() {
        let mut dirs: Vec<_> = entries.extract_if(.., |(_, entry)| entry.is_dir()).collect();
        dirs.reverse();
        entries.sort_by_cached_key(|(path, _)| groups.rank(path));
        entries.extend(dirs);
    }
    in_order(entries)
}

fn in_order<'a>(entries: Vec<(&'a [u8], &'a Entry)>) -> impl Iterator<Item = Item<'a>> {
    let mut first_names = HashMap::<LinkId, &[u8]>::new();
    entries.into_iter().map(move |(path, entry)| {
        let first = entry.link().map(|link| *first_names.entry(link).or_insert(path));
        Item { path, entry, hard_link: first.filter(|first| *first != path) }
    })
}

/// Compares paths component by component: a slash comes before all other bytes.
fn by_components(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let key = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// A file's content in pieces, checked: its hash by the store, its size here.
pub(crate) fn for_each_piece(
    store: &Store,
    path: &[u8],
    (blob, size): (&BlobId, u64),
    mut piece: impl FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut reader = store.reader(blob).map_err(|e| Error::content(path, e))?;
    let mut buffer = vec![0; usize::try_from(size.clamp(1, 1 << 18)).unwrap_or(1 << 18)];
    let mut actual = 0u64;
    loop {
        let count = reader.read_piece(&mut buffer).map_err(|e| Error::content(path, e))?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        actual += count as u64;
        if actual > size {
            break;
        }
        piece(bytes)?;
    }
    match actual == size {
        true => Ok(()),
        false => Err(Error::WrongSize { path: shown(path), expected: size, actual }),
    }
}

/// The blob and size of a file that has content to write here.
pub(crate) fn content_of<'a>(item: &Item<'a>) -> Option<(&'a BlobId, u64)> {
    match &item.entry.kind {
        Kind::File { blob, size, .. } if item.hard_link.is_none() => Some((blob, *size)),
        _ => None,
    }
}

/// Writes to an output, with its path in the error.
pub(crate) fn write_all(out: &mut dyn Write, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    out.write_all(bytes).map_err(|e| Error::io(path, e))
}
