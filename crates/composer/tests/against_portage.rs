//! Packages of the sample merged by real Portage and by us: every path compared, as with the other recordings (`recorded`). A few are merged
//! here and now, which needs root and a Portage set up as `../shared/oracle` describes (in $ORACLE, else ~/.cache/hatchery-oracle); of all
//! of them there is a recording, which holds for the packages that Debian has not updated since. Skipped, with a line that says so, where
//! there is no sample in `var/sample`, or no Portage.

mod common;
mod portage;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use portage::sample::{self, Choice};
use portage::{Recording, compared};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

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

/// Portage's configuration, with no package masked: the sample has one that Gentoo's profile masks.
fn configuration(oracle: &Path, work: &Path) -> String {
    let own = work.join("conf");
    let copied = Command::new("cp").arg("-a").arg(oracle.join("conf/amd64-any")).arg(&own).status();
    assert!(copied.is_ok_and(|status| status.success()));
    fs::write(own.join("etc/portage/package.unmask"), "*/*\n").unwrap();
    // It is named by its way from the folder that all of them are in.
    format!("../{}/conf", work.file_name().unwrap().display())
}

/// Has Portage merge the packages and write down what it made, to `out`.
fn record(oracle: &Path, choice: Choice, packages: &[(String, PathBuf)], out: &Path) {
    let work = tempfile::tempdir_in(oracle).unwrap();
    let pkgdir = work.path().join("pkgdir");
    for (cpv, file) in packages {
        let cpv = gentoo::Cpv::parse(cpv).unwrap();
        fs::create_dir_all(pkgdir.join(cpv.cp())).unwrap();
        fs::copy(file, pkgdir.join(cpv.cp()).join(format!("{}-1.gpkg.tar", cpv.pf()))).unwrap();
    }
    let fresh = work.path().join(format!("{}.jsonl.xz", choice.name()));
    let output = Command::new("python3")
        .arg(Path::new(HERE).join("tests/portage/record.py"))
        .args([&fresh, &pkgdir])
        .args(packages.iter().map(|(cpv, _)| format!("={cpv}")))
        .env("ORACLE", oracle)
        .env("CONF", configuration(oracle, work.path()))
        .env("ABOUT", sample::about(packages))
        // The index is made of the files; who signed them is another test's. We have sfperms always on.
        .env("FEATURES", "-pkgdir-index-trusted binpkg-ignore-signature sfperms")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    fs::copy(&fresh, out).unwrap();
}

#[test]
fn packages_of_the_sample_are_merged_as_portage_merges_them_here_and_now() {
    let Some(oracle) = oracle() else { return };
    let Some(packages) = Choice::Few.packages() else { return };
    assert!(packages.len() >= 6, "the sample has only {packages:?}");
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made.jsonl.xz");
    record(&oracle, Choice::Few, &packages, &made);
    compared(&Recording::read(&made, packages.into_iter().collect()), &[]);
}

#[test]
fn the_whole_sample_is_merged_as_portage_merged_it() {
    if let Some(recording) = Choice::Most.recording() {
        compared(&recording, &[]);
    }
}

#[test]
fn systemd_and_the_other_mail_server_are_merged_as_portage_merged_them() {
    if let Some(recording) = Choice::Beside.recording() {
        compared(&recording, &[]);
    }
}

fn record_anew(choice: Choice) {
    let oracle = oracle().expect("Portage is set up, and this is root");
    let packages = choice.packages().expect("a sample");
    let out = Path::new(HERE).join(format!("tests/portage/{}.jsonl.xz", choice.name()));
    record(&oracle, choice, &packages, &out);
}

/// Some eight minutes on two cores, nearly all of them Portage's.
#[test]
#[ignore = "only for making the recording anew"]
fn record_the_sample() {
    record_anew(Choice::Most);
}

/// Some two minutes.
#[test]
#[ignore = "only for making the recording anew"]
fn record_systemd_and_the_other_mail_server() {
    record_anew(Choice::Beside);
}
