//! The same packages merged by real Portage and by us, compared path by path. Needs root, the real binhost and a Portage set up as
//! `../shared/oracle` describes (in $ORACLE, else ~/.cache/hatchery-oracle); skipped, with a line that says so, where they are not.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Bench, Item, Log, TIME, host_tools, plan, planned};
use composer::{MergeRequest, Root};
use contract::PlannedPackage;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use image::Kind;

const SHARED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");

/// Packages with every kind of trouble: links over merged-usr, hard links, set-id programs, capabilities, names beyond ASCII, scripts.
const PACKAGES: [(&str, &str); 8] = [
    ("sys-apps/baselayout-2.13-r1", "sys-apps/baselayout/baselayout-2.13-r1-4.xpak"),
    ("sys-libs/ncurses-6.4_p20230401", "sys-libs/ncurses/ncurses-6.4_p20230401-2.xpak"),
    ("sys-libs/readline-8.1_p2-r1", "sys-libs/readline/readline-8.1_p2-r1-2.xpak"),
    ("app-shells/bash-5.1_p16-r6", "app-shells/bash/bash-5.1_p16-r6-2.xpak"),
    ("app-arch/bzip2-1.0.8-r4", "app-arch/bzip2/bzip2-1.0.8-r4-2.xpak"),
    ("sys-libs/libcap-2.69", "sys-libs/libcap/libcap-2.69-2.xpak"),
    ("sys-libs/pam-1.5.3", "sys-libs/pam/pam-1.5.3-2.xpak"),
    ("app-misc/ca-certificates-20230311.3.90", "app-misc/ca-certificates/ca-certificates-20230311.3.90-2.xpak"),
];

fn oracle() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let dir = std::env::var_os("ORACLE").map_or_else(|| home.join(".cache/hatchery-oracle"), PathBuf::from);
    let root = fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
    let there = dir.join("venv").is_dir() && Path::new(SHARED).join("oracle").is_dir();
    if !(root && there) {
        eprintln!("skipped: real Portage is not set up in {}, or this is not root", dir.display());
        return None;
    }
    Some(dir)
}

