//! Taking a replaced package out of the root: what its record lists and no instance that stays owns (`vartree.py: _unmerge_pkgfiles`).

use std::collections::{BTreeMap, BTreeSet};

use gentoo::Cpv;
use image::{Entry, Kind, Store, Tree};

use super::config_memory::ConfigMemory;
use super::contents::{self, Contents, Node};
use super::files::{Owners, Protection};
use super::protect::{Present, fingerprint};
use super::scripts::Scripts;
use super::vdb;
use crate::ComposeError;

/// Where removed packages leave things on purpose: UNINSTALL_IGNORE of profiles/base. A `*` matches slashes, too.
const IGNORED: [&str; 2] = ["boot/dtbs/", "lib/modules/"];
const IGNORED_LINKS: [&str; 5] = ["var/run", "var/lock", "lib", "usr/lib", "usr/local/lib"];
/// What install-info leaves in a directory of info pages that is otherwise empty.
const INFO_LEFTOVERS: [&[u8]; 2] = [b"dir", b"dir.old"];

/// An installed package that is being replaced.
pub struct Removed {
    pub cpv: Cpv,
    /// All files of its record but CONTENTS.
    pub metadata: BTreeMap<String, Vec<u8>>,
    pub scripts: Scripts,
    /// The version that replaces it, PMS's REPLACED_BY_VERSION; empty where none does.
    pub replaced_by: String,
    /// For what its scripts make: the BUILD_TIME of the package that replaces it.
    pub time: i64,
    pub contents: Contents,
}

impl Removed {
    /// Reads an installed package's record.
    pub fn read(tree: &Tree, store: &Store, cpv: Cpv, replaced_by: Option<&Cpv>, time: i64) -> Result<Removed, ComposeError> {
        let metadata = vdb::read_metadata(tree, store, &cpv, &|name| name != "CONTENTS")?;
        let listed = tree.read_file(store, format!("{}/CONTENTS", vdb::record_dir(&cpv)))?.unwrap_or_default();
        let scripts = Scripts::read_removal(&metadata).map_err(|error| error.for_package(cpv.to_string()))?;
        let replaced_by = replaced_by.map_or("", |new| new.version.as_str()).to_owned();
        Ok(Removed { cpv, metadata, scripts, replaced_by, time, contents: contents::parse(&listed) })
    }
}

/// Removes files of a package.
pub struct Unmerge<'a> {
    pub root: &'a mut Tree,
    pub store: &'a Store,
    pub owners: &'a mut Owners,
    pub protection: &'a Protection,
    pub memory: &'a mut ConfigMemory,
    /// The package that goes.
    pub cpv: &'a str,
    /// What the instances that stay in its slot list.
    pub kept: &'a Contents,
}

impl Unmerge<'_> {
    /// Removes what `contents` lists, files first, then the directories that are empty.
    pub fn run(mut self, contents: &Contents) -> Result<(), ComposeError> {
        let kept: BTreeSet<Vec<u8>> = self.kept.keys().filter_map(|path| self.root.resolve_parent(path).ok()).collect();
        let mut dirs = BTreeSet::new();
        for (path, node) in contents.iter().rev() {
            let Ok(real) = self.root.resolve_parent(path) else { continue };
            let Some(entry) = self.root.get(&real).cloned() else { continue };
            if is_ignored(path, &entry) || (kept.contains(&real) && !entry.is_dir()) {
                continue;
            }
            if !entry.is_dir() && self.owners.get(&real).is_some_and(|owner| owner != self.cpv) {
                continue;
            }
            if self.goes(&real, &entry, node)? {
                self.root.remove(&real)?;
                self.owners.remove(&real);
                self.memory.forget(&format!("/{}", String::from_utf8_lossy(path)));
            } else if entry.is_dir() && *node == Node::Dir {
                dirs.insert(real);
            }
        }
        for dir in dirs.iter().rev() {
            self.remove_if_empty(dir, &kept)?;
        }
        Ok(())
    }

    /// Whether what is there is to be removed. FEATURES=unmerge-orphans takes all but what is protected, which goes only unchanged.
    fn goes(&self, real: &[u8], entry: &Entry, node: &Node) -> Result<bool, ComposeError> {
        if entry.is_dir() {
            return Ok(false);
        }
        let leads_to_dir = entry.is_symlink() && self.root.lookup(real).is_ok_and(|(_, there)| there.is_dir());
        if !leads_to_dir && !self.protection.covers(real) {
            return Ok(true);
        }
        Ok(match (node, fingerprint(self.root, self.store, real)?) {
            (Node::Obj { md5, mtime }, Some(Present::File { md5: now })) => entry.mtime == *mtime && *md5 == now,
            (Node::Sym { mtime, .. }, Some(Present::Link { .. })) if leads_to_dir => {
                entry.mtime == *mtime && self.holds_only_own(real)
            }
            (Node::Sym { mtime, .. }, Some(Present::Link { .. })) => entry.mtime == *mtime,
            _ => false,
        })
    }

    /// Whether all that a link's directory holds are regular files of the package that goes, so that nothing is reached through it.
    fn holds_only_own(&self, link: &[u8]) -> bool {
        let Ok((dir, _)) = self.root.lookup(link) else { return false };
        self.root.children(&dir).into_iter().all(|(name, child)| {
            let path = [dir.as_slice(), b"/", name].concat();
            matches!(child.kind, Kind::File { .. }) && self.owners.get(&path).is_some_and(|owner| owner == self.cpv)
        })
    }

    fn remove_if_empty(&mut self, dir: &[u8], kept: &BTreeSet<Vec<u8>>) -> Result<(), ComposeError> {
        let children: Vec<Vec<u8>> = self.root.children(dir).into_iter().map(|(name, _)| name.to_vec()).collect();
        let is_info = dir.rsplit(|b| *b == b'/').next() == Some(b"info");
        if is_info && !children.is_empty() && children.iter().all(|name| INFO_LEFTOVERS.contains(&name.as_slice())) {
            for name in &children {
                self.root.remove([dir, b"/", name].concat())?;
            }
        } else if !children.is_empty() {
            return Ok(());
        }
        // Portage would remove an empty directory that the new instance lists, too, had it not just made sure that it is there.
        if !kept.contains(dir) {
            self.root.remove(dir)?;
        }
        Ok(())
    }
}

fn is_ignored(path: &[u8], entry: &Entry) -> bool {
    IGNORED.iter().any(|dir| path.starts_with(dir.as_bytes()))
        || (entry.is_symlink() && IGNORED_LINKS.iter().any(|link| path == link.as_bytes()))
        || IGNORED_LINKS.iter().take(2).any(|link| path == link.as_bytes())
}
