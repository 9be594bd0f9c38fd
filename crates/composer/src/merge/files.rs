//! Merging the files of an image into the root, by Portage's rules (`vartree.py: mergeme`).

use std::collections::{BTreeSet, HashMap};

use image::{Entry, Kind, LinkId, Store, Tree};

use super::config_memory::ConfigMemory;
use super::contents::{Contents, Node, Order};
use super::package::{Image, shown};
use super::protect::{Decision, Replaced};
use crate::ComposeError;

/// Who put each file (directories aside) where, by real path.
pub type Owners = HashMap<Vec<u8>, String>;

/// The result of merging a package's files.
#[derive(Debug, Default)]
pub struct Merged {
    /// What goes into CONTENTS.
    pub contents: Contents,
    pub order: Order,
    /// What a person should know: files that stood in the way, protected configuration.
    pub remarks: Vec<String>,
}

impl Merged {
    /// Takes in what was merged of the same package later on.
    pub fn extend(&mut self, later: Merged) {
        self.contents.extend(later.contents);
        if let (Order::Merged { dangling }, Order::Merged { dangling: more }) = (&mut self.order, later.order) {
            dangling.extend(more);
        }
    }
}

/// Which files are protected: CONFIG_PROTECT without CONFIG_PROTECT_MASK (make.conf(5)), as real paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Protection {
    pub protect: Vec<Vec<u8>>,
    pub mask: Vec<Vec<u8>>,
}

