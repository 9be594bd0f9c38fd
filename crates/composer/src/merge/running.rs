//! When phases and tools of the target run, and what on disk they run on.

use super::env_update::Environment;
use super::files::changed_paths;
use super::phases::{Replacement, Subject};
use super::removal::Removed;
use super::scripts::Phase;
use super::{Merger, Package};
use crate::ComposeError;
use crate::sandbox::{Area, Command, PhaseHost, SEARCH_PATH, SandboxError, Scan};
use crate::target_tool::ToLog;

/// Seconds for ldconfig and for trying bash.
const TOOL_LIMIT: u64 = 300;

impl Merger<'_> {
    /// pkg_setup and pkg_preinst, which may change the image, and pkg_pretend where it has not run yet.
    pub(super) fn run_before(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        let pretended = self.pretenders.has_run(&package.cpv);
        let due = |phase: &Phase| package.scripts.defined.contains(phase) && !(pretended && *phase == Phase::Pretend);
        let phases: Vec<Phase> = Phase::BEFORE.into_iter().filter(due).collect();
        if phases.is_empty() {
            return Ok(());
        }
        let store = self.request.store;
        let with_image = phases.contains(&Phase::Preinst);
        let image_on_disk = std::mem::replace(&mut self.image_on_disk, with_image);
        let host = self.host()?;
        if image_on_disk {
            host.clear(Area::Image)?;
        }
        if with_image {
            host.sync(Area::Image, &package.image.tree, store)?;
        }
        self.run_phases(package, &phases)?;
        if with_image {
            let scan = Scan { time: package.time, thorough: true };
            self.host()?.scan(Area::Image, &mut package.image.tree, store, &scan)?;
        }
        Ok(())
    }

    /// pkg_postinst, and the record with what the phases made of the environment.
    pub(super) fn run_after(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        if package.scripts.defined.contains(&Phase::Postinst) {
            self.run_phases(package, &[Phase::Postinst])?;
        }
        match package.scripts.defined.is_empty() {
            true => Ok(()),
            false => self.write_record(package),
        }
    }

    pub(super) fn run_phases(&mut self, package: &mut Package, phases: &[Phase]) -> Result<(), ComposeError> {
        self.refresh_libraries()?;
        self.write_disk()?;
        let (vdb, observer) = (&self.vdb, self.observer);
        let replacement = Replacement::Of(package.replacing.clone());
        let subject = Subject { cpv: &package.cpv, metadata: &package.metadata, vdb, replacement, eprefix: "", observer };
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let messages = subject.run(host, &mut package.scripts, phases)?;
        self.messages.extend(messages);
        self.read_disk(package.time)
    }

    /// A phase of a package that is being replaced, where it is defined and scripts can run at all.
    pub(super) fn run_removal(&mut self, old: &mut Removed, phase: Phase) -> Result<(), ComposeError> {
        if !old.scripts.defined.contains(&phase) || !self.is_ready()? {
            return Ok(());
        }
        self.refresh_libraries()?;
        self.write_disk()?;
        let (vdb, observer) = (&self.vdb, self.observer);
        let replacement = Replacement::By(old.replaced_by.clone());
        let subject = Subject { cpv: &old.cpv, metadata: &old.metadata, vdb, replacement, eprefix: "", observer };
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let messages = subject.run(host, &mut old.scripts, &[phase])?;
        self.messages.extend(messages);
        self.read_disk(old.time)
    }

    /// Runs the phases that waited, in order, once they can.
    pub(super) fn run_waiting(&mut self) -> Result<(), ComposeError> {
        for mut package in std::mem::take(&mut self.waiting) {
            let cpv = package.cpv.to_string();
            self.run_late(&mut package).map_err(|error| error.for_package(&cpv))?;
        }
        Ok(())
    }

    /// All phases of a package whose files are merged already; what pkg_preinst changes in the image is merged after it.
    pub(super) fn run_late(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        self.tree.set_time(package.time);
        let before = package.image.tree.clone();
        self.run_before(package)?;
        let changed = changed_paths(&before, &package.image.tree);
        let merged = self.merge_files(&mut package.image, &package.cpv, None, &|path| changed.contains(path))?;
        self.tell_remarks(&package.cpv, &merged);
        package.merged.extend(merged);
        self.drop_what_preinst_removed(package)?;
        self.run_after(package)
    }

    pub(super) fn drop_what_preinst_removed(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        let gone: Vec<Vec<u8>> =
            package.merged.contents.keys().filter(|path| !package.image.tree.contains(path)).cloned().collect();
        for path in gone.iter().rev() {
            package.merged.contents.remove(path);
            let real = self.tree.resolve_parent(path)?;
            let ours = self.owners.get(&real).is_some_and(|owner| *owner == package.cpv.to_string());
            if ours || self.tree.get(&real).is_some_and(|entry| entry.is_dir()) {
                // A directory that others use is not empty, and stays.
                let _in_use = self.tree.remove(&real);
                self.owners.remove(&real);
            }
        }
        Ok(())
    }

    /// Whether phases can run: everything essential is merged, and bash starts.
    pub(super) fn is_ready(&mut self) -> Result<bool, ComposeError> {
        if self.ready || !self.missing.is_empty() || self.tree.lookup("bin/bash").is_err() {
            return Ok(self.ready);
        }
        self.host()?;
        self.refresh_libraries()?;
        self.write_disk()?;
        let argv = ["/bin/bash", "--noprofile", "--norc", "-c", ":"];
        self.ready = self.tool(&argv)?.is_none();
        if self.ready {
            self.run_pretends()?;
            self.run_waiting()?;
        }
        Ok(self.ready)
    }

    /// The sandbox, started when first needed.
    pub(super) fn host(&mut self) -> Result<&mut PhaseHost, ComposeError> {
        let host = match self.host.take() {
            Some(host) => host,
            None => {
                let mut host = PhaseHost::start(self.request.work_dir)?;
                host.probe()?;
                host.enable(&self.request.plan.arch)?;
                host
            }
        };
        Ok(self.host.insert(host))
    }

    pub(super) fn write_disk(&mut self) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Err(no_host()) };
        Ok(host.sync(Area::Target, &self.tree, self.request.store)?)
    }

    pub(super) fn read_disk(&mut self, time: i64) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let scan = Scan { time, thorough: false };
        host.scan(Area::Target, &mut self.tree, self.request.store, &scan)?;
        Ok(())
    }

    /// Takes over whatever a phase changed without being seen to: looks at every file once, at the end.
    pub(super) fn read_disk_thoroughly(&mut self) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Ok(()) };
        let scan = Scan { time: self.request.plan.newest_build_time(), thorough: true };
        host.scan(Area::Target, &mut self.tree, self.request.store, &scan)?;
        Ok(())
    }

    /// env-update, and ldconfig when libraries changed, so that what is merged can be run.
    pub(super) fn refresh_libraries(&mut self) -> Result<(), ComposeError> {
        if !self.libraries_changed {
            return Ok(());
        }
        Environment::read(&self.tree, self.request.store)?.write(&mut self.tree, self.request.store)?;
        self.libraries_changed = false;
        if self.tree.lookup("sbin/ldconfig").is_err() {
            return Ok(());
        }
        self.host()?;
        self.write_disk()?;
        if let Some(output) = self.tool(&["/sbin/ldconfig", "-X"])? {
            let message = "ldconfig of the image failed, so its programs would not find their libraries";
            return Err(ComposeError::new(message, "The C library of this plan is broken or for another architecture.")
                .with_output(output));
        }
        self.read_disk(self.request.plan.newest_build_time())?;
        // It holds inode numbers of this machine, and ldconfig makes it anew.
        if self.tree.contains("var/cache/ldconfig/aux-cache") {
            self.tree.remove("var/cache/ldconfig/aux-cache")?;
        }
        Ok(())
    }

    /// Runs a program of the target; `None` when it succeeded, else its last lines.
    pub(super) fn tool(&mut self, argv: &[&str]) -> Result<Option<Vec<String>>, ComposeError> {
        let command = Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("PATH".into(), SEARCH_PATH.into()), ("LC_ALL".into(), "C".into())],
            timeout: TOOL_LIMIT,
            ..Command::default()
        };
        let mut listener = ToLog(self.observer);
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let ran = host.run(&command, &mut listener)?;
        if self.observer.cancelled() {
            return Err(ComposeError::cancelled());
        }
        Ok((!ran.succeeded()).then_some(ran.tail))
    }
}

pub(super) fn no_host() -> ComposeError {
    SandboxError::Broken { message: "it was not started".into() }.into()
}
