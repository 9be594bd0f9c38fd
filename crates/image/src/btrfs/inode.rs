//! An inode's items: its metadata, its names, what is in it, its attributes and where its content is.

use std::collections::BTreeMap;

use super::btree::{Item, Key, ROOM, Rest, Type, raw_crc};
use super::space::{Extent, Space};
use super::{FIRST_INODE, GENERATION, SECTOR};
use crate::bytes::Fields;
use crate::entry::{Entry, Kind};
use crate::nodes::{Name, Node, Nodes};
use crate::sparse::{Content, Source, Sparse};
use crate::tree::shown;
use crate::write::{Error, WriteOptions};

/// The largest file that stands in the tree itself: the kernel's own choice (`max_inline`).
const MAX_INLINE: u64 = 2048;
/// The longest target of a link that the kernel reads.
const MAX_TARGET: usize = SECTOR as usize - 1;
/// How many bytes of names in one directory stand together; more of an inode get items of their own.
const MAX_REFS: usize = 4096;
/// Bytes of an item's key and of a directory's entry before the name, which limit an attribute.
const MAX_XATTR: usize = ROOM - 25 - 30;
const XATTR: u8 = 8;
/// The largest numbers of a device, which take 12 and 20 bits.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// What is said of an inode.
pub(super) struct Metadata {
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch, for all its times.
    pub time: i64,
    pub links: u32,
    pub size: u64,
    /// Bytes that its content takes.
    pub bytes: u64,
    pub device: u64,
    pub flags: u64,
}

impl Metadata {
    /// An empty directory of the filesystem's own.
    pub(super) fn directory(time: i64) -> Metadata {
        Metadata { mode: 0o040_755, uid: 0, gid: 0, time, links: 1, size: 0, bytes: 0, device: 0, flags: 0 }
    }

    fn of(entry: &Entry, options: &WriteOptions) -> Metadata {
        let kind = match entry.kind {
            Kind::Fifo => 0o010_000,
            Kind::CharDevice { .. } => 0o020_000,
            Kind::Dir => 0o040_000,
            Kind::BlockDevice { .. } => 0o060_000,
            Kind::File { .. } => 0o100_000,
            Kind::Symlink(_) => 0o120_000,
        };
        let directory = Metadata::directory(options.mtime(entry));
        Metadata { mode: kind | (entry.mode & 0o7777), uid: entry.uid, gid: entry.gid, ..directory }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let sizes = Fields::default().u64(GENERATION).u64(GENERATION).u64(self.size).u64(self.bytes).u64(0);
        let who = sizes.u32(self.links).u32(self.uid).u32(self.gid).u32(self.mode).u64(self.device);
        let mut fields = who.u64(self.flags).zeros(8 + 32);
        for _ in 0..4 {
            fields = fields.bytes(&time(self.time));
        }
        fields.done()
    }
}

/// Seconds and nanoseconds.
pub(super) fn time(seconds: i64) -> Vec<u8> {
    Fields::default().u64(seconds as u64).u32(0).done()
}

/// A name of an inode in a directory, where it is the `index`-th.
pub(super) fn reference(index: u64, name: &[u8]) -> Vec<u8> {
    Fields::default().u64(index).u16(name.len() as u16).bytes(name).done()
}

/// A name in a directory, or of an attribute with its value.
pub(super) fn directory_entry(location: Key, kind: u8, name: &[u8], value: &[u8]) -> Vec<u8> {
    let head = Fields::default().bytes(&location.to_bytes()).u64(GENERATION).u16(value.len() as u16).u16(name.len() as u16);
    head.u8(kind).bytes(name).bytes(value).done()
}

/// Where a name is found.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    u64::from(raw_crc(!1, name))
}

/// Turns the tree's inodes into items, and gives the content of files its place.
pub(super) struct Inodes<'a, 'n> {
    pub nodes: &'n Nodes<'a>,
    pub options: &'n WriteOptions,
    pub space: Space,
    pub items: Vec<Item<'a>>,
    /// Where each extent is and whose it is: inode, and place in its content.
    pub extents: Vec<(Extent, u64, u64)>,
    pub notes: Vec<String>,
}

