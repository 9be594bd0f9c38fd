//! Language, time zone and keyboard.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;

const DEFAULT_LOCALE: &str = "C.UTF-8";

/// Sets the locale for login shells (env.d), for systemd (locale.conf), and in the files env-update made of env.d.
///
/// A locale that the image does not have is not set, because every program would complain; it is listed in locale.gen instead.
pub(super) fn set_locale(files: &mut Files, locale: Option<&str>) -> Result<(), ComposeError> {
    let wanted = locale.unwrap_or(DEFAULT_LOCALE);
    let locale = if has_locale(files, wanted)? { wanted } else { DEFAULT_LOCALE };
    if locale != wanted {
        list_for_locale_gen(files, wanted)?;
        let advice = match files.has_file("usr/bin/localedef") && files.has("usr/share/i18n/locales") {
            true => format!("It is listed in /etc/locale.gen: run “locale-gen” and “eselect locale set {wanted}” there."),
            false => "Choose a build of sys-libs/glibc that brings it.".to_string(),
        };
        files.say(format!("The image has no locale {wanted} yet, so it starts with {DEFAULT_LOCALE}. {advice}"));
    }
    files.write("etc/env.d/02locale", &format!("LANG=\"{locale}\"\n"), 0o644)?;
    files.write("etc/locale.conf", &format!("LANG={locale}\n"), 0o644)?;
    set_in(files, "etc/profile.env", "export LANG=", &format!("export LANG='{locale}'"))?;
    set_in(files, "etc/csh.env", "setenv LANG ", &format!("setenv LANG '{locale}'"))?;
    set_in(files, "etc/environment.d/10-gentoo-env.conf", "LANG=", &format!("LANG={locale}"))
}

/// Sets a line in a file that env-update made, if it made one.
fn set_in(files: &mut Files, path: &str, start: &str, line: &str) -> Result<(), ComposeError> {
    let Some(text) = files.text(path)? else { return Ok(()) };
    let mut lines: Vec<&str> = text.lines().filter(|old| !old.starts_with(start)).collect();
    lines.push(line);
    files.write(path, &(lines.join("\n") + "\n"), 0o644)
}

/// Whether programs in the image can use a locale. C and POSIX are built into every libc, C.UTF-8 into glibc 2.35 and musl.
fn has_locale(files: &Files, locale: &str) -> Result<bool, ComposeError> {
    if ["C", "POSIX", "C.UTF-8", "C.utf8"].contains(&locale) {
        return Ok(true);
    }
    let archived = archived_name(locale);
    for dir in ["usr/lib/locale", "usr/lib64/locale"] {
        if files.has(&format!("{dir}/{locale}")) || files.has(&format!("{dir}/{archived}")) {
            return Ok(true);
        }
        let archive = format!("{dir}/locale-archive");
        if files.has_file(&archive)
            && let Some(content) = files.tree.read_file(files.store, &archive)?
        {
            let name = [b"\0".as_slice(), archived.as_bytes(), b"\0"].concat();
            if content.windows(name.len()).any(|window| window == name) {
                return Ok(true);
            }
        }
    }
    // musl takes any name and knows no translations but those in MUSL_LOCPATH.
    Ok(files.names("lib").iter().any(|name| name.starts_with("ld-musl-")))
}

/// The name glibc keeps a locale by: the codeset in lower case without punctuation (`de_DE.utf8`).
fn archived_name(locale: &str) -> String {
    let (rest, modifier) = locale.split_once('@').map_or((locale, None), |(rest, m)| (rest, Some(m)));
    let mut name = match rest.split_once('.') {
        Some((language, codeset)) => {
            let codeset: String = codeset.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
            format!("{language}.{codeset}")
        }
        None => rest.to_string(),
    };
    if let Some(modifier) = modifier {
        name.push('@');
        name.push_str(modifier);
    }
    name
}

fn list_for_locale_gen(files: &mut Files, locale: &str) -> Result<(), ComposeError> {
    let codeset = locale.split_once('.').map_or("UTF-8", |(_, codeset)| codeset.split('@').next().unwrap_or(codeset));
    let line = format!("{locale} {codeset}");
    let mut text = files.text("etc/locale.gen")?.unwrap_or_default();
    if !text.lines().any(|old| old.trim() == line) {
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
    }
    files.write("etc/locale.gen", &text, 0o644)
}

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
