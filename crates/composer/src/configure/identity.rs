//! What makes one machine different from another, and what says where an image comes from.

use super::files::Files;
use super::init::Init;
use crate::ComposeError;

const READY: &str = include_str!("ready.sh");
const READY_OPENRC: &str = include_str!("ready.initd");
const READY_SYSTEMD: &str = include_str!("ready.service");
const SSH_KEYS_OPENRC: &str = include_str!("sshkeys.initd");
const SSH_KEYS_SYSTEMD: &str = include_str!("sshkeys.service");

/// Random seeds a package or a phase may have left; a seed that many machines share is none.
const SEED_FILES: &[&str] =
    &["var/lib/systemd/random-seed", "var/lib/misc/random-seed", "var/lib/random-seed", "var/run/random-seed"];
const SEED_FOLDERS: &[&str] = &["var/lib/seedrng"];

/// Takes out what must not be the same on two machines. Each makes its own when it starts for the first time.
pub(super) fn take_out_identity(files: &mut Files, init: Option<Init>) -> Result<(), ComposeError> {
    for name in files.names("etc/ssh").into_iter().filter(|name| name.starts_with("ssh_host_")) {
        files.remove(&format!("etc/ssh/{name}"))?;
    }
    for path in SEED_FILES {
        files.remove(path)?;
    }
    for folder in SEED_FOLDERS {
        for name in files.names(folder) {
            files.remove(&format!("{folder}/{name}"))?;
        }
    }
    files.remove("var/lib/dbus/machine-id")?;
    // To systemd an empty file means "make one at first boot". dbus-uuidgen, which does it under OpenRC, takes a missing file only.
    match init {
        Some(Init::Systemd) => files.write("etc/machine-id", "", 0o444),
        _ => files.remove("etc/machine-id"),
    }
}

/// Has the machine make its SSH host keys before sshd starts, unless OpenRC's service of sshd, or one of its own under systemd, sees to it.
/// What a unit does in ExecStartPre has to be done in 90 s, and an emulated or old machine takes longer for an RSA key.
pub(super) fn make_ssh_keys_at_boot(files: &mut Files, init: Option<Init>) -> Result<(), ComposeError> {
    let Some(init) = init else { return Ok(()) };
    let Some(service) = ["sshd", "ssh"].into_iter().find(|service| init.is_enabled(files, service)) else { return Ok(()) };
    let places = match init {
        Init::OpenRc => vec![format!("etc/init.d/{service}")],
        Init::Systemd => {
            let folders = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
            folders.iter().map(|dir| format!("{dir}/sshdgenkeys.service")).collect()
        }
    };
    for place in places {
        if files.text(&place)?.is_some_and(|text| text.contains("ssh-keygen")) {
            return Ok(());
        }
    }
    match init {
        Init::OpenRc => files.write("etc/init.d/hatchery-sshkeys", SSH_KEYS_OPENRC, 0o755)?,
        Init::Systemd => files.write("usr/lib/systemd/system/hatchery-sshkeys.service", SSH_KEYS_SYSTEMD, 0o644)?,
    }
    init.enable(files, "hatchery-sshkeys")
}

/// Says where the image comes from: before the login, after it, and for programs.
pub(super) fn say_origin(files: &mut Files, notice: &str, image_name: &str) -> Result<(), ComposeError> {
    let notice: String = notice.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let notice = notice.trim();
    let sentence = "An unofficial image, put together by Hatchery from binary packages.";
    // A backslash starts an escape in /etc/issue (agetty(8)).
    let issue = format!("{image_name} on \\n (\\l)\n{sentence}\n{}\n\n", notice.replace('\\', "\\\\"));
    files.write("etc/issue", &issue, 0o644)?;
    files.write("etc/motd", &format!("{image_name}: {sentence}\n{notice}\n"), 0o644)?;
    let quoted: String = notice.chars().flat_map(|c| "\\\"$`".contains(c).then_some('\\').into_iter().chain([c])).collect();
    files.write("etc/hatchery-release", &format!("IMAGE_NAME=\"{image_name}\"\nNOTICE=\"{quoted}\"\n"), 0o644)
}

/// The service that says "HATCHERY-READY image=NAME" on the consoles once the system is up.
pub(super) fn add_ready_service(files: &mut Files, init: Option<Init>) -> Result<(), ComposeError> {
    let Some(init) = init else { return Ok(()) };
    files.write("usr/lib/hatchery/ready", READY, 0o755)?;
    match init {
        Init::OpenRc => files.write("etc/init.d/hatchery-ready", READY_OPENRC, 0o755)?,
        Init::Systemd => files.write("usr/lib/systemd/system/hatchery-ready.service", READY_SYSTEMD, 0o644)?,
    }
    init.enable(files, "hatchery-ready")
}
