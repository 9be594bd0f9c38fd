//! The channels there are without any configuration: Gentoo's official binhost and the sample channel.

use std::path::{Path, PathBuf};

use sample::{Arch, Init};
use server::{BinhostConfig, ChannelConfig, Config};

/// Where the sample channel is made and looked for.
pub fn sample_dir(data_dir: &Path) -> PathBuf {
    std::env::var_os("HATCHERY_SAMPLE_DIR").map_or_else(|| data_dir.join("sample"), PathBuf::from)
}

/// The operator's configuration, or the embedded defaults: everything below `data_dir`.
pub fn load(config: Option<&Path>, data_dir: &Path) -> anyhow::Result<Config> {
    match config {
        Some(path) => Ok(Config::load(path)?),
        None => {
            let channels = channels(data_dir);
            Ok(Config { data_dir: data_dir.join("server"), channels, ..Config::default() })
        }
    }
}

/// The sample channels that were made, amd64's in any case, and the official ones.
fn channels(data_dir: &Path) -> Vec<ChannelConfig> {
    let sample_dir = sample_dir(data_dir);
    let is_made = |arch: &Arch| *arch == Arch::Amd64 || sample_dir.join(arch.folder()).join("binhost/Packages").exists();
    let made = || Arch::ALL.into_iter().filter(is_made);
    let samples = [Init::OpenRc, Init::Systemd].into_iter().flat_map(|init| made().map(move |arch| (arch, init)));
    let samples = samples.map(|(arch, init)| sample(&sample_dir, arch, init));
    samples.chain(Arch::ALL.into_iter().map(|arch| gentoo(data_dir, arch))).collect()
}

/// The official packages. Nothing is shipped for trust: the operator's machine must have Gentoo's release keys.
fn gentoo(data_dir: &Path, arch: Arch) -> ChannelConfig {
    let system_keys = PathBuf::from("/usr/share/openpgp-keys/gentoo-release.asc");
    let keyring_file = if system_keys.exists() { system_keys } else { data_dir.join("gentoo-release.asc") };
    let (name, title, folder) = match arch {
        Arch::Amd64 => ("gentoo", "Gentoo", "amd64/binpackages/23.0/x86-64"),
        Arch::X86 => ("gentoo-x86", "Gentoo for x86", "x86/binpackages/23.0/i686"),
    };
    ChannelConfig {
        name: name.into(),
        title: title.into(),
        arch: arch.keyword().into(),
        description: format!("Gentoo's official binary packages ({folder})."),
        notice: Some("Made from Gentoo's official binary packages by Hatchery, which is not affiliated with Gentoo.".into()),
        boot_packages: vec!["sys-kernel/gentoo-kernel-bin".into(), "sys-boot/grub".into(), "sys-apps/busybox[static]".into()],
        profile: None,
        repository: None,
        accept_keywords: None,
        accept_license: None,
        base: None,
        prefix: None,
        install_mask: String::new(),
        packages_denied: Vec::new(),
        packages_allowed: Vec::new(),
        source_builds: None,
        binhosts: vec![BinhostConfig {
            name: "gentoo".into(),
            uri: format!("https://distfiles.gentoo.org/releases/{folder}"),
            keyring_file: Some(keyring_file),
            keyring: String::new(),
            allow_unsigned: false,
            serve: false,
        }],
    }
}

/// The name of the sample channel of an architecture.
pub fn sample_name(arch: Arch, init: Init) -> &'static str {
    match (arch, init) {
        (Arch::Amd64, Init::OpenRc) => "sample",
        (Arch::X86, Init::OpenRc) => "sample-x86",
        (Arch::Amd64, Init::Systemd) => "sample-systemd",
        (Arch::X86, Init::Systemd) => "sample-x86-systemd",
    }
}

/// A channel that `hatchery sample` makes: one binhost for both inits, which differ in the profile.
fn sample(dir: &Path, arch: Arch, init: Init) -> ChannelConfig {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let own = dir.join(arch.folder());
    let title = match (arch, init) {
        (Arch::Amd64, Init::OpenRc) => "Sample",
        (Arch::X86, Init::OpenRc) => "Sample for x86",
        (Arch::Amd64, Init::Systemd) => "Sample with systemd",
        (Arch::X86, Init::Systemd) => "Sample for x86 with systemd",
    };
    ChannelConfig {
        name: sample_name(arch, init).into(),
        title: title.into(),
        arch: arch.keyword().into(),
        description: "A small Gentoo-shaped system made from Debian's binaries, for trying Hatchery.".into(),
        notice: Some("This image is a sample made from Debian's binaries by Hatchery; it is not Gentoo.".into()),
        boot_packages: vec!["sys-kernel/debian-kernel-bin".into(), "sys-boot/grub".into(), "sys-apps/busybox[static]".into()],
        profile: Some(own.join("repo/profiles").join(arch.profile(init))),
        repository: None,
        accept_keywords: None,
        accept_license: None,
        base: None,
        prefix: None,
        install_mask: String::new(),
        packages_denied: Vec::new(),
        packages_allowed: Vec::new(),
        source_builds: None,
        binhosts: vec![BinhostConfig {
            name: "sample".into(),
            uri: format!("file://{}", own.join("binhost").display()),
            keyring_file: Some(dir.join("key/certificate.asc")),
            keyring: String::new(),
            allow_unsigned: false,
            serve: false,
        }],
    }
}
