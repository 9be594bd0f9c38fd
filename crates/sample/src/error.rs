//! What can go wrong when the sample channel is made, in words for the person who asked for it.

use std::path::Path;

/// Why the sample channel could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// A recipe is wrong: a fault of ours, found when recipes are changed.
    #[error("the recipe {name} is wrong: {message}")]
    Recipe { name: String, message: String },
    /// A program is missing or failed.
    #[error("{program} failed: {message}")]
    Program { program: String, message: String },
    /// Apt's lists are absent or too old.
    #[error("apt does not know {}; run `apt-get update` as root (Debian 12 or 13, component main) and try again", list(.names))]
    UnknownDebs { names: Vec<String> },
    /// The download failed and the cache cannot serve.
    #[error(
        "Debian's packages could not be fetched: {message}\nIf apt's lists are old, run `apt-get update` as root and try again"
    )]
    Download { message: String },
    /// A library that a package needs is in no package of the sample.
    #[error("libraries are missing from the sample's recipes: {}", list(.missing))]
    Unresolved { missing: Vec<String> },
    /// Reading or writing a file failed.
    #[error("{path}: {source}")]
    Io { path: String, source: std::io::Error },
    /// Writing or signing a package failed.
    #[error("the package {cpv} could not be written: {message}")]
    Package { cpv: String, message: String },
    /// The signing key could not be made or read.
    #[error("the sample's signing key {path} does not serve: {message}; delete the folder to make a new one")]
    Key { path: String, message: String },
}

impl SampleError {
    pub(crate) fn recipe(name: &str, message: impl Into<String>) -> Self {
        SampleError::Recipe { name: name.to_owned(), message: message.into() }
    }

    pub(crate) fn program(program: &str, message: impl Into<String>) -> Self {
        SampleError::Program { program: program.to_owned(), message: message.into() }
    }

    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| SampleError::Io { path, source }
    }
}

fn list(names: &[String]) -> String {
    const SHOWN: usize = 20;
    let mut text = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}
