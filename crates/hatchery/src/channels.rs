//! The channels there are without any configuration: Gentoo's official binhost and the sample channel.

use std::path::{Path, PathBuf};

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
            let channels = vec![sample(&sample_dir(data_dir)), gentoo(data_dir)];
            Ok(Config { data_dir: data_dir.join("server"), channels, ..Config::default() })
        }
    }
}

/// The official packages. Nothing is shipped for trust: the operator's machine must have Gentoo's release keys.
fn gentoo(data_dir: &Path) -> ChannelConfig {
    let system_keys = PathBuf::from("/usr/share/openpgp-keys/gentoo-release.asc");
    let keyring_file = if system_keys.exists() { system_keys } else { data_dir.join("gentoo-release.asc") };
    ChannelConfig {
        name: "gentoo".into(),
        title: "Gentoo".into(),
        arch: "amd64".into(),
        description: "Gentoo's official binary packages (x86-64, profile 23.0).".into(),
        notice: Some("Made from Gentoo's official binary packages by Hatchery, which is not affiliated with Gentoo.".into()),
        boot_packages: vec!["sys-kernel/gentoo-kernel-bin".into(), "sys-boot/grub".into(), "sys-apps/busybox[static]".into()],
        profile: None,
        accept_keywords: None,
        accept_license: None,
        base: None,
        prefix: None,
        install_mask: String::new(),
        binhosts: vec![BinhostConfig {
            name: "gentoo".into(),
            uri: "https://distfiles.gentoo.org/releases/amd64/binpackages/23.0/x86-64".into(),
            keyring_file: Some(keyring_file),
            keyring: String::new(),
            allow_unsigned: false,
        }],
    }
}

/// The channel that `hatchery sample` makes.
fn sample(dir: &Path) -> ChannelConfig {
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    ChannelConfig {
        name: "sample".into(),
        title: "Sample".into(),
        arch: "amd64".into(),
        description: "A small Gentoo-shaped system made from Debian's binaries, for trying Hatchery.".into(),
        notice: Some("This image is a sample made from Debian's binaries by Hatchery; it is not Gentoo.".into()),
        boot_packages: vec!["sys-kernel/debian-kernel-bin".into(), "sys-boot/grub".into(), "sys-apps/busybox[static]".into()],
        profile: Some(dir.join("repo/profiles/default/linux/amd64/23.0")),
        accept_keywords: None,
        accept_license: None,
        base: None,
        prefix: None,
        install_mask: String::new(),
        binhosts: vec![BinhostConfig {
            name: "sample".into(),
            uri: format!("file://{}", dir.join("binhost").display()),
            keyring_file: Some(dir.join("key/certificate.asc")),
            keyring: String::new(),
            allow_unsigned: false,
        }],
    }
}
