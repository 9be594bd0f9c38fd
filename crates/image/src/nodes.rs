//! The tree's inodes with their names, and what is in each directory: what the writers of filesystems begin with.

use std::collections::HashMap;

use crate::entry::{Entry, LinkId};
use crate::tree::Tree;
use crate::write::items;

/// An inode. Its number on the disk is up to the filesystem; here it is its place in [`Nodes::list`].
pub(crate) struct Node<'a> {
    /// Its first name's path.
    pub path: &'a [u8],
    pub entry: &'a Entry,
    /// All its names; none for the root.
    pub names: Vec<Name<'a>>,
    /// What is in it, by name.
    pub children: Vec<Child<'a>>,
}

/// A name of an inode.
#[derive(Clone, Copy)]
pub(crate) struct Name<'a> {
    pub name: &'a [u8],
    /// The directory that it is in.
    pub parent: usize,
    /// Which of that directory's names it is.
    pub place: usize,
}

/// A name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct Child<'a> {
    pub name: &'a [u8],
    pub node: usize,
}

impl Node<'_> {
    /// The directory that a directory is in; the root's is itself.
    pub(crate) fn parent(&self) -> usize {
        self.names.first().map_or(0, |name| name.parent)
    }
}

pub(crate) struct Nodes<'a> {
    /// The root first, each directory before all that is in it, and what is in a directory together.
    pub list: Vec<Node<'a>>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn of(tree: &'a Tree) -> Nodes<'a> {
        let mut list: Vec<Node> = Vec::new();
        let (mut folders, mut links) = (HashMap::<&[u8], usize>::new(), HashMap::<LinkId, usize>::new());
        for item in items(tree) {
            let known = item.entry.link().and_then(|link| links.get(&link).copied());
            let number = known.unwrap_or(list.len());
            if known.is_none() {
                list.push(Node { path: item.path, entry: item.entry, names: Vec::new(), children: Vec::new() });
                links.extend(item.entry.link().map(|link| (link, number)));
            }
            if item.entry.is_dir() {
                folders.insert(item.path, number);
            }
            if item.path.is_empty() {
                continue;
            }
            let (folder, name) = match item.path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (item.path.get(..at).unwrap_or_default(), item.path.get(at + 1..).unwrap_or_default()),
                None => (&b""[..], item.path),
            };
            let parent = folders.get(folder).copied().unwrap_or_default();
            let place = list.get_mut(parent).map_or(0, |folder| {
                folder.children.push(Child { name, node: number });
                folder.children.len() - 1
            });
            if let Some(node) = list.get_mut(number) {
                node.names.push(Name { name, parent, place });
            }
        }
        Nodes { list }
    }

    /// The entry of an inode.
    pub(crate) fn entry(&self, node: usize) -> Option<&'a Entry> {
        self.list.get(node).map(|node| node.entry)
    }
}
