//! Locales: which the image has, and generating those ordered with the image's own localedef.

use std::collections::BTreeSet;

use contract::nearest::did_you_mean;
use image::{Kind, Tree};

use super::faults::Faults;
use super::files::Files;
use crate::ComposeError;
use crate::error::Setting;
use crate::sandbox::Ran;
use crate::target_tool::{self, Workplace};

pub(super) const DEFAULT_LOCALE: &str = "C.UTF-8";
const DEFINITIONS: &str = "usr/share/i18n";
const ARCHIVE: &str = "usr/lib/locale/locale-archive";
const GZIP: [&str; 2] = ["bin/gzip", "usr/bin/gzip"];
/// Seconds for one locale; it takes two to five.
const LIMIT: u64 = 300;
/// What localedef does without, so that it need not be put on disk for it.
const UNNEEDED: &[&str] = &[
    "boot",
    "home",
    "lib/firmware",
    "lib/modules",
    "opt",
    "root",
    "srv",
    "usr/include",
    "usr/lib/firmware",
    "usr/lib/grub",
    "usr/lib/modules",
    "usr/libexec",
    "usr/src",
    "var",
];

/// Sees to it that programs in the image can use all these locales, and sets the first: for login shells (env.d), for systemd
/// (locale.conf), and in the files env-update made of env.d. /etc/locale.gen lists them for later.
///
/// Where nothing in the image can generate locales, one that is absent is not set, because every program would complain.
///
/// # Errors
/// A locale that the image's definitions do not have, or that its localedef fails on, is one of the `faults`. Where there are any, nothing is
/// generated.
pub(super) fn set_up(
    files: &mut Files,
    place: Workplace<'_>,
    first: Option<&str>,
    others: &[String],
    faults: &mut Faults,
) -> Result<(), ComposeError> {
    let first = first.unwrap_or(DEFAULT_LOCALE);
    let wanted: BTreeSet<&str> = others.iter().map(String::as_str).chain([first]).collect();
    let mut absent = Vec::new();
    for locale in &wanted {
        if !has_locale(files, locale)? {
            absent.push(*locale);
        }
    }
    list_for_locale_gen(files, &wanted)?;
    let field = |locale: &str| if locale == first { Setting::Locale } else { Setting::Locales };
    if !absent.is_empty() {
        match can_generate(files) {
            true => generate(files, place, &absent, &field, faults)?,
            false => files.say(format!(
                "The image has no locale {} and nothing to generate it with; programs use {DEFAULT_LOCALE} instead. \
                 Choose a build of sys-libs/glibc that brings it, or localedef and /usr/share/i18n.",
                absent.join(", ")
            )),
        }
    }
    let set = if has_locale(files, first)? { first } else { DEFAULT_LOCALE };
    files.write("etc/env.d/02locale", &format!("LANG=\"{set}\"\n"), 0o644)?;
    files.write("etc/locale.conf", &format!("LANG={set}\n"), 0o644)?;
    set_in(files, "etc/profile.env", "export LANG=", &format!("export LANG='{set}'"))?;
    set_in(files, "etc/csh.env", "setenv LANG ", &format!("setenv LANG '{set}'"))?;
    set_in(files, "etc/environment.d/10-gentoo-env.conf", "LANG=", &format!("LANG={set}"))
}

/// Sets a line in a file that env-update made, if it made one.
fn set_in(files: &mut Files, path: &str, start: &str, line: &str) -> Result<(), ComposeError> {
    let Some(text) = files.text(path)? else { return Ok(()) };
    let mut lines: Vec<&str> = text.lines().filter(|old| !old.starts_with(start)).collect();
    lines.push(line);
    files.write(path, &(lines.join("\n") + "\n"), 0o644)
}

fn can_generate(files: &Files) -> bool {
    files.has_file("usr/bin/localedef") && files.has(&format!("{DEFINITIONS}/locales"))
}

/// Runs localedef for each, and takes over the archive it makes.
/// `field` tells which field of the order a locale is in.
fn generate(
    files: &mut Files,
    place: Workplace<'_>,
    locales: &[&str],
    field: &dyn Fn(&str) -> Setting,
    faults: &mut Faults,
) -> Result<(), ComposeError> {
    let mut commands = Vec::new();
    for locale in locales {
        let command = localedef(files, locale).map(|command| commands.push(command));
        faults.keep(command.map_err(|error| error.about(field(locale))))?;
    }
    if !faults.is_empty() {
        return Ok(());
    }
    let mut scratch = scratch_of(files.tree)?;
    place.observer.log(&format!("generating {}", locales.join(", ")));
    let ran = target_tool::run(place, &mut scratch, &commands, LIMIT)?;
    if let Ok((_, archive)) = scratch.lookup(ARCHIVE)
        && let Kind::File { .. } = archive.kind
    {
        let entry = archive.clone();
        files.tree.make_dirs("usr/lib/locale")?;
        let at = files.tree.resolve_parent(ARCHIVE)?;
        files.tree.insert(at, entry)?;
    }
    // localedef ends with 1 after warnings too, so what counts is that the locale is there.
    let nothing = Vec::new();
    for (index, locale) in locales.iter().enumerate() {
        if !has_locale(files, locale)? {
            let output = ran.get(index).map_or(&nothing, |Ran { tail, .. }| tail);
            let error = ComposeError::new(
                format!("The locale {locale} could not be generated with the image's own localedef."),
                "Name another locale; those that can be are in /usr/share/i18n/SUPPORTED of a Gentoo system.",
            );
            faults.keep(Err(error.about(field(locale)).with_output(output.clone())))?;
        }
    }
    Ok(())
}

