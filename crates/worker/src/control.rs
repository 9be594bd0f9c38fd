//! Control files of zsync beside the images, by which whoever has an older image downloads only what changed.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use contract::{Evidence, EvidenceKind, Failure, Step};
use zsync::Control;

use crate::boot::EvidenceFile;
use crate::build::BuiltFile;

/// A smaller file is fetched whole about as fast. Bytes.
const SMALLEST: u64 = 1 << 20;
/// Bytes that are read at once.
const BUFFER: usize = 1 << 20;

/// Makes them for all but small files.
pub(crate) fn control_files(files: &[BuiltFile]) -> Result<Vec<EvidenceFile>, Failure> {
    files.iter().filter(|file| file.artifact.size >= SMALLEST).map(control_file).collect()
}

fn control_file(file: &BuiltFile) -> Result<EvidenceFile, Failure> {
    let name = format!("{}.zsync", file.artifact.name);
    let path = file.path.with_file_name(&name);
    write(file, &path).map_err(|error| {
        Failure::new(
            Step::Write,
            format!("{name} could not be written: {error}"),
            "The worker's disk needs room or care; then order again.",
        )
    })?;
    let evidence = Evidence { name, kind: EvidenceKind::Zsync, format: file.artifact.format, firmware: String::new() };
    Ok(EvidenceFile { evidence, path })
}

fn write(file: &BuiltFile, path: &Path) -> std::io::Result<()> {
    let mut reader = BufReader::with_capacity(BUFFER, File::open(&file.path)?);
    let control = Control::of(&file.artifact.name, file.artifact.size, &mut reader)?;
    std::fs::write(path, control.to_bytes())
}