impl<'a> Inodes<'a, '_> {
    /// # Errors
    /// `Boot` for a link whose target is longer than Linux reads.
    pub(super) fn add(&mut self, place: usize, node: &Node<'a>, out: &mut Sparse<'a>) -> Result<(), Error> {
        let number = FIRST_INODE + place as u64;
        let mut metadata = Metadata::of(node.entry, self.options);
        match &node.entry.kind {
            Kind::Dir => {
                // Every name counts twice, as it is there under its hash and by its order.
                metadata.size = node.children.iter().map(|child| child.name.len() as u64 * 2).sum();
                self.add_children(number, node);
            }
            Kind::File { blob, size, .. } => {
                metadata.links = node.names.len() as u32;
                metadata.size = *size;
                metadata.bytes = self.add_content(number, Source { path: node.path, blob, size: *size }, out);
            }
            Kind::Symlink(target) => {
                if target.len() > MAX_TARGET {
                    return Err(Error::Boot(format!("the target of the link {} is too long for btrfs", shown(node.path))));
                }
                (metadata.size, metadata.bytes) = (target.len() as u64, target.len() as u64);
                self.items.push(Item::new(Key(number, Type::ExtentData, 0), [inline(metadata.size), target.clone()].concat()));
            }
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                metadata.device = u64::from(*major) << 20 | u64::from(*minor);
                if *major > MAX_MAJOR || *minor > MAX_MINOR {
                    self.notes.push(format!("btrfs: the device {} has numbers that Linux does not know", shown(node.path)));
                }
            }
            Kind::Fifo => (),
        }
        self.items.push(Item::new(Key(number, Type::Inode, 0), metadata.to_bytes()));
        self.add_names(number, node);
        self.add_xattrs(number, node);
        Ok(())
    }

    fn add_children(&mut self, number: u64, node: &Node) {
        let mut by_hash = BTreeMap::<u64, Vec<u8>>::new();
        for (place, child) in node.children.iter().enumerate() {
            let location = Key(FIRST_INODE + child.node as u64, Type::Inode, 0);
            let kind = self.nodes.entry(child.node).map_or(0, type_of);
            let bytes = directory_entry(location, kind, child.name, b"");
            by_hash.entry(name_hash(child.name)).or_default().extend(&bytes);
            self.items.push(Item::new(Key(number, Type::DirIndex, index(place)), bytes));
        }
        self.items.extend(by_hash.into_iter().map(|(hash, bytes)| Item::new(Key(number, Type::DirItem, hash), bytes)));
    }

    /// The inode's names, those of one directory together; those for which there is no room then, one by one under a hash.
    fn add_names(&mut self, number: u64, node: &Node) {
        let root = [Name { name: b"..", parent: 0, place: 0 }];
        let names = if node.names.is_empty() { &root } else { node.names.as_slice() };
        let (mut together, mut apart) = (BTreeMap::<u64, Vec<u8>>::new(), BTreeMap::<u64, Vec<u8>>::new());
        for name in names {
            let parent = FIRST_INODE + name.parent as u64;
            let index = if node.names.is_empty() { 0 } else { index(name.place) };
            let bytes = reference(index, name.name);
            let refs = together.entry(parent).or_default();
            match refs.len() + bytes.len() <= MAX_REFS {
                true => refs.extend(bytes),
                false => {
                    let hash = u64::from(raw_crc(parent as u32, name.name));
                    apart.entry(hash).or_default().extend(Fields::default().u64(parent).bytes(&bytes).done());
                }
            }
        }
        self.items.extend(together.into_iter().map(|(parent, bytes)| Item::new(Key(number, Type::InodeRef, parent), bytes)));
        self.items.extend(apart.into_iter().map(|(hash, bytes)| Item::new(Key(number, Type::InodeExtref, hash), bytes)));
    }

    fn add_xattrs(&mut self, number: u64, node: &Node) {
        let mut by_hash = BTreeMap::<u64, Vec<u8>>::new();
        for (name, value) in &node.entry.xattrs {
            let same = by_hash.entry(name_hash(name)).or_default();
            let bytes = directory_entry(Key(0, Type::None, 0), XATTR, name, value);
            match is_attribute(name) && same.len() + bytes.len() <= MAX_XATTR {
                true => same.extend(bytes),
                false => {
                    let (path, name) = (shown(node.path), crate::text::escape(name));
                    self.notes.push(format!("btrfs: {path} loses the attribute {name}"));
                }
            }
        }
        by_hash.retain(|_, bytes| !bytes.is_empty());
        self.items.extend(by_hash.into_iter().map(|(hash, bytes)| Item::new(Key(number, Type::Xattr, hash), bytes)));
    }

    /// Gives a file's content its place; returns the bytes it takes.
    fn add_content(&mut self, number: u64, source: Source<'a>, out: &mut Sparse<'a>) -> u64 {
        match source.size {
            0 => return 0,
            1..=MAX_INLINE => {
                let key = Key(number, Type::ExtentData, 0);
                self.items.push(Item::with_rest(key, inline(source.size), Rest::File(source)));
                return source.size;
            }
            _ => (),
        }
        let mut offset = 0;
        for extent in self.space.take(source.size) {
            let bytes = content(extent.len, 1).u64(extent.start).u64(extent.len).u64(0).u64(extent.len).done();
            self.items.push(Item::new(Key(number, Type::ExtentData, offset), bytes));
            self.extents.push((extent, number, offset));
            out.put(extent.start, Content::File { source, offset, len: extent.len.min(source.size - offset) });
            offset += extent.len;
        }
        offset
    }
}

/// Names in a directory are counted from 2 on; `.` and `..` are not there.
fn index(place: usize) -> u64 {
    place as u64 + 2
}

/// What begins the description of content that stands in the tree.
fn inline(size: u64) -> Vec<u8> {
    content(size, 0).done()
}

/// What begins the description of content: its size, neither compressed nor encrypted, and whether it is in the tree (0) or outside (1).
fn content(size: u64, kind: u8) -> Fields {
    Fields::default().u64(GENERATION).u64(size).zeros(4).u8(kind)
}

fn type_of(entry: &Entry) -> u8 {
    match entry.kind {
        Kind::File { .. } => 1,
        Kind::Dir => 2,
        Kind::CharDevice { .. } => 3,
        Kind::BlockDevice { .. } => 4,
        Kind::Fifo => 5,
        Kind::Symlink(_) => 7,
    }
}

/// Whether the kernel would let one read it.
fn is_attribute(name: &[u8]) -> bool {
    let known: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
    let prefixes: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];
    known.contains(&name)
        || (name.len() <= 255 && prefixes.iter().any(|prefix| name.len() > prefix.len() && name.starts_with(prefix)))
}
