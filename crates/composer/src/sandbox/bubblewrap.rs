//! Bubblewrap's arguments: the target as `/`, namespaces of its own (pid, ipc, uts, network), nothing of the machine in reach.

use std::io::{self, PipeReader};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};

use super::helper::Pipe;
use super::seccomp::filter;
use super::wire::{Reply, RunRequest, Shown};

/// The directory, in the work directory, that a command sees as `/tmp/portage`.
pub const PORTAGE: &str = "portage";
/// The directory, beside it, of temporary files that outlive a command.
pub const TEMPS: &str = "temps";

/// What bubblewrap is asked for in every case. Capabilities are those of the namespace; these suffice to own files and change users.
pub const ISOLATION: [&str; 46] = [
    "--die-with-parent",
    "--new-session",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--hostname",
    "localhost",
    "--unshare-cgroup-try",
    "--clearenv",
    "--cap-drop",
    "ALL",
    "--cap-add",
    "CAP_CHOWN",
    "--cap-add",
    "CAP_DAC_OVERRIDE",
    "--cap-add",
    "CAP_DAC_READ_SEARCH",
    "--cap-add",
    "CAP_FOWNER",
    "--cap-add",
    "CAP_FSETID",
    "--cap-add",
    "CAP_KILL",
    "--cap-add",
    "CAP_SETGID",
    "--cap-add",
    "CAP_SETUID",
    "--cap-add",
    "CAP_SETPCAP",
    "--cap-add",
    "CAP_SETFCAP",
    "--cap-add",
    "CAP_SYS_CHROOT",
    "--cap-add",
    "CAP_AUDIT_WRITE",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    // A filesystem in memory without a limit is a way around the limit of memory.
    "--size",
    SMALL,
    "--tmpfs",
    "/dev/shm",
    "--remount-ro",
    "/dev",
];
/// What a guest finds of this machine: programs, libraries and what these read. Nothing of a user's or an operator's is there.
pub const GUEST: [&str; 13] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/nsswitch.conf",
    "/etc/passwd",
];
/// Bytes that /tmp may hold, and /run and /dev/shm; they are in memory.
const LARGE: &str = "536870912";
const SMALL: &str = "67108864";

/// Tries bubblewrap with everything a phase needs, on nothing.
pub fn probe(pipe: &mut Pipe) -> io::Result<()> {
    let filter = filter()?;
    let output = Command::new("bwrap")
        .args(["--ro-bind", "/", "/", "--seccomp", &filter.as_raw_fd().to_string()])
        .args(ISOLATION)
        .args(["--tmpfs", "/tmp", "--", "bwrap", "--version"])
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null())
        .output();
    let reply = match output {
        Ok(output) if output.status.success() => Reply::Done,
        Ok(output) => Reply::Failed { message: String::from_utf8_lossy(&output.stderr).trim().to_owned() },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Reply::Failed { message: "bwrap is not installed".into() },
        Err(error) => Reply::Failed { message: format!("bwrap: {error}") },
    };
    pipe.tell(&reply)
}

/// A build root: what is shown of this machine, and a place for what a package manager writes beside.
fn show<'a>(command: &'a mut Command, shown: &[Shown]) -> &'a mut Command {
    command.args(["--size", SMALL, "--tmpfs", "/var"]);
    for item in shown {
        match item {
            Shown::Path { here, inside } => command.args(["--ro-bind", here, inside]),
            Shown::Link { target, inside } => command.args(["--symlink", target, inside]),
        };
    }
    command
}

/// The command as it runs in the sandbox.
pub fn command(what: &RunRequest, filter: &PipeReader) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--seccomp", &filter.as_raw_fd().to_string()]);
    match (&what.guest, &what.build_root) {
        (_, Some(shown)) => show(&mut command, shown),
        (None, None) if what.onlooking => command.args(["--ro-bind", "target", "/"]),
        (None, None) => command.args(["--bind", "target", "/"]),
        (Some(_), None) => command.args(GUEST.iter().flat_map(|path| ["--ro-bind-try", path, path])),
    };
    command.args(ISOLATION).args(["--size", LARGE, "--tmpfs", "/tmp", "--size", SMALL, "--tmpfs", "/run"]);
    if let Some(prefix) = &what.guest {
        command.arg("--bind").arg(Path::new("target").join(prefix.trim_start_matches('/'))).arg(prefix);
    }
    command.args(["--bind", PORTAGE, "/tmp/portage", "--bind", "image", "/tmp/portage/image", "--chdir", "/tmp/portage/work"]);
    if let Some(temp) = &what.temp {
        command.arg("--bind").arg(Path::new(TEMPS).join(temp)).arg("/tmp/portage/temp");
    }
    if what.build_root.is_some() {
        // What is left of `/` is a filesystem in memory, too.
        command.args(["--remount-ro", "/"]);
    }
    for (name, value) in &what.env {
        command.args(["--setenv", name, value]);
    }
    command.arg("--").args(&what.argv).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command
}