/// Merges with Portage into a root that has the merged-usr links, as ours begins with.
fn by_portage(oracle: &Path) -> PathBuf {
    let root = oracle.join("roots/composer-test");
    if root.exists() {
        fs::remove_dir_all(&root).unwrap();
    }
    for dir in ["usr/bin", "usr/lib", "usr/lib64"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    for (link, target) in
        [("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64"), ("usr/sbin", "bin")]
    {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    let shared = fs::canonicalize(SHARED).unwrap();
    let output = Command::new(shared.join("oracle/nsrun.sh"))
        .arg(shared.join("oracle/install.sh"))
        .args([
            "amd64-any".as_ref(),
            shared.join("real/binhost-amd64-xpak").as_os_str(),
            root.as_os_str(),
            "composer-test".as_ref(),
        ])
        .arg("--nodeps")
        .args(PACKAGES.map(|(cpv, _)| format!("={cpv}")))
        .env("ORACLE", oracle)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    root
}

fn by_us(bench: &Bench) -> Root {
    let host = host_tools(
        "sys-libs/glibc-2.36",
        "cat chmod chown cp cut find grep id ln ls mkdir mv readlink rm sed sort mawk getent ldconfig",
    )
    .item("usr/bin/awk", Item::Link("mawk".into()));
    let names = std::iter::once(host.cpv.as_str()).chain(PACKAGES.map(|(cpv, _)| cpv));
    let plan = plan(names.map(planned).collect());
    let work_dir = bench.work_dir();
    let request = MergeRequest { plan: &plan, store: &bench.store, work_dir: &work_dir, notice: "", base: None };
    let mut fetch = |wanted: &PlannedPackage| {
        let Some((_, path)) = PACKAGES.iter().find(|(cpv, _)| *cpv == wanted.cpv) else { return Ok(host.build()) };
        let path = Path::new(SHARED).join("real/binhost-amd64-xpak").join(path);
        let file = fs::File::open(&path).map_err(|error| error.to_string())?;
        BinaryPackage::open(file, path.to_str().unwrap(), Signatures::Ignored).map_err(|error| error.to_string())
    };
    let log = Log::default();
    composer::merge(request, &mut fetch, &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()))
}

/// All paths that Portage's CONTENTS name, without what is below /var/db.
fn owned(root: &Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut found = BTreeMap::new();
    for (cpv, _) in PACKAGES {
        let text = fs::read_to_string(root.join("var/db/pkg").join(cpv).join("CONTENTS")).unwrap();
        found.insert(cpv.to_owned(), text.lines().map(str::to_owned).collect());
    }
    found
}

/// How a path differs; nothing when it does not.
fn difference(bench: &Bench, ours: &Root, theirs: &Path, path: &str) -> Option<String> {
    let at = theirs.join(path.trim_start_matches('/'));
    let there = fs::symlink_metadata(&at).unwrap();
    let real = ours.tree.resolve_parent(path).unwrap();
    let Some(entry) = ours.tree.get(&real) else { return Some("is missing".into()) };
    let (kind, same) = match &entry.kind {
        Kind::Dir => ("a directory", there.is_dir()),
        Kind::Symlink(target) => ("a link", there.is_symlink() && fs::read_link(&at).unwrap().as_os_str().as_bytes() == target),
        Kind::File { blob, .. } => ("a file", there.is_file() && fs::read(&at).unwrap() == bench.store.read(blob).unwrap()),
        _ => ("something else", false),
    };
    let linked = there.is_file() && there.nlink() > 1;
    let capability = xattr::get(&at, "security.capability").ok().flatten();
    match () {
        () if !same => Some(format!("is {kind} of another content")),
        () if !there.is_symlink() && there.permissions().mode() & 0o7777 != entry.mode => {
            Some(format!("has mode {:o}, not {:o}", entry.mode, there.permissions().mode() & 0o7777))
        }
        () if (there.uid(), there.gid()) != (entry.uid, entry.gid) => Some(format!("belongs to {}:{}", entry.uid, entry.gid)),
        // What scripts make has the time of the making there, and the package's here; the links of /usr are older than both.
        () if !there.is_dir() && ![0, TIME as i64, there.mtime()].contains(&entry.mtime) => {
            Some(format!("has the time {}, not {}", entry.mtime, there.mtime()))
        }
        () if linked != entry.link().is_some() => Some(format!("hard links: {linked} there")),
        () if capability.as_ref() != entry.xattrs.get(b"security.capability".as_slice()) => Some("has other capabilities".into()),
        () => None,
    }
}

#[test]
fn the_root_is_what_portage_makes() {
    let Some(oracle) = oracle() else { return };
    let theirs = by_portage(&oracle);
    let bench = Bench::new();
    let ours = by_us(&bench);
    let mut found = Vec::new();
    for (cpv, mut lines) in owned(&theirs) {
        let own_lines: BTreeSet<String> =
            bench.read(&ours, &format!("var/db/pkg/{cpv}/CONTENTS")).lines().map(str::to_owned).collect();
        // The lines of what scripts made differ in time.
        let made = own_lines.iter().filter_map(|line| line.strip_suffix(&TIME.to_string()));
        for start in made {
            let replaced: Vec<String> = lines.iter().filter(|line| line.starts_with(start)).cloned().collect();
            replaced.iter().for_each(|line| assert!(lines.remove(line)));
            lines.extend(replaced.first().map(|_| format!("{start}{TIME}")));
        }
        found.extend(lines.difference(&own_lines).map(|line| format!("{cpv}: CONTENTS lacks {line}")));
        found.extend(own_lines.difference(&lines).map(|line| format!("{cpv}: CONTENTS has {line}")));
        for line in &lines {
            let mut words = line.splitn(2, ' ');
            let (kind, rest) = (words.next().unwrap(), words.next().unwrap());
            let path = match kind {
                "sym" => rest.split(" -> ").next().unwrap(),
                "obj" => rest.rsplitn(3, ' ').last().unwrap(),
                _ => rest,
            };
            found.extend(difference(&bench, &ours, &theirs, path).map(|difference| format!("{cpv}: {path} {difference}")));
        }
        let record = format!("var/db/pkg/{cpv}");
        let names: BTreeSet<String> =
            fs::read_dir(theirs.join(&record)).unwrap().map(|child| child.unwrap().file_name().into_string().unwrap()).collect();
        let own_names: BTreeSet<String> =
            ours.tree.children(&record).into_iter().map(|(name, _)| String::from_utf8(name.to_vec()).unwrap()).collect();
        // Newer versions of Portage keep a cache of the other files there.
        let differing = names.symmetric_difference(&own_names).filter(|name| *name != "metadata");
        found.extend(differing.map(|name| format!("{cpv}: only one has the record's {name}")));
        // The counter runs through all packages of a root, and the environment is as bash printed it.
        for name in names
            .intersection(&own_names)
            .filter(|name| !["COUNTER", "CONTENTS", "environment.bz2", "BINPKGMD5"].contains(&name.as_str()))
        {
            let same = fs::read(theirs.join(&record).join(name)).unwrap()
                == ours.tree.read_file(&bench.store, format!("{record}/{name}")).unwrap().unwrap();
            if !same {
                found.push(format!("{cpv}: the record's {name} differs"));
            }
        }
    }
    fs::remove_dir_all(&theirs).unwrap();
    assert!(found.is_empty(), "{} differences:\n{}", found.len(), found.join("\n"));
}
