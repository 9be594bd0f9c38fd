//! Packages of the sample merged by real Portage, here and now, and by us: every path compared, as with the recordings (`recorded`). The
//! sample changes whenever Debian updates a package, so it cannot be recorded. Needs root, the sample in `var/sample` and a Portage set up as
//! `../shared/oracle` describes (in $ORACLE, else ~/.cache/hatchery-oracle); skipped, with a line that says so, where they are not.

mod common;
mod portage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gentoo::index::Packages;
use portage::{Recording, compared};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// One package for each kind of trouble: the base with its links, accounts, set-id programs, capabilities, caches, every kind of script.
const SOME: [&str; 16] = [
    "sys-apps/baselayout",
    "acct-group/sshd",
    "acct-user/sshd",
    "acct-group/messagebus",
    "acct-user/messagebus",
    "acct-group/shadow",
    "sys-apps/shadow",
    "app-shells/bash",
    "app-alternatives/sh",
    "sys-libs/zlib",
    "app-misc/ca-certificates",
    "net-misc/openssh",
    "net-misc/iputils",
    "sys-apps/dbus",
    "sys-libs/timezone-data",
    "sys-fs/udev-init-scripts",
];

/// What cannot be installed beside other packages of the sample: a second mail server.
const BESIDE: [&str; 1] = ["mail-mta/nullmailer"];

fn oracle() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let dir = std::env::var_os("ORACLE").map_or_else(|| home.join(".cache/hatchery-oracle"), PathBuf::from);
    let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    let shared = Path::new(HERE).join("../../../shared/oracle");
    if !(root && dir.join("venv").is_dir() && shared.is_dir()) {
        eprintln!("skipped: real Portage is not set up in {}, or this is not root", dir.display());
        return None;
    }
    Some(dir)
}

/// The packages of the sample, one of each slot, the newest build, in an order in which they can be merged; their files by CPV.
fn sample(wanted: &dyn Fn(&str) -> bool) -> Option<Vec<(String, PathBuf)>> {
    let binhost = Path::new(HERE).join("../../var/sample/binhost");
    let Ok(index) = fs::read(binhost.join("Packages")) else {
        eprintln!("skipped: there is no sample in {}", binhost.display());
        return None;
    };
    let mut newest: BTreeMap<(String, String), (String, PathBuf)> = BTreeMap::new();
    let mut entries = Packages::parse(&index).unwrap().entries;
    entries.sort_by_key(|entry| (entry.build_time, entry.build_id));
    for entry in entries.iter().filter(|entry| wanted(&entry.cpv.cp())) {
        let file = (entry.cpv.to_string(), binhost.join(&entry.path));
        newest.insert((entry.cpv.cp(), entry.slot.to_string()), file);
    }
    let early = |cpv: &str| SOME.iter().position(|name| cpv.starts_with(&format!("{name}-"))).unwrap_or(SOME.len());
    let mut found: Vec<(String, PathBuf)> = newest.into_values().collect();
    found.sort_by_key(|(cpv, _)| (early(cpv), !cpv.starts_with("acct-group"), !cpv.starts_with("acct-user"), cpv.clone()));
    Some(found)
}

/// Portage's configuration, with no package masked: the sample has one that Gentoo's profile masks.
fn configuration(oracle: &Path, work: &Path) -> String {
    let own = work.join("conf");
    let copied = Command::new("cp").arg("-a").arg(oracle.join("conf/amd64-any")).arg(&own).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::write(own.join("etc/portage/package.unmask"), "*/*\n").unwrap();
    // It is named by its way from the folder that all of them are in.
    format!("../{}/conf", work.file_name().unwrap().display())
}

/// Has Portage merge the packages and write down what it made.
fn record(oracle: &Path, name: &str, packages: &[(String, PathBuf)]) -> Recording {
    let work = tempfile::tempdir_in(oracle).unwrap();
    let pkgdir = work.path().join("pkgdir");
    for (cpv, file) in packages {
        let cpv = gentoo::Cpv::parse(cpv).unwrap();
        fs::create_dir_all(pkgdir.join(cpv.cp())).unwrap();
        fs::copy(file, pkgdir.join(cpv.cp()).join(format!("{}-1.gpkg.tar", cpv.pf()))).unwrap();
    }
    let out = work.path().join(format!("{name}.jsonl.xz"));
    let output = Command::new("python3")
        .arg(Path::new(HERE).join("tests/portage/record.py"))
        .args([&out, &pkgdir])
        .args(packages.iter().map(|(cpv, _)| format!("={cpv}")))
        .env("ORACLE", oracle)
        .env("CONF", configuration(oracle, work.path()))
        // The index is made of the files; who signed them is another test's. We have sfperms always on.
        .env("FEATURES", "-pkgdir-index-trusted binpkg-ignore-signature sfperms")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Some(kept) = std::env::var_os("KEPT_RECORDING") {
        fs::copy(&out, kept).unwrap();
    }
    Recording::read(&out, packages.iter().cloned().collect())
}

fn against_the_sample(name: &str, wanted: &dyn Fn(&str) -> bool, at_least: usize) {
    let Some(oracle) = oracle() else { return };
    let Some(packages) = sample(wanted) else { return };
    let names: BTreeSet<&String> = packages.iter().map(|(cpv, _)| cpv).collect();
    assert!(names.len() >= at_least, "the sample has only {names:?}");
    let recording = match std::env::var_os("KEPT_RECORDING").filter(|kept| Path::new(kept).is_file()) {
        Some(kept) => Recording::read(Path::new(&kept), packages.into_iter().collect()),
        None => record(&oracle, name, &packages),
    };
    compared(&recording, &[]);
}

#[test]
fn packages_of_the_sample_are_merged_as_portage_merges_them() {
    against_the_sample("sample-some", &|cp| SOME.contains(&cp), SOME.len());
}

/// A quarter of an hour on two cores, nearly all of it Portage's; its table is in docs/composer.md. $KEPT_RECORDING names a file that keeps
/// what Portage made, to compare with again.
#[test]
#[ignore = "Portage needs too long for every run"]
fn the_whole_sample_is_merged_as_portage_merges_it() {
    against_the_sample("sample", &|cp| !BESIDE.contains(&cp), 250);
}
