//! The plan: the exact packages an image is made of, in merge order, with the reason for each. Written as JSON it is the lock
//! file a person can keep, share and rebuild from.

use serde::{Deserialize, Serialize};

use crate::hash::{FieldHasher, PlanHash};
use crate::portage::PortageSettings;

/// Version of the lock file's layout.
pub const PLAN_VERSION: u32 = 1;

/// The exact packages of one image, in merge order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// What Portage in the image is told; none in plans of before it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portage: Option<PortageSettings>,
    /// Every package, in merge order.
    pub packages: Vec<PlannedPackage>,
    /// What the base has installed and packages of the plan block, so that it is removed once they are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removals: Vec<Removal>,
    /// What the base has installed and the plan neither replaces nor removes, so that it is in the image; by CPV. It follows from the base
    /// and the packages. Empty in plans of before it was recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherited: Vec<Inherited>,
    /// What whoever ordered should know, in sentences: that a cycle was broken which Portage would have refused, for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How much it all is.
    #[serde(default)]
    pub summary: Summary,
}

/// An installed package of the base that goes without another version in its place, as Portage uninstalls what a package softly blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Removal {
    /// `category/name-version[-rN]`.
    pub cpv: String,
    /// The package of the plan (CPV) after whose merge it goes: the last of those that cannot be beside it.
    pub after: String,
    /// The blocker, like `!sys-apps/old`, and who has it.
    pub because: String,
}

/// An installed package of the base that stays, as the base's own database of packages (VDB) describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inherited {
    /// `category/name-version[-rN]`.
    pub cpv: String,
    /// SLOT, sub-slot included (`0/3`).
    pub slot: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build_id: Option<u32>,
    /// Seconds since the epoch.
    pub build_time: u64,
    /// The flags of IUSE that the package was built with, sorted.
    #[serde(rename = "use")]
    pub use_flags: Vec<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub license: String,
    /// The repository it was built from, like `gentoo`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repo: String,
}

/// A stage3 tarball, as its signed DIGESTS describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackageFormat {
    /// GLEP 78.
    Gpkg,
    /// The older tar archive with an appended XPAK; it carries no signature.
    Xpak,
}

/// One binary package of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
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
    /// What the package says of where it is from; known once it was fetched and verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
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

/// A slot without the sub-slot that only repeats it (PMS: an absent sub-slot is the slot itself).
pub fn short_slot(slot: &str) -> &str {
    match slot.split_once('/') {
        Some((slot, sub_slot)) if slot == sub_slot => slot,
        _ => slot,
    }
}

/// What a package says of itself, for people and for bills of materials; nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Origin {
    /// DESCRIPTION.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// HOMEPAGE: addresses on the web.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub homepage: Vec<String>,
    /// The commit of its repository that it was built from (REPO_REVISIONS), lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SIZE: what the files that it installs take (Portage counts it when it builds a package). Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed_size: Option<u64>,
}

/// Longest description that is kept, in characters, and most addresses.
const MAX_DESCRIPTION: usize = 400;
const MAX_HOMEPAGES: usize = 8;

impl Origin {
    /// Takes what is plain out of the texts of a package: the rest is dropped, as these are for display alone.
    ///
    /// `revisions` is REPO_REVISIONS, a JSON object of commits by repository; `repo` is the package's.
    pub fn of(description: &str, homepage: &str, revisions: &str, repo: &str) -> Origin {
        let commits: std::collections::BTreeMap<String, String> = serde_json::from_str(revisions).unwrap_or_default();
        Origin {
            description: description.chars().filter(|c| !c.is_control()).take(MAX_DESCRIPTION).collect(),
            homepage: homepage
                .split_ascii_whitespace()
                .filter(|url| is_web(url))
                .take(MAX_HOMEPAGES)
                .map(str::to_owned)
                .collect(),
            commit: commits.get(repo).filter(|commit| is_commit(commit)).cloned(),
            installed_size: None,
        }
    }

    /// Whether it is as [`Origin::of`] makes it; it may have come from elsewhere.
    pub fn is_plain(&self) -> bool {
        self.description.chars().count() <= MAX_DESCRIPTION
            && !self.description.chars().any(char::is_control)
            && self.homepage.len() <= MAX_HOMEPAGES
            && self.homepage.iter().all(|url| is_web(url))
            && self.commit.as_deref().is_none_or(is_commit)
    }
}

fn is_web(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty())
        && url.len() <= 500
        && url.bytes().all(|b| b.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&b))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

impl Plan {
    /// A plan of no packages.
    pub fn empty(channel: &str, arch: &str) -> Plan {
        Plan {
            version: PLAN_VERSION,
            arch: arch.to_owned(),
            channel: channel.to_owned(),
            chost: String::new(),
            binhosts: Vec::new(),
            profile: None,
            world: Vec::new(),
            services: Vec::new(),
            base: None,
            prefix: None,
            install_mask: String::new(),
            portage: None,
            packages: Vec::new(),
            removals: Vec::new(),
            inherited: Vec::new(),
            notes: Vec::new(),
            summary: Summary::default(),
        }
    }

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
        for removal in &self.removals {
            h.field("removal").field(&removal.cpv).field(&removal.after);
        }
        if !self.install_mask.is_empty() {
            h.field("install mask").field(&self.install_mask);
        }
        if let Some(portage) = &self.portage {
            portage.hash_into(&mut h);
        }
        PlanHash(h.finish())
    }

    /// BUILD_TIME of the newest package, in seconds since the epoch: the time of what no package made. 0 without packages.
    pub fn newest_build_time(&self) -> i64 {
        self.packages.iter().map(|package| package.build_time).max().and_then(|time| i64::try_from(time).ok()).unwrap_or(0)
    }

    /// Bytes to fetch when nothing is cached.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().fold(0u64, |sum, p| sum.saturating_add(p.size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_holds_only_what_is_plain() {
        let commit = "ab3ee1a3bb6ef59410d474fedcbec3fccc352955";
        let revisions = format!("{{\"gentoo\": \"{commit}\", \"guru\": \"x\"}}");
        let homepage = "https://a.example/ javascript:alert(1) http://b.example/<script> https://";
        let origin = Origin::of("A\ntool", homepage, &revisions, "gentoo");
        assert_eq!(origin.homepage, ["https://a.example/"]);
        assert_eq!((origin.description.as_str(), origin.commit.as_deref()), ("Atool", Some(commit)));
        assert!(origin.is_plain());
        assert!(!Origin { homepage: vec!["javascript:alert(1)".into()], ..Origin::default() }.is_plain());
        assert_eq!(Origin::of("", "", "not JSON", "guru"), Origin::default());
    }
}
