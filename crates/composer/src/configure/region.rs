//! Time zone and keyboard.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;

/// Sets the time zone; UTC needs no data.
///
/// # Errors
/// A zone that the image's time zone data does not have.
pub(super) fn set_timezone(files: &mut Files, timezone: Option<&str>) -> Result<(), ComposeError> {
    let zone = timezone.unwrap_or("UTC");
    let known = files.has_file(&format!("usr/share/zoneinfo/{zone}"));
    if !known && zone != "UTC" {
        return Err(match files.has("usr/share/zoneinfo") {
            true => ComposeError::new(
                format!("There is no time zone “{zone}” in the image's time zone data."),
                "Name one like Europe/Berlin, with capitals as in the tz database.",
            ),
            false => ComposeError::new(
                format!("The time zone “{zone}” needs time zone data, and the image has none."),
                "Add sys-libs/timezone-data, or leave the time zone at UTC.",
            ),
        });
    }
    files.write("etc/timezone", &format!("{zone}\n"), 0o644)?;
    match known {
        true => files.link("etc/localtime", &format!("../usr/share/zoneinfo/{zone}")),
        // Without the file, libc uses UTC.
        false => files.remove("etc/localtime"),
    }
}

/// Sets the console's keymap for OpenRC and systemd.
///
/// # Errors
/// A keymap that the image's keymaps do not have.
pub(super) fn set_keymap(files: &mut Files, keymap: Option<&str>, init: Option<Init>) -> Result<(), ComposeError> {
    let wanted = keymap.unwrap_or("us");
    let folder = ["usr/share/keymaps", "usr/share/kbd/keymaps", "usr/lib/kbd/keymaps"].into_iter().find(|dir| files.has(dir));
    if keymap.is_some_and(|keymap| keymap != "us") {
        match folder {
            None => files.say(format!("The keymap “{wanted}” is set, but nothing in the image can load it: add sys-apps/kbd.")),
            Some(folder) if !has_keymap(files, folder, wanted) => {
                return Err(ComposeError::new(
                    format!("There is no console keymap “{wanted}” in the image."),
                    "Name one of those in /usr/share/keymaps, such as de, fr, us or dvorak.",
                ));
            }
            Some(_) => {}
        }
    }
    match init {
        Some(Init::OpenRc) => files.assign("etc/conf.d/keymaps", "keymap", wanted),
        Some(Init::Systemd) => files.write("etc/vconsole.conf", &format!("KEYMAP={wanted}\n"), 0o644),
        None => Ok(()),
    }
}

fn has_keymap(files: &Files, folder: &str, keymap: &str) -> bool {
    let Ok(folder) = files.tree.resolve(folder) else { return false };
    files.tree.below(&folder).into_iter().any(|(path, _)| {
        let file = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        [".map.gz", ".map", ".kmap.gz", ".map.zst", ".map.xz"]
            .iter()
            .any(|end| file.strip_suffix(end.as_bytes()) == Some(keymap.as_bytes()))
    })
}
