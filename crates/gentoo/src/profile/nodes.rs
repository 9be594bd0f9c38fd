//! The chain of folders a profile consists of (PMS 5.2.1): parents first, the profile itself last.

use std::path::{Path, PathBuf};

use super::ProfileError;
use super::lines::{read_lines, read_text};
use crate::Eapi;

/// Most folders of one profile, and how deep parents may nest; Gentoo's have some 20 and 8.
const MAX_NODES: usize = 512;
const MAX_DEPTH: usize = 64;

/// Finds all folders of the profile in the order in which they apply. A folder that is reached twice applies twice, as PMS says.
pub(super) fn profile_nodes(profile: &Path, repository: &Path) -> Result<Vec<PathBuf>, ProfileError> {
    let canonical = |path: &Path| path.canonicalize().map_err(|e| ProfileError::io(path, e));
    let (profile, repository) = (canonical(profile)?, canonical(repository)?);
    let name = read_text(&repository.join("profiles/repo_name"))?.unwrap_or_default().trim().to_owned();
    let mut search = Search { repository, name, start: profile.clone(), open: Vec::new(), found: Vec::new() };
    search.visit(profile)?;
    Ok(search.found)
}

struct Search {
    repository: PathBuf,
    /// The repository's own name, for parents of the form `name:path`.
    name: String,
    start: PathBuf,
    /// The folders being visited, to notice circles.
    open: Vec<PathBuf>,
    found: Vec<PathBuf>,
}

impl Search {
    fn visit(&mut self, node: PathBuf) -> Result<(), ProfileError> {
        if self.open.contains(&node) {
            return Err(ProfileError::structure(&node, "the profile is its own parent"));
        }
        if self.open.len() >= MAX_DEPTH || self.found.len() >= MAX_NODES {
            return Err(ProfileError::structure(&node, "the profile has too many parents"));
        }
        check_eapi(&node)?;
        self.open.push(node.clone());
        for line in read_lines(&node.join("parent"))? {
            let parent = self.locate(&node, &line.text).map_err(|reason| line.error(reason))?;
            self.visit(parent)?;
        }
        self.open.pop();
        self.found.push(node);
        Ok(())
    }

    /// The folder a line of `parent` means: relative to the profile, or `repo:path` below that repository's `profiles`.
    fn locate(&self, node: &Path, parent: &str) -> Result<PathBuf, String> {
        let path = match parent.split_once(':') {
            Some((repo, path)) if repo.is_empty() || repo == self.name => self.repository.join("profiles").join(path),
            Some((repo, _)) => {
                return Err(format!("the parent is in the repository “{}”, which is not here", repo.escape_debug()));
            }
            None => node.join(parent),
        };
        let path = path.canonicalize().map_err(|e| format!("the parent “{}” cannot be read: {e}", parent.escape_debug()))?;
        // A tree comes from outside: its parents must not reach for other folders of this machine.
        if path.starts_with(&self.repository) || path.starts_with(&self.start) {
            return Ok(path);
        }
        Err(format!("the parent “{}” lies outside the repository", parent.escape_debug()))
    }
}

fn check_eapi(node: &Path) -> Result<(), ProfileError> {
    let path = node.join("eapi");
    let text = read_text(&path)?;
    let eapi = text.as_deref().and_then(|t| t.lines().next()).unwrap_or("0").trim();
    Eapi::parse(eapi).map(|_| ()).map_err(|e| ProfileError::syntax(&path, 1, e))
}
