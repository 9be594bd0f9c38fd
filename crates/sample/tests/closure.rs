//! `@system` and a web server, unpacked into a folder: every program there finds its libraries, and the important ones run.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Command;

use common::sample_of;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use sample::Arch;

/// Says what is missing, and nothing when all is well.
const LIBRARIES: &str = r#"
for file in /usr/bin/* /usr/lib/openssh/* /usr/lib/*-linux-gnu/security/*; do
	[[ -f ${file} && ! -L ${file} ]] || continue
	IFS= read -r -d '' -n 4 magic < "${file}" 2> /dev/null
	[[ ${magic} == $'\x7fELF' ]] || continue
	/lib/ld-linux.so.2 --list "${file}" 2>&1 | grep -F 'not found' | sed "s|^|${file}: |"
done
true
"#;

const PROGRAMS: &str = r#"
set -e
cp /usr/share/baselayout/{passwd,group,shadow} /etc/
[[ $(ls -d /usr/sbin/sshd) == /usr/sbin/sshd ]]
mount --version | grep -q util-linux
sshd -T -h /nonexistent 2>&1 | grep -q . || true
sshd -V 2>&1 | grep -q OpenSSH
useradd --help > /dev/null
openrc --version > /dev/null
lighttpd -t -f /etc/lighttpd/lighttpd.conf > /dev/null
udevadm --version > /dev/null
busybox true
printf 'a\n' | gawk '{ print $1 }' | grep -q a
curl --version | grep -q OpenSSL
visudo --version > /dev/null
bash -c 'source /etc/profile; [[ $(date -d 2026-01-02 +%Y) == 2026 ]]'
sh -c 'echo the programs run'
"#;

#[test]
fn every_program_of_a_system_finds_its_libraries() {
    check(Arch::Amd64, &LIBRARIES.replace("/lib/ld-linux.so.2", "/lib64/ld-linux-x86-64.so.2"));
}

/// Programs of x86 run on amd64 as they are.
#[test]
fn every_program_of_an_x86_system_finds_its_libraries() {
    check(Arch::X86, LIBRARIES);
}

fn check(arch: Arch, libraries: &str) {
    let Some(sample) = sample_of(arch) else { return };
    if !Command::new("bwrap").arg("--version").output().is_ok_and(|o| o.status.success()) {
        println!("skipped: needs bubblewrap");
        return;
    }
    let mut atoms = sample.system();
    atoms.extend(["www-servers/lighttpd", "sys-apps/busybox[static]", "net-misc/curl", "app-admin/sudo"].map(str::to_owned));
    let atoms: Vec<&str> = atoms.iter().map(String::as_str).collect();
    let root = tempfile::tempdir().unwrap();
    for entry in sample.closure(&atoms).values() {
        unpack(&sample.channel.binhost_dir.join(&entry.path), root.path());
    }
    assert_eq!(run(root.path(), libraries), "");
    assert_eq!(run(root.path(), PROGRAMS).trim(), "the programs run");
}

/// Unpacks an image through merged-usr links; owners and set-id bits play no part here.
fn unpack(package: &Path, root: &Path) {
    let file = BinaryPackage::open(File::open(package).unwrap(), "package", Signatures::Ignored).unwrap();
    for entry in tar::Archive::new(file.image().unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let Some(path) = BinaryPackage::image_path(&entry.path_bytes()).unwrap() else { continue };
        let target = root.join(String::from_utf8(path).unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&target).unwrap(),
            tar::EntryType::Link => {
                let first = BinaryPackage::image_path(&entry.link_name_bytes().unwrap()).unwrap().unwrap();
                std::fs::hard_link(root.join(String::from_utf8(first).unwrap()), &target).unwrap();
            }
            _ => drop(entry.unpack(&target).unwrap()),
        }
    }
}

fn run(root: &Path, script: &str) -> String {
    let mut command = Command::new("bwrap");
    command.args([
        "--unshare-user",
        "--unshare-pid",
        "--unshare-net",
        "--uid",
        "0",
        "--gid",
        "0",
        "--die-with-parent",
        "--clearenv",
    ]);
    command.arg("--bind").arg(root).args(["/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/run"]);
    command.args(["--setenv", "PATH", "/usr/bin", "--", "/bin/bash", "-c", script]);
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
