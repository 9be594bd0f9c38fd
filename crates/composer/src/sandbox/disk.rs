//! A tree on disk, written by the composer and changed by phases: put entries in, find out what changed. Runs inside the user
//! namespace as its uid 0, when no phase is running, so nothing changes under its hands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;
use xattr::FileExt;

use super::watch::Watcher;
use super::wire::{WireEntry, WireKind, to_bytes};

/// Numbers of inodes that phases linked themselves start here; the composer's own are small.
pub const FIRST_OWN_LINK: u64 = 1 << 62;

/// What decides whether an entry was changed, as `lstat` tells it. A change of content always changes the ctime.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub ino: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Seen {
    pub fn of(meta: &Metadata) -> Seen {
        Seen {
            ino: meta.ino(),
            mode: meta.mode(),
            uid: meta.uid(),
            gid: meta.gid(),
            // Of a directory these tell of its children, which are looked at by themselves.
            size: if meta.is_dir() { 0 } else { meta.size() },
            mtime: if meta.is_dir() { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) },
            ctime: (meta.ctime(), meta.ctime_nsec()),
        }
    }

    pub fn is_dir(&self) -> bool {
        self.mode & TYPE == DIRECTORY
    }

    pub fn same_kind(&self, other: &Seen) -> bool {
        self.mode & TYPE == other.mode & TYPE
    }
}

/// The file type's bits of `st_mode`.
const TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;

/// One area on disk.
pub struct Disk {
    pub(super) root: PathBuf,
    pub(super) seen: BTreeMap<Vec<u8>, Seen>,
    /// Inodes with several names, by inode number.
    pub(super) links: HashMap<u64, u64>,
    pub(super) next_link: u64,
    /// The names that such an inode was given here.
    names: HashMap<u64, Vec<Vec<u8>>>,
    /// Entries to look at again at the next settling: their own writing changed their times.
    touched: BTreeSet<Vec<u8>>,
    /// The time each directory should have.
    dir_times: HashMap<Vec<u8>, i64>,
    /// The last directory whose whole path was found to be of real directories.
    pub(super) trusted: Option<Vec<u8>>,
    /// Knows what commands touched, for an area large enough to be worth it.
    pub(super) watcher: Option<Watcher>,
}

impl Disk {
    pub fn new(root: impl Into<PathBuf>) -> Disk {
        Disk {
            root: root.into(),
            seen: BTreeMap::new(),
            links: HashMap::new(),
            names: HashMap::new(),
            next_link: FIRST_OWN_LINK,
            touched: BTreeSet::new(),
            dir_times: HashMap::new(),
            trusted: None,
            watcher: None,
        }
    }

    /// The same, with watches on what commands touch.
    pub fn watched(root: impl Into<PathBuf>) -> Disk {
        let mut disk = Disk::new(root);
        disk.watcher = Some(Watcher::new());
        disk.watch(b"");
        disk
    }

