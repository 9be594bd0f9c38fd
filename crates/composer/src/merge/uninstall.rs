//! Packages of the base that go without another version in their place: the plan's removals, which a package that is merged softly blocks
//! (PMS 8.3.2). As in Portage they go right after it, and what it has taken over of their files stays.

use contract::{PlannedPackage, plan::Removal};
use gentoo::Cpv;

use super::Merger;
use super::contents::Contents;
use super::removal::Removed;
use super::scripts::Phase;
use super::vdb;
use crate::ComposeError;

impl Merger<'_> {
    /// Takes out what the plan removes after this package.
    pub(super) fn uninstall_after(&mut self, planned: &PlannedPackage) -> Result<(), ComposeError> {
        let time = i64::try_from(planned.build_time).unwrap_or(0);
        for removal in self.request.plan.removals.iter().filter(|removal| removal.after == planned.cpv) {
            self.uninstall(removal, time).map_err(|error| error.for_package(&removal.cpv))?;
        }
        Ok(())
    }

    /// What others need of it is set aside; then pkg_prerm, the files, pkg_postrm, the record (`vartree.py: unmerge`).
    fn uninstall(&mut self, removal: &Removal, time: i64) -> Result<(), ComposeError> {
        let cpv = Cpv::parse(&removal.cpv).map_err(|error| ComposeError::new(error.to_string(), ""))?;
        let Some(counter) = self.vdb.installed().iter().find(|known| known.cpv == cpv).map(|known| known.counter) else {
            let advice = "The plan was made for another base: order again.";
            return Err(ComposeError::new("the plan removes it, and the base does not have it", advice));
        };
        let told = format!("{cpv}: removed, as {} cannot be beside it ({})", removal.after, removal.because);
        self.observer.log(&told);
        self.messages.push(told);
        self.tree.set_time(time);
        let mut old = Removed::read(&self.tree, self.request.store, cpv, None, time)?;
        let preserved = self.preserve_of(&old)?;
        self.unregister_preserved(&old.cpv)?;
        self.register_preserved(&old.cpv, &old.metadata, counter, &preserved)?;
        old.contents.retain(|path, _| !preserved.contains(path));
        self.run_removal(&mut old, Phase::Prerm)?;
        self.unmerge(&old, &Contents::new())?;
        self.run_removal(&mut old, Phase::Postrm)?;
        self.vdb.remove(&old.cpv);
        self.outgoing.remove(&removal.cpv);
        self.tree.remove_all(vdb::record_dir(&old.cpv));
        Ok(())
    }
}
