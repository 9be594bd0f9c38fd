//! A real machine, emulated: QEMU without KVM, which not every machine has that says so. Its serial console is a socket that one can read and type into, its screen
//! can be photographed. Images are started as they will be by whoever downloads them; what is written to them is forgotten.
//!
//! The machine is kept from the rest of the world: no network but, for an image that starts over it, the files of one folder.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

mod console;
mod monitor;
mod start;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use console::Console;
pub use start::Machine;

/// The firmware a machine starts with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Firmware {
    /// A BIOS.
    SeaBios,
    /// UEFI, of as many bits as the processor.
    Ovmf,
}

impl Firmware {
    /// As people call it.
    pub fn label(self) -> &'static str {
        match self {
            Firmware::SeaBios => "SeaBIOS",
            Firmware::Ovmf => "OVMF",
        }
    }
}

/// What the image is to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Medium {
    Cd,
    UsbStick,
    /// A disk, by QEMU's name of its format.
    Disk(&'static str),
    /// The image is an iPXE script, whose neighbours are in the same folder.
    Network,
}

/// How to start a machine.
#[derive(Clone, Debug)]
pub struct Setup {
    pub image: PathBuf,
    pub firmware: Firmware,
    pub medium: Medium,
    /// Processors; one where several machines run at once.
    pub processors: NonZeroUsize,
    /// A 32-bit processor.
    pub x86: bool,
}

impl Setup {
    /// A 64-bit machine with one processor.
    pub fn of(image: &Path, firmware: Firmware, medium: Medium) -> Setup {
        Setup { image: image.to_owned(), firmware, medium, processors: NonZeroUsize::MIN, x86: false }
    }
}

/// Why a machine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("{0} is not installed")]
    Missing(&'static str),
    #[error("QEMU could not be started: {0}")]
    Start(std::io::Error),
    #[error("QEMU ended at once: {0}")]
    Ended(String),
    #[error("the machine's files could not be handled: {0}")]
    Io(#[from] std::io::Error),
    #[error("QEMU did not do as it was told: {0}")]
    Monitor(String),
    #[error("the machine did not say “{wanted}” within {} s", limit.as_secs())]
    Silent { wanted: String, limit: Duration },
    #[error("the machine ended before it said “{wanted}”")]
    Stopped { wanted: String },
    #[error("nobody waits for it any more")]
    Cancelled,
}

/// The emulators of PCs of 64 and of 32 bit, and processors as modest as images may expect: 64-bit ones as of 2010.
pub(crate) const QEMU: [(&str, &str); 2] =
    [("qemu-system-x86_64", "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16"), ("qemu-system-i386", "qemu32")];

/// Debian 12 and 13 name OVMF's files differently: the code, and the variables to begin with.
const OVMF: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// OVMF of 32 bit, as Debian's package `ovmf-ia32` has it: it insists on system management mode.
const OVMF32: [(&str, &str); 1] = [("/usr/share/OVMF/OVMF32_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF32_VARS_4M.fd")];

/// The firmware's files for a processor of 64 bit, or of 32.
pub(crate) fn ovmf(x86: bool) -> Option<(&'static Path, &'static Path)> {
    let files: &[(&'static str, &'static str)] = if x86 { &OVMF32 } else { &OVMF };
    files.iter().map(|&(code, vars)| (Path::new(code), Path::new(vars))).find(|(code, vars)| code.exists() && vars.exists())
}

/// A program's place in PATH.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    // Daemons often have a short PATH.
    found
        .or_else(|| ["/usr/bin", "/usr/local/bin", "/bin"].into_iter().map(|dir| Path::new(dir).join(name)).find(|p| p.is_file()))
}

/// Whether machines can be started here.
///
/// # Errors
/// What is missing.
pub fn check() -> Result<(), MachineError> {
    for needed in [QEMU[0].0, QEMU[1].0, "setpriv", "busybox"] {
        program(needed).ok_or(MachineError::Missing(needed))?;
    }
    ovmf(false).map(drop).ok_or(MachineError::Missing("OVMF (the firmware, Debian's package ovmf)"))
}

/// Does `work` for each item, so many at once, and gives the results in the items' order.
pub fn several_at_once<T: Sync, R: Send>(items: &[T], at_once: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(items.len()));
    std::thread::scope(|scope| {
        for _ in 0..at_once.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, item)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    items.get(index).map(|item| (index, item))
                } {
                    let result = work(item);
                    done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((index, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_at_once_keeps_the_order_and_the_limit() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let items: Vec<usize> = (0..20).collect();
        let results = several_at_once(&items, 3, |item| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(results, items.iter().map(|i| i * 2).collect::<Vec<_>>());
        assert!(most.load(Ordering::SeqCst) <= 3);
        assert!(several_at_once(&[] as &[u8], 2, |_| ()).is_empty());
    }
}
