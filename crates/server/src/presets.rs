//! Presets: named starting points for orders. One TOML file each; two are built in.

use std::path::Path;

use contract::Format;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

const BUILT_IN: [(&str, &str); 2] = [
    ("amd64-server.toml", include_str!("../../../presets/amd64-server.toml")),
    ("amd64-desktop.toml", include_str!("../../../presets/amd64-desktop.toml")),
];

/// A named starting point for orders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    pub name: String,
    pub title: String,
    pub arch: String,
    /// The channel it needs; none means any of its arch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    pub description: String,
    /// Atoms, as in an order.
    pub packages: Vec<String>,
    /// Services to start at boot.
    #[serde(default)]
    pub services: Vec<String>,
    /// Formats suggested on the order page.
    #[serde(default)]
    pub formats: Vec<Format>,
}

/// All presets of a site, in the order they are shown.
#[derive(Clone, Debug, Default)]
pub struct Presets(Vec<Preset>);

impl Presets {
    /// The built-in presets and those of a folder, where a file replaces the built-in preset of its name.
    pub fn load(dir: Option<&Path>) -> Result<Presets, ConfigError> {
        let mut presets = Presets::default();
        for (file, text) in BUILT_IN {
            presets.add(file, text)?;
        }
        let Some(dir) = dir else {
            return Ok(presets);
        };
        let unreadable = |source| ConfigError::Unreadable { path: dir.to_owned(), source };
        let mut files: Vec<_> = std::fs::read_dir(dir)
            .map_err(unreadable)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(unreadable)?
            .into_iter()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "toml"))
            .collect();
        files.sort();
        for path in files {
            let text = std::fs::read_to_string(&path).map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
            presets.add(&path.display().to_string(), &text)?;
        }
        Ok(presets)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ConfigError> {
        let preset: Preset = toml::from_str(text).map_err(|e| ConfigError::Invalid(format!("preset {file}: {e}")))?;
        match self.0.iter_mut().find(|p| p.name == preset.name) {
            Some(known) => *known = preset,
            None => self.0.push(preset),
        }
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<&Preset> {
        self.0.iter().find(|p| p.name == name)
    }

    pub fn all(&self) -> &[Preset] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_presets_are_good() {
        let presets = Presets::load(None).unwrap();
        for name in ["amd64-server", "amd64-desktop"] {
            let preset = presets.get(name).unwrap();
            assert!(!preset.packages.is_empty() && !preset.formats.is_empty(), "{name}");
        }
    }

    #[test]
    fn a_file_replaces_the_built_in_preset_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name='amd64-server'\ntitle='Ours'\narch='amd64'\ndescription='x'\npackages=['a/b']\n";
        std::fs::write(dir.path().join("x.toml"), text).unwrap();
        let presets = Presets::load(Some(dir.path())).unwrap();
        assert_eq!(presets.get("amd64-server").unwrap().title, "Ours");
        assert_eq!(presets.all().len(), 2);
    }
}
