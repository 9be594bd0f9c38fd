//! What the advisories mean for one image.

use std::io::ErrorKind;
use std::path::Path;

use contract::Plan;
use gentoo::Cpv;
use serde::{Deserialize, Serialize};

use super::{Advisories, Affected};
use crate::component::{contents, is_complete};

/// The advisories that touch an image, or that this is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum GlsaReport {
    /// Nobody looked: which is not the same as that there is nothing.
    Unknown { why: String },
    Checked {
        /// How many advisories were looked through.
        advisories: u64,
        /// What the advisories' folder says of its age.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timestamp: Option<String>,
        /// Those that touch the image, newest first.
        findings: Vec<Finding>,
        /// What could not be judged, in sentences.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        gaps: Vec<String>,
    },
}

/// An advisory that touches a package of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    pub id: String,
    pub url: String,
    pub title: String,
    pub synopsis: String,
    pub severity: String,
    pub announced: String,
    /// The packages of the image (CPV) that are vulnerable.
    pub packages: Vec<String>,
    /// Which versions are not: `>=1.35.3`.
    pub unaffected: Vec<String>,
}

impl GlsaReport {
    /// Looks for a plan's packages in the advisories of a Gentoo repository.
    ///
    /// None for `repository` means that the operator named none.
    pub fn of(plan: &Plan, repository: Option<&Path>) -> GlsaReport {
        let Some(repository) = repository else {
            let why = "This channel names no Gentoo repository, so the advisories were not looked at.".into();
            return GlsaReport::Unknown { why };
        };
        match Advisories::read(&repository.join("metadata/glsa")) {
            Ok(advisories) => GlsaReport::compare(plan, &advisories),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                GlsaReport::Unknown { why: "The channel's repository has no advisories (metadata/glsa).".into() }
            }
            Err(error) => {
                GlsaReport::Unknown { why: format!("The advisories of the channel's repository cannot be read: {error}.") }
            }
        }
    }

    /// Holds a plan against advisories.
    pub fn compare(plan: &Plan, advisories: &Advisories) -> GlsaReport {
        let mut gaps = Vec::new();
        let packages: Vec<(Cpv, &str)> = contents(plan)
            .filter_map(|p| match Cpv::parse(p.cpv) {
                Ok(cpv) => Some((cpv, p.slot)),
                Err(error) => {
                    gaps.push(format!("{error}."));
                    None
                }
            })
            .collect();
        if let Some(base) = plan.base.as_ref().filter(|_| !is_complete(plan)) {
            gaps.push(format!("The packages that the stage3 {} brings are not looked at, only those merged over it.", base.path));
        }
        gaps.extend(advisories.unreadable.iter().map(|file| format!("An advisory was not understood: {file}.")));
        let mut findings: Vec<Finding> =
            advisories.list.iter().filter_map(|advisory| finding(advisory, &plan.arch, &packages)).collect();
        findings.sort_by(|a, b| b.id.cmp(&a.id));
        GlsaReport::Checked { advisories: advisories.list.len() as u64, timestamp: advisories.timestamp.clone(), findings, gaps }
    }

    /// The advisories found; none where nobody looked.
    pub fn findings(&self) -> &[Finding] {
        match self {
            GlsaReport::Unknown { .. } => &[],
            GlsaReport::Checked { findings, .. } => findings,
        }
    }

    /// The outcome in one sentence.
    pub fn summary(&self) -> String {
        match self {
            GlsaReport::Unknown { why } => format!("Not known. {why}"),
            GlsaReport::Checked { advisories, timestamp, findings, gaps } => {
                let of = timestamp.as_ref().map(|t| format!(" of {t}")).unwrap_or_default();
                let outcome = match findings.len() {
                    0 => "none touches".to_owned(),
                    1 => "one touches".to_owned(),
                    count => format!("{count} touch"),
                };
                let but = if gaps.is_empty() { "" } else { ", as far as it could be judged" };
                format!("Of Gentoo's {advisories} security advisories{of}, {outcome} a package of this image{but}.")
            }
        }
    }
}

fn finding(advisory: &super::Advisory, arch: &str, packages: &[(Cpv, &str)]) -> Option<Finding> {
    let mut vulnerable = Vec::new();
    let mut unaffected = Vec::new();
    for entry in &advisory.affected {
        let before = vulnerable.len();
        vulnerable.extend(packages.iter().filter(|(cpv, slot)| concerns(entry, arch, cpv, slot)).map(|(cpv, _)| cpv.to_string()));
        if vulnerable.len() > before {
            unaffected.extend(entry.unaffected.iter().map(|range| format!("{}: {range}", entry.package)));
        }
    }
    vulnerable.sort();
    vulnerable.dedup();
    (!vulnerable.is_empty()).then(|| Finding {
        id: advisory.id.clone(),
        url: advisory.url(),
        title: advisory.title.clone(),
        synopsis: advisory.synopsis.clone(),
        severity: advisory.severity.clone(),
        announced: advisory.announced.clone(),
        packages: vulnerable,
        unaffected,
    })
}

fn concerns(entry: &Affected, arch: &str, cpv: &Cpv, slot: &str) -> bool {
    entry.package.split_once('/') == Some((cpv.category.as_str(), cpv.package.as_str()))
        && entry.is_vulnerable(arch, &cpv.version, slot)
}
