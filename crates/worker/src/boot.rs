//! The boot gate: images are started before they are given out, and what the machine said and showed lies beside them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use contract::{Evidence, EvidenceKind, Failure, Format, Job, Step};
use gentoo::compression::Compression;
use machine::{Firmware, Machine, MachineError, Medium, Setup};

use crate::build::{BuiltFile, Watch};

/// How long an image may take to be up. Emulation on a loaded machine is slow, a hang is for ever.
const LIMIT: Duration = Duration::from_secs(900);
/// So many machines run at once, with a processor each.
const AT_ONCE: usize = 2;
/// After the system says that it is up, the login still has to come onto the screen.
const SETTLE: Duration = Duration::from_secs(3);
/// Lines of the console in a failure.
const TAIL: usize = 40;

/// A file that shows that an image started.
pub struct EvidenceFile {
    pub evidence: Evidence,
    pub path: PathBuf,
}

/// One start of one image.
struct Start {
    format: Format,
    setup: Setup,
}

/// Starts each image that starts by itself, on each firmware that can differ for it, and waits until the system says that it is up.
pub(crate) fn start_images(
    job: &Job,
    files: &[BuiltFile],
    scratch: &Path,
    out_dir: &Path,
    watch: &dyn Watch,
) -> Result<Vec<EvidenceFile>, Failure> {
    if !job.formats.iter().any(|format| format.is_bootable()) {
        return Ok(Vec::new());
    }
    if !matches!(job.plan.arch.as_str(), "amd64" | "x86") {
        return Err(failure(
            format!("images for {} cannot be started here, and this site gives out none that was not", job.plan.arch),
            "Order a format that is unpacked instead of started, or ask the operator.",
        ));
    }
    let starts = starts(job, files, scratch)?;
    let results = machine::several_at_once(&starts, AT_ONCE, |start| {
        watch.log(&format!("starting the {} with {}", start.format, start.setup.firmware.label()));
        start_one(&job.image_name, start, out_dir, watch)
    });
    let mut evidence = Vec::new();
    for result in results {
        evidence.extend(result?);
    }
    Ok(evidence)
}

/// What is started how: each format on both firmwares. Disks of several formats have the same partitions in them, so there the firmwares
/// take turns; what is started over the network is the kernel alone, whichever firmware the network card's iPXE runs on.
fn starts(job: &Job, files: &[BuiltFile], scratch: &Path) -> Result<Vec<Start>, Failure> {
    let (formats, x86) = (&job.formats, job.plan.arch == "x86");
    let is_disk = |format: Format| matches!(format, Format::ImgGz | Format::Qcow2 | Format::Vmdk);
    let several = formats.iter().filter(|format| is_disk(**format)).count() > 1;
    let mut turn = [Firmware::SeaBios, Firmware::Ovmf].into_iter().cycle();
    let mut found = Vec::new();
    for &format in formats.iter().filter(|format| format.is_bootable()) {
        // Of several files it is the script that is started, which names the others.
        let is_it =
            |f: &&BuiltFile| f.artifact.format == format && (format != Format::Netboot || f.artifact.name.ends_with(".ipxe"));
        let file = files.iter().find(is_it).ok_or_else(|| failure(format!("there is no {format} to start"), "Order again."))?;
        let (medium, image) = match format {
            Format::Iso => (Medium::Cd, file.path.clone()),
            Format::Qcow2 => (Medium::Disk("qcow2"), file.path.clone()),
            Format::Vmdk => (Medium::Disk("vmdk"), file.path.clone()),
            Format::ImgGz => (Medium::Disk("raw"), unpacked(&file.path, scratch)?),
            Format::Netboot => (Medium::Network, file.path.clone()),
            Format::TarBz2 | Format::TarGz | Format::TarXz | Format::TarZst | Format::Zip | Format::Squashfs | Format::Oci => {
                continue;
            }
        };
        let firmwares: Vec<Firmware> = match format {
            Format::Netboot => vec![Firmware::SeaBios],
            // The firmware here is for 64 bit.
            _ if x86 => vec![Firmware::SeaBios],
            _ if several && is_disk(format) => turn.next().into_iter().collect(),
            _ => vec![Firmware::SeaBios, Firmware::Ovmf],
        };
        found.extend(
            firmwares.into_iter().map(|firmware| Start { format, setup: Setup { x86, ..Setup::of(&image, firmware, medium) } }),
        );
    }
    Ok(found)
}

/// A disk as it is after `gzip -d`.
fn unpacked(image: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    let path = scratch.join("disk.img");
    let unpack = || -> std::io::Result<()> {
        let mut reader = Compression::Gzip.reader(std::fs::File::open(image)?)?;
        std::io::copy(&mut reader, &mut std::fs::File::create(&path)?).map(drop)
    };
    unpack().map_err(|e| {
        failure(format!("the disk could not be unpacked to be started: {e}"), "The worker's disk needs room or care.")
    })?;
    Ok(path)
}

