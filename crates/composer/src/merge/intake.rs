//! A package's way into the root: its files merged, what it replaces taken out, its record written.

use std::collections::BTreeSet;

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;

use super::accounts::Names;
use super::ahead::Opened;
use super::config_memory::ConfigMemory;
use super::contents::{self, Contents};
use super::env_update::Environment;
use super::files::{Merge, Merged, Owners};
use super::info;
use super::install_mask::InstallMask;
use super::package::Image;
use super::protect::Replaced;
use super::removal::{Removed, Unmerge};
use super::scripts::Phase;
use super::vdb::{self, Record, Vdb};
use super::{ESSENTIAL, Merger, Package};
use crate::ComposeError;

impl Merger<'_> {
    /// A package that was read, as one of this root: its files belong to whom the root knows by their owners' names.
    pub(super) fn admit(&mut self, planned: &PlannedPackage, package: Opened) -> Result<Package, ComposeError> {
        let Opened { cpv, metadata, scripts, mut image } = package;
        image.give_to(&Names::of(&self.tree, self.request.store)?);
        let time = i64::try_from(planned.build_time).unwrap_or(0);
        let replacing =
            self.vdb.replaced_by(&cpv, &slot_of(&metadata)).iter().map(|old| old.version.as_str().to_owned()).collect();
        let md5 = planned.md5.clone();
        Ok(Package { cpv, metadata, scripts, image, merged: Merged::default(), counter: 0, replacing, md5, time })
    }

    /// The installed instances that a package replaces, in the order they were merged.
    pub(super) fn replaced(&self, package: &Package) -> Result<Vec<Removed>, ComposeError> {
        let old = self.vdb.replaced_by(&package.cpv, &slot_of(&package.metadata));
        let read = |cpv| Removed::read(&self.tree, self.request.store, cpv, Some(&package.cpv), package.time);
        old.into_iter().map(read).collect()
    }

    pub(super) fn merge_files(
        &mut self,
        image: &mut Image,
        cpv: &Cpv,
        replaced: Option<&Removed>,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Merged, ComposeError> {
        let store = self.request.store;
        let protection = Environment::read(&self.tree, store)?.protection();
        let before = ConfigMemory::read(&self.tree, store)?;
        let mut memory = before.clone();
        let replaced = replaced.map(|old| Replaced::new(old.contents.clone(), &old.cpv.version, &cpv.version));
        let cpv = cpv.to_string();
        let merge = Merge {
            root: &mut self.tree,
            store,
            owners: &mut self.owners,
            protection: &protection,
            cpv: &cpv,
            yielding: &self.outgoing,
            replaced: replaced.as_ref(),
            memory: &mut memory,
        };
        let merged = merge.merge(image, wanted)?;
        memory.write(&before, &mut self.tree, store)?;
        self.note_changes(&merged.contents);
        Ok(merged)
    }

    /// Takes out of the image what INSTALL_MASK says, and notes that in the record.
    pub(super) fn mask(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        let mask = self.request.plan.install_mask.as_str();
        if !mask.is_empty() {
            package.metadata.insert("INSTALL_MASK".into(), format!("{mask}\n").into_bytes());
            let masked = InstallMask::parse(mask).apply(&mut package.image.tree)?;
            if ESSENTIAL.contains(&package.cpv.cp().as_str()) {
                self.masked.extend(masked);
            }
        }
        Ok(())
    }

    /// Takes the replaced instances out: pkg_prerm, their files, pkg_postrm, their records. Returns what is kept of them.
    pub(super) fn remove_replaced(
        &mut self,
        removed: Vec<Removed>,
        package: &mut Package,
    ) -> Result<BTreeSet<Vec<u8>>, ComposeError> {
        let preserved = self.preserve(&removed, package)?;
        for mut old in removed {
            let cpv = old.cpv.to_string();
            self.observer.log(&format!("{cpv}: replaced by {}", package.cpv));
            self.run_removal(&mut old, Phase::Prerm)?;
            self.unmerge(&old, &package.merged.contents)?;
            self.run_removal(&mut old, Phase::Postrm)?;
            self.vdb.remove(&old.cpv);
            self.outgoing.remove(&cpv);
            self.unregister_preserved(&old.cpv)?;
            self.tree.remove_all(vdb::record_dir(&old.cpv));
        }
        Ok(preserved)
    }

    /// Removes the files of an instance but for what is `kept` by one that stays in its slot.
    pub(super) fn unmerge(&mut self, old: &Removed, kept: &Contents) -> Result<(), ComposeError> {
        let store = self.request.store;
        let protection = Environment::read(&self.tree, store)?.protection();
        let before = ConfigMemory::read(&self.tree, store)?;
        let mut memory = before.clone();
        let cpv = old.cpv.to_string();
        let unmerge = Unmerge {
            root: &mut self.tree,
            store,
            owners: &mut self.owners,
            protection: &protection,
            memory: &mut memory,
            cpv: &cpv,
            kept,
        };
        unmerge.run(&old.contents)?;
        self.note_changes(&old.contents);
        memory.write(&before, &mut self.tree, store)
    }

    /// What has to be made anew because of these paths.
    fn note_changes(&mut self, contents: &Contents) {
        self.libraries_changed |= contents.keys().any(|path| concerns_libraries(path));
        let folders: BTreeSet<&[u8]> = contents.keys().filter_map(|path| info::folder_of(path)).collect();
        self.info_changed.extend(folders.into_iter().filter_map(|folder| self.tree.resolve(folder).ok()));
    }

    pub(super) fn tell_remarks(&mut self, cpv: &Cpv, merged: &Merged) {
        for remark in &merged.remarks {
            self.observer.log(&format!("{cpv}: {remark}"));
            self.messages.push(format!("{cpv}: {remark}"));
        }
    }

    pub(super) fn write_record(&mut self, package: &Package) -> Result<(), ComposeError> {
        let changed = package.scripts.changed_environment()?;
        let mut metadata = package.metadata.clone();
        metadata.extend(changed.map(|environment| ("environment.bz2".to_owned(), environment)));
        let record = Record {
            cpv: &package.cpv,
            metadata: &metadata,
            contents: &package.merged.contents,
            order: &package.merged.order,
            counter: package.counter,
            md5: package.md5.as_deref(),
            time: package.time,
        };
        vdb::write_record(&mut self.tree, self.request.store, &record)
    }
}

