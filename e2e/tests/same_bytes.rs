//! The same order gives the same bytes: built by two users with other umasks, clocks, time zones, numbers of processors and folders, once
//! from the order and once from the lock of the first, in every format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::site::FAKETIME;
use e2e::{hatchery, sample_dir, user};
use serde_json::Value;

/// What is left out, so that twelve formats are written twice in little time: all modules of the kernel that no medium needs, texts, and
/// large programs that nothing of the test starts.
const MASK: &str = "/usr/share/doc /usr/share/man /usr/share/locale /usr/share/i18n /usr/share/info /usr/share/grub /usr/share/zoneinfo \
    /usr/lib/x86_64-linux-gnu/gconv /usr/lib/x86_64-linux-gnu/xtables /usr/lib/udev/hwdb.d /etc/udev/hwdb.bin /usr/bin/grub-* \
    /usr/lib/x86_64-linux-gnu/systemd /usr/lib/x86_64-linux-gnu/libmvec* /usr/lib/modules/*/kernel/* \
    -/usr/lib/modules/*/kernel/drivers/block/loop.ko -/usr/lib/modules/*/kernel/drivers/cdrom/cdrom.ko \
    -/usr/lib/modules/*/kernel/fs/isofs/isofs.ko -/usr/lib/modules/*/kernel/fs/squashfs/squashfs.ko \
    -/usr/lib/modules/*/kernel/fs/overlayfs/overlay.ko";
/// Few, and among them users of their own, programs with set-user-id and with capabilities.
const PACKAGES: &str = r#"["app-shells/bash", "net-misc/iputils", "sys-apps/openrc", "sys-apps/shadow", "sys-apps/sysvinit"]"#;

fn write_order(dir: &Path) {
    let sample = sample_dir();
    let sample = sample.display();
    let config = format!(
        "data_dir = \"data\"\n[[channel]]\nname = \"sample\"\ntitle = \"Sample\"\narch = \"amd64\"\ninstall_mask = \"{MASK}\"\n\
         profile = \"{sample}/repo/profiles/default/linux/amd64/23.0\"\n\
         boot_packages = [\"sys-kernel/debian-kernel-bin\", \"sys-boot/grub\", \"sys-apps/busybox[static]\"]\n\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n"
    );
    let formats = r#"["iso", "qcow2", "vmdk", "img.gz", "netboot", "oci.tar", "squashfs", "tar.bz2", "tar.xz", "tar.zst", "tar.gz", "zip"]"#;
    let order = format!(
        "arch = \"amd64\"\nformats = {formats}\npackages = {PACKAGES}\n[system]\nhostname = \"larry\"\n\
         root_password_hash = \"$6$saltsalt$lQ1PNhQWmPtXWQYxkfGZJTPiUhlpKZV4xtDFxrTqVXAFhGcmZcXPUzZrTHAxg6YlYbHyQRTKgSDTkBD0ddFmC.\"\n"
    );
    std::fs::write(dir.join("hatchery.toml"), config).expect("a file");
    std::fs::write(dir.join("order.toml"), order).expect("a file");
}

/// Runs the build that `command` is the beginning of, with a umask of its own.
fn build(mut command: Command, dir: &Path, umask: &str, words: &[&str]) -> BTreeMap<String, String> {
    command.args(["sh", "-c", &format!("umask {umask} && exec \"$@\""), "sh"]).arg(hatchery());
    command.args(["build", "order.toml", "-o", "out", "--config", "hatchery.toml"]).args(words);
    let output = command.current_dir(dir).env("HATCHERY_DIR", dir.join("work")).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files = std::fs::read_dir(dir.join("out")).expect("images").flatten().map(|entry| entry.path());
    let lists: Vec<PathBuf> = files.filter(|path| path.to_string_lossy().ends_with(".SHA256SUMS")).collect();
    let list = std::fs::read_to_string(&lists[0]).expect("a list of checksums");
    list.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect()
}

#[test]
fn two_machines_build_the_same_bytes_in_every_format() {
    let (first, second) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    for dir in [&first, &second] {
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
        write_order(dir.path());
    }
    let mut here = Command::new("env");
    here.args(["TZ=Asia/Kolkata", "LC_ALL=C.UTF-8"]);
    let one = build(here, first.path(), "022", &[]);

    let lock = one.keys().find(|name| name.ends_with(".plan.json")).expect("a lock").clone();
    std::fs::copy(first.path().join("out").join(&lock), second.path().join(&lock)).expect("the lock is copied");
    user::give(second.path());
    let mut there = user::command(Path::new("env"));
    there.args(["TZ=America/Caracas", "LC_ALL=C"]);
    if Path::new(FAKETIME).exists() {
        // The processes of a build run as several users, which can share no clock in memory.
        there.args([&format!("LD_PRELOAD={FAKETIME}"), "FAKETIME=+400d", "FAKETIME_DISABLE_SHM=1"]);
    } else {
        eprintln!("SKIPPED: another clock needs libfaketime: run scripts/setup test");
    }
    there.args(["taskset", "--cpu-list", "0"]);
    let two = build(there, second.path(), "077", &["--lock", &lock]);

    // Only the provenance says when and where it was.
    let other = |name: &String| one.get(name) != two.get(name);
    let different: Vec<&String> =
        one.keys().chain(two.keys()).filter(|name| other(name) && !name.ends_with(".intoto.json")).collect();
    assert!(different.is_empty(), "these differ: {different:?}");
    let text = std::fs::read_to_string(first.path().join("out").join(&lock)).expect("the lock");
    let packages = serde_json::from_str::<Value>(&text).expect("JSON")["packages"].as_array().expect("packages").len();
    println!("{} files of {packages} packages are the same", one.len() - 1);
    assert!(one.len() >= 12 + 3 + 5, "twelve formats, one of them in four files, and five documents: {one:?}");

    // Each form of an image holds just what the lock says.
    for name in
        one.keys().filter(|name| !name.ends_with(".json") && !name.contains(".netboot.") || name.ends_with(".netboot.squashfs"))
    {
        let image = first.path().join("out").join(name);
        let output = Command::new(hatchery()).arg("verify").arg(image).arg("--unsigned").output().expect("it runs");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("contents:  the image says of itself"), "{name}: {said}");
    }
}
