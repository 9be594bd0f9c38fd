//! The lease protocol between server and worker. A worker has no database and no storage: it asks for a job, reports events while it
//! holds the lease, uploads artifacts through the server, and says how it ended.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `POST /api/worker/lease` | [`LeaseRequest`] | [`Lease`], or 204 when nothing waits |
//! | `POST /api/worker/builds/{build}/events` | [`EventBatch`] | [`EventAnswer`] |
//! | `PUT /api/worker/builds/{build}/artifacts/{name}` | the bytes | 204 |
//! | `PUT /api/worker/builds/{build}/package` | the bytes of a [`SourceJob`]'s package | 204 |
//! | `POST /api/worker/builds/{build}/end` | [`EndReport`] | 204 |
//!
//! Each carries `Authorization: Bearer TOKEN`; all but the first also `X-Hatchery-Lease: LEASE`, so that a worker that lost its lease
//! is refused (409) and can spoil nothing.

use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::plan::Plan;
use crate::system::System;

/// The version of this protocol. Both sides pass over fields that they do not know, so that workers and servers can be renewed one by one, in
/// any order. What changes an image raises the version, and is given only to workers that speak it.
pub const PROTOCOL: u32 = 2;
/// The oldest version that a server still works with.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Whether a text can stand behind `Authorization: Bearer`: a single word of visible ASCII.
pub fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A worker asking for work. What it says of itself is kept as its abilities.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LeaseRequest {
    /// A name for the operator's eyes, like the host's.
    pub worker: String,
    /// Architectures it can run phases for.
    pub arches: Vec<String>,
    /// Whether it can start images in a virtual machine.
    pub starts_images: bool,
    /// The version of the protocol it speaks; 0 means 1, which did not say.
    pub protocol: u32,
    /// The formats it can write; empty means all. A build that wants another waits for a worker that knows it.
    pub formats: Vec<String>,
    /// How long the server may wait for work to come before it answers 204. Seconds.
    pub wait_seconds: u32,
    /// The memory that it may use, in bytes; 0 when it does not say. A build that needs more waits for a worker that has more.
    pub memory_bytes: u64,
    /// The channels for which it can build packages from source, as it has a build root for them.
    pub builds_source_for: Vec<String>,
}

/// A granted lease. It lapses when no event reaches the server for `ttl_seconds`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lease {
    pub lease: String,
    pub ttl_seconds: u64,
    pub job: Job,
}

/// Everything a worker must know to build, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The build's identifier.
    pub build: String,
    pub plan: Plan,
    /// Where each binhost of the plan is, and what is trusted there.
    pub binhosts: Vec<BinhostAccess>,
    /// Where the plan's stage3 is and what is trusted there; there when the plan has a base.
    #[serde(default)]
    pub stage3: Option<BinhostAccess>,
    pub system: System,
    pub formats: Vec<Format>,
    /// Stem of the artifacts' file names, like `hatchery-amd64-server-20261122`.
    pub image_name: String,
    /// One line said inside the image about where it comes from (the sample channel says what it is).
    pub notice: String,
    /// Images that start by themselves are started before the build counts as good.
    #[serde(default)]
    pub boot_gate: bool,
    /// A control file of zsync is wanted beside each image, as [`EvidenceKind::Zsync`].
    #[serde(default)]
    pub control_files: bool,
    /// Not an image is wanted, but a package built from source. It goes to workers only that say that they build for the channel; the
    /// plan is then empty.
    #[serde(default)]
    pub source: Option<SourceJob>,
}

/// A package that is to be built from source, by the ebuild repositories and the configuration of the worker's build root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceJob {
    /// An atom without USE dependencies, like `app-editors/vim` or `=app-editors/vim-9.1.0`.
    pub package: String,
    /// USE flags to build it with, or without where they begin with `-`; the others are as the build root has them.
    #[serde(default)]
    pub flags: Vec<String>,
    pub limits: SourceLimits,
}

/// What building a package from source may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLimits {
    pub seconds: u64,
    /// Of all its processes together.
    pub memory_bytes: u64,
    pub disk_bytes: u64,
}