fn concerns_libraries(path: &[u8]) -> bool {
    path.windows(3).any(|part| part == b".so") || path.starts_with(b"etc/env.d/") || path.starts_with(b"etc/ld.so.conf")
}

pub(super) fn slot_of(metadata: &std::collections::BTreeMap<String, Vec<u8>>) -> String {
    metadata.get("SLOT").map(|slot| String::from_utf8_lossy(slot).trim().to_owned()).unwrap_or_default()
}

/// Who owns which file of a base, by real path.
pub(super) fn owners(tree: &image::Tree, store: &image::Store, vdb: &Vdb) -> Result<Owners, ComposeError> {
    let mut owners = Owners::new();
    for installed in vdb.installed() {
        let path = format!("{}/CONTENTS", vdb::record_dir(&installed.cpv));
        let listed = tree.read_file(store, path)?.unwrap_or_default();
        for (path, node) in contents::parse(&listed) {
            if node != contents::Node::Dir
                && let Ok(real) = tree.resolve_parent(&path)
            {
                owners.insert(real, installed.cpv.to_string());
            }
        }
    }
    Ok(owners)
}

/// The installed packages that a plan replaces or removes. A package that comes before the one that replaces such a package may take files of it,
/// as Portage allows where the one blocks the other.
pub(super) fn outgoing(plan: &Plan, vdb: &Vdb) -> BTreeSet<String> {
    let planned = plan.packages.iter().filter_map(|planned| Some((Cpv::parse(&planned.cpv).ok()?, &planned.slot)));
    let replaced = planned.flat_map(|(cpv, slot)| vdb.replaced_by(&cpv, slot)).map(|cpv| cpv.to_string());
    replaced.chain(plan.removals.iter().map(|removal| removal.cpv.clone())).collect()
}
