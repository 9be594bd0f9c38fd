//! An XFS filesystem made of a tree, laid out before a byte of any file is read, as [`crate::ext4`] is and for the same reasons.
//!
//! What is made: version 5 with its checksums, blocks of 4 KiB, four allocation groups, inodes of 512 bytes, times beyond 2038, types of
//! files in directories, an empty log. All inodes are in the first group, content follows them, and each file is in one piece per
//! group. Not used: the trees of free inodes, of owners of blocks and of shared blocks (so `cp --reflink=always` does not work), which
//! are younger than the rest. Source: "XFS Algorithms & Data Structures" of xfs-documentation.

mod attributes;
mod block;
mod directory;
mod group;
mod inode;
mod read;
mod space;
mod superblock;

pub use self::read::{XfsError, extract_xfs};

use self::attributes::List;
use self::block::{Block, Header};
use self::directory::Names;
use self::inode::Inode;
use self::space::{Free, Geometry, HEADERS, INODE_ROOT, Space};
use self::superblock::Summary;
use crate::bytes::Fields;
use crate::entry::{Entry, Kind};
use crate::nodes::{Node, Nodes};
use crate::sparse::{Content, Source, Sparse};
use crate::text::escape;
use crate::tree::{Tree, shown};
use crate::write::{Error, WriteOptions};

/// Bytes of a block, and of a sector.
pub(crate) const BLOCK: u64 = 4096;
const SECTOR: u64 = 512;
/// Allocation groups of a new filesystem.
const GROUPS: u64 = 4;
/// The longest target of a link that Linux reads (XFS_SYMLINK_MAXLEN).
const MAX_TARGET: usize = 1023;

/// What one may choose about a filesystem.
#[derive(Clone, Debug)]
pub(crate) struct Xfs {
    /// Bytes, whole MiB; at least [`least_size`].
    pub size: u64,
    pub uuid: [u8; 16],
    /// At most 12 bytes.
    pub label: String,
}

/// A size in bytes of a filesystem that holds a tree with some room: a tenth, and at least 2 GiB, as it keeps the size of its groups
/// when it grows and many small ones are slow.
pub(crate) fn least_size(tree: &Tree) -> u64 {
    let (mut bytes, mut inodes) = (0, 0);
    for (path, entry) in tree.iter() {
        let blocks = entry.size().div_ceil(BLOCK) + u64::from(entry.is_dir()) * 2 + u64::from(entry.is_symlink());
        let attributes: usize = entry.xattrs.iter().map(|(name, value)| name.len() + value.len() + BLOCK as usize).sum();
        // An inode, and its name with its hash.
        bytes += space::INODE_SIZE + 64 + (path.len().min(255) + attributes) as u64 + blocks * BLOCK;
        inodes += 1;
    }
    // The inodes take a quarter of the first group at the most.
    let for_inodes = inodes * space::INODE_SIZE * 4 * GROUPS;
    (bytes + bytes / 10 + (256 << 20)).max(for_inodes).max(2 << 30).next_multiple_of(1 << 20)
}

/// Lays a filesystem out. What it cannot carry is added to `notes`, a sentence each.
///
/// # Errors
/// `Boot` when the tree does not fit.
pub(crate) fn filesystem<'a>(
    tree: &'a Tree,
    options: &WriteOptions,
    xfs: &Xfs,
    notes: &mut Vec<String>,
) -> Result<Sparse<'a>, Error> {
    let nodes = Nodes::of(tree);
    let geometry = Geometry::of(xfs.size, nodes.list.len() as u64 + inode::RESERVED)?;
    let mut layout = Layout { geometry, xfs, space: Space::new(geometry), out: Sparse::new(xfs.size), inodes: Vec::new() };
    for (place, node) in nodes.list.iter().enumerate() {
        let mut inode = Inode::of(layout.number(place), node, &nodes, options);
        let refused = layout.put_attributes(&mut inode, node.entry)?;
        notes.extend(refused.iter().map(|name| format!("xfs: {} loses the attribute {name}", shown(node.path))));
        layout.put_content(&mut inode, &nodes, node, notes)?;
        layout.put_inode(&inode);
        if place == 0 {
            layout.put_reserved(options);
        }
    }
    layout.finish()
}

/// A filesystem being laid out.
struct Layout<'a, 'x> {
    geometry: Geometry,
    xfs: &'x Xfs,
    space: Space,
    out: Sparse<'a>,
    /// In the order of their numbers.
    inodes: Vec<u8>,
}

