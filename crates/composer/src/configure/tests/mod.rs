mod portage;
mod services;

use std::process::{Command, Stdio};

use contract::lease::BinhostAccess;
use contract::{ExtraFile, Network, User};
use image::{Entry, Kind};

use super::*;
use crate::Unobserved;

/// A root of OpenRC and sysvinit, as a few packages leave it.
struct Root {
    _dir: tempfile::TempDir,
    store: Store,
    tree: Tree,
}

const HASH: &str = "$6$saltsalt$0123456789abcdef";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGtlZXA someone@example";

impl Root {
    fn openrc() -> Root {
        let mut root = Root::bare();
        for path in [
            "sbin/openrc-run",
            "sbin/start-stop-daemon",
            "sbin/openrc",
            "sbin/init",
            "sbin/agetty",
            "bin/bash",
            "bin/busybox",
            "usr/sbin/sshd",
        ] {
            root.put(path, "\x7fELF");
        }
        for service in ["sshd", "nginx", "udev", "udev-trigger", "hostname", "local", "sysfs", "agetty", "net.lo"] {
            root.put(&format!("etc/init.d/{service}"), "#!/sbin/openrc-run\n");
        }
        root.put("etc/inittab", "id:3:initdefault:\nc1:12345:respawn:/sbin/agetty 38400 tty1 linux\n#s0:12345:respawn:/sbin/agetty -L 9600 ttyS0 vt100\n");
        root.put("etc/passwd", "root:x:0:0:root:/root:/bin/bash\nsshd:x:22:22:sshd:/var/empty:/sbin/nologin\n");
        root.put("etc/shadow", "root::19000:0:99999:7:::\nsshd:!:19000::::::\n");
        root.put("etc/group", "root:x:0:\nwheel:x:10:root\nshadow:x:42:\nusers:x:100:\n");
        root.put("etc/conf.d/hostname", "# Set to the hostname of this machine\nhostname=\"localhost\"\n");
        root.put("etc/skel/.bashrc", "# mine\n");
        root.put("etc/profile.env", "export LANG='en_US.utf8'\nexport PAGER='less'\n");
        root
    }

    fn systemd() -> Root {
        let mut root = Root::bare();
        root.put("usr/lib/systemd/systemd", "\x7fELF");
        root.tree.insert("sbin/init", Entry::symlink("../lib/systemd/systemd")).unwrap();
        root.put(
            "usr/lib/systemd/system/sshd.service",
            "[Unit]\nWantedBy=no.target\n[Install]\nWantedBy=multi-user.target\nAlias=ssh.service\n",
        );
        root.put("usr/lib/systemd/system/getty@.service", "[Install]\nWantedBy=getty.target\n");
        root.put(
            "usr/lib/systemd/system/systemd-networkd.service",
            "[Install]\nWantedBy=multi-user.target\nAlias=dbus-x.service ../../evil\n",
        );
        root
    }

    fn bare() -> Root {
        let dir = tempfile::tempdir().unwrap();
        let mut root = Root { store: Store::open(dir.path()).unwrap(), tree: Tree::new(), _dir: dir };
        root.tree.insert("lib", Entry::symlink("usr/lib")).unwrap();
        root
    }

    fn put(&mut self, path: &str, content: &str) {
        let (blob, size) = self.store.put_bytes(content.as_bytes()).unwrap();
        self.tree.insert(path, Entry::file(blob, size, 0o755).with_mtime(1_700_000_000)).unwrap();
    }

    fn configure(&mut self, system: &System, services: &[&str]) -> Result<Vec<String>, ComposeError> {
        let services: Vec<String> = services.iter().map(|s| s.to_string()).collect();
        self.configure_as(system, &services, "hatchery-test-1")
    }

    fn configure_as(&mut self, system: &System, services: &[String], image_name: &str) -> Result<Vec<String>, ComposeError> {
        let request = ConfigureRequest {
            store: &self.store,
            system,
            services,
            notice: "A sample: “x” \\ $(y)",
            image_name,
            arch: "amd64",
            work_dir: self._dir.path(),
        };
        configure(&mut self.tree, &request, &Unobserved)
    }

    fn text(&self, path: &str) -> String {
        let bytes = self.tree.read_file(&self.store, path).unwrap().unwrap_or_else(|| panic!("there is no {path}"));
        String::from_utf8(bytes).unwrap()
    }

