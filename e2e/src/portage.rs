//! Real Portage on an image's own configuration and database of packages, as it would be inside the image.
//!
//! Needs `pip install portage`: its Python is `$HATCHERY_PORTAGE_PYTHON` or that of `~/.cache/hatchery-oracle/venv`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::user;

/// What Portage does with a package before it is merged; it raises an exception for one that it does not trust.
const VERIFY: &str = "import sys, portage
from portage.gpkg import gpkg
package = gpkg(settings=portage.config(clone=portage.settings), gpkg_file=sys.argv[1])
assert package.request_signature, 'signatures are not asked for'
package._verify_binpkg()";

/// Where the Python of a virtual environment and its library are: all of it, or where it is this machine's in /usr, the
/// executable by each name that links lead to, and the library's folder.
const PYTHON: &str = "import os, sys, sysconfig
at, names = sys.executable, []
while os.path.islink(at):
    at = os.path.join(os.path.dirname(at), os.readlink(at))
    names.append(at)
outside = [name for name in names if not name.startswith(sys.prefix + '/')]
own = [*outside, sysconfig.get_path('stdlib')]
print(*(own if sys.base_prefix == '/usr' else [sys.base_prefix]), sep='\\n')";

/// Portage over what it reads of an image: /etc/portage, the packages installed, the world file.
pub struct Portage {
    python: PathBuf,
    work: tempfile::TempDir,
}

/// A Python that has Portage; `None`, with a line that says so, where there is none.
pub fn python() -> Option<PathBuf> {
    let usual = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/hatchery-oracle/venv/bin/python");
    let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map_or(usual, PathBuf::from);
    if !Command::new(&python).args(["-c", "import portage"]).output().is_ok_and(|o| o.status.success()) {
        eprintln!("SKIPPED: asking Portage needs a Python with Portage (HATCHERY_PORTAGE_PYTHON)");
        return None;
    }
    Some(python)
}

