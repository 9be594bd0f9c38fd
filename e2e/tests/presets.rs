//! The presets on the sample channels, as images that boot: the servers with systemd from a disk, x86's with OpenRC from a stick, both desktops
//! by UEFI (x86's by one of 32 bit) to a session on the screen. What amd64's server with OpenRC does is in `whole.rs`. The disks have the roots
//! and the container that are not started there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::qemu::{Firmware, Machine, Medium, Setup, enlarged};
use e2e::{hatchery, password_hash, sample_dir, user, wait_for, workspace};

/// The address that an order with a fixed one asks for, and what the machine's network gives by DHCP.
const FIXED: &str = "10.0.2.77/24";
const GIVEN: &str = "10.0.2.15/24";
const HAS_FIXED: &str = "amd64-server-systemd";
const PASSWORD: &str = "correct horse battery";
/// How long a session may take to come up once the system has: emulation is slow.
const SESSION_LIMIT: Duration = Duration::from_secs(300);

#[test]
fn the_other_presets_boot_and_the_desktops_show_their_session() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let pictures = workspace().join("target/e2e-pictures");
    fs::create_dir_all(&pictures).expect("a folder for pictures");
    let start = |preset, firmware, medium, root| Start { preset, firmware, medium, root };
    let starts = [
        start("x86-server-systemd", Firmware::SeaBios, Medium::Disk("qcow2"), "btrfs"),
        start("x86-desktop", Firmware::Ovmf, Medium::Cd, ""),
        start("amd64-desktop", Firmware::Ovmf, Medium::UsbStick, ""),
        start("x86-server", Firmware::SeaBios, Medium::UsbStick, ""),
        start("amd64-server-systemd", Firmware::SeaBios, Medium::Disk("vmdk"), "xfs"),
    ];
    // A machine is emulated by one processor for the most part, so a second one boots beside it.
    let (images, waiting) = std::sync::mpsc::channel::<(&Start, PathBuf)>();
    let waiting = std::sync::Mutex::new(waiting);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no panic while locked").recv();
                    let Ok((start, image)) = next else { return };
                    boots(start, &image, &pictures);
                }
            });
        }
        for start in starts.iter().filter(|start| is_made(start.preset)) {
            images.send((start, build(&dir.path().join(start.preset), start))).expect("somebody boots it");
        }
        drop(images);
    });
}

/// A preset, and how it is started.
struct Start {
    preset: &'static str,
    firmware: Firmware,
    medium: Medium,
    /// The filesystem of a disk's root.
    root: &'static str,
}

/// Whether the sample channel of a preset's architecture is there.
fn is_made(preset: &str) -> bool {
    let there = !preset.starts_with("x86-") || sample_dir().join("x86/binhost/Packages").exists();
    if !there {
        eprintln!("SKIPPED: {preset} needs the sample channel for x86: run `hatchery sample --arch x86`");
    }
    there
}

/// Orders a preset on its sample channel and builds it as an ordinary user; the path of the image, or of a larger disk over it.
fn build(dir: &Path, start: &Start) -> PathBuf {
    let Start { preset, medium, root, .. } = *start;
    fs::create_dir(dir).expect("a folder");
    let (arch, rest) = preset.split_once('-').expect("a preset begins with its architecture");
    let of_arch = if arch == "amd64" { String::new() } else { format!("-{arch}") };
    let of_init = if rest.ends_with("-systemd") { "-systemd" } else { "" };
    let format = if let Medium::Disk(format) = medium { format } else { "iso" };
    let network = match preset {
        HAS_FIXED => format!("[system.network]\naddresses = [\"{FIXED}\"]\ngateways = [\"10.0.2.2\"]\ndns = [\"10.0.2.3\"]\n"),
        _ => String::new(),
    };
    let order = format!(
        "arch = \"{arch}\"\npreset = \"{preset}\"\nchannel = \"sample{of_arch}{of_init}\"\nformats = [\"{format}\"]\n\
         [system]\nhostname = \"larry\"\nroot_password_hash = \"{hash}\"\nfirst_boot = \"echo it-ran-$((6*7))\"\n{root}{network}",
        hash = password_hash(PASSWORD),
        root = if root.is_empty() { String::new() } else { format!("root_filesystem = \"{root}\"\n") },
    );
    fs::write(dir.join("order.toml"), order).expect("the order is written");
    user::give(dir);
    let output = user::command(&hatchery())
        .args(["build", "order.toml", "--output", "out"])
        .env("HATCHERY_DIR", dir.join("work"))
        .env("HATCHERY_SAMPLE_DIR", sample_dir())
        .env_remove("HATCHERY_CONFIG")
        .current_dir(dir)
        .output()
        .expect("hatchery runs");
    assert!(output.status.success(), "{preset}: {}", String::from_utf8_lossy(&output.stderr));
    let images = fs::read_dir(dir.join("out")).expect("images").flatten().map(|entry| entry.path());
    let image = images.into_iter().find(|path| path.extension().is_some_and(|e| e == format)).expect("an image");
    let Medium::Disk(format) = medium else { return image };
    // What is read back of ext4 is seen in `same_bytes.rs`, of the others here.
    let verified = Command::new(hatchery()).arg("verify").arg(&image).arg("--unsigned").output().expect("it runs");
    let said = String::from_utf8_lossy(&[verified.stdout, verified.stderr].concat()).into_owned();
    assert!(verified.status.success() && said.contains("contents:  the image says of itself"), "{preset}: {said}");
    enlarged(&image, format)
}

