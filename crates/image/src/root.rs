//! The filesystems that a disk's root can be, each laid out before a byte of any file is read.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use crate::btrfs::{self, Btrfs};
use crate::disk::Ids;
use crate::ext4::{self, Ext4};
use crate::sparse::{Run, Sparse};
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport};
use crate::xfs::{self, Xfs};

/// A filesystem for the root of a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RootFilesystem {
    #[default]
    Ext4,
    Btrfs,
    Xfs,
}

impl RootFilesystem {
    pub const ALL: [RootFilesystem; 3] = [RootFilesystem::Ext4, RootFilesystem::Btrfs, RootFilesystem::Xfs];

    /// What `mount -t` and fstab(5) call it.
    pub fn name(self) -> &'static str {
        match self {
            RootFilesystem::Ext4 => "ext4",
            RootFilesystem::Btrfs => "btrfs",
            RootFilesystem::Xfs => "xfs",
        }
    }

    /// GRUB's module that reads it.
    pub(crate) fn grub_module(self) -> &'static str {
        match self {
            RootFilesystem::Ext4 => "ext2",
            RootFilesystem::Btrfs => "btrfs",
            RootFilesystem::Xfs => "xfs",
        }
    }

    /// The order in which fsck looks at it at boot, as fstab(5) has it. The others look after themselves: their fsck does nothing.
    pub(crate) fn fsck_pass(self) -> u8 {
        match self {
            RootFilesystem::Ext4 => 1,
            RootFilesystem::Btrfs | RootFilesystem::Xfs => 0,
        }
    }

    /// The smallest size, in bytes, for a tree with some room.
    pub(crate) fn least_size(self, tree: &Tree) -> u64 {
        match self {
            RootFilesystem::Ext4 => ext4::least_size(tree),
            RootFilesystem::Btrfs => btrfs::least_size(tree),
            RootFilesystem::Xfs => xfs::least_size(tree),
        }
    }

    /// Lays it out in so many bytes, at least [`RootFilesystem::least_size`] of the same tree. What it cannot carry is added to `notes`.
    ///
    /// # Errors
    /// `Boot` when the tree does not fit.
    pub(crate) fn lay_out<'a>(
        self,
        tree: &'a Tree,
        (ids, size): (&Ids, u64),
        options: &WriteOptions,
        notes: &mut Vec<String>,
    ) -> Result<Sparse<'a>, Error> {
        let label = String::from("hatchery");
        match self {
            RootFilesystem::Ext4 => {
                let ext4 = Ext4 { size, uuid: ids.uuid("root"), hash_seed: ids.uuid("directories"), label };
                ext4::filesystem(tree, options, &ext4, notes)
            }
            RootFilesystem::Btrfs => {
                let identity = btrfs::Identity {
                    filesystem: ids.uuid("root"),
                    device: ids.uuid("device"),
                    chunk_tree: ids.uuid("chunks"),
                    subvolume: ids.uuid("subvolume"),
                };
                btrfs::filesystem(tree, options, &Btrfs { size, identity, label }, notes)
            }
            RootFilesystem::Xfs => xfs::filesystem(tree, options, &Xfs { size, uuid: ids.uuid("root"), label }, notes),
        }
    }
}

/// Writes the filesystem alone, as a sparse file of the smallest size, for whoever has a partition for it.
///
/// # Errors
/// `Boot` when the tree has what the filesystem has no form for; else those of [`Error`]. The output appears only when it is whole.
pub fn write_filesystem(
    tree: &Tree,
    store: &Store,
    filesystem: RootFilesystem,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let mut meter = Meter::new(progress, tree.totals().bytes);
    let mut report = WriteReport::default();
    let ids = Ids::of_tree(tree, filesystem, options);
    let sparse = filesystem.lay_out(tree, (&ids, filesystem.least_size(tree)), options, &mut report.notes)?;
    let (path, mut file) = workspace.create("filesystem")?;
    file.set_len(sparse.size()).map_err(|e| Error::io(&path, e))?;
    sparse.emit(store, &mut meter, &mut |run| {
        let done = match run {
            Run::Zeros(count) => file.seek(SeekFrom::Current(count as i64)).map(drop),
            Run::Bytes(bytes) => file.write_all(bytes),
        };
        done.map_err(|e| Error::io(&path, e))
    })?;
    workspace.publish("filesystem")?;
    Ok(report)
}
