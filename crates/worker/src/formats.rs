//! A finished root in each of the formats that can be ordered.

use std::path::Path;

use contract::{Failure, Format, Step};
use image::{BootMedia, Compression, Store, Tree, WriteOptions};

/// What every format is written from.
pub(crate) struct Source<'a> {
    pub tree: &'a Tree,
    pub store: &'a Store,
    /// What an image needs to start by itself; there when any of the job's formats does.
    pub boot: Option<&'a BootMedia>,
    pub options: &'a WriteOptions,
}

impl Source<'_> {
    /// Writes one format to `path`; returns what it could not carry or cannot do, a sentence each.
    pub(crate) fn write(&self, format: Format, path: &Path, progress: image::Progress) -> Result<Vec<String>, Failure> {
        let Source { tree, store, options, .. } = self;
        let tar = |compression| image::write_tar(tree, store, compression, options, path, progress);
        let written = match format {
            Format::TarBz2 => tar(Compression::Bzip2),
            Format::TarGz => tar(Compression::Gzip),
            Format::TarXz => tar(Compression::Xz),
            Format::TarZst => tar(Compression::Zstd),
            Format::Zip => image::write_zip(tree, store, options, path, progress),
            Format::Squashfs => image::write_squashfs(tree, store, options, path, progress),
            Format::Iso => image::write_iso(tree, store, self.boot(format)?, options, path, progress),
        };
        written.map(|report| report.notes).map_err(|e| Failure {
            step: Step::Write,
            package: None,
            message: format!("{format} could not be written: {e}"),
            advice: advice(&e).into(),
        })
    }

    fn boot(&self, format: Format) -> Result<&BootMedia, Failure> {
        self.boot.ok_or_else(|| Failure {
            step: Step::Write,
            package: None,
            message: format!("{format} was to be written, but nothing was prepared to boot it"),
            advice: "This is a fault of Hatchery itself; please report it.".into(),
        })
    }
}

fn advice(error: &image::Error) -> &'static str {
    match error {
        image::Error::Cancelled => "Order again when you want it.",
        image::Error::DiskFull { .. } | image::Error::Io { .. } => "The worker's disk needs room or care; then order again.",
        image::Error::MissingTool { .. } => "The operator has to install it on the worker; then order again.",
        image::Error::Boot(_) => "Add what it names to the order, or leave the bootable format out.",
        image::Error::Content { .. } | image::Error::WrongSize { .. } | image::Error::Tree(_) | image::Error::Tool { .. } => {
            "Order again; if it fails again, please report it to the operator."
        }
    }
}
