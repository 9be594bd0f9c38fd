//! Extended attributes: in the inode where they fit, otherwise in a block, with large values in blocks of their own.

use std::collections::BTreeMap;

use super::BLOCK;
use super::block::{Block, Header, hash};
use crate::bytes::{Fields, put};
use crate::entry::with_form;

const SIZE: usize = BLOCK as usize;
const MAGIC: u16 = 0x3bee;
/// Bytes before the entries of a block.
const HEAD: usize = 80;
/// Marks a value that stands beside its name, and names of `trusted.` and `security.`.
const LOCAL: u8 = 1;
const ROOT: u8 = 2;
const SECURE: u8 = 4;
/// Values that would take more than this with their names go into blocks of their own: three quarters of a block.
const MAX_LOCAL: usize = SIZE / 2 + SIZE / 4;
/// Bytes of a value in a block of its own, after the header.
const REMOTE: usize = SIZE - 56;
/// The largest value that Linux knows.
const MAX_VALUE: usize = 65_536;

/// The attributes of one inode in the form of the disk.
pub(super) struct List(Vec<Attribute>);

struct Attribute {
    flags: u8,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl List {
    /// Takes what XFS has a form for; returns the names of the others too.
    pub(super) fn of(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> (List, Vec<String>) {
        let (mut list, refused) = with_form(xattrs, Attribute::of);
        list.sort_by_cached_key(|attribute| (hash(&attribute.name), attribute.flags));
        (List(list), refused)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For the inode itself; `None` when there is no room.
    pub(super) fn short(&self, room: usize) -> Option<Vec<u8>> {
        let mut entries = Fields::default();
        for Attribute { flags, name, value } in &self.0 {
            entries = entries.u8(name.len() as u8).u8(u8::try_from(value.len()).ok()?).u8(*flags).bytes(name).bytes(value);
        }
        let entries = entries.done();
        let size = 4 + entries.len();
        let bytes = Fields::default().be16(size as u16).u8(u8::try_from(self.0.len()).ok()?).u8(0).bytes(&entries).done();
        Some(bytes).filter(|_| size.next_multiple_of(8) <= room)
    }

    /// The block of names, and those of large values after it; `None` when not even the names fit into one.
    pub(super) fn blocks(&self) -> Option<Vec<Block>> {
        let (mut bytes, mut entries, mut values) = (vec![0; SIZE], Fields::default(), Vec::new());
        let mut end = SIZE;
        for attribute in &self.0 {
            let (flags, body) = match attribute.local() {
                Some(body) => (attribute.flags | LOCAL, body),
                None => {
                    let first = 1 + values.len() as u32;
                    values.extend(attribute.value.chunks(REMOTE).enumerate().map(remote));
                    (attribute.flags, attribute.elsewhere(first))
                }
            };
            end = end.checked_sub(body.len().next_multiple_of(4))?;
            put(&mut bytes, end, &body);
            entries = entries.be32(hash(&attribute.name)).be16(end as u16).u8(flags).u8(0);
        }
        let entries = entries.done();
        let front = HEAD + entries.len();
        let free = end.checked_sub(front)?;
        let head =
            Fields::default().zeros(8).be16(MAGIC).zeros(46).be16(self.0.len() as u16).be16((SIZE - end) as u16).be16(end as u16);
        // No holes; the one free piece.
        let head = head.zeros(2).be16(front as u16).be16(free as u16).zeros(12).done();
        put(&mut bytes, 0, &head);
        put(&mut bytes, HEAD, &entries);
        Some([Block::new(Header::Hashes, bytes)].into_iter().chain(values).collect())
    }
}

impl Attribute {
    fn of(name: &[u8], value: &[u8]) -> Option<Attribute> {
        let (flags, name, value) = match name {
            b"system.posix_acl_access" => (ROOT, &b"SGI_ACL_FILE"[..], acl(value)?),
            b"system.posix_acl_default" => (ROOT, &b"SGI_ACL_DEFAULT"[..], acl(value)?),
            _ => {
                let prefixes: [(u8, &[u8]); 3] = [(0, b"user."), (ROOT, b"trusted."), (SECURE, b"security.")];
                let (flags, rest) = prefixes.iter().find_map(|(flags, prefix)| Some((*flags, name.strip_prefix(*prefix)?)))?;
                (flags, rest, value.to_vec())
            }
        };
        let fits = (1..=255).contains(&name.len()) && value.len() <= MAX_VALUE;
        fits.then(|| Attribute { flags, name: name.to_vec(), value })
    }

    /// Name and value together; `None` when that is too large.
    fn local(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.value.len()).ok()?;
        let bytes = Fields::default().be16(length).u8(self.name.len() as u8).bytes(&self.name).bytes(&self.value).done();
        Some(bytes).filter(|bytes| bytes.len().next_multiple_of(4) < MAX_LOCAL)
    }

    /// The name, with where the value begins. XFS counts two bytes more than it uses.
    fn elsewhere(&self, block: u32) -> Vec<u8> {
        let head = Fields::default().be32(block).be32(self.value.len() as u32).u8(self.name.len() as u8);
        head.bytes(&self.name).zeros(2).done()
    }
}

/// A part of a large value.
fn remote((at, part): (usize, &[u8])) -> Block {
    super::remote_block(b"XARM", at * REMOTE, part)
}

/// An access control list as XFS keeps it, from the form that programs see (`acl(5)`, version 2).
fn acl(value: &[u8]) -> Option<Vec<u8>> {
    let entries = value.strip_prefix(&2u32.to_le_bytes())?;
    let mut fields = Fields::default().be32((entries.len() / 8) as u32);
    for entry in entries.chunks(8) {
        let [tag, tag_high, mode, mode_high, id @ ..] = entry else { return None };
        let id = u32::from_le_bytes(id.try_into().ok()?);
        fields = fields.be32(u16::from_le_bytes([*tag, *tag_high]).into()).be32(id);
        fields = fields.be16(u16::from_le_bytes([*mode, *mode_high])).be16(0);
    }
    Some(fields.done())
}
