//! Logins on the screen and on the first serial line.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;

/// Sees to a login on the first consoles and on ttyS0.
///
/// systemd starts one on every console of the kernel's command line by itself; sysvinit reads /etc/inittab; openrc-init has a
/// service for each.
pub(super) fn set_up_logins(files: &mut Files, init: Option<Init>) -> Result<(), ComposeError> {
    if init != Some(Init::OpenRc) {
        return Ok(());
    }
    allow_root_on_serial(files)?;
    let runs_openrc_init = files.tree.resolve("sbin/init").is_ok_and(|path| path.ends_with(b"/openrc-init"))
        || (!files.has("sbin/init") && files.has_file("sbin/openrc-init"));
    match runs_openrc_init {
        true => add_agetty_services(files),
        false => write_inittab(files),
    }
}

fn add_agetty_services(files: &mut Files) -> Result<(), ComposeError> {
    if !Init::OpenRc.has(files, "agetty") {
        files.say(
            "Nothing in the image offers a login on the console: add sys-apps/util-linux and sys-apps/openrc's agetty service.",
        );
        return Ok(());
    }
    for line in ["tty1", "tty2", "tty3", "tty4", "tty5", "tty6", "ttyS0"] {
        Init::OpenRc.enable(files, &format!("agetty.{line}"))?;
    }
    files.assign("etc/conf.d/agetty.ttyS0", "baud", "115200")?;
    files.assign("etc/conf.d/agetty.ttyS0", "term_type", "vt100")
}

/// Adds the serial line to the package's inittab, or writes one where no package has.
fn write_inittab(files: &mut Files) -> Result<(), ComposeError> {
    let getty = files.first_file(&["sbin/agetty", "usr/sbin/agetty", "sbin/getty"]).map(|path| format!("/{path}"));
    let Some(getty) = getty else {
        files.say("Nothing in the image offers a login on the console: add sys-apps/util-linux.");
        return Ok(());
    };
    let serial = format!("s0:12345:respawn:{getty} -L 115200 ttyS0 vt100");
    let old = match files.text("etc/inittab")? {
        Some(text) => text,
        None => inittab(&getty, files.has_file("sbin/shutdown")),
    };
    let is_serial = |line: &str| !line.trim_start().starts_with('#') && line.contains("ttyS0") && line.contains("respawn");
    if old.lines().any(is_serial) {
        return files.write("etc/inittab", &old, 0o644);
    }
    // Packages ship the line as a comment; the id must not be there twice.
    let kept = old.lines().filter(|line| !line.trim_start().trim_start_matches('#').starts_with("s0:"));
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text.push_str("\n# The first serial line.\n");
    text.push_str(&serial);
    text.push('\n');
    files.write("etc/inittab", &text, 0o644)
}

/// An inittab(5) that runs OpenRC's runlevels and six consoles.
fn inittab(getty: &str, has_shutdown: bool) -> String {
    let mut text = String::from(
        "# Written by Hatchery, because no package brought one.
id:3:initdefault:
si::sysinit:/sbin/openrc sysinit
rc::bootwait:/sbin/openrc boot
l0:0:wait:/sbin/openrc shutdown
l1:S1:wait:/sbin/openrc single
l2:2:wait:/sbin/openrc nonetwork
l3:3:wait:/sbin/openrc default
l4:4:wait:/sbin/openrc default
l5:5:wait:/sbin/openrc default
l6:6:wait:/sbin/openrc reboot
",
    );
    for console in 1..=6 {
        text.push_str(&format!("c{console}:12345:respawn:{getty} 38400 tty{console} linux\n"));
    }
    if has_shutdown {
        text.push_str("ca:12345:ctrlaltdel:/sbin/shutdown -r now\n");
    }
    text
}

/// Where the image restricts root to some lines, the serial line becomes one of them.
fn allow_root_on_serial(files: &mut Files) -> Result<(), ComposeError> {
    match files.text("etc/securetty")? {
        Some(text) if !text.lines().any(|line| line.trim() == "ttyS0") => {
            files.write("etc/securetty", &format!("{}\nttyS0\n", text.trim_end()), 0o600)
        }
        _ => Ok(()),
    }
}
