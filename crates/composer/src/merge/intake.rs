//! A package's way into the root: opened, its files merged, its record written.

use contract::PlannedPackage;
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;

use super::accounts::Names;
use super::env_update::Environment;
use super::files::{Merge, Merged};
use super::package::Image;
use super::phases::Scripts;
use super::vdb::{self, Record};
use super::{Merger, Package};
use crate::ComposeError;

impl Merger<'_> {
    /// Checks that the package is the planned one, and reads its image into the store.
    pub(super) fn open(&mut self, planned: &PlannedPackage, package: BinaryPackage) -> Result<Package, ComposeError> {
        if package.cpv().is_some_and(|cpv| cpv != planned.cpv) {
            let message = format!("the file at {} is {}", planned.path, package.cpv().unwrap_or_default());
            return Err(ComposeError::new(message, "The binhost's index is out of step with its files: order again later."));
        }
        let cpv = Cpv::parse(&planned.cpv).map_err(|error| ComposeError::new(error.to_string(), ""))?;
        let scripts = Scripts::read(&package.metadata)?;
        let image = Image::read(&package, &Names::of(&self.tree, self.request.store)?, self.request.store)?;
        let time = i64::try_from(planned.build_time).unwrap_or(0);
        let (metadata, md5) = (package.metadata, planned.md5.clone());
        Ok(Package { cpv, metadata, scripts, image, merged: Merged::default(), counter: 0, md5, time })
    }

    pub(super) fn merge_files(
        &mut self,
        image: &mut Image,
        cpv: &Cpv,
        wanted: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Merged, ComposeError> {
        let protection = Environment::read(&self.tree, self.request.store)?.protection();
        let cpv = cpv.to_string();
        let merge = Merge {
            root: &mut self.tree,
            store: self.request.store,
            owners: &mut self.owners,
            protection: &protection,
            cpv: &cpv,
        };
        let merged = merge.merge(image, wanted)?;
        self.libraries_changed |= merged.contents.keys().any(|path| concerns_libraries(path));
        Ok(merged)
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
