//! A stage3 tarball as the root that packages are merged over.

use std::fs::File;
use std::io::{Seek, SeekFrom};

use gentoo::compression::Compression;
use image::{Store, Tree};

use crate::ComposeError;
use crate::merge::{Devices, Image, TarRules};

/// Reads a verified stage3 whole: owners by number (its own passwd is the target's), modes, times, extended attributes, hard links,
/// devices. `name` is its file name, whose ending tells the compression.
///
/// # Errors
/// When it cannot be read, or is no root of a Gentoo.
pub fn read_stage3(mut file: File, name: &str, store: &Store) -> Result<Tree, ComposeError> {
    let advice = "Try again later or use another mirror; if it stays so, tell whoever made the stage3.";
    let broken = |why: String| ComposeError::new(format!("the stage3 {name} cannot be used: {why}"), advice);
    let suffix = name.rsplit_once(".tar").map(|(_, suffix)| suffix);
    let compression = suffix.and_then(Compression::from_suffix).filter(|compression| compression.is_readable());
    let compression =
        compression.ok_or_else(|| broken("its name ends in no compression that is known (.tar.xz, .tar.bz2, …)".into()))?;
    file.seek(SeekFrom::Start(0)).map_err(|error| broken(error.to_string()))?;
    let compressed = file.metadata().map_err(|error| broken(error.to_string()))?.len();
    let stream = compression.reader(file).map_err(|error| broken(error.to_string()))?;
    let rules = TarRules { compressed, devices: Devices::Taken };
    let tree = Image::read_tar(stream, &rules, store).map_err(|error| broken(error.message))?.tree;
    match tree.get("var/db/pkg").is_some_and(|entry| entry.is_dir()) {
        true => Ok(tree),
        false => Err(broken("it has no /var/db/pkg, so it is not the root of a Gentoo".into())),
    }
}
