//! Edits of configuration files in a tree.

use image::{Entry, Kind, Store, Tree};

use crate::ComposeError;

/// Configuration files are some kilobytes; one larger than this is not read as text.
const MAX_TEXT: u64 = 16 << 20;

/// A tree that is being configured, with what the person should be told about it.
pub(super) struct Files<'a> {
    pub(super) tree: &'a mut Tree,
    pub(super) store: &'a Store,
    pub(super) messages: Vec<String>,
    /// Time of all that is written: the newest time the packages brought, so that it depends on nothing else.
    time: i64,
}

impl<'a> Files<'a> {
    pub(super) fn new(tree: &'a mut Tree, store: &'a Store) -> Files<'a> {
        let time = tree.iter().map(|(_, entry)| entry.mtime).max().unwrap_or(0);
        tree.set_time(time);
        Files { tree, store, messages: Vec::new(), time }
    }

    /// Tells the person who ordered something about the image.
    pub(super) fn say(&mut self, message: impl Into<String>) {
        self.messages.push(message.into());
    }

    /// Whether the path leads to something, links followed.
    pub(super) fn has(&self, path: &str) -> bool {
        self.tree.lookup(path).is_ok()
    }

    /// Whether the path leads to a regular file, links followed.
    pub(super) fn has_file(&self, path: &str) -> bool {
        self.tree.lookup(path).is_ok_and(|(_, entry)| entry.is_file())
    }

    /// The first of these paths that leads to a regular file.
    pub(super) fn first_file<'p>(&self, paths: &[&'p str]) -> Option<&'p str> {
        paths.iter().copied().find(|path| self.has_file(path))
    }

    /// The text of a file; none when there is no such file. Bytes that are no UTF-8 become replacement characters.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>, ComposeError> {
        match self.tree.lookup(path) {
            Ok((_, entry)) if entry.is_file() && entry.size() <= MAX_TEXT => {
                let bytes = self.tree.read_file(self.store, path)?.unwrap_or_default();
                Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
            }
            Ok((_, entry)) if entry.is_file() => Err(ComposeError::new(
                format!("/{path} is too large for a configuration file."),
                "Choose another build of its package.",
            )),
            _ => Ok(None),
        }
    }

    /// Writes a file of root's with exactly this mode; a link in its place is replaced, not followed.
    pub(super) fn write(&mut self, path: &str, text: &str, mode: u32) -> Result<(), ComposeError> {
        self.write_owned(path, text, mode, (0, 0))
    }

    /// Writes a file of this owner (user, group) with exactly this mode.
    pub(super) fn write_owned(&mut self, path: &str, text: &str, mode: u32, (uid, gid): (u32, u32)) -> Result<(), ComposeError> {
        self.put(path, text.as_bytes(), mode, (uid, gid))
    }

    /// Writes a file of root's that is no text.
    pub(super) fn write_bytes(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), ComposeError> {
        self.put(path, bytes, mode, (0, 0))
    }

    fn put(&mut self, path: &str, bytes: &[u8], mode: u32, (uid, gid): (u32, u32)) -> Result<(), ComposeError> {
        let (blob, size) = self.store.put_bytes(bytes)?;
        let path = self.tree.resolve_parent(path)?;
        self.tree.insert(path, Entry::file(blob, size, mode).with_owner(uid, gid).with_mtime(self.time))?;
        Ok(())
    }

    /// Makes a folder of this owner and mode, or gives one that is there this owner and mode.
    pub(super) fn dir(&mut self, path: &str, mode: u32, (uid, gid): (u32, u32)) -> Result<(), ComposeError> {
        self.tree.make_dirs(path)?;
        let real = self.tree.resolve(path)?;
        if let Some(entry) = self.tree.get_mut(&real) {
            (entry.mode, entry.uid, entry.gid) = (mode, uid, gid);
        }
        Ok(())
    }

    /// Makes a folder of root's unless there is something already.
    pub(super) fn dir_if_absent(&mut self, path: &str, mode: u32) -> Result<(), ComposeError> {
        match self.tree.lookup(path) {
            Ok(_) => Ok(()),
            Err(_) => self.dir(path, mode, (0, 0)),
        }
    }

    /// Makes a symbolic link in place of whatever file or link is there.
    pub(super) fn link(&mut self, path: &str, target: &str) -> Result<(), ComposeError> {
        Ok(self.tree.symlink(path, target)?)
    }

    /// Removes a file or link, if there is one.
    pub(super) fn remove(&mut self, path: &str) -> Result<(), ComposeError> {
        let real = self.tree.resolve_parent(path)?;
        if self.tree.get(&real).is_some_and(|entry| !entry.is_dir()) {
            self.tree.remove(&real)?;
        }
        Ok(())
    }

    /// The names in a folder, links followed on the way to it; none for anything but a folder.
    pub(super) fn names(&self, dir: &str) -> Vec<String> {
        let Ok(real) = self.tree.resolve(dir) else { return Vec::new() };
        self.tree.children(&real).into_iter().filter_map(|(name, _)| String::from_utf8(name.to_vec()).ok()).collect()
    }

    /// The paths of all that is below a folder but folders, relative to it; none for anything but a folder.
    pub(super) fn files_below(&self, dir: &str) -> impl Iterator<Item = String> {
        let real = self.tree.resolve(dir).unwrap_or_default();
        let below = if real.is_empty() { Vec::new() } else { self.tree.below(&real) };
        let start = real.len() + 1;
        below
            .into_iter()
            .filter(|(_, entry)| !entry.is_dir())
            .filter_map(move |(path, _)| String::from_utf8(path.get(start..)?.to_vec()).ok())
    }

    /// Copies all that is in a folder into another and gives it this owner. What is there already is kept.
    pub(super) fn copy_dir(&mut self, from: &str, to: &str, (uid, gid): (u32, u32)) -> Result<(), ComposeError> {
        let (Ok(from), Ok(to)) = (self.tree.resolve(from), self.tree.resolve(to)) else { return Ok(()) };
        let copies: Vec<_> = self
            .tree
            .below(&from)
            .into_iter()
            .map(|(path, entry)| {
                let mut copy = entry.clone().with_owner(uid, gid);
                if let Kind::File { link, .. } = &mut copy.kind {
                    *link = None;
                }
                ([to.as_slice(), path.get(from.len()..).unwrap_or_default()].concat(), copy)
            })
            .collect();
        for (path, entry) in copies {
            if !self.tree.contains(&path) {
                self.tree.insert(path, entry)?;
            }
        }
        Ok(())
    }

    /// Puts a block of lines at a file's end, unless it is in there already.
    pub(super) fn append(&mut self, path: &str, block: &str) -> Result<(), ComposeError> {
        let old = self.text(path)?.unwrap_or_default();
        if old.contains(block) {
            return Ok(());
        }
        let gap = if old.is_empty() || old.ends_with('\n') { "" } else { "\n" };
        self.write(path, &format!("{old}{gap}{block}"), 0o644)
    }

    /// Sets `name="value"` in a file of shell assignments such as those of /etc/conf.d, keeping everything else.
    pub(super) fn assign(&mut self, path: &str, name: &str, value: &str) -> Result<(), ComposeError> {
        let old = self.text(path)?.unwrap_or_default();
        let line = format!("{name}=\"{value}\"");
        let is_it = |l: &&str| l.trim_start().strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        let mut lines: Vec<&str> = Vec::new();
        for old_line in old.lines() {
            if !is_it(&old_line) {
                lines.push(old_line);
            } else if !lines.contains(&line.as_str()) {
                lines.push(&line);
            }
        }
        if !lines.contains(&line.as_str()) {
            lines.push(&line);
        }
        self.write(path, &(lines.join("\n") + "\n"), 0o644)
    }
}
