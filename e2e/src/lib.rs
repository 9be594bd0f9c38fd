//! What the end-to-end tests share: the real site as an ordinary user runs it, a real browser, a real SMTP server, a real machine
//! (QEMU). Everything lives in one temporary folder per test and ends with it.

pub mod access;
pub mod book;
pub mod browser;
#[path = "../../crates/server/tests/service/disk.rs"]
pub mod disk;
pub mod gentoo;
pub mod hand;
pub mod mail;
pub mod network;
pub mod portage;
pub mod processes;
pub mod qemu;
#[path = "../../crates/server/tests/service/services.rs"]
pub mod services;
pub mod site;
pub mod user;
pub mod worker;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

/// The workspace's root folder.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("e2e lies in the workspace").to_owned()
}

/// The executable under test. It is built by `scripts/test`, as cargo builds no other package's executable for a test.
pub fn hatchery() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let profile_dir = test.ancestors().nth(2).expect("tests lie in target/PROFILE/deps");
    let path = profile_dir.join("hatchery");
    assert!(path.exists(), "{} is not there: run `cargo build -p hatchery` (scripts/test does)", path.display());
    path
}

/// The folder of the sample channel that `scripts/test` made.
pub fn sample_dir() -> PathBuf {
    std::env::var_os("HATCHERY_SAMPLE_DIR").map_or_else(|| workspace().join("var/sample"), PathBuf::from)
}

/// `../shared`, where it is there; else a line that says what is skipped.
pub fn shared(what: &str) -> Option<PathBuf> {
    let path = workspace().join("../shared");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: {what} needs ../shared, which is not here");
    None
}

/// A SHA-512 crypt hash, made by the machine's own openssl.
pub fn password_hash(password: &str) -> String {
    let output = Command::new("openssl").args(["passwd", "-6", "-salt", "hatchery", password]).output().expect("openssl runs");
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// A port of the loopback interface that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port()
}

/// Asks until `ask` has an answer; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, ask: impl FnMut() -> Option<T>) -> T {
    wait_closely_for(what, limit, Duration::from_millis(200), ask)
}

/// The same with another pause between two questions, for what passes quickly.
pub fn wait_closely_for<T>(what: &str, limit: Duration, pause: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "waited {} s for {what}", limit.as_secs());
        std::thread::sleep(pause);
    }
}

/// A length of time nobody chose.
pub fn some_time(limit: Duration) -> Duration {
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").subsec_nanos();
    limit.mul_f64(f64::from(nanos % 1_000_003) / 1_000_003.0)
}

/// Where Python and what it installs for the tests are.
pub fn test_venv() -> PathBuf {
    std::env::var_os("HATCHERY_TEST_VENV").map_or_else(|| workspace().join("target/test-venv"), PathBuf::from)
}
