//! The first bytes of an image: what it is and where its tables are.

use super::codec::Codec;

/// Bytes.
pub(super) const SUPERBLOCK: usize = 96;
/// For a table that is not there.
pub(super) const NO_TABLE: u64 = u64::MAX;
/// Contents are there once; inodes can be found by their number.
const FLAGS: u16 = 0x40 | 0x80;
const NO_XATTRS: u16 = 0x200;

pub(super) struct Superblock {
    pub codec: Codec,
    pub inodes: u32,
    /// Seconds since the epoch.
    pub made: u32,
    pub fragments: u32,
    pub ids: u16,
    /// A reference into the inode table.
    pub root: u64,
    /// Bytes of the image, without padding.
    pub used: u64,
    pub id_table: u64,
    pub xattr_table: u64,
    pub inode_table: u64,
    pub directory_table: u64,
    pub fragment_table: u64,
    pub export_table: u64,
}

impl Superblock {
    pub(super) fn bytes(&self) -> Vec<u8> {
        let flags = if self.xattr_table == NO_TABLE { FLAGS | NO_XATTRS } else { FLAGS };
        let mut bytes = b"hsqs".to_vec();
        let words = [self.inodes, self.made, self.codec.block as u32, self.fragments];
        bytes.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        // Version 4.0 of the format.
        let halves = [self.codec.id(), self.codec.block.ilog2() as u16, flags, self.ids, 4, 0];
        bytes.extend(halves.iter().flat_map(|half| half.to_le_bytes()));
        let places = [self.id_table, self.xattr_table, self.inode_table, self.directory_table, self.fragment_table];
        let doubles = [self.root, self.used].into_iter().chain(places).chain([self.export_table]);
        bytes.extend(doubles.flat_map(u64::to_le_bytes));
        bytes
    }
}
