//! A package of an image, as bills of materials tell of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Plan, PlannedPackage};
use gentoo::Cpv;

use crate::licence::{Expression, expression};
use crate::purl::purl;

/// Where the sources of packages are (SRC_URI), by CPV: what a Gentoo repository says of just these versions.
pub type Sources = BTreeMap<String, Vec<String>>;

/// Largest entry of a metadata cache that is read, in bytes.
const MAX_CACHE_ENTRY: u64 = 1 << 20;

/// Looks the packages of a plan up in the metadata cache of a Gentoo repository (`metadata/md5-cache`). A version that the repository
/// does not have any more is left out, and so is what cannot be read: another would be wrong.
pub fn sources(plan: &Plan, repository: &Path) -> Sources {
    let of = |package: &PlannedPackage| {
        let text = cache_entry(repository, &Cpv::parse(&package.cpv).ok()?)?;
        let uri = text.lines().find_map(|line| line.strip_prefix("SRC_URI="))?;
        let found = gentoo::src_uris(uri, &|flag| package.use_flags.iter().any(|f| f == flag)).ok()?;
        Some((package.cpv.clone(), found))
    };
    plan.packages.iter().filter_map(of).collect()
}

/// The metadata cache of a Gentoo repository: a folder for each category, with a file for each ebuild.
pub fn metadata_cache(repository: &Path) -> PathBuf {
    repository.join("metadata/md5-cache")
}

/// What the metadata cache says of an ebuild; none where it cannot be read or is larger than any ebuild's.
pub fn cache_entry(repository: &Path, cpv: &Cpv) -> Option<String> {
    let path = metadata_cache(repository).join(&cpv.category).join(cpv.pf());
    let small = std::fs::metadata(&path).ok().filter(|m| m.is_file() && m.len() <= MAX_CACHE_ENTRY);
    small.and_then(|_| std::fs::read_to_string(&path).ok())
}

pub(crate) struct Component<'a> {
    pub planned: &'a PlannedPackage,
    /// `category/package`, and the version with its revision.
    pub name: String,
    pub version: String,
    pub category: String,
    pub package: String,
    pub purl: String,
    /// Where the binary package is.
    pub location: Option<String>,
    pub licence: Expression,
    pub sources: &'a [String],
    /// The ebuild it was made from, on the web.
    pub ebuild: Option<String>,
}

impl Component<'_> {
    pub(crate) fn description(&self) -> Option<&str> {
        self.planned.origin.as_ref().map(|o| o.description.as_str()).filter(|text| !text.is_empty())
    }

    pub(crate) fn homepages(&self) -> &[String] {
        self.planned.origin.as_ref().map_or(&[], |origin| &origin.homepage)
    }
}

/// The packages of a plan in its order; one whose name is none is left out (no resolver makes such a plan).
pub(crate) fn components<'a>(plan: &'a Plan, sources: &'a Sources) -> Vec<Component<'a>> {
    let addresses: BTreeMap<&str, &str> = plan.binhosts.iter().map(|b| (b.name.as_str(), b.uri.as_str())).collect();
    let component = |planned: &'a PlannedPackage| {
        let cpv = Cpv::parse(&planned.cpv).ok()?;
        let address = addresses.get(planned.binhost.as_str());
        Some(Component {
            name: cpv.cp(),
            version: cpv.version.as_str().to_owned(),
            purl: purl(&cpv, &plan.arch, &planned.slot),
            location: address.map(|uri| format!("{}/{}", uri.trim_end_matches('/'), planned.path)),
            licence: expression(&planned.license, &planned.use_flags).unwrap_or_default(),
            sources: sources.get(&planned.cpv).map_or(&[], Vec::as_slice),
            ebuild: ebuild(planned, &cpv),
            category: cpv.category,
            package: cpv.package,
            planned,
        })
    };
    plan.packages.iter().filter_map(component).collect()
}

/// Gentoo's own repository is on the web at every commit; of others that is not known.
fn ebuild(planned: &PlannedPackage, cpv: &Cpv) -> Option<String> {
    let commit = planned.origin.as_ref()?.commit.as_ref().filter(|_| planned.repo == "gentoo")?;
    Some(format!("https://gitweb.gentoo.org/repo/gentoo.git/tree/{}/{}.ebuild?id={commit}", cpv.cp(), cpv.pf()))
}
