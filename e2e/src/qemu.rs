//! The machines of `crates/machine`, as a test wants them: what goes wrong ends the test with what the console said.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use machine::{Firmware, Medium, Setup, several_at_once};

pub struct Machine(machine::Machine);

/// How long a boot may take before it counts as failed; emulation on a loaded machine is slow, a hang is for ever.
const BOOT_LIMIT: Duration = Duration::from_secs(420);

/// Whether machines can be started here; else a line that says so.
pub fn is_there() -> bool {
    let missing = machine::check().err();
    if let Some(missing) = &missing {
        eprintln!("SKIPPED: {missing}: run scripts/setup test");
    }
    missing.is_none()
}

impl Machine {
    /// Starts a 64-bit machine from an image; `None`, with a line that says so, where QEMU is not installed.
    pub fn boot(image: &Path, firmware: Firmware, medium: Medium) -> Option<Self> {
        Machine::start(&Setup::of(image, firmware, medium))
    }

    /// Starts a machine; `None`, with a line that says so, where QEMU is not installed.
    pub fn start(setup: &Setup) -> Option<Self> {
        is_there().then(|| Machine(machine::Machine::start(setup).expect("the machine starts")))
    }

    /// Waits until the console has said `text`, counted from byte `from`; returns where the text ended.
    pub fn expect(&self, text: &str, from: usize) -> usize {
        let found = self.0.console.expect(text, from, BOOT_LIMIT, &|| false);
        found.unwrap_or_else(|e| panic!("{e}; the console ended with:\n{}", self.0.console.tail(80)))
    }

    fn type_line(&mut self, line: &str) {
        self.0.console.type_line(line).expect("the console takes input");
    }

    /// Logs in at the serial console as root and leaves a shell with a plain prompt. Returns the position in the console's text.
    pub fn log_in(&mut self, password: &str, from: usize) -> usize {
        let at = self.expect("login:", from);
        self.type_line("root");
        let at = self.expect("assword:", at);
        self.type_line(password);
        let at = self.expect("#", at);
        // Bash would put codes for the terminal around each command, which have digits in them.
        self.type_line("stty -echo; PS1=; bind 'set enable-bracketed-paste off' 2>/dev/null; echo shell-is-\"here\"");
        self.expect("shell-is-here", at)
    }

    /// Runs a command in the shell that [`Self::log_in`] left, and gives what it printed.
    pub fn run(&mut self, command: &str) -> String {
        let from = self.0.console.said().len();
        self.type_line(&format!("{command}; echo end-of-\"output\" $?"));
        let end = self.expect("end-of-output", from);
        let said = self.0.console.said();
        said.get(from..end.saturating_sub("end-of-output".len())).unwrap_or_default().replace('\r', "").trim().to_owned()
    }

    /// Checks that the root's filesystem has so many GiB.
    pub fn has_a_root_of(&mut self, expected: RangeInclusive<u32>) {
        let size = self.run("df --output=size -BG / | tail -n 1");
        // The terminal's own words stand before it.
        let gigabytes = size.split_whitespace().find_map(|word| word.strip_suffix('G')?.parse::<u32>().ok());
        assert!(gigabytes.is_some_and(|size| expected.contains(&size)), "the root has {size}");
    }

    /// Saves the machine's screen as a PNG picture.
    pub fn screenshot(&self, path: &Path) {
        // QEMU writes over no file.
        let _ = std::fs::remove_file(path);
        self.0.screenshot(path).expect("a screenshot");
    }
}

/// A larger disk over a virtual one of 16 GiB, as whoever wants more room makes it: a qcow2 beside it that has only what is written. QEMU
/// reads a stream-optimized vmdk and cannot write into one, so this is how such a disk is used, too.
pub fn enlarged(disk: &Path, format: &str) -> PathBuf {
    let over = disk.with_extension("over.qcow2");
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(disk).arg(&over).arg("40G");
    let output = command.output().expect("qemu-img runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    over
}