/// A binhost as an operator configured it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinhostAccess {
    pub name: String,
    pub uri: String,
    /// Armored OpenPGP certificates whose signatures count. Empty with `allow_unsigned` only.
    #[serde(default)]
    pub keyring: String,
    /// The operator's opt-in to packages that carry no signature (all XPAK, unsigned GPKG).
    #[serde(default)]
    pub allow_unsigned: bool,
}

/// The steps of a build, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Packages are fetched and verified.
    Fetch,
    /// Packages are merged and their phases run.
    Merge,
    /// Settings are put in, the initramfs is made.
    Configure,
    /// The formats are written.
    Write,
    /// The artifacts go to the server.
    Upload,
}

impl Step {
    pub const ALL: [Step; 5] = [Step::Fetch, Step::Merge, Step::Configure, Step::Write, Step::Upload];

    /// The word people read.
    pub fn label(self) -> &'static str {
        match self {
            Step::Fetch => "fetch packages",
            Step::Merge => "merge packages",
            Step::Configure => "configure",
            Step::Write => "write images",
            Step::Upload => "store images",
        }
    }
}

/// Something that happened in a build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Event {
    /// A step is at `done` of `total`; the unit (bytes, packages) is the step's own.
    Progress { step: Step, done: u64, total: u64, what: String },
    /// A line for the build's log.
    Log { line: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventBatch {
    /// Counts the batches of one lease from 0, so that a repeated request is not recorded twice.
    pub sequence: u64,
    /// May be empty: then it is a heartbeat.
    pub events: Vec<Event>,
}

/// The server's answer to events.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EventAnswer {
    /// The build is no longer wanted: stop and end with a failure.
    pub cancel: bool,
}

/// A finished file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Artifact {
    /// File name, a single path component.
    pub name: String,
    pub format: Format,
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: String,
    pub sha512: String,
    /// BLAKE2b with 512 bits.
    pub blake2b: String,
}

/// A file that a worker sends beside an image: mostly what shows that it started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// File name, a single path component.
    pub name: String,
    pub kind: EvidenceKind,
    /// Of which image.
    pub format: Format,
    /// What it was started by, as people call it: `SeaBIOS`, `OVMF`. Empty for what is of no start.
    pub firmware: String,
}

/// The kinds of files that a worker sends beside images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceKind {
    /// What the serial console said, as text.
    BootLog,
    /// What the screen showed when the system was up, as PNG.
    BootScreen,
    /// The checksums of the image's blocks, as a control file of zsync. A worker sends it only where the job asks for it.
    Zsync,
}

/// Why a build failed, in words a user can act on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    pub step: Step,
    /// The package at fault (CPV), where there is one.
    #[serde(default)]
    pub package: Option<String>,
    /// The field of the order at fault, like `install_mask`, where it is known to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// What happened and why.
    pub message: String,
    /// What to do about it.
    pub advice: String,
}

impl Failure {
    /// A failure that is laid to no package and no field of the order.
    pub fn new(step: Step, message: impl Into<String>, advice: impl Into<String>) -> Failure {
        Failure { step, package: None, setting: None, message: message.into(), advice: advice.into() }
    }

    /// The same, laid to a package (CPV).
    #[must_use]
    pub fn for_package(self, cpv: impl Into<String>) -> Failure {
        Failure { package: Some(cpv.into()), ..self }
    }
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "end", rename_all = "kebab-case", deny_unknown_fields)]
pub enum EndReport {
    /// All artifacts are uploaded. `plan` is the lock: the job's plan with the SHA-256 of each package filled in.
    Ready {
        artifacts: Vec<Artifact>,
        plan: Box<Plan>,
        messages: Vec<String>,
        /// Of the boots, where the worker starts its images. Uploaded like the artifacts.
        #[serde(default)]
        evidence: Vec<Evidence>,
    },
    Failed {
        failure: Failure,
    },
    /// This worker could not, as its disk is full, and another may: the build goes back to its place in the queue.
    GivenBack {
        failure: Failure,
    },
}
