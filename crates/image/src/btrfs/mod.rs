//! A btrfs filesystem made of a tree, laid out before a byte of any file is read, as [`crate::ext4`] is and for the same reasons.
//!
//! Data comes first on the disk and the trees after it, as they hold the checksums of the data and the content of small files: so
//! everything can be given from the disk's start to its end.
//!
//! What is made: one device, data and metadata once (`btrfs balance start -mconvert=dup /` doubles the metadata), CRC-32C, nodes of
//! 16 KiB, files of up to 2048 bytes in the tree, the free space tree, all times from the tree. Source: the kernel's
//! include/uapi/linux/btrfs_tree.h, and btrfs.readthedocs.io, "On-disk format".

mod btree;
mod inode;
mod space;
mod superblock;
mod trees;

use self::btree::{BTree, NODE};
use self::inode::Inodes;
use self::space::{Chunks, Space};
use self::superblock::Roots;
use crate::entry::Kind;
use crate::nodes::Nodes;
use crate::sparse::Sparse;
use crate::tree::Tree;
use crate::write::{Error, WriteOptions};

const MIB: u64 = 1 << 20;
/// Bytes of a sector, which checksums are of.
pub(crate) const SECTOR: u64 = 4096;
/// Where superblocks are. The trees begin with nothing at any of these places.
const MIRRORS: [u64; 3] = [64 << 10, 64 << 20, 256 << 30];
const FIRST_INODE: u64 = 256;
const DEVICE: u64 = 1;
/// Everything was written by the first transaction.
const GENERATION: u64 = 1;

/// What one may choose about a filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Btrfs {
    /// Bytes, whole MiB; at least [`least_size`].
    pub size: u64,
    pub identity: Identity,
    /// At most 255 bytes.
    pub label: String,
}

/// UUIDs.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub filesystem: [u8; 16],
    pub device: [u8; 16],
    pub chunk_tree: [u8; 16],
    pub subvolume: [u8; 16],
}

/// A size in bytes of a filesystem that holds a tree with some room: a tenth, and what the kernel wants for two more chunks.
pub(crate) fn least_size(tree: &Tree) -> u64 {
    let (mut data, mut metadata) = (0u64, 0u64);
    for (path, entry) in tree.iter() {
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + 64).sum();
        let target = if let Kind::Symlink(target) = &entry.kind { target.len() } else { 0 };
        // An inode, its name three times over, where its content is, and that content's checksums.
        metadata += (512 + path.len().min(255) * 3 + attributes + target) as u64 + entry.size() / 1000;
        data += entry.size().next_multiple_of(SECTOR);
    }
    // Small files are in the metadata instead, which then is larger by no more than that.
    let bytes = data + metadata * 3;
    (bytes + bytes / 10 + (768 << 20)).next_multiple_of(MIB)
}

/// Lays a filesystem out. What it cannot carry is added to `notes`, a sentence each.
///
/// # Errors
/// `Boot` when the tree does not fit.
pub(crate) fn filesystem<'a>(
    tree: &'a Tree,
    options: &WriteOptions,
    btrfs: &Btrfs,
    notes: &mut Vec<String>,
) -> Result<Sparse<'a>, Error> {
    let nodes = Nodes::of(tree);
    let mut out = Sparse::new(btrfs.size).with_sums(SECTOR as usize);
    let (items, extents, notes_of) = (Vec::new(), Vec::new(), Vec::new());
    let mut inodes = Inodes { nodes: &nodes, options, space: Space::new(), items, extents, notes: notes_of };
    for (place, node) in nodes.list.iter().enumerate() {
        inodes.add(place, node, &mut out)?;
    }
    notes.append(&mut inodes.notes);
    let files = BTree::new(trees::FILES, std::mem::take(&mut inodes.items));
    let forest = Forest::plan(&inodes, files, btrfs, options.epoch);
    if forest.chunks.end() > btrfs.size {
        return Err(Error::Boot("the system is too large for the disk's btrfs filesystem".into()));
    }
    forest.write(btrfs, &mut out);
    Ok(out)
}

/// All trees with their places.
struct Forest<'a> {
    chunks: Chunks,
    chunk_tree: BTree<'a>,
    /// Beginning at `chunks.metadata.start`, one after the other; the last is the tree of trees.
    trees: Vec<BTree<'a>>,
}

impl<'a> Forest<'a> {
    /// The tree of extents has an item for each of its own nodes too, and the chunks depend on all, so they are made anew until their
    /// size is the one they were made for.
    fn plan(inodes: &Inodes, files: BTree<'a>, btrfs: &Btrfs, when: i64) -> Forest<'a> {
        let identity = &btrfs.identity;
        let sums = BTree::new(trees::CHECKSUMS, trees::checksums(&inodes.space.chunks(0, 0)));
        let relocation = BTree::new(trees::DATA_RELOCATION, trees::data_relocation(when));
        let mut trees = vec![files, sums, BTree::new(trees::UUIDS, trees::uuids(identity)), relocation];
        let (mut nodes, mut system_nodes, mut extents) = (0, 0, BTree::new(trees::EXTENTS, Vec::new()));
        loop {
            let chunks = inodes.space.chunks(nodes, system_nodes);
            let chunk_tree = BTree::new(trees::CHUNK_TREE, superblock::chunk_items(btrfs, &chunks));
            let device = BTree::new(trees::DEVICES, trees::device(identity, &chunks));
            let free = BTree::new(trees::FREE_SPACE, trees::free_space(&chunks));
            let mut all = placed(chunks.metadata.start, trees.iter().chain([&device, &free, &extents]));
            let roots = BTree::new(trees::ROOTS, trees::roots(identity, when, &all));
            let end = all.iter().map(|(tree, start)| start + tree.nodes() * NODE).max().unwrap_or_default();
            all.extend([(&roots, end), (&chunk_tree, chunks.system.start)]);
            let made = BTree::new(trees::EXTENTS, trees::extents(&chunks, &inodes.extents, &all));
            let now = all.iter().map(|(tree, _)| tree.nodes()).sum::<u64>() - chunk_tree.nodes();
            let done = made.levels() == extents.levels() && (nodes, system_nodes) == (now, chunk_tree.nodes());
            (nodes, system_nodes, extents) = (now, chunk_tree.nodes(), made);
            if done {
                trees.extend([device, free, extents, roots]);
                return Forest { chunks, chunk_tree, trees };
            }
        }
    }

    fn write(self, btrfs: &Btrfs, out: &mut Sparse<'a>) {
        let chunks = &self.chunks;
        let mut roots = Roots { trees: (0, 0), chunks: (self.chunk_tree.root(chunks.system.start), self.chunk_tree.level()) };
        self.chunk_tree.write(chunks.system.start, &btrfs.identity, out);
        let mut at = chunks.metadata.start;
        for tree in self.trees {
            let nodes = tree.nodes();
            roots.trees = (tree.root(at), tree.level());
            tree.write(at, &btrfs.identity, out);
            at += nodes * NODE;
        }
        for mirror in MIRRORS.into_iter().filter(|mirror| mirror + SECTOR <= btrfs.size) {
            out.put_bytes(mirror, superblock::superblock(btrfs, chunks, &roots, mirror));
        }
    }
}

/// Each tree with where it begins, one after the other.
fn placed<'t, 'a: 't>(start: u64, trees: impl Iterator<Item = &'t BTree<'a>>) -> Vec<(&'t BTree<'a>, u64)> {
    let mut at = start;
    let place = |tree: &'t BTree<'a>| {
        let here = at;
        at += tree.nodes() * NODE;
        (tree, here)
    };
    trees.map(place).collect()
}
