//! Making the compact form: names and slots numbered, packages ranked and masked.

use std::collections::HashMap;
use std::sync::OnceLock;

use gentoo::index::Entry;
use gentoo::useflags::ImplicitIuse;
use gentoo::{Cpv, Text};

use super::{CpId, Name, Origin, Pkg, PkgId, SlotId, Universe};
use crate::Source;
use crate::mask::{Mask, Masks};

impl Universe {
    /// Ranks the packages of each name and sorts the lists, best first. An earlier binhost wins before the version does.
    pub(super) fn rank(&mut self) {
        let order_binhosts = self.source.prefer_binhost_order;
        let mut ranks = vec![(0u32, 0u32); self.packages.len()];
        for name in &self.names {
            let mut all: Vec<PkgId> = name.available.iter().chain(&name.installed).copied().collect();
            let distance = |p: PkgId| match self.pkg(p).origin {
                Origin::Binhost { binhost, .. } if order_binhosts => binhost,
                _ => 0,
            };
            let key = |p: PkgId| (std::cmp::Reverse(distance(p)), &self.entry(p).cpv.version);
            all.sort_by(|a, b| key(*a).cmp(&key(*b)).then_with(|| self.entry(*a).build_time.cmp(&self.entry(*b).build_time)));
            let mut version_rank = 0;
            for (rank, id) in all.iter().enumerate() {
                if rank > 0 && key(all[rank - 1]) != key(*id) {
                    version_rank += 1;
                }
                ranks[*id as usize] = (version_rank, rank as u32);
            }
        }
        for (pkg, (version_rank, rank)) in self.packages.iter_mut().zip(ranks) {
            (pkg.version_rank, pkg.rank) = (version_rank, rank);
        }
        let packages = &self.packages;
        for name in &mut self.names {
            name.available.sort_by_key(|p| std::cmp::Reverse(packages[*p as usize].rank));
            name.installed.sort_by_key(|p| std::cmp::Reverse(packages[*p as usize].rank));
        }
    }

    /// Where several binhosts have the very same build, the first that may be chosen serves, as in Portage (`bintree.py`, instance keys).
    pub(super) fn drop_copies(&mut self) {
        if self.source.binhosts.len() < 2 {
            return;
        }
        let mut names = std::mem::take(&mut self.names);
        for name in &mut names {
            let mut known = HashMap::new();
            name.available.retain(|id| {
                let (pkg, e) = (self.pkg(*id), self.entry(*id));
                let Origin::Binhost { binhost, .. } = pkg.origin else { return true };
                if pkg.mask.is_some() {
                    return true;
                }
                let build = (e.cpv.version.as_str(), e.build_id, e.size, e.build_time, e.mtime);
                *known.entry(build).or_insert(binhost) == binhost
            });
        }
        self.names = names;
    }

    pub(super) fn mask(&mut self) {
        let masks = Masks::new(&self.source);
        let mut found: Vec<Option<Mask>> = Vec::with_capacity(self.packages.len());
        for pkg in &self.packages {
            let mask = match pkg.origin {
                Origin::Binhost { binhost, entry } => {
                    let b = &self.source.binhosts[binhost as usize];
                    masks.of(&b.index.entries[entry as usize], &b.access.name)
                }
                Origin::Installed { .. } => None,
            };
            found.push(mask);
        }
        for (pkg, mask) in self.packages.iter_mut().zip(found) {
            pkg.mask = mask;
        }
    }
}

/// The implicit flags of the profile; without a tree, those of the first index that names any.
pub(super) fn implicit_flags(source: &Source) -> ImplicitIuse {
    if !source.profile.nodes.is_empty() {
        return source.profile.implicit_iuse.clone();
    }
    let header = source.binhosts.iter().map(|b| &b.index.header).find(|h| h.contains_key("IUSE_IMPLICIT"));
    header.map_or_else(|| source.profile.implicit_iuse.clone(), ImplicitIuse::from_variables)
}

#[derive(Default)]
pub(super) struct Builder {
    pub packages: Vec<Pkg>,
    pub names: Vec<Name>,
    pub by_name: HashMap<String, CpId>,
    pub slots: Vec<(CpId, Text)>,
    by_slot: HashMap<(CpId, Text), SlotId>,
    /// Room for the name of the package being added.
    name: String,
}

impl Builder {
    pub fn add(&mut self, origin: Origin, entry: &Entry) {
        let id = self.packages.len() as PkgId;
        let cp = self.number_of(&entry.cpv);
        let slots = &mut self.slots;
        let slot = *self.by_slot.entry((cp, entry.slot.clone())).or_insert_with_key(|key| {
            slots.push(key.clone());
            (slots.len() - 1) as SlotId
        });
        let installed = matches!(origin, Origin::Installed { .. });
        let name = &mut self.names[cp as usize];
        if installed {
            name.installed.push(id)
        } else {
            name.available.push(id)
        }
        self.packages.push(Pkg {
            origin,
            cp,
            slot,
            version_rank: 0,
            rank: 0,
            installed,
            mask: None,
            deps: OnceLock::new(),
            exact: OnceLock::new(),
        });
    }

    fn number_of(&mut self, cpv: &Cpv) -> CpId {
        self.name.clear();
        for part in [&cpv.category, "/", &cpv.package] {
            self.name.push_str(part);
        }
        if let Some(cp) = self.by_name.get(&self.name) {
            return *cp;
        }
        let cp = self.names.len() as CpId;
        self.names.push(Name { text: self.name.clone(), available: Vec::new(), installed: Vec::new() });
        self.by_name.insert(self.name.clone(), cp);
        cp
    }
}
