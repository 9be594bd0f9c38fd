//! The tree's inodes with their numbers, and what is in each directory.

use std::collections::{BTreeMap, HashMap};

use crate::entry::{Entry, LinkId};
use crate::tree::Tree;

/// A directory.
pub(super) struct Folder<'a> {
    pub path: &'a [u8],
    pub entry: &'a Entry,
    pub number: u32,
    /// By name, in the order of its bytes, as the format wants it.
    pub children: Vec<Child<'a>>,
}

/// A name in a directory.
pub(super) struct Child<'a> {
    pub path: &'a [u8],
    pub entry: &'a Entry,
    pub number: u32,
    /// Where a directory is in [`Nodes::folders`].
    pub folder: Option<usize>,
}

impl<'a> Child<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }
}

pub(super) struct Nodes<'a> {
    /// Each directory after all that are in it; the root is last.
    pub folders: Vec<Folder<'a>>,
    /// How many there are; numbers begin with 1.
    pub count: u32,
    names_of_link: BTreeMap<LinkId, u32>,
}

impl<'a> Nodes<'a> {
    pub(super) fn of(tree: &'a Tree) -> Nodes<'a> {
        let names_of_link = tree.link_groups().into_iter().map(|(link, names)| (link, names.len() as u32)).collect();
        let mut nodes = Nodes { folders: folders(tree), count: 0, names_of_link };
        nodes.give_numbers();
        nodes
    }

    /// The names of one directory get numbers one after the other, which the listing of a directory has a short form for.
    fn give_numbers(&mut self) {
        let (mut last, mut links, mut of_folders) = (0, HashMap::new(), HashMap::new());
        let mut next = || {
            last += 1;
            last
        };
        for folder in &mut self.folders {
            for child in &mut folder.children {
                child.number = match child.entry.link() {
                    Some(link) => *links.entry(link).or_insert_with(&mut next),
                    None => next(),
                };
                of_folders.extend(child.folder.map(|folder| (folder, child.number)));
            }
        }
        of_folders.insert(self.folders.len().saturating_sub(1), next());
        self.count = last;
        for (at, folder) in self.folders.iter_mut().enumerate() {
            folder.number = of_folders.get(&at).copied().unwrap_or_default();
        }
    }

    /// How many names an inode that is no directory has.
    pub(super) fn names_of(&self, entry: &Entry) -> u32 {
        entry.link().and_then(|link| self.names_of_link.get(&link)).copied().unwrap_or(1)
    }
}

fn folders(tree: &Tree) -> Vec<Folder<'_>> {
    let directories: Vec<(&[u8], &Entry)> = tree.iter().filter(|(_, entry)| entry.is_dir()).collect();
    let mut folders: Vec<Folder> =
        (directories.iter().rev()).map(|(path, entry)| Folder { path, entry, number: 0, children: Vec::new() }).collect();
    let by_path: HashMap<&[u8], usize> = folders.iter().enumerate().map(|(at, folder)| (folder.path, at)).collect();
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        let parent = path.iter().rposition(|byte| *byte == b'/').and_then(|at| path.get(..at)).unwrap_or_default();
        let folder = entry.is_dir().then(|| by_path.get(path).copied()).flatten();
        if let Some(parent) = by_path.get(parent).and_then(|at| folders.get_mut(*at)) {
            parent.children.push(Child { path, entry, number: 0, folder });
        }
    }
    folders
}
