//! A small Gentoo to build packages on: real Portage, a repository of a few ebuilds, and this machine's compiler.
//!
//! Needs `pip install portage` (see [`crate::portage`]) and `/usr/bin/python3`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::portage;

/// It starts Portage as if it were installed at `/`.
const EMERGE: &str = "#!/bin/bash\nexport PORTAGE_OVERRIDE_EPREFIX= PYTHONPATH=/usr/local/lib/site\n\
                      exec /usr/local/bin/python3 /usr/local/bin/emerge \"$@\"\n";
const PYTHON: &str = "/usr/bin/python3";
const REPOSITORY: &str = "var/db/repos/own";

/// Makes a build root in a folder; `None`, with a line that says so, where there is no Portage.
pub fn build_root(root: &Path) -> Option<()> {
    let python = portage::python()?;
    if !Path::new(PYTHON).exists() {
        eprintln!("SKIPPED: building from source needs {PYTHON}");
        return None;
    }
    let venv = python.ancestors().nth(2).expect("Python is in bin");
    let modules = Command::new(&python).args(["-c", "import portage; print(portage.__path__[0])"]).output().expect("Python runs");
    let modules = PathBuf::from(String::from_utf8(modules.stdout).expect("a path").trim());
    let folders =
        ["usr/local/bin", "usr/local/sbin", "usr/local/lib/site", "share", "etc/portage", "var/cache/distfiles", "var/db/pkg"];
    for folder in folders {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    copy(&venv.join("lib/portage"), &root.join("usr/local/lib/portage"));
    copy(&venv.join("share/portage"), &root.join("share/portage"));
    copy(&modules, &root.join("usr/local/lib/site/portage"));
    copy(&modules.with_file_name("_emerge"), &root.join("usr/local/lib/site/_emerge"));
    write(root, "usr/local/bin/emerge", &fs::read_to_string(venv.join("bin/emerge")).expect("emerge is a script"));
    write(root, "usr/local/sbin/emerge", EMERGE);
    // Portage finds itself beside the Python that runs it.
    symlink(PYTHON, root.join("usr/local/bin/python3")).expect("a link");
    write(root, "usr/local/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
    write(root, "etc/portage/make.conf", "CFLAGS=\"-O2\"\n");
    let repos = "[DEFAULT]\nmain-repo = own\n[own]\nlocation = /var/db/repos/own\nauto-sync = no\n[gentoo]\ndisabled = yes\n";
    write(root, "etc/portage/repos.conf", repos);
    symlink(format!("/{REPOSITORY}/profiles/base"), root.join("etc/portage/make.profile")).expect("a link");
    repository(root);
    Some(())
}

fn repository(root: &Path) {
    let file = |name: &str, text: &str| write(root, &format!("{REPOSITORY}/{name}"), text);
    file("profiles/repo_name", "own\n");
    file("profiles/categories", "app-misc\n");
    file("profiles/arch.list", "amd64\n");
    file("profiles/base/eapi", "8\n");
    file(
        "profiles/base/make.defaults",
        "ARCH=\"amd64\"\nACCEPT_KEYWORDS=\"amd64\"\nCHOST=\"x86_64-pc-linux-gnu\"\nELIBC=\"glibc\"\nKERNEL=\"linux\"\n\
         IUSE_IMPLICIT=\"prefix prefix-guest prefix-stack\"\nUSE_EXPAND=\"ELIBC KERNEL\"\nUSE_EXPAND_IMPLICIT=\"ARCH ELIBC KERNEL\"\n\
         USE_EXPAND_UNPREFIXED=\"ARCH\"\nUSE_EXPAND_VALUES_ARCH=\"amd64\"\nUSE_EXPAND_VALUES_ELIBC=\"glibc\"\nUSE_EXPAND_VALUES_KERNEL=\"linux\"\n",
    );
    file("metadata/layout.conf", "masters =\nthin-manifests = true\nsign-manifests = false\n");
}

/// Adds an ebuild, of EAPI 8, to the repository of a build root.
pub fn ebuild(root: &Path, category_package: &str, version: &str, text: &str) {
    let (_, package) = category_package.split_once('/').expect("a category and a package");
    let head = "EAPI=8\nDESCRIPTION=\"A test\"\nHOMEPAGE=\"https://example.org\"\nLICENSE=\"GPL-2\"\nSLOT=\"0\"\nKEYWORDS=\"amd64\"\nS=\"${WORKDIR}\"\n";
    write(root, &format!("{REPOSITORY}/{category_package}/{package}-{version}.ebuild"), &format!("{head}{text}"));
}

/// Puts a file among the distfiles, and its hashes into the Manifest of a package.
pub fn distfile(root: &Path, category_package: &str, name: &str, content: &str) {
    let path = format!("var/cache/distfiles/{name}");
    write(root, &path, content);
    let hash = |program: &str| {
        let output = Command::new(program).arg(root.join(&path)).output().expect("coreutils are there");
        String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a hash").to_owned()
    };
    let line = format!("DIST {name} {} BLAKE2B {} SHA512 {}\n", content.len(), hash("b2sum"), hash("sha512sum"));
    write(root, &format!("{REPOSITORY}/{category_package}/Manifest"), &line);
}

fn write(root: &Path, name: &str, text: &str) {
    let path = root.join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(&path, text).expect("it is written");
    let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions can be set");
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").args(["-rL", "--preserve=mode"]).arg(from).arg(to).status().expect("cp runs");
    assert!(done.success(), "{} can be copied", from.display());
}
