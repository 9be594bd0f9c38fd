//! The plan: the exact packages an image is made of, in merge order, with the reason for each. Written as JSON it is the lock
//! file a person can keep, share and rebuild from.

use serde::{Deserialize, Serialize};

use crate::hash::{FieldHasher, PlanHash};

/// Version of the lock file's layout.
pub const PLAN_VERSION: u32 = 1;

/// The exact packages of one image, in merge order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Layout version, [`PLAN_VERSION`].
    pub version: u32,
    pub arch: String,
    pub channel: String,
    /// The CHOST every package was built for, like `x86_64-pc-linux-gnu`.
    pub chost: String,
    /// The binhosts the packages come from, best priority first, each pinned by the hash of its index.
    pub binhosts: Vec<BinhostRef>,
    /// The profile the packages were chosen by, as Portage writes it: `gentoo:default/linux/amd64/23.0`. None where the channel has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The atoms asked for by name; they become the image's world file.
    pub world: Vec<String>,
    /// Services to enable at boot (from the preset; personal ones are not part of a plan).
    #[serde(default)]
    pub services: Vec<String>,
    /// What the packages are merged over; none makes the root of packages alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Stage3>,
    /// EPREFIX: the folder of a foreign system the packages are moved to; none means that they make a system of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// INSTALL_MASK (make.conf(5)): what is left out of every package.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub install_mask: String,
    /// Every package, in merge order.
    pub packages: Vec<PlannedPackage>,
    /// What whoever ordered should know, in sentences: that a cycle was broken which Portage would have refused, for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How much it all is.
    #[serde(default)]
    pub summary: Summary,
}

/// A stage3 tarball, as its signed DIGESTS describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stage3 {
    /// Path below the folder that its `latest-….txt` is in.
    pub path: String,
    /// Bytes of the tarball.
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha512: String,
    /// BLAKE2b with 512 bits, lower-case hexadecimal.
    pub blake2b: String,
}

/// How much a plan is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    pub packages: u64,
    /// Bytes to fetch when nothing is cached; exact, as the indexes have it.
    pub download_size: u64,
    /// Bytes of all files once they are merged. No index says so: before the image was built, this is an estimate.
    pub installed_size: u64,
    /// The installed size was measured when the image was built.
    pub measured: bool,
}

/// Bytes installed for each ten bytes of package file. Measured over whole binhosts: 30 for GPKG with zstd, 33 for XPAK with bzip2.
const INSTALLED_PER_TEN: u64 = 31;

impl Summary {
    /// The sums over these packages, with the installed size estimated.
    pub fn estimate(packages: &[PlannedPackage]) -> Summary {
        let download_size = packages.iter().fold(0u64, |sum, p| sum.saturating_add(p.size));
        Summary {
            packages: packages.len() as u64,
            download_size,
            installed_size: (download_size / 10).saturating_mul(INSTALLED_PER_TEN),
            measured: false,
        }
    }
}

/// One binhost of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BinhostRef {
    pub name: String,
    /// `https://…`, or `file:///…` for a folder.
    pub uri: String,
    /// SHA-256 of the uncompressed `Packages` index this plan was made from.
    pub index_sha256: String,
    /// The index's TIMESTAMP, seconds since the epoch.
    pub timestamp: u64,
}

/// The two containers of Gentoo's binary packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PackageFormat {
    /// GLEP 78.
    Gpkg,
    /// The older tar archive with an appended XPAK; it carries no signature.
    Xpak,
}

/// One binary package of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedPackage {
    /// `category/name-version[-rN]`.
    pub cpv: String,
    /// SLOT as the index has it, sub-slot included (`0/3`).
    pub slot: String,
    #[serde(default)]
    pub build_id: Option<u32>,
    /// Seconds since the epoch.
    pub build_time: u64,
    /// The flags of IUSE that the package was built with, sorted.
    #[serde(rename = "use")]
    pub use_flags: Vec<String>,
    /// The name of the binhost (in [`Plan::binhosts`]) it comes from.
    pub binhost: String,
    /// Path below the binhost's address.
    pub path: String,
    /// Bytes of the package file.
    pub size: u64,
    pub format: PackageFormat,
    /// Hashes of the index, lower-case hexadecimal. Weak ones: what counts is the package's own signature.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub md5: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha1: Option<String>,
    /// SHA-256 of the package file; known once it was fetched and verified, and binding from then on.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub sha256: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// The repository it was built from, like `gentoo`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repo: String,
    /// DEFINED_PHASES as the index has it, `-` for none; empty where the index does not say. A hint of whose scripts have to be looked at
    /// first; what the package itself says is what runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub defined_phases: String,
    /// Why it is there: the atom or the package (CPV) and dependency that asked for it, nearest first.
    pub because: Vec<String>,
}

impl Plan {
    /// The plan's identity: all that decides what the root will contain, and nothing else. Reasons and notes, the binhosts' addresses,
    /// and what is learnt later do not count, so that one package from two mirrors is one plan.
    pub fn hash(&self) -> PlanHash {
        let mut h = FieldHasher::new("hatchery plan 1");
        h.field(&self.arch).field(&self.chost);
        for list in [&self.world, &self.services] {
            h.field(list.len().to_le_bytes());
            list.iter().for_each(|item| {
                h.field(item);
            });
        }
        h.field(self.packages.len().to_le_bytes());
        for p in &self.packages {
            h.field(&p.cpv).field(p.build_time.to_le_bytes()).field(p.build_id.unwrap_or(0).to_le_bytes());
            h.field(p.size.to_le_bytes()).field(p.md5.as_deref().unwrap_or("")).field(p.sha1.as_deref().unwrap_or(""));
        }
        if let Some(base) = &self.base {
            h.field("stage3").field(base.size.to_le_bytes()).field(&base.sha512).field(&base.blake2b);
        }
        if let Some(prefix) = &self.prefix {
            h.field("prefix").field(prefix);
        }
        if !self.install_mask.is_empty() {
            h.field("install mask").field(&self.install_mask);
        }
        PlanHash(h.finish())
    }

    /// Bytes to fetch when nothing is cached.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().fold(0u64, |sum, p| sum.saturating_add(p.size))
    }
}
