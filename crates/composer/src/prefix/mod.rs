//! Gentoo Prefix: packages that were built to live below one folder (EPREFIX) of a foreign system, moved to the folder a user chose.
//! What comes out is the content of that folder. It needs no root to unpack or to run: all of it is its unpacker's.

mod package;
mod relocate;
mod scripts;
mod start;

use std::collections::{BTreeMap, BTreeSet};

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;
use image::{Store, Tree};

use crate::merge::config_memory::ConfigMemory;
use crate::merge::env_update::Environment;
use crate::merge::files::{Merge, Owners, Protection};
use crate::merge::package::Image;
use crate::merge::phases::{Replacement, Subject};
use crate::merge::scripts::{Phase, Scripts};
use crate::merge::vdb::{self, Installed, Record, Vdb};
use crate::{ComposeError, FetchError, MergeRequest, Observer, Root};

pub use relocate::{Content, Relocation};
use scripts::{Guest, Outcome, Place};

/// Merges all packages of a plan, in its order, into the folder `prefix` of a system that is not ours. The tree of the result is that
/// folder's content.
///
/// Phases run where they can: they need a system around the prefix, and have this machine's. The messages name the packages whose scripts
/// failed on it.
///
/// # Errors
/// [`ComposeError`] with the package at fault: one that was not built for a prefix, or for a shorter one. A sandbox that is not to be had.
pub fn compose<E: Into<FetchError>>(
    request: &MergeRequest<'_>,
    prefix: &str,
    fetch: &mut dyn FnMut(&PlannedPackage) -> Result<BinaryPackage, E>,
    observer: &dyn Observer,
) -> Result<Root, ComposeError> {
    if !request.notice.is_empty() {
        observer.log(request.notice);
    }
    let mut composer = Composer::new(request, prefix, observer)?;
    let total = request.plan.packages.len() as u64;
    for (done, planned) in request.plan.packages.iter().enumerate() {
        if observer.cancelled() {
            return Err(ComposeError::cancelled());
        }
        observer.progress(done as u64, total, &planned.cpv);
        let package =
            fetch(planned).map_err(|error| ComposeError::new(error.into().to_string(), "").for_package(&planned.cpv))?;
        composer.package(planned, package).map_err(|error| error.for_package(&planned.cpv))?;
    }
    observer.progress(total, total, "");
    composer.finish(request.plan, request.notice)
}

struct Composer<'a> {
    store: &'a Store,
    observer: &'a dyn Observer,
    guest: Guest<'a>,
    prefix: &'a str,
    /// The host's `/` as far as the prefix is in it: absolute links lead where they will lead there.
    host: Tree,
    /// The prefix alone: what is kept of the packages beside their files.
    inside: Tree,
    owners: Owners,
    protection: Protection,
    vdb: Vdb,
    messages: Vec<String>,
    /// Packages whose scripts failed here, and why.
    unrun: Vec<String>,
}

impl<'a> Composer<'a> {
    fn new(request: &'a MergeRequest<'a>, prefix: &'a str, observer: &'a dyn Observer) -> Result<Self, ComposeError> {
        contract::check_eprefix("prefix", prefix).map_err(|error| ComposeError::new(error.to_string(), ""))?;
        let below = |dir: &str| vec![[prefix.trim_matches('/'), dir].concat().into_bytes()];
        let mut host = Tree::new();
        host.make_dirs(prefix.trim_matches('/'))?;
        Ok(Composer {
            store: request.store,
            observer,
            guest: Guest::new(request),
            prefix,
            host,
            inside: Tree::new(),
            owners: Owners::new(),
            // make.globals of a Portage in a prefix.
            protection: Protection { protect: below("/etc"), mask: below("/etc/env.d") },
            vdb: Vdb::default(),
            messages: Vec::new(),
            unrun: Vec::new(),
        })
    }

