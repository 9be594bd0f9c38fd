//! Libraries that are kept although the package that brought them was replaced, as others still need them: FEATURES=preserve-libs and
//! its registry (Portage's `vartree.py: _find_libs_to_preserve, _find_unused_preserved_libs`, `PreservedLibsRegistry.py`).

use std::collections::{BTreeMap, BTreeSet};

use gentoo::Cpv;
use image::{Kind, Store, Tree};
use serde::Serialize;

use super::contents::{self, Contents, Node, Order};
use super::intake::slot_of;
use super::linkage::Linkage;
use super::removal::Removed;
use super::vdb::{self, NEEDED, Vdb};
use super::{Merger, Package};
use crate::ComposeError;

const REGISTRY: &str = "var/lib/portage/preserved_libs_registry";

/// What is preserved, by `category/package:slot`: the package (CPV) whose record lists it, its COUNTER, and the paths with their
/// leading slash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry(BTreeMap<String, (String, String, Vec<String>)>);

impl Registry {
    /// Reads the root's registry; entries that are no longer there are dropped. One that makes no sense counts as empty, as for Portage.
    pub fn read(tree: &Tree, store: &Store) -> Result<Registry, ComposeError> {
        let bytes = tree.read_file(store, REGISTRY)?.unwrap_or_default();
        let mut entries: BTreeMap<String, (String, String, Vec<String>)> = serde_json::from_slice(&bytes).unwrap_or_default();
        for (_, _, paths) in entries.values_mut() {
            paths.retain(|path| tree.resolve_parent(path).is_ok_and(|real| tree.contains(real)));
        }
        entries.retain(|_, (_, _, paths)| !paths.is_empty());
        Ok(Registry(entries))
    }

    /// Notes what a package's record lists for others' sake.
    pub fn register(&mut self, cpv: &Cpv, slot: &str, counter: u64, paths: &BTreeSet<Vec<u8>>) {
        if !paths.is_empty() {
            let paths = paths.iter().map(|path| format!("/{}", String::from_utf8_lossy(path))).collect();
            self.0.insert(format!("{}:{slot}", cpv.cp()), (cpv.to_string(), counter.to_string(), paths));
        }
    }

    /// Forgets what an instance that goes had preserved.
    pub fn unregister(&mut self, cpv: &Cpv) {
        let cpv = cpv.to_string();
        self.0.retain(|_, (owner, _, _)| *owner != cpv);
    }

    /// Writes it as Portage does: JSON, indented by tabs, keys sorted.
    pub fn write(&self, before: &Registry, tree: &mut Tree, store: &Store) -> Result<(), ComposeError> {
        if self == before {
            return Ok(());
        }
        let mut text = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        self.0.serialize(&mut serializer).map_err(|error| ComposeError::new(error.to_string(), ""))?;
        Ok(tree.write_file(store, REGISTRY, &text, 0o644)?)
    }

    fn paths(&self) -> BTreeSet<Vec<u8>> {
        self.0.values().flat_map(|(_, _, paths)| paths).map(|path| path.trim_start_matches('/').as_bytes().to_vec()).collect()
    }
}

