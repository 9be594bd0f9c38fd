//! Portage's own configuration in an image: what its packages were built for, and where more of them come from.

use contract::{BinhostRef, Plan};
use image::{Store, Tree};

use super::files::Files;
use crate::ComposeError;

/// Writes make.conf and binrepos.conf as the plan has it, where Portage is in the image and nothing is configured yet.
///
/// Nothing personal is in them, so the result may be shared. Binhosts that are folders of the build machine are left out.
/// Returns what the person who ordered should be told.
///
/// # Errors
/// Those of the store, and a tree in which something else is where Portage's folders belong.
pub fn configure_portage(tree: &mut Tree, store: &Store, plan: &Plan) -> Result<Vec<String>, ComposeError> {
    let mut files = Files::new(tree, store);
    if !files.has_file("usr/share/portage/config/make.globals") {
        return Ok(Vec::new());
    }
    let set_up = files.text("etc/portage/make.conf")?.is_some_and(|text| !text.trim().is_empty());
    if !set_up {
        files.write("etc/portage/make.conf", &make_conf(plan), 0o644)?;
    }
    let (public, local): (Vec<&BinhostRef>, Vec<&BinhostRef>) = plan.binhosts.iter().partition(|binhost| is_public(binhost));
    if files.names("etc/portage/binrepos.conf").is_empty() && !files.has_file("etc/portage/binrepos.conf") {
        for (rank, binhost) in public.iter().enumerate() {
            let path = format!("etc/portage/binrepos.conf/{}.conf", binhost.name);
            files.write(&path, &binrepos_conf(binhost, rank), 0o644)?;
        }
    }
    for binhost in local {
        files.say(format!(
            "The packages of “{}” are where only the build machine reaches them, so the image cannot get more from there.",
            binhost.name
        ));
    }
    Ok(files.messages)
}

/// Whether others can reach it, by a name and an address that fit a file's name and one line.
fn is_public(BinhostRef { name, uri, .. }: &BinhostRef) -> bool {
    let name_fits = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    name_fits && (uri.starts_with("https://") || uri.starts_with("http://")) && uri.bytes().all(|b| b.is_ascii_graphic())
}

/// The best binhost has the highest priority (portage(5), binrepos.conf).
fn binrepos_conf(binhost: &BinhostRef, rank: usize) -> String {
    format!(
        "# The packages of this image come from here.\n[{}]\npriority = {}\nsync-uri = {}\nverify-signature = true\n",
        binhost.name,
        100_usize.saturating_sub(rank),
        binhost.uri
    )
}

fn make_conf(plan: &Plan) -> String {
    format!(
        "# Written by Hatchery: see make.conf(5). Choose a profile with “eselect profile” once the tree is synced.
COMMON_FLAGS=\"{}\"
CFLAGS=\"${{COMMON_FLAGS}}\"
CXXFLAGS=\"${{COMMON_FLAGS}}\"
FCFLAGS=\"${{COMMON_FLAGS}}\"
FFLAGS=\"${{COMMON_FLAGS}}\"
CHOST=\"{}\"
FEATURES=\"getbinpkg binpkg-request-signature\"
ACCEPT_LICENSE=\"@BINARY-REDISTRIBUTABLE\"
",
        common_flags(&plan.chost),
        plan.chost.chars().filter(|c| c.is_ascii_alphanumeric() || "._-".contains(*c)).collect::<String>()
    )
}

/// What Gentoo's own stages of a CHOST are built with (catalyst, arch/*.toml), so that compiled and fetched packages go together.
fn common_flags(chost: &str) -> &'static str {
    match chost.split('-').next() {
        Some("x86_64") => "-march=x86-64 -mtune=generic -O2 -pipe",
        Some("i686") => "-O2 -march=i686 -pipe",
        Some("i486") => "-O2 -march=i486 -pipe",
        _ => "-O2 -pipe",
    }
}
