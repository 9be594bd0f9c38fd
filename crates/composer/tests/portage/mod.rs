//! Recordings of what Portage made, and the same merges done by us.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod cause;
mod compare;
mod environment;
pub mod made;
mod order;
pub mod sample;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use composer::{MergeRequest, Root};
use contract::PlannedPackage;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use image::Tree;
use md5::{Digest, Md5};
use serde::Deserialize;

use crate::common::{Bench, Item, Log, Pack, TIME, host_tools, plan, planned};
pub use cause::Cause;
pub use compare::{Difference, What, compared};

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/real");
const TOOLS: &str = "bash cat chmod chown cp cut date env find grep egrep head id install install-info ln ls mkdir mktemp mv readlink rm rmdir sed sleep \
                     sort stat tail touch tr true wc gawk mawk getent ldconfig openssl gzip setcap xargs basename dirname uname cmp diff";

#[derive(Deserialize)]
struct Header {
    steps: Vec<String>,
    began: i64,
    install_mask: String,
    pkgdir: String,
    /// Of the sample: a hash of each package's content by its CPV, and Debian's version.
    #[serde(default)]
    packages: BTreeMap<String, String>,
    #[serde(default)]
    debian: String,
}

/// One path of Portage's root; the names are short because there are thousands.
#[derive(Clone, Debug, Deserialize)]
pub struct Recorded {
    #[serde(rename = "p")]
    pub path: String,
    #[serde(rename = "m")]
    mode: u32,
    #[serde(rename = "u")]
    uid: u32,
    #[serde(rename = "g")]
    gid: u32,
    #[serde(rename = "t")]
    mtime: i64,
    #[serde(rename = "k")]
    kind: String,
    #[serde(rename = "l", default)]
    target: String,
    #[serde(rename = "s", default)]
    size: u64,
    #[serde(rename = "h", default)]
    hash: String,
    #[serde(rename = "i")]
    inode: Option<u64>,
    #[serde(rename = "x", default)]
    xattrs: BTreeMap<String, String>,
    /// The whole text of /etc/passwd and the like, and of the registry of preserved libraries.
    #[serde(rename = "c")]
    text: Option<String>,
    /// Of an environment.bz2: hashes of its variables and functions by name.
    #[serde(rename = "e")]
    environment: Option<BTreeMap<String, String>>,
    /// Of a CONTENTS: in what order it is; older recordings do not tell.
    #[serde(rename = "o")]
    order: Option<RecordedOrder>,
}

/// What is determined of the order of Portage's CONTENTS; the rest is the order in which a disk lists a directory.
#[derive(Clone, Debug, Deserialize)]
struct RecordedOrder {
    /// What is in a directory comes right after it.
    walked: bool,
    /// The links at the end: those that led nowhere when the others were merged, and maybe others.
    links: Vec<String>,
}

pub struct Recording {
    header: Header,
    paths: BTreeMap<String, Recorded>,
    files: BTreeMap<String, PathBuf>,
    /// The packages are the tests' own: their environments are a few lines, not what a build leaves.
    made: bool,
    /// Packages that are not those that were recorded.
    renewed: BTreeSet<String>,
}

impl Recording {
    /// Loads `portage/NAME.jsonl.xz`; `None` where its binhost is not here.
    pub fn load(name: &str) -> Option<Recording> {
        let mut recording = Recording::kept(name);
        let binhost = Path::new(REAL).join(&recording.header.pkgdir);
        if !binhost.is_dir() {
            eprintln!("skipped: {} is not here", binhost.display());
            return None;
        }
        recording.files = files(&binhost);
        Some(recording)
    }

    /// A recording of packages that the tests make, written to `dir`.
    pub fn load_made(name: &str, packs: &[Pack], dir: &Path) -> Recording {
        let mut recording = Recording::kept(name);
        recording.files = write_packages(packs, dir);
        recording.made = true;
        recording
    }

    fn kept(name: &str) -> Recording {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/portage/{name}.jsonl.xz"));
        Recording::read(&file, BTreeMap::new())
    }

    /// Reads what `record.py` wrote of packages with these files, by CPV.
    pub fn read(file: &Path, files: BTreeMap<String, PathBuf>) -> Recording {
        let mut lines = BufReader::new(liblzma::read::XzDecoder::new(File::open(file).unwrap())).lines();
        let header: Header = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        let entry = |line: std::io::Result<String>| serde_json::from_str::<Recorded>(&line.unwrap()).unwrap();
        let paths = lines.map(entry).map(|entry| (entry.path.clone(), entry)).collect();
        Recording { header, paths, files, made: false, renewed: BTreeSet::new() }
    }
}

