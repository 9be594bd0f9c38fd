//! A binhost's `Packages` index: stanzas of `Key: value`, the first one the header (Portage: `getbinpkg.py`, `dbapi/bintree.py`).
//!
//! Both styles are read: multi-instance (BUILD_ID and PATH) and single-instance (neither). Dependency strings stay text.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::BTreeMap;

use crate::atom::PackageRef;
use crate::useflags::{BuiltUse, ImplicitIuse, bare_flag};
use crate::{Cpv, Text, Words};

/// Largest index that is read, in bytes. Gentoo's largest one has some 16 MiB.
pub const MAX_INDEX: usize = 512 << 20;
/// Most entries that are read.
pub const MAX_ENTRIES: usize = 1_000_000;

/// An index that cannot be read, with the place and a way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error(
        "the Packages index is damaged at line {line}, field {field}: {reason}. Fetch it again; if it stays so, its operator must \
         run `emaint --fix binhost` there"
    )]
    Field { line: usize, field: String, reason: String },
    #[error(
        "the Packages index is too large: {what} where at most {limit} are read. Check that the address is that of a binhost"
    )]
    TooLarge { what: String, limit: usize },
    #[error("this is not a Packages index: {0}. Check that the address is that of a binhost")]
    NotAnIndex(String),
    #[error(
        "the Packages index is incomplete: its header announces {announced} packages and it holds {found}. The download was probably \
         cut off; fetch it again"
    )]
    Incomplete { announced: usize, found: usize },
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// The header's fields as they stand.
    pub header: BTreeMap<String, String>,
    pub entries: Vec<Entry>,
}

/// One binary package of an index. Fields that were absent are empty, but for `eapi` and `slot`, which are then `0`. What was read from an
/// index shares its text, so an entry is cheap to copy but keeps the index's text in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub cpv: Cpv,
    pub slot: Text,
    /// Equal to `slot` when SLOT names none (PMS 7.2).
    pub subslot: Text,
    pub eapi: Text,
    pub keywords: Text,
    pub license: Text,
    pub restrict: Text,
    pub properties: Text,
    /// IUSE as written, with its `+` and `-` defaults.
    pub iuse: Words,
    /// USE: the flags it was built with, out of IUSE and the implicit ones.
    pub use_flags: Words,
    pub depend: Text,
    pub rdepend: Text,
    pub pdepend: Text,
    pub bdepend: Text,
    pub idepend: Text,
    pub build_id: Option<u32>,
    /// Seconds since the epoch; 0 when unknown.
    pub build_time: u64,
    /// Modification time of the package file, seconds since the epoch; 0 when unknown.
    pub mtime: u64,
    /// Bytes of the package file.
    pub size: u64,
    /// Path below the binhost's address: PATH, or the single-instance place where PATH is absent.
    pub path: Text,
    /// Lower-case hexadecimal.
    pub md5: Option<Text>,
    pub sha1: Option<Text>,
    pub chost: Text,
    pub repo: Text,
    pub desc: Text,
    pub defined_phases: Text,
    pub requires: Text,
    pub provides: Text,
    /// Fields not named above, as they stand.
    pub extra: BTreeMap<Text, Text>,
}

impl Entry {
    /// An entry with nothing but its name, and the defaults for the rest.
    pub fn new(cpv: Cpv) -> Entry {
        let mut entry = Entry::blank(cpv);
        entry.fill_defaults();
        entry
    }

    /// Puts in what stands for absent fields.
    fn fill_defaults(&mut self) {
        for field in [&mut self.slot, &mut self.subslot, &mut self.eapi] {
            if field.is_empty() {
                *field = Text::from_static("0");
            }
        }
        if self.path.is_empty() {
            self.path = default_path(&self.cpv).into();
        }
    }

    fn blank(cpv: Cpv) -> Entry {
        Entry {
            cpv,
            slot: Text::EMPTY,
            subslot: Text::EMPTY,
            eapi: Text::EMPTY,
            keywords: Text::EMPTY,
            license: Text::EMPTY,
            restrict: Text::EMPTY,
            properties: Text::EMPTY,
            iuse: Words::default(),
            use_flags: Words::default(),
            depend: Text::EMPTY,
            rdepend: Text::EMPTY,
            pdepend: Text::EMPTY,
            bdepend: Text::EMPTY,
            idepend: Text::EMPTY,
            build_id: None,
            build_time: 0,
            mtime: 0,
            size: 0,
            path: Text::EMPTY,
            md5: None,
            sha1: None,
            chost: Text::EMPTY,
            repo: Text::EMPTY,
            desc: Text::EMPTY,
            defined_phases: Text::EMPTY,
            requires: Text::EMPTY,
            provides: Text::EMPTY,
            extra: BTreeMap::new(),
        }
    }

    /// SLOT as Portage writes it: the sub-slot only where it differs from the slot.
    pub fn slot_text(&self) -> String {
        if self.slot == self.subslot { self.slot.to_string() } else { format!("{}/{}", self.slot, self.subslot) }
    }

    /// The names in IUSE, without their defaults.
    pub fn iuse_names(&self) -> impl Iterator<Item = &str> {
        self.iuse.iter().map(bare_flag)
    }

    /// Sets a field by its name in an index, which is also that of the metadata in most other places.
    ///
    /// # Errors
    /// With the reason when the value makes no sense for the field.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match read::set_field(self, &read::Field { whole: None, line: 0, key, value }) {
            Ok(()) => Ok(()),
            Err(IndexError::Field { reason, .. }) => Err(reason),
            Err(other) => Err(other.to_string()),
        }
    }

    /// What atoms look at.
    pub fn package(&self) -> PackageRef<'_> {
        PackageRef { cpv: &self.cpv, slot: &self.slot, subslot: &self.subslot, repo: &self.repo }
    }

    /// The flags it was built with and has, for [`crate::useflags::UseDep::satisfied_by`].
    pub fn built_use<'a>(&'a self, implicit: &'a ImplicitIuse) -> BuiltUse<'a> {
        BuiltUse { eapi: &self.eapi, iuse: &self.iuse, enabled: &self.use_flags, implicit }
    }
}

fn default_path(cpv: &Cpv) -> String {
    format!("{cpv}.tbz2")
}

impl Packages {
    /// Reads an uncompressed index.
    ///
    /// # Errors
    /// When it is no index, is cut off, or a field that is understood holds nonsense; the message names line and field.
    pub fn parse(bytes: &[u8]) -> Result<Packages, IndexError> {
        read::parse(bytes.to_vec())
    }

    /// [`Packages::parse`] for bytes that are not needed any more: the index is then in memory once.
    ///
    /// # Errors
    /// As for [`Packages::parse`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Packages, IndexError> {
        read::parse(bytes)
    }

    /// TIMESTAMP of the header, seconds since the epoch; none when absent or not a number.
    pub fn timestamp(&self) -> Option<u64> {
        self.header.get("TIMESTAMP").and_then(|t| t.parse().ok())
    }

    /// Writes the index as Portage does: header first with its PACKAGES count, then the entries in their order, defaults and what the
    /// header already says left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        write::to_bytes(self)
    }
}
