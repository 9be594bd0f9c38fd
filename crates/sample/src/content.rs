//! The files of one package: Debian's content moved to where Gentoo keeps it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use gentoo::binpkg::{Attributes, ImageWriter};
use tar::{Archive, EntryType};

use crate::SampleError;
use crate::dpkg::Dpkg;
use crate::places::{relocate, relocate_link};
use crate::recipe::{Build, Recipe, glob, moved};

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Directory,
    File(Vec<u8>),
    Symlink(String),
    /// Another name of the file at this path.
    HardLink(String),
}

/// One path of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub kind: Kind,
    pub mode: u32,
    pub owner: Owner,
    pub mtime: u64,
}

/// Who a path belongs to. Everything else is root's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Root,
    /// Group `shadow` (42).
    Shadow,
    /// Group `utmp` (43).
    Utmp,
}

impl Owner {
    fn of(group: &str) -> Option<Owner> {
        match group {
            "" | "root" => Some(Owner::Root),
            "shadow" => Some(Owner::Shadow),
            "utmp" => Some(Owner::Utmp),
            _ => None,
        }
    }

    fn group(self) -> (&'static str, u64) {
        match self {
            Owner::Root => ("root", 0),
            Owner::Shadow => ("shadow", 42),
            Owner::Utmp => ("utmp", 43),
        }
    }
}

/// The files of one package by path, without a leading slash; ancestors are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    pub nodes: BTreeMap<String, Node>,
    /// The latest time in Debian's archives, seconds since the epoch.
    pub newest: u64,
}

/// What no package of the sample takes from Debian: documentation (but not the copyright files), translations, and what belongs to
/// Debian's own way of starting services and of packaging.
const NEVER: &[&str] = &[
    "usr/share/man/*",
    "usr/share/info/*",
    "usr/share/locale/*",
    "usr/share/lintian/*",
    "usr/share/bug/*",
    "usr/share/doc-base/*",
    "usr/share/menu/*",
    "usr/share/gtk-doc/*",
    "usr/share/gdb/*",
    "usr/share/initramfs-tools/*",
    "usr/share/debhelper/*",
    "usr/share/zsh/*",
    "usr/share/apport/*",
    "usr/share/metainfo/*",
    "usr/share/applications/*",
    "usr/lib/systemd/system/*",
    "usr/lib/systemd/user/*",
    "etc/init.d/*",
    "etc/init/*",
    "etc/default/*",
    "etc/cron*",
    "etc/logrotate.d/*",
    "etc/apparmor.d/*",
    "etc/ufw/*",
    "etc/sv/*",
    "etc/menu-methods/*",
    "etc/network/*",
    "etc/kernel/*",
    "*.a",
    "*.la",
];

/// Where systemd's units are. Recipes name those that are taken.
const UNITS: &[&str] = &["usr/lib/systemd/system/", "usr/lib/systemd/user/"];

impl Content {
    /// The content of one build of a recipe, from the archives of its Debian packages and the recipe's own files.
    ///
    /// # Errors
    /// [`SampleError::Program`] when dpkg-deb fails, [`SampleError::Recipe`] when two archives bring the same file.
    pub fn gather(recipe: &Recipe, build: &Build, archives: &[&Path]) -> Result<Content, SampleError> {
        let mut content = Content::default();
        let wanted = |path: &str| is_wanted(recipe, build, path);
        for archive in archives {
            content.add_archive(recipe, archive, &wanted)?;
        }
        content.add_own(recipe, build);
        content.add_given(recipe)?;
        content.complete();
        Ok(content)
    }

