//! make.conf: a new one, or what a base's own leaves open.

use contract::Plan;

use super::installed::{Installed, common_flags, is_testing};
use super::{WRITTEN, is_plain};

/// Variables of a base's make.conf that change no package's flags.
const HARMLESS: &[&str] = &[
    "CFLAGS",
    "CHOST",
    "COMMON_FLAGS",
    "CXXFLAGS",
    "DISTDIR",
    "FCFLAGS",
    "FEATURES",
    "FFLAGS",
    "GENTOO_MIRRORS",
    "LC_MESSAGES",
    "LDFLAGS",
    "MAKEOPTS",
    "PKGDIR",
    "PORTDIR",
    "RUSTFLAGS",
];
/// And all whose names begin so.
const HARMLESS_KINDS: &[&str] = &["ACCEPT_", "BINPKG_", "EMERGE_", "INSTALL_MASK", "PORTAGE_"];

/// A make.conf for an image that has none.
pub(super) fn new(plan: &Plan, installed: &[Installed], signed: bool) -> String {
    let chost: String = plan.chost.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect();
    format!(
        "{WRITTEN} See make.conf(5). The flags of packages are in package.use.
COMMON_FLAGS=\"{}\"
CFLAGS=\"${{COMMON_FLAGS}}\"
CXXFLAGS=\"${{COMMON_FLAGS}}\"
CHOST=\"{chost}\"
{}",
        common_flags(&plan.chost, installed),
        policy(plan, installed, signed).iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect::<String>(),
    )
}

/// What a base's make.conf lacks of what the packages were chosen by; empty where it has all.
pub(super) fn missing(text: &str, plan: &Plan, installed: &[Installed], signed: bool) -> String {
    let has_feature = assigned(text, "FEATURES").any(|value| value.contains("getbinpkg"));
    let line = |(name, value): (&str, String)| match name {
        "FEATURES" if has_feature => None,
        "FEATURES" => Some(format!("FEATURES=\"${{FEATURES}} {value}\"\n")),
        _ if assigned(text, name).next().is_some() => None,
        _ => Some(format!("{name}=\"{value}\"\n")),
    };
    policy(plan, installed, signed).into_iter().filter_map(line).collect()
}

/// Whether a make.conf may change the flags of packages.
pub(super) fn changes_flags(text: &str) -> bool {
    text.lines()
        .filter_map(assignment)
        .any(|(name, _)| !HARMLESS.contains(&name) && !HARMLESS_KINDS.iter().any(|start| name.starts_with(start)))
}

/// What decides which packages Portage takes, and how it gets them.
fn policy(plan: &Plan, installed: &[Installed], signed: bool) -> Vec<(&'static str, String)> {
    let portage = plan.portage.as_ref();
    // By an unknown profile, what is there has to tell.
    let knows_profile = portage.is_some_and(|portage| portage.packages.is_some());
    let testing = || (!knows_profile && is_testing(&plan.arch, installed)).then(|| format!("~{}", plan.arch));
    let accept_keywords = portage.and_then(|portage| portage.accept_keywords.clone()).or_else(testing);
    let accept_license = portage.map(|portage| portage.accept_license.clone()).filter(|text| !text.is_empty());
    let features = if signed { "getbinpkg binpkg-request-signature" } else { "getbinpkg" };
    [
        ("ACCEPT_KEYWORDS", accept_keywords),
        ("FEATURES", Some(features.to_owned())),
        ("ACCEPT_LICENSE", Some(accept_license.unwrap_or_else(|| "@BINARY-REDISTRIBUTABLE".to_owned()))),
        ("INSTALL_MASK", Some(plan.install_mask.clone()).filter(|mask| !mask.is_empty())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.filter(|value| is_plain(value))?)))
    .collect()
}

/// The values a variable is given, one after the other.
fn assigned<'a>(text: &'a str, wanted: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(assignment).filter(move |(name, _)| *name == wanted).map(|(_, value)| value)
}

/// The name and the value of a line that assigns.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    // `source` takes another file in, with whatever that has.
    if line.starts_with("source ") {
        return Some((line, ""));
    }
    let (name, value) = line.split_once('=')?;
    Some((name.trim().trim_start_matches("export ").trim_end_matches('+'), value))
}