    fn package(&mut self, planned: &PlannedPackage, mut package: BinaryPackage) -> Result<(), ComposeError> {
        if package.cpv().is_some_and(|cpv| cpv != planned.cpv) {
            let message = format!("the file at {} is {}", planned.path, package.cpv().unwrap_or_default());
            return Err(ComposeError::new(message, "The binhost's index is out of step with its files: order again later."));
        }
        let cpv = Cpv::parse(&planned.cpv).map_err(|error| ComposeError::new(error.to_string(), ""))?;
        let relocation = Relocation::new(&package::built_at(&cpv, &package.metadata)?, self.prefix)?;
        let time = i64::try_from(package.build_time().unwrap_or(planned.build_time)).unwrap_or(0);
        self.host.set_time(time);

        let mut image = Image::read(&package, self.store)?;
        let remarks = package::move_image(&mut image, &relocation, self.store)?;
        self.tell(&cpv, remarks);
        package::move_metadata(&mut package.metadata, &relocation)?;
        let mut scripts = Scripts::read(&package.metadata)?;
        self.run_phases(&cpv, &package.metadata, &mut scripts, &Phase::BEFORE, Some(&mut image.tree), time)?;
        let merge = Merge {
            root: &mut self.host,
            store: self.store,
            owners: &mut self.owners,
            protection: &self.protection,
            cpv: &planned.cpv,
            yielding: &BTreeSet::new(),
            replaced: None,
            memory: &mut ConfigMemory::default(),
        };
        let merged = merge.merge(&mut image, &|_| true)?;
        self.tell(&cpv, merged.remarks);

        let counter = self.vdb.add(Installed::new(cpv.clone(), &package.metadata));
        self.run_phases(&cpv, &package.metadata, &mut scripts, &[Phase::Postinst], None, time)?;
        if let Some(environment) = scripts.changed_environment()? {
            package.metadata.insert("environment.bz2".into(), environment);
        }
        let record = Record {
            cpv: &cpv,
            metadata: &package.metadata,
            contents: &merged.contents,
            order: &merged.order,
            counter,
            md5: planned.md5.as_deref(),
            time,
        };
        vdb::write_record(&mut self.inside, self.store, &record)
    }

    /// Runs those of the phases that the package defines, unless one of them failed before.
    fn run_phases(
        &mut self,
        cpv: &Cpv,
        metadata: &BTreeMap<String, Vec<u8>>,
        scripts: &mut Scripts,
        phases: &[Phase],
        image: Option<&mut Tree>,
        time: i64,
    ) -> Result<(), ComposeError> {
        let subject = Subject {
            cpv,
            metadata,
            vdb: &self.vdb,
            replacement: Replacement::Of(Vec::new()),
            eprefix: self.prefix,
            observer: self.observer,
        };
        let mut place = Place { root: &mut self.host, image, time };
        match self.guest.run(&subject, scripts, phases, &mut place)? {
            Outcome::Ran(messages) => self.messages.extend(messages),
            Outcome::Failed(why) => {
                scripts.defined.clear();
                self.observer.log(&format!("{cpv}: what its scripts changed is undone: {why}"));
                self.unrun.push(cpv.to_string());
            }
        }
        Ok(())
    }

    fn tell(&mut self, cpv: &Cpv, remarks: Vec<String>) {
        for remark in remarks {
            self.observer.log(&format!("{cpv}: {remark}"));
            self.messages.push(format!("{cpv}: {remark}"));
        }
    }

    fn finish(mut self, plan: &Plan, notice: &str) -> Result<Root, ComposeError> {
        let prefix = self.prefix.trim_matches('/').as_bytes();
        for (path, entry) in self.host.below(prefix) {
            let path = path.strip_prefix(prefix).and_then(|path| path.strip_prefix(b"/")).unwrap_or(path);
            self.inside.insert(path, entry.clone())?;
        }
        let newest = self.inside.iter().map(|(_, entry)| entry.mtime).max().unwrap_or(0);
        self.inside.set_time(newest);
        self.guest.close()?;
        Environment::read(&self.inside, self.store)?.write(&mut self.inside, self.store)?;
        self.vdb.write_counter(&mut self.inside, self.store)?;
        vdb::write_world(&mut self.inside, self.store, &plan.world)?;
        start::write(&mut self.inside, self.store, self.prefix, notice)?;
        if !self.unrun.is_empty() {
            self.messages.push(format!(
                "Scripts that these packages run when they are installed failed on the machine that made this, and changed nothing: {}. \
                 What they would have set up (links, caches, settings) may have to be done by hand. The log says why each failed.",
                self.unrun.join(", ")
            ));
        }
        self.messages.push(format!(
            "Unpack it into the folder {0}, as the user who will use it, and start it with {0}/enter. It works at that path alone.",
            self.prefix
        ));
        Ok(Root { tree: self.inside, messages: self.messages })
    }
}
