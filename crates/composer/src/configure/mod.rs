//! Puts the personal settings of an order into a root: native edits of its files, after all packages are merged. No script runs.
//!
//! The result is never part of a shared cache. Nothing insecure by default: no password, no key that two machines share.

mod accounts;
mod console;
mod files;
mod identity;
mod init;
mod network;
mod portage;
mod region;

use contract::System;
use image::{Store, Tree};

use self::files::Files;
use self::init::Init;
pub use self::portage::configure_portage;
use crate::ComposeError;

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
/// `services` are the preset's, besides those of the order; `notice` is one line about where the image comes from.
///
/// # Errors
/// A setting that the image cannot have (a service, time zone or keymap that is not there); the message says what there is.
pub fn configure(
    tree: &mut Tree,
    store: &Store,
    system: &System,
    services: &[String],
    notice: &str,
    image_name: &str,
) -> Result<Vec<String>, ComposeError> {
    system.check().map_err(|e| ComposeError::new(format!("The order's settings cannot be used: {e}."), "Correct the order."))?;
    check_image_name(image_name)?;
    let mut files = Files::new(tree, store);
    let init = Init::of(&files);
    let services: Vec<String> = services.iter().chain(&system.services).cloned().collect();

    make_base(&mut files)?;
    accounts::set_up(&mut files, system)?;
    network::set_hostname(&mut files, system.hostname.as_deref(), init)?;
    region::set_locale(&mut files, system.locale.as_deref())?;
    region::set_timezone(&mut files, system.timezone.as_deref())?;
    region::set_keymap(&mut files, system.keymap.as_deref(), init)?;
    enable_services(&mut files, init, &services)?;
    network::set_up_network(&mut files, init, &services)?;
    console::set_up_logins(&mut files, init)?;
    identity::take_out_identity(&mut files, init)?;
    identity::make_ssh_keys_at_boot(&mut files, init)?;
    identity::say_origin(&mut files, notice, image_name)?;
    identity::add_ready_service(&mut files, init)?;
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

fn make_base(files: &mut Files) -> Result<(), ComposeError> {
    for (dir, mode) in BASE_FOLDERS {
        files.dir_if_absent(dir, *mode)?;
    }
    if files.tree.resolve_parent("etc/mtab").is_ok_and(|path| !files.tree.contains(path)) {
        files.link("etc/mtab", "../proc/self/mounts")?;
    }
    files.write("etc/fstab", FSTAB, 0o644)
}

fn enable_services(files: &mut Files, init: Option<Init>, services: &[String]) -> Result<(), ComposeError> {
    match init {
        Some(init) => {
            if init == Init::OpenRc {
                init::fill_runlevels(files)?;
            }
            services.iter().try_for_each(|service| init.enable(files, service))
        }
        None if services.is_empty() => Ok(()),
        None => Err(ComposeError::new(
            format!("The image has neither OpenRC nor systemd, so nothing could start {}.", services.join(", ")),
            "Add sys-apps/openrc or sys-apps/systemd, or leave the services out.",
        )),
    }
}

#[cfg(test)]
mod tests;
