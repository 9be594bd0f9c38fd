//! All that an image has behind its data: the tables of inodes, directories, fragments, ids and attributes.

use std::collections::HashMap;
use std::io;

use super::codec::Codec;
use super::data::{Written, compressing};
use super::directory::{Listing, Name};
use super::inode::{self, Common};
use super::nodes::{Folder, Nodes};
use super::plan::Plan;
use super::superblock::{NO_TABLE, Superblock};
use super::table::{Lookup, Table};
use super::xattr::Attributes;
use crate::entry::{Entry, Kind};
use crate::tree::{Tree, shown};
use crate::write::{Error, Meter, WriteOptions};

/// Linux's largest numbers of devices.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// The tables as they stand behind the data, what names them, and what the format could not carry.
pub(super) struct Finished {
    pub bytes: Vec<u8>,
    pub superblock: Superblock,
    pub notes: Vec<String>,
}

/// Makes the tables for a tree whose contents are written.
pub(super) fn tables(
    (tree, plan, written): (&Tree, &Plan, &Written),
    codec: Codec,
    options: &WriteOptions,
    meter: &Meter,
) -> Result<Finished, Error> {
    let nodes = Nodes::of(tree);
    let mut tables = Tables {
        plan,
        written,
        nodes: &nodes,
        codec,
        options,
        inodes: Table::new(codec).map_err(compressing)?,
        directories: Table::new(codec).map_err(compressing)?,
        attributes: Attributes::new(codec).map_err(compressing)?,
        ids: Ids::default(),
        places: vec![None; nodes.count as usize],
        listings: Vec::new(),
        notes: Vec::new(),
    };
    for folder in &nodes.folders {
        tables.add_folder(folder, meter)?;
    }
    tables.finish().map_err(compressing)
}

struct Tables<'a> {
    plan: &'a Plan<'a>,
    written: &'a Written,
    nodes: &'a Nodes<'a>,
    codec: Codec,
    options: &'a WriteOptions,
    inodes: Table,
    directories: Table,
    attributes: Attributes,
    ids: Ids,
    /// Where inodes are in their table, by number less one; `None` for those not written yet.
    places: Vec<Option<u64>>,
    /// By the number of the folder.
    listings: Vec<Listing>,
    notes: Vec<String>,
}

