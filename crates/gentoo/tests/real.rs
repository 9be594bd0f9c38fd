//! Real indexes: everything in them is understood, and printing gives back an equal thing.

use std::path::{Path, PathBuf};

use gentoo::index::Packages;
use gentoo::{Dep, Eapi};

const INDEXES: [&str; 6] = [
    "indexes/aarch64-2024-10-18.Packages",
    "indexes/x86_64-2022-11-18.Packages",
    "indexes/x86_64-musl-2020-single-instance.Packages",
    "binhost-amd64-gpkg/Packages",
    "binhost-amd64-xpak/Packages",
    "prefix-x86/Packages",
];

fn real_data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: {} is not there", dir.display());
    None
}

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
