//! A tree on disk, written by the composer and changed by phases: put entries in, find out what changed. Runs inside the user
//! namespace as its uid 0, when no phase is running, so nothing changes under its hands.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use super::wire::{Reply, WireEntry, WireKind, send, to_bytes, to_text};

/// Numbers of inodes that phases linked themselves start here; the composer's own are small.
pub const FIRST_OWN_LINK: u64 = 1 << 62;

/// What decides whether an entry was changed, as `lstat` tells it. A change of content always changes the ctime.
#[derive(Clone, PartialEq, Eq)]
struct Seen {
    ino: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: (i64, i64),
    ctime: (i64, i64),
}

impl Seen {
    fn of(meta: &Metadata) -> Seen {
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

    fn same_kind(&self, other: &Seen) -> bool {
        self.mode & TYPE == other.mode & TYPE
    }
}

/// The file type's bits of `st_mode`.
const TYPE: u32 = 0o170_000;

/// One area on disk.
pub struct Disk {
    root: PathBuf,
    seen: BTreeMap<Vec<u8>, Seen>,
    /// Inodes with several names, by inode number.
    links: HashMap<u64, u64>,
    next_link: u64,
    /// The names that such an inode was given here.
    names: HashMap<u64, Vec<Vec<u8>>>,
    /// Entries to look at again at the next settling: their own writing changed their times.
    touched: BTreeSet<Vec<u8>>,
    /// The time each directory should have.
    dir_times: HashMap<Vec<u8>, i64>,
    /// The last directory whose whole path was found to be of real directories.
    trusted: Option<Vec<u8>>,
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
            WireKind::Dir => fs::create_dir(&at)?,
            WireKind::File { .. } => {
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&at)?;
                io::copy(body, &mut file)?;
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
        *self = Disk::new(std::mem::take(&mut self.root));
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

    /// Reports what changed since the area was last written or scanned: first what is gone, deepest first, then what is new or
    /// different, parents first.
    pub fn scan(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.trusted = None;
        let now = self.walk()?;
        // The kernel gives numbers of inodes out again.
        let alive: BTreeSet<u64> = self.seen.values().map(|seen| seen.ino).collect();
        self.links.retain(|ino, _| alive.contains(ino));
        let gone = |(path, old): &(&Vec<u8>, &Seen)| now.get(*path).is_none_or(|(new, _)| !new.same_kind(old));
        for (path, _) in self.seen.iter().rev().filter(gone) {
            send(out, &Reply::Gone { path: to_text(path) })?;
        }
        let mut sent: HashMap<u64, Vec<u8>> = HashMap::new();
        for (path, (seen, meta)) in &now {
            if self.seen.get(path) == Some(seen) {
                continue;
            }
            let at = self.root.join(OsStr::from_bytes(path));
            let entry = describe(&at, meta, self.link_of(meta), &sent)?;
            let body = entry.body();
            send(out, &Reply::Found { path: to_text(path), entry })?;
            if meta.is_file() && meta.nlink() > 1 {
                sent.entry(seen.ino).or_insert_with(|| path.clone());
            }
            if body > 0 {
                copy_exactly(&at, body, out)?;
            }
        }
        self.seen = now.into_iter().map(|(path, (seen, _))| (path, seen)).collect();
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
        let meta = fs::symlink_metadata(at)?;
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
        self.seen.insert(path, Seen::of(&meta));
        Ok(())
    }

    fn touch_parent(&mut self, path: &[u8]) {
        if !path.is_empty() {
            self.touched.insert(parent(path).to_vec());
        }
    }

    fn forget(&mut self, path: &[u8]) {
        let below = [path, b"/"].concat();
        self.seen.remove(path);
        self.seen.retain(|known, _| !known.starts_with(&below));
        self.touched.retain(|known| known != path && !known.starts_with(&below));
    }

    fn walk(&self) -> io::Result<BTreeMap<Vec<u8>, (Seen, Metadata)>> {
        let mut found = BTreeMap::new();
        let root = fs::symlink_metadata(&self.root)?;
        found.insert(Vec::new(), (Seen::of(&root), root));
        let mut ahead: Vec<Vec<u8>> = vec![Vec::new()];
        while let Some(dir) = ahead.pop() {
            for child in fs::read_dir(self.root.join(OsStr::from_bytes(&dir)))? {
                let child = child?;
                let meta = child.metadata()?;
                let name = child.file_name().into_vec();
                let path = if dir.is_empty() { name } else { [dir.as_slice(), b"/", &name].concat() };
                if meta.is_dir() {
                    ahead.push(path.clone());
                }
                found.insert(path, (Seen::of(&meta), meta));
            }
        }
        Ok(found)
    }

