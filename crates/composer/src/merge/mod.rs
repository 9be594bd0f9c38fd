//! Merging: the packages of a plan become a root, as emerge would make it into an empty directory.

mod accounts;
mod env_update;
mod files;
mod package;
mod phases;
mod skeleton;
mod vdb;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;
use image::{Store, Tree};

use crate::sandbox::{Area, Command, Listener, PhaseHost, SandboxError};
use crate::{ComposeError, Observer};
use accounts::{Line, Names};
use env_update::Environment;
use files::{Merge, Merged, Owners, changed_paths};
use package::Image;
use phases::{Phase, SEARCH_PATH, Scripts, Subject};
use vdb::{Installed, Record, Vdb};

/// What to merge, and where.
pub struct MergeRequest<'a> {
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// A directory for the sandbox; several merges may share it.
    pub work_dir: &'a Path,
    /// One line about where the packages come from, for the log.
    pub notice: &'a str,
}

/// A composed root, before anything personal.
#[derive(Clone, Debug)]
pub struct Root {
    pub tree: Tree,
    /// What packages told the user (elog, ewarn, eerror), each under its package's name.
    pub messages: Vec<String>,
}

/// Why a package could not be had, in words.
pub type FetchError = Box<dyn std::error::Error + Send + Sync>;

/// The system's own package, merged first whatever the plan says: all else stands on its directories and accounts.
const BASELAYOUT: &str = "sys-apps/baselayout";
/// What phases may take for granted, as it is in every Gentoo (the tools of @system that scripts use). As long as one of these is
/// still to come, phases wait for it.
const ESSENTIAL: [&str; 14] = [
    "sys-apps/baselayout",
    "sys-libs/glibc",
    "sys-libs/musl",
    "app-shells/bash",
    "sys-apps/coreutils",
    "sys-apps/sed",
    "sys-apps/grep",
    "sys-apps/gawk",
    "sys-apps/findutils",
    "sys-apps/shadow",
    "sys-apps/util-linux",
    "sys-libs/ncurses",
    "sys-libs/readline",
    "app-alternatives/awk",
];
/// Seconds for ldconfig and for trying bash.
const TOOL_LIMIT: u64 = 300;

/// Merges all packages of a plan, in its order, into an empty root.
///
/// `fetch` gives each package, verified. Contents go to the store; nothing is unpacked to disk unless a phase must run.
///
/// # Errors
/// [`ComposeError`] with the package and phase at fault. Nothing is left behind in the work directory.
pub fn merge<E: Into<FetchError>>(
    request: MergeRequest<'_>,
    fetch: &mut dyn FnMut(&PlannedPackage) -> Result<BinaryPackage, E>,
    observer: &dyn Observer,
) -> Result<Root, ComposeError> {
    if !request.notice.is_empty() {
        observer.log(request.notice);
    }
    let mut merger = Merger::new(&request, observer)?;
    let total = request.plan.packages.len() as u64;
    for (done, planned) in in_order(request.plan).into_iter().enumerate() {
        if observer.cancelled() {
            return Err(ComposeError::cancelled());
        }
        observer.progress(done as u64, total, &planned.cpv);
        let package =
            fetch(planned).map_err(|error| ComposeError::new(error.into().to_string(), "").for_package(&planned.cpv))?;
        merger.package(planned, package).map_err(|error| error.for_package(&planned.cpv))?;
    }
    observer.progress(total, total, "");
    merger.finish()
}

fn in_order(plan: &Plan) -> Vec<&PlannedPackage> {
    let is_base = |planned: &&PlannedPackage| Cpv::parse(&planned.cpv).is_ok_and(|cpv| cpv.cp() == BASELAYOUT);
    let mut order: Vec<&PlannedPackage> = plan.packages.iter().filter(is_base).collect();
    order.extend(plan.packages.iter().filter(|planned| !is_base(planned)));
    order
}

/// A package whose files are in the root.
struct Package {
    cpv: Cpv,
    metadata: BTreeMap<String, Vec<u8>>,
    scripts: Scripts,
    image: Image,
    merged: Merged,
    counter: u64,
    md5: Option<String>,
    /// Its BUILD_TIME, for what is made in its name.
    time: i64,
}

