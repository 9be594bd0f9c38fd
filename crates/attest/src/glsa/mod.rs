//! Gentoo Linux Security Advisories: which of them touch the packages of an image. They are read as `portage/glsa.py` reads them: a
//! package is affected when a vulnerable range of an entry has it, and no unaffected range of that entry does.

mod read;
mod report;

use std::io;
use std::path::Path;

use gentoo::atom::Operator;
use gentoo::version::Version;

pub use read::GlsaError;
pub use report::{Finding, GlsaReport};

/// One advisory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// `202407-25`.
    pub id: String,
    pub title: String,
    pub synopsis: String,
    /// The day it was published, as it says it: `2024-07-10`.
    pub announced: String,
    pub revised: String,
    /// What the advisory calls its impact: `low`, `normal` or `high`.
    pub severity: String,
    pub affected: Vec<Affected>,
}

/// What an advisory says of one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// `category/package`.
    pub package: String,
    /// None means all.
    pub arches: Option<Vec<String>>,
    pub vulnerable: Vec<Range>,
    pub unaffected: Vec<Range>,
}

/// Versions of a package, in one slot or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub relation: Relation,
    pub version: Version,
    /// `8`, or with a sub-slot `0/esr78`.
    pub slot: Option<String>,
}

/// How a version stands to that of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    Of(Operator),
    /// `rge` and the like: the same version, whose revision stands so to the other.
    RevisionOf(Operator),
}

impl Range {
    /// Whether a version in a slot (with its sub-slot, as an index writes it) is in the range.
    pub fn contains(&self, version: &Version, slot: &str) -> bool {
        let in_slot = self.slot.as_deref().is_none_or(|wanted| slot_matches(wanted, slot));
        in_slot
            && match self.relation {
                Relation::Of(operator) => operator.accepts(version, &self.version),
                Relation::RevisionOf(operator) => {
                    Operator::Revision.accepts(version, &self.version)
                        && operator.accepts(&revision(version), &revision(&self.version))
                }
            }
    }
}

impl std::fmt::Display for Range {
    /// As in a package dependency: `>=1.35.3`, `<8.1:8`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (sign, star) = match self.relation {
            Relation::Of(Operator::Prefix) => ("=", "*"),
            Relation::Of(operator) => (operator.as_str(), ""),
            // No atom says this; these are Portage's words for it.
            Relation::RevisionOf(Operator::LessEqual) => ("<=~", ""),
            Relation::RevisionOf(Operator::Less) => ("<~", ""),
            Relation::RevisionOf(Operator::Greater) => (">~", ""),
            Relation::RevisionOf(_) => (">=~", ""),
        };
        write!(f, "{sign}{}{star}", self.version.as_str())?;
        self.slot.as_ref().map_or(Ok(()), |slot| write!(f, ":{slot}"))
    }
}

/// A slot with or without its sub-slot is meant.
fn slot_matches(wanted: &str, slot: &str) -> bool {
    let (own, own_sub) = slot.split_once('/').unwrap_or((slot, slot));
    match wanted.split_once('/') {
        Some((wanted, sub)) => own == wanted && own_sub == sub,
        None => own == wanted,
    }
}

/// The revision alone, as a version that can be compared; it is any number of digits.
fn revision(version: &Version) -> Version {
    let digits = Some(version.revision()).filter(|digits| !digits.is_empty()).unwrap_or("0");
    // A revision is digits by its grammar, and digits are a version.
    Version::parse(digits).unwrap_or_else(|_| version.clone())
}

impl Affected {
    /// Whether this build of the package is vulnerable.
    pub fn is_vulnerable(&self, arch: &str, version: &Version, slot: &str) -> bool {
        let here = self.arches.as_ref().is_none_or(|arches| arches.iter().any(|a| a == arch));
        let any = |ranges: &[Range]| ranges.iter().any(|range| range.contains(version, slot));
        here && any(&self.vulnerable) && !any(&self.unaffected)
    }
}

impl Advisory {
    /// Reads an advisory from its XML.
    ///
    /// # Errors
    /// When it is not what the DTD says; the caller knows its file.
    pub fn parse(text: &str) -> Result<Advisory, GlsaError> {
        read::advisory(text)
    }

    /// Where people read it.
    pub fn url(&self) -> String {
        format!("https://security.gentoo.org/glsa/{}", self.id)
    }
}

/// All advisories of a Gentoo repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advisories {
    /// By their ids.
    pub list: Vec<Advisory>,
    /// Files that were not understood, with the reason each. What they warn of is not known.
    pub unreadable: Vec<String>,
    /// What the folder says of its age: `Sat, 01 Aug 2026 07:07:54 +0000`.
    pub timestamp: Option<String>,
}

/// Most advisories of a folder; Gentoo has some 4,000 after 20 years.
const MAX_ADVISORIES: usize = 100_000;

impl Advisories {
    /// Reads a folder of advisories: `metadata/glsa` of a Gentoo repository.
    ///
    /// # Errors
    /// When the folder cannot be read, or none is in it, which is another thing than that none applies.
    pub fn read(dir: &Path) -> io::Result<Advisories> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)?.take(MAX_ADVISORIES) {
            let name = entry?.file_name();
            names.extend(name.into_string().ok().filter(|n| n.starts_with("glsa-") && n.ends_with(".xml")));
        }
        names.sort();
        if names.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "there is no glsa-….xml in it"));
        }
        let mut found = Advisories::default();
        for name in names {
            let read = std::fs::read_to_string(dir.join(&name)).map_err(|e| e.to_string());
            match read.and_then(|text| Advisory::parse(&text).map_err(|e| e.to_string())) {
                Ok(advisory) => found.list.push(advisory),
                Err(why) => found.unreadable.push(format!("{name}: {why}")),
            }
        }
        let timestamp = std::fs::read_to_string(dir.join("timestamp.chk")).ok();
        found.timestamp = timestamp.map(|text| text.trim().chars().take(100).collect()).filter(|text: &String| !text.is_empty());
        Ok(found)
    }
}
