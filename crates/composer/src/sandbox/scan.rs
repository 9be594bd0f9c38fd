//! What commands changed on disk: the places that were touched, or all there are, compared with what was last seen there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::disk::{Disk, Seen, below, xattr_names};
use super::watch::Touched;
use super::wire::{Reply, WireEntry, WireKind, send, to_text};

/// Most bytes that commands may leave in new and changed files.
const MAX_CHANGED: u64 = 16 * 1024 * 1024 * 1024;

/// What is on disk now at the paths that were looked at.
#[derive(Default)]
struct Found {
    there: BTreeMap<Vec<u8>, (Seen, Metadata)>,
    /// Paths that were known and are not there any more.
    gone: BTreeSet<Vec<u8>>,
}

impl Disk {
    /// Reports what changed since the area was last written or scanned: first what is gone, deepest first, then what is new or
    /// different, parents first. `thorough` looks at everything, whatever is known of what was touched.
    pub fn scan(&mut self, thorough: bool, out: &mut dyn Write) -> io::Result<()> {
        self.trusted = None;
        let found = match self.watcher.as_mut().and_then(|watcher| watcher.take()).filter(|_| !thorough) {
            Some(touched) => self.look(touched)?,
            None => self.look_everywhere()?,
        };
        let replaced = |path: &Vec<u8>, new: &Seen| self.seen.get(path).is_some_and(|old| !new.same_kind(old));
        let mut gone = found.gone.clone();
        gone.extend(found.there.iter().filter(|(path, (new, _))| replaced(path, new)).map(|(path, _)| path.clone()));
        for path in gone.iter().rev() {
            send(out, &Reply::Gone { path: to_text(path) })?;
        }
        self.forget_links(&gone, &found);
        self.report(&found, out)?;
        for path in &found.gone {
            self.seen.remove(path);
        }
        self.seen.extend(found.there.into_iter().map(|(path, (seen, _))| (path, seen)));
        Ok(())
    }

    fn report(&mut self, found: &Found, out: &mut dyn Write) -> io::Result<()> {
        let mut sent: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut total: u64 = 0;
        for (path, (seen, meta)) in &found.there {
            let known = self.seen.get(path);
            if known == Some(seen) {
                continue;
            }
            if meta.is_dir() && !known.is_some_and(|known| known.same_kind(seen)) {
                self.watch(path);
            }
            let at = self.root.join(OsStr::from_bytes(path));
            let entry = describe(&at, meta, self.link_of(meta), &sent)?;
            let body = entry.body();
            // Holes take no room on disk, where the limit is, and much in the store.
            total = total.saturating_add(body);
            if total > MAX_CHANGED {
                return Err(io::Error::other("a script left more than 16 GiB of new files"));
            }
            send(out, &Reply::Found { path: to_text(path), entry })?;
            if meta.is_file() && meta.nlink() > 1 {
                sent.entry(seen.ino).or_insert_with(|| path.clone());
            }
            if body > 0 {
                copy_exactly(&at, body, out)?;
            }
        }
        Ok(())
    }

    /// Looks at what was touched, and at the other names of its inodes.
    fn look(&mut self, touched: Touched) -> io::Result<Found> {
        let mut found = Found::default();
        for (path, deep) in touched {
            self.look_at(path, deep, &mut found)?;
        }
        let linked = found.there.values().filter(|(_, meta)| !meta.is_dir() && meta.nlink() > 1).map(|(seen, _)| seen.ino);
        let unlinked = found.gone.iter().filter_map(|path| self.seen.get(path)).map(|seen| seen.ino);
        let inodes: HashSet<u64> = linked.chain(unlinked.filter(|ino| self.links.contains_key(ino))).collect();
        if !inodes.is_empty() {
            let names: Vec<Vec<u8>> =
                self.seen.iter().filter(|(_, seen)| inodes.contains(&seen.ino)).map(|(path, _)| path.clone()).collect();
            for path in names {
                self.look_at(path, false, &mut found)?;
            }
        }
        Ok(found)
    }

    fn look_at(&mut self, path: Vec<u8>, deep: bool, found: &mut Found) -> io::Result<()> {
        let meta = match fs::symlink_metadata(self.root.join(OsStr::from_bytes(&path))) {
            Ok(meta) => Some(meta),
            // A directory on the way may be gone, or something else by now.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
            Err(error) => return Err(error),
        };
        let known = self.seen.get(&path).map(Seen::is_dir);
        let was_dir = known == Some(true);
        let is_dir = meta.as_ref().is_some_and(Metadata::is_dir);
        let mut there = BTreeMap::new();
        if is_dir && (deep || !was_dir) {
            self.walk(&path, &mut there)?;
        }
        if was_dir && (deep || !is_dir) {
            found
                .gone
                .extend(below(&self.seen, &path).filter(|(path, _)| !there.contains_key(*path)).map(|(path, _)| path.clone()));
        }
        if is_dir && deep {
            // It may have been moved here, and the watches in it tell of its former place.
            for (path, _) in there.iter().filter(|(_, (_, meta))| meta.is_dir()) {
                self.watch(path);
            }
            self.watch(&path);
        }
        found.there.extend(there);
        match meta {
            Some(meta) => {
                found.there.insert(path, (Seen::of(&meta), meta));
            }
            None if known.is_some() => {
                found.gone.insert(path);
            }
            None => {}
        }
        Ok(())
    }

    fn look_everywhere(&mut self) -> io::Result<Found> {
        let mut there = BTreeMap::new();
        let root = fs::symlink_metadata(&self.root)?;
        there.insert(Vec::new(), (Seen::of(&root), root));
        self.walk(b"", &mut there)?;
        let gone = self.seen.keys().filter(|path| !there.contains_key(*path)).cloned().collect();
        Ok(Found { there, gone })
    }

    /// All that is below a directory.
    fn walk(&self, dir: &[u8], found: &mut BTreeMap<Vec<u8>, (Seen, Metadata)>) -> io::Result<()> {
        let mut ahead: Vec<Vec<u8>> = vec![dir.to_vec()];
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
        Ok(())
    }

    /// The kernel gives numbers of inodes out again: forgets those whose last name is gone.
    fn forget_links(&mut self, gone: &BTreeSet<Vec<u8>>, found: &Found) {
        let dead = |path: &Vec<u8>| self.seen.get(path).is_some_and(|seen| self.links.contains_key(&seen.ino));
        if gone.iter().any(dead) {
            let stays = self.seen.iter().filter(|(path, _)| !gone.contains(*path)).map(|(_, seen)| seen.ino);
            let alive: HashSet<u64> = stays.chain(found.there.values().map(|(seen, _)| seen.ino)).collect();
            let links = std::mem::take(&mut self.links);
            self.links = links.into_iter().filter(|(ino, _)| alive.contains(ino)).collect();
        }
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

/// Sends as many bytes as were announced, or fails.
fn copy_exactly(at: &Path, size: u64, out: &mut dyn Write) -> io::Result<()> {
    let file: File = OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NOFOLLOW.bits()).open(at)?;
    match io::copy(&mut file.take(size), out)? == size {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} changed while it was read", at.display()))),
    }
}
