//! What the tests against real data share.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

pub const INDEXES: [&str; 6] = [
    "indexes/aarch64-2024-10-18.Packages",
    "indexes/x86_64-2022-11-18.Packages",
    "indexes/x86_64-musl-2020-single-instance.Packages",
    "binhost-amd64-gpkg/Packages",
    "binhost-amd64-xpak/Packages",
    "prefix-x86/Packages",
];

/// The folder of real Gentoo data, where the checkout has one beside it.
pub fn real_data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: {} is not there", dir.display());
    None
}

/// The md5-cache of the real tree: metadata by CPV.
pub fn md5_cache() -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let file = std::fs::File::open(real_data()?.join("gentoo-tree.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_string_lossy().into_owned();
        let Some((_, cpv)) = path.split_once("metadata/md5-cache/") else { continue };
        if !entry.header().entry_type().is_file() || !cpv.contains('/') || cpv.contains("Manifest") {
            continue;
        }
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let fields = text.lines().filter_map(|l| l.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        found.insert(cpv.to_owned(), fields);
    }
    assert!(found.len() > 1_000, "only {} entries", found.len());
    Some(found)
}

/// A small generator of repeatable choices (xorshift64*).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % sides
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }
}
