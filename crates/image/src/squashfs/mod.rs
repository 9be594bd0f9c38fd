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
mod parts;
mod piece;
mod plan;
mod superblock;
mod table;
mod tables;
mod xattr;

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;

pub use self::codec::SquashCompressor;
pub(crate) use self::parts::Sum;

use self::codec::Codec;
use self::data::{SquashPress, compressing};
use self::parts::{Image, KeptSums, Teller};
use self::piece::{Keys, RUN};
use self::plan::Plan;
use crate::content::Contents;
use crate::forms::FormKey;
use crate::store::Store;
use crate::tree::Tree;
use crate::write::{Error, Meter, Progress, Workspace, WriteOptions, WriteReport, write_all};

/// Bytes of a block.
const BLOCK: usize = 128 << 10;
/// An image is a multiple of this, so that it can be a block device.
const DEVICE_BLOCK: u64 = 4096;

/// Bytes that have a checksum of their own on a medium.
pub(crate) const PART: u64 = 4 << 20;

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
    let (made, _) = Squashfs { tree, store, compressor, options }.make(&workspace, "image.squashfs", &mut meter)?;
    workspace.publish("image.squashfs")?;
    Ok(WriteReport { notes: made.notes })
}

/// An image to be made.
pub(crate) struct Squashfs<'a> {
    pub tree: &'a Tree,
    pub store: &'a Store,
    pub compressor: SquashCompressor,
    pub options: &'a WriteOptions,
}

/// An image that was made.
pub(crate) struct Made {
    /// What it cannot carry, a sentence each.
    pub notes: Vec<String>,
    /// Bytes.
    pub size: u64,
    /// Names all that its bytes are made from.
    key: FormKey,
}

impl Squashfs<'_> {
    /// Makes it as a file of this name in the workspace; see [`Squashfs::make_at`].
    pub(crate) fn make(&self, workspace: &Workspace, name: &str, meter: &mut Meter) -> Result<(Made, File), Error> {
        let path = workspace.path(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok((self.make_at((&path, &file, 0), meter)?, file))
    }

    /// Makes it from a byte of a file on, telling progress by the bytes of the tree's files.
    pub(crate) fn make_at(&self, (path, file, start): (&Path, &File, u64), meter: &mut Meter) -> Result<Made, Error> {
        let image = Image { path, file, start };
        let (plan, press) = (self.plan(), self.press()?);
        let written = data::write(&plan, &press, image, None, meter)?;
        self.finish((&plan, &press), &written, image, meter)
    }

    /// The same, with the SHA-256 of each [`PART`] of it, the last of which may be shorter. Of contents that an image had before in this
    /// order they are known.
    pub(crate) fn make_summed_at(
        &self,
        (path, file, start): (&Path, &File, u64),
        meter: &mut Meter,
    ) -> Result<(Made, Vec<Sum>), Error> {
        let image = Image { path, file, start };
        let (plan, press) = (self.plan(), self.press()?);
        let kept = KeptSums { forms: &press.forms, key: press.keys.of_all("sums of parts", plan.sources()).finish() };
        let (written, inner) = match kept.get() {
            Some(known) => (data::write(&plan, &press, image, None, meter)?, known),
            None => thread::scope(|scope| {
                let (teller, ends) = Teller::new();
                let sums = scope.spawn(move || image.follow(ends));
                let written = data::write(&plan, &press, image, Some(teller), meter);
                let sums = sums.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                Ok::<_, Error>((written?, sums?))
            })?,
        };
        let made = self.finish((&plan, &press), &written, image, meter)?;
        let sums = kept.complete(image, inner, (written.end, made.size))?;
        Ok((made, sums))
    }

    fn plan(&self) -> Plan<'_> {
        Plan::of(self.tree, &self.options.groups, BLOCK)
    }

    fn press(&self) -> Result<SquashPress<'_>, Error> {
        let codec = Codec { compressor: self.compressor, block: BLOCK };
        Ok(SquashPress {
            codec,
            keys: Keys::of(codec).map_err(compressing)?,
            contents: Contents::new(self.store, RUN),
            forms: self.store.forms().map_err(Error::store)?,
            threads: self.options.thread_count(),
        })
    }

    /// Writes the tables behind the contents, and the superblock before them.
    fn finish(
        &self,
        (plan, press): (&Plan, &SquashPress),
        written: &data::Written,
        Image { path, file, start }: Image,
        meter: &mut Meter,
    ) -> Result<Made, Error> {
        // Contents that several files have were told once.
        meter.add(self.tree.totals().bytes.saturating_sub(plan.bytes))?;
        let mut finished = tables::tables((self.tree, plan, written), press.codec, self.options, meter)?;
        let used = finished.superblock.used;
        let size = used.next_multiple_of(DEVICE_BLOCK);
        finished.bytes.resize(finished.bytes.len() + (size - used) as usize, 0);
        write_all(&mut &*file, path, &finished.bytes)?;
        let superblock = finished.superblock.bytes();
        file.write_all_at(&superblock, start).map_err(|e| Error::io(path, e))?;
        let mut key = press.keys.of_all("image", plan.sources());
        key.field(&finished.bytes).field(&superblock);
        Ok(Made { notes: finished.notes, size, key: key.finish() })
    }
}

impl Made {
    /// The SHA-256 of the image, which stands in this file from a byte on, in hexadecimal digits. It is kept as a form, so that the bytes
    /// of an image that was made before are not read for it.
    pub(crate) fn sha256(&self, store: &Store, (path, file, start): (&Path, &File, u64)) -> Result<String, Error> {
        let forms = store.forms().map_err(Error::store)?;
        if let Some(known) = forms.get(&self.key) {
            return Ok(hex::encode(known));
        }
        let digest = Image { path, file, start }.sum(0..self.size, &mut Vec::new())?;
        forms.put(&self.key, &digest).map_err(Error::store)?;
        Ok(hex::encode(digest))
    }
}
