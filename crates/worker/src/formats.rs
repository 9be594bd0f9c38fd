//! A finished root in each of the formats that can be ordered.

use std::collections::BTreeMap;
use std::path::Path;

use composer::boot::Start;
use contract::{Failure, Format, Job, Step};
use image::{
    BootMedia, Compression, Container, Disk, DiskFormat, RootFilesystem, SquashCompressor, Stage, Store, Tree, WriteOptions,
    WriteReport,
};

/// What every format is written from.
pub(crate) struct Source<'a> {
    pub tree: &'a Tree,
    /// The root before anything personal went in; there when one of the job's formats keeps the two apart.
    pub packages: Option<&'a Tree>,
    pub store: &'a Store,
    /// What an image needs to start by itself, for each way that one of the job's formats starts.
    pub boot: &'a BTreeMap<Start, BootMedia>,
    pub options: &'a WriteOptions,
}

/// Whether a format needs the root as it was before anything personal went in.
pub(crate) fn keeps_stages(format: Format) -> bool {
    matches!(format, Format::Oci)
}

/// Whether a format keeps the files of a package together.
pub(crate) fn is_grouped(format: Format) -> bool {
    matches!(format, Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst)
}

/// How a format starts; none for one that does not by itself.
pub(crate) fn start(format: Format) -> Option<Start> {
    match format {
        Format::Iso => Some(Start::Medium),
        Format::ImgGz | Format::Qcow2 | Format::Vmdk => Some(Start::Disk),
        Format::Netboot => Some(Start::Network),
        Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst | Format::Zip | Format::Squashfs | Format::Oci => None,
    }
}

/// The names of a format's files. Those of a format of several begin with its name as the common stem.
pub(crate) fn file_names(image_name: &str, format: Format) -> Vec<String> {
    let name = format!("{image_name}.{format}");
    match format {
        Format::Netboot => image::NETBOOT_FILES.iter().map(|ending| format!("{name}.{ending}")).collect(),
        _ => vec![name],
    }
}

impl Source<'_> {
    /// Writes one format to `path`, or to several files with that stem; returns what it could not carry or cannot do, a sentence each.
    pub(crate) fn write(
        &self,
        job: &Job,
        format: Format,
        path: &Path,
        progress: image::Progress,
    ) -> Result<Vec<String>, Failure> {
        let Source { tree, store, options, .. } = self;
        let tar = |compression| image::write_tar(tree, store, compression, options, path, progress);
        let root = root_filesystem(job.system.root_filesystem.unwrap_or_default());
        let disk = |boot, format| image::write_disk(tree, store, boot, Disk { format, root }, options, path, progress);
        let written = match format {
            Format::TarBz2 => tar(Compression::Bzip2),
            Format::TarGz => tar(Compression::Gzip),
            Format::TarXz => tar(Compression::Xz),
            Format::TarZst => tar(Compression::Zstd),
            Format::Zip => image::write_zip(tree, store, options, path, progress),
            Format::Squashfs => image::write_squashfs(tree, store, SquashCompressor::Zstd, options, path, progress),
            Format::Iso => image::write_iso(tree, store, self.boot(format)?, options, path, progress),
            Format::ImgGz => disk(self.boot(format)?, DiskFormat::RawGzip),
            Format::Qcow2 => disk(self.boot(format)?, DiskFormat::Qcow2),
            Format::Vmdk => disk(self.boot(format)?, DiskFormat::Vmdk),
            Format::Netboot => image::write_netboot(tree, store, self.boot(format)?, options, path, progress),
            Format::Oci => self.write_oci(job, path, progress),
        };
        written
            .map(|report| report.notes)
            .map_err(|e| Failure::new(Step::Write, format!("{format} could not be written: {e}"), advice(&e)))
    }

    fn write_oci(&self, job: &Job, path: &Path, progress: image::Progress) -> Result<WriteReport, image::Error> {
        let packages = self.packages.map(|tree| Stage { name: "packages", tree });
        let stages: Vec<Stage> = packages.into_iter().chain([Stage { name: "settings", tree: self.tree }]).collect();
        let shell = ["/bin/bash", "/bin/sh"].into_iter().find(|path| self.tree.lookup(path).is_ok_and(|(_, e)| e.is_file()));
        let container = Container {
            name: job.image_name.clone(),
            architecture: go_architecture(&job.plan.arch),
            env: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()],
            command: shell.map(str::to_owned).into_iter().collect(),
        };
        image::write_oci(&stages, self.store, &container, self.options, path, progress)
    }

    fn boot(&self, format: Format) -> Result<&BootMedia, Failure> {
        start(format).and_then(|start| self.boot.get(&start)).ok_or_else(|| {
            Failure::new(
                Step::Write,
                format!("{format} was to be written, but nothing was prepared to boot it"),
                "This is a fault of Hatchery itself; please report it.",
            )
        })
    }
}

fn root_filesystem(ordered: contract::RootFilesystem) -> RootFilesystem {
    match ordered {
        contract::RootFilesystem::Ext4 => RootFilesystem::Ext4,
        contract::RootFilesystem::Btrfs => RootFilesystem::Btrfs,
        contract::RootFilesystem::Xfs => RootFilesystem::Xfs,
    }
}

/// Go's name of an architecture, which container engines compare with their own; Gentoo's where they are the same.
fn go_architecture(arch: &str) -> String {
    match arch {
        "x86" => "386",
        "ppc64" => "ppc64le",
        "riscv" => "riscv64",
        other => other,
    }
    .to_owned()
}

fn advice(error: &image::Error) -> &'static str {
    match error {
        image::Error::Cancelled => "Order again when you want it.",
        image::Error::DiskFull { .. } | image::Error::Io { .. } | image::Error::Store(_) => {
            "The worker's disk needs room or care; then order again."
        }
        image::Error::MissingTool { .. } => "The operator has to install it on the worker; then order again.",
        image::Error::Boot(_) => "Add what it names to the order, or leave the bootable format out.",
        image::Error::Content { .. } | image::Error::WrongSize { .. } | image::Error::Tree(_) | image::Error::Tool { .. } => {
            "Order again; if it fails again, please report it to the operator."
        }
    }
}
