//! The finished channel: what the index promises is there, hangs together, and is signed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use binhost::openpgp::Keyring;
use common::{options, sample};
use gentoo::binpkg::BinaryPackage;
use gentoo::dep::Tree;
use gentoo::gpkg::Signatures;
use gentoo::license::License;
use gentoo::{Atom, Dep};
use md5::{Digest, Md5};

#[test]
fn the_index_shows_all_that_gentoos_own_show() {
    let Some(sample) = sample() else { return };
    let names: BTreeSet<String> = sample.index.entries.iter().map(|e| e.cpv.cp()).collect();
    assert!(names.len() >= 200, "{}", names.len());
    assert!(sample.index.header["DESC"].contains("Debian"));
    let count = |what: &dyn Fn(&gentoo::index::Entry) -> bool| sample.index.entries.iter().filter(|e| what(e)).count();
    let dependencies = |e: &gentoo::index::Entry| format!("{} {} {}", e.rdepend, e.pdepend, e.idepend);
    assert!(count(&|e| e.rdepend.contains("|| (")) >= 8);
    assert!(count(&|e| e.rdepend.contains('!')) >= 10);
    assert!(count(&|e| e.rdepend.contains('=') && e.rdepend.contains(":0/")) >= 50);
    assert!(count(&|e| e.defined_phases != "-") >= 30);
    assert!(count(&|e| e.slot != e.subslot) >= 30);
    assert!(count(&|e| e.build_id.is_some_and(|id| id > 1)) >= 10);
    assert_eq!(count(&|e| dependencies(e).contains('?')), 0, "conditionals are evaluated in an index");
    assert_eq!(count(&|e| !e.desc.ends_with(')') || !e.desc.contains("(sample")), 0, "each says that it is a sample");
    assert_eq!(count(&|e| License::parse(&e.license).is_err() || e.license.is_empty()), 0);
}

#[test]
fn every_dependency_can_be_satisfied() {
    let Some(sample) = sample() else { return };
    for entry in &sample.index.entries {
        for text in [&entry.rdepend, &entry.pdepend, &entry.idepend] {
            let Tree::All(parts) = Dep::parse(text).unwrap() else { panic!("{text}") };
            for part in parts {
                let there = |atom: &&Atom| atom.blocker.is_some() || sample.find(atom).is_some();
                let fine = match &part {
                    Tree::AnyOf(choices) => choices.iter().any(|c| c.atoms().iter().all(&there)),
                    other => other.atoms().iter().all(there),
                };
                assert!(fine, "{} needs {part}, which is not in the sample", entry.cpv);
            }
        }
    }
}

#[test]
fn a_system_brings_all_libraries_it_needs() {
    let Some(sample) = sample() else { return };
    let mut atoms = sample.system();
    atoms.extend(["x11-misc/desktop-session", "www-client/dillo", "dev-vcs/git", "net-misc/curl"].map(str::to_owned));
    let atoms: Vec<&str> = atoms.iter().map(String::as_str).collect();
    let closure = sample.closure(&atoms);
    let provided: BTreeSet<&str> = closure.values().flat_map(|e| e.provides.split_whitespace()).collect();
    for entry in closure.values() {
        for soname in entry.requires.split_whitespace().filter(|word| !word.ends_with(':')) {
            assert!(provided.contains(soname), "{} needs {soname}", entry.cpv);
        }
    }
}

#[test]
fn packages_are_as_the_index_says_and_signed() {
    let Some(sample) = sample() else { return };
    let keyring = Keyring::from_armored(&sample.channel.keyring_armored).unwrap();
    // The large ones take their time and are no different; nor are three of four of the others.
    for entry in sample.index.entries.iter().filter(|e| e.size < 1 << 20).step_by(4) {
        let path = sample.channel.binhost_dir.join(&entry.path);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, entry.size);
        assert_eq!(Some(hex::encode(Md5::digest(&bytes))), entry.md5.as_ref().map(ToString::to_string));
        let package = BinaryPackage::open(File::open(&path).unwrap(), &entry.path, Signatures::Required(&keyring)).unwrap();
        assert!(package.is_signed());
        assert_eq!(package.cpv(), Some(entry.cpv.to_string()));
        assert_eq!(package.build_time(), Some(entry.build_time));
        assert_eq!(package.build_id(), entry.build_id);
        assert!(package.metadata.contains_key("environment.bz2"));
    }
}

#[test]
fn no_two_packages_that_fit_together_bring_the_same_file() {
    let Some(sample) = sample() else { return };
    let mut owners: BTreeMap<Vec<u8>, &gentoo::index::Entry> = BTreeMap::new();
    // The largest packages have folders of their own.
    for entry in sample.index.entries.iter().filter(|e| e.size < 4 << 20) {
        let path = sample.channel.binhost_dir.join(&entry.path);
        let package = BinaryPackage::open(File::open(&path).unwrap(), &entry.path, Signatures::Ignored).unwrap();
        for file in tar::Archive::new(package.image().unwrap()).entries().unwrap() {
            let file = file.unwrap();
            if file.header().entry_type() == tar::EntryType::Directory {
                continue;
            }
            if let Some(other) = owners.insert(file.path_bytes().into_owned(), entry) {
                let fine = other.cpv.cp() == entry.cpv.cp() || blocks(other, entry) || blocks(entry, other);
                assert!(fine, "{} and {} both bring {}", other.cpv, entry.cpv, String::from_utf8_lossy(&file.path_bytes()));
            }
        }
    }
}

fn blocks(one: &gentoo::index::Entry, other: &gentoo::index::Entry) -> bool {
    let dep = Dep::parse(&one.rdepend).unwrap();
    dep.atoms().iter().any(|atom| atom.blocker.is_some() && atom.matches_cpv(&other.cpv))
}

#[test]
fn making_it_again_changes_nothing() {
    let Some(sample) = sample() else { return };
    let time = |path: &str| std::fs::metadata(sample.channel.binhost_dir.join(path)).unwrap().modified().unwrap();
    let index = std::fs::read(sample.channel.binhost_dir.join("Packages")).unwrap();
    let (before, path) = (time("Packages"), &sample.index.entries[0].path);
    let package = std::fs::read(sample.channel.binhost_dir.join(path)).unwrap();
    sample::make(&options(), &mut |_, _, _| ()).unwrap();
    assert_eq!(std::fs::read(sample.channel.binhost_dir.join("Packages")).unwrap(), index);
    assert_eq!(std::fs::read(sample.channel.binhost_dir.join(path)).unwrap(), package);
    assert_eq!(time("Packages"), before);
}
