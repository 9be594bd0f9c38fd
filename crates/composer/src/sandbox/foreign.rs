//! Whether programs of an architecture run here: natively, by an emulator that the machine has registered, or by QEMU's user mode
//! registered for our user namespace alone (binfmt_misc of Linux 6.7 and later). What counts is a trial in an empty root.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};

use super::bubblewrap::ISOLATION;
use super::seccomp::filter;

/// Where the namespace's binfmt_misc is mounted, in the helper's own /tmp.
const BINFMT: &str = "/tmp/binfmt";
/// Directory of the trial, in the work directory.
const TRIAL: &str = "trial";
/// The trial's segment starts here.
const BASE: u32 = 0x40_0000;

/// An architecture by Gentoo's name, as ELF and QEMU know it.
struct Machine {
    arch: &'static str,
    /// QEMU's name, as in `qemu-NAME-static`.
    qemu: &'static str,
    bits: u8,
    /// e_machine and e_flags of ELF.
    number: u16,
    flags: u32,
    /// exit(0), in machine code.
    code: &'static [u8],
}

/// All are little-endian. The code: number of the call and status into registers, then the call.
const MACHINES: [Machine; 5] = [
    Machine { arch: "amd64", qemu: "x86_64", bits: 64, number: 62, flags: 0, code: b"\x31\xff\xb8\x3c\0\0\0\x0f\x05" },
    Machine { arch: "x86", qemu: "i386", bits: 32, number: 3, flags: 0, code: b"\x31\xdb\xb8\x01\0\0\0\xcd\x80" },
    Machine {
        arch: "arm64",
        qemu: "aarch64",
        bits: 64,
        number: 183,
        flags: 0,
        code: b"\0\0\x80\xd2\xa8\x0b\x80\xd2\x01\0\0\xd4",
    },
    Machine {
        arch: "arm",
        qemu: "arm",
        bits: 32,
        number: 40,
        // EABI version 5.
        flags: 0x0500_0000,
        code: b"\0\0\xa0\xe3\x01\x70\xa0\xe3\0\0\0\xef",
    },
    Machine { arch: "riscv", qemu: "riscv64", bits: 64, number: 243, flags: 0, code: b"\x13\x05\0\0\x93\x08\xd0\x05\x73\0\0\0" },
];

/// The architectures that can be tried, by Gentoo's names.
pub fn known() -> impl Iterator<Item = &'static str> {
    MACHINES.iter().map(|machine| machine.arch)
}

/// Makes programs of an architecture run in this namespace. Says why they do not.
pub fn enable(arch: &str) -> io::Result<Result<(), String>> {
    let Some(machine) = MACHINES.iter().find(|machine| machine.arch == arch) else {
        return Ok(Err(format!("{arch} is no architecture whose programs can be tried")));
    };
    if machine.runs()? {
        return Ok(Ok(()));
    }
    let Some(emulator) = machine.emulator() else {
        return Ok(Err(format!("this machine does not run the programs of {arch}, and has no qemu-{}-static", machine.qemu)));
    };
    if let Err(error) = machine.register(&emulator) {
        return Ok(Err(format!("{} cannot be registered for a user namespace ({error})", emulator.display())));
    }
    match machine.runs()? {
        true => Ok(Ok(())),
        false => Ok(Err(format!("{} is registered, and does not run in an empty root", emulator.display()))),
    }
}

impl Machine {
    /// Tries it as phases run: in bubblewrap, with nothing else in its root.
    fn runs(&self) -> io::Result<bool> {
        let dir = Path::new(TRIAL);
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::create_dir(dir)?;
        let program = dir.join(TRIAL);
        fs::write(&program, self.program())?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let filter = filter()?;
        let status = Command::new("bwrap")
            .args(["--seccomp", &filter.as_raw_fd().to_string(), "--bind", TRIAL, "/"])
            .args(ISOLATION)
            .args(["--", &format!("/{TRIAL}")])
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        fs::remove_dir_all(dir)?;
        Ok(status.success())
    }

    fn emulator(&self) -> Option<PathBuf> {
        let paths = ["/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join(format!("qemu-{}-static", self.qemu)));
        let shared = ["/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join(format!("qemu-{}", self.qemu)));
        paths.into_iter().chain(shared).find(|path| path.is_file())
    }

    /// Has the kernel start the emulator for such programs. With F it is opened now, so that it is found from any root.
    fn register(&self, emulator: &Path) -> io::Result<()> {
        let at = Path::new(BINFMT);
        if !at.is_dir() {
            fs::create_dir(at)?;
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            mount(Some("binfmt_misc"), at, Some("binfmt_misc"), flags, None::<&str>)?;
        }
        let escaped = |bytes: &[u8]| bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
        let program = self.program();
        let magic = program.get(..20).unwrap_or_default();
        // Any OS ABI; executables (2) and position-independent ones (3).
        let mask: Vec<u8> = (0..20)
            .map(|at| {
                if at == 7 {
                    0
                } else if at == 16 {
                    0xfe
                } else {
                    0xff
                }
            })
            .collect();
        let line = format!(":hatchery-{}:M::{}:{}:{}:F", self.qemu, escaped(magic), escaped(&mask), emulator.display());
        fs::write(at.join("register"), line)
    }

    /// A static ELF program of one segment, after the System V ABI.
    fn program(&self) -> Vec<u8> {
        let wide = self.bits == 64;
        let (header, segment) = if wide { (64u16, 56u16) } else { (52, 32) };
        let size = u32::from(header + segment) + self.code.len() as u32;
        let mut out = Vec::new();
        let word = |out: &mut Vec<u8>, value: u32| match wide {
            true => out.extend(u64::from(value).to_le_bytes()),
            false => out.extend(value.to_le_bytes()),
        };
        out.extend(b"\x7fELF");
        out.extend([if wide { 2 } else { 1 }, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        out.extend(2u16.to_le_bytes());
        out.extend(self.number.to_le_bytes());
        out.extend(1u32.to_le_bytes());
        word(&mut out, BASE + u32::from(header + segment));
        word(&mut out, u32::from(header));
        word(&mut out, 0);
        out.extend(self.flags.to_le_bytes());
        for half in [header, segment, 1, 0, 0, 0] {
            out.extend(half.to_le_bytes());
        }
        // PT_LOAD, readable and executable; ELF of 64 bits has the flags second, that of 32 bits last but one.
        out.extend(1u32.to_le_bytes());
        if wide {
            out.extend(5u32.to_le_bytes());
        }
        for value in [0, BASE, BASE, size, size] {
            word(&mut out, value);
        }
        if !wide {
            out.extend(5u32.to_le_bytes());
        }
        word(&mut out, 0x1000);
        out.extend(self.code);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_are_programs_of_their_machines() {
        for machine in MACHINES {
            let program = machine.program();
            let elf = gentoo::elf::Elf::parse(&program).unwrap();
            assert_eq!(elf.machine().unwrap(), u64::from(machine.number), "{}", machine.arch);
        }
    }
}
