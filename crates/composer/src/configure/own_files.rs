//! Files of the person's own.

use contract::ExtraFile;

use super::faults::Faults;
use super::files::Files;
use crate::ComposeError;
use crate::error::Setting;

/// Puts the files in, last of all, so that they are what the person gets. Links on the way are followed within the root only.
///
/// # Errors
/// A folder in a file's place, or an owner that is no account of the image, is one of the `faults`; something else in a folder's place is not.
pub(super) fn put_in(files: &mut Files, own: &[ExtraFile], faults: &mut Faults) -> Result<(), ComposeError> {
    own.iter().try_for_each(|file| faults.keep(put(files, file)))
}

fn put(files: &mut Files, file: &ExtraFile) -> Result<(), ComposeError> {
    let path = file.path.trim_start_matches('/');
    let owner = owner(files, file)?;
    let real = files.tree.resolve_parent(path)?;
    if files.tree.get(&real).is_some_and(|entry| entry.is_dir()) {
        return Err(ComposeError::new(
            format!("{} of the order is a folder in the image, so no file can take its place.", file.path),
            "Name a file in it, or another path.",
        )
        .about(Setting::Files));
    }
    if let Some((folder, _)) = path.rsplit_once('/') {
        files.dir_if_absent(folder, 0o755)?;
    }
    files.write_owned(path, &file.content, file.permissions().unwrap_or(0o644), owner)
}

/// User and group of a file, by the image's passwd(5).
fn owner(files: &Files, file: &ExtraFile) -> Result<(u32, u32), ComposeError> {
    let Some(name) = &file.owner else { return Ok((0, 0)) };
    let passwd = files.text("etc/passwd")?.unwrap_or_default();
    let ids = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.ok_or_else(|| {
        ComposeError::new(
            format!("{} of the order is to belong to “{name}”, and there is no such user in the image.", file.path),
            "Order the user too, or the package that makes the account.",
        )
        .about(Setting::Files)
    })
}
