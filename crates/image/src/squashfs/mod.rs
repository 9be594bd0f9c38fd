//! Squashfs 4.0: the root as a compressed filesystem that Linux mounts as it is.
//!
//! Why not `mksquashfs` or `tar2sqfs`: they compress all of every image anew. Here the blocks of contents, and the blocks that many small
//! contents share, are kept as forms in the store, so that an image of packages that were seen before is copying.
//!
//! The place of every content is planned from the tree alone; contents are then written by several cores, and the tables behind them.
//! Source: the kernel's Documentation/filesystems/squashfs, and https://dr-emann.github.io/squashfs/squashfs.html for its structures.

mod codec;
mod data;
mod directory;
mod inode;
mod nodes;
mod piece;
mod plan;
mod superblock;
mod table;
mod tables;
mod xattr;

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub use self::codec::SquashCompressor;

use self::codec::Codec;
use self::data::{SquashPress, compressing};
use self::piece::{Keys, RUN};
use self::plan::Plan;
use self::superblock::SUPERBLOCK;
use crate::content::Contents;
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport, write_all};

/// Bytes of a block.
const BLOCK: usize = 128 << 10;
/// An image is a multiple of this, so that it can be a block device.
const DEVICE_BLOCK: u64 = 4096;

/// Writes a squashfs image. Extended attributes that the format has no form for are named in the report.
///
/// # Errors
/// Those of [`Error`]; the output appears only when it is whole.
pub fn write_squashfs(
    tree: &Tree,
    store: &Store,
    compressor: SquashCompressor,
    options: &WriteOptions,
    out: &Path,
    progress: Progress,
) -> Result<WriteReport, Error> {
    let workspace = Workspace::beside(out)?;
    let mut meter = Meter::new(progress, tree.totals().bytes);
    let notes = Squashfs { tree, store, compressor, options }.make(&workspace, "image.squashfs", &mut meter)?;
    workspace.publish("image.squashfs")?;
    Ok(WriteReport { notes })
}

/// An image to be made.
pub(crate) struct Squashfs<'a> {
    pub tree: &'a Tree,
    pub store: &'a Store,
    pub compressor: SquashCompressor,
    pub options: &'a WriteOptions,
}

impl Squashfs<'_> {
    /// Makes it as a file of this name in the workspace, telling progress by the bytes of the tree's files. Returns what it cannot carry,
    /// a sentence each.
    pub(crate) fn make(&self, workspace: &Workspace, name: &str, meter: &mut Meter) -> Result<Vec<String>, Error> {
        let Squashfs { tree, store, compressor, options } = *self;
        let path = workspace.path(name);
        let failed = |e| Error::io(&path, e);
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        let codec = Codec { compressor, block: BLOCK };
        let plan = Plan::of(tree, &options.groups, codec.block);
        let press = SquashPress {
            codec,
            keys: Keys::of(codec).map_err(compressing)?,
            contents: Contents::new(store, RUN),
            forms: store.forms().map_err(Error::store)?,
        };

        // The superblock is known last.
        write_all(&mut &file, &path, &[0; SUPERBLOCK])?;
        let written = data::write(&plan, &press, options.thread_count(), (&path, &file, SUPERBLOCK as u64), meter)?;
        // Contents that several files have were told once.
        meter.add(tree.totals().bytes.saturating_sub(plan.bytes))?;
        let mut finished = tables::tables((tree, &plan, &written), codec, options, meter)?;
        let used = finished.superblock.used;
        let padding = used.next_multiple_of(DEVICE_BLOCK) - used;
        finished.bytes.resize(finished.bytes.len() + padding as usize, 0);
        write_all(&mut &file, &path, &finished.bytes)?;
        file.write_all_at(&finished.superblock.bytes(), 0).map_err(failed)?;
        Ok(finished.notes)
    }
}