    fn link(&self, path: &str) -> String {
        match &self.tree.get(path).unwrap_or_else(|| panic!("there is no {path}")).kind {
            Kind::Symlink(target) => String::from_utf8(target.clone()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }

    /// Mode and owner.
    fn access(&self, path: &str) -> (u32, u32, u32) {
        let entry = self.tree.get(path).unwrap_or_else(|| panic!("there is no {path}"));
        (entry.mode, entry.uid, entry.gid)
    }
}

fn user(name: &str) -> User {
    User { name: name.into(), groups: vec!["wheel".into(), "games".into()], ssh_keys: vec![KEY.into()], ..User::default() }
}

#[test]
fn without_settings_nobody_gets_in_and_the_person_is_told() {
    let mut root = Root::openrc();
    root.tree.remove("sbin/start-stop-daemon").unwrap();
    let messages = root.configure(&System::default(), &[]).unwrap();
    assert!(messages.iter().any(|m| m.contains("start-stop-daemon")), "{messages:?}");
    assert!(messages.iter().any(|m| m.contains("Nobody can log in")), "{messages:?}");
    assert_eq!(root.text("etc/shadow").lines().next(), Some("root:*:19000:0:99999:7:::"));
    assert_eq!(root.access("etc/shadow"), (0o640, 0, 42));
    assert_eq!(root.access("etc/passwd"), (0o644, 0, 0));
    assert_eq!(root.access("root"), (0o700, 0, 0));
    assert!(!root.tree.contains("root/.ssh"));
}

#[test]
fn root_and_users_get_what_was_ordered() {
    let mut root = Root::openrc();
    let system = System {
        root_password_hash: Some(HASH.into()),
        root_ssh_keys: vec![KEY.into()],
        users: vec![user("ada"), user("bob")],
        ..System::default()
    };
    let messages = root.configure(&system, &[]).unwrap();
    assert_eq!(messages.iter().filter(|m| m.contains("group “games”")).count(), 1, "{messages:?}");
    let shadow = root.text("etc/shadow");
    assert!(shadow.contains(&format!("root:{HASH}:19000:")) && shadow.contains("ada:*::0:99999:7:::"), "{shadow}");
    let passwd = root.text("etc/passwd");
    assert!(passwd.contains("ada:x:1000:1000::/home/ada:/bin/bash\n"), "{passwd}");
    let group = root.text("etc/group");
    assert!(group.contains("wheel:x:10:root,ada,bob\n") && group.contains("games:x:1001:ada,bob\n"), "{group}");
    assert!(passwd.contains("bob:x:1002:1002:"), "a group's number is not given to a user: {passwd}");
    assert_eq!(root.access("home/ada"), (0o700, 1000, 1000));
    assert_eq!(root.access("home/ada/.bashrc"), (0o755, 1000, 1000));
    assert_eq!(root.access("home/ada/.ssh"), (0o700, 1000, 1000));
    assert_eq!(root.access("home/ada/.ssh/authorized_keys"), (0o600, 1000, 1000));
    assert_eq!(root.text("root/.ssh/authorized_keys"), format!("{KEY}\n"));
    assert_eq!(root.access("root/.ssh/authorized_keys"), (0o600, 0, 0));
}

#[test]
fn a_package_s_account_is_not_taken_over() {
    let mut root = Root::openrc();
    let error = root.configure(&System { users: vec![user("sshd")], ..System::default() }, &[]).unwrap_err();
    assert!(error.message.contains("“sshd”"), "{error}");
}

#[test]
fn accounts_without_a_password_are_locked() {
    let mut root = Root::openrc();
    root.put("etc/passwd", "root::0:0::/root:/bin/sh\nguest::500:100::/:/bin/sh\nold:x:501:100::/:/bin/sh\n");
    let messages = root.configure(&System::default(), &[]).unwrap();
    assert!(messages.iter().any(|m| m.contains("“guest” came without a password")), "{messages:?}");
    assert!(root.text("etc/passwd").contains("guest:x:500:"));
    for name in ["guest", "old"] {
        assert!(root.text("etc/shadow").contains(&format!("{name}:*:")), "{}", root.text("etc/shadow"));
    }
}

#[test]
fn names_and_region() {
    let mut root = Root::openrc();
    root.put("usr/share/zoneinfo/Europe/Berlin", "TZif");
    root.put("usr/share/keymaps/i386/qwertz/de.map.gz", "");
    root.put("usr/lib/locale/de_DE.utf8/LC_CTYPE", "");
    let system = System {
        hostname: Some("web.example.org".into()),
        locale: Some("de_DE.UTF-8".into()),
        timezone: Some("Europe/Berlin".into()),
        keymap: Some("de".into()),
        ..System::default()
    };
    root.configure(&system, &[]).unwrap();
    assert_eq!(root.text("etc/hostname"), "web\n");
    assert_eq!(root.text("etc/conf.d/hostname"), "# Set to the hostname of this machine\nhostname=\"web\"\n");
    assert!(root.text("etc/hosts").contains("127.0.0.1\tweb.example.org web localhost\n"));
    assert_eq!(root.text("etc/env.d/02locale"), "LANG=\"de_DE.UTF-8\"\n");
    assert_eq!(root.text("etc/profile.env"), "export PAGER='less'\nexport LANG='de_DE.UTF-8'\n");
    assert_eq!(root.link("etc/localtime"), "../usr/share/zoneinfo/Europe/Berlin");
    assert_eq!(root.text("etc/timezone"), "Europe/Berlin\n");
    assert_eq!(root.text("etc/conf.d/keymaps"), "keymap=\"de\"\n");
}

#[test]
fn what_the_image_lacks_is_an_error_or_a_message_never_a_broken_setting() {
    let mut root = Root::openrc();
    let zone = System { timezone: Some("Europe/Berlin".into()), ..System::default() };
    assert!(root.configure(&zone, &[]).unwrap_err().advice.contains("sys-libs/timezone-data"));
    root.put("usr/share/zoneinfo/UTC", "TZif");
    assert!(root.configure(&zone, &[]).unwrap_err().message.contains("no time zone “Europe/Berlin”"));
    root.put("usr/share/keymaps/us.map.gz", "");
    let keymap = System { keymap: Some("xx".into()), ..System::default() };
    assert!(root.configure(&keymap, &[]).unwrap_err().message.contains("keymap “xx”"));
    let locale = System { locale: Some("fr_FR.UTF-8".into()), ..System::default() };
    let messages = root.configure(&locale, &[]).unwrap();
    assert!(messages.iter().any(|m| m.contains("no locale fr_FR.UTF-8")), "{messages:?}");
    assert_eq!(root.text("etc/env.d/02locale"), "LANG=\"C.UTF-8\"\n");
    assert_eq!(root.text("etc/locale.gen"), "fr_FR.UTF-8 UTF-8\n");
    root.put("usr/bin/localedef", "\x7fELF");
    root.put("usr/share/i18n/locales/de_DE", "");
    root.put("usr/share/i18n/charmaps/UTF-8.gz", "");
    for locale in ["xx_XX.UTF-8", "de_DE.KOI8-X"] {
        let unknown = System { locales: vec![locale.into()], ..System::default() };
        assert!(root.configure(&unknown, &[]).unwrap_err().message.contains("There is no locale"), "{locale}");
    }
    let packed = System { locales: vec!["de_DE.UTF-8".into()], ..System::default() };
    assert!(root.configure(&packed, &[]).unwrap_err().advice.contains("app-arch/gzip"));
    let error = root.configure(&System::default(), &["sshd", "apache2"]).unwrap_err();
    assert!(error.message.contains("“apache2”") && error.message.contains("nginx, sshd, sysfs"), "{error}");
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_the_nearest_names() {
    let mut root = Root::openrc();
    for path in ["usr/share/zoneinfo/Europe/Berlin", "usr/share/zoneinfo/posix/Europe/Berlin", "usr/share/zoneinfo/tzdata.zi"] {
        root.put(path, "TZif");
    }
    for path in ["usr/share/keymaps/i386/qwertz/sg-latin1.map.gz", "usr/bin/localedef", "usr/share/i18n/locales/de_DE"] {
        root.put(path, "");
    }
    root.put("usr/share/i18n/charmaps/UTF-8", "");
    let system = System {
        users: vec![user("sshd"), user("ada")],
        timezone: Some("Europe/Berln".into()),
        keymap: Some("sg-latin2".into()),
        locale: Some("de_DW.UTF-8".into()),
        locales: vec!["de_DE.UTF-9".into()],
        services: vec!["ngnix".into(), "nothing-like-it".into()],
        files: vec![ExtraFile { path: "/etc".into(), ..ExtraFile::default() }],
        ..System::default()
    };
    let error = root.configure(&system, &[]).unwrap_err();
    let lines: Vec<&str> = error.message.lines().collect();
    let told = [
        ("system.users: ", "“sshd”"),
        ("system.timezone: ", "Did you mean Europe/Berlin?"),
        ("system.keymap: ", "Did you mean sg-latin1?"),
        ("system.services: ", "Did you mean nginx? Or add the package that brings “ngnix”."),
        ("system.services: ", "Choose one of those, or add the package that brings “nothing-like-it”."),
        ("system.locales: ", "Did you mean UTF-8?"),
        ("system.locale: ", "Did you mean de_DE?"),
        ("system.files: ", "is a folder in the image"),
    ];
    assert_eq!(lines.len(), told.len(), "{lines:#?}");
    for (line, (field, words)) in lines.iter().zip(told) {
        assert!(line.starts_with(field) && line.contains(words), "{line}");
    }
    let one = root.configure(&System { services: Vec::new(), ..System::default() }, &["ngnix"]).unwrap_err();
    assert!(one.to_string().starts_with("system.services: There is no service “ngnix”"), "{one}");
}

#[test]
fn a_script_runs_once_and_own_files_come_last() {
    let file = |path: &str, owner: Option<&str>| ExtraFile {
        path: path.into(),
        content: "mine\n".into(),
        mode: Some("0640".into()),
        owner: owner.map(str::to_owned),
    };
    let mut system = System {
        users: vec![user("ada")],
        first_boot: Some("echo hello\r\n".into()),
        fstab: vec!["LABEL=data /data/here ext4 noatime 0 2".into()],
        files: vec![file("/home/ada/notes/a", Some("ada")), file("/etc/motd", None), file("/lib/x", None)],
        ..System::default()
    };
    for mut root in [Root::openrc(), Root::systemd()] {
        root.configure(&system, &[]).unwrap();
        assert_eq!(root.text("usr/lib/hatchery/first-boot"), "#!/bin/sh\necho hello\n");
        assert_eq!(root.access("usr/lib/hatchery/first-boot").0, 0o700);
        let linked = ["etc/runlevels/default", "etc/systemd/system/multi-user.target.wants"];
        let names = ["hatchery-first-boot", "hatchery-first-boot.service"];
        assert!(linked.iter().zip(names).any(|(dir, name)| root.tree.contains(format!("{dir}/{name}"))));
        assert_eq!((root.text("home/ada/notes/a"), root.access("home/ada/notes/a")), ("mine\n".into(), (0o640, 1000, 1000)));
        assert_eq!(root.text("etc/motd"), "mine\n");
        assert_eq!(root.text("usr/lib/x"), "mine\n");
        assert!(root.text("etc/fstab").ends_with("LABEL=data /data/here ext4 noatime 0 2\n") && root.tree.contains("data/here"));
    }
    system.files = vec![file("/etc", None)];
    assert!(Root::openrc().configure(&system, &[]).unwrap_err().message.contains("is a folder"));
    system.files = vec![file("/x", Some("nobody-here"))];
    assert!(Root::openrc().configure(&system, &[]).unwrap_err().message.contains("“nobody-here”"));
    assert!(Root::bare().configure(&system, &[]).unwrap_err().message.contains("first-boot script"));
}

#[test]
fn only_disk_images_grow() {
    let mut root = Root::openrc();
    root.configure(&System::default(), &[]).unwrap();
    assert_eq!(root.link("etc/runlevels/boot/hatchery-grow"), "/etc/init.d/hatchery-grow");
    assert!(root.text("etc/init.d/hatchery-grow").contains("hatchery.grow"));
}

#[test]
fn nothing_that_two_machines_must_not_share_stays() {
    let mut root = Root::openrc();
    let shared = [
        "etc/ssh/ssh_host_ed25519_key",
        "etc/ssh/ssh_host_rsa_key.pub",
        "etc/machine-id",
        "var/lib/seedrng/seed.credit",
        "var/lib/dbus/machine-id",
    ];
    shared.iter().for_each(|path| root.put(path, "secret"));
    root.put("etc/ssh/sshd_config", "");
    root.configure(&System::default(), &[]).unwrap();
    for path in shared {
        assert!(!root.tree.contains(path), "{path}");
    }
    assert!(root.tree.contains("etc/ssh/sshd_config"));
}

#[test]
fn an_sshd_that_makes_its_own_keys_is_left_alone() {
    let mut root = Root::openrc();
    root.put("etc/init.d/sshd", "#!/sbin/openrc-run\nstart_pre() {\n\tssh-keygen -A\n}\n");
    root.configure(&System::default(), &["sshd"]).unwrap();
    assert!(!root.tree.contains("etc/init.d/hatchery-sshkeys"));
    // A unit's ExecStartPre has 90 s, which is too little for some machines; a service for it has as long as it takes.
    let sshd = "[Service]\nExecStartPre=/usr/bin/ssh-keygen -A\n[Install]\nWantedBy=multi-user.target\n";
    for (keys, ours) in [(None, true), (Some("[Service]\nType=oneshot\nExecStart=/usr/bin/ssh-keygen -A\n"), false)] {
        let mut root = Root::systemd();
        root.put("usr/lib/systemd/system/sshd.service", sshd);
        keys.iter().for_each(|keys| root.put("usr/lib/systemd/system/sshdgenkeys.service", keys));
        root.configure(&System::default(), &["sshd"]).unwrap();
        assert_eq!(root.tree.contains("usr/lib/systemd/system/hatchery-sshkeys.service"), ours);
    }
}

#[test]
fn the_origin_is_said_and_survives_a_shell() {
    let mut root = Root::openrc();
    root.configure(&System::default(), &[]).unwrap();
    assert!(root.text("etc/issue").contains("A sample: “x” \\\\ $(y)"), "{}", root.text("etc/issue"));
    assert!(root.text("etc/motd").contains("hatchery-test-1"));
    let script = format!("{}\nprintf '%s|%s' \"$IMAGE_NAME\" \"$NOTICE\"", root.text("etc/hatchery-release"));
    let output = Command::new("/bin/sh").args(["-euc", &script]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "hatchery-test-1|A sample: “x” \\ $(y)");
}

#[test]
fn the_same_order_gives_the_same_root_and_a_second_time_changes_nothing() {
    let (mut one, mut two) = (Root::openrc(), Root::openrc());
    let system = System { root_password_hash: Some(HASH.into()), hostname: Some("h".into()), ..System::default() };
    one.configure(&system, &["sshd"]).unwrap();
    two.configure(&system, &["sshd"]).unwrap();
    assert_eq!(one.tree, two.tree);
    one.configure(&system, &["sshd"]).unwrap();
    assert_eq!(one.tree, two.tree);
    assert!(one.tree.iter().all(|(_, entry)| entry.mtime <= 1_700_000_000), "no time of the build gets in");
}

#[test]
fn a_root_without_init_takes_settings_but_no_services() {
    let mut root = Root::bare();
    let messages = root.configure(&System { root_password_hash: Some(HASH.into()), ..System::default() }, &[]).unwrap();
    assert!(messages.is_empty(), "{messages:?}");
    assert!(root.text("etc/passwd").starts_with("root:x:0:0:root:/root:/bin/sh\n"));
    assert!(root.text("etc/group").starts_with("root:x:0:\n"));
    assert_eq!(root.access("tmp"), (0o1777, 0, 0));
    let error = root.configure(&System::default(), &["sshd"]).unwrap_err();
    assert!(error.advice.contains("sys-apps/openrc"), "{error}");
}

#[test]
fn hostile_settings_are_refused() {
    let mut root = Root::openrc();
    let system = System { hostname: Some("a\nb".into()), ..System::default() };
    assert!(root.configure(&system, &[]).is_err());
    for name in ["", "a b", "$(x)", "a\"b"] {
        assert!(root.configure_as(&System::default(), &[], name).is_err(), "{name}");
    }
}

#[test]
fn links_in_the_image_lead_nowhere_outside() {
    let mut root = Root::openrc();
    root.tree.remove_all("etc/conf.d");
    root.tree.insert("etc/conf.d", Entry::symlink("../../../../usr/share/conf")).unwrap();
    root.tree.insert("etc/hostname", Entry::symlink("/etc/shadow")).unwrap();
    root.configure(&System { hostname: Some("h".into()), ..System::default() }, &[]).unwrap();
    assert_eq!(root.text("usr/share/conf/hostname"), "hostname=\"h\"\n");
    assert_eq!(root.text("etc/hostname"), "h\n");
    assert!(root.text("etc/shadow").starts_with("root:"));
}

#[test]
fn the_scripts_are_shell() {
    let scripts = [
        "ready.sh",
        "ready.initd",
        "sshkeys.initd",
        "udhcpc.initd",
        "udhcpc.script",
        "network.initd",
        "first-boot.initd",
        "run-once.sh",
        "grow.initd",
        "grow-root.sh",
    ];
    for script in scripts {
        let path = format!("{}/src/configure/{script}", env!("CARGO_MANIFEST_DIR"));
        let status = Command::new("/bin/sh").args(["-n", &path]).stdin(Stdio::null()).status().unwrap();
        assert!(status.success(), "{script}");
    }
}
