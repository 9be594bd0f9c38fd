//! Presets: named starting points for orders. One TOML file each, which may serve several architectures; two are built in.

use std::path::Path;

use contract::{Format, Order, OrderError, System};
use serde::{Deserialize, Serialize};

use crate::config::{ChannelConfig, ConfigError};

const BUILT_IN: [(&str, &str); 7] = [
    ("server.toml", include_str!("../../../presets/server.toml")),
    ("desktop.toml", include_str!("../../../presets/desktop.toml")),
    ("server-systemd.toml", include_str!("../../../presets/server-systemd.toml")),
    ("desktop-systemd.toml", include_str!("../../../presets/desktop-systemd.toml")),
    ("xfce.toml", include_str!("../../../presets/xfce.toml")),
    ("xfce-systemd.toml", include_str!("../../../presets/xfce-systemd.toml")),
    ("hatchery.toml", include_str!("../../../presets/hatchery.toml")),
];

/// A named starting point for orders of one architecture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Preset {
    pub name: String,
    pub title: String,
    pub arch: String,
    /// The channels it can be ordered from, best first; none means any of its arch.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub channels: Vec<String>,
    pub description: String,
    /// Atoms, as in an order.
    pub packages: Vec<String>,
    /// Services to start at boot.
    pub services: Vec<String>,
    /// Formats suggested on the order page.
    pub formats: Vec<Format>,
}

impl Preset {
    /// Whether all that it has could be asked of an order.
    fn check(&self) -> Result<(), OrderError> {
        let suggested = if self.formats.is_empty() { vec![Format::TarZst] } else { self.formats.clone() };
        let system = System { services: self.services.clone(), ..System::default() };
        Order { packages: self.packages.clone(), formats: suggested, system, ..self.order() }.check()
    }

    /// The preset as it is, with nothing personal.
    pub fn order(&self) -> Order {
        Order { arch: self.arch.clone(), preset: Some(self.name.clone()), formats: self.formats.clone(), ..Order::default() }
    }
}

/// A file of presets: the same for one architecture, or for several.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PresetFile {
    /// For several architectures, each preset's name begins with its own: `server` becomes `amd64-server` and `x86-server`.
    name: String,
    title: String,
    arch: Arches,
    #[serde(default)]
    channels: Vec<String>,
    description: String,
    packages: Vec<String>,
    #[serde(default)]
    services: Vec<String>,
    #[serde(default)]
    formats: Vec<Format>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "the name of an architecture, or a list of names")]
enum Arches {
    One(String),
    Several(Vec<String>),
}

impl PresetFile {
    fn presets(self) -> Vec<Preset> {
        let named = match &self.arch {
            Arches::One(arch) => vec![(self.name.clone(), arch.clone())],
            Arches::Several(arches) => arches.iter().map(|arch| (format!("{arch}-{}", self.name), arch.clone())).collect(),
        };
        let preset = |(name, arch)| Preset {
            name,
            arch,
            title: self.title.clone(),
            channels: self.channels.clone(),
            description: self.description.clone(),
            packages: self.packages.clone(),
            services: self.services.clone(),
            formats: self.formats.clone(),
        };
        named.into_iter().map(preset).collect()
    }
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
        let unreadable = |source| ConfigError::Unreadable { key: "presets_dir", path: dir.to_owned(), source };
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
            let text = std::fs::read_to_string(&path).map_err(ConfigError::unreadable("the preset", &path))?;
            presets.add(&path.display().to_string(), &text)?;
        }
        Ok(presets)
    }

    fn add(&mut self, file: &str, text: &str) -> Result<(), ConfigError> {
        let read: PresetFile = toml::from_str(text).map_err(|e| ConfigError::Invalid(format!("preset {file}: {e}")))?;
        for preset in read.presets() {
            preset.check().map_err(|e| ConfigError::Invalid(format!("preset {file}: {e}")))?;
            match self.0.iter_mut().find(|p| p.name == preset.name) {
                Some(known) => *known = preset,
                None => self.0.push(preset),
            }
        }
        Ok(())
    }

    /// Those that can be ordered from one of these channels.
    #[must_use]
    pub fn for_channels(mut self, channels: &[ChannelConfig]) -> Presets {
        self.0.retain(|preset| {
            let serves = |c: &ChannelConfig| {
                c.arch == preset.arch && c.prefix.is_none() && (preset.channels.is_empty() || preset.channels.contains(&c.name))
            };
            channels.iter().any(serves)
        });
        self
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
    use gentoo::Atom;

    use super::*;

    #[test]
    fn the_built_in_presets_are_good() {
        let presets = Presets::load(None).unwrap();
        for preset in presets.all() {
            let name = &preset.name;
            assert!(!preset.formats.is_empty() && !preset.services.is_empty(), "{name}");
            let atoms: Vec<Atom> = preset.packages.iter().map(|atom| Atom::parse(atom).unwrap()).collect();
            let has = |package: &str| atoms.iter().any(|atom| atom.cp() == package);
            assert!(
                has("sys-apps/systemd") == name.ends_with("-systemd") && has("sys-apps/openrc") != has("sys-apps/systemd"),
                "{name}"
            );
            assert!(!has("sys-apps/systemd") || !preset.services.iter().any(|s| s == "elogind" || s == "dhcpcd"), "{name}");
        }
        // Each base system, with either init, on the official channels and on the sample.
        for (arch, base, init) in ["amd64", "x86"].iter().flat_map(|arch| {
            ["server", "desktop"].into_iter().flat_map(move |base| ["", "-systemd"].map(|init| (*arch, base, init)))
        }) {
            assert!(presets.get(&format!("{arch}-{base}{init}")).is_some(), "{arch}-{base}{init}");
            let official = if base == "desktop" { "xfce" } else { base };
            let preset = presets.get(&format!("{arch}-{official}{init}")).unwrap();
            let channel = if arch == "amd64" { "gentoo" } else { "gentoo-x86" };
            assert!(preset.channels.is_empty() || preset.channels.iter().any(|c| c == channel), "{}", preset.name);
        }
    }

    #[test]
    fn a_file_replaces_the_built_in_preset_of_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let text = "name='amd64-server'\ntitle='Ours'\narch='amd64'\ndescription='x'\npackages=['a/b']\n";
        std::fs::write(dir.path().join("x.toml"), text).unwrap();
        let presets = Presets::load(Some(dir.path())).unwrap();
        assert_eq!(presets.get("amd64-server").unwrap().title, "Ours");
        assert_eq!(presets.all().len(), Presets::load(None).unwrap().all().len());
    }

    #[test]
    fn a_preset_that_no_order_could_ask_for_is_refused() {
        let preset = |packages: &str, rest: &str| {
            let text = format!("name='lab'\ntitle='Lab'\narch='amd64'\ndescription='x'\npackages=['{packages}']\n{rest}");
            Presets::default().add("lab.toml", &text).map_err(|error| error.to_string())
        };
        preset("@system", "services=['sshd']").unwrap();
        let wrong = [("app editors/vim", ""), ("a/b", "services=['../sshd']"), ("a/b", "formats=['zip','zip']")];
        for (packages, rest) in wrong {
            let told = preset(packages, rest).unwrap_err();
            assert!(told.contains("lab.toml"), "{told}");
        }
    }
}
