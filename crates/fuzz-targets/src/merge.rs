//! Merging an image of any tar archive as an ordinary build does.

use std::collections::BTreeMap;

use composer::{ComposeError, MergeRequest, Root, Unobserved};
use contract::{Plan, PlannedPackage};
use gentoo::binpkg::BinaryPackage;
use gentoo::compression::Compression;
use image::{Entry, Kind, Store};

use crate::containers;
use crate::tar_script::archive;

/// A place to merge in, used again and again.
pub struct Bench {
    dir: tempfile::TempDir,
    pub store: Store,
}

impl Bench {
    /// # Panics
    /// When there is no room for temporary files.
    #[allow(clippy::new_without_default, reason = "it makes a folder, which a default should not")]
    pub fn new() -> Bench {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(dir.path().join("store")).expect("a store");
        Bench { dir, store }
    }

    /// Merges one package as an ordinary build does.
    ///
    /// # Errors
    /// Those of [`composer::merge`].
    ///
    /// # Panics
    /// When anything appeared beside the store and the work folder.
    pub fn merge(&self, package: BinaryPackage) -> Result<Root, ComposeError> {
        let mut package = Some(package);
        let mut fetch = |_: &PlannedPackage| package.take().ok_or("fetched twice");
        let plan = plan();
        let work_dir = self.dir.path().join("work");
        let request = MergeRequest { plan: &plan, store: &self.store, work_dir: &work_dir, notice: "", base: None };
        let merged = composer::merge(request, &mut fetch, &Unobserved);
        let names = std::fs::read_dir(self.dir.path()).expect("the folder").flatten().map(|entry| entry.file_name());
        let outside: Vec<_> = names.filter(|name| name != "store" && name != "work").collect();
        assert!(outside.is_empty(), "{outside:?} appeared beside the store");
        merged
    }
}

/// A script of [`crate::tar_script`] as the image of an XPAK package: it is refused, or the root it gives is sound and holds nothing
/// that could reach out of it.
pub fn merge(data: &[u8]) {
    thread_local! {
        static BENCH: Bench = Bench::new();
    }
    let Some(package) = containers::package(&xpak_around(Compression::None, &archive(data))) else { return };
    BENCH.with(|bench| match bench.merge(package) {
        Ok(root) => check(&root, &bench.store),
        Err(error) => assert!(!error.message.is_empty()),
    });
}

/// An XPAK package `a/b-1` around the stream of an image, which is compressed already. The magic that tells an uncompressed archive is
/// looked for in its first header; where that is missing an empty directory goes before.
///
/// # Panics
/// Never: memory takes all that is written.
pub fn xpak_around(compression: Compression, image: &[u8]) -> Vec<u8> {
    let pairs = [("CATEGORY", "a\n"), ("PF", "b-1\n"), ("SLOT", "0\n"), ("DEFINED_PHASES", "install\n")];
    let metadata: BTreeMap<String, Vec<u8>> = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.as_bytes().to_vec())).collect();
    let mut segment = Vec::new();
    gentoo::xpak::write(&mut segment, &metadata, Compression::None, &mut |_| Ok(())).expect("memory takes all");
    let plain = compression == Compression::None && image.get(257..262) != Some(b"ustar");
    let root = if plain { archive(b"5\x1f./\x1f\x1f755")[..512].to_vec() } else { Vec::new() };
    // The writer's own empty image is two blocks of zeros.
    [root.as_slice(), image, &segment[1024..]].concat()
}

fn plan() -> Plan {
    let plan = serde_json::json!({
        "version": contract::plan::PLAN_VERSION,
        "arch": "amd64",
        "channel": "fuzz",
        "chost": "x86_64-pc-linux-gnu",
        "binhosts": [],
        "world": [],
        "packages": [{
            "cpv": "a/b-1", "slot": "0", "build_id": null, "build_time": 1, "use": [], "binhost": "fuzz", "path": "a/b-1.tbz2", "size": 0,
            "format": "xpak", "md5": null, "sha1": null, "sha256": null, "license": "", "repo": "", "because": [], "defined_phases": "install",
        }],
    });
    serde_json::from_value(plan).expect("a plan")
}

/// Holds a root against what everything after the merge relies on.
///
/// # Panics
/// When it is not sound.
pub fn check(root: &Root, store: &Store) {
    for (path, entry) in root.tree.iter() {
        let proper = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.iter().any(|b| matches!(b, 0 | b'\n' | b'\r'));
        assert!(path.is_empty() || path.split(|b| *b == b'/').all(proper), "{}", path.escape_ascii());
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &path[..at]);
        assert!(root.tree.get(parent).is_some_and(Entry::is_dir), "{} has no directory", path.escape_ascii());
        assert!(entry.mode <= 0o7777);
        assert!(!matches!(entry.kind, Kind::BlockDevice { .. }), "{} is a device", path.escape_ascii());
        if let Kind::File { blob, size, .. } = &entry.kind {
            assert_eq!(store.read(blob).expect("its content is there").len() as u64, *size);
        }
    }
    let contents = root.tree.read_file(store, "var/db/pkg/a/b-1/CONTENTS").expect("CONTENTS is a file").unwrap_or_default();
    let contents = String::from_utf8(contents).expect("CONTENTS is UTF-8");
    let known = |line: &str| ["dir /", "obj /", "sym /", "fif /"].iter().any(|word| line.starts_with(word));
    assert!(contents.lines().all(known), "{contents}");
}