fn start_one(image_name: &str, start: &Start, out_dir: &Path, watch: &dyn Watch) -> Result<Vec<EvidenceFile>, Failure> {
    let (format, firmware) = (start.format, start.setup.firmware);
    let file = |kind: EvidenceKind, ending: &str| {
        let name = format!("{image_name}.{format}.{}.{ending}", firmware.label().to_ascii_lowercase());
        let path = out_dir.join(&name);
        EvidenceFile { evidence: Evidence { name, kind, format, firmware: firmware.label().into() }, path }
    };
    let (log, screen) = (file(EvidenceKind::BootLog, "log"), file(EvidenceKind::BootScreen, "png"));
    let failed = |error: MachineError, said: &str| {
        let said = if said.is_empty() { String::new() } else { format!("\nThe serial console's last words were:\n{said}") };
        failure(
            format!("the {format} did not start with {}: {error}{said}", firmware.label()),
            "Leave out what its console complains of and order again; if nothing does, tell the operator.",
        )
    };
    let machine = Machine::start(&start.setup).map_err(|e| failed(e, ""))?;
    let marker = format!("HATCHERY-READY image={image_name}");
    let up = machine.console.expect(&marker, 0, LIMIT, &|| watch.cancelled());
    up.map_err(|e| failed(e, &machine.console.tail(TAIL)))?;
    std::thread::sleep(SETTLE);
    machine.screenshot(&screen.path).map_err(|e| failed(e, ""))?;
    std::fs::write(&log.path, machine.console.said()).map_err(|e| failed(e.into(), ""))?;
    watch.log(&format!("the {format} started with {}", firmware.label()));
    Ok(vec![log, screen])
}

fn failure(message: String, advice: &str) -> Failure {
    Failure::new(Step::Write, message, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nobody;

    impl Watch for Nobody {
        fn progress(&self, _: Step, _: u64, _: u64, _: &str) {}
        fn log(&self, _: &str) {}
        fn cancelled(&self) -> bool {
            false
        }
    }

    /// A disk whose boot sector says `text` on the serial line, and then halts the machine or has it reset.
    fn disk(path: &Path, text: &str, resets: bool) {
        // xor ax,ax; mov ds,ax; mov si,0x7c1c; mov dx,0x3f8; cld; 1: lodsb; test al,al; jz 2f; out dx,al; jmp 1b
        let mut sector = b"\x31\xc0\x8e\xd8\xbe\x1c\x7c\xba\xf8\x03\xfc\xac\x84\xc0\x74\x03\xee\xeb\xf8".to_vec();
        // 2: mov al,0xfe; out 0x64,al: the keyboard controller's reset. 3: hlt; jmp 3b
        sector.extend(if resets { b"\xb0\xfe\xe6\x64" } else { b"\x90\x90\x90\x90" });
        sector.extend(b"\xf4\xeb\xfd");
        sector.resize(0x1c, 0x90);
        sector.extend(text.as_bytes());
        sector.resize(510, 0);
        sector.extend(b"\x55\xaa");
        sector.resize(1 << 20, 0);
        std::fs::write(path, sector).unwrap();
    }

    fn start(dir: &Path, text: &str, resets: bool) -> Option<Result<Vec<EvidenceFile>, Failure>> {
        if let Err(missing) = machine::check() {
            println!("skipped: {missing}");
            return None;
        }
        let image = dir.join("disk");
        disk(&image, text, resets);
        let start = Start { format: Format::ImgGz, setup: Setup::of(&image, Firmware::SeaBios, Medium::Disk("raw")) };
        Some(start_one("image-1", &start, dir, &Nobody))
    }

    #[test]
    fn a_start_leaves_what_was_said_and_shown() {
        let dir = tempfile::tempdir().unwrap();
        let Some(started) = start(dir.path(), "one\r\nHATCHERY-READY image=image-1\r\n", false) else { return };
        let files = started.map_err(|f| f.message).unwrap();
        let names: Vec<&str> = files.iter().map(|f| f.evidence.name.as_str()).collect();
        assert_eq!(names, ["image-1.img.gz.seabios.log", "image-1.img.gz.seabios.png"]);
        assert!(std::fs::read_to_string(&files[0].path).unwrap().contains("one\r\nHATCHERY-READY"));
        assert!(std::fs::read(&files[1].path).unwrap().starts_with(b"\x89PNG"));
    }

    #[test]
    fn an_image_that_does_not_start_fails_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        // The other image's word does not count.
        let Some(started) = start(dir.path(), "HATCHERY-READY image=other\r\nKernel panic: no init\r\n", true) else { return };
        let failure = started.err().expect("a failure");
        let said = &failure.message;
        assert!(said.contains("img.gz did not start with SeaBIOS") && said.contains("Kernel panic: no init"), "{said}");
    }
}
