//! The XPAK packages of a real binhost, merged as they are. Skipped, with a line that says so, where they are not.

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};

use common::{Bench, Item, Log, Pack, host_tools, plan, planned};
use composer::{MergeRequest, Root};
use contract::PlannedPackage;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use image::{Entry, Kind};

const BINHOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/real/binhost-amd64-xpak");

/// Packages whose scripts need a program that this binhost lacks (Python), and would rightly fail.
const WITHOUT_PYTHON: [&str; 1] = ["sys-apps/portage"];

fn open(path: &Path) -> BinaryPackage {
    BinaryPackage::open(File::open(path).unwrap(), &path.display().to_string(), Signatures::Ignored).unwrap()
}

fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for child in std::fs::read_dir(dir).unwrap() {
        let path = child.unwrap().path();
        match path.is_dir() {
            true => files(&path, found),
            false if path.extension().is_some_and(|extension| extension == "xpak") => found.push(path),
            false => {}
        }
    }
}

/// The binhost's packages that can be installed together, in the order of their names.
fn real_packages() -> Option<Vec<(String, PathBuf)>> {
    if !Path::new(BINHOST).is_dir() {
        eprintln!("skipped: {BINHOST} is not here");
        return None;
    }
    let mut paths = Vec::new();
    files(Path::new(BINHOST), &mut paths);
    let mut packages: Vec<(String, PathBuf)> = paths.into_iter().map(|path| (open(&path).cpv().unwrap(), path)).collect();
    packages.sort();
    // Of several builds the last one; only one slot each.
    packages.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1.clone_from(&later.1);
        }
        same
    });
    packages.retain(|(cpv, _)| !WITHOUT_PYTHON.iter().any(|name| cpv.starts_with(name)));
    Some(packages)
}

fn merge_real(bench: &Bench, packages: &[(String, PathBuf)], host: &[Pack], log: &Log) -> Root {
    let names = host.iter().map(|pack| pack.cpv.as_str()).chain(packages.iter().map(|(cpv, _)| cpv.as_str()));
    let plan = plan(names.map(planned).collect());
    let work_dir = bench.work_dir();
    let request = MergeRequest { plan: &plan, store: &bench.store, work_dir: &work_dir, notice: "", base: None };
    let mut fetch = |wanted: &PlannedPackage| {
        let real = packages.iter().find(|(cpv, _)| *cpv == wanted.cpv).map(|(_, path)| open(path));
        Ok::<_, String>(real.unwrap_or_else(|| host.iter().find(|pack| pack.cpv == wanted.cpv).unwrap().build()))
    };
    composer::merge(request, &mut fetch, log).unwrap_or_else(|error| {
        let log = log.text();
        let tail: Vec<&str> = log.lines().rev().take(40).collect();
        panic!("{error}\n{}\n--\n{}", error.output.join("\n"), tail.into_iter().rev().collect::<Vec<_>>().join("\n"))
    })
}

/// Every entry of a package's own tar against the root, but for what its scripts are known to change.
fn differences(bench: &Bench, root: &Root, cpv: &str, path: &Path) -> Vec<String> {
    let package = open(path);
    let contents = bench.read(root, &format!("var/db/pkg/{cpv}/CONTENTS"));
    let recorded: BTreeSet<&str> = contents.lines().map(|line| line.split(" -> ").next().unwrap()).collect();
    let mut found = Vec::new();
    let mut archive = tar::Archive::new(package.image().unwrap());
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let Some(name) = BinaryPackage::image_path(&entry.path_bytes()).unwrap() else { continue };
        let shown = format!("/{}", String::from_utf8_lossy(&name));
        let real = root.tree.resolve_parent(&name).unwrap();
        let Some(there) = root.tree.get(&real) else {
            found.push(format!("{cpv}: {shown} is missing"));
            continue;
        };
        if let Some(difference) = differs(&entry, there) {
            found.push(format!("{cpv}: {shown} {difference}"));
        }
        let word = if entry.header().entry_type().is_dir() {
            "dir"
        } else if there.is_symlink() {
            "sym"
        } else {
            "obj"
        };
        let start = format!("{word} {shown}");
        if !recorded.iter().any(|line| line.strip_prefix(&start).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))) {
            found.push(format!("{cpv}: {shown} is not in CONTENTS"));
        }
    }
    found
}

fn differs<R: std::io::Read>(entry: &tar::Entry<'_, R>, there: &Entry) -> Option<String> {
    let header = entry.header();
    let kind_fits = match header.entry_type() {
        tar::EntryType::Directory => return (!there.is_dir() && !there.is_symlink()).then(|| "is no directory".into()),
        tar::EntryType::Symlink => {
            matches!(&there.kind, Kind::Symlink(target) if Some(target.as_slice()) == entry.link_name_bytes().as_deref())
        }
        tar::EntryType::Link => return (there.link().is_none()).then(|| "is no hard link".into()),
        _ => there.is_file() && there.size() == header.size().unwrap(),
    };
    let mode = header.mode().unwrap() & 0o7777;
    match () {
        () if !kind_fits => Some("is another kind of file, or another size".into()),
        () if there.mtime != header.mtime().unwrap() as i64 => Some("has another time".into()),
        () if there.is_file() && mode & 0o6000 == 0 && there.mode != mode => {
            Some(format!("has mode {:o}, not {mode:o}", there.mode))
        }
        () => None,
    }
}

#[test]
fn real_packages_merge_with_their_scripts() {
    let Some(packages) = real_packages() else { return };
    let tools = "grep sed gawk mawk getent ldconfig openssl gzip";
    let host = [host_tools("sys-libs/glibc-2.36", tools).item("usr/bin/awk", Item::Link("mawk".into())), {
        let mut shadow = host_tools("sys-apps/shadow-4.13", "groupadd useradd usermod groupmod");
        shadow.items.retain(|(path, _)| {
            path.starts_with("usr/bin/") || path.contains("pam") || path.contains("audit") || path.contains("semanage")
        });
        shadow
    }];
    let bench = Bench::new();
    let log = Log::default();
    let begun = std::time::Instant::now();
    let root = merge_real(&bench, &packages, &host, &log);
    println!("{} packages merged in {:?}", packages.len(), begun.elapsed());
    let found: Vec<String> = packages.iter().flat_map(|(cpv, path)| differences(&bench, &root, cpv, path)).collect();
    println!("{}\n{}", log.text(), root.messages.join("\n"));
    // What scripts change on purpose: pkg_preinst of the one, fcaps of the other.
    let on_purpose = [
        "sys-apps/baselayout-2.13-r1: /usr/share/baselayout/Makefile is missing",
        "sys-libs/pam-1.5.3: /sbin/unix_chkpwd has mode 711, not 755",
    ];
    assert_eq!(found, on_purpose);
    let checker = root.tree.lookup("sbin/unix_chkpwd").unwrap().1;
    assert!(checker.xattrs.contains_key(b"security.capability".as_slice()));
    assert!(root.messages.iter().any(|message| message.starts_with("sys-apps/coreutils-9.3-r3 (warning): Make sure")));
}
