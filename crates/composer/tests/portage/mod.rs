//! Recordings of what Portage made, and the comparison of a root of ours with them.
#![allow(dead_code, reason = "each test file uses a part of it")]

mod cause;
mod environment;
pub mod made;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use composer::{MergeRequest, Root};
use contract::PlannedPackage;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use image::{Entry, Kind, Tree};
use md5::{Digest, Md5};
use serde::Deserialize;
use sha2::Sha256;

use crate::common::{Bench, Item, Log, Pack, TIME, host_tools, plan, planned};
pub use cause::Cause;

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/real");
const TOOLS: &str = "bash cat chmod chown cp cut date env find grep egrep head id install install-info ln ls mkdir mktemp mv readlink rm rmdir sed sleep \
                     sort stat tail touch tr true wc gawk mawk getent ldconfig openssl gzip setcap xargs basename dirname uname cmp diff";

#[derive(Deserialize)]
struct Header {
    steps: Vec<String>,
    began: i64,
    install_mask: String,
    pkgdir: String,
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
}

pub struct Recording {
    header: Header,
    paths: BTreeMap<String, Recorded>,
    files: BTreeMap<String, PathBuf>,
    /// The packages are the tests' own: their environments are a few lines, not what a build leaves.
    made: bool,
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
        Recording { header, paths, files, made: false }
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

/// One path that differs.
#[derive(Debug)]
pub struct Difference {
    pub path: String,
    pub what: What,
}

/// In what.
#[derive(Debug, PartialEq, Eq)]
pub enum What {
    Missing,
    Surplus,
    Kind,
    Mode {
        theirs: u32,
        ours: u32,
    },
    Owner {
        theirs: (u32, u32),
        ours: (u32, u32),
    },
    Content {
        theirs: u64,
        ours: u64,
    },
    /// Nothing but the days of password changes in shadow(5).
    Days,
    Lines {
        theirs: Vec<String>,
        ours: Vec<String>,
    },
    /// Of an environment.bz2, a variable or a function (with ` ()` after its name): in which of the two it is, and differs.
    Variable {
        name: String,
        theirs: bool,
        /// The text of ours.
        ours: Option<String>,
    },
    Target {
        theirs: String,
        ours: String,
    },
    Links,
    Xattrs {
        theirs: String,
        ours: String,
    },
    /// Theirs was made while Portage ran.
    MadeTime {
        ours: i64,
    },
    /// Theirs is a link of a package, with the time of the run.
    LinkTime,
    Time {
        theirs: i64,
        ours: i64,
    },
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.path, self.what)
    }
}

pub struct Found {
    pub paths: usize,
    pub packages: usize,
    pub differences: Vec<Difference>,
}

pub fn compare(bench: &Bench, root: &Root, recording: &Recording, hosts_own: &BTreeSet<String>, left_out: &[&str]) -> Found {
    let mut found = Found { paths: 0, packages: 0, differences: Vec::new() };
    let skipped = paths_of(recording, left_out);
    let mut inodes: BTreeMap<u64, Option<image::LinkId>> = BTreeMap::new();
    for (path, theirs) in recording.paths.iter().filter(|(path, _)| !skipped.contains(*path)) {
        found.paths += 1;
        let mut add = |what| found.differences.push(Difference { path: path.clone(), what });
        let Some(ours) = root.tree.get(path) else {
            add(What::Missing);
            continue;
        };
        if let Some(inode) = theirs.inode {
            if *inodes.entry(inode).or_insert(ours.link()) != ours.link() || ours.link().is_none() {
                add(What::Links);
            }
        } else if ours.link().is_some() {
            add(What::Links);
        }
        let mut differing = differences(theirs, ours, recording.header.began);
        if let Some(text) = theirs.text.as_ref().filter(|_| differing.iter().any(|what| matches!(what, What::Content { .. }))) {
            differing.retain(|what| !matches!(what, What::Content { .. }));
            let ours = bench.read(root, path);
            differing.extend((!same_registry(text, &ours)).then(|| lines_differ(text, &ours)));
        }
        if let Some(theirs) = &theirs.environment {
            differing.retain(|what| !matches!(what, What::Content { .. }));
            if !recording.made {
                let ours = root.tree.read_file(&bench.store, path).unwrap().unwrap_or_default();
                differing.extend(environment::differences(theirs, &ours));
            }
        }
        if path.starts_with("/var/db/pkg/") && path.ends_with("/CONTENTS") {
            found.packages += 1;
            differing.retain(|what| !matches!(what, What::Content { .. }));
            if contents_hash(&bench.read(root, path)) != theirs.hash {
                differing.push(What::Content { theirs: theirs.size, ours: ours.size() });
            }
        }
        differing.into_iter().for_each(&mut add);
    }
    for (path, _) in root.tree.iter() {
        let path = format!("/{}", escaped(path));
        if path != "/" && !recording.paths.contains_key(&path) && !hosts_own.contains(&path) {
            found.differences.push(Difference { path, what: What::Surplus });
        }
    }
    found
}

/// The same as in `record.py`: the order of lines does not count, nor the time of links and of what was made while merging.
fn contents_hash(contents: &str) -> String {
    let line = |line: &str| match line.rsplit_once(' ') {
        Some((start, _)) if line.starts_with("sym ") => format!("{start} made"),
        Some((start, time)) if line.starts_with("obj ") && time.parse() == Ok(MADE) => format!("{start} made"),
        _ => line.to_owned(),
    };
    let mut lines: Vec<String> = contents.lines().map(line).collect();
    lines.sort();
    hex::encode(Sha256::digest(lines.join("\n")))[..8].to_owned()
}

