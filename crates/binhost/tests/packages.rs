//! Packages from a binhost: taken, kept, continued, and refused for every reason there is.

mod common;

use std::io::Read;

use binhost::openpgp::SigningKey;
use binhost::{BinhostError, Client, VerifiedPackage};
use common::{PATH, Reply, Server, access, gpkg, patience, planned, xpak};
use contract::lease::BinhostAccess;
use contract::{PackageFormat, PlannedPackage};
use gentoo::binpkg::Problem;
use gentoo::gpkg::SignatureProblem;

const TIME: u64 = 1_700_000_000;

struct Setting {
    server: Server,
    folder: tempfile::TempDir,
    client: Client,
    key: SigningKey,
    access: BinhostAccess,
}

fn setting() -> Setting {
    let (server, folder, key) = (Server::start(), tempfile::tempdir().unwrap(), SigningKey::generate("test").unwrap());
    let client = Client::with_patience(&folder.path().join("cache"), patience());
    let access = access(&server.uri, Some(&key));
    Setting { server, folder, client, key, access }
}

impl Setting {
    fn signed(&self) -> Vec<u8> {
        gpkg("1.0", TIME, Some(&self.key))
    }

    fn get(&self, planned: &PlannedPackage) -> Result<VerifiedPackage, BinhostError> {
        self.client.package(&self.access, planned, &mut |_| {})
    }

    /// The error for these bytes served under a plan's entry.
    fn refusal(&self, served: &[u8], planned: &PlannedPackage) -> BinhostError {
        self.server.set(PATH, Reply::Bytes(served.to_vec()));
        let error = self.get(planned).unwrap_err();
        assert!(!error.advice().is_empty());
        assert_eq!(error.package(), Some("app-misc/hello-1.0"), "{error}");
        assert!(error.to_string().contains("hello-1.0"), "{error}");
        let kept = self.folder.path().join("cache/package");
        assert!(std::fs::read_dir(kept).map_or(0, |entries| entries.count()) == 0, "a refused file must not be kept");
        error
    }
}

#[test]
fn a_signed_package_is_fetched_once_and_verified_each_time() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    let mut seen = Vec::new();
    let first = s.client.package(&s.access, &planned(&bytes), &mut |n| seen.push(n)).unwrap();
    assert!(first.package.is_signed());
    assert!(seen.is_sorted() && seen.last() == Some(&(bytes.len() as u64)));
    let mut pinned = planned(&bytes);
    pinned.sha256 = Some(first.sha256.clone());
    for plan in [planned(&bytes), pinned] {
        let again = s.get(&plan).unwrap();
        assert_eq!(again.sha256, first.sha256);
    }
    assert_eq!(s.server.requests(PATH).len(), 1);
    assert!(s.server.requests(PATH)[0].contains("user-agent: hatchery/"));
    // The signer is trusted no more: what is kept does not pass either.
    let stranger = access(&s.server.uri, Some(&SigningKey::generate("stranger").unwrap()));
    let error = s.client.package(&stranger, &planned(&bytes), &mut |_| {}).unwrap_err();
    let BinhostError::Package { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source.problem, Problem::Signature { problem: SignatureProblem::UnknownKey { .. }, .. }), "{error}");
}

#[test]
fn the_verified_bytes_are_the_ones_that_are_read() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    let verified = s.get(&planned(&bytes)).unwrap();
    // Whoever may write to the cache replaces the file after it was verified.
    let kept = s.folder.path().join("cache/package").join(&verified.sha256[..2]).join(&verified.sha256);
    std::fs::remove_file(&kept).unwrap();
    std::fs::write(&kept, "something else").unwrap();
    let mut image = Vec::new();
    verified.package.image().unwrap().read_to_end(&mut image).unwrap();
    assert!(image.len() > 100_000);
    // And the damaged copy is noticed and fetched anew.
    s.get(&planned(&bytes)).unwrap();
    assert_eq!(s.server.requests(PATH).len(), 2);
    assert_eq!(std::fs::read(&kept).unwrap(), bytes);
}