    /// To be called before a command runs on it.
    pub fn arm(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher.arm(&self.root);
        }
    }

    /// To be called when a command that ran on it has ended.
    pub fn collect(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher.collect();
        }
    }

    pub(super) fn watch(&mut self, path: &[u8]) {
        if let Some(watcher) = &mut self.watcher {
            watcher.directory(path);
        }
    }

    /// Writes an entry, taking its content from `body`.
    pub fn put(&mut self, path: &str, entry: &WireEntry, body: &mut dyn Read) -> io::Result<()> {
        let path = to_bytes(path)?;
        let at = self.place(&path)?;
        let there = fs::symlink_metadata(&at).ok();
        if there.as_ref().is_some_and(|meta| !(meta.is_dir() && entry.kind == WireKind::Dir)) {
            remove_any(&at)?;
        }
        match &entry.kind {
            WireKind::Dir if there.is_some_and(|meta| meta.is_dir()) => {}
            WireKind::Dir => {
                fs::create_dir(&at)?;
                self.watch(&path);
            }
            WireKind::File { .. } => {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(entry.mode & 0o777).open(&at)?;
                io::copy(body, &mut file)?;
                let meta = apply_to_new(&file, &at, entry)?;
                return self.note(path, &meta, entry);
            }
            WireKind::HardLink { to, .. } => fs::hard_link(self.place(&to_bytes(to)?)?, &at)?,
            WireKind::Symlink { target } => std::os::unix::fs::symlink(OsStr::from_bytes(&to_bytes(target)?), &at)?,
            WireKind::Fifo => nix::unistd::mkfifo(&at, Mode::from_bits_truncate(0o600))?,
            WireKind::Other => return Ok(()),
        }
        self.finish(path, &at, entry)
    }

    /// Sets the metadata of an entry that is there.
    pub fn meta(&mut self, path: &str, entry: &WireEntry) -> io::Result<()> {
        let path = to_bytes(path)?;
        let at = self.place(&path)?;
        self.finish(path, &at, entry)
    }

    /// Removes an entry and all below it; one that is not there is fine.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        let path = to_bytes(path)?;
        let at = self.place(&path)?;
        match remove_any(&at) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.trusted = None;
        self.forget(&path);
        self.touch_parent(&path);
        Ok(())
    }

    /// Empties the area, leaving its root.
    pub fn clear(&mut self) -> io::Result<()> {
        for child in fs::read_dir(&self.root)? {
            remove_any(&child?.path())?;
        }
        let root = std::mem::take(&mut self.root);
        *self = if self.watcher.is_some() { Disk::watched(root) } else { Disk::new(root) };
        Ok(())
    }

    /// Called after a batch of requests: directories get back the times that writing into them changed.
    pub fn settle(&mut self) -> io::Result<()> {
        for path in std::mem::take(&mut self.touched) {
            let Ok(at) = self.place(&path) else { continue };
            if let Some(time) = self.dir_times.get(&path) {
                set_time(&at, *time)?;
            }
            if let Ok(meta) = fs::symlink_metadata(&at) {
                self.seen.insert(path, Seen::of(&meta));
            }
        }
        Ok(())
    }

    /// The place of a path on disk, once all its directories are known to be real ones: a link that a phase left must lead nowhere.
    fn place(&mut self, path: &[u8]) -> io::Result<PathBuf> {
        if path.split(|b| *b == b'/').any(|part| part == b"..") || path.starts_with(b"/") {
            return Err(io::Error::other("a path that leads outside"));
        }
        let parent = parent(path).to_vec();
        if self.trusted.as_ref() != Some(&parent) {
            let mut dir = self.root.clone();
            for part in parent.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
                dir.push(OsStr::from_bytes(part));
                if !fs::symlink_metadata(&dir)?.is_dir() {
                    return Err(io::Error::other(format!("{} is not a directory", dir.display())));
                }
            }
            self.trusted = Some(parent);
        }
        // Joining an empty path would add a slash, which is fine for the root directory itself.
        Ok(self.root.join(OsStr::from_bytes(path)))
    }

    fn finish(&mut self, path: Vec<u8>, at: &Path, entry: &WireEntry) -> io::Result<()> {
        apply_meta(at, entry)?;
        self.note(path, &fs::symlink_metadata(at)?, entry)
    }

    /// Remembers what was written.
    fn note(&mut self, path: Vec<u8>, meta: &Metadata, entry: &WireEntry) -> io::Result<()> {
        match &entry.kind {
            WireKind::Dir => {
                self.dir_times.insert(path.clone(), entry.mtime);
                self.touched.insert(path.clone());
            }
            WireKind::HardLink { link, .. } | WireKind::File { link: Some(link), .. } => {
                self.links.insert(meta.ino(), *link);
            }
            _ => {}
        }
        if matches!(entry.kind, WireKind::HardLink { .. } | WireKind::File { link: Some(_), .. }) {
            // A new name changes the inode's ctime for all its other names.
            let names = self.names.entry(meta.ino()).or_default();
            names.push(path.clone());
            self.touched.extend(names.iter().cloned());
        }
        self.touch_parent(&path);
        self.seen.insert(path, Seen::of(meta));
        Ok(())
    }

    fn touch_parent(&mut self, path: &[u8]) {
        if !path.is_empty() {
            self.touched.insert(parent(path).to_vec());
        }
    }

    fn forget(&mut self, path: &[u8]) {
        let doomed: Vec<Vec<u8>> = below(&self.seen, path).map(|(known, _)| known.clone()).chain([path.to_vec()]).collect();
        for known in doomed {
            self.seen.remove(&known);
            self.touched.remove(&known);
        }
    }
}

