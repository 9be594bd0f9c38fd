//! Time zone and keyboard.

use std::collections::BTreeSet;

use contract::nearest::did_you_mean;

use super::files::Files;
use super::init::Init;
use crate::ComposeError;
use crate::error::Setting;

const ZONES: &str = "usr/share/zoneinfo";
const KEYMAP_ENDS: [&str; 5] = [".map.gz", ".map", ".kmap.gz", ".map.zst", ".map.xz"];

/// Sets the time zone; UTC needs no data.
///
/// # Errors
/// A zone that the image's time zone data does not have.
pub(super) fn set_timezone(files: &mut Files, timezone: Option<&str>) -> Result<(), ComposeError> {
    let zone = timezone.unwrap_or("UTC");
    let known = files.has_file(&format!("{ZONES}/{zone}"));
    if !known && zone != "UTC" {
        return Err(no_timezone(files, zone).about(Setting::Timezone));
    }
    files.write("etc/timezone", &format!("{zone}\n"), 0o644)?;
    match known {
        true => files.link("etc/localtime", &format!("../usr/share/zoneinfo/{zone}")),
        // Without the file, libc uses UTC.
        false => files.remove("etc/localtime"),
    }
}

/// What of the data is a zone's name, and not a table or a zone in another reckoning of time.
fn is_zone(path: &str) -> bool {
    !path.contains('.') && !path.starts_with("posix/") && !path.starts_with("right/")
}

fn no_timezone(files: &Files, zone: &str) -> ComposeError {
    if !files.has(ZONES) {
        return ComposeError::new(
            format!("The time zone “{zone}” needs time zone data, and the image has none."),
            "Add sys-libs/timezone-data, or leave the time zone at UTC.",
        );
    }
    let zones: Vec<String> = files.files_below(ZONES).filter(|zone| is_zone(zone)).collect();
    let advice = did_you_mean(zone, zones.iter().map(String::as_str));
    ComposeError::new(
        format!("There is no time zone “{zone}” in the image's time zone data."),
        advice.unwrap_or_else(|| "Name one like Europe/Berlin, with capitals as in the tz database.".to_owned()),
    )
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
            Some(folder) => {
                let known = keymaps(files, folder);
                if !known.contains(wanted) {
                    let advice = did_you_mean(wanted, known.iter().map(String::as_str));
                    return Err(ComposeError::new(
                        format!("There is no console keymap “{wanted}” in the image."),
                        advice.unwrap_or_else(|| {
                            "Name one of those in /usr/share/keymaps, such as de, fr, us or dvorak.".to_owned()
                        }),
                    )
                    .about(Setting::Keymap));
                }
            }
        }
    }
    match init {
        Some(Init::OpenRc) => files.assign("etc/conf.d/keymaps", "keymap", wanted),
        Some(Init::Systemd) => files.write("etc/vconsole.conf", &format!("KEYMAP={wanted}\n"), 0o644),
        None => Ok(()),
    }
}

/// The names of the keymaps below a folder.
fn keymaps(files: &Files, folder: &str) -> BTreeSet<String> {
    let name = |path: String| {
        let file = path.rsplit('/').next().unwrap_or_default();
        KEYMAP_ENDS.iter().find_map(|end| file.strip_suffix(end)).map(str::to_owned)
    };
    files.files_below(folder).filter_map(name).collect()
}
