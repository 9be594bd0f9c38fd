//! The packages of the sample: which ones Portage was recorded with, and what of that holds today, as Debian's updates change some.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use composer::Root;
use gentoo::index::Packages;
use sha2::{Digest, Sha256};

use super::{Recording, order};
use crate::common::Bench;

/// The base with its links, accounts, set-id programs, capabilities, caches, every kind of script; merged first, in this order.
const BASE: [&str; 16] = [
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
/// Those of the base that Portage merges in every run of the tests.
const FEW: [&str; 6] =
    ["sys-apps/baselayout", "acct-group/sshd", "acct-user/sshd", "acct-group/shadow", "sys-apps/shadow", "net-misc/openssh"];
/// What cannot be installed beside other packages of the sample: a second init with its own udev, a second mail server.
const BESIDE: [&str; 2] = ["sys-apps/systemd", "mail-mta/nullmailer"];
/// What those of [`BESIDE`] need, besides the base, for their scripts and services.
const NEEDED_BESIDE: [&str; 50] = [
    "acct-group/input",
    "acct-group/kvm",
    "acct-group/nullmail",
    "acct-group/render",
    "acct-group/sgx",
    "acct-group/systemd-journal",
    "acct-group/systemd-network",
    "acct-group/systemd-resolve",
    "acct-group/systemd-timesync",
    "acct-group/utmp",
    "acct-user/nullmail",
    "acct-user/systemd-network",
    "acct-user/systemd-resolve",
    "acct-user/systemd-timesync",
    "app-arch/bzip2",
    "app-arch/lz4",
    "app-arch/xz-utils",
    "app-arch/zstd",
    "app-crypt/p11-kit",
    "dev-libs/gmp",
    "dev-libs/libffi",
    "dev-libs/libgcrypt",
    "dev-libs/libgpg-error",
    "dev-libs/libpcre2",
    "dev-libs/libtasn1",
    "dev-libs/libunistring",
    "dev-libs/nettle",
    "dev-libs/openssl",
    "net-dns/libidn2",
    "net-firewall/iptables",
    "net-libs/gnutls",
    "sys-apps/acl",
    "sys-apps/attr",
    "sys-apps/kmod",
    "sys-apps/util-linux",
    "sys-auth/pambase",
    "sys-devel/gcc",
    "sys-libs/glibc",
    "sys-libs/libapparmor",
    "sys-libs/libcap",
    "sys-libs/libcap-ng",
    "sys-libs/libseccomp",
    "sys-libs/libselinux",
    "sys-libs/libxcrypt",
    "sys-libs/pam",
    "sys-process/audit",
    "virtual/libsystemd-debian",
    "virtual/libudev",
    "virtual/tmpfiles",
    "virtual/udev",
];
/// Hatchery's own program is of this very build, so its package is never the recorded one.
const OF_THIS_BUILD: &str = "app-admin/hatchery-";

/// A choice of packages that can be installed beside each other.
#[derive(Clone, Copy, Debug)]
pub enum Choice {
    Few,
    /// All but [`BESIDE`].
    Most,
    /// The base, [`BESIDE`] and what that needs.
    Beside,
}

impl Choice {
    /// Of its recording, too.
    pub fn name(self) -> &'static str {
        match self {
            Choice::Few => "sample-few",
            Choice::Most => "sample",
            Choice::Beside => "sample-systemd",
        }
    }

    fn has(self, cp: &str) -> bool {
        match self {
            Choice::Few => FEW.contains(&cp),
            Choice::Most => !BESIDE.contains(&cp),
            Choice::Beside => BASE.iter().chain(&BESIDE).chain(&NEEDED_BESIDE).any(|name| *name == cp),
        }
    }

    /// The files by CPV: one of each slot, the newest build, in an order in which they can be merged. `None`, with a line that says so,
    /// where there is no sample.
    pub fn packages(self) -> Option<Vec<(String, PathBuf)>> {
        let binhost = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../var/sample/binhost");
        let Ok(index) = fs::read(binhost.join("Packages")) else {
            eprintln!("skipped: there is no sample in {}", binhost.display());
            return None;
        };
        let mut newest: BTreeMap<(String, String), (String, PathBuf)> = BTreeMap::new();
        let mut entries = Packages::parse(&index).unwrap().entries;
        entries.sort_by_key(|entry| (entry.build_time, entry.build_id));
        for entry in entries.iter().filter(|entry| self.has(&entry.cpv.cp())) {
            let file = (entry.cpv.to_string(), binhost.join(&entry.path));
            newest.insert((entry.cpv.cp(), entry.slot.to_string()), file);
        }
        let early = |cpv: &str| BASE.iter().position(|name| cpv.starts_with(&format!("{name}-"))).unwrap_or(BASE.len());
        let mut found: Vec<(String, PathBuf)> = newest.into_values().collect();
        found.sort_by_key(|(cpv, _)| (early(cpv), !cpv.starts_with("acct-group"), !cpv.starts_with("acct-user"), cpv.clone()));
        Some(found)
    }

    /// What Portage made of these packages when it was recorded, to be held against today's. `None`, with a line that says so, where there is
    /// no sample, or it is of another Debian.
    pub fn recording(self) -> Option<Recording> {
        let packages = self.packages()?;
        let mut recording = Recording::kept(self.name());
        let header = &mut recording.header;
        if header.debian != debian() {
            eprintln!("skipped: the recording is of Debian {}, and the sample of {}", header.debian, debian());
            return None;
        }
        header.steps = packages.iter().map(|(cpv, _)| format!("={cpv}")).collect();
        let is_as_recorded = |cpv: &str, path: &Path| header.packages.get(cpv) == Some(&content_hash(path));
        recording.renewed =
            packages.iter().filter(|(cpv, path)| !is_as_recorded(cpv, path)).map(|(cpv, _)| cpv.clone()).collect();
        let same = packages.len() - recording.renewed.len();
        assert!(
            same * 2 >= header.packages.len(),
            "only {same} of {} packages of the sample are still those that Portage was recorded with: record it anew (docs/composer.md)",
            header.packages.len()
        );
        println!("not as recorded: {:?}", recording.renewed);
        recording.files = packages.into_iter().collect();
        Some(recording)
    }
}