impl Protection {
    /// The longest matching directory decides, as in Portage.
    pub fn covers(&self, path: &[u8]) -> bool {
        let longest = |dirs: &[Vec<u8>]| dirs.iter().filter(|dir| is_within(path, dir)).map(Vec::len).max();
        match (longest(&self.protect), longest(&self.mask)) {
            (Some(protect), Some(mask)) => protect > mask,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}

fn is_within(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Merges the paths of an image for which `wanted` is true.
pub struct Merge<'a> {
    pub root: &'a mut Tree,
    pub store: &'a Store,
    pub owners: &'a mut Owners,
    pub protection: &'a Protection,
    /// The package whose image it is.
    pub cpv: &'a str,
    /// Packages whose files it may take: those it replaces, and those it blocks or that go later.
    pub yielding: &'a BTreeSet<String>,
    /// The instance it replaces, for what is protected.
    pub replaced: Option<&'a Replaced>,
    pub memory: &'a mut ConfigMemory,
}

impl Merge<'_> {
    /// # Errors
    /// When a file belongs to another package, a link would replace a directory, or two names of the image are one file in the root.
    pub fn merge(mut self, image: &mut Image, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Merged, ComposeError> {
        let paths: Vec<Vec<u8>> =
            image.tree.iter().map(|(path, _)| path.to_vec()).filter(|path| !path.is_empty() && wanted(path)).collect();
        refuse_line_breaks(image, &paths)?;
        self.refuse_collisions(image, &paths)?;
        let mut merged = Merged::default();
        let mut links: HashMap<LinkId, LinkId> = HashMap::new();
        for path in paths {
            let Some(entry) = image.tree.get(&path).cloned() else { continue };
            let node = match &entry.kind {
                Kind::Dir => {
                    self.directory(&path, entry, &mut merged)?;
                    Node::Dir
                }
                Kind::Fifo => {
                    self.special(&path, entry)?;
                    Node::Fif
                }
                Kind::CharDevice { .. } | Kind::BlockDevice { .. } => {
                    self.special(&path, entry)?;
                    Node::Dev
                }
                Kind::Symlink(target) => {
                    let node = Node::Sym { target: target.clone(), mtime: entry.mtime };
                    self.file(&path, entry, &node, &mut merged)?;
                    node
                }
                Kind::File { blob, .. } => {
                    let node = Node::Obj { md5: image.md5_of(blob, self.store)?, mtime: entry.mtime };
                    let entry = self.relinked(entry, &mut links);
                    self.file(&path, entry, &node, &mut merged)?;
                    node
                }
            };
            merged.contents.insert(path, node);
        }
        merged.order = Order::Merged { dangling: self.dangling(&merged.contents) };
        Ok(merged)
    }

    /// The links of a package that lead nowhere now that it is merged.
    fn dangling(&self, contents: &Contents) -> BTreeSet<Vec<u8>> {
        let links = contents.iter().filter(|(_, node)| matches!(node, Node::Sym { .. }));
        links.map(|(path, _)| path).filter(|path| self.root.lookup(path).is_err()).cloned().collect()
    }

    /// Looks before anything is touched.
    fn refuse_collisions(&self, image: &Image, paths: &[Vec<u8>]) -> Result<(), ComposeError> {
        let mut reals: HashMap<Vec<u8>, &[u8]> = HashMap::new();
        for path in paths {
            let Some(entry) = image.tree.get(path).filter(|entry| !entry.is_dir()) else { continue };
            // What cannot be resolved meets a file on the way, which is moved aside when its directory is merged.
            let Ok(real) = self.root.resolve_parent(path) else { continue };
            if let Some(other) = reals.insert(real.clone(), path).filter(|other| !same_but_time(image.tree.get(other), entry)) {
                let message = format!("{} and {} would be one file in this root, and they differ", shown(other), shown(path));
                return Err(ComposeError::new(message, "The package was built for another layout of /usr: take another build."));
            }
            let there = self.root.get(&real);
            if there.is_some_and(Entry::is_dir) && entry.is_symlink() {
                let message = format!("{} is a directory and the package brings a symbolic link there (PMS 13.4)", shown(&real));
                return Err(ComposeError::new(message, "Leave the package out, or the one that brought the directory."));
            }
            let owner = self.owners.get(&real).filter(|owner| owner.as_str() != self.cpv && there.is_some());
            let owner = owner.filter(|owner| !self.yielding.contains(owner.as_str()));
            if let Some(owner) = owner.filter(|_| !self.protection.covers(&real)) {
                let message = format!("{} belongs to {owner} already and {} brings it, too", shown(path), self.cpv);
                return Err(ComposeError::new(message, "The two cannot be installed together: leave one of them out."));
            }
        }
        Ok(())
    }

    /// Directories that exist stay as they are, and so does a link to one.
    fn directory(&mut self, path: &[u8], entry: Entry, merged: &mut Merged) -> Result<(), ComposeError> {
        let real = self.root.resolve_parent(path)?;
        let leads_to_directory = self.root.lookup(&real).is_ok_and(|(_, there)| there.is_dir());
        if !leads_to_directory {
            if self.root.contains(&real) {
                let aside = self.free_backup_name(&real);
                self.root.rename(&real, &aside)?;
                merged.remarks.push(format!("{} was in the way of a directory and is {} now", shown(&real), shown(&aside)));
            }
            self.root.insert(&real, entry)?;
        }
        Ok(())
    }

    fn special(&mut self, path: &[u8], entry: Entry) -> Result<(), ComposeError> {
        let real = self.root.resolve_parent(path)?;
        if !self.root.contains(&real) {
            self.root.insert(&real, entry)?;
            self.owners.insert(real, self.cpv.to_owned());
        }
        Ok(())
    }

    /// A regular file or a symbolic link.
    fn file(&mut self, path: &[u8], entry: Entry, node: &Node, merged: &mut Merged) -> Result<(), ComposeError> {
        let mut real = self.root.resolve_parent(path)?;
        self.owners.insert(real.clone(), self.cpv.to_owned());
        let decision = match self.protects(&real, &entry) {
            true => self.decide(path, &real, node)?,
            false => Decision::Overwrite,
        };
        match decision {
            Decision::Skip => return Ok(()),
            Decision::Aside(name) => {
                merged.remarks.push(format!("{} is protected; the new one is {}", shown(path), shown(&name)));
                real = name;
            }
            Decision::Overwrite if self.root.get(&real).is_some_and(Entry::is_dir) => {
                real = self.free_backup_name(&real);
                merged.remarks.push(format!("{} is a directory; the file is {} now", shown(path), shown(&real)));
            }
            Decision::Overwrite => {}
        }
        // A file that is the same already stays, with whoever owns it, and gets the new time (vartree.py: _needs_move).
        let entry = match self.root.get(&real) {
            Some(there) if is_same_file(there, &entry) => there.clone().with_mtime(entry.mtime),
            _ => entry,
        };
        self.root.insert(&real, entry)?;
        Ok(())
    }

    fn protects(&self, real: &[u8], entry: &Entry) -> bool {
        let name = real.rsplit(|b| *b == b'/').next().unwrap_or_default();
        self.protection.covers(real) && !(entry.is_file() && entry.size() == 0 && name.starts_with(b".keep"))
    }

    fn free_backup_name(&self, real: &[u8]) -> Vec<u8> {
        let names = (0..10_000).map(|number| [real, format!(".backup.{number:04}").as_bytes()].concat());
        let mut names = names.skip_while(|name| self.root.contains(name));
        names.next().unwrap_or_else(|| [real, b".backup"].concat())
    }

    /// The root's number for an inode of the image.
    fn relinked(&mut self, mut entry: Entry, links: &mut HashMap<LinkId, LinkId>) -> Entry {
        if let Kind::File { link: Some(link), .. } = &mut entry.kind {
            *link = *links.entry(*link).or_insert_with(|| self.root.new_link());
        }
        entry
    }
}

/// As in Portage: CONTENTS has one line for each file, and a name with a line break in it would forge others.
fn refuse_line_breaks(image: &Image, paths: &[Vec<u8>]) -> Result<(), ComposeError> {
    let breaks = |text: &[u8]| text.iter().any(|b| matches!(b, b'\n' | b'\r'));
    let target_breaks = |path: &[u8]| match image.tree.get(path).map(|entry| &entry.kind) {
        Some(Kind::Symlink(target)) => breaks(target),
        _ => false,
    };
    match paths.iter().find(|path| breaks(path) || target_breaks(path)) {
        None => Ok(()),
        Some(path) => Err(ComposeError::new(
            format!("the package is refused: the name of {}, or where it links to, contains a line break", shown(path)),
            "Tell the operator of the binhost; leave the package out meanwhile.",
        )),
    }
}

/// Whether the entries differ in what protection looks at: content and link targets.
trait KindDiffers {
    fn kind_differs(&self, other: &Entry) -> bool;
}

impl KindDiffers for Entry {
    fn kind_differs(&self, other: &Entry) -> bool {
        match (&self.kind, &other.kind) {
            (Kind::File { blob: a, .. }, Kind::File { blob: b, .. }) => a != b,
            (a, b) => a != b,
        }
    }
}

fn same_but_time(a: Option<&Entry>, b: &Entry) -> bool {
    a.is_some_and(|a| !a.kind_differs(b) && (a.mode, a.uid, a.gid) == (b.mode, b.uid, b.gid))
}

/// Whether Portage would leave the file that is there: the same content, mode and attributes, and no second name.
fn is_same_file(there: &Entry, new: &Entry) -> bool {
    let plain = |entry: &Entry| matches!(entry.kind, Kind::File { link: None, .. });
    plain(there) && plain(new) && !there.kind_differs(new) && there.mode == new.mode && there.xattrs == new.xattrs
}

/// The paths in which two trees differ, times of directories aside.
pub fn changed_paths(before: &Tree, after: &Tree) -> BTreeSet<Vec<u8>> {
    let changed = after.iter().filter(|(path, entry)| before.get(path) != Some(*entry));
    changed.map(|(path, _)| path.to_vec()).collect()
}