/// Writes packages as a PKGDIR has them; their files by CPV.
pub fn write_packages(packs: &[Pack], dir: &Path) -> BTreeMap<String, PathBuf> {
    let write = |pack: &Pack| {
        let cpv = gentoo::Cpv::parse(&pack.cpv).unwrap();
        // The number is the build's, without which Portage would take the end of the version for it.
        let path = dir.join(cpv.cp()).join(format!("{}-1.gpkg.tar", cpv.pf()));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::io::copy(&mut pack.file(), &mut File::create(&path).unwrap()).unwrap();
        (pack.cpv.clone(), path)
    };
    packs.iter().map(write).collect()
}

/// The files of a binhost by CPV, the newest build of each, as its index has them.
fn files(binhost: &Path) -> BTreeMap<String, PathBuf> {
    let index = gentoo::index::Packages::parse(&std::fs::read(binhost.join("Packages")).unwrap()).unwrap();
    let mut entries = index.entries;
    entries.sort_by_key(|entry| entry.build_time);
    let present = entries.into_iter().map(|entry| (entry.cpv.to_string(), binhost.join(&entry.path)));
    present.filter(|(_, path)| path.is_file()).collect()
}

/// Takes the recorded steps with our merge. The root begins with tools of this machine for the packages' scripts, which Portage took
/// from outside; returns the paths of these, too.
pub fn merge_as_recorded(bench: &Bench, recording: &Recording, left_out: &[&str]) -> (Root, BTreeSet<String>) {
    let log = Log::default();
    let mut host = host_tools("x/host-1", TOOLS)
        .item("usr/bin/awk", Item::Link("mawk".into()))
        .item("usr/bin/sh", Item::Link("bash".into()));
    let shadow = host_tools("x/shadow-1", "groupadd useradd usermod groupmod");
    let known: BTreeSet<String> = host.items.iter().map(|(path, _)| path.clone()).collect();
    host.items.extend(shadow.items.into_iter().filter(|(path, _)| !known.contains(path)));
    let mut tree = bench.merge(&[host], &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text())).tree;
    tree.remove_all("var/db");
    tree.remove_all("var/cache/edb");
    tree.remove_all("var/lib/portage");
    let hosts_own = tree.iter().map(|(path, _)| format!("/{}", String::from_utf8_lossy(path))).collect();
    let files = &recording.files;
    let mut messages = Vec::new();
    let mut run: Vec<&str> = Vec::new();
    let end = "/".to_owned();
    for step in recording.header.steps.iter().chain([&end]) {
        if let Some(cpv) = step.strip_prefix('=') {
            run.extend(Some(cpv).filter(|cpv| !left_out.contains(cpv)));
        } else if let Some(path) = step.strip_prefix('!') {
            tree.remove(path).unwrap();
        } else if let Some((path, text)) = step.split_once('=') {
            tree.write_file(&bench.store, path, text.replace("\\n", "\n").as_bytes(), 0o644).unwrap();
        } else if !run.is_empty() {
            let root = merge_run(bench, &recording.header, &tree, files, &std::mem::take(&mut run), &log);
            tree = root.tree;
            messages.extend(root.messages);
        }
    }
    (Root { tree, messages }, hosts_own)
}

fn merge_run(bench: &Bench, header: &Header, tree: &Tree, files: &BTreeMap<String, PathBuf>, run: &[&str], log: &Log) -> Root {
    let planned = |cpv: &&str| {
        let md5 = hex::encode(Md5::digest(std::fs::read(&files[*cpv]).unwrap()));
        PlannedPackage { md5: Some(md5), build_time: MADE as u64, ..planned(cpv) }
    };
    let mut plan = plan(run.iter().map(planned).collect());
    plan.world = Vec::new();
    let work_dir = bench.work_dir();
    plan.install_mask = header.install_mask.clone();
    let request = MergeRequest { plan: &plan, store: &bench.store, work_dir: &work_dir, notice: "", base: Some(tree) };
    let mut fetch = |wanted: &PlannedPackage| {
        let path = &files[&wanted.cpv];
        let file = File::open(path).map_err(|error| error.to_string())?;
        BinaryPackage::open(file, &path.display().to_string(), Signatures::Ignored).map_err(|error| error.to_string())
    };
    composer::merge(request, &mut fetch, log)
        .unwrap_or_else(|error| panic!("{error}\n{}\n{}", error.output.join("\n"), tail(log)))
}

fn tail(log: &Log) -> String {
    let text = log.text();
    let lines: Vec<&str> = text.lines().rev().take(30).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The BUILD_TIME of all packages here, which we give to what is made while merging; nothing in a package has it.
const MADE: i64 = 1_600_000_001;

/// Whether a time is one that we give to what is made while merging; the root of tools that all begin with is of another.
pub fn is_ours(time: i64) -> bool {
    [0, MADE, TIME as i64].contains(&time)
}
