//! Portage's own configuration in an image: what its packages were built with, so that Portage goes on from there and rebuilds nothing,
//! and where more of them come from.

use std::collections::BTreeMap;

use contract::lease::BinhostAccess;
use contract::{BinhostRef, Plan};
use image::{Store, Tree};

use super::files::Files;
use crate::ComposeError;

const WRITTEN: &str = "# Written by Hatchery.";
/// Flags that the profile decides alone, by the beginning of their names.
const PROFILE_FLAGS: &[&str] = &["elibc_", "kernel_", "userland_"];

/// Writes make.conf, binrepos.conf, make.profile, package.use and package.accept_keywords, where Portage is in the image. A make.conf,
/// binrepos.conf or make.profile that is there already (a stage3's) is kept.
///
/// Nothing personal is in them, so the result may be shared. Binhosts that are folders of the build machine are left out.
/// Returns what the person who ordered should be told.
///
/// # Errors
/// Those of the store, and a tree in which something else is where Portage's folders belong.
pub fn configure_portage(
    tree: &mut Tree,
    store: &Store,
    plan: &Plan,
    access: &[BinhostAccess],
) -> Result<Vec<String>, ComposeError> {
    let mut files = Files::new(tree, store);
    if !files.has_file("usr/share/portage/config/make.globals") {
        return Ok(Vec::new());
    }
    let installed = Installed::read_all(&files)?;
    let signed = plan.binhosts.iter().all(|binhost| is_signed(access, &binhost.name));
    let keywords = Keywords::of(&plan.arch, &installed);
    if files.text("etc/portage/make.conf")?.is_none_or(|text| text.trim().is_empty()) {
        files.write("etc/portage/make.conf", &make_conf(plan, &installed, &keywords, signed), 0o644)?;
    }
    write_list(&mut files, "package.use", &package_use(&plan.arch, &installed))?;
    write_list(&mut files, "package.accept_keywords", &keywords.lines)?;
    link_profile(&mut files, plan)?;
    write_binrepos(&mut files, plan, access)?;
    Ok(files.messages)
}

/// What the VDB says of one package.
struct Installed {
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
    fn read_all(files: &Files) -> Result<Vec<Installed>, ComposeError> {
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
}

/// One line a package and slot: every flag of its IUSE as it was built, but those that are the profile's alone. All of them, since a
/// flag like its default in IUSE may be another by the profile.
fn package_use(arch: &str, installed: &[Installed]) -> Vec<String> {
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

/// What of the packages is not stable on the architecture.
struct Keywords {
    /// Most of the packages are testing ones, so that the system is one of testing packages.
    testing: bool,
    /// Lines of package.accept_keywords.
    lines: Vec<String>,
}

impl Keywords {
    fn of(arch: &str, installed: &[Installed]) -> Keywords {
        let has = |package: &Installed, keyword: &str| package.keywords.iter().any(|k| k == keyword);
        let testing = format!("~{arch}");
        let count = installed.iter().filter(|p| !has(p, arch) && has(p, &testing)).count();
        let mostly = count * 2 > installed.len();
        let lines = installed.iter().filter_map(|package| {
            let accept = match (has(package, arch), has(package, &testing)) {
                (true, _) => return None,
                (false, true) if mostly => return None,
                (false, true) => testing.as_str(),
                (false, false) => "**",
            };
            let category = package.cp.split('/').next()?;
            Some(format!("={category}/{} {accept}", package.pf))
        });
        Keywords { testing: mostly, lines: lines.collect() }
    }
}

fn write_list(files: &mut Files, name: &str, lines: &[String]) -> Result<(), ComposeError> {
    // Where the image has one file instead of a folder of files, the lines go to its end.
    let path = match files.has_file(&format!("etc/portage/{name}")) {
        true => format!("etc/portage/{name}"),
        false => format!("etc/portage/{name}/hatchery"),
    };
    if lines.is_empty() {
        return Ok(());
    }
    files.append(
        &path,
        &format!("{WRITTEN} The installed packages are as these lines say; see portage(5).\n{}\n", lines.join("\n")),
    )
}

/// The profile's folder in the repository it is of, where `emerge --sync` puts that.
fn link_profile(files: &mut Files, plan: &Plan) -> Result<(), ComposeError> {
    let Some((repository, profile)) = plan.profile.as_deref().and_then(|profile| profile.split_once(':')) else { return Ok(()) };
    let fine = |text: &str| {
        text.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        })
    };
    let is_there = files.tree.resolve_parent("etc/portage/make.profile").is_ok_and(|path| files.tree.contains(path));
    if is_there || !fine(repository) || repository.contains('/') || !fine(profile) {
        return Ok(());
    }
    files.link("etc/portage/make.profile", &format!("../../var/db/repos/{repository}/profiles/{profile}"))
}