impl Tables<'_> {
    /// The inodes of all that is in a directory, then its listing. Its own inode comes with those beside it; only the root's comes here.
    fn add_folder(&mut self, folder: &Folder, meter: &Meter) -> Result<(), Error> {
        let mut names = Vec::with_capacity(folder.children.len());
        for child in &folder.children {
            meter.check()?;
            // Each is needed once.
            let listing = child.folder.and_then(|at| self.listings.get_mut(at)).map(std::mem::take);
            let listing = listing.as_ref().map(|listing| (folder.number, listing));
            let at = self.add_inode(child.path, child.entry, child.number, listing)?;
            names.push(Name { name: child.name(), number: child.number, kind: kind(child.entry), inode: self.inodes.place(at) });
        }
        let listing = Listing::append(&names, &mut self.directories).map_err(compressing)?;
        if folder.path.is_empty() {
            self.add_inode(folder.path, folder.entry, folder.number, Some((self.nodes.count + 1, &listing)))?;
        }
        self.listings.push(listing);
        Ok(())
    }

    /// Writes an inode unless it is there already, under another of its names. Returns its place. For directories `listing` is the number
    /// of the parent with the listing.
    fn add_inode(&mut self, path: &[u8], entry: &Entry, number: u32, listing: Option<(u32, &Listing)>) -> Result<u64, Error> {
        let index = number.saturating_sub(1) as usize;
        if let Some(at) = self.places.get(index).copied().flatten() {
            return Ok(at);
        }
        let (xattrs, refused) = self.attributes.add(&entry.xattrs).map_err(compressing)?;
        self.notes.extend(refused.iter().map(|name| format!("squashfs: {} loses the attribute {name}", shown(path))));
        let links = listing.map_or_else(|| self.nodes.names_of(entry), |(_, listing)| 2 + listing.directories);
        let common = Common {
            mode: (entry.mode & 0o7777) as u16,
            uid: self.ids.number(entry.uid)?,
            gid: self.ids.number(entry.gid)?,
            mtime: time(self.options.mtime(entry)),
            number,
            xattrs,
            links,
        };
        let inode = match &entry.kind {
            Kind::Dir => listing.map(|(parent, listing)| common.directory(parent, listing)).unwrap_or_default(),
            Kind::File { blob, size, .. } => {
                common.file(*size, self.plan.place(blob, *size), self.written, self.codec.block as u64)
            }
            Kind::Symlink(target) => common.symlink(target),
            Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } => {
                if *major > MAX_MAJOR || *minor > MAX_MINOR {
                    self.notes.push(format!("squashfs: {} has a device number that Linux does not know", shown(path)));
                }
                common.device(kind(entry), (major & MAX_MAJOR) << 8 | minor & 0xff | (minor & MAX_MINOR & !0xff) << 12)
            }
            Kind::Fifo => common.fifo(),
        };
        let at = self.inodes.position();
        self.inodes.append(&inode).map_err(compressing)?;
        self.places.iter_mut().skip(index).take(1).for_each(|place| *place = Some(at));
        Ok(at)
    }

    /// Puts the tables one behind the other, in the order that the kernel insists on, with no gap.
    fn finish(self) -> io::Result<Finished> {
        let references: Vec<u64> = self.places.iter().map(|at| self.inodes.reference(at.unwrap_or_default())).collect();
        let mut tail = Tail { bytes: Vec::new(), start: self.written.end };
        let inode_table = tail.put(&self.inodes.finish()?.0);
        let directory_table = tail.put(&self.directories.finish()?.0);
        let fragments = self.written.fragments.iter().map(|(start, size)| {
            let mut record = [0; 16];
            crate::bytes::put_u64(&mut record, 0, *start);
            crate::bytes::put_u32(&mut record, 8, *size);
            record
        });
        let fragment_table = match fragments.len() {
            0 => NO_TABLE,
            _ => tail.put_lookup(&Lookup::of(self.codec, fragments)?),
        };
        let root = references.last().copied().unwrap_or_default();
        let export_table = tail.put_lookup(&Lookup::of(self.codec, references.iter().map(|reference| reference.to_le_bytes()))?);
        let id_table = tail.put_lookup(&Lookup::of(self.codec, self.ids.list.iter().map(|id| id.to_le_bytes()))?);
        let xattr_table = match self.attributes.finish(tail.end())? {
            Some((bytes, header)) => {
                tail.put(&bytes);
                header
            }
            None => NO_TABLE,
        };
        let superblock = Superblock {
            codec: self.codec,
            inodes: self.nodes.count,
            made: time(self.options.epoch),
            fragments: self.written.fragments.len() as u32,
            ids: self.ids.list.len() as u16,
            root,
            used: tail.end(),
            id_table,
            xattr_table,
            inode_table,
            directory_table,
            fragment_table,
            export_table,
        };
        Ok(Finished { bytes: tail.bytes, superblock, notes: self.notes })
    }
}

/// The number of the basic inode of an entry's kind.
fn kind(entry: &Entry) -> u16 {
    match entry.kind {
        Kind::Dir => inode::DIRECTORY,
        Kind::File { .. } => inode::FILE,
        Kind::Symlink(_) => inode::SYMLINK,
        Kind::BlockDevice { .. } => inode::BLOCK_DEVICE,
        Kind::CharDevice { .. } => inode::CHAR_DEVICE,
        Kind::Fifo => inode::FIFO,
    }
}

/// The format's times have 32 bits without a sign.
fn time(seconds: i64) -> u32 {
    seconds.clamp(0, i64::from(u32::MAX)) as u32
}

/// Owners and groups, each once, by the order of their first use.
#[derive(Default)]
struct Ids {
    list: Vec<u32>,
    numbers: HashMap<u32, u16>,
}

impl Ids {
    fn number(&mut self, id: u32) -> Result<u16, Error> {
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        // Their count has 16 bits too.
        let number = u16::try_from(self.list.len()).ok().filter(|number| *number < u16::MAX).ok_or_else(|| {
            Error::Boot(
                "a squashfs image can have 65535 different owners and groups, and this one has more; give it fewer".into(),
            )
        })?;
        self.list.push(id);
        self.numbers.insert(id, number);
        Ok(number)
    }
}

/// What stands behind the data.
struct Tail {
    bytes: Vec<u8>,
    /// The byte of the image that it starts at.
    start: u64,
}

impl Tail {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Appends a table; returns its place.
    fn put(&mut self, table: &[u8]) -> u64 {
        let at = self.end();
        self.bytes.extend_from_slice(table);
        at
    }

    /// Appends a lookup table; returns the place of its index, by which the format names it.
    fn put_lookup(&mut self, lookup: &Lookup) -> u64 {
        let at = self.put(&lookup.blocks);
        self.put(&lookup.index(at))
    }
}
