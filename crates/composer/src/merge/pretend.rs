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
use super::phases::{Replacement, Subject};
use super::scripts::{Phase, Scripts};
use super::vdb::Vdb;
use super::{FetchError, Merger, no_package};
use crate::ComposeError;
use crate::sandbox::SandboxError;

/// The packages whose pkg_pretend is to be run.
#[derive(Default)]
pub struct Pretenders {
    waiting: Vec<Pretender>,
    /// Those that ran (CPV).
    done: BTreeSet<String>,
    /// What is installed before the merge, which is what has_version answers by.
    before: Vdb,
}

struct Pretender {
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

impl Merger<'_> {
    /// Runs every pkg_pretend of the plan, in its order.
    pub(super) fn run_pretends(&mut self) -> Result<(), ComposeError> {
        for pretender in std::mem::take(&mut self.pretenders.waiting) {
            let cpv = pretender.cpv.to_string();
            self.pretend(&pretender).map_err(|error| error.for_package(&cpv))?;
            self.pretenders.done.insert(cpv);
        }
        Ok(())
    }

    fn pretend(&mut self, pretender: &Pretender) -> Result<(), ComposeError> {
        let Pretender { cpv, metadata, time } = pretender;
        let mut scripts = Scripts::read(metadata)?;
        let before = &self.pretenders.before;
        let replaced = before.replaced_by(cpv, &slot_of(metadata));
        let replacement = Replacement::Of(replaced.iter().map(|old| old.version.as_str().to_owned()).collect());
        let subject = Subject { cpv, metadata, vdb: before, replacement, eprefix: "", observer: self.observer };
        let Some(host) = &mut self.host else {
            return Err(SandboxError::Broken { message: "it was not started".into() }.into());
        };
        let messages = subject.run(host, &mut scripts, &[Phase::Pretend])?;
        self.messages.extend(messages);
        self.read_disk(*time)
    }
}