/// What the left out packages have, their records included.
fn paths_of(recording: &Recording, left_out: &[&str]) -> BTreeSet<String> {
    let records: Vec<String> = left_out.iter().map(|cpv| format!("/var/db/pkg/{cpv}")).collect();
    let names: Vec<&str> = left_out.iter().filter_map(|cpv| cpv.split('/').nth(1)).collect();
    let belongs = |path: &&String| {
        records.iter().any(|record| path.starts_with(record.as_str())) || names.iter().any(|name| path.contains(name))
    };
    recording.paths.keys().filter(belongs).cloned().collect()
}

/// Whether these are registries of preserved libraries that say the same, in whatever order.
fn same_registry(theirs: &str, ours: &str) -> bool {
    type Registry = BTreeMap<String, (String, String, BTreeSet<String>)>;
    let read = |text: &str| serde_json::from_str::<Registry>(text).ok();
    read(theirs).is_some_and(|theirs| Some(theirs) == read(ours))
}

/// How the texts of an account file differ that are not the same.
fn lines_differ(theirs: &str, ours: &str) -> What {
    let without_day = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        match fields.as_slice() {
            // shadow(5) has nine fields, and the third is the day.
            [name, password, day, rest @ ..] if rest.len() == 6 && !day.is_empty() => {
                format!("{name}:{password}:DAY:{}", rest.join(":"))
            }
            _ => line.to_owned(),
        }
    };
    let read = |text: &str| text.lines().map(without_day).collect::<Vec<_>>();
    let (theirs, ours) = (read(theirs), read(ours));
    let only = |these: &[String], others: &[String]| these.iter().filter(|line| !others.contains(line)).cloned().collect();
    match theirs == ours {
        true => What::Days,
        false => What::Lines { theirs: only(&theirs, &ours), ours: only(&ours, &theirs) },
    }
}

fn differences(theirs: &Recorded, ours: &Entry, began: i64) -> Vec<What> {
    let kind = match &ours.kind {
        Kind::Dir => "dir",
        Kind::File { .. } => "obj",
        Kind::Symlink(_) => "sym",
        Kind::Fifo => "fif",
        Kind::CharDevice { .. } | Kind::BlockDevice { .. } => "dev",
    };
    if kind != theirs.kind {
        return vec![What::Kind];
    }
    let mut found = Vec::new();
    if kind != "sym" && ours.mode != theirs.mode {
        found.push(What::Mode { theirs: theirs.mode, ours: ours.mode });
    }
    if (ours.uid, ours.gid) != (theirs.uid, theirs.gid) {
        found.push(What::Owner { theirs: (theirs.uid, theirs.gid), ours: (ours.uid, ours.gid) });
    }
    match &ours.kind {
        Kind::File { blob, size, .. } if *size != theirs.size || !blob.to_string().starts_with(&theirs.hash) => {
            found.push(What::Content { theirs: theirs.size, ours: *size });
        }
        Kind::Symlink(target) if escaped(target) != theirs.target => {
            found.push(What::Target { theirs: theirs.target.clone(), ours: escaped(target) });
        }
        _ => {}
    }
    let xattrs = ours.xattrs.iter().map(|(name, value)| (escaped(name), hex::encode(value))).collect::<BTreeMap<_, _>>();
    if xattrs != theirs.xattrs {
        found.push(What::Xattrs { theirs: format!("{:?}", theirs.xattrs), ours: format!("{xattrs:?}") });
    }
    if ours.mtime != theirs.mtime && kind != "dir" {
        found.push(match theirs.mtime >= began {
            true if kind == "sym" && !is_ours(ours.mtime) => What::LinkTime,
            true => What::MadeTime { ours: ours.mtime },
            false => What::Time { theirs: theirs.mtime, ours: ours.mtime },
        });
    }
    found
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// The BUILD_TIME of all packages here, which we give to what is made while merging; nothing in a package has it.
const MADE: i64 = 1_600_000_001;

/// Whether a time is one that we give to what is made while merging; the root of tools that all begin with is of another.
pub fn is_ours(time: i64) -> bool {
    [0, MADE, TIME as i64].contains(&time)
}

/// Compares with a recording and prints the table of docs/composer.md; packages that cannot be merged without what a binhost lacks are
/// left out of ours and theirs.
pub fn compared(recording: &Recording, left_out: &[&str]) {
    let bench = Bench::new();
    let (root, hosts_own) = merge_as_recorded(&bench, recording, left_out);
    let mut causes: BTreeMap<Cause, (usize, String)> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let found = compare(&bench, &root, recording, &hosts_own, left_out);
    for difference in found.differences {
        match Cause::of(&difference) {
            Some(cause) => causes.entry(cause).or_insert((0, difference.to_string())).0 += 1,
            None => unexplained.push(difference.to_string()),
        }
    }
    println!("{} paths of {} packages compared", found.paths, found.packages);
    for (cause, (count, example)) in &causes {
        println!("| {cause} | {count} | {example} |");
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(found.packages > 0 && found.paths > found.packages, "hardly anything was compared");
}
