//! Real binhosts, as their operators' folders: what the index says of each present package is what the package says.

use std::path::Path;

use binhost::{BinhostError, Client};
use contract::lease::BinhostAccess;
use contract::{PackageFormat, PlannedPackage};
use gentoo::index::Entry;

fn planned(entry: &Entry, format: PackageFormat) -> PlannedPackage {
    PlannedPackage {
        cpv: entry.cpv.to_string(),
        slot: entry.slot_text(),
        build_id: entry.build_id,
        build_time: entry.build_time,
        use_flags: entry.use_flags.iter().map(str::to_owned).collect(),
        binhost: "real".into(),
        path: entry.path.to_string(),
        size: entry.size,
        format,
        md5: entry.md5.as_deref().map(str::to_owned),
        sha1: entry.sha1.as_deref().map(str::to_owned),
        sha256: None,
        license: entry.license.to_string(),
        origin: None,
        repo: entry.repo.to_string(),
        defined_phases: String::new(),
        because: vec![],
    }
}

#[test]
fn every_present_package_of_the_real_binhosts_is_taken() {
    let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    let Ok(real) = real.canonicalize() else {
        println!("skipped: no real binhosts at ../shared/real");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let client = Client::new(folder.path());
    let binhosts = [
        ("binhost-amd64-gpkg", PackageFormat::Gpkg, 75),
        ("binhost-amd64-xpak", PackageFormat::Xpak, 151),
        ("prefix-x86", PackageFormat::Xpak, 180),
    ];
    for (name, format, present) in binhosts {
        let uri = format!("file://{}", real.join(name).display());
        let access = BinhostAccess { name: name.into(), uri, keyring: String::new(), allow_unsigned: true };
        let index = client.index(&access).unwrap();
        let (mut taken, mut gone) = (0, 0);
        for entry in &index.packages.entries {
            match client.package(&access, &planned(entry, format), &mut |_| {}) {
                Ok(verified) => {
                    assert!(!verified.package.is_signed());
                    taken += 1;
                }
                Err(BinhostError::Gone { .. }) => gone += 1,
                Err(error) => panic!("{error}"),
            }
        }
        println!("{name}: {taken} taken, {gone} gone");
        assert_eq!((taken, taken + gone), (present, index.packages.entries.len()), "{name}");
    }
}

#[test]
fn gentoos_own_keys_are_read_and_an_old_copy_of_them_is_complained_about() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real/keys/gentoo-release.asc");
    let Ok(text) = std::fs::read_to_string(file) else {
        println!("skipped: no keys at ../shared/real/keys");
        return;
    };
    let keyring = binhost::openpgp::Keyring::from_armored(&text).unwrap();
    assert!(keyring.fingerprints().contains(&"13EBBDBEDE7A12775DFDB1BABB572E0E2D182910".to_owned()));
    // This copy expired in 2023; a key that must not be relied on any more has to be seen before an order fails.
    assert!(keyring.complaints().iter().any(|complaint| complaint.contains("has expired")), "{:?}", keyring.complaints());
}
