//! What is set up for systemd, as systemd's own programs see it: the units of Debian's systemd with a system configured over them, held
//! against the real `systemctl` and `systemd-analyze`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use composer::{ConfigureRequest, Unobserved, configure};
use contract::System;
use image::{Compression, Entry, Store, Tree, WriteOptions};

const UNITS: &str = "usr/lib/systemd/system";
/// As Gentoo's net-misc/openssh has it.
const SSHD: &str = "[Unit]\nDescription=OpenSSH server daemon\nAfter=network.target\n\n[Service]\nExecStart=/usr/sbin/sshd -D -e\n\n\
                    [Install]\nWantedBy=multi-user.target\n";

#[test]
fn systemd_s_own_programs_agree_with_what_is_set_up() {
    if !Path::new("/").join(UNITS).join("systemd-networkd.service").exists() || !runs("systemctl") || !runs("systemd-analyze") {
        println!("skipped: systemctl, systemd-analyze and the units of Debian's systemd are not installed");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let root = configured_root(dir.path(), &["sshd", "systemd-networkd", "systemd-pstore", "serial-getty@ttyS1"]);
    let preset = std::fs::read_to_string(root.join("etc/systemd/system-preset/50-hatchery.preset")).unwrap();
    let units: Vec<String> =
        preset.lines().map(|line| line.trim_start_matches("enable ").replace("@.service ttyS1", "@ttyS1.service")).collect();
    for unit in ["sshd.service", "systemd-networkd.service", "hatchery-grow.service", "hatchery-first-boot.service"] {
        assert!(units.iter().any(|own| own == unit), "{preset}");
    }
    let ours = links(&root);
    let said = systemctl(&root, "is-enabled", &units);
    let states: BTreeSet<&str> = said.lines().collect();
    assert!(states.iter().all(|state| ["enabled", "alias"].contains(state)), "{units:?}: {said}");

    // The same from systemctl, by the preset alone.
    std::fs::remove_dir_all(root.join("etc/systemd/system")).unwrap();
    std::fs::create_dir(root.join("etc/systemd/system")).unwrap();
    systemctl(&root, "preset", &units);
    assert_eq!(ours, links(&root));

    let own: Vec<&String> = units.iter().filter(|unit| unit.starts_with("hatchery-") || *unit == "sshd.service").collect();
    assert!(own.len() > 3, "{own:?}");
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no", "--root"]).arg(&root).args(own);
    let output = verify.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", said_by(&output));
}

/// A root with the units of this machine, configured and on disk.
fn configured_root(dir: &Path, services: &[&str]) -> PathBuf {
    let store = Store::open(dir.join("store")).unwrap();
    let mut tree = Tree::new();
    tree.insert("lib", Entry::symlink("usr/lib")).unwrap();
    copy(&mut tree, &store, UNITS);
    put(&mut tree, &store, &format!("{UNITS}/sshd.service"), 0o644, SSHD.as_bytes());
    for program in ["usr/lib/systemd/systemd", "usr/sbin/sshd", "usr/bin/ssh-keygen", "usr/bin/sh"] {
        put(&mut tree, &store, program, 0o755, b"\x7fELF");
    }
    tree.make_dirs("sbin").unwrap();
    tree.insert("bin", Entry::symlink("usr/bin")).unwrap();
    tree.insert("sbin/init", Entry::symlink("../lib/systemd/systemd")).unwrap();
    let system = System { first_boot: Some("echo once".into()), hostname: Some("larry".into()), ..System::default() };
    let services: Vec<String> = services.iter().map(|service| (*service).to_owned()).collect();
    let request = ConfigureRequest {
        store: &store,
        system: &system,
        services: &services,
        notice: "A test.",
        image_name: "test",
        arch: "amd64",
        work_dir: dir,
    };
    configure(&mut tree, &request, &Unobserved).unwrap();
    let (tar, root) = (dir.join("root.tar.zst"), dir.join("root"));
    image::write_tar(&tree, &store, Compression::Zstd, &WriteOptions::at(0), &tar, &|_, _| true).unwrap();
    std::fs::create_dir(&root).unwrap();
    let unpacked =
        Command::new("tar").args(["--no-same-owner", "--exclude=./dev/*", "-xf"]).arg(&tar).arg("-C").arg(&root).status();
    assert!(unpacked.unwrap().success());
    root
}

fn put(tree: &mut Tree, store: &Store, path: &str, mode: u32, content: &[u8]) {
    tree.write_file(store, path, content, mode).unwrap();
}

/// Copies a folder of this machine.
fn copy(tree: &mut Tree, store: &Store, folder: &str) {
    for entry in std::fs::read_dir(Path::new("/").join(folder)).unwrap().map(|entry| entry.unwrap()) {
        let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy(tree, store, &path);
        } else if kind.is_symlink() {
            tree.make_dirs(folder).unwrap();
            tree.insert(&path, Entry::symlink(std::fs::read_link(entry.path()).unwrap().to_str().unwrap())).unwrap();
        } else {
            put(tree, store, &path, 0o644, &std::fs::read(entry.path()).unwrap());
        }
    }
}

/// The links below /etc/systemd/system, each with the name of the unit it leads to: systemctl of Debian 12 writes /lib for /usr/lib.
fn links(root: &Path) -> BTreeSet<(String, String)> {
    let top = root.join("etc/systemd/system");
    let mut found = BTreeSet::new();
    let mut ahead = vec![top.clone()];
    while let Some(folder) = ahead.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            if entry.file_type().unwrap().is_dir() {
                ahead.push(entry.path());
            } else {
                let target = std::fs::read_link(entry.path()).unwrap();
                let path = entry.path().strip_prefix(&top).unwrap().to_string_lossy().into_owned();
                found.insert((path, target.file_name().unwrap().to_string_lossy().into_owned()));
            }
        }
    }
    found
}

fn systemctl(root: &Path, verb: &str, units: &[String]) -> String {
    let output = Command::new("systemctl").arg("--root").arg(root).arg(verb).args(units).output().unwrap();
    assert!(output.status.success(), "systemctl {verb}: {}", said_by(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn said_by(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
