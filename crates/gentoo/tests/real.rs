//! Real indexes: everything in them is understood, and printing gives back an equal thing.

#[allow(dead_code)]
#[path = "oracle/common.rs"]
mod common;

use std::io::Read;

use common::{INDEXES, md5_cache, real_data};
use gentoo::index::Packages;
use gentoo::license::{License, LicenseGroups};
use gentoo::required_use::RequiredUse;
use gentoo::{Cpv, Dep, Eapi};

fn words(text: &str) -> Vec<&str> {
    text.split_ascii_whitespace().collect()
}

#[test]
fn every_index_is_read_and_written_back_to_an_equal_one() {
    let Some(real) = real_data() else { return };
    for name in INDEXES {
        let bytes = std::fs::read(real.join(name)).unwrap();
        let packages = Packages::parse(&bytes).unwrap();
        let stanzas = String::from_utf8(bytes).unwrap().lines().filter(|l| l.starts_with("CPV: ")).count();
        assert_eq!(packages.entries.len(), stanzas, "{name}");
        let written = Packages::parse(&packages.to_bytes()).unwrap();
        assert_eq!(written.entries, packages.entries, "{name}");
    }
}

#[test]
fn every_dependency_of_every_index_prints_back_equal() {
    let Some(real) = real_data() else { return };
    let mut strings = 0;
    for name in INDEXES {
        let packages = Packages::parse(&std::fs::read(real.join(name)).unwrap()).unwrap();
        for entry in &packages.entries {
            let eapi = Eapi::parse(&entry.eapi).unwrap();
            for text in [&entry.depend, &entry.rdepend, &entry.pdepend, &entry.bdepend, &entry.idepend] {
                let dep = Dep::parse(text).unwrap_or_else(|e| panic!("{name} {}: {e}", entry.cpv));
                assert_eq!(words(&dep.to_string()), words(text), "{name} {}", entry.cpv);
                for atom in dep.atoms() {
                    eapi.check_atom(atom).unwrap_or_else(|e| panic!("{name} {}: {e}", entry.cpv));
                }
                strings += usize::from(!text.is_empty());
            }
        }
    }
    assert!(strings > 5_000, "{strings}");
}

#[test]
fn every_expression_of_the_real_tree_prints_back_equal() {
    let Some(cache) = md5_cache() else { return };
    let mut strings = 0;
    for (cpv, fields) in &cache {
        assert_eq!(&Cpv::parse(cpv).unwrap().to_string(), cpv);
        for (key, text) in fields {
            let printed = match key.as_str() {
                "DEPEND" | "RDEPEND" | "PDEPEND" | "BDEPEND" | "IDEPEND" => Dep::parse(text).map(|dep| dep.to_string()),
                "LICENSE" => License::parse(text).map(|license| license.to_string()),
                "REQUIRED_USE" => RequiredUse::parse(text).map(|required| required.to_string()),
                _ => continue,
            };
            let printed = printed.unwrap_or_else(|e| panic!("{cpv} {key}: {e}"));
            assert_eq!(words(&printed), words(text), "{cpv} {key}");
            strings += 1;
        }
    }
    assert!(strings > 4_000, "{strings}");
}

#[test]
fn every_licence_of_every_index_is_understood() {
    let Some(real) = real_data() else { return };
    for name in INDEXES {
        for entry in Packages::parse(&std::fs::read(real.join(name)).unwrap()).unwrap().entries {
            let license = License::parse(&entry.license).unwrap_or_else(|e| panic!("{name} {}: {e}", entry.cpv));
            assert_eq!(words(&license.to_string()), words(&entry.license));
        }
    }
}

#[test]
fn the_licence_groups_known_without_a_tree_are_the_trees() {
    let Some(real) = real_data() else { return };
    let file = std::fs::File::open(real.join("gentoo-tree.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut text = String::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap().ends_with("profiles/license_groups") {
            entry.read_to_string(&mut text).unwrap();
            break;
        }
    }
    let mut of_tree = LicenseGroups::default();
    of_tree.read(&text);
    let ours = LicenseGroups::well_known();
    for group in ["FREE", "BINARY-REDISTRIBUTABLE"] {
        assert!(of_tree.members(group).len() > 250, "the tree defines @{group}");
        assert_eq!(ours.members(group), of_tree.members(group), "@{group}");
    }
}