#[test]
fn a_broken_transfer_is_continued() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::BreakOnce(bytes.clone(), 50_000));
    s.get(&planned(&bytes)).unwrap();
    let requests = s.server.requests(PATH);
    assert_eq!(requests.len(), 2);
    assert!(requests[1].contains("range: bytes=50000-"), "{}", requests[1]);
}

#[test]
fn what_a_former_process_left_is_continued_or_thrown_away() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Stall(bytes.clone(), 40_000));
    let error = s.get(&planned(&bytes)).unwrap_err();
    assert!(matches!(error, BinhostError::Unreachable { .. }), "{error}");
    let partial = s.folder.path().join("cache/partial");
    let left: Vec<_> = std::fs::read_dir(&partial).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(left.len(), 1);
    assert_eq!(std::fs::metadata(&left[0]).unwrap().len(), 40_000);
    // The next one has another content before the place it continues from.
    std::fs::write(&left[0], vec![7; 40_000]).unwrap();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    s.get(&planned(&bytes)).unwrap();
    assert!(std::fs::read_dir(&partial).unwrap().next().is_none());
    let ranges: Vec<_> = s.server.requests(PATH).iter().map(|r| r.contains("range: bytes=40000-")).collect();
    assert_eq!(ranges[ranges.len() - 2..], [true, false]);
}

#[test]
fn a_server_without_ranges_is_asked_from_the_beginning() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Stall(bytes.clone(), 40_000));
    s.get(&planned(&bytes)).unwrap_err();
    s.server.set(PATH, Reply::Whole(bytes.clone()));
    s.get(&planned(&bytes)).unwrap();
}

#[test]
fn two_at_once_do_not_disturb_each_other() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    let plan = planned(&bytes);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..6).map(|_| scope.spawn(|| s.get(&plan).map(|v| v.sha256))).collect();
        for one in all {
            one.join().unwrap().unwrap();
        }
    });
    assert!(std::fs::read_dir(s.folder.path().join("cache/partial")).unwrap().next().is_none());
}

#[test]
fn a_missing_file_is_said_to_be_missing() {
    let s = setting();
    let plan = planned(b"x");
    let error = s.get(&plan).unwrap_err();
    assert!(matches!(error, BinhostError::Gone { .. }), "{error}");
    assert!(error.to_string().contains("no longer there"), "{error}");
    s.server.set(PATH, Reply::Status(503));
    assert!(matches!(s.get(&plan).unwrap_err(), BinhostError::Refused { status: 503, .. }));
}

#[test]
fn a_wrong_length_is_refused_without_reading_on() {
    let s = setting();
    let bytes = s.signed();
    let error = s.refusal(&bytes[..bytes.len() / 2], &planned(&bytes));
    assert!(matches!(error, BinhostError::Truncated { .. }) && error.to_string().contains("truncated"), "{error}");
    let error = s.refusal(&[&bytes[..], b"more"].concat(), &planned(&bytes));
    assert!(matches!(error, BinhostError::TooLong { .. }), "{error}");
    s.server.set(PATH, Reply::Endless);
    assert!(matches!(s.get(&planned(&bytes)).unwrap_err(), BinhostError::TooLong { .. }));
}

#[test]
fn tampering_is_noticed_by_the_index_by_the_signature_and_by_the_plan() {
    let s = setting();
    let bytes = s.signed();
    let mut tampered = bytes.clone();
    let middle = bytes.len() / 2;
    tampered[middle] ^= 1;
    let error = s.refusal(&tampered, &planned(&bytes));
    assert!(matches!(error, BinhostError::Altered { hash: "MD5", .. }), "{error}");
    // The index was tampered with as well.
    let error = s.refusal(&tampered, &planned(&tampered));
    let BinhostError::Package { source, .. } = &error else { panic!("{error}") };
    assert!(matches!(source.problem, Problem::WrongHash { .. }), "{error}");
    // Another good package where the plan is a lock.
    let mut plan = planned(&bytes);
    plan.sha256 = Some("0".repeat(64));
    assert!(matches!(s.refusal(&bytes, &plan), BinhostError::Replaced { .. }));
}

