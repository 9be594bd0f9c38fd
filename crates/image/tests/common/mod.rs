//! A tree with everything that formats stumble over, and ways to look at what was made of it.
#![allow(dead_code)]

pub mod grub;
pub mod random;
pub mod seen;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Entry, Kind, RootFilesystem, Store, Tree};

/// 2026-11-21 23:41:01 UTC.
pub const EPOCH: i64 = 1_795_304_461;

/// A folder with a store in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Place { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Progress that nobody watches.
pub fn go_on(_: u64, _: u64) -> bool {
    true
}

/// Content that compresses a little, different for each seed.
pub fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes()[..3]);
        bytes.extend_from_slice(b"hatch");
    }
    bytes.truncate(size);
    bytes
}

pub fn add_file(tree: &mut Tree, store: &Store, path: &[u8], bytes: &[u8], mode: u32) {
    let (blob, size) = store.put_bytes(bytes).unwrap();
    tree.insert(path, Entry::file(blob, size, mode).with_mtime(EPOCH - 86_400)).unwrap();
}

/// Plain files, directories and links: what every format carries and every user may unpack.
pub fn plain_tree(store: &Store) -> Tree {
    let mut tree = Tree::new();
    tree.set_time(EPOCH - 3600);
    tree.insert("", Entry::dir(0o755).with_mtime(EPOCH - 7)).unwrap();
    add_file(&mut tree, store, b"etc/hostname", b"hatchery\n", 0o644);
    add_file(&mut tree, store, b"etc/empty", b"", 0o600);
    add_file(&mut tree, store, b"usr/bin/tool", &content(70_000, 1), 0o755);
    add_file(&mut tree, store, b"usr/bin-extra", b"sorts between usr/bin and usr/bin/tool", 0o644);
    add_file(&mut tree, store, b"usr/share/exactly-one-piece", &content(1 << 20, 2), 0o644);
    add_file(&mut tree, store, b"usr/share/large", &content(5_000_001, 3), 0o644);
    add_file(&mut tree, store, b"usr/share/zeros", &vec![0; 3 << 20], 0o644);
    add_file(&mut tree, store, "usr/share/Grüße – 日本".as_bytes(), b"unicode", 0o644);
    add_file(&mut tree, store, b"usr/share/with space 'quote' $dollar `tick` -dash", b"specials", 0o644);
    let deep = format!("srv/{}/{}", ["directory-with-a-long-name"; 12].join("/"), "f".repeat(200));
    add_file(&mut tree, store, deep.as_bytes(), b"deep", 0o640);
    // 100 and 101 bytes with the leading `./`: the border of ustar's name field.
    for length in [98, 99] {
        add_file(&mut tree, store, "n".repeat(length).as_bytes(), b"border", 0o644);
        tree.symlink("l".repeat(length), "t".repeat(length + 2)).unwrap();
    }
    tree.insert("var/empty", Entry::dir(0o711).with_mtime(EPOCH - 5)).unwrap();
    tree.symlink("bin", "usr/bin").unwrap();
    tree.symlink("usr/dangling", format!("../{}", "x/".repeat(300))).unwrap();
    // Later than the image: becomes the image's own date.
    tree.get_mut("etc/hostname").unwrap().mtime = EPOCH + 1000;
    tree
}

/// The plain tree and all that needs privileges or that zip cannot carry.
pub fn full_tree(store: &Store) -> Tree {
    let mut tree = plain_tree(store);
    tree.hard_link("usr/bin/tool", "usr/bin/alias").unwrap();
    tree.hard_link("usr/bin/tool", "a-first-name").unwrap();
    add_file(&mut tree, store, b"usr/bin/su", b"set-id", 0o4711);
    add_file(&mut tree, store, b"usr/bin/ping", b"capable", 0o755);
    let ping = tree.get_mut("usr/bin/ping").unwrap();
    ping.xattrs.insert(b"security.capability".to_vec(), b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec());
    ping.xattrs.insert(b"user.note".to_vec(), b"line\nline".to_vec());
    add_file(&mut tree, store, b"usr/share/latin1-\xe9", b"not UTF-8", 0o644);
    tree.insert("tmp", Entry::dir(0o1777)).unwrap();
    tree.insert("home/user", Entry::dir(0o700).with_owner(1000, 1000)).unwrap();
    add_file(&mut tree, store, b"home/user/far", b"", 0o644);
    let far = tree.get_mut("home/user/far").unwrap();
    (far.uid, far.gid, far.mtime) = (3_000_000, 4_000_000, 1);
    tree.insert("dev/null", Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o666)).unwrap();
    tree.insert("dev/vda", Entry::new(Kind::BlockDevice { major: 254, minor: 300 }, 0o660).with_owner(0, 6)).unwrap();
    tree.insert("run/fifo", Entry::new(Kind::Fifo, 0o600)).unwrap();
    tree
}

/// Runs a program of the host; it must succeed.
pub fn run(command: &mut Command) -> Output {
    if command.get_envs().all(|(name, _)| name != "LC_ALL") {
        command.env("LC_ALL", "C");
    }
    let output = command.env("TZ", "UTC").output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    output
}

/// Tools of /sbin, which an ordinary user's PATH may lack.
pub fn sbin(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
    command
}

/// The program that looks for mistakes in a filesystem, changing nothing.
pub fn checker(filesystem: RootFilesystem, image: &Path) -> Command {
    let (program, args): (_, &[&str]) = match filesystem {
        RootFilesystem::Ext4 => ("e2fsck", &["-f", "-n"]),
        RootFilesystem::Btrfs => ("btrfs", &["check", "--readonly", "--check-data-csum"]),
        RootFilesystem::Xfs => ("xfs_repair", &["-n", "-f"]),
    };
    let mut command = sbin(program);
    command.args(args).arg(image);
    command
}

/// Whether a program is there; prints a line when a test has to do without.
pub fn have(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Compares an unpacked folder with the tree: kinds, contents, permissions, times, link targets; and that nothing is there besides.
pub fn assert_unpacked(tree: &Tree, store: &Store, dir: &Path, extra: usize) {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let mut expected = 0;
    for (path, entry) in tree.iter().filter(|(path, _)| !path.is_empty()) {
        let name = String::from_utf8_lossy(path).into_owned();
        let on_disk = dir.join(std::ffi::OsStr::from_bytes(path));
        let meta = on_disk.symlink_metadata().unwrap_or_else(|e| panic!("{name}: {e}"));
        match &entry.kind {
            Kind::Dir => assert!(meta.is_dir(), "{name}"),
            Kind::File { blob, .. } => assert!(std::fs::read(&on_disk).unwrap() == store.read(blob).unwrap(), "{name}"),
            Kind::Symlink(target) => assert_eq!(std::fs::read_link(&on_disk).unwrap().as_os_str().as_bytes(), target, "{name}"),
            other => panic!("{name}: {other:?} is not for unpacking"),
        }
        if !entry.is_symlink() {
            assert_eq!(meta.permissions().mode() & 0o7777, entry.mode, "{name}");
            assert_eq!(meta.mtime(), entry.mtime.min(EPOCH), "{name}");
        }
        expected += 1;
    }
    assert_eq!(count(dir), expected + extra, "nothing more than the tree has");
}

fn count(dir: &Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries.map(|entry| 1 + if entry.file_type().unwrap().is_dir() { count(&entry.path()) } else { 0 }).sum()
}
