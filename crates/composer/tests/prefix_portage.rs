//! Real Portage in a composed prefix: it finds what is installed there and its settings, would rebuild nothing, and takes a package away
//! with its script. Needs a Python with Portage (HATCHERY_PORTAGE_PYTHON, or `~/.cache/hatchery-oracle/venv`), and root, as pip's Portage
//! gives files to it; skipped, with a line that says so, where these are not.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Log, Pack, plan, planned, script, text};
use composer::{FetchError, MergeRequest, prefix};
use image::{Compression, Store, WriteOptions};

const BUILT_AT: &str = "/var/tmp/built/at/a/path/that/is/longer/than/any/that/is/asked/for";

/// What is taken away says so in the prefix; its paths are those of the build, and are moved.
const PRERM: &str = r#"declare -x EPREFIX="@BUILT_AT@"
TOLD_AT="@BUILT_AT@/told"
pkg_prerm ()
{
    echo "${PN} of ${EPREFIX}" > "${TOLD_AT}" || die
}
"#;

fn packs() -> [Pack; 2] {
    let at = |path: &str| format!("{}/{path}", BUILT_AT.trim_start_matches('/'));
    let flags = |pack: Pack, iuse: &str, used: &str| {
        let pack = pack.meta("IUSE", iuse).meta("USE", used).meta("KEYWORDS", "x86").meta("LICENSE", "MIT");
        pack.meta("EPREFIX", BUILT_AT).meta("CHOST", "i686-pc-linux-gnu").meta("repository", "prefixed")
    };
    let tool = Pack::new("app-misc/tool-1")
        .item(&at("usr/bin/tool"), script(&format!("#!{BUILT_AT}/bin/sh\n")))
        .item(&at("etc/tool.conf"), text("plain\n"))
        // Without it Portage runs no script of what it takes away.
        .meta("tool-1.ebuild", "EAPI=8")
        .phases(&PRERM.replace("@BUILT_AT@", BUILT_AT));
    // With this file an image is one that has Portage.
    let other = Pack::new("app-misc/other-2").item(&at("usr/share/portage/config/make.globals"), text("\n"));
    [flags(tool, "+X nls doc", "nls"), flags(other, "X nls", "X nls")]
}

/// Composes them for this very folder, and unpacks what came out there.
fn compose(at: &Path, work: &Path) {
    composer::sandbox::use_helper(env!("CARGO_BIN_EXE_phase-host"));
    let store = Store::open(work.join("store")).unwrap();
    let packs = packs();
    let mut plan = plan(packs.iter().map(|pack| planned(&pack.cpv)).collect());
    (plan.arch, plan.chost) = ("x86".into(), "i686-pc-linux-gnu".into());
    plan.world = vec!["app-misc/tool".into(), "app-misc/other".into()];
    plan.profile = Some("prefixed:default".into());
    let request = MergeRequest { plan: &plan, store: &store, work_dir: work, notice: "", base: None };
    let mut fetch = |planned: &contract::PlannedPackage| -> Result<_, FetchError> {
        Ok(packs.iter().find(|pack| pack.cpv == planned.cpv).ok_or("no such package")?.build())
    };
    let log = Log::default();
    let mut root = prefix::compose(&request, at.to_str().unwrap(), &mut fetch, &log).unwrap_or_else(|error| panic!("{error:?}"));
    composer::configure_portage(&mut root.tree, &store, &plan, &[], None).unwrap();
    let archive = work.join("prefix.tar.zst");
    image::write_tar(&root.tree, &store, Compression::Zstd, &WriteOptions::at(0), &archive, &|_, _| true).unwrap();
    assert!(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(at).status().unwrap().success());
}

