//! What happens when the system starts for the first time: the root grows to its disk's end, and the person's own script runs.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;
use crate::error::Setting;

const GROW: &str = include_str!("grow-root.sh");
const GROW_OPENRC: &str = include_str!("grow.initd");
const GROW_SYSTEMD: &str = include_str!("grow.service");
const RUN_ONCE: &str = include_str!("run-once.sh");
const RUN_ONCE_OPENRC: &str = include_str!("first-boot.initd");
const RUN_ONCE_SYSTEMD: &str = include_str!("first-boot.service");

/// Has the root grow to its disk's end at the first start, where the kernel's command line says `hatchery.grow`, as that of a disk
/// image does. Anywhere else the service does nothing.
pub(super) fn grow_root(files: &mut Files, init: Option<Init>) -> Result<(), ComposeError> {
    let Some(init) = init else { return Ok(()) };
    files.write("usr/lib/hatchery/grow-root", GROW, 0o755)?;
    match init {
        Init::OpenRc => files.write("etc/init.d/hatchery-grow", GROW_OPENRC, 0o755)?,
        Init::Systemd => files.write("usr/lib/systemd/system/hatchery-grow.service", GROW_SYSTEMD, 0o644)?,
    }
    init.enable(files, "hatchery-grow")
}

/// Has a script run once, as root, with its output kept in /var/log/hatchery-first-boot.log.
///
/// # Errors
/// A script for an image in which nothing could start it.
pub(super) fn run_script(files: &mut Files, init: Option<Init>, script: Option<&str>) -> Result<(), ComposeError> {
    let Some(script) = script.filter(|script| !script.trim().is_empty()) else { return Ok(()) };
    let Some(init) = init else {
        return Err(ComposeError::new(
            "The image has neither OpenRC nor systemd, so nothing could run the first-boot script.",
            "Add sys-apps/openrc or sys-apps/systemd, or leave the script out.",
        )
        .about(Setting::FirstBoot));
    };
    // Text from a browser's form has the line ends of its protocol.
    let mut text = script.replace("\r\n", "\n");
    if !text.starts_with("#!") {
        text.insert_str(0, "#!/bin/sh\n");
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    files.write("usr/lib/hatchery/first-boot", &text, 0o700)?;
    files.write("usr/lib/hatchery/run-once", RUN_ONCE, 0o755)?;
    match init {
        Init::OpenRc => files.write("etc/init.d/hatchery-first-boot", RUN_ONCE_OPENRC, 0o755)?,
        Init::Systemd => files.write("usr/lib/systemd/system/hatchery-first-boot.service", RUN_ONCE_SYSTEMD, 0o644)?,
    }
    init.enable(files, "hatchery-first-boot")
}
