//! The init system of an image, and services that it starts: OpenRC's runlevels or systemd's wants.

use std::collections::BTreeSet;

use contract::nearest::did_you_mean;

use super::files::Files;
use crate::ComposeError;
use crate::error::Setting;

/// What runs the services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Init {
    OpenRc,
    Systemd,
}

/// What OpenRC's own build puts into the runlevels of a new system (its runlevels/*/meson.build), for images whose packages left
/// a runlevel empty. Scripts that are not in the image are left out.
const BASE_RUNLEVELS: &[(&str, &[&str])] = &[
    ("sysinit", &["cgroups", "devfs", "dmesg", "sysfs", "udev", "udev-trigger"]),
    (
        "boot",
        &[
            "binfmt",
            "bootmisc",
            "fsck",
            "hostname",
            "hwclock",
            "keymaps",
            "localmount",
            "loopback",
            "modules",
            "mtab",
            "procfs",
            "root",
            "save-keymaps",
            "save-termencoding",
            "seedrng",
            "swap",
            "sysctl",
            "systemd-tmpfiles-setup",
            "termencoding",
        ],
    ),
    ("default", &["local", "netmount"]),
    ("nonetwork", &["local"]),
    ("shutdown", &["killprocs", "mount-ro", "savecache"]),
];

/// Services whose place is not the default runlevel.
const EARLY_SERVICES: &[(&str, &str)] = &[
    ("udev", "sysinit"),
    ("udev-trigger", "sysinit"),
    ("mdev", "sysinit"),
    ("devfs", "sysinit"),
    ("systemd-tmpfiles-setup-dev", "sysinit"),
    ("hwclock", "boot"),
    ("keymaps", "boot"),
    ("modules", "boot"),
    ("sysctl", "boot"),
    ("lvm", "boot"),
    ("dmcrypt", "boot"),
    ("consolefont", "boot"),
    ("elogind", "boot"),
    ("iptables", "default"),
    ("hatchery-grow", "boot"),
];

