//! Real Gentoo packages: an operator's own binhost of unsigned XPAK packages, half-broken as it was found, with a sample channel of lower
//! priority for what is absent. What boots runs Gentoo's own binaries.

use std::fs;
use std::process::Command;

use e2e::qemu::{Firmware, Machine, Medium};
use e2e::{password_hash, sample_dir, shared, user};
use serde_json::Value;

const PASSWORD: &str = "larry the cow";

/// Gentoo's own, with the command that shows each at work.
const REAL: &[(&str, &str)] = &[
    ("app-shells/bash", "bash -c 'echo works $((6*7))'"),
    ("sys-apps/coreutils", "ls --version | head -n 1; echo works $(factor 42)"),
    ("app-portage/portage-utils", "qlist -ICv app-shells/bash && echo works"),
    ("net-misc/curl", "curl --version | head -n 1 && echo works"),
    ("dev-db/sqlite", "sqlite3 :memory: \"select 'works'\""),
    ("app-arch/zstd", "echo works | zstd -c | zstd -dc"),
    ("sys-apps/findutils", "find /etc/hostname && echo works"),
    ("sys-apps/kmod", "lsmod | head -n 1 && echo works"),
];

#[test]
fn gentoos_own_binaries_boot_with_the_gaps_filled() {
    let Some(shared) = shared("the real binhost") else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let tree = path.join("gentoo");
    fs::create_dir(&tree).expect("a folder");
    let unpacked = Command::new("tar")
        .arg("--zstd")
        .arg("-xf")
        .arg(shared.join("oracle/gentoo-202307.tar.zst"))
        .arg("-C")
        .arg(&tree)
        .status();
    assert!(unpacked.expect("tar runs").success());
    let real = fs::canonicalize(shared.join("real/binhost-amd64-xpak")).expect("the binhost is there");
    let config = format!(
        "data_dir = \"{dir}/data\"\n[[channel]]\nname = \"mixed\"\ntitle = \"Gentoo with gaps filled\"\narch = \"amd64\"\n\
         accept_keywords = \"**\"\naccept_license = \"*\"\nprofile = \"{tree}/profiles/default/linux/amd64/17.1\"\n\
         boot_packages = [\"sys-kernel/debian-kernel-bin\", \"sys-boot/grub\", \"sys-apps/busybox[static]\"]\n\
         [[channel.binhost]]\nname = \"gentoo\"\nuri = \"file://{real}\"\nallow_unsigned = true\n\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n",
        dir = path.display(),
        tree = tree.display(),
        real = real.display(),
        sample = sample_dir().display(),
    );
    fs::write(path.join("hatchery.toml"), config).expect("the configuration is written");
    let packages: Vec<&str> = REAL.iter().map(|(name, _)| *name).collect();
    let order = format!(
        "arch = \"amd64\"\nformats = [\"iso\"]\npackages = {packages:?}\n[system]\nroot_password_hash = \"{hash}\"\n",
        packages = [
            packages.as_slice(),
            // What fills the gaps; the three libraries are what packages built with Clang need without saying so.
            &["sys-libs/ncurses", "sys-apps/baselayout", "sys-apps/openrc", "sys-apps/sysvinit", "sys-apps/util-linux"],
            // The real ones are for systemd, which the sample has as well: these are for OpenRC.
            &["sys-auth/pambase[-systemd]", ">=virtual/libudev-251-r2", ">=virtual/udev-217-r7"],
            &["sys-apps/shadow", "sys-apps/sed", "sys-apps/grep", "sys-apps/gawk", "sys-process/procps"],
            &["sys-libs/libcxx", "sys-libs/llvm-libunwind", "sys-libs/libomp"],
        ]
        .concat(),
        hash = password_hash(PASSWORD),
    );
    fs::write(path.join("order.toml"), order).expect("the order is written");
    let output = user::build(path, "out");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let files: Vec<_> = fs::read_dir(path.join("out")).expect("images").flatten().map(|e| e.path()).collect();
    let with = |suffix: &str| files.iter().find(|p| p.to_string_lossy().ends_with(suffix)).expect("the file is there").clone();
    let plan: Value = serde_json::from_slice(&fs::read(with(".plan.json")).expect("a lock")).expect("JSON");
    for (name, _) in REAL {
        let package = plan["packages"]
            .as_array()
            .expect("packages")
            .iter()
            .find(|p| p["cpv"].as_str().is_some_and(|c| c.starts_with(&format!("{name}-"))));
        assert_eq!(package.expect("it is in the plan")["binhost"], "gentoo", "{name} is to be Gentoo's own");
    }

    let Some(mut machine) = Machine::boot(&with(".iso"), Firmware::SeaBios, Medium::Cd) else { return };
    let marker = machine.expect("HATCHERY-READY", 0);
    machine.log_in(PASSWORD, marker);
    for (name, command) in REAL {
        let answer = machine.run(command);
        assert!(answer.contains("works"), "{name}: {answer}");
        let repository = machine.run(&format!("cat /var/db/pkg/{name}-[0-9]*/repository"));
        assert!(repository.contains("gentoo"), "{name} is from {repository}");
    }
}
