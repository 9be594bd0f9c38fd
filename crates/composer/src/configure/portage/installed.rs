//! What the VDB of an image says of its packages, and the settings that keep them as they are where nothing else is known.

use std::collections::BTreeMap;

use contract::PackageSettings;

use super::super::files::Files;
use crate::ComposeError;

/// Flags that the profile decides alone, by the beginning of their names.
const PROFILE_FLAGS: &[&str] = &["elibc_", "kernel_", "userland_"];

/// What the VDB says of one package.
pub(super) struct Installed {
    cp: String,
    pf: String,
    /// Without the sub-slot.
    slot: String,
    iuse: Vec<String>,
    use_flags: Vec<String>,
    keywords: Vec<String>,
    cflags: String,
}

impl Installed {
    pub(super) fn read_all(files: &Files) -> Result<Vec<Installed>, ComposeError> {
        let mut installed = Vec::new();
        for category in files.names("var/db/pkg") {
            for pf in files.names(&format!("var/db/pkg/{category}")) {
                let Ok(cpv) = gentoo::Cpv::parse(&format!("{category}/{pf}")) else { continue };
                let field = |name: &str| -> Result<String, ComposeError> {
                    Ok(files.text(&format!("var/db/pkg/{category}/{pf}/{name}"))?.unwrap_or_default())
                };
                let words = |text: String| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
                let slot = field("SLOT")?;
                installed.push(Installed {
                    cp: cpv.cp(),
                    slot: slot.trim().split('/').next().unwrap_or("0").to_owned(),
                    iuse: words(field("IUSE")?),
                    use_flags: words(field("USE")?),
                    keywords: words(field("KEYWORDS")?),
                    cflags: field("CFLAGS")?.trim().to_owned(),
                    pf,
                });
            }
        }
        Ok(installed)
    }

    fn has_keyword(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|own| own == keyword)
    }
}

/// Settings that hold by whatever profile: every flag of every package, and the keywords of those that are not stable.
pub(super) fn complete_settings(arch: &str, installed: &[Installed]) -> PackageSettings {
    PackageSettings {
        use_flags: every_flag(arch, installed),
        accept_keywords: keywords(arch, installed),
        ..PackageSettings::default()
    }
}

/// One line a package and slot: every flag of its IUSE as it was built, but those that are the profile's alone. All of them, since a
/// flag like its default in IUSE may be another by the profile.
fn every_flag(arch: &str, installed: &[Installed]) -> Vec<String> {
    let line = |package: &Installed| {
        let mut flags: Vec<&str> = package.iuse.iter().map(|flag| flag.trim_start_matches(['+', '-'])).collect();
        flags.sort_unstable();
        flags.dedup();
        let ours = |flag: &&str| *flag != arch && is_flag(flag) && !PROFILE_FLAGS.iter().any(|start| flag.starts_with(start));
        let set =
            |flag: &str| if package.use_flags.iter().any(|on| on == flag) { format!(" {flag}") } else { format!(" -{flag}") };
        let settings: String = flags.into_iter().filter(ours).map(set).collect();
        (!settings.is_empty()).then(|| format!("{}:{}{settings}", package.cp, package.slot))
    };
    installed.iter().filter_map(line).collect()
}

/// PMS 3.1.4; the values come from packages.
fn is_flag(flag: &str) -> bool {
    flag.starts_with(|c: char| c.is_ascii_alphanumeric())
        && flag.bytes().all(|b| b.is_ascii_alphanumeric() || b"+_@-".contains(&b))
}

/// Whether most of the packages are testing ones, so that the system is one of testing packages.
pub(super) fn is_testing(arch: &str, installed: &[Installed]) -> bool {
    let testing = format!("~{arch}");
    let count = installed.iter().filter(|p| !p.has_keyword(arch) && p.has_keyword(&testing)).count();
    count * 2 > installed.len()
}

fn keywords(arch: &str, installed: &[Installed]) -> Vec<String> {
    let (testing, mostly) = (format!("~{arch}"), is_testing(arch, installed));
    let line = |package: &Installed| {
        let accept = match (package.has_keyword(arch), package.has_keyword(&testing)) {
            (true, _) => return None,
            (false, true) if mostly => return None,
            (false, true) => testing.as_str(),
            (false, false) => "**",
        };
        let category = package.cp.split('/').next()?;
        Some(format!("={category}/{} {accept}", package.pf))
    };
    installed.iter().filter_map(line).collect()
}

/// The flags that most of the packages were built with, so that compiled and fetched packages go together; for the small x86 machines,
/// and where packages do not say, those of Gentoo's own stages (catalyst, arch/*.toml).
pub(super) fn common_flags(chost: &str, installed: &[Installed]) -> String {
    let of_stages = match chost.split('-').next() {
        Some("i686") => return "-O2 -march=i686 -pipe".to_owned(),
        Some("i486") => return "-O2 -march=i486 -pipe".to_owned(),
        Some("x86_64") => "-march=x86-64 -mtune=generic -O2 -pipe",
        _ => "-O2 -pipe",
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let plain = |text: &str| {
        !text.is_empty() && text.len() <= 512 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b" ._=+,-".contains(&b))
    };
    for package in installed.iter().filter(|package| plain(&package.cflags)) {
        *counts.entry(&package.cflags).or_default() += 1;
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map_or(of_stages, |(flags, _)| flags).to_owned()
}
