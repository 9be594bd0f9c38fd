//! Phases in a prefix: run at its path as a guest on this machine, by bash and what else this machine has, the prefix's own programs first.
//! That machine is not the one the prefix will be on, so a script that fails here changes nothing, and is told instead.

use image::{Store, Tree};

use crate::merge::phases::Subject;
use crate::merge::scripts::{Phase, Scripts};
use crate::sandbox::{Area, PhaseHost, Scan};
use crate::{ComposeError, MergeRequest};

/// The sandbox, started when it is first needed.
pub(super) struct Guest<'a> {
    pub(super) request: &'a MergeRequest<'a>,
    host: Option<PhaseHost>,
}

/// What scripts work on.
pub(super) struct Place<'a> {
    /// The prefix, at its path.
    pub(super) root: &'a mut Tree,
    /// The package's image, while it is not merged yet.
    pub(super) image: Option<&'a mut Tree>,
    /// The package's BUILD_TIME, for what is made in its name.
    pub(super) time: i64,
}

/// What became of scripts.
pub(super) enum Outcome {
    /// The messages for the user.
    Ran(Vec<String>),
    /// Nothing was changed; why.
    Failed(String),
}

impl<'a> Guest<'a> {
    pub(super) fn new(request: &'a MergeRequest<'a>) -> Guest<'a> {
        Guest { request, host: None }
    }

    /// Runs those of the phases that a package defines.
    ///
    /// # Errors
    /// A sandbox that breaks, and cancelling; not a script that fails.
    pub(super) fn run(
        &mut self,
        subject: &Subject<'_>,
        scripts: &mut Scripts,
        phases: &[Phase],
        place: &mut Place<'_>,
    ) -> Result<Outcome, ComposeError> {
        let phases: Vec<Phase> = phases.iter().copied().filter(|phase| scripts.defined.contains(phase)).collect();
        if phases.is_empty() {
            return Ok(Outcome::Ran(Vec::new()));
        }
        let store = self.request.store;
        let host = self.host()?;
        host.sync(Area::Target, place.root, store)?;
        host.clear(Area::Image)?;
        if let Some(image) = &place.image {
            host.sync(Area::Image, image, store)?;
        }
        match subject.run(host, scripts, &phases) {
            Ok(messages) => {
                let scan = Scan { time: place.time, thorough: true };
                host.scan(Area::Target, place.root, store, &scan)?;
                if let Some(image) = &mut place.image {
                    host.scan(Area::Image, image, store, &scan)?;
                }
                Ok(Outcome::Ran(messages))
            }
            Err(error) if subject.observer.cancelled() => Err(error),
            Err(error) => {
                self.forget(place.root, store)?;
                Ok(Outcome::Failed(error.to_string()))
            }
        }
    }

    /// Puts what is on disk back as it is in the tree.
    fn forget(&mut self, root: &Tree, store: &Store) -> Result<(), ComposeError> {
        let host = self.host()?;
        host.clear(Area::Target)?;
        host.sync(Area::Target, root, store)?;
        Ok(())
    }

    fn host(&mut self) -> Result<&mut PhaseHost, ComposeError> {
        let host = match self.host.take() {
            Some(host) => host,
            None => {
                let mut host = PhaseHost::start(self.request.work_dir)?;
                host.probe()?;
                host
            }
        };
        Ok(self.host.insert(host))
    }

    /// Ends the sandbox.
    pub(super) fn close(&mut self) -> Result<(), ComposeError> {
        match self.host.take() {
            Some(host) => Ok(host.close()?),
            None => Ok(()),
        }
    }
}
