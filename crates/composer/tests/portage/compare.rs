//! How a root of ours differs from what was recorded of Portage's, path by path.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use composer::Root;
use image::{Entry, Kind};
use md5::Md5;
use sha2::{Digest, Sha256};

use super::sample::Holding;
use super::{Cause, MADE, Recorded, Recording, environment, is_ours, merge_as_recorded};
use crate::common::Bench;

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
    println!("{} paths left out, as their packages are not those that were recorded", found.left_out);
    for (cause, (count, example)) in &causes {
        println!("| {cause} | {count} | {example} |");
    }
    assert!(unexplained.is_empty(), "{} differences:\n{}", unexplained.len(), unexplained.join("\n"));
    assert!(found.packages > 0 && found.paths > found.packages, "hardly anything was compared");
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
    /// Of the lines of CONTENTS.
    Order,
    Xattrs {
        theirs: String,
        ours: String,
    },
    /// Theirs was made while Portage ran.
    MadeTime {
        ours: i64,
    },
    /// Theirs is a directory that was made or changed while Portage ran.
    DirectoryTime,
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
    pub left_out: usize,
    pub packages: usize,
    pub differences: Vec<Difference>,
}

pub fn compare(bench: &Bench, root: &Root, recording: &Recording, hosts_own: &BTreeSet<String>, left_out: &[&str]) -> Found {
    let mut found = Found { paths: 0, left_out: 0, packages: 0, differences: Vec::new() };
    let skipped = paths_of(recording, left_out);
    let mut inodes: BTreeMap<u64, Option<image::LinkId>> = BTreeMap::new();
    let holding = Holding::of(recording, bench, root);
    for (path, theirs) in recording.paths.iter().filter(|(path, _)| !skipped.contains(*path)) {
        if !holding.has(path) {
            found.left_out += 1;
            continue;
        }
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
            let contents = bench.read(root, path);
            if contents_hash(&contents) != theirs.hash {
                differing.push(What::Content { theirs: theirs.size, ours: ours.size() });
            }
            if theirs.order.as_ref().is_some_and(|order| !super::order::is_as_recorded(&contents, order)) {
                differing.push(What::Order);
            }
        }
        if let Some(package) = signed_here(recording, path) {
            differing.retain(|what| !matches!(what, What::Content { .. }));
            let md5 = format!("{:x}\n", Md5::digest(std::fs::read(package).unwrap()));
            if bench.read(root, path) != md5 {
                differing.push(What::Content { theirs: theirs.size, ours: ours.size() });
            }
        }
        differing.into_iter().for_each(&mut add);
    }
    for (path, _) in root.tree.iter() {
        let path = format!("/{}", escaped(path));
        if path != "/" && !recording.paths.contains_key(&path) && !hosts_own.contains(&path) && holding.has(&path) {
            found.differences.push(Difference { path, what: What::Surplus });
        }
    }
    found
}

/// For a BINPKGMD5, the file whose MD5 it has to be. A sample is signed where it is made, so these files are others than the recorded ones
/// though their content is the same.
fn signed_here<'a>(recording: &'a Recording, path: &str) -> Option<&'a Path> {
    let cpv = path.strip_prefix("/var/db/pkg/")?.strip_suffix("/BINPKGMD5")?;
    recording.files.get(cpv).map(PathBuf::as_path)
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
    if ours.mtime != theirs.mtime {
        found.push(match theirs.mtime >= began {
            true if kind == "dir" => What::DirectoryTime,
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
