//! Finding things by path as Linux does, and reading and writing files so; no link ever leads outside the tree.

use std::collections::VecDeque;

use super::paths::{MAX_PATH, checked, join, parent, shown};
use super::{Tree, TreeError};
use crate::entry::{Entry, Kind};
use crate::store::Store;
use crate::text::escape;

/// Symbolic links followed in one lookup, as in Linux (`path_resolution(7)`).
const MAX_LINKS: usize = 40;

impl Tree {
    /// The entry a path leads to when symbolic links are followed inside the tree, with its real path.
    pub fn lookup(&self, path: impl AsRef<[u8]>) -> Result<(Vec<u8>, &Entry), TreeError> {
        let real = self.resolve(path.as_ref())?;
        match self.entries.get(&real) {
            Some(entry) => Ok((real, entry)),
            None => Err(TreeError::NotFound(shown(path.as_ref()))),
        }
    }

    /// The real path that a path leads to, following every symbolic link as if the tree were `/`; a link never leads outside.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, `LinkLoop`, `BadPath` (NUL bytes, or far too long).
    pub fn resolve(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, TreeError> {
        let real = self.walk(path.as_ref(), true)?;
        match self.entries.contains_key(&real) {
            true => Ok(real),
            false => Err(TreeError::NotFound(shown(path.as_ref()))),
        }
    }

    /// The real path for an entry to be put at `path`: links in all but the last part are followed (`bin/x` becomes `usr/bin/x` on a
    /// merged-usr root). Parts that do not exist yet stay as they are.
    pub fn resolve_parent(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, TreeError> {
        let real = self.walk(path.as_ref(), false)?;
        checked(&real)?;
        Ok(real)
    }

    /// Follows `path` from the root. With `last` the last part is followed too, when it is a link.
    pub(super) fn walk(&self, path: &[u8], last: bool) -> Result<Vec<u8>, TreeError> {
        if path.len() > MAX_PATH || path.contains(&0) {
            return Err(TreeError::BadPath(escape(path)));
        }
        let mut ahead: VecDeque<&[u8]> = path.split(|b| *b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        let mut real: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            if part == b".." {
                real.truncate(parent(&real).map_or(0, <[u8]>::len));
                continue;
            }
            let here = join(&real, part);
            if here.len() > MAX_PATH {
                return Err(TreeError::BadPath(escape(path)));
            }
            match self.entries.get(&here).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) if last || !ahead.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(TreeError::LinkLoop(shown(path)));
                    }
                    if target.starts_with(b"/") {
                        real.clear();
                    }
                    for part in target.split(|b| *b == b'/').rev().filter(|part| !part.is_empty() && *part != b".") {
                        ahead.push_front(part);
                    }
                }
                Some(Kind::Dir) | None => real = here,
                Some(_) if ahead.is_empty() => real = here,
                Some(_) => return Err(TreeError::NotADirectory(shown(&here))),
            }
        }
        Ok(real)
    }

    /// Reads a file whole, following links, checking its content. `None` when it does not exist.
    ///
    /// # Errors
    /// `NotAFile` when it is something else, `Store` when its content is missing or wrong, and those of [`Tree::resolve`].
    pub fn read_file(&self, store: &Store, path: impl AsRef<[u8]>) -> Result<Option<Vec<u8>>, TreeError> {
        let path = path.as_ref();
        let entry = match self.lookup(path) {
            Ok((_, entry)) => entry,
            Err(TreeError::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Kind::File { blob, .. } = &entry.kind else {
            return Err(TreeError::NotAFile(shown(path)));
        };
        store.read(blob).map(Some).map_err(|source| TreeError::Store { path: shown(path), source })
    }

    /// Writes a file as a text editor would: links are followed, parents made on demand. An existing file keeps its owner and gets the
    /// new content, mode and time; as an inode of several names it becomes a file of its own.
    pub fn write_file(&mut self, store: &Store, path: impl AsRef<[u8]>, bytes: &[u8], mode: u32) -> Result<(), TreeError> {
        let path = path.as_ref();
        let real = self.walk(path, true)?;
        let (blob, size) = store.put_bytes(bytes).map_err(|source| TreeError::Store { path: shown(path), source })?;
        let (uid, gid) = self.get(&real).map_or((0, 0), |old| (old.uid, old.gid));
        let entry = Entry::file(blob, size, mode).with_owner(uid, gid).with_mtime(self.time);
        self.insert(real, entry).map(drop)
    }
}
