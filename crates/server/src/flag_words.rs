//! What USE flags mean, read from channels' repositories when it is first asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gentoo::use_desc::FlagDescriptions;

/// The descriptions of each repository that was asked about.
#[derive(Clone, Default)]
pub struct FlagWords(Arc<Mutex<HashMap<PathBuf, Arc<FlagDescriptions>>>>);

impl FlagWords {
    /// The descriptions of the repository at this path, read once while the server runs. It reads files: run it where blocking is allowed.
    pub fn of(&self, repository: &Path) -> Arc<FlagDescriptions> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.entry(repository.to_owned()).or_insert_with(|| Arc::new(read(repository))).clone()
    }
}

/// Reads what there is: a repository need not describe its flags.
fn read(repository: &Path) -> FlagDescriptions {
    let profiles = repository.join("profiles");
    let text = |path: &Path| match std::fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "the descriptions of USE flags cannot be read");
            }
            String::new()
        }
    };
    let mut flags = FlagDescriptions::default();
    let files = std::fs::read_dir(profiles.join("desc")).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in files.filter(|path| path.extension().is_some_and(|ending| ending == "desc")) {
        if let Some(variable) = file.file_stem().and_then(|stem| stem.to_str()) {
            flags.add_expanded(variable, &text(&file));
        }
    }
    flags.add_global(&text(&profiles.join("use.desc")));
    flags.add_local(&text(&profiles.join("use.local.desc")));
    flags
}
