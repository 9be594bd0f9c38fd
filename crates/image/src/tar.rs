//! The tar stream of a tree (POSIX pax with GNU's and star's conventions), sorted and deterministic, and compressed files made of it.
//!
//! Where the options say which files belong together, a tar file has one group after the other and the directories last, each after all
//! that is below it: unpackers that set a directory's time at once, and GNU tar, which sets it when it meets the next entry outside, both
//! end with the right one.
//!
//! Names start with `./` as in a stage3. Long names, large numbers and extended attributes (`SCHILY.xattr.*`) go into pax headers, which
//! GNU tar, bsdtar, Python and tar2sqfs read; everything else stays plain ustar. Owners are numbers only.

mod pieces;

use std::path::Path;

use crate::compress::Compression;
use crate::entry::Kind;
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{
    Error, Item, Meter, Progress, Workspace, WriteOptions, WriteReport, content_of, for_each_piece, grouped_items, items,
    write_all,
};

pub(crate) use self::pieces::{Lengths, Source, write_compressed};

const BLOCK: usize = 512;
/// A tar file is padded to a multiple of this, GNU tar's default record.
pub(crate) const RECORD: u64 = 10_240;
/// Largest value of the octal fields of 8 and 12 bytes.
const MAX_OCTAL_7: u64 = 0o7_777_777;
const MAX_OCTAL_11: u64 = 0o77_777_777_777;

/// Writes a compressed tar file.
///
/// # Errors
/// Those of [`Error`]; the output appears only when it is whole.
pub fn write_tar(
    tree: &Tree,
    store: &Store,
    compression: Compression,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let (path, mut file) = workspace.create("image.tar")?;
    let mut meter = Meter::new(progress, tree.totals().bytes);
    let source = Source { store, compression, options };
    write_compressed(&source, grouped_items(tree, &options.groups), &mut meter, &path, |bytes| {
        write_all(&mut file, &path, bytes)
    })?;
    workspace.publish("image.tar")?;
    Ok(WriteReport::default())
}

/// Gives the tar stream of a tree to `sink`, piece by piece.
pub(crate) fn write_stream(
    tree: &Tree,
    store: &Store,
    options: &WriteOptions,
    meter: &mut Meter,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut written = 0u64;
    let mut counted = |bytes: &[u8]| {
        written += bytes.len() as u64;
        sink(bytes)
    };
    for item in items(tree) {
        counted(&headers(&item, options))?;
        if let Some(content) = content_of(&item) {
            for_each_piece(store, item.path, content, |piece| {
                counted(piece)?;
                meter.add(piece.len() as u64)
            })?;
            counted(&vec![0; padding(content.1) as usize])?;
        }
        meter.check()?;
    }
    counted(&[0; 2 * BLOCK])?;
    let rest = (RECORD - written % RECORD) % RECORD;
    sink(&vec![0; rest as usize])
}

/// The header of an entry, with a pax header before it where ustar is not enough.
pub(crate) fn headers(item: &Item, options: &WriteOptions) -> Vec<u8> {
    let mut name = [b"./", item.path].concat();
    if item.entry.is_dir() && !item.path.is_empty() {
        name.push(b'/');
    }
    let link = match (&item.entry.kind, item.hard_link) {
        (_, Some(first)) => [b"./", first].concat(),
        (Kind::Symlink(target), None) => target.clone(),
        _ => Vec::new(),
    };
    let size = content_of(item).map_or(0, |(_, size)| size);
    let mtime = options.mtime(item.entry);
    let pax = pax_records(item, &name, &link, size, mtime);

    let mut header = Header::new(type_flag(item), &name, &link);
    header.octal(100, 8, u64::from(item.entry.mode & 0o7777));
    header.octal(108, 8, u64::from(item.entry.uid));
    header.octal(116, 8, u64::from(item.entry.gid));
    header.octal(124, 12, size);
    header.octal(136, 12, u64::try_from(mtime).unwrap_or(0));
    if let Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor } = item.entry.kind {
        header.octal(329, 8, u64::from(major));
        header.octal(337, 8, u64::from(minor));
    }
    match pax.is_empty() {
        true => header.finish().to_vec(),
        false => [pax_header(&name, &pax).as_slice(), &header.finish()].concat(),
    }
}

fn type_flag(item: &Item) -> u8 {
    match (&item.entry.kind, item.hard_link) {
        (_, Some(_)) => b'1',
        (Kind::File { .. }, None) => b'0',
        (Kind::Symlink(_), None) => b'2',
        (Kind::CharDevice { .. }, None) => b'3',
        (Kind::BlockDevice { .. }, None) => b'4',
        (Kind::Dir, None) => b'5',
        (Kind::Fifo, None) => b'6',
    }
}