    fn add_archive(&mut self, recipe: &Recipe, path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), SampleError> {
        let mut dpkg = Dpkg::open(path)?;
        let mut tree = BTreeMap::new();
        let mut parents = std::collections::BTreeSet::new();
        let fail = |e: std::io::Error| SampleError::program("dpkg-deb", format!("{}: {e}", path.display()));
        for entry in Archive::new(dpkg.stream()?).entries().map_err(fail)? {
            let mut entry = entry.map_err(fail)?;
            let original = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let original = original.trim_start_matches("./").trim_end_matches('/').to_owned();
            let target = document(recipe, moved(&recipe.moves, relocate(&original)));
            if let Some((parent, _)) = target.rsplit_once('/') {
                parents.insert(parent.to_owned());
            }
            if original.is_empty() || !wanted(&target) {
                continue;
            }
            if let Some(node) = read_node(&mut entry, &original, &target).map_err(fail)? {
                self.newest = self.newest.max(node.mtime);
                tree.insert(target, node);
            }
        }
        dpkg.finish()?;
        // A directory that was not empty in Debian's archive only stands for its content, which may have been left out.
        tree.retain(|path, node| node.kind != Kind::Directory || !parents.contains(path));
        for (path, node) in tree {
            match self.nodes.get(&path) {
                Some(old) if old.kind != node.kind => {
                    return Err(SampleError::recipe(&recipe.name, format!("two Debian packages bring /{path}")));
                }
                _ => self.nodes.insert(path, node),
            };
        }
        Ok(())
    }

    fn add_own(&mut self, recipe: &Recipe, build: &Build) {
        let mtime = self.newest;
        let own = |kind, mode| Node { kind, mode, owner: Owner::Root, mtime };
        for (path, mode) in recipe.dirs.iter().chain(&build.dirs) {
            self.nodes.insert(path.clone(), own(Kind::Directory, *mode));
        }
        for (path, file) in recipe.files.iter().chain(&build.files) {
            self.nodes.insert(path.clone(), own(Kind::File(file.text.clone().into_bytes()), file.mode));
        }
        for (path, target) in recipe.links.iter().chain(&build.links) {
            self.nodes.insert(path.clone(), own(Kind::Symlink(target.clone()), 0o777));
        }
        for (path, mode) in &recipe.modes {
            if let Some(node) = self.nodes.get_mut(path) {
                node.mode = *mode;
            }
        }
    }

    fn add_given(&mut self, recipe: &Recipe) -> Result<(), SampleError> {
        for (path, given) in &recipe.found {
            let bytes = std::fs::read(&given.path).map_err(SampleError::io(&given.path))?;
            let node = Node { kind: Kind::File(bytes), mode: 0o755, owner: Owner::Root, mtime: self.newest };
            self.nodes.insert(path.clone(), node);
        }
        Ok(())
    }

    /// Adds the directories above each path and drops hard links whose file was left out.
    fn complete(&mut self) {
        let broken: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, n)| matches!(&n.kind, Kind::HardLink(to) if !self.nodes.contains_key(to)))
            .map(|(path, _)| path.clone())
            .collect();
        for path in broken {
            self.nodes.remove(&path);
        }
        let paths: Vec<String> = self.nodes.keys().cloned().collect();
        for path in paths {
            let mut rest = path.as_str();
            while let Some((parent, _)) = rest.rsplit_once('/') {
                let mtime = self.newest;
                self.nodes.entry(parent.to_owned()).or_insert(Node {
                    kind: Kind::Directory,
                    mode: 0o755,
                    owner: Owner::Root,
                    mtime,
                });
                rest = parent;
            }
        }
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.nodes.values().map(|n| if let Kind::File(bytes) = &n.kind { bytes.len() as u64 } else { 0 }).sum()
    }

    /// Writes all paths, hard links after all files, as GLEP 78 readers want them.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, image: &mut ImageWriter<'_>) -> std::io::Result<()> {
        let root = Attributes { mode: 0o755, uid: 0, gid: 0, user: "root", group: "root", mtime: self.newest };
        image.directory(b"", &root)?;
        let (links, others): (Vec<_>, Vec<_>) = self.nodes.iter().partition(|(_, n)| matches!(n.kind, Kind::HardLink(_)));
        for (path, node) in others.into_iter().chain(links) {
            let (group, gid) = node.owner.group();
            let attributes = Attributes { mode: node.mode, uid: 0, gid, user: "root", group, mtime: node.mtime };
            let path = path.as_bytes();
            match &node.kind {
                Kind::Directory => image.directory(path, &attributes)?,
                Kind::File(bytes) => image.file(path, &attributes, bytes.len() as u64, &mut bytes.as_slice())?,
                Kind::Symlink(target) => image.symlink(path, target.as_bytes(), &attributes)?,
                Kind::HardLink(first) => image.hard_link(path, first.as_bytes(), &attributes)?,
            }
        }
        Ok(())
    }
}