    fn link_of(&mut self, meta: &Metadata) -> Option<u64> {
        if !meta.is_file() || meta.nlink() < 2 {
            return None;
        }
        let next = &mut self.next_link;
        Some(*self.links.entry(meta.ino()).or_insert_with(|| {
            *next += 1;
            *next
        }))
    }
}

/// Owner first, as changing it clears set-id bits and capabilities; the time last.
fn apply_meta(at: &Path, entry: &WireEntry) -> io::Result<()> {
    std::os::unix::fs::lchown(at, Some(entry.uid), Some(entry.gid))?;
    if !matches!(entry.kind, WireKind::Symlink { .. }) {
        fs::set_permissions(at, fs::Permissions::from_mode(entry.mode & 0o7777))?;
    }
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
    set_time(at, entry.mtime)
}

fn set_time(at: &Path, mtime: i64) -> io::Result<()> {
    let time = TimeSpec::new(mtime, 0);
    utimensat(AT_FDCWD, at, &time, &time, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

fn describe(at: &Path, meta: &Metadata, link: Option<u64>, sent: &HashMap<u64, Vec<u8>>) -> io::Result<WireEntry> {
    let kind = match (meta.file_type(), link) {
        (t, _) if t.is_dir() => WireKind::Dir,
        (t, _) if t.is_symlink() => WireKind::Symlink { target: to_text(fs::read_link(at)?.as_os_str().as_bytes()) },
        (t, _) if t.is_fifo() => WireKind::Fifo,
        (t, Some(link)) if t.is_file() && sent.contains_key(&meta.ino()) => {
            WireKind::HardLink { to: sent.get(&meta.ino()).map(|path| to_text(path)).unwrap_or_default(), link }
        }
        (t, link) if t.is_file() => WireKind::File { size: meta.size(), link },
        _ => WireKind::Other,
    };
    let mut xattrs = Vec::new();
    for name in xattr_names(at) {
        if let Some(value) = xattr::get(at, OsStr::from_bytes(&name))? {
            xattrs.push((to_text(&name), to_text(&value)));
        }
    }
    Ok(WireEntry { kind, mode: meta.mode() & 0o7777, uid: meta.uid(), gid: meta.gid(), mtime: meta.mtime(), xattrs })
}

/// The attributes that belong to a file rather than to the machine it is on. A filesystem without attributes has none.
fn xattr_names(at: &Path) -> Vec<Vec<u8>> {
    let ours =
        |name: &Vec<u8>| name == b"security.capability" || name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_");
    xattr::list(at).into_iter().flatten().map(OsStringExt::into_vec).filter(ours).collect()
}

/// Sends as many bytes as were announced, or fails.
fn copy_exactly(at: &Path, size: u64, out: &mut dyn Write) -> io::Result<()> {
    let file: File = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(at)?;
    match io::copy(&mut file.take(size), out)? == size {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} changed while it was read", at.display()))),
    }
}

fn remove_any(at: &Path) -> io::Result<()> {
    match fs::symlink_metadata(at)?.is_dir() {
        true => fs::remove_dir_all(at),
        false => fs::remove_file(at),
    }
}

fn parent(path: &[u8]) -> &[u8] {
    path.iter().rposition(|b| *b == b'/').and_then(|at| path.get(..at)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::wire::receive;
    use super::*;

    fn entry(kind: WireKind, mode: u32) -> WireEntry {
        let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
        WireEntry { kind, mode, uid, gid, mtime: 1_000_000, xattrs: Vec::new() }
    }

    fn file(text: &str) -> WireEntry {
        entry(WireKind::File { size: text.len() as u64, link: None }, 0o644)
    }

    fn scan(disk: &mut Disk) -> Vec<String> {
        let mut pipe = Vec::new();
        disk.scan(&mut pipe).unwrap();
        let mut input = pipe.as_slice();
        let mut told = Vec::new();
        while let Some(reply) = receive::<Reply>(&mut input).unwrap() {
            match reply {
                Reply::Gone { path } => told.push(format!("-{path}")),
                Reply::Found { path, entry } => {
                    let mut body = vec![0; entry.body() as usize];
                    input.read_exact(&mut body).unwrap();
                    told.push(format!("+{path} {}", String::from_utf8(body).unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
        told
    }

    #[test]
    fn only_changes_are_reported() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path());
        disk.put("d", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
        for name in ["d/a", "d/b", "d/c"] {
            disk.put(name, &file("one"), &mut "one".as_bytes()).unwrap();
        }
        disk.put("l", &entry(WireKind::Symlink { target: "d".into() }, 0o777), &mut io::empty()).unwrap();
        disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
        disk.settle().unwrap();
        assert_eq!(scan(&mut disk), Vec::<String>::new());
        fs::write(dir.path().join("d/a"), "two").unwrap();
        fs::remove_file(dir.path().join("d/b")).unwrap();
        fs::remove_file(dir.path().join("l")).unwrap();
        fs::create_dir(dir.path().join("l")).unwrap();
        let told = scan(&mut disk);
        assert_eq!(told, ["-l", "-d/b", "+ ", "+d ", "+d/a two", "+l "]);
        assert_eq!(scan(&mut disk), Vec::<String>::new());
    }

    #[test]
    fn a_link_left_by_a_phase_leads_nowhere() {
        let outside = tempfile::tempdir().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path());
        std::os::unix::fs::symlink(outside.path(), dir.path().join("d")).unwrap();
        assert!(disk.put("d/evil", &file("x"), &mut "x".as_bytes()).is_err());
        assert!(disk.remove("d/../x").is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn hard_links_stay_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut disk = Disk::new(dir.path());
        disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
        disk.put("a", &entry(WireKind::File { size: 1, link: Some(7) }, 0o644), &mut "x".as_bytes()).unwrap();
        disk.put("b", &entry(WireKind::HardLink { to: "a".into(), link: 7 }, 0o644), &mut io::empty()).unwrap();
        disk.settle().unwrap();
        assert_eq!(scan(&mut disk), Vec::<String>::new());
        fs::write(dir.path().join("b"), "y").unwrap();
        assert_eq!(scan(&mut disk), ["+a y", "+b "]);
    }
}
