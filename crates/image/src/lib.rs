//! A tree of files over a content-addressed store, and the image formats written from it.
//!
//! A [`Tree`] is metadata only: paths, modes, owners, times, extended attributes. What files contain is in a [`Store`], kept once by
//! its SHA-256. Nothing is ever unpacked to a disk tree, so owners, device nodes and capabilities need no privileges.
//!
//! Every writer gives the same bytes for the same tree and options, whatever the machine, user, umask, time zone or number of cores.

mod btrfs;
mod bytes;
mod bz2;
mod compress;
mod content;
mod disk;
mod entry;
mod ext4;
mod fat;
mod forms;
mod groups;
mod grub;
mod iso;
mod menu;
mod netboot;
mod nodes;
mod oci;
mod pool;
mod root;
mod sparse;
mod squashfs;
mod store;
mod tar;
mod text;
mod tool;
mod tree;
mod trim;
mod write;
mod xfs;
mod zip;
mod zip_notes;
mod zip_record;

pub use compress::Compression;
pub use disk::{Disk, DiskFormat, write_disk};
pub use entry::{Entry, Kind, LinkId};
pub use forms::{FormKey, Forms, KeyHasher};
pub use groups::Groups;
pub use iso::{BootMedia, write_iso};
pub use menu::MenuWords;
pub use netboot::{NETBOOT_FILES, write_netboot};
pub use oci::{Container, Stage, write_oci};
pub use root::{RootFilesystem, write_filesystem};
pub use squashfs::{SquashCompressor, write_squashfs};
pub use store::{BlobId, Store, StoreError, VerifiedReader};
pub use tar::write_tar;
pub use tree::{Totals, Tree, TreeError};
pub use trim::{InUse, Trimmed};
pub use write::{Error, Progress, WriteOptions, WriteReport};
pub use xfs::{XfsError, extract_xfs};
pub use zip::write_zip;