#[test]
fn unsigned_packages_need_the_operators_leave() {
    let s = setting();
    let (unsigned, xpak) = (gpkg("1.0", TIME, None), xpak("1.0", TIME));
    let error = s.refusal(&unsigned, &planned(&unsigned));
    assert!(matches!(&error, BinhostError::Package { source, .. } if matches!(source.problem, Problem::Unsigned)), "{error}");
    let mut plan = planned(&xpak);
    // A plan that expects a GPKG gets an XPAK: never a way around the signature, with leave or without.
    assert!(matches!(s.refusal(&xpak, &plan), BinhostError::Package { .. }));
    let open = BinhostAccess { allow_unsigned: true, ..s.access.clone() };
    assert!(matches!(s.client.package(&open, &plan, &mut |_| {}).unwrap_err(), BinhostError::Container { .. }));
    plan.format = PackageFormat::Xpak;
    assert!(matches!(s.get(&plan).unwrap_err(), BinhostError::UnsignedContainer { .. }));
    assert!(!s.client.package(&open, &plan, &mut |_| {}).unwrap().package.is_signed());
    let nothing = BinhostAccess { keyring: String::new(), ..s.access.clone() };
    assert!(matches!(s.client.package(&nothing, &plan, &mut |_| {}).unwrap_err(), BinhostError::NoKeyring { .. }));
    let garbled = BinhostAccess { keyring: "hello".into(), ..s.access.clone() };
    assert!(matches!(s.client.package(&garbled, &plan, &mut |_| {}).unwrap_err(), BinhostError::Keyring { .. }));
}

#[test]
fn an_unsigned_binhost_with_a_keyring_still_has_its_signatures_checked() {
    let s = setting();
    let open = BinhostAccess { allow_unsigned: true, ..s.access.clone() };
    let foreign = gpkg("1.0", TIME, Some(&SigningKey::generate("stranger").unwrap()));
    s.server.set(PATH, Reply::Bytes(foreign.clone()));
    let error = s.client.package(&open, &planned(&foreign), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("not among"), "{error}");
}

#[test]
fn another_package_in_its_place_is_noticed() {
    let s = setting();
    let cases = [(gpkg("0.9", TIME, Some(&s.key)), "CATEGORY/PF"), (gpkg("1.0", TIME - 1, Some(&s.key)), "BUILD_TIME")];
    for (bytes, expected) in cases {
        let error = s.refusal(&bytes, &planned(&bytes));
        assert!(matches!(error, BinhostError::Substituted { field, .. } if field == expected), "{error}");
    }
    let bytes = s.signed();
    let plan = PlannedPackage { build_id: Some(4), ..planned(&bytes) };
    assert!(matches!(s.refusal(&bytes, &plan), BinhostError::Substituted { field: "BUILD_ID", .. }));
    let plan = PlannedPackage { slot: "1".into(), ..planned(&bytes) };
    assert!(matches!(s.refusal(&bytes, &plan), BinhostError::Substituted { field: "SLOT", .. }));
    s.get(&PlannedPackage { slot: "0/0".into(), ..planned(&bytes) }).unwrap();
}

#[test]
fn paths_and_addresses_are_refused_before_anything_is_asked() {
    let s = setting();
    for path in ["../../etc/passwd", "/etc/passwd", "a\r\nHost: x", "a//b"] {
        let plan = PlannedPackage { path: path.into(), ..planned(b"x") };
        assert!(matches!(s.get(&plan).unwrap_err(), BinhostError::Path { .. }), "{path}");
    }
    for uri in ["http://u:p@127.0.0.1/", "http://127.0.0.1/\n", "ftp://127.0.0.1/"] {
        let access = BinhostAccess { uri: uri.into(), ..s.access.clone() };
        let error = s.client.package(&access, &planned(b"x"), &mut |_| {}).unwrap_err();
        assert!(matches!(error, BinhostError::Address { .. }) && !error.to_string().contains('\n'), "{error}");
    }
    assert!(s.server.log.lock().unwrap().is_empty());
}

