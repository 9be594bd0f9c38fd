//! An ordinary user to run things as: nothing in Hatchery needs root, so the tests must not lend it root's powers.

use std::path::Path;
use std::process::{Command, Output};

use crate::hatchery;

const NAME: &str = "hatchery-e2e";

/// Whether the tests themselves run as root.
pub fn we_are_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0)
}

/// A command that runs `program` as an ordinary user: as an account made for it where the tests run as root, as is elsewhere.
pub fn command(program: &Path) -> Command {
    if !we_are_root() {
        return Command::new(program);
    }
    ensure();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", NAME, "--regid", NAME, "--init-groups", "--pdeathsig", "KILL", "--"]).arg(program);
    command.env("HOME", "/tmp").env("USER", NAME);
    command
}

/// `hatchery build order.toml` as an ordinary user, in a folder with the order and `hatchery.toml`; images go to `out` below it.
pub fn build(dir: &Path, out: &str) -> Output {
    give(dir);
    command(&hatchery())
        .args(["build", "order.toml", "-o", out, "--config", "hatchery.toml"])
        .env("HATCHERY_DIR", dir.join("work"))
        .current_dir(dir)
        .output()
        .expect("hatchery runs")
}

/// Hands a folder to the ordinary user.
pub fn give(dir: &Path) {
    if we_are_root() {
        ensure();
        run(Command::new("chown").args(["-R", &format!("{NAME}:{NAME}")]).arg(dir));
    }
}

fn ensure() {
    // Tests run side by side, and the tools that change accounts give up where another is at it.
    let lock = std::fs::File::create(std::env::temp_dir().join("hatchery-test-user.lock")).expect("a lock file is made");
    lock.lock().expect("it is locked");
    if !Command::new("id").arg(NAME).output().is_ok_and(|o| o.status.success()) {
        run(Command::new("useradd").args(["--create-home", "--user-group", NAME]));
    }
    for file in ["/etc/subuid", "/etc/subgid"] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if !text.lines().any(|l| l.starts_with(&format!("{NAME}:"))) {
            let flag = if file.ends_with("uid") { "--add-subuids" } else { "--add-subgids" };
            run(Command::new("usermod").args([flag, "2000000-2065535", NAME]));
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