/// A repository with one profile, which says other flags than the packages have.
fn write_repository(at: &Path) {
    let repository = at.join("var/db/repos/prefixed");
    for (path, text) in [
        ("profiles/repo_name", "prefixed\n"),
        ("profiles/arch.list", "x86\n"),
        ("profiles/default/eapi", "8\n"),
        ("profiles/default/make.defaults", "ARCH=\"x86\"\nACCEPT_KEYWORDS=\"x86\"\nUSE=\"doc\"\nCHOST=\"x\"\n"),
        ("metadata/layout.conf", "masters =\n"),
    ] {
        let path = repository.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let own = format!("[prefixed]\nlocation = {}\nauto-sync = no\n", repository.display());
    let text = format!("[DEFAULT]\nmain-repo = prefixed\n{own}[gentoo]\ndisabled = yes\n");
    fs::write(at.join("etc/portage/repos.conf"), text).unwrap();
}

struct Portage<'a> {
    python: &'a Path,
    at: &'a Path,
}

impl Portage<'_> {
    fn run(&self, words: &[&str]) -> String {
        let bin = self.python.parent().unwrap();
        let (program, words) = words.split_first().unwrap();
        let mut command = Command::new(self.python);
        command.arg(bin.join(program)).args(words).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", bin.display())).env("LC_ALL", "C.UTF-8").env("HOME", self.at);
        command.env("PORTAGE_OVERRIDE_EPREFIX", self.at).env("PORTAGE_USERNAME", "root").env("PORTAGE_GRPNAME", "root");
        // Portage in a real prefix is not told these.
        command.env("CLEAN_DELAY", "0").env("FEATURES", "-ipc-sandbox -network-sandbox -pid-sandbox -mount-sandbox -news");
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {words:?}: {said}");
        said
    }
}

fn python() -> Option<PathBuf> {
    let usual = PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/hatchery-oracle/venv/bin/python");
    let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map_or(usual, PathBuf::from);
    let has_portage = Command::new(&python).args(["-c", "import portage"]).output().is_ok_and(|output| output.status.success());
    let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    if !(has_portage && root) {
        eprintln!("skipped: needs root and a Python with Portage (HATCHERY_PORTAGE_PYTHON)");
    }
    (has_portage && root).then_some(python)
}

#[test]
fn portage_goes_on_in_a_composed_prefix() {
    let Some(python) = python() else { return };
    let (place, work) = (tempfile::Builder::new().prefix("g").tempdir_in("/tmp").unwrap(), tempfile::tempdir().unwrap());
    let at = place.path();
    fs::set_permissions(at, fs::Permissions::from_mode(0o755)).unwrap();
    compose(at, work.path());
    write_repository(at);
    // Its own files, which pip's Portage looks for here.
    symlink(python.ancestors().nth(2).unwrap().join("share"), at.join("share")).unwrap();
    let portage = Portage { python: &python, at };
    let (eprefix, eroot) = (at.to_str().unwrap(), format!("{}/", at.display()));

    let settings = portage.run(&["portageq", "envvar", "EPREFIX", "EROOT", "CHOST", "CFLAGS"]);
    assert!(settings.starts_with(&format!("{eprefix}\n{eroot}\ni686-pc-linux-gnu\n-O2 -march=i686 -pipe\n")), "{settings}");
    assert!(portage.run(&["portageq", "match", &eroot, "app-misc/tool[nls,-X,-doc]"]).starts_with("app-misc/tool-1\n"));
    let owners = portage.run(&["portageq", "contents", &eroot, "app-misc/tool-1"]);
    assert!(owners.lines().any(|path| path == format!("{eprefix}/usr/bin/tool")), "{owners}");
    let update = ["emerge", "--pretend", "--verbose", "--color=n", "--update", "--deep", "--newuse", "--usepkgonly", "@world"];
    let said = portage.run(&update);
    assert!(said.contains("Total: 0 packages"), "{said}");

    // What its user has changed stays.
    fs::write(at.join("etc/tool.conf"), "changed\n").unwrap();
    let said = portage.run(&["emerge", "--color=n", "--quiet", "--unmerge", "app-misc/tool"]);
    assert_eq!(fs::read_to_string(at.join("told")).unwrap_or_default(), format!("tool of {eprefix}\n"), "{said}");
    assert!(!at.join("usr/bin/tool").exists() && !at.join("var/db/pkg/app-misc/tool-1").exists(), "{said}");
    assert!(at.join("etc/tool.conf").exists() && at.join("usr/share/portage/config/make.globals").exists(), "{said}");
}