/// The pax records that an entry needs (POSIX.1-2017, pax Interchange Format), sorted by keyword.
fn pax_records(item: &Item, name: &[u8], link: &[u8], size: u64, mtime: i64) -> Vec<u8> {
    let mut records = Vec::new();
    if u64::from(item.entry.gid) > MAX_OCTAL_7 {
        record(&mut records, b"gid", item.entry.gid.to_string().as_bytes());
    }
    if link.len() > 100 {
        record(&mut records, b"linkpath", link);
    }
    if u64::try_from(mtime).map_or(true, |t| t > MAX_OCTAL_11) {
        record(&mut records, b"mtime", mtime.to_string().as_bytes());
    }
    if name.len() > 100 {
        record(&mut records, b"path", name);
    }
    if size > MAX_OCTAL_11 {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    if u64::from(item.entry.uid) > MAX_OCTAL_7 {
        record(&mut records, b"uid", item.entry.uid.to_string().as_bytes());
    }
    // Attributes belong to the inode, which a hard link does not make anew.
    if item.hard_link.is_none() {
        for (name, value) in &item.entry.xattrs {
            record(&mut records, &[b"SCHILY.xattr.".as_slice(), &xattr_keyword(name)].concat(), value);
        }
    }
    records
}

/// GNU tar's encoding of the two characters that a keyword cannot hold.
fn xattr_keyword(name: &[u8]) -> Vec<u8> {
    let mut keyword = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => keyword.extend(b"%25"),
            b'=' => keyword.extend(b"%3D"),
            _ => keyword.push(*byte),
        }
    }
    keyword
}

/// Appends `LENGTH KEYWORD=VALUE\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, keyword: &[u8], value: &[u8]) {
    let rest = keyword.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    records.extend(length.to_string().as_bytes());
    records.push(b' ');
    records.extend(keyword);
    records.push(b'=');
    records.extend(value);
    records.push(b'\n');
}

/// A pax header file and its content. Its own name is only seen by tars that know no pax.
fn pax_header(name: &[u8], records: &[u8]) -> Vec<u8> {
    let mut header = Header::new(b'x', &[b"./PaxHeaders/", name.strip_prefix(b"./").unwrap_or(name)].concat(), b"");
    header.octal(100, 8, 0o644);
    header.octal(108, 8, 0);
    header.octal(116, 8, 0);
    header.octal(124, 12, records.len() as u64);
    header.octal(136, 12, 0);
    [header.finish().as_slice(), records, &vec![0; padding(records.len() as u64) as usize]].concat()
}

/// Zeros after a content of this size.
pub(crate) fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

/// One ustar header block.
pub(crate) struct Header([u8; BLOCK]);

impl Header {
    /// The whole header of a plain file of root's with a short name.
    pub(crate) fn file(name: &[u8], size: u64, mtime: u64) -> [u8; BLOCK] {
        let mut header = Header::new(b'0', name, b"");
        for (at, width, value) in [(100, 8, 0o644), (108, 8, 0), (116, 8, 0), (124, 12, size), (136, 12, mtime)] {
            header.octal(at, width, value);
        }
        header.finish()
    }

    fn new(type_flag: u8, name: &[u8], link: &[u8]) -> Header {
        let mut header = Header([0; BLOCK]);
        header.put(0, name.get(..100).unwrap_or(name));
        header.put(156, &[type_flag]);
        header.put(157, link.get(..100).unwrap_or(link));
        header.put(257, b"ustar\x0000");
        header
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    /// Writes a number with leading zeros and a final NUL; one that is too large is in a pax record and is 0 here.
    fn octal(&mut self, at: usize, width: usize, value: u64) {
        let max = if width == 8 { MAX_OCTAL_7 } else { MAX_OCTAL_11 };
        let value = if value > max { 0 } else { value };
        let mut rest = value;
        for byte in self.0.get_mut(at..at + width - 1).into_iter().flatten().rev() {
            *byte = b'0' + (rest & 7) as u8;
            rest >>= 3;
        }
    }

    /// Fills in the checksum: the sum of all bytes with its own field as spaces.
    fn finish(mut self) -> [u8; BLOCK] {
        self.put(148, b"        ");
        let sum: u32 = self.0.iter().map(|b| u32::from(*b)).sum();
        self.octal(148, 7, u64::from(sum));
        self.put(154, b"\0 ");
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_themselves() {
        for size in 0..1200 {
            let mut records = Vec::new();
            record(&mut records, b"path", &vec![b'x'; size]);
            let length: usize = std::str::from_utf8(&records).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(length, records.len());
        }
    }
}
