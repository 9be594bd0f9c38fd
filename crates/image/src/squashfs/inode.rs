//! Inodes, each in the short form of its kind where that can hold it and in the extended one otherwise.

use super::data::{Blocks, Written};
use super::directory::Listing;
use super::plan::Place;
use super::xattr::NONE;

/// In place of a fragment's number.
const NO_FRAGMENT: u32 = u32::MAX;
/// Added to the number of a kind for its extended form.
const EXTENDED: u16 = 7;
/// What the kernel adds to the size of a listing for `.` and `..`.
const DOTS: u32 = 3;

/// The kinds of inodes, in their basic forms.
pub(super) const DIRECTORY: u16 = 1;
pub(super) const FILE: u16 = 2;
pub(super) const SYMLINK: u16 = 3;
pub(super) const BLOCK_DEVICE: u16 = 4;
pub(super) const CHAR_DEVICE: u16 = 5;
pub(super) const FIFO: u16 = 6;

/// What all inodes have.
pub(super) struct Common {
    pub mode: u16,
    /// Numbers of owner and group in the table of ids.
    pub uid: u16,
    pub gid: u16,
    pub mtime: u32,
    pub number: u32,
    /// The number of its attributes, or [`NONE`].
    pub xattrs: u32,
    pub links: u32,
}

impl Common {
    pub(super) fn directory(&self, parent: u32, listing: &Listing) -> Vec<u8> {
        let (block, offset) = listing.place;
        let size = listing.size.saturating_add(DOTS);
        let short = u16::try_from(size).ok().filter(|_| self.xattrs == NONE && listing.index.is_empty());
        let Some(size) = short else { return self.long_directory(parent, listing, size) };
        let mut inode = self.header(DIRECTORY);
        inode.words(&[block as u32, self.links]).halves(&[size, offset]).words(&[parent]);
        inode.0
    }

    fn long_directory(&self, parent: u32, listing: &Listing, size: u32) -> Vec<u8> {
        let (block, offset) = listing.place;
        let mut inode = self.header(DIRECTORY + EXTENDED);
        inode.words(&[self.links, size, block as u32, parent]);
        inode.halves(&[listing.index.len() as u16, offset]).words(&[self.xattrs]);
        for entry in &listing.index {
            inode.words(&[entry.before, entry.block as u32, entry.name.len().saturating_sub(1) as u32]).bytes(&entry.name);
        }
        inode.0
    }

    pub(super) fn file(&self, size: u64, place: Place, written: &Written, block: u64) -> Vec<u8> {
        let none = Blocks::default();
        let (blocks, fragment, offset) = match place {
            Place::Empty => (&none, NO_FRAGMENT, 0),
            Place::Blocks(number) => (written.contents.get(number).unwrap_or(&none), NO_FRAGMENT, 0),
            Place::Fragment { number, offset } => (&none, number, offset),
        };
        let bytes_at = |index: usize| size.saturating_sub(index as u64 * block).min(block);
        let holes: u64 = blocks.sizes.iter().enumerate().filter(|(_, size)| **size == 0).map(|(index, _)| bytes_at(index)).sum();
        let short = |value: u64| u32::try_from(value).ok().filter(|_| self.xattrs == NONE && self.links == 1 && holes == 0);
        let mut inode = match (short(blocks.start), short(size)) {
            (Some(start), Some(size)) => {
                let mut inode = self.header(FILE);
                inode.words(&[start, fragment, offset, size]);
                inode
            }
            _ => {
                // By custom less than the file's size.
                let holes = holes.min(size.saturating_sub(1));
                let mut inode = self.header(FILE + EXTENDED);
                inode.doubles(&[blocks.start, size, holes]).words(&[self.links, fragment, offset, self.xattrs]);
                inode
            }
        };
        inode.words(&blocks.sizes);
        inode.0
    }

    pub(super) fn symlink(&self, target: &[u8]) -> Vec<u8> {
        let mut inode = self.header(self.form(SYMLINK));
        inode.words(&[self.links, target.len() as u32]).bytes(target);
        self.end(inode)
    }

    /// A device of this kind with Linux's number for it.
    pub(super) fn device(&self, kind: u16, number: u32) -> Vec<u8> {
        let mut inode = self.header(self.form(kind));
        inode.words(&[self.links, number]);
        self.end(inode)
    }

    pub(super) fn fifo(&self) -> Vec<u8> {
        let mut inode = self.header(self.form(FIFO));
        inode.words(&[self.links]);
        self.end(inode)
    }

    fn form(&self, kind: u16) -> u16 {
        if self.xattrs == NONE { kind } else { kind + EXTENDED }
    }

    /// Of the smaller kinds, the extended forms have the attributes at their end and nothing else.
    fn end(&self, mut inode: Record) -> Vec<u8> {
        if self.xattrs != NONE {
            inode.words(&[self.xattrs]);
        }
        inode.0
    }

    fn header(&self, kind: u16) -> Record {
        let mut inode = Record(Vec::new());
        inode.halves(&[kind, self.mode, self.uid, self.gid]).words(&[self.mtime, self.number]);
        inode
    }
}

/// Little-endian numbers one after the other.
struct Record(Vec<u8>);

impl Record {
    fn halves(&mut self, numbers: &[u16]) -> &mut Record {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    fn words(&mut self, numbers: &[u32]) -> &mut Record {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    fn doubles(&mut self, numbers: &[u64]) -> &mut Record {
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Record {
        self.0.extend(bytes);
        self
    }
}
