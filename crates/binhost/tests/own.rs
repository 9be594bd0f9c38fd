//! A binhost of one's own: what is added is checked, numbered and signed, and others find it.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use binhost::openpgp::{Keyring, SigningKey};
use binhost::{AddError, Asked, OwnBinhost};
use gentoo::Atom;
use gentoo::binpkg::BinaryPackage;
use gentoo::gpkg::Signatures;
use gentoo::index::Packages;

fn built(dir: &Path, version: &str, time: u64) -> File {
    let path = dir.join("built");
    fs::write(&path, common::gpkg(version, time, None)).unwrap();
    File::open(path).unwrap()
}

#[test]
fn what_is_added_is_numbered_signed_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (key, folder) = (SigningKey::generate("Own <own@example.org>").unwrap(), dir.path().join("own"));
    let header = BTreeMap::from([("ARCH".to_owned(), "amd64".to_owned()), ("TTL".to_owned(), "9".to_owned())]);
    let own = OwnBinhost::open(&folder, &header).unwrap();
    let read = || Packages::parse(&fs::read(folder.join("Packages")).unwrap()).unwrap();
    let empty = read();
    assert_eq!((empty.entries.len(), empty.header["ARCH"].as_str()), (0, "amd64"));
    assert!(!empty.header.contains_key("TTL"), "it is asked for again each time");

    let package = Atom::parse("app-misc/hello").unwrap();
    let asked = Asked { package: &package, flags: &[] };
    let first = own.add(built(dir.path(), "1.0", 1_700_000_000), asked, &key).unwrap();
    assert_eq!((first.cpv.as_str(), first.path.as_str()), ("app-misc/hello-1.0", "app-misc/hello/hello-1.0-1.gpkg.tar"));
    assert_eq!(own.add(built(dir.path(), "1.0", 1_700_000_000), asked, &key).unwrap(), first, "the same is not added again");
    // Two at once, by two processes: each opens the folder for itself.
    std::thread::scope(|scope| {
        for time in [1_700_000_001, 1_700_000_002] {
            let (dir, folder, key, header) = (dir.path().join(time.to_string()), &folder, &key, &header);
            scope.spawn(move || {
                fs::create_dir(&dir).unwrap();
                OwnBinhost::open(folder, header).unwrap().add(built(&dir, "1.0", time), asked, key).unwrap();
            });
        }
    });
    let index = read();
    let mut numbers: Vec<u32> = index.entries.iter().filter_map(|entry| entry.build_id).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(index.timestamp() > empty.timestamp(), "who has the old index takes the new one for newer");

    let keyring = Keyring::from_armored(&key.certificate().unwrap()).unwrap();
    for entry in &index.entries {
        let file = File::open(folder.join(entry.path.as_str())).unwrap();
        assert_eq!(file.metadata().unwrap().len(), entry.size);
        let package = BinaryPackage::open(file, &entry.path, Signatures::Required(&keyring)).unwrap();
        assert_eq!((package.build_id(), package.build_time()), (entry.build_id, Some(entry.build_time)));
        let mut image = Vec::new();
        std::io::Read::read_to_end(&mut package.image().unwrap(), &mut image).unwrap();
        assert!(!image.is_empty(), "the image is there as it was");
    }
}

#[test]
fn what_was_not_asked_for_is_not_added() {
    let dir = tempfile::tempdir().unwrap();
    let (key, folder) = (SigningKey::generate("Own <own@example.org>").unwrap(), dir.path().join("own"));
    let own = OwnBinhost::open(&folder, &BTreeMap::new()).unwrap();
    let before = fs::read(folder.join("Packages")).unwrap();
    let other_flag = ["loud".to_owned()];
    for (package, flags) in [("app-misc/other", &[][..]), (">=app-misc/hello-2", &[]), ("app-misc/hello", &other_flag)] {
        let package = Atom::parse(package).unwrap();
        let asked = Asked { package: &package, flags };
        let refused = own.add(built(dir.path(), "1.0", 1_700_000_000), asked, &key);
        assert!(matches!(refused, Err(AddError::Another(_))), "{package}: {refused:?}");
    }
    let package = Atom::parse("app-misc/hello").unwrap();
    let mut cut = common::gpkg("1.0", 1_700_000_000, None);
    cut.truncate(cut.len() / 2);
    fs::write(dir.path().join("cut"), cut).unwrap();
    let asked = Asked { package: &package, flags: &[] };
    let refused = own.add(File::open(dir.path().join("cut")).unwrap(), asked, &key);
    assert!(matches!(refused, Err(AddError::Package(_))), "{refused:?}");
    assert_eq!(fs::read(folder.join("Packages")).unwrap(), before, "nothing is listed");
}
