//! Extended attributes, in the inode where they fit and in a block of their own otherwise.

use std::collections::BTreeMap;

use super::BLOCK;
use crate::bytes::{put, put_u16, put_u32};
use crate::entry::with_form;

const MAGIC: u32 = 0xea02_0000;
const ENTRY: usize = 16;
const BLOCK_HEADER: usize = 32;

/// The attributes of one inode in the form of the disk.
pub(super) struct Attributes {
    list: Vec<Attribute>,
}

struct Attribute {
    /// Stands for the first part of the name.
    index: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Attributes {
    /// Takes what ext4 has a form for; returns the names of the others too.
    pub(super) fn of(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> (Attributes, Vec<String>) {
        let (mut list, refused) = with_form(xattrs, Attribute::of);
        list.sort_by(|a, b| (a.index, a.name.len(), &a.name).cmp(&(b.index, b.name.len(), &b.name)));
        (Attributes { list }, refused)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Bytes of entries and values with the four zeros that end the entries.
    fn size(&self) -> usize {
        self.list.iter().map(|a| a.entry_size() + a.value.len().next_multiple_of(4)).sum::<usize>() + 4
    }

    /// For the room behind an inode's fields; `None` when that is too small.
    pub(super) fn in_inode(&self, room: usize) -> Option<Vec<u8>> {
        if 4 + self.size() > room {
            return None;
        }
        let mut bytes = vec![0; room];
        put_u32(&mut bytes, 0, MAGIC);
        // Values are found from the first entry on.
        self.put(bytes.get_mut(4..)?, 0);
        Some(bytes)
    }

    /// As a block; `None` when they do not fit into one.
    pub(super) fn in_block(&self) -> Option<Vec<u8>> {
        if BLOCK_HEADER + self.size() > BLOCK as usize {
            return None;
        }
        let mut bytes = vec![0; BLOCK as usize];
        put_u32(&mut bytes, 0, MAGIC);
        // One inode uses this block, and it is one block.
        put_u32(&mut bytes, 4, 1);
        put_u32(&mut bytes, 8, 1);
        let hash = self.list.iter().fold(0u32, |hash, attribute| hash.rotate_left(16) ^ attribute.hash());
        put_u32(&mut bytes, 12, hash);
        self.put(&mut bytes, BLOCK_HEADER);
        Some(bytes)
    }

    /// Entries from `at` on, values from the end backwards.
    fn put(&self, bytes: &mut [u8], mut at: usize) {
        let mut end = bytes.len();
        for attribute in &self.list {
            end -= attribute.value.len().next_multiple_of(4);
            put(bytes, at, &[attribute.name.len() as u8, attribute.index]);
            put_u16(bytes, at + 2, end as u16);
            put_u32(bytes, at + 8, attribute.value.len() as u32);
            put_u32(bytes, at + 12, attribute.hash());
            put(bytes, at + ENTRY, &attribute.name);
            put(bytes, end, &attribute.value);
            at += attribute.entry_size();
        }
    }
}

impl Attribute {
    fn of(name: &[u8], value: &[u8]) -> Option<Attribute> {
        let attribute = |index, name: &[u8], value: Vec<u8>| Some(Attribute { index, name: name.to_vec(), value });
        match name {
            b"system.posix_acl_access" => attribute(2, b"", acl(value)?),
            b"system.posix_acl_default" => attribute(3, b"", acl(value)?),
            _ => {
                let prefixes: [(u8, &[u8]); 3] = [(1, b"user."), (4, b"trusted."), (6, b"security.")];
                let (index, rest) = prefixes.iter().find_map(|(index, prefix)| Some((*index, name.strip_prefix(*prefix)?)))?;
                let fits = !rest.is_empty() && rest.len() <= 255;
                if fits { attribute(index, rest, value.to_vec()) } else { None }
            }
        }
    }

    fn entry_size(&self) -> usize {
        (ENTRY + self.name.len()).next_multiple_of(4)
    }

    /// Over name and value, as the kernel's `ext4_xattr_hash_entry`.
    fn hash(&self) -> u32 {
        let hash = self.name.iter().fold(0u32, |hash, byte| hash.rotate_left(5) ^ u32::from(*byte));
        self.value.chunks(4).fold(hash, |hash, chunk| {
            let mut word = [0; 4];
            put(&mut word, 0, chunk);
            hash.rotate_left(16) ^ u32::from_le_bytes(word)
        })
    }
}

/// An access control list as ext4 keeps it, from the form that programs see (`acl(5)`, version 2): entries of users and groups keep
/// their id, the others lose it.
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = 1u32.to_le_bytes().to_vec();
    for entry in value.strip_prefix(&2u32.to_le_bytes())?.chunks(8) {
        let (tag, id) = (entry.get(..4)?, entry.get(4..8)?);
        bytes.extend(tag);
        if matches!(tag.first(), Some(0x02 | 0x08)) {
            bytes.extend(id);
        }
    }
    Some(bytes)
}