fn is_wanted(recipe: &Recipe, build: &Build, path: &str) -> bool {
    let any = |globs: &[String]| globs.iter().any(|g| glob(g, path));
    let dropped = any(&recipe.drop) || any(&build.drop);
    if path.starts_with("usr/share/doc/") {
        return path.ends_with("/copyright") && !dropped;
    }
    let chosen = (recipe.keep.is_empty() || any(&recipe.keep)) && (build.keep.is_empty() || any(&build.keep));
    let is_unit =
        || UNITS.iter().filter_map(|folder| path.strip_prefix(folder)).any(|name| recipe.units.iter().any(|g| glob(g, name)));
    chosen && !dropped && (is_unit() || !NEVER.iter().any(|g| glob(g, path)))
}

/// Several packages may be made from one of Debian's, so each keeps the copyright file in a folder of its own.
fn document(recipe: &Recipe, path: String) -> String {
    match path.strip_prefix("usr/share/doc/").and_then(|rest| rest.strip_suffix("/copyright")) {
        Some(debian) => {
            let package = recipe.name.rsplit('/').next().unwrap_or(&recipe.name);
            format!("usr/share/doc/{package}/{debian}/copyright")
        }
        None => path,
    }
}

/// Reads one entry; `None` for what a package of the sample never has (devices) and for links that would point at themselves.
fn read_node<R: Read>(entry: &mut tar::Entry<'_, R>, original: &str, moved: &str) -> std::io::Result<Option<Node>> {
    let header = entry.header();
    let mut mode = header.mode()? & 0o7777;
    let mtime = header.mtime()?;
    let user = header.username_bytes().map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default();
    let group = header.groupname_bytes().map(|n| String::from_utf8_lossy(n).into_owned()).unwrap_or_default();
    let owner = match (user.as_str(), Owner::of(&group)) {
        ("" | "root", Some(owner)) => owner,
        _ => {
            mode &= 0o0777;
            Owner::Root
        }
    };
    let link = entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned()).unwrap_or_default();
    let kind = match header.entry_type() {
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => {
            let target = relocate_link(original, moved, &link);
            let name = moved.rsplit('/').next().unwrap_or_default();
            if target == name || target.trim_start_matches('/') == moved {
                return Ok(None);
            }
            Kind::Symlink(target)
        }
        EntryType::Link => Kind::HardLink(relocate(link.trim_start_matches("./"))),
        EntryType::Regular | EntryType::Continuous => {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            Kind::File(bytes)
        }
        _ => return Ok(None),
    };
    Ok(Some(Node { kind, mode, owner, mtime }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_above_are_added_and_dangling_hard_links_go() {
        let mut content = Content { newest: 7, ..Content::default() };
        let node = |kind, mode| Node { kind, mode, owner: Owner::Root, mtime: 7 };
        content.nodes.insert("usr/bin/a".into(), node(Kind::HardLink("usr/bin/b".into()), 0o755));
        content.nodes.insert("usr/bin/b".into(), node(Kind::File(b"x".to_vec()), 0o4755));
        content.nodes.insert("opt/c".into(), node(Kind::HardLink("opt/gone".into()), 0o755));
        content.complete();
        let paths: Vec<&str> = content.nodes.keys().map(String::as_str).collect();
        assert_eq!(paths, ["usr", "usr/bin", "usr/bin/a", "usr/bin/b"]);
        assert_eq!(content.size(), 1);
    }
}
