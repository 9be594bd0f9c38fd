//! An ext4 filesystem made of a tree, laid out before a byte of any file is read.
//!
//! Why not `mke2fs -d`: it wants the tree unpacked on a disk and the owners, devices and attributes of the folder itself, which takes
//! privileges, and then it reads everything once more. Here sizes are known from the tree, so the place of every block is known first,
//! and the filesystem is given from its start to its end as the files are read.
//!
//! What is made: blocks of 4 KiB, inodes of 256 bytes, extents, a clean journal, reserved blocks so that it can grow online to 4 TiB,
//! metadata at the front (`flex_bg`), backups of the superblock in the usual groups (`sparse_super`). Not used: checksums of metadata, 64-bit
//! block numbers, hashed directories; the kernel hashes those that grow later. Source: the kernel's Documentation/filesystems/ext4.

mod directory;
mod inode;
mod layout;
mod space;
mod superblock;
#[cfg(test)]
mod tests;
mod xattr;

use std::collections::{BTreeMap, HashMap};

use self::inode::Inode;
use self::layout::Layout;
use self::space::Geometry;
use crate::entry::{Kind, LinkId};
use crate::sparse::{Source, Sparse};
use crate::tree::{Tree, shown};
use crate::write::{Error, Item, WriteOptions, items};

/// Bytes of a block.
pub(crate) const BLOCK: u64 = 4096;
/// Bytes of a block group, whose block bitmap fills one block.
pub(crate) const GROUP: u64 = 8 * BLOCK * BLOCK;

const ROOT_INODE: u32 = 2;
const RESIZE_INODE: u32 = 7;
const JOURNAL_INODE: u32 = 8;
/// The first inode that is not reserved; by custom `lost+found`.
const FIRST_INODE: u32 = 11;
const LOST_AND_FOUND: &[u8] = b"lost+found";

/// What one may choose about a filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Ext4 {
    /// Bytes, a multiple of [`GROUP`]; at least [`least_size`].
    pub size: u64,
    pub uuid: [u8; 16],
    /// Seeds the hashes of directories.
    pub hash_seed: [u8; 16],
    /// At most 16 bytes.
    pub label: String,
}

/// The smallest size, in bytes, of a filesystem that holds a tree with some room: a tenth and 64 MiB.
pub(crate) fn least_size(tree: &Tree) -> u64 {
    let (mut blocks, mut inodes) = (0u64, u64::from(FIRST_INODE));
    for item in items(tree) {
        let inode = u64::from(item.hard_link.is_none());
        inodes += inode;
        // One more for a directory's names, a long link or a file's map.
        blocks += inode * (item.entry.size().div_ceil(BLOCK) + 1);
    }
    let bytes = blocks * BLOCK;
    let for_bytes = (bytes + bytes / 10 + (64 << 20) + space::JOURNAL_BLOCKS * BLOCK).div_ceil(GROUP - Geometry::overhead());
    let for_inodes = inodes.div_ceil(space::MAX_INODES_PER_GROUP / 2);
    for_bytes.max(for_inodes).max(2) * GROUP
}

/// Lays a filesystem out. What it cannot carry is added to `notes`, a sentence each.
///
/// # Errors
/// `Boot` when the tree does not fit.
pub(crate) fn filesystem<'a>(
    tree: &'a Tree,
    options: &WriteOptions,
    ext4: &Ext4,
    notes: &mut Vec<String>,
) -> Result<Sparse<'a>, Error> {
    let nodes = Nodes::of(tree);
    let geometry = Geometry::of(ext4.size, nodes.last_inode)?;
    let mut layout = Layout::new(&geometry)?;
    layout.add_journal(ext4, options)?;
    layout.add_resize_inode(options)?;
    layout.add_lost_and_found(&nodes, options)?;
    for (number, item) in &nodes.list {
        let mut inode = Inode::of(item, options);
        inode.links = nodes.links_of(tree, item);
        let refused = inode.set_xattrs(&item.entry.xattrs, &mut layout)?;
        notes.extend(refused.iter().map(|name| format!("ext4: {} loses the attribute {name}", shown(item.path))));
        match &item.entry.kind {
            Kind::Dir => layout.add_directory(&mut inode, directory::blocks(tree, &nodes, item.path, *number))?,
            Kind::File { blob, size, .. } => {
                layout.add_file(&mut inode, Source { path: item.path, blob, size: *size })?;
            }
            Kind::Symlink(target) => layout.add_symlink(&mut inode, target)?,
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => inode.set_device(*major, *minor),
            Kind::Fifo => (),
        }
        layout.put_inode(*number, &inode);
    }
    Ok(layout.finish(ext4, options))
}

/// The tree's inodes with their numbers.
struct Nodes<'a> {
    list: Vec<(u32, Item<'a>)>,
    by_path: HashMap<&'a [u8], u32>,
    names_of_link: BTreeMap<LinkId, usize>,
    /// Whether the tree has no `lost+found` of its own.
    adds_lost_and_found: bool,
    last_inode: u32,
}

impl<'a> Nodes<'a> {
    fn of(tree: &'a Tree) -> Nodes<'a> {
        let mut nodes = Nodes {
            list: Vec::new(),
            by_path: HashMap::new(),
            names_of_link: tree.link_groups().into_iter().map(|(link, names)| (link, names.len())).collect(),
            adds_lost_and_found: !tree.contains(LOST_AND_FOUND),
            last_inode: FIRST_INODE,
        };
        for item in items(tree) {
            let number = match (item.path, item.hard_link) {
                (b"", _) => ROOT_INODE,
                (LOST_AND_FOUND, None) => FIRST_INODE,
                (_, Some(first)) => nodes.by_path.get(first).copied().unwrap_or_default(),
                (_, None) => {
                    nodes.last_inode = nodes.last_inode.saturating_add(1);
                    nodes.last_inode
                }
            };
            nodes.by_path.insert(item.path, number);
            if item.hard_link.is_none() {
                nodes.list.push((number, item));
            }
        }
        nodes
    }

    /// The number of names of an inode: for a directory its own, `.`, and `..` of each directory in it.
    fn links_of(&self, tree: &Tree, item: &Item) -> u64 {
        let names = |link| self.names_of_link.get(&link).map_or(1, |names| *names as u64);
        match (&item.entry.kind, item.entry.link()) {
            (Kind::Dir, _) => {
                let inside = tree.children(item.path).iter().filter(|(_, entry)| entry.is_dir()).count() as u64;
                2 + inside + u64::from(item.path.is_empty() && self.adds_lost_and_found)
            }
            (_, Some(link)) => names(link),
            _ => 1,
        }
    }
}
