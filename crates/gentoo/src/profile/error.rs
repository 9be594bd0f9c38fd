//! What can be wrong with a profile.

use std::path::{Path, PathBuf};

/// A profile or a VDB that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("{path}: cannot be read: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path}, line {line}: {reason}. The Gentoo tree there is damaged or newer than what is understood; sync it again")]
    Syntax { path: PathBuf, line: usize, reason: String },
    #[error("{path}: {reason}")]
    Structure { path: PathBuf, reason: String },
}

impl ProfileError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        ProfileError::Io { path: path.to_owned(), source }
    }

    pub(crate) fn syntax(path: &Path, line: usize, reason: impl ToString) -> Self {
        ProfileError::Syntax { path: path.to_owned(), line, reason: reason.to_string() }
    }

    pub(crate) fn structure(path: &Path, reason: impl Into<String>) -> Self {
        ProfileError::Structure { path: path.to_owned(), reason: reason.into() }
    }
}
