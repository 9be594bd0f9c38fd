//! Real Portage on the sample: `emerge` lists what the presets ask for, from the index alone, and verifies the signed packages.
//! Needs `pip install portage`: its Python is `$HATCHERY_PORTAGE_PYTHON` or that of `~/.cache/hatchery-oracle/venv`.

mod common;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Sample, sample, sample_of, workspace};
use sample::{Arch, Init};
use serde::Deserialize;

/// A configuration of Portage that knows the sample alone, and an empty system.
struct Portage {
    python: PathBuf,
    work: tempfile::TempDir,
}

impl Portage {
    fn find(sample: &Sample, init: Init) -> Option<Portage> {
        let home = std::env::var_os("HOME").unwrap_or_default();
        let usual = Path::new(&home).join(".cache/hatchery-oracle/venv/bin/python");
        let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map_or(usual, PathBuf::from);
        let works = |program: &Path, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
        if !works(&python, &["-c", "import portage.gpkg"]) || !works(Path::new("gpg"), &["--version"]) {
            println!("skipped: needs gpg and a Python with Portage (HATCHERY_PORTAGE_PYTHON)");
            return None;
        }
        let portage = Portage { python, work: tempfile::tempdir().unwrap() };
        portage.configure(sample, init);
        Some(portage)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.work.path().join(path)
    }

    fn configure(&self, sample: &Sample, init: Init) {
        for folder in ["etc/portage", "gpg", "system", "packages", "tmp", "log", "distfiles"] {
            fs::create_dir_all(self.at(folder)).unwrap();
        }
        fs::set_permissions(self.at("gpg"), fs::Permissions::from_mode(0o700)).unwrap();
        let (repo, binhost) = (sample.channel.repo_dir.display(), sample.channel.binhost_dir.display());
        symlink(sample.channel.repo_dir.join("profiles").join(sample.arch.profile(init)), self.at("etc/portage/make.profile"))
            .unwrap();
        let name = sample::REPOSITORY;
        let repos =
            format!("[DEFAULT]\nmain-repo = {name}\n[{name}]\nlocation = {repo}\nauto-sync = no\n[gentoo]\ndisabled = yes\n");
        fs::write(self.at("etc/portage/repos.conf"), repos).unwrap();
        let binrepos = format!("[sample]\npriority = 1\nsync-uri = file://{binhost}\nverify-signature = true\n");
        fs::write(self.at("etc/portage/binrepos.conf"), binrepos).unwrap();
        let work = self.work.path().display();
        let make_conf = format!(
            "DISTDIR=\"{work}/distfiles\"\nPKGDIR=\"{work}/packages\"\nPORTAGE_TMPDIR=\"{work}/tmp\"\nPORTAGE_LOGDIR=\"{work}/log\"\n\
             FEATURES=\"binpkg-request-signature -news\"\n"
        );
        fs::write(self.at("etc/portage/make.conf"), make_conf).unwrap();
        // What Portage calls its own files is found relative to the prefix it runs in.
        let share = self.python.parent().unwrap().parent().unwrap().join("share");
        symlink(share, self.at("system/share")).unwrap();
        fs::write(self.at("certificate.asc"), &sample.channel.keyring_armored).unwrap();
        self.gpg(&["--import"], "certificate.asc");
        let listing = self.gpg(&["--with-colons", "--list-keys"], "");
        let fingerprint = listing.lines().find_map(|line| line.strip_prefix("fpr:")).unwrap().trim_matches(':').to_owned();
        fs::write(self.at("trust"), format!("{fingerprint}:6:\n")).unwrap();
        self.gpg(&["--import-ownertrust"], "trust");
        self.gpg(&["--check-trustdb"], "");
    }

