//! The Gentoo repository that goes with the sample: a profile, so that Portage and Hatchery know its architecture and its `@system`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::SampleError;
use crate::arch::{Arch, Init};
use crate::package::REPOSITORY;
use crate::plan::Target;

/// Writes the repository. Every file is the same each time for the same targets.
///
/// # Errors
/// [`SampleError::Io`].
pub fn write(dir: &Path, arch: Arch, targets: &[Target]) -> Result<(), SampleError> {
    let mut categories: Vec<&str> = targets.iter().map(|t| t.cpv.category.as_str()).collect();
    categories.dedup();
    let mut system: Vec<String> = targets.iter().filter(|t| t.recipe.system).map(|t| format!("*{}", t.recipe.name)).collect();
    system.dedup();
    let keyword = arch.keyword();
    let profiles = [Init::OpenRc, Init::Systemd].map(|init| arch.profile(init));
    let [openrc, systemd] = profiles.map(|profile| format!("profiles/{profile}"));
    let [from_openrc, from_systemd] = profiles.map(|profile| "../".repeat(profile.split('/').count()));
    let files = [
        ("profiles/repo_name".to_owned(), format!("{REPOSITORY}\n")),
        ("profiles/eapi".to_owned(), "8\n".to_owned()),
        ("profiles/arch.list".to_owned(), format!("{keyword}\n")),
        ("profiles/license_groups".to_owned(), license_groups(targets)),
        ("profiles/categories".to_owned(), lines(&categories)),
        ("profiles/profiles.desc".to_owned(), lines(&profiles.map(|profile| format!("{keyword}\t{profile}\tstable")))),
        ("profiles/use.desc".to_owned(), USE_DESC.to_owned()),
        ("metadata/layout.conf".to_owned(), layout()),
        ("profiles/base/eapi".to_owned(), "8\n".to_owned()),
        ("profiles/base/make.defaults".to_owned(), base_defaults(arch)),
        ("profiles/base/packages".to_owned(), lines(&system)),
        (format!("{openrc}/eapi"), "8\n".to_owned()),
        (format!("{openrc}/parent"), format!("{from_openrc}base\n")),
        (format!("{openrc}/make.defaults"), defaults(arch)),
        ("profiles/targets/systemd/eapi".to_owned(), "8\n".to_owned()),
        ("profiles/targets/systemd/make.defaults".to_owned(), SYSTEMD_DEFAULTS.to_owned()),
        ("profiles/targets/systemd/packages".to_owned(), SYSTEMD_PACKAGES.to_owned()),
        ("profiles/targets/systemd/use.mask".to_owned(), SYSTEMD_MASK.to_owned()),
        (format!("{systemd}/eapi"), "8\n".to_owned()),
        (format!("{systemd}/parent"), format!("..\n{from_systemd}targets/systemd\n")),
    ];
    let expanded = EXPANDED_DESC.map(|(variable, text)| (format!("profiles/desc/{variable}.desc"), text.to_owned()));
    for (name, text) in files.into_iter().chain(expanded) {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).map_err(SampleError::io(folder))?;
        fs::write(&path, text).map_err(SampleError::io(&path))?;
    }
    Ok(())
}

/// What the flags of the recipes mean.
const USE_DESC: &str = include_str!("../repository/use.desc");
/// The same for USE_EXPAND variables.
const EXPANDED_DESC: [(&str, &str); 5] = [
    ("abi_x86", include_str!("../repository/desc/abi_x86.desc")),
    ("cpu_flags_x86", include_str!("../repository/desc/cpu_flags_x86.desc")),
    ("grub_platforms", include_str!("../repository/desc/grub_platforms.desc")),
    ("input_devices", include_str!("../repository/desc/input_devices.desc")),
    ("video_cards", include_str!("../repository/desc/video_cards.desc")),
];

