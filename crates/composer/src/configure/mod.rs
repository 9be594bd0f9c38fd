//! Puts the personal settings of an order into a root: native edits of its files, after all packages are merged. Nothing of the image
//! runs but its localedef, in the sandbox, where locales are ordered that its packages do not bring.
//!
//! The result is never part of a shared cache. Nothing insecure by default: no password, no key that two machines share.

mod accounts;
mod console;
mod faults;
mod files;
mod first_boot;
mod identity;
mod init;
mod locales;
mod network;
mod own_files;
mod portage;
mod region;

use std::path::Path;

use contract::System;
use image::{Store, Tree};

use self::faults::Faults;
use self::files::Files;
use self::init::Init;
pub use self::portage::{TrustedKeys, configure_portage};
use crate::error::Setting;
use crate::target_tool::Workplace;
use crate::{ComposeError, Observer};

/// What to configure a root with.
#[derive(Clone, Copy)]
pub struct ConfigureRequest<'a> {
    pub store: &'a Store,
    /// The order's settings.
    pub system: &'a System,
    /// The preset's services, besides those of the order.
    pub services: &'a [String],
    /// One line about where the image comes from.
    pub notice: &'a str,
    pub image_name: &'a str,
    /// Gentoo's name of the image's architecture.
    pub arch: &'a str,
    /// A directory for the sandbox, in which the image's own localedef runs; several builds may share it.
    pub work_dir: &'a Path,
}

/// Folders every system has, with their modes, for roots whose packages leave them out.
const BASE_FOLDERS: &[(&str, u32)] = &[
    ("boot", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
    ("var/empty", 0o755),
];

const FSTAB: &str =
    "# The root of this image is mounted by what starts it. Add the filesystems of your machine here, see fstab(5).\n";

/// Puts the settings in. Returns what the person who ordered should be told, sentence by sentence.
///
/// # Errors
/// Settings that the image cannot have (a service, time zone, locale or keymap that is not there); the message names each with what there is.
pub fn configure(tree: &mut Tree, request: &ConfigureRequest<'_>, observer: &dyn Observer) -> Result<Vec<String>, ComposeError> {
    let ConfigureRequest { store, system, .. } = *request;
    system.check().map_err(|e| ComposeError::new(format!("The order's settings cannot be used: {e}."), "Correct the order."))?;
    check_image_name(request.image_name)?;
    let place = Workplace { store, work_dir: request.work_dir, arch: request.arch, observer };
    let mut files = Files::new(tree, store);
    let init = Init::of(&files);
    let services = network::services(&mut files, request.services, &system.services);

    let mut faults = Faults::default();

    make_base(&mut files, &system.fstab)?;
    accounts::set_up(&mut files, system, &mut faults)?;
    network::set_hostname(&mut files, system.hostname.as_deref(), init)?;
    faults.keep(region::set_timezone(&mut files, system.timezone.as_deref()))?;
    faults.keep(region::set_keymap(&mut files, system.keymap.as_deref(), init))?;
    enable_services(&mut files, init, &services, &mut faults)?;
    faults.keep(network::set_up_network(&mut files, init, &services, system.network.as_ref()))?;
    console::set_up_logins(&mut files, init)?;
    identity::take_out_identity(&mut files, init)?;
    identity::make_ssh_keys_at_boot(&mut files, init)?;
    identity::say_origin(&mut files, request.notice, request.image_name)?;
    identity::add_ready_service(&mut files, init)?;
    first_boot::grow_root(&mut files, init)?;
    faults.keep(first_boot::run_script(&mut files, init, system.first_boot.as_deref()))?;
    locales::set_up(&mut files, place, system.locale.as_deref(), &system.locales, &mut faults)?;
    own_files::put_in(&mut files, &system.files, &mut faults)?;
    faults.end()?;
    Ok(files.messages)
}

/// The name stands in a script and in file names.
fn check_image_name(name: &str) -> Result<(), ComposeError> {
    let fine = !name.is_empty() && name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b));
    match fine {
        true => Ok(()),
        false => Err(ComposeError::new(
            format!("“{}” cannot be the name of an image.", name.escape_debug()),
            "Use letters, digits, dots, hyphens and underscores.",
        )),
    }
}

fn make_base(files: &mut Files, fstab: &[String]) -> Result<(), ComposeError> {
    for (dir, mode) in BASE_FOLDERS {
        files.dir_if_absent(dir, *mode)?;
    }
    if files.tree.resolve_parent("etc/mtab").is_ok_and(|path| !files.tree.contains(path)) {
        files.link("etc/mtab", "../proc/self/mounts")?;
    }
    let lines: String = fstab.iter().map(|line| format!("{}\n", line.trim())).collect();
    for folder in fstab.iter().filter_map(|line| line.split_whitespace().nth(1)).filter(|folder| folder.starts_with('/')) {
        files.dir_if_absent(folder.trim_matches('/'), 0o755)?;
    }
    files.write("etc/fstab", &format!("{FSTAB}{lines}"), 0o644)
}

fn enable_services(files: &mut Files, init: Option<Init>, services: &[String], faults: &mut Faults) -> Result<(), ComposeError> {
    match init {
        Some(init) => {
            if init == Init::OpenRc {
                init::fill_runlevels(files)?;
            }
            services.iter().try_for_each(|service| faults.keep(init.enable(files, service)))
        }
        None if services.is_empty() => Ok(()),
        None => faults.keep(Err(ComposeError::new(
            format!("The image has neither OpenRC nor systemd, so nothing could start {}.", services.join(", ")),
            "Add sys-apps/openrc or sys-apps/systemd, or leave the services out.",
        )
        .about(Setting::Services))),
    }
}

#[cfg(test)]
mod tests;
