//! Extended attributes: each set of them is there once, and inodes name it by its number.

use std::collections::{BTreeMap, HashMap};
use std::io;

use super::codec::Codec;
use super::table::{Lookup, Table};
use crate::entry::with_form;

/// For an inode without attributes.
pub(super) const NONE: u32 = u32::MAX;
/// The name spaces that the format has a number for.
const PREFIXES: [(&[u8], u16); 3] = [(b"user.", 0), (b"trusted.", 1), (b"security.", 2)];
/// Linux's XATTR_SIZE_MAX.
const MAX_VALUE: usize = 65_536;

/// An inode's attributes in the form of the disk, and how many they are.
#[derive(PartialEq, Eq, Hash, Clone)]
struct Set {
    pairs: Vec<u8>,
    count: u32,
}

pub(super) struct Attributes {
    codec: Codec,
    table: Table,
    known: HashMap<Set, u32>,
    records: Vec<[u8; 16]>,
}

impl Attributes {
    pub(super) fn new(codec: Codec) -> io::Result<Attributes> {
        Ok(Attributes { codec, table: Table::new(codec)?, known: HashMap::new(), records: Vec::new() })
    }

    /// The number of a set of attributes, [`NONE`] for an empty one; and the names of those that the format has no form for.
    pub(super) fn add(&mut self, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> io::Result<(u32, Vec<String>)> {
        let (pairs, refused) = with_form(xattrs, pair);
        if pairs.is_empty() {
            return Ok((NONE, refused));
        }
        let set = Set { count: pairs.len() as u32, pairs: pairs.concat() };
        if let Some(known) = self.known.get(&set) {
            return Ok((*known, refused));
        }
        let number = self.records.len() as u32;
        let at = self.table.position();
        self.table.append(&set.pairs)?;
        let mut record = [0; 16];
        crate::bytes::put_u64(&mut record, 0, self.table.reference(at));
        crate::bytes::put_u32(&mut record, 8, set.count);
        crate::bytes::put_u32(&mut record, 12, set.pairs.len() as u32);
        self.records.push(record);
        self.known.insert(set, number);
        Ok((number, refused))
    }

    /// All of it as it stands from this byte of the image on, and where in it the part is that the superblock names. `None` when no
    /// inode has attributes.
    pub(super) fn finish(self, at: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        if self.records.is_empty() {
            return Ok(None);
        }
        let (mut bytes, _) = self.table.finish()?;
        let sets = Lookup::of(self.codec, &self.records)?;
        let sets_at = at + bytes.len() as u64;
        bytes.extend(&sets.blocks);
        let header_at = at + bytes.len() as u64;
        bytes.extend(at.to_le_bytes());
        bytes.extend((self.records.len() as u32).to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(sets.index(sets_at));
        Ok(Some((bytes, header_at)))
    }
}

/// One attribute: name space, name, value.
fn pair(name: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let (rest, space) = PREFIXES.iter().find_map(|(prefix, space)| Some((name.strip_prefix(*prefix)?, *space)))?;
    if rest.is_empty() || name.len() > 255 || value.len() > MAX_VALUE {
        return None;
    }
    let mut pair = Vec::with_capacity(8 + rest.len() + value.len());
    pair.extend(space.to_le_bytes());
    pair.extend((rest.len() as u16).to_le_bytes());
    pair.extend(rest);
    pair.extend((value.len() as u32).to_le_bytes());
    pair.extend(value);
    Some(pair)
}