const SYSTEMD_DEFAULTS: &str = "USE=\"systemd udev\"\n";
const SYSTEMD_PACKAGES: &str = "-*sys-apps/openrc\n*sys-apps/systemd\n";
const SYSTEMD_MASK: &str = "# Where systemd runs, its own logind does.\nelogind\n";

fn lines<S: AsRef<str>>(items: &[S]) -> String {
    items.iter().map(|item| format!("{}\n", item.as_ref())).collect()
}

/// Debian's main section holds free software only, so every licence named by a recipe may be passed on.
fn license_groups(targets: &[Target]) -> String {
    let is_name = |word: &&str| !["||", "(", ")"].contains(word) && !word.ends_with('?');
    let names: BTreeSet<&str> = targets.iter().flat_map(|t| t.recipe.license.split_whitespace()).filter(is_name).collect();
    let names = names.into_iter().collect::<Vec<_>>().join(" ");
    format!("FREE {names}\nBINARY-REDISTRIBUTABLE @FREE\n")
}

fn layout() -> String {
    format!(
        "repo-name = {REPOSITORY}\nmasters =\nprofile-formats = portage-2\nthin-manifests = true\nsign-manifests = false\ncache-formats = md5-dict\n"
    )
}

fn base_defaults(arch: Arch) -> String {
    format!("{BASE_DEFAULTS}IUSE_IMPLICIT=\"abi_x86_{} prefix prefix-guest prefix-stack\"\n", arch.abi_x86())
}

const BASE_DEFAULTS: &str = r#"KERNEL="linux"
ELIBC="glibc"
USE_EXPAND="ABI_X86 CPU_FLAGS_X86 ELIBC GRUB_PLATFORMS INPUT_DEVICES KERNEL NGINX_MODULES_HTTP PERL_FEATURES VIDEO_CARDS"
USE_EXPAND_HIDDEN="ELIBC KERNEL"
USE_EXPAND_IMPLICIT="ARCH ELIBC KERNEL"
USE_EXPAND_UNPREFIXED="ARCH"
USE_EXPAND_VALUES_ARCH="amd64 x86"
USE_EXPAND_VALUES_ELIBC="glibc musl"
USE_EXPAND_VALUES_KERNEL="linux"
GRUB_PLATFORMS="efi-32 efi-64 pc"
INPUT_DEVICES="libinput"
VIDEO_CARDS="fbdev vesa"
ACCEPT_LICENSE="*"
CONFIG_PROTECT="/etc"
CONFIG_PROTECT_MASK="/etc/env.d /etc/gentoo-release"
"#;

fn defaults(arch: Arch) -> String {
    let (keyword, chost, libdir, abi_x86) = (arch.keyword(), arch.chost(), arch.libdir(), arch.abi_x86());
    format!(
        r#"ARCH="{keyword}"
ACCEPT_KEYWORDS="{keyword}"
CHOST="{chost}"
ABI="{keyword}"
DEFAULT_ABI="{keyword}"
MULTILIB_ABIS="{keyword}"
LIBDIR_{keyword}="{libdir}"
ABI_X86="{abi_x86}"
"#
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use gentoo::use_desc::FlagDescriptions;

    use super::*;

    #[test]
    fn common_flags_are_described() {
        let mut flags = FlagDescriptions::default();
        flags.add_global(USE_DESC);
        EXPANDED_DESC.iter().for_each(|(variable, text)| flags.add_expanded(variable, text));
        let recipes = crate::recipe::all(None, Arch::ALL[0]).unwrap();
        let mut of_how_many: BTreeMap<&str, usize> = BTreeMap::new();
        for flag in recipes.iter().flat_map(|recipe| recipe.flags()) {
            *of_how_many.entry(flag).or_default() += 1;
        }
        let common = of_how_many.iter().filter(|(_, count)| **count >= 3).map(|(flag, _)| *flag);
        let silent: Vec<&str> = common.filter(|flag| flags.of("app-misc/any", flag).is_none()).collect();
        assert_eq!(silent, Vec::<&str>::new());
    }
}