/// localedef's arguments: the definition by language and modifier, the charmap by the codeset (locale-gen(8)).
fn localedef(files: &Files, locale: &str) -> Result<Vec<String>, ComposeError> {
    let (rest, modifier) = locale.split_once('@').map_or((locale, None), |(rest, modifier)| (rest, Some(modifier)));
    let language = rest.split('.').next().unwrap_or(rest);
    let definition = modifier.map_or(language.to_owned(), |modifier| format!("{language}@{modifier}"));
    let unknown = |what: &str, kind: &str| {
        let known: Vec<String> = files.names(&format!("{DEFINITIONS}/{kind}"));
        let known =
            known.iter().map(|name| name.strip_suffix(".gz").unwrap_or(name)).filter(|name| !name.starts_with("translit"));
        ComposeError::new(
            format!("There is no locale {locale}: the image's definitions know no {what}."),
            did_you_mean(what, known).unwrap_or_else(|| "Name one like de_DE.UTF-8: language, country and codeset.".to_owned()),
        )
    };
    if !files.has_file(&format!("{DEFINITIONS}/locales/{definition}")) {
        return Err(unknown(&definition, "locales"));
    }
    let charmap = charmap(files, locale)?;
    let has_charmap = |end: &str| files.has_file(&format!("{DEFINITIONS}/charmaps/{charmap}{end}"));
    match (has_charmap(""), has_charmap(".gz")) {
        (false, false) => return Err(unknown(&charmap, "charmaps")),
        // localedef has gzip unpack it, and else says that there is no such charmap.
        (false, true) if !GZIP.iter().any(|path| files.has(path)) => {
            return Err(ComposeError::new(
                format!("Generating the locale {locale} takes gzip, which the image lacks."),
                "Order app-arch/gzip too, or leave the locale out.",
            ));
        }
        (true, _) | (false, true) => {}
    }
    let mut argv = vec!["/usr/bin/localedef", "-c", "-i", &definition, "-f", &charmap];
    if files.has_file("usr/share/locale/locale.alias") {
        argv.extend(["-A", "/usr/share/locale/locale.alias"]);
    }
    argv.push(locale);
    Ok(argv.into_iter().map(str::to_owned).collect())
}

/// The codeset as the locale's name has it, or as glibc's list of supported locales says, or UTF-8.
fn charmap(files: &Files, locale: &str) -> Result<String, ComposeError> {
    let rest = locale.split('@').next().unwrap_or(locale);
    if let Some((_, codeset)) = rest.split_once('.') {
        return Ok(match codeset.to_ascii_lowercase().as_str() {
            "utf8" | "utf-8" => "UTF-8".to_owned(),
            _ => codeset.to_owned(),
        });
    }
    let supported = files.text(&format!("{DEFINITIONS}/SUPPORTED"))?.unwrap_or_default();
    let listed = supported.lines().filter_map(|line| line.split_once(' ')).find(|(name, _)| *name == locale);
    Ok(listed.map_or("UTF-8", |(_, charmap)| charmap.trim()).to_owned())
}

/// As much of the tree as localedef needs.
fn scratch_of(tree: &Tree) -> Result<Tree, ComposeError> {
    let mut scratch = tree.clone();
    for path in UNNEEDED {
        scratch.remove_all(path);
    }
    let share: Vec<Vec<u8>> = scratch.children("usr/share").into_iter().map(|(name, _)| name.to_vec()).collect();
    for name in share.into_iter().filter(|name| !matches!(name.as_slice(), b"i18n" | b"locale")) {
        scratch.remove_all([b"usr/share/".as_slice(), &name].concat());
    }
    scratch.make_dirs("usr/lib/locale")?;
    Ok(scratch)
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

/// locale-gen(8) makes what is listed there when glibc is built anew; built-in ones need no line.
fn list_for_locale_gen(files: &mut Files, locales: &BTreeSet<&str>) -> Result<(), ComposeError> {
    let mut text = files.text("etc/locale.gen")?.unwrap_or_default();
    let before = text.clone();
    for locale in locales.iter().filter(|locale| !["C", "POSIX"].contains(locale) && !locale.starts_with("C.")) {
        let line = format!("{locale} {}", charmap(files, locale)?);
        if text.lines().any(|old| old.trim() == line) {
            continue;
        }
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.push_str(&line);
        text.push('\n');
    }
    if text == before { Ok(()) } else { files.write("etc/locale.gen", &text, 0o644) }
}