fn boots(&Start { preset, firmware, medium, root }: &Start, image: &Path, pictures: &Path) {
    let medium = if let Medium::Disk(_) = medium { Medium::Disk("qcow2") } else { medium };
    let setup = Setup { x86: preset.starts_with("x86-"), ..Setup::of(image, firmware, medium) };
    let Some(mut machine) = Machine::start(&setup) else { return };
    let marker = machine.expect("HATCHERY-READY", 0);
    // With systemd the login may be there first.
    machine.log_in(PASSWORD, if preset.ends_with("-systemd") { 0 } else { marker });
    let kernel = machine.run("uname -m");
    assert!(kernel.contains(if setup.x86 { "i686" } else { "x86_64" }), "{preset}: {kernel}");
    if preset.ends_with("-desktop") {
        // The window manager runs, and a terminal's shell in it: the session is on the screen.
        wait_for("the session", SESSION_LIMIT, || {
            let processes = machine.run("ps -u live -o comm=");
            ["fluxbox", "xterm", "bash"].iter().all(|name| processes.contains(name)).then_some(())
        });
        let log = machine.run("grep -c '(EE)' /var/log/Xorg.0.log");
        eprintln!("{preset}: lines with errors in Xorg's log: {log}");
        // What was drawn last is on the screen a moment later.
        std::thread::sleep(Duration::from_secs(5));
    }
    if let Medium::Disk(_) = medium {
        machine.has_a_root_of(38..=40);
        let mounted = machine.run("findmnt -n -o FSTYPE /");
        assert!(mounted.contains(root), "{preset}: {mounted}");
        let table = machine.run("sfdisk --verify /dev/vda");
        assert!(table.contains("No errors detected"), "{preset}: {table}");
    }
    if preset == "x86-server" {
        openrc_has_done_its_part(&mut machine);
    }
    if preset.ends_with("-systemd") {
        systemd_has_done_its_part(&mut machine);
    }
    if preset == HAS_FIXED {
        // DHCP gives neither here, as the machine's network leads nowhere.
        assert!(machine.run("ip -4 route show default").contains("default via 10.0.2.2"), "{preset} has no route");
        assert!(machine.run("resolvectl dns").contains("10.0.2.3"), "{preset} has no name server");
    }
    let address = if preset == HAS_FIXED { FIXED } else { GIVEN };
    wait_for("the address", SESSION_LIMIT, || {
        machine.run("ip -4 -o address show scope global").contains(&format!("inet {address}")).then_some(())
    });
    machine.screenshot(&pictures.join(format!("{preset}.png")));
}

/// What was ordered is in force, and nothing has failed.
fn openrc_has_done_its_part(machine: &mut Machine) {
    let mut says = |command: &str, expected: &str| {
        let said = machine.run(command);
        assert!(said.contains(expected), "{command}: {said}");
    };
    says("uname -n", "larry");
    says("rc-status default | grep -cE '(sshd|nginx|chronyd|rsyslog).*started'", "4");
    says("rc-status --crashed | wc -l", "0");
    says("curl -sS -o /dev/null -w 'code-%{http_code}' http://127.0.0.1/", "code-200");
    says("cat /var/log/hatchery-first-boot.log", "it-ran-42");
}

/// What was ordered is in force, what is each machine's own was made at its first start, and nothing has failed.
fn systemd_has_done_its_part(machine: &mut Machine) {
    let mut says = |command: &str, expected: &str| {
        let said = machine.run(command);
        assert!(said.contains(expected), "{command}: {said}");
    };
    says("uname -n", "larry");
    // It waits for the first-boot script, too, and says “degraded” when anything has failed.
    says("systemctl is-system-running --wait", "running");
    says("systemctl is-active sshd nginx systemd-networkd systemd-resolved systemd-logind | sort | uniq -c", "5 active");
    says("systemctl is-enabled sshd nginx systemd-networkd systemd-resolved systemd-timesyncd | sort | uniq -c", "5 enabled");
    says("readlink /etc/resolv.conf", "systemd/resolve/stub-resolv.conf");
    says("curl -sS -o /dev/null -w 'code-%{http_code}' http://127.0.0.1/", "code-200");
    says("grep -q '^[0-9a-f]\\{32\\}$' /etc/machine-id && echo made-here", "made-here");
    says("ls /etc/ssh", "ssh_host_ed25519_key");
    says("cat /var/log/hatchery-first-boot.log", "it-ran-42");
    says("cat /var/log/hatchery-first-boot.log", "ended with status 0");
    says("loginctl list-sessions --no-legend", "root");
}
