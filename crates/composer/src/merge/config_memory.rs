//! Portage's memory of configuration files: which update of a protected file was offered last, so that none is offered twice
//! (`/var/lib/portage/config`, `const.py: CONFIG_MEMORY_FILE`).

use image::{Store, Tree};

use crate::ComposeError;

const FILE: &str = "var/lib/portage/config";

/// Paths (with the leading slash) and the MD5 of what was offered last, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMemory(Vec<(String, String)>);

impl ConfigMemory {
    /// What the root remembers.
    pub fn read(tree: &Tree, store: &Store) -> Result<ConfigMemory, ComposeError> {
        let bytes = tree.read_file(store, FILE)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let pair = |line: &str| line.split_once(' ').map(|(path, md5)| (path.to_owned(), md5.trim().to_owned()));
        Ok(ConfigMemory(text.lines().filter(|line| !line.starts_with('#')).filter_map(pair).collect()))
    }

    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == path).map(|(_, md5)| md5.as_str())
    }

    pub fn set(&mut self, path: &str, md5: &str) {
        match self.0.iter_mut().find(|(known, _)| known == path) {
            Some((_, old)) => md5.clone_into(old),
            None => self.0.push((path.to_owned(), md5.to_owned())),
        }
    }

    pub fn forget(&mut self, path: &str) {
        self.0.retain(|(known, _)| known != path);
    }

    /// Writes it where it differs from what it was before.
    pub fn write(&self, before: &ConfigMemory, tree: &mut Tree, store: &Store) -> Result<(), ComposeError> {
        if self == before {
            return Ok(());
        }
        let text: String = self.0.iter().map(|(path, md5)| format!("{path} {md5}\n")).collect();
        Ok(tree.write_file(store, FILE, text.as_bytes(), 0o644)?)
    }
}