/// Those before it are the person's own, those after it the distribution's.
const PRESET: &str = "etc/systemd/system-preset/50-hatchery.preset";
const UNIT_FOLDERS: &[&str] = &["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

impl Init {
    /// The init that `/sbin/init` leads to; without one, the one there is.
    pub(super) fn of(files: &Files) -> Option<Init> {
        let openrc = files.has_file("sbin/openrc-run") || files.has_file("usr/sbin/openrc-run");
        let systemd = files.first_file(&["usr/lib/systemd/systemd", "lib/systemd/systemd"]).is_some();
        let init = files.tree.resolve("sbin/init").unwrap_or_default();
        match (openrc, systemd) {
            (_, true) if init.ends_with(b"/systemd") => Some(Init::Systemd),
            (true, _) => Some(Init::OpenRc),
            (false, true) => Some(Init::Systemd),
            (false, false) => None,
        }
    }

    /// Starts a service at boot.
    ///
    /// # Errors
    /// No such service in the image; the message lists those there are.
    pub(super) fn enable(self, files: &mut Files, service: &str) -> Result<(), ComposeError> {
        match self {
            Init::OpenRc => enable_openrc(files, service),
            Init::Systemd => enable_unit(files, service),
        }
    }

    /// Whether there is a service of this name.
    pub(super) fn has(self, files: &Files, service: &str) -> bool {
        match self {
            Init::OpenRc => files.has_file(&format!("etc/init.d/{service}")),
            Init::Systemd => unit_path(files, &unit_name(service)).is_some(),
        }
    }

    /// Whether a service of this name is started at boot.
    pub(super) fn is_enabled(self, files: &Files, service: &str) -> bool {
        let dirs: Vec<String> = match self {
            Init::OpenRc => {
                files.names("etc/runlevels").into_iter().map(|name| format!("etc/runlevels/{name}/{service}")).collect()
            }
            Init::Systemd => {
                let unit = unit_name(service);
                files.names("etc/systemd/system").into_iter().map(|name| format!("etc/systemd/system/{name}/{unit}")).collect()
            }
        };
        dirs.iter().any(|path| files.tree.resolve_parent(path).is_ok_and(|path| files.tree.contains(path)))
    }
}

/// Fills OpenRC's runlevels where the packages left them empty: a package manager that merges into a root that is not running gets
/// no runlevels from some of them.
pub(super) fn fill_runlevels(files: &mut Files) -> Result<(), ComposeError> {
    for (runlevel, services) in BASE_RUNLEVELS {
        let dir = format!("etc/runlevels/{runlevel}");
        files.dir_if_absent(&dir, 0o755)?;
        // udev's package adds itself wherever it is merged, before or after OpenRC.
        if files.names(&dir).iter().all(|name| name.starts_with("udev")) {
            for service in *services {
                if Init::OpenRc.has(files, service) {
                    files.link(&format!("{dir}/{service}"), &format!("/etc/init.d/{service}"))?;
                }
            }
        }
    }
    if !files.has_file("sbin/start-stop-daemon") {
        files.say("There is no start-stop-daemon in the image, so OpenRC cannot start most services: choose another build of sys-apps/openrc.");
    }
    // Without these no driver is loaded by itself; udev's package puts them there on a running system only.
    for service in ["udev", "udev-trigger"] {
        if Init::OpenRc.has(files, service) && !Init::OpenRc.is_enabled(files, service) {
            files.link(&format!("etc/runlevels/sysinit/{service}"), &format!("/etc/init.d/{service}"))?;
        }
    }
    Ok(())
}

fn enable_openrc(files: &mut Files, service: &str) -> Result<(), ComposeError> {
    let script = format!("etc/init.d/{service}");
    if !files.has_file(&script) {
        // netifrc and agetty have one script for all, linked to by the name of each.
        let shared = match service.split_once('.') {
            Some(("net", _)) => "net.lo",
            Some(("agetty", _)) => "agetty",
            _ => "",
        };
        if shared.is_empty() || !files.has_file(&format!("etc/init.d/{shared}")) {
            return Err(unknown_service(service, files.names("etc/init.d")));
        }
        files.link(&script, shared)?;
    }
    let runlevel = EARLY_SERVICES.iter().find(|(name, _)| *name == service).map_or("default", |(_, runlevel)| runlevel);
    files.link(&format!("etc/runlevels/{runlevel}/{service}"), &format!("/etc/init.d/{service}"))
}

/// Does what `systemctl enable` does, for the unit and those that its `Also` names, and writes them into a preset, by which `systemctl
/// preset-all` would enable them again (systemd.preset(5)).
fn enable_unit(files: &mut Files, service: &str) -> Result<(), ComposeError> {
    let unit = unit_name(service);
    if unit_path(files, &unit).is_none() {
        let names =
            UNIT_FOLDERS.iter().flat_map(|dir| files.names(dir)).filter_map(|n| n.strip_suffix(".service").map(String::from));
        return Err(unknown_service(service, names.collect()));
    }
    files.append(PRESET, &preset_line(&unit))?;
    let (mut seen, mut ahead) = (BTreeSet::new(), vec![unit.clone()]);
    while let Some(next) = ahead.pop() {
        // What Also names may be absent, as for systemctl.
        if let Some(path) = unit_path(files, &next).filter(|_| seen.insert(next.clone())) {
            ahead.extend(link_unit(files, &next, &path, next == unit)?);
        }
    }
    Ok(())
}

/// Links a unit by its [Install] section (systemd.unit(5)), and returns what its `Also` names. One that was asked for by name and has no
/// such section is started with the system all the same.
fn link_unit(files: &mut Files, unit: &str, path: &str, asked_for: bool) -> Result<Vec<String>, ComposeError> {
    let text = files.text(path)?.unwrap_or_default();
    let target = format!("/{path}");
    let mut linked = false;
    for (key, folder) in [("WantedBy", "wants"), ("RequiredBy", "requires")] {
        for target_unit in install_words(&text, key) {
            files.link(&format!("etc/systemd/system/{target_unit}.{folder}/{unit}"), &target)?;
            linked = true;
        }
    }
    for alias in install_words(&text, "Alias") {
        files.link(&format!("etc/systemd/system/{alias}"), &target)?;
        linked = true;
    }
    let also = install_words(&text, "Also");
    if !linked && also.is_empty() && asked_for {
        files.link(&format!("etc/systemd/system/multi-user.target.wants/{unit}"), &target)?;
    }
    Ok(also)
}

/// The line of a preset for a unit; instances are named after their template.
fn preset_line(unit: &str) -> String {
    match unit.split_once('@').and_then(|(name, rest)| Some((name, rest.rsplit_once('.')?))) {
        Some((name, (instance, kind))) if !instance.is_empty() => format!("enable {name}@.{kind} {instance}\n"),
        _ => format!("enable {unit}\n"),
    }
}

fn unit_name(service: &str) -> String {
    match service.rsplit_once('.') {
        Some((_, "service" | "socket" | "timer" | "path" | "target" | "mount")) => service.to_string(),
        _ => format!("{service}.service"),
    }
}

/// Where a unit is, or the template that `name@instance.service` is made from.
fn unit_path(files: &Files, unit: &str) -> Option<String> {
    let template = unit.split_once('@').and_then(|(name, rest)| Some(format!("{name}@.{}", rest.rsplit_once('.')?.1)));
    let names = [Some(unit.to_string()), template];
    names
        .iter()
        .flatten()
        .find_map(|name| UNIT_FOLDERS.iter().map(|dir| format!("{dir}/{name}")).find(|path| files.has_file(path)))
}

/// The words of a key in a unit's [Install] section, those that are names of units only.
fn install_words(text: &str, key: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut in_install = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            in_install = line == "[Install]";
        } else if in_install
            && let Some((name, value)) = line.split_once('=')
            && name.trim() == key
        {
            let fine =
                |word: &&str| !word.starts_with('.') && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-@:".contains(&b));
            words.extend(value.split_whitespace().filter(fine).map(String::from));
        }
    }
    words
}

fn unknown_service(service: &str, known: Vec<String>) -> ComposeError {
    let known: BTreeSet<String> = known.into_iter().filter(|name| !name.contains(".sh") && name != "README").collect();
    let advice = match did_you_mean(service, known.iter().map(String::as_str)) {
        Some(question) => format!("{question} Or add the package that brings “{service}”."),
        None => format!("Choose one of those, or add the package that brings “{service}”."),
    };
    let list = match known.is_empty() {
        true => "There are no services in the image.".to_string(),
        false => format!("The image has these services: {}.", known.into_iter().collect::<Vec<_>>().join(", ")),
    };
    ComposeError::new(format!("There is no service “{service}” in the image, so it cannot be started at boot. {list}"), advice)
        .about(Setting::Services)
}
