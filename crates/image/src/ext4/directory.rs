//! Directories as plain lists of names, which every ext4 reads.

use super::{BLOCK, FIRST_INODE, LOST_AND_FOUND, Nodes, ROOT_INODE};
use crate::bytes::{put, put_u16, put_u32};
use crate::entry::{Entry, Kind};
use crate::tree::Tree;

const SIZE: usize = BLOCK as usize;
/// Bytes before an entry's name: inode, length of the entry, length of the name, type.
const HEAD: usize = 8;
const DIRECTORY: u8 = 2;

/// The blocks of a directory of the tree.
pub(super) fn blocks(tree: &Tree, nodes: &Nodes, path: &[u8], number: u32) -> Vec<u8> {
    let parent = match path.iter().rposition(|b| *b == b'/') {
        Some(at) => nodes.by_path.get(path.get(..at).unwrap_or_default()).copied().unwrap_or(ROOT_INODE),
        None => ROOT_INODE,
    };
    let mut list = Names::new(number, parent);
    for (name, entry) in tree.children(path) {
        let full = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        list.add(name, nodes.by_path.get(full.as_slice()).copied().unwrap_or_default(), type_of(entry));
    }
    if path.is_empty() && nodes.adds_lost_and_found {
        list.add(LOST_AND_FOUND, FIRST_INODE, DIRECTORY);
    }
    list.finish()
}

/// A directory of some blocks without anything in it, as e2fsck wants `lost+found`: it must not need to allocate there.
pub(super) fn empty(number: u32, parent: u32, blocks: usize) -> Vec<u8> {
    let mut bytes = Names::new(number, parent).finish();
    while bytes.len() < blocks * SIZE {
        let start = bytes.len();
        bytes.resize(start + SIZE, 0);
        put_u16(&mut bytes, start + 4, SIZE as u16);
    }
    bytes
}

fn type_of(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File { .. } => 1,
        Kind::Dir => DIRECTORY,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// A directory being made.
struct Names {
    bytes: Vec<u8>,
    /// Where the last entry begins; it reaches to the end of its block, so that it is the one to be cut when another is added.
    last: usize,
    /// Where the last entry's name ends.
    end: usize,
}

impl Names {
    fn new(number: u32, parent: u32) -> Names {
        let mut names = Names { bytes: Vec::new(), last: 0, end: 0 };
        names.add(b".", number, DIRECTORY);
        names.add(b"..", parent, DIRECTORY);
        names
    }

    /// Adds a name of at most 255 bytes, which the tree has seen to.
    fn add(&mut self, name: &[u8], number: u32, kind: u8) {
        let block_end = self.bytes.len();
        let start = self.end.next_multiple_of(4);
        let start = match start + HEAD + name.len() <= block_end {
            true => {
                let length = (start - self.last) as u16;
                put_u16(&mut self.bytes, self.last + 4, length);
                start
            }
            false => {
                self.bytes.resize(block_end + SIZE, 0);
                block_end
            }
        };
        let length = (self.bytes.len() - start) as u16;
        put_u32(&mut self.bytes, start, number);
        put_u16(&mut self.bytes, start + 4, length);
        put(&mut self.bytes, start + 6, &[name.len() as u8, kind]);
        put(&mut self.bytes, start + HEAD, name);
        (self.last, self.end) = (start, start + HEAD + name.len());
    }

    fn finish(self) -> Vec<u8> {
        self.bytes
    }
}
