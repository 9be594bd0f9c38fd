//! The tree: what a root filesystem is made of, as data.
//!
//! Paths are bytes, relative, without a leading slash; `""` is the root directory itself. (A leading slash given to a method is ignored.)
//! Invariants: the root is a directory, and so is the parent of every entry.

mod lookup;
mod paths;

use std::collections::BTreeMap;
use std::ops::Bound;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::entry::{Entry, Kind, LinkId};
use crate::store::StoreError;
use crate::text::escape;

pub(crate) use self::paths::shown;
use self::paths::{bound, bounds_below, checked, parent, trimmed};

/// What a change to, or a lookup in, a tree ran into. Paths are shown with a leading slash.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("“{0}” is not a path inside an image (empty or over-long names, “.”, “..” and NUL bytes are refused)")]
    BadPath(String),
    #[error("{0} does not exist")]
    NotFound(String),
    #[error("{0} is not a directory")]
    NotADirectory(String),
    #[error("{0} is a directory")]
    IsADirectory(String),
    #[error("{0} is not a regular file")]
    NotAFile(String),
    #[error("{0} leads through more than 40 symbolic links")]
    LinkLoop(String),
    #[error("{from} cannot be moved to {to}, which is inside it")]
    IntoItself { from: String, to: String },
    #[error("{path}: {source}")]
    Store {
        path: String,
        #[source]
        source: StoreError,
    },
}

/// What a tree amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Entries of every kind, the root directory included.
    pub entries: u64,
    /// Regular files; a file with several names counts once.
    pub files: u64,
    /// Bytes of regular files; a file with several names counts once.
    pub bytes: u64,
}

/// A filesystem's tree. See the module's documentation for its invariants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<Vec<u8>, Entry>,
    /// The next [`LinkId`] that is free.
    next_link: u64,
    /// Time of what the tree makes by itself: parents on demand, [`Tree::write_file`], [`Tree::symlink`].
    time: i64,
}

impl Default for Tree {
    fn default() -> Self {
        Tree::new()
    }
}

impl Tree {
    /// An empty tree: a root directory with mode 0755.
    pub fn new() -> Tree {
        Tree { entries: BTreeMap::from([(Vec::new(), Entry::dir(0o755))]), next_link: 0, time: 0 }
    }

    /// Sets the time (seconds since the epoch) of entries that helpers make from now on; the epoch itself at first.
    pub fn set_time(&mut self, time: i64) {
        self.time = time;
    }