/// Owner first, as changing it clears set-id bits and capabilities; the time last.
fn apply_meta(at: &Path, entry: &WireEntry) -> io::Result<()> {
    std::os::unix::fs::lchown(at, Some(entry.uid), Some(entry.gid))?;
    if !matches!(entry.kind, WireKind::Symlink { .. }) {
        fs::set_permissions(at, fs::Permissions::from_mode(entry.mode & 0o7777))?;
    }
    apply_xattrs(at, entry)?;
    set_time(at, entry.mtime)
}

/// The same for a file that was just made; what it has from its making is not set once more. Gives what it is then.
fn apply_to_new(file: &File, at: &Path, entry: &WireEntry) -> io::Result<Metadata> {
    let made = file.metadata()?;
    let mode = entry.mode & 0o7777;
    let is_theirs = (made.uid(), made.gid()) != (entry.uid, entry.gid);
    if is_theirs {
        std::os::unix::fs::fchown(file, Some(entry.uid), Some(entry.gid))?;
    }
    if is_theirs || made.mode() & 0o7777 != mode {
        file.set_permissions(fs::Permissions::from_mode(mode))?;
    }
    // A directory may pass attributes on to what is made in it.
    if !entry.xattrs.is_empty() || file.list_xattr().is_ok_and(|mut names| names.next().is_some()) {
        apply_xattrs(at, entry)?;
    }
    let time = TimeSpec::new(entry.mtime, 0);
    futimens(file, &time, &time)?;
    file.metadata()
}

fn apply_xattrs(at: &Path, entry: &WireEntry) -> io::Result<()> {
    let wanted: BTreeMap<Vec<u8>, Vec<u8>> =
        entry.xattrs.iter().map(|(name, value)| Ok((to_bytes(name)?, to_bytes(value)?))).collect::<io::Result<_>>()?;
    for name in xattr_names(at) {
        if !wanted.contains_key(&name) {
            xattr::remove(at, OsStr::from_bytes(&name))?;
        }
    }
    for (name, value) in &wanted {
        xattr::set(at, OsStr::from_bytes(name), value)?;
    }
    Ok(())
}

fn set_time(at: &Path, mtime: i64) -> io::Result<()> {
    let time = TimeSpec::new(mtime, 0);
    utimensat(AT_FDCWD, at, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

/// The attributes that belong to a file rather than to the machine it is on. A filesystem without attributes has none.
pub fn xattr_names(at: &Path) -> Vec<Vec<u8>> {
    let ours =
        |name: &Vec<u8>| name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
    xattr::list(at).into_iter().flatten().map(OsStringExt::into_vec).filter(ours).collect()
}

fn remove_any(at: &Path) -> io::Result<()> {
    match fs::symlink_metadata(at)?.is_dir() {
        true => fs::remove_dir_all(at),
        false => fs::remove_file(at),
    }
}

/// What is known below a directory.
pub fn below<'a>(seen: &'a BTreeMap<Vec<u8>, Seen>, dir: &[u8]) -> impl Iterator<Item = (&'a Vec<u8>, &'a Seen)> {
    let start = if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() };
    let from = start.clone();
    seen.range(from..).take_while(move |(path, _)| path.starts_with(&start)).filter(|(path, _)| !path.is_empty())
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').and_then(|at| path.get(..at)).unwrap_or_default()
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
