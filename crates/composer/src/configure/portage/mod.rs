//! Portage's own configuration in an image: what its packages were built with, so that Portage goes on from there and rebuilds nothing,
//! where more of them come from, and whose signatures count.

mod installed;
mod make_conf;

use contract::lease::BinhostAccess;
use contract::{BinhostRef, PackageSettings, Plan};
use image::{Store, Tree};

use self::installed::Installed;
use super::files::Files;
use crate::ComposeError;

const WRITTEN: &str = "# Written by Hatchery.";
/// Where Portage looks for the keys that binary packages must be signed by (make.conf(5), BINPKG_GPG_VERIFY_GPG_HOME).
const GNUPG: &str = "etc/portage/gnupg";
const GPG_CONF: &str = "no-greeting\nno-permission-warning\n";
/// The longest line of a setting, in bytes.
const MAX_LINE: usize = 16 * 1024;

/// Whose signatures count, as files of a GnuPG home folder. Nothing in them is secret.
#[derive(Clone, Copy, Debug)]
pub struct TrustedKeys<'a> {
    /// `pubring.gpg`.
    pub pubring: &'a [u8],
    /// `trustdb.gpg`.
    pub trustdb: &'a [u8],
}

/// Writes make.conf, binrepos.conf, make.profile, package.use and the like, and the binhosts' keys, where Portage is in the image. What a
/// stage3 has of them is kept: to its make.conf is added what that leaves open, and its profile gives way to the one that the packages
/// were chosen by.
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
    keys: Option<TrustedKeys<'_>>,
) -> Result<Vec<String>, ComposeError> {
    let mut files = Files::new(tree, store);
    if !files.has_file("usr/share/portage/config/make.globals") {
        return Ok(Vec::new());
    }
    let installed = Installed::read_all(&files)?;
    let own = write_make_conf(&mut files, plan, &installed, access)?;
    let by_profile = plan.portage.as_ref().and_then(|portage| portage.packages.as_ref());
    let settings = match by_profile {
        Some(settings) if !make_conf::changes_flags(&own) => settings.clone(),
        _ => installed::complete_settings(&plan.arch, &installed),
    };
    write_settings(&mut files, &settings)?;
    link_profile(&mut files, plan, by_profile.is_some())?;
    write_binrepos(&mut files, plan, access)?;
    write_keys(&mut files, keys)?;
    Ok(files.messages)
}

/// Writes make.conf, and returns what was in it before.
fn write_make_conf(
    files: &mut Files,
    plan: &Plan,
    installed: &[Installed],
    access: &[BinhostAccess],
) -> Result<String, ComposeError> {
    let path = "etc/portage/make.conf";
    let signed = plan.binhosts.iter().all(|binhost| is_signed(access, &binhost.name));
    match files.text(path)?.filter(|text| !text.trim().is_empty()) {
        None => {
            files.write(path, &make_conf::new(plan, installed, signed), 0o644)?;
            Ok(String::new())
        }
        Some(own) => {
            let missing = make_conf::missing(&own, plan, installed, signed);
            if !missing.is_empty() && !own.starts_with(WRITTEN) {
                files.append(path, &format!("\n{WRITTEN} What the packages of this image were chosen by.\n{missing}"))?;
            }
            Ok(own)
        }
    }
}

fn write_settings(files: &mut Files, settings: &PackageSettings) -> Result<(), ComposeError> {
    for (name, lines) in settings.files() {
        // Where the image has one file instead of a folder of files, the lines go to its end.
        let path = match files.has_file(&format!("etc/portage/{name}")) {
            true => format!("etc/portage/{name}"),
            false => format!("etc/portage/{name}/hatchery"),
        };
        let lines: Vec<&str> = lines.iter().map(String::as_str).filter(|line| is_plain(line)).collect();
        if !lines.is_empty() {
            let head = format!("{WRITTEN} The installed packages are as these lines say; see portage(5).");
            files.append(&path, &format!("{head}\n{}\n", lines.join("\n")))?;
        }
    }
    Ok(())
}

/// One line that means nothing to make.conf's shell-like syntax.
fn is_plain(line: &str) -> bool {
    !line.is_empty() && line.len() <= MAX_LINE && line.bytes().all(|b| (b' '..=b'~').contains(&b) && !b"\"\\$`".contains(&b))
}

/// The profile's folder in the repository it is of, where `emerge --sync` puts that.
fn link_profile(files: &mut Files, plan: &Plan, chosen_by: bool) -> Result<(), ComposeError> {
    let Some((repository, profile)) = plan.profile.as_deref().and_then(|profile| profile.split_once(':')) else { return Ok(()) };
    let fine = |text: &str| {
        text.split('/').all(|part| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        })
    };
    let is_there = files.tree.resolve_parent("etc/portage/make.profile").is_ok_and(|path| files.tree.contains(path));
    if is_there && !chosen_by || !fine(repository) || repository.contains('/') || !fine(profile) {
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

/// Puts the binhosts' keys where Portage verifies by them. A folder that is there already (getuto's) has keys of its own.
fn write_keys(files: &mut Files, keys: Option<TrustedKeys<'_>>) -> Result<(), ComposeError> {
    let Some(keys) = keys.filter(|_| files.names(GNUPG).is_empty()) else { return Ok(()) };
    files.dir(GNUPG, 0o755, (0, 0))?;
    files.write_bytes(&format!("{GNUPG}/pubring.gpg"), keys.pubring, 0o644)?;
    files.write_bytes(&format!("{GNUPG}/trustdb.gpg"), keys.trustdb, 0o644)?;
    files.write(&format!("{GNUPG}/gpg.conf"), GPG_CONF, 0o644)
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
