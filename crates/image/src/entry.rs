//! What a tree is made of: directories, files, links and devices, with their metadata.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::store::BlobId;
use crate::text::{as_text, as_text_map, escape};

/// Marks the names of one inode: entries with the same id are hard links of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LinkId(pub u64);

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Dir,
    /// A regular file: its content's name in the store, its size in bytes, and its inode when it has more than one name.
    File {
        blob: BlobId,
        size: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        link: Option<LinkId>,
    },
    /// A symbolic link's target, as it is stored in the link.
    Symlink(#[serde(with = "as_text")] Vec<u8>),
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
}

/// One entry of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits with set-id and sticky, `0o7777` at most.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch.
    pub mtime: i64,
    /// Extended attributes by full name, like `security.capability`.
    #[serde(default, with = "as_text_map", skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The attributes that a format has a form for, made by `form`, and the names of the others.
pub(crate) fn with_form<A>(
    xattrs: &BTreeMap<Vec<u8>, Vec<u8>>,
    form: impl Fn(&[u8], &[u8]) -> Option<A>,
) -> (Vec<A>, Vec<String>) {
    let (mut made, mut refused) = (Vec::new(), Vec::new());
    for (name, value) in xattrs {
        match form(name, value) {
            Some(attribute) => made.push(attribute),
            None => refused.push(escape(name)),
        }
    }
    (made, refused)
}

impl Entry {
    /// An entry owned by root, of the epoch's time, without attributes.
    pub fn new(kind: Kind, mode: u32) -> Entry {
        Entry { kind, mode: mode & 0o7777, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new() }
    }

    pub fn dir(mode: u32) -> Entry {
        Entry::new(Kind::Dir, mode)
    }

    pub fn file(blob: BlobId, size: u64, mode: u32) -> Entry {
        Entry::new(Kind::File { blob, size, link: None }, mode)
    }

    pub fn symlink(target: impl Into<Vec<u8>>) -> Entry {
        Entry::new(Kind::Symlink(target.into()), 0o777)
    }

    /// The same entry with another time.
    pub fn with_mtime(self, mtime: i64) -> Entry {
        Entry { mtime, ..self }
    }

    /// The same entry with another owner.
    pub fn with_owner(self, uid: u32, gid: u32) -> Entry {
        Entry { uid, gid, ..self }
    }

    pub fn is_dir(&self) -> bool {
        matches!(self.kind, Kind::Dir)
    }

    pub fn is_file(&self) -> bool {
        matches!(self.kind, Kind::File { .. })
    }

    pub fn is_symlink(&self) -> bool {
        matches!(self.kind, Kind::Symlink(_))
    }

    /// Bytes of a regular file; 0 for all else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size, .. } => size,
            _ => 0,
        }
    }

    /// The inode of a file with several names.
    pub fn link(&self) -> Option<LinkId> {
        match self.kind {
            Kind::File { link, .. } => link,
            _ => None,
        }
    }
}
