//! What comes with an image so that others can trust it, or see that they should not: checksums, a signature, bills of materials,
//! licences, provenance, security advisories; and the reading back of all that. Functions of the plan, what packages say of themselves
//! and the images' checksums; the only files read are those of a Gentoo repository, for sources and advisories.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

mod component;
mod cyclonedx;
mod digests;
mod documents;
pub mod glsa;
mod licence;
mod provenance;
mod purl;
mod spdx;
pub mod verify;

use contract::hash::FieldHasher;
use contract::{Artifact, Plan};

pub use component::{Sources, cache_entry, metadata_cache, sources};
pub use cyclonedx::cyclonedx;
pub use digests::{Digests, Hasher, SumKind, parse_sums};
pub use documents::{Document, DocumentError, DocumentKind, Listed, documents};
pub use glsa::GlsaReport;
pub use licence::licences;
pub use provenance::{BUILD_TYPE, provenance};
pub use purl::purl;
pub use spdx::spdx;

/// What is known of an image.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Stem of the files' names.
    pub image_name: &'a str,
    /// The lock: with the hash of each package.
    pub plan: &'a Plan,
    pub files: &'a [Artifact],
    /// Where sources are, as far as it is known.
    pub sources: &'a Sources,
    /// The address of the site that made it; none for a build without a site.
    pub site: Option<&'a str>,
}

/// What is known of how an image was made.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// The build's identifier.
    pub build: &'a str,
    /// Seconds since the epoch.
    pub started: i64,
    pub ended: i64,
}

impl Facts<'_> {
    /// An address under which identifiers are made.
    fn namespace(&self) -> String {
        self.site.map_or_else(|| "https://hatchery.invalid/local".to_owned(), |site| site.trim_end_matches('/').to_owned())
    }

    fn tool(&self) -> String {
        format!("hatchery-{}", env!("CARGO_PKG_VERSION"))
    }

    /// The time that documents say: that of the newest package, as in the image itself, so that the same image has the same documents.
    fn time(&self) -> i64 {
        self.plan.newest_build_time()
    }

    /// What is told of: the plan and the images' bytes.
    fn identity(&self) -> String {
        let mut hasher = FieldHasher::new("hatchery attest 1");
        hasher.field(&self.plan.hash().0).field(self.image_name);
        for file in self.files {
            hasher.field(&file.name).field(&file.sha256);
        }
        hasher.finish()
    }

    /// The lock file's text.
    ///
    /// # Errors
    /// Only if a plan were something that JSON cannot hold, which it is not.
    pub fn lock(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self.plan).map(|text| text + "\n")
    }

    /// What bills of materials say of a stage3: not all that it brings is in the image.
    fn about_stage3(&self) -> String {
        let removed: Vec<&str> = self.plan.removals.iter().map(|removal| removal.cpv.as_str()).collect();
        let listed = match component::is_complete(self.plan) {
            true => format!("{} of its packages are in the image and listed here", self.plan.inherited.len()),
            false => "Its packages are not listed here one by one".to_owned(),
        };
        let text = format!("A stage3. {listed}; those that other packages listed here replace are not in the image");
        match removed.is_empty() {
            true => format!("{text}."),
            false => format!("{text}, nor are {}, which were removed.", removed.join(", ")),
        }
    }

    /// The stage3 that brings a package; none for one that the plan merges.
    fn stage3_of(&self, component: &component::Component<'_>) -> Option<&str> {
        self.plan.base.as_ref().filter(|_| component.content.planned.is_none()).map(|base| base.path.as_str())
    }

    fn lock_name(&self) -> String {
        DocumentKind::Lock.file_name(self.image_name)
    }
}