#[test]
fn redirects_are_followed_within_the_web() {
    let s = setting();
    let bytes = s.signed();
    s.server.set("elsewhere", Reply::Bytes(bytes.clone()));
    s.server.set(PATH, Reply::Redirect("/b/elsewhere".into()));
    s.get(&planned(&bytes)).unwrap();
    let other = PlannedPackage { build_id: None, path: "other".into(), ..planned(&bytes) };
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "//u@127.0.0.1/x"] {
        s.server.set("other", Reply::Redirect(location.into()));
        assert!(matches!(s.get(&other).unwrap_err(), BinhostError::Redirect { .. }), "{location}");
    }
    s.server.set("other", Reply::Redirect("other".into()));
    assert!(matches!(s.get(&other).unwrap_err(), BinhostError::Unreachable { .. }));
}

#[test]
fn a_dead_binhost_is_unreachable_and_a_kept_package_still_serves() {
    let s = setting();
    let bytes = s.signed();
    let folder = s.folder.path().join("binhost");
    std::fs::create_dir_all(folder.join(PATH).parent().unwrap()).unwrap();
    std::fs::write(folder.join(PATH), &bytes).unwrap();
    let local = BinhostAccess { uri: format!("file://{}", folder.display()), ..s.access.clone() };
    s.client.package(&local, &planned(&bytes), &mut |_| {}).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    s.client.package(&local, &planned(&bytes), &mut |_| {}).unwrap();
    let gone = PlannedPackage { build_time: 5, ..planned(&bytes) };
    assert!(matches!(s.client.package(&local, &gone, &mut |_| {}).unwrap_err(), BinhostError::Gone { .. }));
    let dead = BinhostAccess { uri: "http://127.0.0.1:1/b".into(), ..s.access.clone() };
    let error = s.client.package(&dead, &planned(&bytes), &mut |_| {}).unwrap_err();
    assert!(matches!(error, BinhostError::Unreachable { .. }), "{error}");
}

#[test]
fn the_cache_is_trimmed_by_last_use() {
    let s = setting();
    let bytes = s.signed();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    let verified = s.get(&planned(&bytes)).unwrap();
    assert_eq!(s.client.trim_cache(bytes.len() as u64).unwrap(), 0);
    let partial = s.folder.path().join("cache/partial");
    for (name, days) in [("old", 30), ("new", 0)] {
        let file = std::fs::File::create(partial.join(name)).unwrap();
        file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(days * 86_400)).unwrap();
    }
    assert_eq!(s.client.trim_cache(0).unwrap(), bytes.len() as u64);
    assert!(!partial.join("old").exists() && partial.join("new").exists());
    assert!(std::io::copy(&mut verified.package.image().unwrap(), &mut std::io::sink()).unwrap() > 0);
    s.get(&planned(&bytes)).unwrap();
    assert_eq!(s.server.requests(PATH).len(), 2);
}

#[test]
fn a_full_disk_is_called_full() {
    let s = setting();
    let small = s.folder.path().join("small");
    std::fs::create_dir(&small).unwrap();
    let mount = |program: &str, args: &[&str]| {
        std::process::Command::new(program).args(args).arg(&small).output().is_ok_and(|done| done.status.success())
    };
    if !mount("mount", &["-t", "tmpfs", "-o", "size=64k", "tmpfs"]) {
        println!("skipped: a small disk cannot be mounted here");
        return;
    }
    let bytes = s.signed();
    s.server.set(PATH, Reply::Bytes(bytes.clone()));
    let error = Client::with_patience(&small, patience()).package(&s.access, &planned(&bytes), &mut |_| {}).unwrap_err();
    assert!(mount("umount", &["-l"]));
    assert!(matches!(error, BinhostError::DiskFull { .. }), "{error}");
    assert!(error.to_string().contains("disk is full"), "{error}");
}