    /// Puts an entry at exactly this path, making missing parents (0755, root). A directory put over a directory changes its
    /// metadata and keeps what is in it. Returns what was there before.
    ///
    /// # Errors
    /// `BadPath`; `NotADirectory` when a parent is something else (a symbolic link, say: use [`Tree::resolve_parent`] first);
    /// `IsADirectory` when something else would replace a directory that is not empty, or the root.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, entry: Entry) -> Result<Option<Entry>, TreeError> {
        let path = checked(path.as_ref())?;
        if !entry.is_dir() && self.get(path).is_some_and(Entry::is_dir) && (path.is_empty() || self.has_children(path)) {
            return Err(TreeError::IsADirectory(shown(path)));
        }
        self.make_parents(path)?;
        if let Some(LinkId(id)) = entry.link() {
            self.next_link = self.next_link.max(id.saturating_add(1));
        }
        Ok(self.entries.insert(path.to_vec(), entry))
    }

    /// The entry at exactly this path; symbolic links are not followed.
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Entry> {
        self.entries.get(trimmed(path.as_ref()))
    }

    /// Like [`Tree::get`], to change metadata. The caller keeps directories directories, and the names of one inode alike.
    pub fn get_mut(&mut self, path: impl AsRef<[u8]>) -> Option<&mut Entry> {
        self.entries.get_mut(trimmed(path.as_ref()))
    }

    pub fn contains(&self, path: impl AsRef<[u8]>) -> bool {
        self.get(path).is_some()
    }

    /// Removes the entry at exactly this path.
    ///
    /// # Errors
    /// `NotFound`; `IsADirectory` for the root and for directories that are not empty (see [`Tree::remove_all`]).
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> Result<Entry, TreeError> {
        let path = trimmed(path.as_ref());
        if path.is_empty() || self.has_children(path) {
            return Err(TreeError::IsADirectory(shown(path)));
        }
        self.entries.remove(path).ok_or_else(|| TreeError::NotFound(shown(path)))
    }

    /// Removes the entry at exactly this path and all below it; of the root, all below it only. Returns how many entries went.
    pub fn remove_all(&mut self, path: impl AsRef<[u8]>) -> usize {
        let path = trimmed(path.as_ref());
        let mut doomed: Vec<Vec<u8>> = self.below(path).into_iter().map(|(below, _)| below.to_vec()).collect();
        if !path.is_empty() {
            doomed.push(path.to_vec());
        }
        doomed.iter().filter(|path| self.entries.remove(*path).is_some()).count()
    }

    /// Moves an entry and all below it, replacing a non-directory or an empty directory.
    pub fn rename(&mut self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<(), TreeError> {
        let (from, to) = (checked(from.as_ref())?.to_vec(), checked(to.as_ref())?.to_vec());
        if !self.contains(&from) {
            return Err(TreeError::NotFound(shown(&from)));
        }
        if from == to {
            return Ok(());
        }
        if from.is_empty() || to.strip_prefix(from.as_slice()).is_some_and(|rest| rest.starts_with(b"/")) {
            return Err(TreeError::IntoItself { from: shown(&from), to: shown(&to) });
        }
        if to.is_empty() || self.has_children(&to) {
            return Err(TreeError::IsADirectory(shown(&to)));
        }
        self.make_parents(&to)?;
        let mut moved: Vec<Vec<u8>> = self.below(&from).into_iter().map(|(path, _)| path.to_vec()).collect();
        moved.push(from.clone());
        for old in moved {
            if let Some(entry) = self.entries.remove(&old) {
                let rest = old.get(from.len()..).unwrap_or_default();
                self.entries.insert([to.as_slice(), rest].concat(), entry);
            }
        }
        Ok(())
    }

    /// All entries in the order of their paths' bytes; a directory always comes before what is in it. The root is first.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_slice(), entry))
    }

    /// How many entries there are, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing but the root directory.
    pub fn is_empty(&self) -> bool {
        self.entries.len() <= 1
    }

    /// All entries below a directory (not itself), by full path, in order.
    pub fn below(&self, dir: impl AsRef<[u8]>) -> Vec<(&[u8], &Entry)> {
        let (start, end) = bounds_below(trimmed(dir.as_ref()));
        self.entries.range::<[u8], _>((bound(&start), bound(&end))).map(|(path, entry)| (path.as_slice(), entry)).collect()
    }

    /// What is directly in a directory, by name, in order. Empty for anything else.
    pub fn children(&self, dir: impl AsRef<[u8]>) -> Vec<(&[u8], &Entry)> {
        let dir = trimmed(dir.as_ref());
        let skip = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let (mut start, end) = bounds_below(dir);
        let mut found = Vec::new();
        while let Some((path, entry)) = self.entries.range::<[u8], _>((bound(&start), bound(&end))).next() {
            let name = path.get(skip..).unwrap_or_default();
            match name.iter().position(|b| *b == b'/') {
                None => {
                    found.push((name, entry));
                    start = Bound::Excluded(path.clone());
                }
                // Everything below a child is jumped over; the byte after “/” is “0”.
                Some(at) => start = Bound::Included([path.get(..skip + at).unwrap_or_default(), b"0"].concat()),
            }
        }
        found
    }

    fn has_children(&self, dir: &[u8]) -> bool {
        let (start, end) = bounds_below(dir);
        self.entries.range::<[u8], _>((bound(&start), bound(&end))).next().is_some()
    }

    /// Entries, files and bytes.
    pub fn totals(&self) -> Totals {
        let mut seen = std::collections::BTreeSet::new();
        let mut totals = Totals { entries: self.entries.len() as u64, ..Totals::default() };
        for entry in self.entries.values().filter(|entry| entry.is_file()) {
            if entry.link().is_none_or(|link| seen.insert(link)) {
                totals.files += 1;
                totals.bytes = totals.bytes.saturating_add(entry.size());
            }
        }
        totals
    }

    /// The names of every file that has a [`LinkId`], by inode, in order.
    pub fn link_groups(&self) -> BTreeMap<LinkId, Vec<&[u8]>> {
        let mut groups: BTreeMap<LinkId, Vec<&[u8]>> = BTreeMap::new();
        for (path, entry) in self.iter() {
            if let Some(link) = entry.link() {
                groups.entry(link).or_default().push(path);
            }
        }
        groups
    }

    /// A [`LinkId`] that no entry has.
    pub fn new_link(&mut self) -> LinkId {
        let link = LinkId(self.next_link);
        self.next_link = self.next_link.saturating_add(1);
        link
    }

    /// Gives the regular file at exactly `existing` a further name, replacing what is there but a directory.
    pub fn hard_link(&mut self, existing: impl AsRef<[u8]>, new: impl AsRef<[u8]>) -> Result<(), TreeError> {
        let existing = trimmed(existing.as_ref());
        let fresh = LinkId(self.next_link);
        let entry = self.entries.get_mut(existing).ok_or_else(|| TreeError::NotFound(shown(existing)))?;
        let Kind::File { link, .. } = &mut entry.kind else {
            return Err(TreeError::NotAFile(shown(existing)));
        };
        link.get_or_insert(fresh);
        let entry = entry.clone();
        self.insert(new, entry)?;
        Ok(())
    }

    /// Makes a directory (0755, root) and its parents unless it is there; follows links on the way.
    pub fn make_dirs(&mut self, path: impl AsRef<[u8]>) -> Result<(), TreeError> {
        let real = self.walk(path.as_ref(), true)?;
        match self.get(&real) {
            Some(entry) if entry.is_dir() => Ok(()),
            Some(_) => Err(TreeError::NotADirectory(shown(&real))),
            None => {
                let entry = Entry::dir(0o755).with_mtime(self.time);
                self.insert(real, entry).map(drop)
            }
        }
    }

    /// Makes a symbolic link; links in the directories of `path` are followed, and what is there, but for a directory, is replaced.
    pub fn symlink(&mut self, path: impl AsRef<[u8]>, target: impl Into<Vec<u8>>) -> Result<(), TreeError> {
        let real = self.resolve_parent(path)?;
        let entry = Entry::symlink(target).with_mtime(self.time);
        self.insert(real, entry).map(drop)
    }

    fn make_parents(&mut self, path: &[u8]) -> Result<(), TreeError> {
        let mut missing = Vec::new();
        let mut dir = parent(path);
        while let Some(path) = dir {
            match self.entries.get(path) {
                Some(entry) if entry.is_dir() => break,
                Some(_) => return Err(TreeError::NotADirectory(shown(path))),
                None => missing.push(path.to_vec()),
            }
            dir = parent(path);
        }
        for path in missing {
            self.entries.insert(path, Entry::dir(0o755).with_mtime(self.time));
        }
        Ok(())
    }
}

/// A tree as a list of paths and entries.
impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(|(path, entry)| (escape(path), entry)))
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut tree = Tree::new();
        for (path, entry) in Vec::<(String, Entry)>::deserialize(deserializer)? {
            let path = crate::text::unescape(&path).ok_or_else(|| D::Error::custom("a path with a malformed escape"))?;
            tree.insert(path, entry).map_err(D::Error::custom)?;
        }
        Ok(tree)
    }
}

#[cfg(test)]
mod tests;
