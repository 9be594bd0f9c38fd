//! What one sees in an image, and what one should.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::{Entry, Kind, Store, Tree};

use super::{EPOCH, run};

/// What one sees of a file in an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub kind: char,
    pub mode: u32,
    pub owner: (u64, u64),
    pub mtime: i64,
    pub device: (u32, u32),
    pub target: Vec<u8>,
    pub content: image::BlobId,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The least of its names.
    pub inode: Vec<u8>,
}

/// What the tree says, with times as formats keep them that have none before the epoch.
pub fn expected(tree: &Tree) -> BTreeMap<Vec<u8>, Seen> {
    expected_since(tree, 0)
}

pub fn expected_since(tree: &Tree, first: i64) -> BTreeMap<Vec<u8>, Seen> {
    let groups = tree.link_groups();
    let seen = |path: &[u8], entry: &Entry| {
        let nothing = image::BlobId::of(b"");
        let (kind, device, target, content) = match &entry.kind {
            Kind::Dir => ('d', (0, 0), Vec::new(), nothing),
            Kind::File { blob, .. } => ('f', (0, 0), Vec::new(), *blob),
            Kind::Symlink(target) => ('l', (0, 0), target.clone(), nothing),
            Kind::CharDevice { major, minor } => ('c', (*major, *minor), Vec::new(), nothing),
            Kind::BlockDevice { major, minor } => ('b', (*major, *minor), Vec::new(), nothing),
            Kind::Fifo => ('p', (0, 0), Vec::new(), nothing),
        };
        let inode = entry.link().and_then(|link| groups[&link].iter().min().copied()).unwrap_or(path).to_vec();
        let owner = (entry.uid.into(), entry.gid.into());
        let mtime = entry.mtime.clamp(first, EPOCH);
        Seen { kind, mode: entry.mode, owner, mtime, device, target, content, xattrs: entry.xattrs.clone(), inode }
    };
    tree.iter().map(|(path, entry)| (path.to_vec(), seen(path, entry))).collect()
}

pub fn assert_same(found: &BTreeMap<Vec<u8>, Seen>, expected: &BTreeMap<Vec<u8>, Seen>) {
    for (path, wanted) in expected {
        let name = String::from_utf8_lossy(path);
        assert_eq!(found.get(path), Some(wanted), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "nothing more than the tree has");
}

/// Set for the process that may mount: the image, and the type of its filesystem.
const IMAGE: &str = "HATCHERY_TEST_IMAGE";
const TYPE: &str = "HATCHERY_TEST_FILESYSTEM";

/// Lets the kernel mount an image, which stands beside its store, and calls the test `mounted` with it. With `writing` what the
/// kernel writes is in the image afterwards. False, with a line that says so, where that cannot be done.
pub fn by_the_kernel(image: &Path, kind: &str) -> bool {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap();
    if !nix::unistd::geteuid().is_root() || !filesystems.contains(kind) || !Path::new("/dev/loop-control").exists() {
        println!("skipped: mounting takes root, {kind} in the kernel, and loop devices");
        return false;
    }
    let mut command = Command::new("unshare");
    command.arg("-m").arg(std::env::current_exe().unwrap()).args(["--exact", "mounted"]);
    run(command.env(IMAGE, image).env(TYPE, kind));
    true
}

/// For the test `mounted`: does nothing unless it is called by the function above.
pub fn mounted(tree: fn(&Store) -> Tree, expected: fn(&Tree) -> BTreeMap<Vec<u8>, Seen>, writing: bool) {
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else { return };
    let kind = std::env::var(TYPE).unwrap();
    let dir = image.with_extension("mounted");
    fs::create_dir(&dir).unwrap();
    let options = if writing { "loop" } else { "ro,loop" };
    run(Command::new("mount").args(["-t", &kind, "-o", options]).arg(&image).arg(&dir));
    let tree = tree(&Store::open(image.with_extension("store")).unwrap());
    assert_same(&look_at(&tree, &dir), &expected(&tree));
    if writing {
        fs::remove_dir_all(dir.join("crowd")).unwrap();
        (0..500).for_each(|n| fs::write(dir.join(format!("new-{n}")), vec![b'n'; n * 50]).unwrap());
        fs::write(dir.join("large"), vec![7; 20 << 20]).unwrap();
    }
    run(Command::new("umount").arg(&dir));
}

fn look_at(tree: &Tree, dir: &Path) -> BTreeMap<Vec<u8>, Seen> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut inodes = BTreeMap::<u64, Vec<u8>>::new();
    for path in tree.iter().map(|(path, _)| path.to_vec()) {
        let place = dir.join(std::ffi::OsStr::from_bytes(&path));
        let meta = place.symlink_metadata().unwrap_or_else(|e| panic!("{}: {e}", place.display()));
        let kind = match meta.mode() & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o020_000 => 'c',
            0o060_000 => 'b',
            0o010_000 => 'p',
            _ => 'f',
        };
        let (device, minor) = (meta.rdev(), meta.rdev() & 0xff | meta.rdev() >> 12 & 0xf_ff00);
        // XFS shows its own form of access control lists besides the usual one.
        let is_own = |name: &std::ffi::OsString| !name.as_bytes().starts_with(b"trusted.SGI_ACL_");
        let xattrs = xattr::list(&place)
            .unwrap()
            .filter(is_own)
            .map(|name| (name.as_bytes().to_vec(), xattr::get(&place, &name).unwrap().unwrap()));
        let seen = Seen {
            kind,
            mode: meta.mode() & 0o7777,
            owner: (meta.uid().into(), meta.gid().into()),
            mtime: meta.mtime(),
            device: ((device >> 8 & 0xfff) as u32, minor as u32),
            target: if kind == 'l' { fs::read_link(&place).unwrap().into_os_string().as_bytes().to_vec() } else { Vec::new() },
            content: image::BlobId::of(&if kind == 'f' { fs::read(&place).unwrap() } else { Vec::new() }),
            xattrs: xattrs.collect(),
            inode: inodes.entry(meta.ino()).or_insert(path.clone()).clone(),
        };
        if kind == 'd' {
            let count = fs::read_dir(&place).unwrap().count();
            assert_eq!(count, tree.children(&path).len(), "{}", place.display());
        }
        found.insert(path, seen);
    }
    found
}
