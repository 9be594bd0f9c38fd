//! What the libraries and programs of a package need and offer.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::elf::{Dynamic, Elf};
use serde::{Deserialize, Serialize};

use crate::content::{Content, Kind};

/// What one build's files say about libraries; kept beside the package so that it need not be unpacked again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Sonames by Portage's multilib category.
    pub provides: BTreeMap<String, BTreeSet<String>>,
    /// Sonames that the files need and do not bring themselves.
    pub requires: BTreeMap<String, BTreeSet<String>>,
    /// The lines of NEEDED.ELF.2.
    pub needed: Vec<String>,
    /// Bytes of all files.
    pub size: u64,
    /// The latest time in the archives.
    pub newest: u64,
}

impl Facts {
    /// Reads the files of a build.
    pub fn of(content: &Content) -> Facts {
        let mut facts = Facts { size: content.size(), newest: content.newest, ..Facts::default() };
        for (path, node) in &content.nodes {
            let Kind::File(bytes) = &node.kind else { continue };
            let Some((machine, category, dynamic)) = linking(bytes) else { continue };
            let soname = dynamic.soname.clone().or_else(|| library_name(path));
            facts.provides.entry(category.to_owned()).or_default().extend(soname);
            facts.requires.entry(category.to_owned()).or_default().extend(dynamic.needed.iter().cloned());
            facts.needed.push(needed_line(path, machine, category, &dynamic));
        }
        for (category, needed) in &mut facts.requires {
            if let Some(own) = facts.provides.get(category) {
                needed.retain(|soname| !own.contains(soname));
            }
        }
        facts.provides.retain(|_, names| !names.is_empty());
        facts.requires.retain(|_, names| !names.is_empty());
        facts
    }

    /// PROVIDES or REQUIRES in the words of Portage.
    pub fn field(names: &BTreeMap<String, BTreeSet<String>>) -> String {
        let parts = names.iter().map(|(category, names)| {
            let list: Vec<&str> = names.iter().map(String::as_str).collect();
            format!("{category}: {}", list.join(" "))
        });
        parts.collect::<Vec<_>>().join(" ")
    }

    /// The file NEEDED, the older form of NEEDED.ELF.2.
    pub fn needed_text(&self) -> String {
        let line = |line: &String| {
            let fields: Vec<&str> = line.split(';').collect();
            format!("{} {}\n", fields.get(1).unwrap_or(&""), fields.get(4).unwrap_or(&""))
        };
        self.needed.iter().map(line).collect()
    }
}

/// A library without a soname goes by its file name.
fn library_name(path: &str) -> Option<String> {
    let name = path.rsplit('/').next()?;
    (name.starts_with("lib") && name.contains(".so")).then(|| name.to_owned())
}

/// The machine, its multilib category, and the dynamic section of a program or library. None for all else: scripts, static programs,
/// kernel modules, other machines' firmware.
fn linking(bytes: &[u8]) -> Option<(&'static str, &'static str, Dynamic)> {
    let elf = Elf::parse(bytes).ok()?;
    Some((elf.machine_name()?, elf.multilib_category()?, elf.dynamic().ok()??))
}

fn needed_line(path: &str, machine: &str, category: &str, dynamic: &Dynamic) -> String {
    format!(
        "{machine};/{path};{};{};{};{category}",
        dynamic.soname.as_deref().unwrap_or(""),
        dynamic.runpath.as_deref().unwrap_or(""),
        dynamic.needed.join(","),
    )
}