impl Merger<'_> {
    /// Finds what others still need of the instances that a package replaces, and lists it in the package's own CONTENTS.
    pub(super) fn preserve(&mut self, removed: &[Removed], package: &mut Package) -> Result<BTreeSet<Vec<u8>>, ComposeError> {
        // Only the instance merged last can have libraries in use; without libraries of its own there is nothing to look for.
        let Some(old) = removed.last() else { return Ok(BTreeSet::new()) };
        let text = |metadata: &BTreeMap<String, Vec<u8>>, key: &str| {
            metadata.get(key).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
        };
        let restricted = |metadata| text(metadata, "RESTRICT").split_whitespace().any(|word| word == "preserve-libs");
        if text(&old.metadata, NEEDED).is_empty() || restricted(&old.metadata) || restricted(&package.metadata) {
            return Ok(BTreeSet::new());
        }
        let store = self.request.store;
        let mut needed = self.vdb.needed(&self.tree, store)?;
        needed.push(text(&package.metadata, NEEDED));
        let paths = to_preserve(&self.tree, store, needed, &old.contents, &package.merged.contents)?;
        adopt(&paths, &old.contents, &mut package.merged.contents);
        if !paths.is_empty() {
            package.merged.order = Order::Sorted;
        }
        for path in &paths {
            self.owners.insert(self.tree.resolve_parent(path)?, package.cpv.to_string());
            self.observer.log(&format!("{}: /{} is kept, as other packages need it", package.cpv, String::from_utf8_lossy(path)));
        }
        Ok(paths)
    }

    /// Finds what others need of a package that goes without another in its place. It stays, and belongs to nobody.
    pub(super) fn preserve_of(&mut self, old: &Removed) -> Result<BTreeSet<Vec<u8>>, ComposeError> {
        let has = |key: &str, word: &str| {
            let text = old.metadata.get(key).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
            text.split_whitespace().any(|found| found == word)
        };
        if !old.metadata.contains_key(NEEDED) || has("RESTRICT", "preserve-libs") {
            return Ok(BTreeSet::new());
        }
        let needed = self.vdb.needed(&self.tree, self.request.store)?;
        to_preserve(&self.tree, self.request.store, needed, &old.contents, &Contents::new())
    }

    /// Notes what a package's record lists for others' sake, or what one that is gone has left.
    pub(super) fn register_preserved(
        &mut self,
        cpv: &Cpv,
        metadata: &BTreeMap<String, Vec<u8>>,
        counter: u64,
        paths: &BTreeSet<Vec<u8>>,
    ) -> Result<(), ComposeError> {
        if paths.is_empty() {
            return Ok(());
        }
        let before = Registry::read(&self.tree, self.request.store)?;
        let mut registry = before.clone();
        let slot = slot_of(metadata);
        registry.register(cpv, slot.split('/').next().unwrap_or_default(), counter, paths);
        registry.write(&before, &mut self.tree, self.request.store)
    }

    /// Forgets what an instance that goes had preserved.
    pub(super) fn unregister_preserved(&mut self, cpv: &Cpv) -> Result<(), ComposeError> {
        let before = Registry::read(&self.tree, self.request.store)?;
        let mut registry = before.clone();
        registry.unregister(cpv);
        registry.write(&before, &mut self.tree, self.request.store)
    }

    /// Removes the preserved libraries that nothing needs any more.
    pub(super) fn prune_preserved(&mut self) -> Result<(), ComposeError> {
        let gone = prune(&mut self.tree, self.request.store, &self.vdb)?;
        self.libraries_changed |= !gone.is_empty();
        for path in gone {
            self.observer.log(&format!("/{} was kept and is needed no more", String::from_utf8_lossy(&path)));
        }
        self.refresh_libraries()
    }
}

/// The paths of a package that goes which others still need, once the one that replaces it is merged: libraries, and the links of their
/// sonames. `needed` are the NEEDED.ELF.2 texts of all packages, both instances included.
fn to_preserve(
    tree: &Tree,
    store: &Store,
    needed: Vec<String>,
    old: &Contents,
    new: &Contents,
) -> Result<BTreeSet<Vec<u8>>, ComposeError> {
    let linkage = Linkage::read(tree, store, needed, &Registry::read(tree, store)?.paths())?;
    let reals = |contents: &Contents| contents.keys().filter_map(|path| tree.resolve_parent(path).ok()).collect::<BTreeSet<_>>();
    let (old_reals, new_reals) = (reals(old), reals(new));
    let mut names: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for path in old.iter().filter(|(_, node)| matches!(node, Node::Obj { .. } | Node::Sym { .. })).map(|(path, _)| path) {
        if let Some(real) = tree.resolve(path).ok().filter(|real| linkage.soname(real).is_some()) {
            names.entry(real).or_default().insert(path.clone());
        }
    }
    let owned = |path: &[u8]| old_reals.contains(path);
    let mut consumers = BTreeMap::new();
    for (real, names) in &names {
        let found = linkage.consumers(real, names, &owned);
        consumers.extend((!found.is_empty()).then(|| (real.clone(), found)));
    }
    let is_provider = |path: &Vec<u8>| consumers.contains_key(path);
    // Needed by what stays, and then by what is preserved itself.
    let stays = |path: &Vec<u8>| !is_provider(path) && (!owned(path) || new_reals.contains(path));
    let mut kept: BTreeSet<Vec<u8>> =
        consumers.iter().filter(|(_, users)| users.iter().any(stays)).map(|(real, _)| real.clone()).collect();
    loop {
        let more: Vec<Vec<u8>> = consumers
            .iter()
            .filter(|(real, users)| !kept.contains(*real) && users.iter().any(|user| kept.contains(user)))
            .map(|(real, _)| real.clone())
            .collect();
        if more.is_empty() {
            break;
        }
        kept.extend(more);
    }
    let mut paths = BTreeSet::new();
    for real in kept {
        paths.extend(names_to_keep(tree, &linkage, &real, names.get(&real), &new_reals));
    }
    Ok(paths)
}

