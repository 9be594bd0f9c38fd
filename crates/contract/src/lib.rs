//! What passes between the parts of Hatchery: the order a person places, the plan the resolver makes of it, and the messages
//! of the lease protocol between server and worker. Types and their hashes only: no I/O, no policy.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

pub mod eprefix;
pub mod format;
pub mod hash;
pub mod lease;
pub mod nearest;
pub mod network;
pub mod order;
pub mod plan;
pub mod portage;
pub mod root;
pub mod system;
pub mod time;

pub use eprefix::check_eprefix;
pub use format::Format;
pub use hash::{ImageHash, PlanHash, RootHash};
pub use lease::{Artifact, Event, Evidence, EvidenceKind, Failure, Job, Lease, Step};
pub use network::{InterfaceAddress, Network};
pub use order::{Notify, Order, OrderError, check_email, check_install_mask};
pub use plan::{BinhostRef, Origin, PackageFormat, Plan, PlannedPackage, Stage3, Summary};
pub use portage::{PackageSettings, PortageSettings};
pub use root::RootFilesystem;
pub use system::{ExtraFile, NOBODY_CAN_LOG_IN, System, User};