struct Merger<'a> {
    request: &'a MergeRequest<'a>,
    observer: &'a dyn Observer,
    tree: Tree,
    owners: Owners,
    vdb: Vdb,
    messages: Vec<String>,
    /// Essential packages still to come.
    missing: BTreeSet<String>,
    /// The sandbox, once a phase needed it, or why there is none.
    host: Option<PhaseHost>,
    /// Bash runs in the target.
    ready: bool,
    /// Packages whose phases wait, in order.
    waiting: Vec<Package>,
    /// The image area on disk holds something.
    image_on_disk: bool,
    /// Libraries or env.d changed since ldconfig ran.
    libraries_changed: bool,
    /// When the merge began, seconds since the epoch: what is later was made by it.
    began: i64,
}

impl<'a> Merger<'a> {
    fn new(request: &'a MergeRequest<'a>, observer: &'a dyn Observer) -> Result<Self, ComposeError> {
        let cps = request.plan.packages.iter().filter_map(|planned| Cpv::parse(&planned.cpv).ok()).map(|cpv| cpv.cp());
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()) as i64;
        Ok(Merger {
            request,
            observer,
            tree: skeleton::tree(&request.plan.arch)?,
            owners: Owners::new(),
            vdb: Vdb::default(),
            messages: Vec::new(),
            missing: cps.filter(|cp| ESSENTIAL.contains(&cp.as_str())).collect(),
            host: None,
            ready: false,
            waiting: Vec::new(),
            image_on_disk: false,
            libraries_changed: false,
            began,
        })
    }

    fn package(&mut self, planned: &PlannedPackage, package: BinaryPackage) -> Result<(), ComposeError> {
        let mut package = self.open(planned, package)?;
        self.tree.set_time(package.time);
        let by_hand = !package.scripts.defined.is_empty() && !self.is_ready()? && self.make_accounts(&mut package)?;
        if by_hand {
            package.scripts.defined.clear();
        }
        let waits = !package.scripts.defined.is_empty() && !self.is_ready()?;
        if !waits {
            self.run_before(&mut package)?;
        }
        package.image.restrict_set_id();
        let merged = self.merge_files(&mut package.image, &package.cpv, &|_| true)?;
        self.tell_remarks(&package.cpv, &merged);
        package.merged = merged;
        package.counter = self.vdb.add(Installed::new(package.cpv.clone(), &package.metadata));
        self.write_record(&package)?;
        self.missing.remove(&package.cpv.cp());
        if waits {
            self.observer
                .log(&format!("{}: its scripts wait until bash and the tools of the base system are there", package.cpv));
            self.waiting.push(package);
            return Ok(());
        }
        self.run_after(&mut package)
    }

    /// Checks that the package is the planned one, and reads its image into the store.
    fn open(&mut self, planned: &PlannedPackage, package: BinaryPackage) -> Result<Package, ComposeError> {
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

    fn merge_files(&mut self, image: &mut Image, cpv: &Cpv, wanted: &dyn Fn(&[u8]) -> bool) -> Result<Merged, ComposeError> {
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

    fn tell_remarks(&mut self, cpv: &Cpv, merged: &Merged) {
        for remark in &merged.remarks {
            self.observer.log(&format!("{cpv}: {remark}"));
            self.messages.push(format!("{cpv}: {remark}"));
        }
    }

    fn write_record(&mut self, package: &Package) -> Result<(), ComposeError> {
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

    /// Makes the accounts of an acct-user or acct-group package by ourselves, as long as the target's tools cannot. Tells whether it did.
    fn make_accounts(&mut self, package: &mut Package) -> Result<bool, ComposeError> {
        if !matches!(package.cpv.category.as_str(), "acct-user" | "acct-group") {
            return Ok(false);
        }
        let files =
            package.image.tree.children("usr/lib/sysusers.d").into_iter().map(|(name, _)| name.to_vec()).collect::<Vec<_>>();
        let mut lines = Vec::new();
        for name in files.iter().filter(|name| name.ends_with(b".conf")) {
            let path = [b"usr/lib/sysusers.d/", name.as_slice()].concat();
            let text = package.image.tree.read_file(self.request.store, path)?.unwrap_or_default();
            lines.extend(accounts::parse_sysusers(&String::from_utf8_lossy(&text))?);
        }
        if lines.is_empty() {
            return Ok(false);
        }
        let day = u64::try_from(package.time).unwrap_or(0) / 86_400;
        accounts::create(&mut self.tree, self.request.store, &lines, day)?;
        let names = Names::of(&self.tree, self.request.store)?;
        for line in &lines {
            give_home(package, line, &names);
        }
        self.observer.log(&format!("{}: made its accounts", package.cpv));
        Ok(true)
    }

    /// pkg_pretend, pkg_setup and pkg_preinst; the last may change the image.
    fn run_before(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        let phases: Vec<Phase> = Phase::BEFORE.into_iter().filter(|phase| package.scripts.defined.contains(phase)).collect();
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
            let (began, time) = (self.began, package.time);
            self.host()?.scan(Area::Image, &mut package.image.tree, store, began, time)?;
        }
        Ok(())
    }

    /// pkg_postinst, and the record with what the phases made of the environment.
    fn run_after(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        if package.scripts.defined.contains(&Phase::Postinst) {
            self.run_phases(package, &[Phase::Postinst])?;
        }
        match package.scripts.defined.is_empty() {
            true => Ok(()),
            false => self.write_record(package),
        }
    }

    fn run_phases(&mut self, package: &mut Package, phases: &[Phase]) -> Result<(), ComposeError> {
        self.refresh_libraries()?;
        self.write_disk()?;
        let (vdb, observer) = (&self.vdb, self.observer);
        let subject = Subject { cpv: &package.cpv, metadata: &package.metadata, vdb, observer };
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let messages = subject.run(host, &mut package.scripts, phases)?;
        self.messages.extend(messages);
        self.read_disk(package.time)
    }

    /// Runs the phases that waited, in order, once they can.
    fn run_waiting(&mut self) -> Result<(), ComposeError> {
        for mut package in std::mem::take(&mut self.waiting) {
            let cpv = package.cpv.to_string();
            self.run_late(&mut package).map_err(|error| error.for_package(&cpv))?;
        }
        Ok(())
    }

    /// All phases of a package whose files are merged already; what pkg_preinst changes in the image is merged after it.
    fn run_late(&mut self, package: &mut Package) -> Result<(), ComposeError> {
        self.tree.set_time(package.time);
        let before = package.image.tree.clone();
        self.run_before(package)?;
        let changed = changed_paths(&before, &package.image.tree);
        let merged = self.merge_files(&mut package.image, &package.cpv, &|path| changed.contains(path))?;
        self.tell_remarks(&package.cpv, &merged);
        package.merged.contents.extend(merged.contents);
        self.drop_what_preinst_removed(package)?;
        self.run_after(package)
    }

    fn drop_what_preinst_removed(&mut self, package: &mut Package) -> Result<(), ComposeError> {
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
    fn is_ready(&mut self) -> Result<bool, ComposeError> {
        if self.ready || !self.missing.is_empty() || self.tree.lookup("bin/bash").is_err() {
            return Ok(self.ready);
        }
        self.host()?;
        self.refresh_libraries()?;
        self.write_disk()?;
        let argv = ["/bin/bash", "--noprofile", "--norc", "-c", ":"];
        self.ready = self.tool(&argv)?.is_none();
        if self.ready {
            self.run_waiting()?;
        }
        Ok(self.ready)
    }

    /// The sandbox, started when first needed.
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

    fn write_disk(&mut self) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Err(no_host()) };
        Ok(host.sync(Area::Target, &self.tree, self.request.store)?)
    }

    fn read_disk(&mut self, time: i64) -> Result<(), ComposeError> {
        let Some(host) = &mut self.host else { return Err(no_host()) };
        host.scan(Area::Target, &mut self.tree, self.request.store, self.began, time)?;
        Ok(())
    }

    /// env-update, and ldconfig when libraries changed, so that what is merged can be run.
    fn refresh_libraries(&mut self) -> Result<(), ComposeError> {
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
        self.read_disk(self.request.plan_time())?;
        // It holds inode numbers of this machine, and ldconfig makes it anew.
        if self.tree.contains("var/cache/ldconfig/aux-cache") {
            self.tree.remove("var/cache/ldconfig/aux-cache")?;
        }
        Ok(())
    }

    /// Runs a program of the target; `None` when it succeeded, else its last lines.
    fn tool(&mut self, argv: &[&str]) -> Result<Option<Vec<String>>, ComposeError> {
        let command = Command {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("PATH".into(), SEARCH_PATH.into()), ("LC_ALL".into(), "C".into())],
            timeout: TOOL_LIMIT,
            ..Command::default()
        };
        let mut listener = ToolLog { observer: self.observer };
        let Some(host) = &mut self.host else { return Err(no_host()) };
        let ran = host.run(&command, &mut listener)?;
        if self.observer.cancelled() {
            return Err(ComposeError::cancelled());
        }
        Ok((!ran.succeeded()).then_some(ran.tail))
    }

    fn finish(mut self) -> Result<Root, ComposeError> {
        self.missing.clear();
        if !self.waiting.is_empty() && !self.is_ready()? {
            let names: Vec<String> = self.waiting.iter().map(|package| package.cpv.to_string()).collect();
            let message = format!("{} would run scripts, and the image has no bash that starts", names.join(", "));
            return Err(ComposeError::new(message, "Add app-shells/bash (or the whole @system) to the order."));
        }
        self.tree.set_time(self.request.plan_time());
        self.libraries_changed = true;
        self.refresh_libraries()?;
        self.vdb.write_counter(&mut self.tree, self.request.store)?;
        vdb::write_world(&mut self.tree, self.request.store, &self.request.plan.world)?;
        if let Some(host) = self.host.take() {
            host.close()?;
        }
        Ok(Root { tree: self.tree, messages: self.messages })
    }
}