impl<'a> Layout<'a, '_> {
    /// The number of an inode of the tree: the root is the first of all, and the filesystem's own follow it.
    fn number(&self, place: usize) -> u64 {
        let reserved = if place == 0 { 0 } else { inode::RESERVED };
        self.geometry.first_inode() + place as u64 + reserved
    }

    fn put_inode(&mut self, inode: &Inode) {
        self.inodes.extend(inode.to_bytes(&self.xfs.uuid));
    }

    /// The inodes of a realtime device that is not there.
    fn put_reserved(&mut self, options: &WriteOptions) {
        for at in 1..=inode::RESERVED {
            self.put_inode(&Inode::realtime(self.geometry.first_inode() + at, at == 1, options));
        }
    }

    /// Puts a block of metadata at a place.
    fn put_block(&mut self, at: u64, block: Block, owner: u64) {
        let sealed = block.sealed(at * BLOCK / SECTOR, &self.xfs.uuid, owner);
        self.out.put_bytes(at * BLOCK, sealed);
    }

    /// Puts blocks somewhere in one piece; returns the first.
    fn put_blocks(&mut self, blocks: Vec<Block>, owner: u64) -> Result<u64, Error> {
        let start = self.space.contiguous(blocks.len() as u64)?;
        (start..).zip(blocks).for_each(|(at, block)| self.put_block(at, block, owner));
        Ok(start)
    }

    /// Puts the attributes into the inode, or into blocks of their own; returns the names of those that there is no form for.
    fn put_attributes(&mut self, inode: &mut Inode, entry: &Entry) -> Result<Vec<String>, Error> {
        let (list, refused) = List::of(&entry.xattrs);
        if list.is_empty() {
            return Ok(refused);
        }
        if let Some(bytes) = list.short(inode.room_for_attributes()) {
            inode.set_short_attributes(bytes);
            return Ok(refused);
        }
        let Some(blocks) = list.blocks() else {
            return Ok(entry.xattrs.keys().map(|name| escape(name)).collect());
        };
        let count = blocks.len() as u64;
        let start = self.put_blocks(blocks, inode.number)?;
        inode.set_attribute_blocks(self.geometry.address(start), count);
        Ok(refused)
    }

    fn put_content(&mut self, inode: &mut Inode, nodes: &Nodes, node: &Node<'a>, notes: &mut Vec<String>) -> Result<(), Error> {
        match &node.entry.kind {
            Kind::Dir => self.put_directory(inode, nodes, node),
            Kind::File { blob, size, .. } => self.put_file(inode, Source { path: node.path, blob, size: *size }),
            Kind::Symlink(target) => self.put_link(inode, node.path, target),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                if !inode.set_device(*major, *minor) {
                    notes.push(format!("xfs: the numbers of the device {} are larger than there is room for", shown(node.path)));
                }
                Ok(())
            }
            Kind::Fifo => Ok(()),
        }
    }

    fn put_directory(&mut self, inode: &mut Inode, nodes: &Nodes, node: &Node) -> Result<(), Error> {
        let names = Names::of(node, nodes, (inode.number, self.number(node.parent())), |place| self.number(place));
        if let Some(bytes) = names.short(inode.room()) {
            inode.set_local(bytes);
            return Ok(());
        }
        let blocks = names.blocks()?;
        inode.size = blocks.size;
        for (offset, part) in blocks.parts {
            let count = part.len() as u64;
            let start = self.put_blocks(part, inode.number)?;
            inode.add_extent(offset, self.geometry.address(start), count)?;
        }
        Ok(())
    }

    fn put_file(&mut self, inode: &mut Inode, source: Source<'a>) -> Result<(), Error> {
        inode.size = source.size;
        let mut offset = 0;
        for (start, count) in self.space.pieces(source.size.div_ceil(BLOCK))? {
            inode.add_extent(offset / BLOCK, self.geometry.address(start), count)?;
            let len = (count * BLOCK).min(source.size - offset);
            self.out.put(start * BLOCK, Content::File { source, offset, len });
            offset += len;
        }
        Ok(())
    }

    /// Short targets stand in the inode itself.
    fn put_link(&mut self, inode: &mut Inode, path: &[u8], target: &[u8]) -> Result<(), Error> {
        if target.len() > MAX_TARGET {
            return Err(Error::Boot(format!("the target of the link {} is too long for xfs", shown(path))));
        }
        if target.len() <= inode.room() {
            inode.set_local(target.to_vec());
            return Ok(());
        }
        inode.size = target.len() as u64;
        let start = self.put_blocks(vec![remote_block(b"XSLM", 0, target)], inode.number)?;
        inode.add_extent(0, self.geometry.address(start), 1)
    }

    /// Inodes, and what is known at the end only.
    fn finish(mut self) -> Result<Sparse<'a>, Error> {
        let geometry = self.geometry;
        let used = self.inodes.len() as u64 / space::INODE_SIZE;
        for at in used..geometry.inodes() {
            self.inodes.extend(inode::unused(geometry.first_inode() + at, &self.xfs.uuid));
        }
        self.out.put_bytes(HEADERS * BLOCK, std::mem::take(&mut self.inodes));
        self.out.put_bytes(geometry.log() * BLOCK, superblock::empty_log(self.xfs));
        let inodes = (geometry.inodes(), geometry.inodes() - used);
        let leaves = group::inode_leaves(inodes.0);
        let leaves_at = if leaves > 0 { self.space.contiguous(leaves)? } else { 0 };
        let free: Vec<Free> = self.space.groups().to_vec();
        let kept = GROUPS * space::KEPT.len() as u64;
        let free_blocks = free.iter().map(Free::len).sum::<u64>() + kept;
        let summary = Summary { geometry: &geometry, free_inodes: inodes.1, free_blocks };
        for (number, free) in (0..).zip(free) {
            let start = number * geometry.group_blocks;
            let free = Free { start: free.start - start, end: free.end - start };
            let inodes = if number == 0 { inodes } else { (0, 0) };
            let state = group::State { number, free, inodes, inode_levels: if number == 0 && leaves > 0 { 2 } else { 1 } };
            let headers = [superblock::superblock(self.xfs, &summary), group::headers(self.xfs, &geometry, &state)];
            self.out.put_bytes(start * BLOCK, headers.concat());
            for (at, tree) in group::free_trees(free) {
                self.put_block(start + at, tree, number);
            }
            let (root, below) = group::inode_tree(geometry.first_inode(), inodes, geometry.in_group(leaves_at));
            self.put_block(start + INODE_ROOT, root, number);
            (leaves_at..).zip(below).for_each(|(at, leaf)| self.put_block(at, leaf, number));
        }
        Ok(self.out)
    }
}

/// A part, beginning at `offset`, of what an inode has no room for.
fn remote_block(magic: &[u8], offset: usize, part: &[u8]) -> Block {
    let head = Fields::default().bytes(magic).be32(offset as u32).be32(part.len() as u32).zeros(44);
    Block::new(Header::Remote, head.bytes(part).done())
}