fn write_binrepos(files: &mut Files, plan: &Plan, access: &[BinhostAccess]) -> Result<(), ComposeError> {
    let (public, local): (Vec<&BinhostRef>, Vec<&BinhostRef>) = plan.binhosts.iter().partition(|binhost| is_public(binhost));
    if files.names("etc/portage/binrepos.conf").is_empty() && !files.has_file("etc/portage/binrepos.conf") {
        for (rank, binhost) in public.iter().enumerate() {
            let path = format!("etc/portage/binrepos.conf/{}.conf", binhost.name);
            files.write(&path, &binrepos_conf(binhost, rank, is_signed(access, &binhost.name)), 0o644)?;
        }
    }
    for binhost in local {
        files.say(format!(
            "The packages of “{}” are where only the build machine reaches them, so the image cannot get more from there.",
            binhost.name
        ));
    }
    Ok(())
}

/// Whether packages without a signature are refused there.
fn is_signed(access: &[BinhostAccess], name: &str) -> bool {
    !access.iter().any(|access| access.name == name && access.allow_unsigned)
}

/// Whether others can reach it, by a name and an address that fit a file's name and one line.
fn is_public(BinhostRef { name, uri, .. }: &BinhostRef) -> bool {
    let name_fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    name_fits && (uri.starts_with("https://") || uri.starts_with("http://")) && uri.bytes().all(|b| b.is_ascii_graphic())
}

/// The best binhost has the highest priority (portage(5), binrepos.conf).
fn binrepos_conf(binhost: &BinhostRef, rank: usize, signed: bool) -> String {
    format!(
        "# The packages of this image come from here.\n[{}]\npriority = {}\nsync-uri = {}\nverify-signature = {signed}\n",
        binhost.name,
        100_usize.saturating_sub(rank),
        binhost.uri
    )
}

fn make_conf(plan: &Plan, installed: &[Installed], keywords: &Keywords, signed: bool) -> String {
    let accept_keywords = if keywords.testing { format!("ACCEPT_KEYWORDS=\"~{}\"\n", plan.arch) } else { String::new() };
    format!(
        "{WRITTEN} See make.conf(5). The flags of packages are in package.use.
COMMON_FLAGS=\"{}\"
CFLAGS=\"${{COMMON_FLAGS}}\"
CXXFLAGS=\"${{COMMON_FLAGS}}\"
FCFLAGS=\"${{COMMON_FLAGS}}\"
FFLAGS=\"${{COMMON_FLAGS}}\"
CHOST=\"{}\"
{accept_keywords}FEATURES=\"getbinpkg{}\"
ACCEPT_LICENSE=\"@BINARY-REDISTRIBUTABLE\"
",
        common_flags(&plan.chost, installed),
        plan.chost.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect::<String>(),
        if signed { " binpkg-request-signature" } else { "" },
    )
}

/// The flags that most of the packages were built with, so that compiled and fetched packages go together; for the small x86 machines,
/// and where packages do not say, those of Gentoo's own stages (catalyst, arch/*.toml).
fn common_flags(chost: &str, installed: &[Installed]) -> String {
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
