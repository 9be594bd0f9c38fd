//! A real machine, emulated: QEMU without KVM. The serial console is a socket one can read and type into.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::wait_for;

/// The firmware a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    SeaBios,
    Ovmf,
}

/// What the image is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    Cd,
    UsbStick,
    /// A qcow2 disk; what is written to it is forgotten.
    Disk,
}

/// A machine to start.
#[derive(Clone, Debug)]
pub struct Setup {
    pub image: PathBuf,
    pub firmware: Firmware,
    pub medium: Medium,
    /// A 32-bit processor.
    pub x86: bool,
}

impl Setup {
    /// A 64-bit machine.
    pub fn of(image: &Path, firmware: Firmware, medium: Medium) -> Setup {
        Setup { image: image.to_owned(), firmware, medium, x86: false }
    }
}

pub struct Machine {
    process: Child,
    console: UnixStream,
    seen: Arc<Mutex<Vec<u8>>>,
    monitor: PathBuf,
}

/// How long a boot may take before it counts as failed; emulation on a loaded machine is slow, a hang is for ever.
const BOOT_LIMIT: Duration = Duration::from_secs(420);

impl Machine {
    /// Starts a 64-bit machine from an image; `None`, with a line that says so, where QEMU is not installed.
    pub fn boot(dir: &Path, image: &Path, firmware: Firmware, medium: Medium) -> Option<Self> {
        Machine::start(dir, &Setup::of(image, firmware, medium))
    }

    /// Starts a machine; its sockets lie in `dir`. `None`, with a line that says so, where QEMU is not installed.
    pub fn start(dir: &Path, setup: &Setup) -> Option<Self> {
        let Setup { image, firmware, medium, x86 } = setup;
        if !Path::new("/usr/bin/qemu-system-x86_64").exists() && !Path::new("/usr/local/bin/qemu-system-x86_64").exists() {
            eprintln!("SKIPPED: booting needs qemu-system-x86: run scripts/setup test");
            return None;
        }
        let (serial, monitor) = (dir.join("serial.sock"), dir.join("monitor.sock"));
        for socket in [&serial, &monitor] {
            // A socket of an earlier machine in the same folder would be in the way; usually there is none.
            let _ = std::fs::remove_file(socket);
        }
        let mut command = Command::new(if *x86 { "qemu-system-i386" } else { "qemu-system-x86_64" });
        command.args([
            "-machine",
            "q35",
            "-m",
            "1536",
            "-smp",
            "2",
            "-display",
            "none",
            "-no-reboot",
            "-accel",
            "tcg,thread=multi",
        ]);
        command.args(["-cpu", if *x86 { "qemu32" } else { "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16" }]);
        command.arg("-serial").arg(format!("unix:{},server=on,wait=on", serial.display()));
        command.arg("-monitor").arg(format!("unix:{},server=on,wait=off", monitor.display()));
        command.args(["-netdev", "user,id=net0,restrict=on", "-device", "virtio-net-pci,netdev=net0"]);
        match medium {
            Medium::Cd => {
                command.arg("-drive").arg(format!("file={},media=cdrom,readonly=on,format=raw", image.display()));
            }
            Medium::Disk => {
                command.arg("-drive").arg(format!("file={},if=virtio,format=qcow2,snapshot=on", image.display()));
            }
            Medium::UsbStick => {
                command.args(["-device", "qemu-xhci"]);
                command.arg("-drive").arg(format!("file={},if=none,id=stick,format=raw,readonly=on", image.display()));
                command.args(["-device", "usb-storage,drive=stick,bootindex=0,removable=on"]);
            }
        }
        if *firmware == Firmware::Ovmf {
            let vars = dir.join("OVMF_VARS.fd");
            let (code, template) = ovmf_files();
            std::fs::copy(template, &vars).expect("OVMF's variables can be copied");
            command.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={code}"));
            command.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", vars.display()));
        }
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().expect("QEMU starts");
        let console = wait_for("QEMU's serial console", Duration::from_secs(60), || UnixStream::connect(&serial).ok());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (console.try_clone().expect("a socket clones"), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                sink.lock().expect("no panic while locked").extend_from_slice(&buffer[..n]);
            }
        });
        Some(Machine { process, console, seen, monitor })
    }

    /// Everything the serial console has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().expect("no panic while locked")).into_owned()
    }

    /// Waits until the console has said `text`, counted from byte `from`; returns where the text ended.
    pub fn expect(&self, text: &str, from: usize) -> usize {
        let start = std::time::Instant::now();
        loop {
            if let Some(at) = self.said().get(from..).and_then(|s| s.find(text)) {
                return from + at + text.len();
            }
            let said = self.said();
            let tail: String = said.chars().rev().take(4000).collect::<Vec<_>>().into_iter().rev().collect();
            assert!(start.elapsed() < BOOT_LIMIT, "waited for “{text}” on the console, which ended with:\n{tail}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Types a line at the console.
    pub fn type_line(&mut self, line: &str) {
        self.console.write_all(format!("{line}\n").as_bytes()).expect("the console takes input");
    }

    /// Logs in at the serial console as root and leaves a shell with a plain prompt. Returns the position in the console's text.
    pub fn log_in(&mut self, password: &str, from: usize) -> usize {
        let at = self.expect("login:", from);
        self.type_line("root");
        let at = self.expect("assword:", at);
        self.type_line(password);
        let at = self.expect("#", at);
        self.type_line("stty -echo; PS1=; echo shell-is-\"here\"");
        self.expect("shell-is-here", at)
    }

    /// Runs a command in the shell that [`Self::log_in`] left, and gives what it printed.
    pub fn run(&mut self, command: &str) -> String {
        let from = self.said().len();
        self.type_line(&format!("{command}; echo end-of-\"output\" $?"));
        let end = self.expect("end-of-output", from);
        let said = self.said();
        said.get(from..end.saturating_sub("end-of-output".len())).unwrap_or_default().replace('\r', "").trim().to_owned()
    }

    /// Saves the machine's screen as a PPM picture.
    pub fn screenshot(&self, path: &Path) {
        let mut monitor = UnixStream::connect(&self.monitor).expect("the monitor listens");
        writeln!(monitor, "screendump {}", path.display()).expect("the monitor takes a command");
        wait_for("the screenshot", Duration::from_secs(20), || path.metadata().ok().filter(|m| m.len() > 0));
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A machine that powered itself off is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian 12 and 13 name OVMF's files differently.
fn ovmf_files() -> (&'static str, &'static str) {
    let candidates = [
        ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
        ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ];
    candidates.into_iter().find(|(code, _)| Path::new(code).exists()).expect("OVMF is installed with QEMU by scripts/setup test")
}
