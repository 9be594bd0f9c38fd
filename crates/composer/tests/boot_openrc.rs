//! Boots a configured root with OpenRC: Debian's packages, one order's settings, an ISO, and a login on the serial line.
//!
//! It takes some minutes and fetches Debian packages (60 MB, kept in `target/test-cache`), so it runs on demand:
//! `cargo test -p composer --test boot_openrc -- --ignored --nocapture`

mod support;

use composer::boot::{self, BootRequest, Start};
use composer::{ConfigureRequest, Unobserved};
use contract::{System, User};
use image::{Store, Tree};
use support::{Machine, iso, put, root_of};

const PACKAGES: &[&str] = &[
    "@linux-image-cloud-amd64",
    "busybox-static",
    "openrc",
    "libeinfo1",
    "librc1",
    "sysvinit-core",
    "sysvinit-utils",
    "util-linux",
    "mount",
    "login",
    "passwd",
    "libpam0g",
    "libpam-modules",
    "libpam-modules-bin",
    "libc6",
    "libc-bin",
    "bash",
    "dash",
    "coreutils",
    "grep",
    "sed",
    "findutils",
    "procps",
    "libproc2-0",
    "libselinux1",
    "libpcre2-8-0",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libblkid1",
    "libmount1",
    "libuuid1",
    "libsmartcols1",
    "libtinfo6",
    "libncursesw6",
    "libcap2",
    "libaudit1",
    "libcap-ng0",
    "libcrypt1",
    "libsystemd0",
    "liblz4-1",
    "libgcrypt20",
    "libgpg-error0",
    "liblzma5",
    "libzstd1",
    "libgcc-s1",
    "libssl3",
    "libdb5.3",
    "libtirpc3",
    "libnsl2",
    "libgssapi-krb5-2",
    "libkrb5-3",
    "libk5crypto3",
    "libkrb5support0",
    "libkeyutils1",
    "libcom-err2",
    "zlib1g",
];

/// Debian's OpenRC leaves this to scripts of sysvinit; Gentoo's has one like it.
const HOSTNAME: &str = "#!/sbin/openrc-run
start() {
	. /etc/conf.d/hostname
	echo \"$hostname\" >/proc/sys/kernel/hostname
}
";

const PAM: &str = "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n";

/// `openssl passwd -6 -salt saltsalt hatch`
const HASH: &str = "$6$saltsalt$iMT.1a8cfMvyFauGIxeDs19pQ3YPgw07dtgA8MjlzthSaP1fOOE5t13Ni/6IlQgHteInrjvKm.ZPKyPdnzWRx/";

fn settings() -> System {
    let ada = User { name: "ada".into(), password_hash: Some(HASH.into()), groups: vec!["wheel".into()], ..User::default() };
    System { hostname: Some("egg.example.org".into()), users: vec![ada], ..System::default() }
}

fn configured(store: &Store) -> Option<Tree> {
    let mut tree = root_of(store, PACKAGES)?;
    tree.symlink("bin/sh", "dash").unwrap();
    put(&mut tree, store, "etc/pam.d/login", 0o644, PAM.as_bytes());
    put(&mut tree, store, "etc/pam.d/other", 0o644, PAM.as_bytes());
    put(&mut tree, store, "etc/init.d/hostname", 0o755, HOSTNAME.as_bytes());
    let work_dir = tempfile::tempdir().unwrap();
    let request = ConfigureRequest {
        store,
        system: &settings(),
        services: &[],
        notice: "This is a test.",
        image_name: "hatchery-test",
        arch: "amd64",
        work_dir: work_dir.path(),
    };
    let messages = composer::configure(&mut tree, &request, &Unobserved).unwrap();
    println!("{messages:?}");
    Some(tree)
}

#[test]
#[ignore = "boots a machine twice; see the top of the file"]
fn a_configured_image_comes_up_and_lets_its_user_in() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    let Some(tree) = configured(&store) else {
        println!("skipped: Debian's packages cannot be fetched here");
        return;
    };
    let request = BootRequest {
        volume_id: "HATCHERY_TEST".into(),
        title: "Test".into(),
        image_name: "hatchery-test".into(),
        starts: vec![Start::Medium],
        kernel_cmdline: String::new(),
        arch: "amd64".into(),
        work_dir: dir.path().join("work"),
    };
    let media = boot::prepare(&tree, &store, &request, &Unobserved).unwrap().remove(&Start::Medium).unwrap();
    let iso = iso(&tree, &store, &media, dir.path());
    let disk = ["-drive", "file=ISO,format=raw,if=virtio,readonly=on", "-nic", "user,model=virtio-net-pci"];
    for firmware in [&[][..], &["-bios", "/usr/share/ovmf/OVMF.fd"]] {
        println!("{firmware:?}");
        let mut machine = Machine::start(&[firmware, &disk].concat(), &iso);
        machine.wait_for("HATCHERY-READY image=hatchery-test");
        machine.wait_for("egg login: ");
        assert!(machine.seen.contains("This is a test."), "{}", machine.seen);
        machine.send("ada\n");
        machine.wait_for("Password: ");
        machine.send("hatch\n");
        machine.wait_for("$ ");
        machine.send("id; cat /proc/sys/kernel/hostname; pwd; ls -ld ~; grep ^root: /etc/shadow; busybox ip -4 -o addr show scope global; rc-status -s; echo done-$((6*7))\n");
        machine.wait_for("done-42");
        println!("{}", machine.seen);
        for text in [
            "uid=1000(ada) gid=1000(ada) groups=1000(ada),10(wheel)",
            "\negg\r",
            "/home/ada",
            "drwx------",
            "inet 10.0.2.15/24",
            "hatchery-ready",
        ] {
            assert!(machine.seen.contains(text), "{text}: {}", machine.seen);
        }
        assert!(!machine.seen.contains("root:*"), "a user reads the shadow: {}", machine.seen);
    }
}
