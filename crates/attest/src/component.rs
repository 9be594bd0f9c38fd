//! A package of an image, as bills of materials tell of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use contract::{Origin, Plan, PlannedPackage};
use gentoo::Cpv;

use crate::licence::{Expression, expression};
use crate::purl::purl;

/// Where the sources of packages are (SRC_URI), by CPV: what a Gentoo repository says of just these versions.
pub type Sources = BTreeMap<String, Vec<String>>;

/// Largest entry of a metadata cache that is read, in bytes.
const MAX_CACHE_ENTRY: u64 = 1 << 20;

/// A package that is in an image, whether the plan merges it or the base brings it.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    pub cpv: &'a str,
    pub slot: &'a str,
    pub build_id: Option<u32>,
    pub build_time: u64,
    pub use_flags: &'a [String],
    pub license: &'a str,
    pub repo: &'a str,
    /// Where it is from; none where the base brings it.
    pub planned: Option<&'a PlannedPackage>,
}

/// All packages of an image: those of the plan in its order, then what stays of the base.
pub(crate) fn contents(plan: &Plan) -> impl Iterator<Item = Content<'_>> {
    let planned = plan.packages.iter().map(|p| Content {
        cpv: &p.cpv,
        slot: &p.slot,
        build_id: p.build_id,
        build_time: p.build_time,
        use_flags: &p.use_flags,
        license: &p.license,
        repo: &p.repo,
        planned: Some(p),
    });
    let inherited = plan.inherited.iter().map(|p| Content {
        cpv: &p.cpv,
        slot: &p.slot,
        build_id: p.build_id,
        build_time: p.build_time,
        use_flags: &p.use_flags,
        license: &p.license,
        repo: &p.repo,
        planned: None,
    });
    planned.chain(inherited)
}

/// Whether all packages of an image are known: those of a base are not in plans of before they were recorded.
pub(crate) fn is_complete(plan: &Plan) -> bool {
    plan.base.is_none() || !plan.inherited.is_empty()
}

/// Looks the packages of an image up in the metadata cache of a Gentoo repository (`metadata/md5-cache`). A version that the repository
/// does not have any more is left out, and so is what cannot be read: another would be wrong.
pub fn sources(plan: &Plan, repository: &Path) -> Sources {
    let of = |package: Content<'_>| {
        let text = cache_entry(repository, &Cpv::parse(package.cpv).ok()?)?;
        let uri = text.lines().find_map(|line| line.strip_prefix("SRC_URI="))?;
        let found = gentoo::src_uris(uri, &|flag| package.use_flags.iter().any(|f| f == flag)).ok()?;
        Some((package.cpv.to_owned(), found))
    };
    contents(plan).filter_map(of).collect()
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
    pub content: Content<'a>,
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

impl<'a> Content<'a> {
    fn origin(&self) -> Option<&'a Origin> {
        self.planned?.origin.as_ref()
    }
}

impl Component<'_> {
    pub(crate) fn description(&self) -> Option<&str> {
        self.content.origin().map(|o| o.description.as_str()).filter(|text| !text.is_empty())
    }

    pub(crate) fn homepages(&self) -> &[String] {
        self.content.origin().map_or(&[], |origin| &origin.homepage)
    }

    /// SHA-256 of the binary package.
    pub(crate) fn sha256(&self) -> Option<&str> {
        self.content.planned?.sha256.as_deref()
    }
}

/// The packages of an image as [`contents`] has them; one whose name is none is left out (no resolver makes such a plan).
pub(crate) fn components<'a>(plan: &'a Plan, sources: &'a Sources) -> Vec<Component<'a>> {
    let addresses: BTreeMap<&str, &str> = plan.binhosts.iter().map(|b| (b.name.as_str(), b.uri.as_str())).collect();
    let component = |content: Content<'a>| {
        let cpv = Cpv::parse(content.cpv).ok()?;
        let location = |planned: &PlannedPackage| {
            let address = addresses.get(planned.binhost.as_str())?;
            Some(format!("{}/{}", address.trim_end_matches('/'), planned.path))
        };
        Some(Component {
            name: cpv.cp(),
            version: cpv.version.as_str().to_owned(),
            purl: purl(&cpv, &plan.arch, content.slot),
            location: content.planned.and_then(location),
            licence: expression(content.license, content.use_flags).unwrap_or_default(),
            sources: sources.get(content.cpv).map_or(&[], Vec::as_slice),
            ebuild: ebuild(&content, &cpv),
            category: cpv.category,
            package: cpv.package,
            content,
        })
    };
    contents(plan).filter_map(component).collect()
}

/// Gentoo's own repository is on the web at every commit; of others that is not known.
fn ebuild(content: &Content<'_>, cpv: &Cpv) -> Option<String> {
    let commit = content.origin()?.commit.as_ref().filter(|_| content.repo == "gentoo")?;
    Some(format!("https://gitweb.gentoo.org/repo/gentoo.git/tree/{}/{}.ebuild?id={commit}", cpv.cp(), cpv.pf()))
}