impl MergeRequest<'_> {
    /// The time of what no package made: the newest package's.
    fn plan_time(&self) -> i64 {
        let newest = self.plan.packages.iter().map(|planned| planned.build_time).max();
        newest.and_then(|time| i64::try_from(time).ok()).unwrap_or(0)
    }
}

/// acct-user_pkg_preinst gives the home directory to its user.
fn give_home(package: &mut Package, line: &Line, names: &Names) {
    let Line::User { name, uid, group, home, .. } = line else { return };
    if home == "/dev/null" || home == "/" {
        return;
    }
    let owner = package.scripts.variable("_ACCT_USER_HOME_OWNER").filter(|owner| !owner.is_empty());
    let (user, group) = match owner.as_deref().and_then(|owner| owner.split_once(':')) {
        Some((user, group)) => (user, group),
        None => (name.as_str(), group.as_deref().unwrap_or(name)),
    };
    let (uid, gid) = (names.uid(Some(user), uid.unwrap_or(0)), names.gid(Some(group), group.parse().unwrap_or(0)));
    let mode = package.scripts.variable("_ACCT_USER_HOME_PERMS").and_then(|mode| u32::from_str_radix(&mode, 8).ok());
    if let Some(entry) = package.image.tree.get_mut(home) {
        (entry.uid, entry.gid) = (uid, gid);
        entry.mode = mode.unwrap_or(entry.mode) & 0o7777;
    }
}

fn concerns_libraries(path: &[u8]) -> bool {
    path.windows(3).any(|part| part == b".so") || path.starts_with(b"etc/env.d/") || path.starts_with(b"etc/ld.so.conf")
}

fn no_host() -> ComposeError {
    SandboxError::Broken { message: "it was not started".into() }.into()
}

struct ToolLog<'a> {
    observer: &'a dyn Observer,
}

impl Listener for ToolLog<'_> {
    fn line(&mut self, line: &str) {
        self.observer.log(line);
    }

    fn answer(&mut self, _words: &[String]) -> String {
        String::new()
    }

    fn cancelled(&mut self) -> bool {
        self.observer.cancelled()
    }
}
