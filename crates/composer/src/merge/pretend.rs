//! pkg_pretend of the whole plan before any other script runs (PMS 9.1.1, Portage's Scheduler): what it refuses is known at once.
//!
//! A package's pkg_pretend sees what is installed before the merge. It runs in the target, so over a base all of them run before anything
//! is merged; where there is no base, as soon as the tools that Portage would take from the host are there, and before any other phase.

use std::collections::{BTreeMap, BTreeSet};

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;

use super::ahead::check_identity;
use super::intake::slot_of;
use super::onlook::{Heard, look_on};
use super::phases::{Replacement, Subject};
use super::running::no_host;
use super::scripts::{Phase, Scripts};
use super::vdb::Vdb;
use super::{FetchError, Merger, no_package};
use crate::sandbox::PhaseHost;
use crate::{ComposeError, Observer};

/// The packages whose pkg_pretend is to be run.
#[derive(Default)]
pub struct Pretenders {
    waiting: Vec<Pretender>,
    /// Those that ran (CPV).
    done: BTreeSet<String>,
    /// What is installed before the merge, which is what has_version answers by.
    before: Vdb,
}

/// A package with a pkg_pretend.
pub struct Pretender {
    cpv: Cpv,
    metadata: BTreeMap<String, Vec<u8>>,
    time: i64,
}

impl Pretenders {
    /// Fetches what defines pkg_pretend, or may. Packages whose index hides it run theirs in their turn.
    pub fn find<E: Into<FetchError>>(
        plan: &Plan,
        before: Vdb,
        fetch: &mut dyn FnMut(&PlannedPackage) -> Result<BinaryPackage, E>,
    ) -> Result<Pretenders, ComposeError> {
        let mut found = Pretenders { before, ..Pretenders::default() };
        for planned in plan.packages.iter().filter(|planned| may_pretend(planned)) {
            let package = fetch(planned).map_err(|error| no_package(planned, error.into()))?;
            let read = check_identity(planned, &package).and_then(|cpv| Ok((cpv, Scripts::read(&package.metadata)?)));
            let (cpv, scripts) = read.map_err(|error| error.for_package(&planned.cpv))?;
            if scripts.defined.contains(&Phase::Pretend) {
                let time = i64::try_from(planned.build_time).unwrap_or(0);
                found.waiting.push(Pretender { cpv, metadata: package.metadata, time });
            }
        }
        Ok(found)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a package's pkg_pretend has run.
    pub fn has_run(&self, cpv: &Cpv) -> bool {
        self.done.contains(&cpv.to_string())
    }
}

/// An index that says nothing may hide one.
fn may_pretend(planned: &PlannedPackage) -> bool {
    planned.defined_phases.is_empty() || planned.defined_phases.split_whitespace().any(|phase| phase == Phase::Pretend.name())
}

impl Pretender {
    /// Runs it; returns its messages.
    pub fn run(&self, host: &mut PhaseHost, before: &Vdb, observer: &dyn Observer) -> Result<Vec<String>, ComposeError> {
        let Pretender { cpv, metadata, .. } = self;
        let mut scripts = Scripts::read(metadata)?;
        let replaced = before.replaced_by(cpv, &slot_of(metadata));
        let replacement = Replacement::Of(replaced.iter().map(|old| old.version.as_str().to_owned()).collect());
        Subject { cpv, metadata, vdb: before, replacement, eprefix: "", observer }.run(host, &mut scripts, &[Phase::Pretend])
    }
}

impl Merger<'_> {
    /// Runs every pkg_pretend of the plan; to whoever listens it is as if one ran after the other, in its order.
    pub(super) fn run_pretends(&mut self) -> Result<(), ComposeError> {
        let waiting = std::mem::take(&mut self.pretenders.waiting);
        let all_heard = self.look_on(&waiting)?;
        for (pretender, heard) in waiting.into_iter().zip(all_heard) {
            let cpv = pretender.cpv.to_string();
            match heard {
                Some(heard) => {
                    heard.lines.iter().for_each(|line| self.observer.log(line));
                    self.messages.extend(heard.messages);
                }
                None => self.pretend(&pretender).map_err(|error| error.for_package(&cpv))?,
            }
            self.pretenders.done.insert(cpv);
        }
        Ok(())
    }

    fn look_on(&mut self, waiting: &[Pretender]) -> Result<Vec<Option<Heard>>, ComposeError> {
        self.write_disk()?;
        let Some(host) = &self.host else { return Err(no_host()) };
        let onlookers = host.onlookers(self.request.work_dir)?;
        Ok(look_on(&onlookers, &self.request.plan.arch, waiting, &self.pretenders.before, self.observer))
    }

    fn pretend(&mut self, pretender: &Pretender) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let messages = pretender.run(host, &self.pretenders.before, self.observer)?;
        self.messages.extend(messages);
        self.read_disk(pretender.time)
    }
}
