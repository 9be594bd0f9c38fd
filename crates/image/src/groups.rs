//! Which files of a tree belong together.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Which files of a tree came together, and will again in other images: the files of a package, say. Formats that choose the order of
/// their files keep them together, so that images which share a group share its compressed form. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    ranks: Arc<HashMap<Vec<u8>, usize>>,
}

impl Groups {
    /// Groups from pairs of a path, as a tree has it, and the name of its group.
    pub fn new<P: Into<Vec<u8>>, N: Into<String>>(files: impl IntoIterator<Item = (P, N)>) -> Groups {
        let files: Vec<(Vec<u8>, String)> = files.into_iter().map(|(path, name)| (path.into(), name.into())).collect();
        let names: BTreeSet<&str> = files.iter().map(|(_, name)| name.as_str()).collect();
        let ranks: HashMap<&str, usize> = names.into_iter().enumerate().map(|(rank, name)| (name, rank)).collect();
        let rank = |name: &str| ranks.get(name).copied().unwrap_or(usize::MAX);
        Groups { ranks: Arc::new(files.iter().map(|(path, name)| (path.clone(), rank(name))).collect()) }
    }

    pub fn is_empty(&self) -> bool {
        self.ranks.is_empty()
    }

    /// Where a file's group stands among all, by name; what is in no group is last.
    pub(crate) fn rank(&self, path: &[u8]) -> usize {
        self.ranks.get(path).copied().unwrap_or(usize::MAX)
    }
}