/// The library itself and the link of its soname, unless the new package brings both.
fn names_to_keep(
    tree: &Tree,
    linkage: &Linkage<'_>,
    real: &[u8],
    names: Option<&BTreeSet<Vec<u8>>>,
    new: &BTreeSet<Vec<u8>>,
) -> BTreeSet<Vec<u8>> {
    let soname = linkage.soname(real).unwrap_or_default().as_bytes();
    let (mut files, mut links) = (BTreeSet::new(), BTreeSet::new());
    let (mut file_replaced, mut link_replaced) = (false, false);
    for name in names.into_iter().flatten() {
        let Ok(place) = tree.resolve_parent(name) else { continue };
        let replaced = new.contains(&place);
        let is_soname = name.rsplit(|b| *b == b'/').next() == Some(soname);
        match tree.get(&place).map(|entry| &entry.kind) {
            Some(Kind::File { .. }) => {
                files.insert(name.clone());
                file_replaced |= replaced;
                link_replaced |= replaced && is_soname;
            }
            Some(Kind::Symlink(_)) if is_soname => {
                links.insert(name.clone());
                link_replaced |= replaced;
            }
            _ => {}
        }
    }
    if files.is_empty() || (file_replaced && link_replaced) {
        return BTreeSet::new();
    }
    files.extend(links);
    files
}

/// Adds what is preserved to the new package's CONTENTS, with the directories on the way.
fn adopt(paths: &BTreeSet<Vec<u8>>, old: &Contents, new: &mut Contents) {
    for path in paths {
        let Some(node) = old.get(path) else { continue };
        new.insert(path.clone(), node.clone());
        let mut rest = path.as_slice();
        while let Some(at) = rest.iter().rposition(|b| *b == b'/') {
            rest = rest.get(..at).unwrap_or_default();
            new.entry(rest.to_vec()).or_insert(Node::Dir);
        }
    }
}

/// Removes the preserved libraries that nothing needs any more, from the root and from the records that list them. Returns their paths.
fn prune(tree: &mut Tree, store: &Store, vdb: &Vdb) -> Result<Vec<Vec<u8>>, ComposeError> {
    let before = Registry::read(tree, store)?;
    if before.0.is_empty() {
        return Ok(Vec::new());
    }
    let paths = before.paths();
    let unneeded = unneeded(tree, store, vdb.needed(tree, store)?, &paths)?;
    let mut registry = before.clone();
    for (cpv, _, kept) in registry.0.values_mut() {
        let gone: BTreeSet<Vec<u8>> = kept
            .iter()
            .map(|path| path.trim_start_matches('/').as_bytes().to_vec())
            .filter(|path| unneeded.contains(path))
            .collect();
        kept.retain(|path| !gone.contains(path.trim_start_matches('/').as_bytes()));
        if let Some(cpv) = Cpv::parse(cpv).ok().filter(|_| !gone.is_empty()) {
            strike(tree, store, &cpv, &gone)?;
        }
    }
    registry.0.retain(|_, (_, _, kept)| !kept.is_empty());
    for path in &unneeded {
        let real = tree.resolve_parent(path)?;
        if tree.get(&real).is_some_and(|entry| !entry.is_dir()) {
            tree.remove(&real)?;
        }
    }
    registry.write(&before, tree, store)?;
    Ok(unneeded.into_iter().collect())
}

fn unneeded(
    tree: &Tree,
    store: &Store,
    needed: Vec<String>,
    paths: &BTreeSet<Vec<u8>>,
) -> Result<BTreeSet<Vec<u8>>, ComposeError> {
    let linkage = Linkage::read(tree, store, needed, paths)?;
    let mut names: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for path in paths {
        if let Ok(real) = tree.resolve(path) {
            names.entry(real).or_default().insert(path.clone());
        }
    }
    let preserved: BTreeSet<Vec<u8>> = names.keys().cloned().collect();
    let users: BTreeMap<&Vec<u8>, BTreeSet<Vec<u8>>> =
        names.iter().map(|(real, names)| (real, linkage.consumers(real, names, &|_| true))).collect();
    let counts = |real: &[u8], user: &Vec<u8>| {
        !preserved.contains(user) && !linkage.finds_another(user, linkage.soname(real).unwrap_or_default(), &preserved)
    };
    let mut kept: BTreeSet<Vec<u8>> = users
        .iter()
        .filter(|(real, users)| users.iter().any(|user| counts(real, user)))
        .map(|(real, _)| (*real).clone())
        .collect();
    loop {
        let more: Vec<Vec<u8>> = users
            .iter()
            .filter(|(real, users)| !kept.contains(**real) && users.iter().any(|user| kept.contains(user)))
            .map(|(real, _)| (*real).clone())
            .collect();
        if more.is_empty() {
            break;
        }
        kept.extend(more);
    }
    Ok(names.into_iter().filter(|(real, _)| !kept.contains(real)).flat_map(|(_, names)| names).collect())
}

/// Takes paths out of a package's CONTENTS.
fn strike(tree: &mut Tree, store: &Store, cpv: &Cpv, gone: &BTreeSet<Vec<u8>>) -> Result<(), ComposeError> {
    let path = format!("{}/CONTENTS", vdb::record_dir(cpv));
    let Some(listed) = tree.read_file(store, &path)? else { return Ok(()) };
    let mut contents = contents::parse(&listed);
    contents.retain(|path, _| !gone.contains(path));
    Ok(tree.write_file(store, &path, contents::text(&contents, &Order::Sorted).as_bytes(), 0o644)?)
}
