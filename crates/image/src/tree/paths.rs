//! Paths as bytes.

use std::ops::Bound;

use super::TreeError;
use crate::text::escape;

/// Linux's PATH_MAX without the final NUL.
pub(super) const MAX_PATH: usize = 4095;
/// Linux's NAME_MAX.
const MAX_NAME: usize = 255;

/// The directory a path is in; `None` for the root.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => path.get(..at),
        None if path.is_empty() => None,
        None => Some(b""),
    }
}

pub(super) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir.is_empty() {
        true => name.to_vec(),
        false => [dir, b"/", name].concat(),
    }
}

pub(super) fn trimmed(mut path: &[u8]) -> &[u8] {
    while let Some(rest) = path.strip_prefix(b"/") {
        path = rest;
    }
    path
}

pub(super) fn checked(path: &[u8]) -> Result<&[u8], TreeError> {
    let path = trimmed(path);
    let name_fine = |name: &[u8]| !matches!(name, b"" | b"." | b"..") && name.len() <= MAX_NAME && !name.contains(&0);
    match path.is_empty() || (path.len() <= MAX_PATH && path.split(|b| *b == b'/').all(name_fine)) {
        true => Ok(path),
        false => Err(TreeError::BadPath(escape(path))),
    }
}

/// A path for people.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", escape(trimmed(path)))
}

pub(super) type PathBound = Bound<Vec<u8>>;

pub(super) fn bounds_below(dir: &[u8]) -> (PathBound, PathBound) {
    match dir.is_empty() {
        true => (Bound::Excluded(Vec::new()), Bound::Unbounded),
        false => (Bound::Included([dir, b"/"].concat()), Bound::Excluded([dir, b"0"].concat())),
    }
}

pub(super) fn bound(bound: &PathBound) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}
