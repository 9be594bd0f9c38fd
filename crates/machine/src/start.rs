//! Starting a machine, and ending it.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::{Console, Firmware, MachineError, Medium, QEMU, Setup, monitor, ovmf, program};

/// How long QEMU may take to open its sockets on a loaded machine.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Memory of a machine, MiB: an image that is started over the network is in it as a whole.
const MEMORY: &str = "1536";
/// Where the machine finds the files it starts from, in a network of its own.
const FILES_HOST: &str = "10.0.2.100";

/// A machine that runs. It ends when it is dropped.
pub struct Machine {
    pub console: Console,
    process: Child,
    /// Its sockets and firmware variables.
    dir: TempDir,
}

impl Machine {
    /// Starts a machine. It also ends when the thread that started it ends in any way.
    ///
    /// # Errors
    /// When a program is missing or QEMU does not come up.
    pub fn start(setup: &Setup) -> Result<Machine, MachineError> {
        let dir = tempfile::Builder::new().prefix("machine-").tempdir()?;
        let serial = dir.path().join("serial");
        let setpriv = program("setpriv").ok_or(MachineError::Missing("setpriv"))?;
        let (name, _) = qemu_of(setup);
        let qemu = program(name).ok_or(MachineError::Missing(name))?;
        let errors = dir.path().join("errors");
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(qemu).args(arguments(setup, dir.path())?);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?);
        let mut process = command.spawn().map_err(MachineError::Start)?;
        let start = Instant::now();
        let stream = loop {
            match UnixStream::connect(&serial) {
                Ok(stream) => break stream,
                Err(_) if process.try_wait()?.is_some() => {
                    return Err(MachineError::Ended(std::fs::read_to_string(&errors)?.trim().to_owned()));
                }
                Err(_) if start.elapsed() < START_LIMIT => std::thread::sleep(Duration::from_millis(50)),
                Err(error) => {
                    process.kill()?;
                    process.wait()?;
                    return Err(MachineError::Start(error));
                }
            }
        };
        Ok(Machine { console: Console::new(stream)?, process, dir })
    }

    /// Writes what the screen shows to a PNG file, which must not be there yet.
    ///
    /// # Errors
    /// When QEMU cannot.
    pub fn screenshot(&self, path: &Path) -> Result<(), MachineError> {
        monitor::execute(&self.dir.path().join("qmp"), "screendump", &json!({ "filename": path, "format": "png" }))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A machine that powered itself off is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The emulator for this machine, and its processor.
fn qemu_of(setup: &Setup) -> (&'static str, &'static str) {
    let [x86_64, i386] = QEMU;
    if setup.x86 { i386 } else { x86_64 }
}

/// QEMU's arguments.
fn arguments(setup: &Setup, dir: &Path) -> Result<Vec<OsString>, MachineError> {
    let mut list = Arguments::default();
    let (_, cpu) = qemu_of(setup);
    let board = match (setup.firmware, setup.x86) {
        (Firmware::Ovmf, true) => "q35,smm=on",
        (Firmware::Ovmf | Firmware::SeaBios, _) => "q35",
    };
    list.words(&["-machine", board, "-m", MEMORY, "-cpu", cpu, "-smp", &setup.processors.to_string()]);
    list.words(&["-accel", "tcg,thread=multi", "-display", "none", "-no-reboot", "-nodefaults", "-vga", "std"]);
    list.option("-serial", "unix:", &dir.join("serial"), ",server=on,wait=on");
    list.option("-qmp", "unix:", &dir.join("qmp"), ",server=on,wait=off");
    // What QEMU is kept from, its children are kept from too, and the web server of a network boot does not run so.
    if setup.medium != Medium::Network {
        list.words(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    }
    match setup.medium {
        Medium::Network => list.network_boot(&setup.image)?,
        Medium::Cd | Medium::UsbStick | Medium::Disk(_) => list.words(&["-netdev", "user,id=net0,restrict=on"]),
    }
    list.words(&["-device", "virtio-net-pci,netdev=net0"]);
    match setup.medium {
        Medium::Cd => list.option("-drive", "media=cdrom,readonly=on,format=raw,file=", &setup.image, ""),
        Medium::Disk(format) => list.option("-drive", &format!("if=virtio,format={format},snapshot=on,file="), &setup.image, ""),
        Medium::UsbStick => {
            list.words(&["-device", "qemu-xhci"]);
            list.option("-drive", "if=none,id=stick,format=raw,readonly=on,file=", &setup.image, "");
            list.words(&["-device", "usb-storage,drive=stick,bootindex=0,removable=on"]);
        }
        Medium::Network => {}
    }
    if setup.firmware == Firmware::Ovmf {
        let (code, template) = ovmf(setup.x86).ok_or(MachineError::Missing("OVMF"))?;
        if setup.x86 {
            list.words(&["-global", "driver=cfi.pflash01,property=secure,value=on"]);
        }
        let vars = dir.join("vars");
        std::fs::copy(template, &vars)?;
        list.option("-drive", "if=pflash,format=raw,unit=0,readonly=on,file=", code, "");
        list.option("-drive", "if=pflash,format=raw,unit=1,file=", &vars, "");
    }
    Ok(list.0)
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn words(&mut self, words: &[&str]) {
        self.0.extend(words.iter().map(OsString::from));
    }

    /// An option whose value has a path in it. QEMU wants the commas of a path twice.
    fn option(&mut self, name: &str, before: &str, path: &Path, after: &str) {
        let mut value = OsString::from(before);
        value.push(doubled(path));
        value.push(after);
        self.0.extend([OsString::from(name), value]);
    }

    /// A network in which there is nothing but the folder of an iPXE script, over HTTP: each connection gets a web server of its own.
    fn network_boot(&mut self, script: &Path) -> Result<(), MachineError> {
        let busybox = program("busybox").ok_or(MachineError::Missing("busybox"))?;
        let folder = script.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder)?;
        let name = script.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        // QEMU splits the command as a shell would, so what a shell would read in a path cannot be in it.
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
        let folder_text = folder.to_str().filter(|text| plain(text)).filter(|_| plain(name) && !name.is_empty());
        let folder = folder_text.ok_or_else(|| {
            std::io::Error::new(std::io::ErrorKind::InvalidInput, format!("{} is no plain path", script.display()))
        })?;
        let value = format!(
            "user,id=net0,restrict=on,bootfile=http://{FILES_HOST}/{name},guestfwd=tcp:{FILES_HOST}:80-cmd:{} httpd -i -h {folder}",
            busybox.display()
        );
        self.0.extend([OsString::from("-netdev"), OsString::from(value)]);
        Ok(())
    }
}

fn doubled(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes: Vec<u8> =
        path.as_os_str().as_bytes().iter().flat_map(|b| std::iter::repeat_n(*b, if *b == b',' { 2 } else { 1 })).collect();
    PathBuf::from(OsString::from_vec(bytes))
}
