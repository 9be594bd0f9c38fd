//! The presets on the sample channels, as images that boot: x86's server, both desktops to a session on the screen, and the server with
//! systemd from a disk. What amd64's server with OpenRC does is in `whole.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::qemu::{Firmware, Machine, Medium, Setup, enlarge};
use e2e::{hatchery, password_hash, sample_dir, user, wait_for, workspace};

/// The address that an order with systemd asks for.
const FIXED: &str = "10.0.2.77/24";
const PASSWORD: &str = "correct horse battery";
/// How long a session may take to come up once the system has: emulation is slow.
const SESSION_LIMIT: Duration = Duration::from_secs(300);

#[test]
fn the_other_presets_boot_and_the_desktops_show_their_session() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let pictures = workspace().join("target/e2e-pictures");
    fs::create_dir_all(&pictures).expect("a folder for pictures");
    let presets = [
        ("x86-server", Firmware::SeaBios, Medium::Cd),
        ("x86-desktop", Firmware::SeaBios, Medium::UsbStick),
        ("amd64-desktop", Firmware::Ovmf, Medium::Cd),
        ("amd64-server-systemd", Firmware::SeaBios, Medium::Disk("qcow2")),
    ];
    // A machine is emulated by one processor for the most part, so a second one boots beside it.
    let (images, waiting) = std::sync::mpsc::channel::<(&str, Firmware, Medium, PathBuf)>();
    let waiting = std::sync::Mutex::new(waiting);
    std::thread::scope(|threads| {
        for _ in 0..2 {
            threads.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no panic while locked").recv();
                    let Ok((preset, firmware, medium, iso)) = next else { return };
                    boots(preset, firmware, medium, &iso, &pictures);
                }
            });
        }
        for (preset, firmware, medium) in presets {
            if !is_made(preset) {
                continue;
            }
            images.send((preset, firmware, medium, build(&dir.path().join(preset), preset, medium))).expect("somebody boots it");
        }
        drop(images);
    });
}

/// Whether the sample channel of a preset's architecture is there.
fn is_made(preset: &str) -> bool {
    let there = !preset.starts_with("x86-") || sample_dir().join("x86/binhost/Packages").exists();
    if !there {
        eprintln!("SKIPPED: {preset} needs the sample channel for x86: run `hatchery sample --arch x86`");
    }
    there
}

/// Orders a preset on its sample channel and builds it as an ordinary user; the path of the image.
fn build(dir: &Path, preset: &str, medium: Medium) -> PathBuf {
    fs::create_dir(dir).expect("a folder");
    let (arch, rest) = preset.split_once('-').expect("a preset begins with its architecture");
    let of_arch = if arch == "amd64" { String::new() } else { format!("-{arch}") };
    let of_init = if rest.ends_with("-systemd") { "-systemd" } else { "" };
    let format = if let Medium::Disk(format) = medium { format } else { "iso" };
    // With systemd a fixed address is asked for; the machine's network would give another by DHCP.
    let network = match of_init {
        "" => String::new(),
        _ => format!("[system.network]\naddresses = [\"{FIXED}\"]\ngateways = [\"10.0.2.2\"]\ndns = [\"10.0.2.3\"]\n"),
    };
    let order = format!(
        "arch = \"{arch}\"\npreset = \"{preset}\"\nchannel = \"sample{of_arch}{of_init}\"\nformats = [\"{format}\"]\n\
         [system]\nhostname = \"larry\"\nroot_password_hash = \"{hash}\"\nfirst_boot = \"echo it-ran-$((6*7))\"\n{network}",
        hash = password_hash(PASSWORD)
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
    if matches!(medium, Medium::Disk(_)) {
        enlarge(&image);
    }
    image
}

fn boots(preset: &str, firmware: Firmware, medium: Medium, iso: &Path, pictures: &Path) {
    let setup = Setup { x86: preset.starts_with("x86-"), ..Setup::of(iso, firmware, medium) };
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
    if preset.ends_with("-systemd") {
        systemd_has_done_its_part(&mut machine);
    }
    machine.screenshot(&pictures.join(format!("{preset}.png")));
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
    says("ip -4 -o address show scope global", &format!("inet {FIXED}"));
    says("ip -4 route show default", "default via 10.0.2.2");
    says("resolvectl dns", "10.0.2.3");
    says("readlink /etc/resolv.conf", "systemd/resolve/stub-resolv.conf");
    says("curl -sS -o /dev/null -w 'code-%{http_code}' http://127.0.0.1/", "code-200");
    says("grep -q '^[0-9a-f]\\{32\\}$' /etc/machine-id && echo made-here", "made-here");
    says("ls /etc/ssh", "ssh_host_ed25519_key");
    says("cat /var/log/hatchery-first-boot.log", "it-ran-42");
    says("cat /var/log/hatchery-first-boot.log", "ended with status 0");
    says("loginctl list-sessions --no-legend", "root");
    says("sfdisk --verify /dev/vda", "No errors detected");
    machine.has_a_root_of(38..=40);
}