impl Portage {
    /// Takes what Portage reads out of an image that is a tar. `repository` is a Gentoo repository with the image's profile, by its name and
    /// folder; `binhosts` are folders, best first, where the image's own addresses of binhosts lead nowhere. `None`, with a line that says so, where there is no Portage.
    pub fn of_image(image: &Path, repository: (&str, &Path), binhosts: &[&Path]) -> Option<Portage> {
        let portage = Portage { python: python()?, work: tempfile::tempdir().expect("a folder") };
        // gpg is run as nobody, and reads the keys.
        fs::set_permissions(portage.work.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("permissions can be set");
        portage.unpack(image);
        portage.configure(repository, binhosts);
        Some(portage)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.work.path().join(path)
    }

    /// Portage's prefix is `system`, as it must not take this machine's files for the image's.
    fn unpack(&self, image: &Path) {
        for (folder, paths) in [(".", ["etc/portage", ""]), ("system", ["var/db/pkg", "var/lib/portage"])] {
            fs::create_dir_all(self.at(folder)).expect("a folder");
            let mut command = Command::new("tar");
            command.arg("-xf").arg(image).arg("-C").arg(self.at(folder)).args(["--no-same-owner", "--wildcards"]);
            for path in paths.iter().filter(|path| !path.is_empty()) {
                command.arg(format!("*{path}/*"));
            }
            assert!(command.status().expect("tar runs").success(), "what Portage reads is in {}", image.display());
        }
    }

    /// What is the machine's and not the image's: where repositories and binhosts are.
    fn configure(&self, (name, folder): (&str, &Path), binhosts: &[&Path]) {
        let repositories = self.at("var/db/repos");
        fs::create_dir_all(&repositories).expect("a folder");
        symlink(folder, repositories.join(name)).expect("a link");
        let location = repositories.join(name);
        let others = if name == "gentoo" { "" } else { "[gentoo]\ndisabled = yes\n" };
        let text =
            format!("[DEFAULT]\nmain-repo = {name}\n[{name}]\nlocation = {}\nauto-sync = no\n{others}", location.display());
        fs::write(self.at("etc/portage/repos.conf"), text).expect("it is written");
        let text: String = binhosts
            .iter()
            .enumerate()
            .map(|(rank, dir)| {
                let dir = dir.display();
                format!("[binhost{rank}]\npriority = {}\nsync-uri = file://{dir}\nverify-signature = false\n", 100 - rank)
            })
            .collect();
        let binrepos = self.at("etc/portage/binrepos.conf");
        if !binhosts.is_empty() {
            assert!(!binrepos.exists(), "folders of the build machine are no binhosts of an image");
            fs::write(binrepos, text).expect("it is written");
        }
        for folder in ["packages", "tmp", "log", "distfiles", "system/etc"] {
            fs::create_dir_all(self.at(folder)).expect("a folder");
        }
        // What Portage calls its own files is found relative to the prefix it runs in.
        let share = self.python.ancestors().nth(2).expect("Python is in bin").join("share");
        symlink(share, self.at("system/share")).expect("a link");
    }

    /// Runs `emerge --pretend` with these words; all it says.
    pub fn emerge(&self, words: &[&str]) -> String {
        let mut command = self.command();
        command.arg(self.python.with_file_name("emerge")).args(["--pretend", "--verbose", "--color=n"]).args(words);
        let (succeeded, text) = said(&mut command);
        assert!(succeeded, "emerge {words:?}:\n{text}");
        text
    }

    /// Merges for real, as `emerge` would in the running system: inside the image's own root, unpacked whole, with the network of this machine.
    /// The image lacks Portage, Python and GnuPG, which are this machine's, with its libraries. Gives the root and all that was said; `None`,
    /// with a line that says so, where the tests do not run as root.
    pub fn emerge_inside(&self, image: &Path, repository: (&str, &Path), words: &[&str]) -> Option<(Inside, String)> {
        if !user::we_are_root() {
            eprintln!("SKIPPED: merging inside an image needs root, as Portage gives files to their owners");
            return None;
        }
        let inside = Inside::unpack(image, self.at("inside"));
        let root = &inside.0;
        let (name, tree) = repository;
        let location = format!("/var/db/repos/{name}");
        let repos = format!("[DEFAULT]\nmain-repo = {name}\n[{name}]\nlocation = {location}\nauto-sync = no\n");
        fs::write(root.join("etc/portage/repos.conf"), repos).expect("it is written");
        for folder in [&location[1..], "host", "share", "var/tmp/portage", "var/cache/distfiles", "var/cache/binpkgs"] {
            fs::create_dir_all(root.join(folder)).expect("a folder");
        }
        let venv = self.python.ancestors().nth(2).expect("Python is in bin");
        let globals = "usr/share/portage/config/make.globals";
        fs::copy(venv.join("share/portage/config/make.globals"), root.join(globals)).expect("Portage has its settings");
        // The Python that the virtual environment is of may be this machine's own in /usr, of which the image must see no more than that.
        let output = Command::new(&self.python).args(["-c", PYTHON]).output().expect("Python runs");
        let python: Vec<PathBuf> = String::from_utf8_lossy(&output.stdout).lines().map(PathBuf::from).collect();
        let (gpg, agent) = (Path::new("/usr/bin/gpg"), Path::new("/usr/bin/gpg-agent"));
        let share = venv.join("share");
        let mut binds: Vec<(&Path, &Path)> = python.iter().map(|path| (path.as_path(), path.as_path())).collect();
        binds.extend([
            (Path::new("/"), Path::new("/host")),
            (tree, Path::new(&location)),
            (venv, venv),
            (&share, Path::new("/share")),
            (gpg, gpg),
            (agent, agent),
        ]);
        let mut command = inside.command(&binds);
        let sandboxes = "-userpriv -usersandbox -sandbox -ipc-sandbox -network-sandbox -pid-sandbox -mount-sandbox -userfetch";
        let environment = [
            ("LD_LIBRARY_PATH", "/host/usr/lib/x86_64-linux-gnu"),
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/host/usr/bin"),
            ("HOME", "/root"),
            ("COLUMNS", "200"),
            ("PORTAGE_USERNAME", "root"),
            ("PORTAGE_GRPNAME", "root"),
            ("PORTAGE_OVERRIDE_EPREFIX", ""),
            ("FEATURES", sandboxes),
        ];
        for (name, value) in environment {
            command.args(["--setenv", name, value]);
        }
        command.arg("--").arg(&self.python).arg(self.python.with_file_name("emerge")).arg("--color=n").args(words);
        let (succeeded, text) = said(&mut command);
        assert!(succeeded, "emerge {words:?}:\n{text}");
        Some((inside, text))
    }

    /// Whether Portage takes a GPKG file for signed by somebody the image trusts, and what it says.
    pub fn trusts(&self, package: &Path) -> (bool, String) {
        let mut command = self.command();
        command.arg("-c").arg(VERIFY).arg(package).env("BINPKG_GPG_VERIFY_GPG_HOME", self.at("etc/portage/gnupg"));
        said(&mut command)
    }

    /// A file of the image, to be looked at or changed.
    pub fn file(&self, path: &str) -> PathBuf {
        self.at(path)
    }

    /// Python with Portage, as it would be in the image.
    fn command(&self) -> Command {
        let user = Command::new("id").arg("-un").output().expect("id runs");
        let user = String::from_utf8_lossy(&user.stdout).trim().to_owned();
        let mut command = Command::new(&self.python);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C.UTF-8")
            .env("COLUMNS", "300")
            .env("PORTAGE_CONFIGROOT", self.work.path())
            .env("PORTAGE_OVERRIDE_EPREFIX", self.at("system"))
            .env("PKGDIR", self.at("packages"))
            .env("DISTDIR", self.at("distfiles"))
            .env("PORTAGE_TMPDIR", self.at("tmp"))
            .env("PORTAGE_LOGDIR", self.at("log"))
            .env("PORTAGE_USERNAME", &user)
            .env("PORTAGE_GRPNAME", &user)
            .env("HOME", self.work.path());
        command
    }

    /// Asserts that `emerge --update --deep --newuse --getbinpkg SET` would change nothing: no merge, no rebuild, no removal.
    pub fn would_change_nothing(&self, set: &str) {
        for more in [&["--getbinpkg"][..], &["--usepkgonly", "--getbinpkgonly"]] {
            let words = [&["--update", "--deep", "--newuse"], more, &[set]].concat();
            let said = self.emerge(&words);
            assert!(said.contains("Total: 0 packages"), "emerge {words:?}:\n{said}");
            let action =
                ["[binary", "[ebuild", "[uninstall", "[blocks", "[nomerge"].iter().find(|action| said.contains(**action));
            assert!(action.is_none(), "emerge {words:?}:\n{said}");
        }
    }
}

/// An image's root, unpacked.
pub struct Inside(PathBuf);

impl Inside {
    fn unpack(image: &Path, root: PathBuf) -> Inside {
        fs::create_dir(&root).expect("a folder");
        let unpacked = Command::new("tar").arg("-xpf").arg(image).arg("-C").arg(&root).status().expect("tar runs");
        assert!(unpacked.success(), "{} can be unpacked", image.display());
        Inside(root)
    }

    pub fn file(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Runs a program of the root in it; all it says.
    pub fn run(&self, words: &[&str]) -> String {
        let (succeeded, text) = said(self.command(&[]).arg("--").args(words));
        assert!(succeeded, "{words:?}: {text}");
        text
    }

    /// Bubblewrap in the root, with what else is to be seen there.
    fn command(&self, binds: &[(&Path, &Path)]) -> Command {
        let mut command = Command::new("bwrap");
        command.arg("--bind").arg(&self.0).args(["/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--unshare-pid"]);
        command.args(["--die-with-parent", "--cap-add", "ALL", "--clearenv"]);
        for (from, to) in binds {
            command.arg("--ro-bind").arg(from).arg(to);
        }
        command
    }
}

/// Runs a command; whether it succeeded, and all it said.
fn said(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("Python runs");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}
