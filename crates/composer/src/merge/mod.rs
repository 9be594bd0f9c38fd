//! Merging: the packages of a plan become a root, as emerge would make it into an empty directory.

pub(crate) mod accounts;
mod ahead;
pub(crate) mod config_memory;
mod contents;
pub(crate) mod env_update;
pub(crate) mod files;
mod groups;
mod info;
mod install_mask;
mod intake;
mod linkage;
mod masked;
mod meter;
mod onlook;
mod own_accounts;
pub(crate) mod package;
pub(crate) mod phases;
mod preserved;
mod pretend;
mod protect;
mod removal;
mod running;
pub(crate) mod scripts;
mod skeleton;
mod uninstall;
pub(crate) mod vdb;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;
use image::{Store, Tree};

pub use groups::groups;

use crate::sandbox::PhaseHost;
use crate::{ComposeError, Observer};
use ahead::{Opened, read_ahead};
use files::{Merged, Owners};
use install_mask::Masked;
pub(crate) use package::{Devices, Image, TarRules};
use pretend::Pretenders;
use scripts::Scripts;
use vdb::{Installed, Vdb};

/// What to merge, and where.
pub struct MergeRequest<'a> {
    pub plan: &'a Plan,
    pub store: &'a Store,
    /// A directory for the sandbox; several merges may share it.
    pub work_dir: &'a Path,
    /// One line about where the packages come from, for the log.
    pub notice: &'a str,
    /// The root to merge over, like that of a stage3 (see [`crate::read_stage3`]); none begins with an empty one.
    pub base: Option<&'a Tree>,
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

/// Merges all packages of a plan, in its order, into an empty root or over a base. What a base has installed in a package's slot is
/// replaced.
///
/// `fetch` gives each package, verified; it is called from another thread, for the next package while one is merged. Contents go to the
/// store; nothing is unpacked to disk unless a phase must run.
///
/// # Errors
/// [`ComposeError`] with the package and phase at fault. Nothing is left behind in the work directory.
pub fn merge<E: Into<FetchError>>(
    request: MergeRequest<'_>,
    fetch: &mut (dyn FnMut(&PlannedPackage) -> Result<BinaryPackage, E> + Send),
    observer: &dyn Observer,
) -> Result<Root, ComposeError> {
    if !request.notice.is_empty() {
        observer.log(request.notice);
    }
    let mut merger = Merger::new(&request, observer)?;
    merger.pretenders = Pretenders::find(request.plan, merger.vdb.clone(), fetch)?;
    if !merger.pretenders.is_empty() {
        merger.is_ready()?;
    }
    let total = request.plan.packages.len() as u64;
    let mut done = 0;
    let merged = read_ahead(&in_order(request.plan), request.store, fetch, &mut |planned, package| {
        if observer.cancelled() {
            return Err(ComposeError::cancelled());
        }
        observer.progress(done, total, &planned.cpv);
        done += 1;
        merger.package(planned, package).map_err(|error| error.for_package(&planned.cpv))?;
        merger.uninstall_after(planned)
    });
    merged.map_err(|error| masked::blame(&merger.masked, error))?;
    observer.progress(total, total, "");
    let masked = merger.masked.clone();
    merger.finish().map_err(|error| masked::blame(&masked, error))
}

fn no_package(planned: &PlannedPackage, error: FetchError) -> ComposeError {
    ComposeError::new(error.to_string(), "").for_package(&planned.cpv)
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
    /// The versions it replaces, PMS's REPLACING_VERSIONS.
    replacing: Vec<String>,
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
    /// Installed packages (CPV) that the plan replaces later on.
    outgoing: BTreeSet<String>,
    messages: Vec<String>,
    /// Essential packages still to come.
    missing: BTreeSet<String>,
    /// The sandbox, once a phase needed it, or why there is none.
    host: Option<PhaseHost>,
    /// Bash runs in the target.
    ready: bool,
    /// Packages whose pkg_pretend runs before all other scripts.
    pretenders: Pretenders,
    /// Packages whose phases wait, in order.
    waiting: Vec<Package>,
    /// The image area on disk holds something.
    image_on_disk: bool,
    /// Libraries or env.d changed since ldconfig ran.
    libraries_changed: bool,
    /// Folders (real paths) whose info pages changed.
    info_changed: BTreeSet<Vec<u8>>,
    /// Programs and libraries of essential packages that INSTALL_MASK left out.
    masked: Vec<Masked>,
}

impl<'a> Merger<'a> {
    fn new(request: &'a MergeRequest<'a>, observer: &'a dyn Observer) -> Result<Self, ComposeError> {
        let cps = request.plan.packages.iter().filter_map(|planned| Cpv::parse(&planned.cpv).ok()).map(|cpv| cpv.cp());
        let tree = match request.base {
            Some(base) => base.clone(),
            None => skeleton::tree(&request.plan.arch)?,
        };
        let vdb = Vdb::read(&tree, request.store)?;
        let is_there: BTreeSet<String> = vdb.installed().iter().map(|installed| installed.cpv.cp()).collect();
        Ok(Merger {
            request,
            observer,
            owners: intake::owners(&tree, request.store, &vdb)?,
            outgoing: intake::outgoing(request.plan, &vdb),
            tree,
            vdb,
            messages: Vec::new(),
            missing: cps.filter(|cp| ESSENTIAL.contains(&cp.as_str()) && !is_there.contains(cp)).collect(),
            host: None,
            ready: false,
            pretenders: Pretenders::default(),
            waiting: Vec::new(),
            image_on_disk: false,
            libraries_changed: false,
            info_changed: BTreeSet::new(),
            masked: Vec::new(),
        })
    }

    fn package(&mut self, planned: &PlannedPackage, package: Opened) -> Result<(), ComposeError> {
        let mut package = self.admit(planned, package)?;
        self.tree.set_time(package.time);
        let by_hand = !package.scripts.defined.is_empty() && !self.is_ready()? && self.make_accounts(&mut package)?;
        if by_hand {
            package.scripts.defined.clear();
        }
        self.mask(&mut package)?;
        let waits = !package.scripts.defined.is_empty() && !self.is_ready()?;
        if !waits {
            self.run_before(&mut package)?;
        }
        package.image.restrict_set_id();
        let removed = self.replaced(&package)?;
        let merged = self.merge_files(&mut package.image, &package.cpv, removed.last(), &|_| true)?;
        self.tell_remarks(&package.cpv, &merged);
        package.merged = merged;
        let preserved = self.remove_replaced(removed, &mut package)?;
        package.counter = self.vdb.add(Installed::new(package.cpv.clone(), &package.metadata));
        self.register_preserved(&package.cpv, &package.metadata, package.counter, &preserved)?;
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

    fn finish(mut self) -> Result<Root, ComposeError> {
        self.missing.clear();
        if !self.waiting.is_empty() && !self.is_ready()? {
            let names: Vec<String> = self.waiting.iter().map(|package| package.cpv.to_string()).collect();
            return Err(masked::no_bash(&self.masked, &names.join(", ")));
        }
        self.read_disk_thoroughly()?;
        self.tree.set_time(self.request.plan.newest_build_time());
        self.libraries_changed = true;
        self.refresh_libraries()?;
        self.prune_preserved()?;
        self.refresh_info()?;
        self.vdb.write_counter(&mut self.tree, self.request.store)?;
        vdb::write_world(&mut self.tree, self.request.store, &self.request.plan.world)?;
        if let Some(host) = self.host.take() {
            host.close()?;
        }
        Ok(Root { tree: self.tree, messages: self.messages })
    }
}
