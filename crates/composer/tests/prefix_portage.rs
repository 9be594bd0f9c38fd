//! Real Portage in a composed prefix: it finds what is installed there and its settings, would rebuild nothing, merges one more binary
//! package, and takes packages away with their scripts. Needs a Python with Portage (HATCHERY_PORTAGE_PYTHON, or `~/.cache/hatchery-oracle/venv`), and root, as pip's Portage
//! gives files to it; skipped, with a line that says so, where these are not.

mod common;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Item, Log, Pack, plan, planned, script, text};
use composer::{FetchError, MergeRequest, prefix};
use image::{Compression, Store, WriteOptions};

const BUILT_AT: &str = "/var/tmp/built/at/a/path/that/is/longer/than/any/that/is/asked/for";

/// Where Portage looks for binary packages; it makes the index itself. These are its user's own and unsigned.
const PKGDIR: &str = "var/cache/binpkgs";
const FEATURES: &str = "-ipc-sandbox -network-sandbox -pid-sandbox -mount-sandbox -news -pkgdir-index-trusted -binpkg-request-signature binpkg-ignore-signature binpkg-multi-instance";

/// What is taken away says so in the prefix; its paths are those of the build, and are moved.
const PRERM: &str = r#"declare -x EPREFIX="@BUILT_AT@"
TOLD_AT="@BUILT_AT@/told"
pkg_prerm ()
{
    echo "${PN} of ${EPREFIX}" > "${TOLD_AT}" || die
}
"#;

/// What Portage merges later on, and would have been composed the same.
const EXTRA: &str = r#"declare -x EPREFIX="@BUILT_AT@"
pkg_postinst ()
{
    echo "${PN} in ${EPREFIX}" > "${EROOT}/told-by-extra" || die
}
"#;

fn at(path: &str) -> String {
    format!("{}/{path}", BUILT_AT.trim_start_matches('/'))
}

fn flags(pack: Pack, iuse: &str, used: &str) -> Pack {
    let pack = pack.meta("IUSE", iuse).meta("USE", used).meta("KEYWORDS", "x86").meta("LICENSE", "MIT");
    pack.meta("EPREFIX", BUILT_AT).meta("CHOST", "i686-pc-linux-gnu").meta("repository", "prefixed")
}

fn extra() -> Pack {
    let pack = Pack::new("app-misc/extra-3")
        .item(&at("usr/bin/extra"), script(&format!("#!/bin/sh\necho extra of {BUILT_AT}\n")))
        .item(&at("usr/bin/also"), Item::Link(format!("{BUILT_AT}/usr/bin/extra")))
        .item(&at("etc/extra.conf"), text(&format!("at {BUILT_AT}/etc\n")))
        .meta("extra-3.ebuild", "EAPI=8")
        .phases(&EXTRA.replace("@BUILT_AT@", BUILT_AT));
    flags(pack, "", "")
}

fn packs() -> [Pack; 2] {
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
fn compose(at: &Path, work: &Path, packs: &[Pack]) {
    composer::sandbox::use_helper(env!("CARGO_BIN_EXE_phase-host"));
    let store = Store::open(work.join("store")).unwrap();
    let mut plan = plan(packs.iter().map(|pack| planned(&pack.cpv)).collect());
    (plan.arch, plan.chost) = ("x86".into(), "i686-pc-linux-gnu".into());
    plan.world =
        packs.iter().map(|pack| pack.cpv.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned()).collect();
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
        command.env("CLEAN_DELAY", "0").env("ACCEPT_LICENSE", "*").env("PKGDIR", self.at.join(PKGDIR)).env("FEATURES", FEATURES);
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {words:?}: {said}");
        said
    }

    fn would_change_nothing(&self) {
        let update =
            ["emerge", "--pretend", "--verbose", "--color=n", "--update", "--deep", "--newuse", "--usepkgonly", "@world"];
        let said = self.run(&update);
        assert!(said.contains("Total: 0 packages"), "{said}");
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
    compose(at, work.path(), &packs());
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
    portage.would_change_nothing();

    merges_one_more(&portage);

    // What its user has changed stays.
    fs::write(at.join("etc/tool.conf"), "changed\n").unwrap();
    let said = portage.run(&["emerge", "--color=n", "--quiet", "--unmerge", "app-misc/tool"]);
    assert_eq!(fs::read_to_string(at.join("told")).unwrap_or_default(), format!("tool of {eprefix}\n"), "{said}");
    assert!(!at.join("usr/bin/tool").exists() && !at.join("var/db/pkg/app-misc/tool-1").exists(), "{said}");
    assert!(at.join("etc/tool.conf").exists() && at.join("usr/share/portage/config/make.globals").exists(), "{said}");
}

/// Portage merges a binary package that was built for the same path as the others; what is there then is what composing it gives.
fn merges_one_more(portage: &Portage<'_>) {
    let file = portage.at.join(PKGDIR).join("app-misc/extra/extra-3-1.gpkg.tar");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::io::copy(&mut extra().file(), &mut fs::File::create(&file).unwrap()).unwrap();
    let before = composed(portage.at);
    let said = portage.run(&["emerge", "--color=n", "--quiet", "--usepkgonly", "app-misc/extra"]);
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    compose(here.path(), elsewhere.path(), &[extra()]);
    let place = |path: &Path| path.to_str().unwrap().to_owned();
    for path in ["usr/bin/extra", "etc/extra.conf", "told-by-extra"] {
        let expected = fs::read_to_string(here.path().join(path)).unwrap().replace(&place(here.path()), &place(portage.at));
        assert_eq!(fs::read_to_string(portage.at.join(path)).unwrap_or_default(), expected, "{path}: {said}");
    }
    assert_eq!(fs::read_link(portage.at.join("usr/bin/also")).unwrap(), portage.at.join("usr/bin/extra"), "{said}");
    let ran = Command::new(portage.at.join("enter")).arg("extra").output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), format!("extra of {}\n", place(portage.at)));
    // What was composed is as it was, and Portage has nothing to do.
    assert_eq!(composed(portage.at), before, "{said}");
    portage.would_change_nothing();
}

/// The records of the composed packages, and what is at each path that they name.
fn composed(at: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for package in ["app-misc/tool-1", "app-misc/other-2"] {
        let record = at.join("var/db/pkg").join(package);
        for file in fs::read_dir(&record).unwrap() {
            let path = file.unwrap().path();
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
        let contents = fs::read_to_string(record.join("CONTENTS")).unwrap();
        for path in contents.lines().filter_map(|line| line.strip_prefix("obj ")?.split(' ').next()) {
            found.push((PathBuf::from(path), fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}