    fn gpg(&self, args: &[&str], file: &str) -> String {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(self.at("gpg")).arg("--batch").args(args);
        if !file.is_empty() {
            command.arg(self.at(file));
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn emerge(&self, atoms: &[String]) -> Output {
        let mut command = Command::new(&self.python);
        command
            .arg(self.python.with_file_name("emerge"))
            .args(["-pv", "--usepkgonly", "--getbinpkgonly", "--color=n"])
            .args(atoms);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "300");
        command.env("PORTAGE_CONFIGROOT", self.work.path()).env("PORTAGE_OVERRIDE_EPREFIX", self.at("system"));
        command.env("PORTAGE_USERNAME", whoami()).env("PORTAGE_GRPNAME", whoami()).env("HOME", self.work.path());
        command.output().unwrap()
    }

    /// The packages `emerge` would merge for `atoms`.
    fn list(&self, atoms: &[String]) -> Vec<String> {
        let output = self.emerge(atoms);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let name = |line: &str| line.strip_prefix("[binary")?.split(']').nth(1)?.split_whitespace().next().map(str::to_owned);
        text.lines().filter_map(name).collect()
    }
}

/// Portage drops to this user, who has to exist.
fn whoami() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

#[derive(Deserialize)]
struct Preset {
    packages: Vec<String>,
}

#[test]
fn emerge_lists_the_system_and_the_presets() {
    lists_the_system_and_the_presets(Arch::Amd64);
}

#[test]
fn emerge_lists_the_system_and_the_presets_of_x86() {
    lists_the_system_and_the_presets(Arch::X86);
}

fn lists_the_system_and_the_presets(arch: Arch) {
    let Some(sample) = sample_of(arch) else { return };
    let presets = [
        (Init::OpenRc, &[("server", "net-misc/openssh-"), ("desktop", "x11-wm/fluxbox-")][..], "sys-apps/openrc-"),
        (Init::Systemd, &[("server-systemd", "www-servers/nginx-")][..], "sys-apps/systemd-"),
    ];
    for (init, presets, service_manager) in presets {
        let Some(portage) = Portage::find(&sample, init) else { return };
        let brings = |list: &[String], package: &str| list.iter().any(|p| p.starts_with(package));
        let system = portage.list(&["@system".to_owned()]);
        assert!(brings(&system, "app-shells/bash-") && brings(&system, service_manager), "{system:?}");
        for (preset, expected) in presets {
            let text = fs::read_to_string(workspace().join(format!("presets/{preset}.toml"))).unwrap();
            let preset: Preset = toml::from_str(&text).unwrap();
            let boot = ["sys-kernel/debian-kernel-bin", "sys-apps/busybox[static]", "sys-boot/grub"].map(str::to_owned);
            let list = portage.list(&preset.packages.into_iter().chain(boot).collect::<Vec<_>>());
            assert!(list.len() >= 100 && brings(&list, expected) && brings(&list, service_manager), "{list:?}");
            assert_eq!(brings(&list, "sys-apps/systemd-utils-"), init == Init::OpenRc, "{list:?}");
        }
    }
}

#[test]
fn emerge_chooses_builds_by_use_and_heeds_blockers() {
    let Some(sample) = sample() else { return };
    let Some(portage) = Portage::find(&sample, Init::OpenRc) else { return };
    let one = |atom: &str| portage.list(&[atom.to_owned()]).join(" ");
    assert!(one("app-editors/vim[minimal]").contains("app-editors/vim-"));
    assert!(one("app-alternatives/sh[dash]").contains("app-shells/dash-"));
    assert!(!one("app-alternatives/sh").contains("app-shells/dash-"));
    assert!(one("dev-vcs/git[-perl]").contains("net-misc/curl-"));
    let clash = portage.emerge(&["mail-mta/nullmailer".to_owned(), "mail-mta/msmtp[mta]".to_owned()]);
    let said = String::from_utf8_lossy(&clash.stdout).into_owned();
    assert!(!clash.status.success() && said.contains("blocks B"), "{said}");
}

#[test]
fn portage_verifies_the_signatures() {
    let Some(sample) = sample() else { return };
    let Some(portage) = Portage::find(&sample, Init::OpenRc) else { return };
    let small: Vec<PathBuf> = ["sys-libs/zlib", "acct-user/sshd", "app-alternatives/sh", "sys-apps/sed"]
        .iter()
        .map(|name| sample.find(&gentoo::Atom::parse(name).unwrap()).unwrap())
        .map(|entry| sample.channel.binhost_dir.join(&entry.path))
        .collect();
    let verify = |paths: &[PathBuf]| {
        Command::new(&portage.python)
            .args(["-c", VERIFY])
            .arg(portage.at("gpg"))
            .args(paths)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap()
    };
    let good = verify(&small);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert_eq!(String::from_utf8_lossy(&good.stdout).lines().filter(|l| l.starts_with("verified ")).count(), small.len());
    // One bit of the image.
    let mut bytes = fs::read(&small[0]).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    let bent = portage.at("bent.gpkg.tar");
    fs::write(&bent, bytes).unwrap();
    assert!(!verify(&[bent]).status.success());
}

const VERIFY: &str = r#"
import os, sys
from portage.gpkg import gpkg
class Settings(dict):
    features = {"binpkg-request-signature"}
    def environ(self): return dict(os.environ)
settings = Settings(
    BINPKG_GPG_VERIFY_BASE_COMMAND="gpg --verify --batch --no-tty --no-auto-check-trustdb --status-fd 2 [PORTAGE_CONFIG] [SIGNATURE]",
    BINPKG_GPG_VERIFY_GPG_HOME=sys.argv[1], GPG_VERIFY_USER_DROP="", GPG_VERIFY_GROUP_DROP="", PORTAGE_BUNZIP2_COMMAND="bunzip2")
for path in sys.argv[2:]:
    name = os.path.basename(path)[:-len(".gpkg.tar")]
    container = gpkg(settings, name, path)
    container._verify_binpkg()
    assert container.get_metadata()["repository"].strip() == b"hatchery-sample"
    print("verified", name)
"#;
