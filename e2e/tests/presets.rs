//! The presets on the sample channels, as images that boot: x86's server, and both desktops to a session on the screen. What amd64's
//! server does is in `whole.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::qemu::{Firmware, Machine, Medium, Setup};
use e2e::{hatchery, password_hash, sample_dir, user, wait_for, workspace};

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
            images.send((preset, firmware, medium, build(&dir.path().join(preset), preset))).expect("somebody boots it");
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

/// Orders a preset on its sample channel and builds it as an ordinary user; the path of the ISO.
fn build(dir: &Path, preset: &str) -> PathBuf {
    fs::create_dir(dir).expect("a folder");
    let (arch, _) = preset.split_once('-').expect("a preset begins with its architecture");
    let channel = if arch == "amd64" { "sample".to_owned() } else { format!("sample-{arch}") };
    let order = format!(
        "arch = \"{arch}\"\npreset = \"{preset}\"\nchannel = \"{channel}\"\nformats = [\"iso\"]\n[system]\nroot_password_hash = \"{hash}\"\n",
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
    images.into_iter().find(|path| path.extension().is_some_and(|e| e == "iso")).expect("an ISO")
}

fn boots(preset: &str, firmware: Firmware, medium: Medium, iso: &Path, pictures: &Path) {
    let setup = Setup { x86: preset.starts_with("x86-"), ..Setup::of(iso, firmware, medium) };
    let Some(mut machine) = Machine::start(&setup) else { return };
    let marker = machine.expect("HATCHERY-READY", 0);
    machine.log_in(PASSWORD, marker);
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
    machine.screenshot(&pictures.join(format!("{preset}.png")));
}
