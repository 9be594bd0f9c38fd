//! `package.mask` and `package.unmask` (PMS 5.2.7), with the reasons their comments give.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ProfileError;
use super::lines::read_lines;
use crate::PackageRef;
use crate::atom::Atom;

/// A line of `package.mask`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    pub atom: Atom,
    /// The comment above it, one line per line; empty when there is none.
    pub reason: String,
}

/// Masks and what lifts them.
#[derive(Clone, Debug, Default)]
pub struct Masks {
    /// By `category/package`.
    masked: HashMap<String, Vec<Mask>>,
    unmasked: HashMap<String, Vec<Atom>>,
}

impl Masks {
    /// Reads the repository's own files, whose atoms count for its packages only, and those of the profile, where `-atom` takes back
    /// what a parent masked.
    pub(super) fn read(repository: &Path, name: &str, nodes: &[PathBuf]) -> Result<Masks, ProfileError> {
        let own = vec![repository.join("profiles")];
        let repo = (!name.is_empty()).then(|| name.to_owned());
        let mut masks = Masks::default();
        for (folders, repo) in [(own.as_slice(), repo), (nodes, None)] {
            for mask in stack(folders, "package.mask", repo.as_deref())? {
                masks.masked.entry(mask.atom.cp()).or_default().push(mask);
            }
            for mask in stack(folders, "package.unmask", repo.as_deref())? {
                masks.unmasked.entry(mask.atom.cp()).or_default().push(mask.atom);
            }
        }
        Ok(masks)
    }

    /// Adds a mask of the operator's.
    pub fn mask(&mut self, atom: Atom, reason: impl Into<String>) {
        self.masked.entry(atom.cp()).or_default().push(Mask { atom, reason: reason.into() });
    }

    /// Lifts all masks from what the atom matches.
    pub fn unmask(&mut self, atom: Atom) {
        self.unmasked.entry(atom.cp()).or_default().push(atom);
    }

    /// The mask that keeps the package out; none when it is free.
    pub fn find(&self, package: PackageRef<'_>) -> Option<&Mask> {
        if self.masked.is_empty() {
            return None;
        }
        let cp = package.cpv.cp();
        let mask = self.masked.get(&cp)?.iter().find(|mask| mask.atom.matches_package(package))?;
        let lifted = self.unmasked.get(&cp).is_some_and(|atoms| atoms.iter().any(|atom| atom.matches_package(package)));
        (!lifted).then_some(mask)
    }
}

/// The atoms of a file through all folders, `-atom` taken back.
fn stack(folders: &[PathBuf], file: &str, repo: Option<&str>) -> Result<Vec<Mask>, ProfileError> {
    let mut found: Vec<Mask> = Vec::new();
    for folder in folders {
        for line in read_lines(&folder.join(file))? {
            let (text, taken_back) = match line.text.strip_prefix('-') {
                Some(text) => (text, true),
                None => (line.text.as_str(), false),
            };
            if taken_back && text == "*" {
                found.clear();
                continue;
            }
            let mut atom = Atom::parse(text).map_err(|e| line.error(e))?;
            if atom.repo.is_none() {
                atom.repo = repo.map(str::to_owned);
            }
            match taken_back {
                true => found.retain(|mask| mask.atom != atom),
                false => found.push(Mask { atom, reason: line.comment }),
            }
        }
    }
    Ok(found)
}