/// What the first line of a recording tells of the packages, as JSON.
pub fn about(packages: &[(String, PathBuf)]) -> String {
    let hashes: BTreeMap<&str, String> = packages.iter().map(|(cpv, path)| (cpv.as_str(), content_hash(path))).collect();
    serde_json::json!({ "packages": hashes, "debian": debian() }).to_string()
}

/// VERSION_ID of os-release(5).
fn debian() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default().trim_matches('"').to_owned()
}

/// A hash of what a GPKG's Manifest says of its metadata and image: signatures are others wherever a sample is made.
fn content_hash(path: &Path) -> String {
    let mut archive = tar::Archive::new(File::open(path).unwrap());
    let mut members = archive.entries_with_seek().unwrap().map(Result::unwrap);
    let mut manifest = members.find(|member| member.path_bytes().ends_with(b"/Manifest")).expect("a Manifest");
    let mut text = String::new();
    manifest.read_to_string(&mut text).unwrap();
    let is_content =
        |line: &&str| line.starts_with("DATA ") && !line.split(' ').nth(1).is_some_and(|name| name.ends_with(".sig"));
    let content: Vec<&str> = text.lines().filter(is_content).collect();
    assert_eq!(content.len(), 3, "{text}");
    hex::encode(Sha256::digest(content.join("\n")))[..16].to_owned()
}

/// The paths for which a recording holds.
pub struct Holding<'a> {
    recording: &'a Recording,
    same: BTreeSet<String>,
    renewed: BTreeSet<String>,
    /// Scripts of packages that are others now may have made what no package owns.
    unowned: bool,
}

impl Holding<'_> {
    pub fn of<'a>(recording: &'a Recording, bench: &Bench, root: &Root) -> Holding<'a> {
        let unowned = recording.renewed.iter().all(|cpv| cpv.starts_with(OF_THIS_BUILD));
        let mut holding = Holding { recording, same: BTreeSet::new(), renewed: BTreeSet::new(), unowned };
        if recording.renewed.is_empty() {
            return holding;
        }
        for cpv in recording.files.keys() {
            let contents = bench.read(root, &format!("/var/db/pkg/{cpv}/CONTENTS"));
            let own = if recording.renewed.contains(cpv) { &mut holding.renewed } else { &mut holding.same };
            own.extend(contents.lines().filter_map(order::path_of).map(|(_, path)| path.to_owned()));
        }
        holding
    }

    pub fn has(&self, path: &str) -> bool {
        if self.recording.renewed.is_empty() {
            return true;
        }
        match path.strip_prefix("/var/db/pkg/").map(|rest| rest.splitn(3, '/').collect::<Vec<_>>()).as_deref() {
            Some([category, package, ..]) => {
                let cpv = format!("{category}/{package}");
                self.recording.files.contains_key(&cpv) && !self.recording.renewed.contains(&cpv)
            }
            _ => !self.renewed.contains(path) && (self.unowned || self.same.contains(path)),
        }
    }
}
