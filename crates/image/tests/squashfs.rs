//! Squashfs images of trees that nobody thought of, read back by squashfs-tools-ng and by the kernel, made anew and from what was kept.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{EPOCH, Place, add_file, content, run};
use image::{Entry, Error, Kind, SquashCompressor, Store, Tree, WriteOptions, write_squashfs};

const BLOCK: usize = 128 << 10;

impl Place {
    /// Writes an image, and tells what it lost.
    fn write(&self, tree: &Tree, name: &str) -> (PathBuf, Vec<String>) {
        self.write_with(tree, name, SquashCompressor::Zstd, 0)
    }

    fn write_with(&self, tree: &Tree, name: &str, compressor: SquashCompressor, threads: usize) -> (PathBuf, Vec<String>) {
        let (out, options) = (self.path(name), WriteOptions { threads, ..WriteOptions::at(EPOCH) });
        let report = write_squashfs(tree, &self.store, compressor, &options, &out, &|_, _| true).unwrap();
        (out, report.notes)
    }

    /// How many forms are kept.
    fn forms(&self) -> u64 {
        let entries = fs::read_dir(self.path("store/forms")).unwrap().map(|entry| entry.unwrap());
        entries
            .filter(|entry| entry.path().extension().is_some_and(|e| e == "index"))
            .map(|e| e.metadata().unwrap().len() / 64)
            .sum()
    }
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }

    fn name(&mut self) -> Vec<u8> {
        // No line ends: the tar crate cannot read the headers that hold them.
        let letters = b"abcdefghijklmnopqrstuvwxyz0123456789-_. ~\t\xc3\xff";
        let longest = self.of(&[2, 8, 8, 30, 255]);
        let length = 1 + self.below(longest);
        let mut name: Vec<u8> = (0..length).map(|_| self.of(letters)).collect();
        name[0] = self.of(b"abcxyz\xe9");
        name
    }

    fn file(&mut self) -> Vec<u8> {
        let small = [0, 1, 100, 4000, 40_000];
        let large = [BLOCK - 1, BLOCK, BLOCK + 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 19];
        let size = if self.below(5) == 0 { self.of(&large) } else { self.of(&small) };
        let seed = self.below(30);
        match self.below(8) {
            0 => vec![0; size],
            // Not to be compressed.
            1 => noise(size, seed),
            // A hole inside.
            2 => [content(size, seed), vec![0; 2 * BLOCK], content(size / 9, seed)].concat(),
            _ => content(size, seed),
        }
    }

    fn metadata(&mut self, entry: &mut Entry) {
        entry.mode = self.of(&[0o644, 0o755, 0o4711, 0o2755, 0o1777, 0, 0o7777]);
        entry.uid = self.of(&[0, 0, 0, 1000, 65_534, u32::MAX - 1]);
        entry.gid = self.of(&[0, 0, 0, 5, 3_000_000]);
        entry.mtime = self.of(&[0, 1, EPOCH, EPOCH - 1, EPOCH + 1, -1]);
        for _ in 0..self.of(&[0, 0, 0, 1, 2]) {
            // Those of users are for files and directories only.
            let user = if entry.is_file() || entry.is_dir() { "user.a" } else { "trusted.a" };
            let name = self.of(&[user, "trusted.long-name", "security.ima", "security.selinux"]);
            let size = self.of(&[0, 1, 20, 20, 9000]);
            entry.xattrs.insert(name.into(), (0..size).map(|at| (at * 7 % 200 + 50) as u8).collect());
        }
    }
}

fn noise(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed << 7 | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Some hundred entries of all kinds.
fn random_tree(store: &Store, seed: u64) -> Tree {
    let (mut dice, mut tree, mut folders, mut files) = (Dice(seed), Tree::new(), vec![Vec::new()], Vec::<Vec<u8>>::new());
    for _ in 0..100 + dice.below(100) {
        let folder = folders[dice.below(folders.len() as u64) as usize].clone();
        let path = if folder.is_empty() { dice.name() } else { [folder.as_slice(), b"/", &dice.name()].concat() };
        if tree.contains(&path) || path.len() > 3000 {
            continue;
        }
        let mut entry = match dice.below(12) {
            0..3 => Entry::dir(0o755),
            3 => Entry::symlink(dice.name()),
            4 => Entry::new(Kind::CharDevice { major: dice.of(&[1, 4095]), minor: dice.of(&[3, 300, 0xf_ffff]) }, 0),
            5 => Entry::new(Kind::Fifo, 0),
            6 => Entry::new(Kind::BlockDevice { major: 259, minor: 70_000 }, 0),
            7 if !files.is_empty() => {
                let first: Vec<u8> = files[dice.below(files.len() as u64) as usize].clone();
                tree.hard_link(&first, &path).unwrap();
                continue;
            }
            _ => {
                let (blob, size) = store.put_bytes(&dice.file()).unwrap();
                files.push(path.clone());
                Entry::file(blob, size, 0)
            }
        };
        dice.metadata(&mut entry);
        if entry.is_dir() {
            folders.push(path.clone());
        }
        if entry.is_symlink() {
            entry.mode = 0o777;
        }
        tree.insert(&path, entry).unwrap();
    }
    tree
}

/// What one sees of a file in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    kind: char,
    mode: u32,
    owner: (u64, u64),
    mtime: i64,
    device: (u32, u32),
    target: Vec<u8>,
    content: image::BlobId,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The least of its names.
    inode: Vec<u8>,
}

fn expected(tree: &Tree) -> BTreeMap<Vec<u8>, Seen> {
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
        let mtime = entry.mtime.clamp(0, EPOCH);
        Seen { kind, mode: entry.mode, owner, mtime, device, target, content, xattrs: entry.xattrs.clone(), inode }
    };
    tree.iter().map(|(path, entry)| (path.to_vec(), seen(path, entry))).collect()
}

/// What squashfs-tools-ng sees in an image.
fn by_sqfs2tar(image: &Path) -> BTreeMap<Vec<u8>, Seen> {
    let mut names = BTreeMap::<Vec<u8>, Seen>::new();
    let output = run(Command::new("sqfs2tar").args(["--root-becomes", "."]).arg(image));
    let mut archive = tar::Archive::new(output.stdout.as_slice());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let plain = |path: &[u8]| {
            let path = path.strip_prefix(b".").unwrap_or(path);
            path.strip_prefix(b"/").unwrap_or(path).strip_suffix(b"/").unwrap_or(path.strip_prefix(b"/").unwrap_or(path)).to_vec()
        };
        let path = plain(&entry.path_bytes());
        let pax: Vec<(Vec<u8>, Vec<u8>)> = (entry.pax_extensions().unwrap().into_iter().flatten())
            .map(|pair| pair.map(|pair| (pair.key_bytes().to_vec(), pair.value_bytes().to_vec())).unwrap())
            .collect();
        let xattrs = pax.iter().filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())));
        let target = entry.link_name_bytes().map(|name| name.to_vec()).unwrap_or_default();
        let header = entry.header().clone();
        let kind = match header.entry_type() {
            tar::EntryType::Directory => 'd',
            tar::EntryType::Symlink => 'l',
            tar::EntryType::Char => 'c',
            tar::EntryType::Block => 'b',
            tar::EntryType::Fifo => 'p',
            tar::EntryType::Link => {
                let first = names[&plain(&target)].clone();
                names.insert(path, first);
                continue;
            }
            _ => 'f',
        };
        let device = match kind {
            'c' | 'b' => (header.device_major().unwrap().unwrap(), header.device_minor().unwrap().unwrap()),
            _ => (0, 0),
        };
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        let seen = Seen {
            kind,
            mode: header.mode().unwrap() & 0o7777,
            owner: (header.uid().unwrap(), header.gid().unwrap()),
            mtime: header.mtime().unwrap() as i64,
            device,
            target: if kind == 'l' { target } else { Vec::new() },
            content: image::BlobId::of(&bytes),
            xattrs: xattrs.collect(),
            inode: path.clone(),
        };
        names.insert(path, seen);
    }
    // Inodes by the least name of theirs, whichever came first in the archive.
    let mut least = BTreeMap::<Vec<u8>, Vec<u8>>::new();
    names.iter().rev().for_each(|(path, seen)| _ = least.insert(seen.inode.clone(), path.clone()));
    names.values_mut().for_each(|seen| seen.inode = least[&seen.inode].clone());
    names
}

fn assert_same(found: &BTreeMap<Vec<u8>, Seen>, expected: &BTreeMap<Vec<u8>, Seen>) {
    for (path, wanted) in expected {
        let name = String::from_utf8_lossy(path);
        assert_eq!(found.get(path), Some(wanted), "{name}");
    }
    assert_eq!(found.len(), expected.len(), "nothing more than the tree has");
}

#[test]
fn random_trees_come_back() {
    for seed in 1..5 {
        let place = Place::new();
        let tree = random_tree(&place.store, seed);
        let wanted = expected(&tree);
        for compressor in SquashCompressor::ALL.into_iter().take(if seed == 1 { 2 } else { 1 }) {
            let (image, notes) = place.write_with(&tree, "image", compressor, 3);
            assert_eq!(notes, [""; 0]);
            assert_same(&by_sqfs2tar(&image), &wanted);
            let forms = place.forms();
            let (again, _) = place.write_with(&tree, "again", compressor, 1);
            assert!(fs::read(&image).unwrap() == fs::read(again).unwrap(), "the same from what was kept");
            assert_eq!(place.forms(), forms, "nothing is compressed again");
        }
    }
}

/// Directories whose listings fill several blocks of metadata, with names of all lengths.
fn crowd(tree: &mut Tree, store: &Store) {
    let mut dice = Dice(7);
    for _ in 0..3000 {
        let name = dice.name();
        add_file(tree, store, &[b"crowd/".as_slice(), &name].concat(), b"one of many", 0o600);
    }
    (0..300).for_each(|n| tree.make_dirs(format!("folders/{n}/{n}")).unwrap());
    (0..300).for_each(|n| tree.hard_link(format!("crowd/{n}"), format!("folders/{n}/{n}/link")).unwrap_or_default());
}

#[test]
fn crowded_directories_come_back() {
    let place = Place::new();
    let mut tree = Tree::new();
    crowd(&mut tree, &place.store);
    let (image, _) = place.write(&tree, "image");
    assert_same(&by_sqfs2tar(&image), &expected(&tree));
}

/// Set for the process that may mount; says what.
const IMAGE: &str = "HATCHERY_TEST_IMAGE";

fn tree_for_the_kernel(store: &Store) -> Tree {
    let mut tree = random_tree(store, 100);
    crowd(&mut tree, store);
    tree
}

/// Does nothing unless it is called by the test below.
#[test]
fn mounted() {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let Some(image) = std::env::var_os(IMAGE).map(PathBuf::from) else { return };
    let dir = image.with_extension("mounted");
    fs::create_dir(&dir).unwrap();
    run(Command::new("mount").args(["-t", "squashfs", "-o", "ro,loop"]).arg(&image).arg(&dir));
    let tree = tree_for_the_kernel(&Store::open(image.with_extension("store")).unwrap());
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
        let xattrs =
            xattr::list(&place).unwrap().map(|name| (name.as_bytes().to_vec(), xattr::get(&place, &name).unwrap().unwrap()));
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
    assert_same(&found, &expected(&tree));
}

#[test]
fn the_kernel_reads_it() {
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap();
    if !nix::unistd::geteuid().is_root() || !filesystems.contains("squashfs") || !Path::new("/dev/loop-control").exists() {
        return println!("skipped: mounting takes root, squashfs in the kernel, and loop devices");
    }
    let place = Place::new();
    let tree = tree_for_the_kernel(&place.store);
    for compressor in SquashCompressor::ALL {
        let (image, _) = place.write_with(&tree, &format!("image-{compressor:?}"), compressor, 0);
        let mut command = Command::new("unshare");
        command.arg("-m").arg(std::env::current_exe().unwrap()).args(["--exact", "mounted"]).env(IMAGE, &image);
        run(&mut command);
    }
}

/// Some hundred small files in folders of packages.
fn packages(tree: &mut Tree, store: &Store, names: impl Iterator<Item = u64>) {
    for package in names {
        for n in 0..8 {
            let path = format!("usr/share/doc/package-{package:03}/file-{n}");
            add_file(tree, store, path.as_bytes(), &content(5000 + 1000 * n as usize, package * 100 + n), 0o644);
        }
        let path = format!("usr/bin/command-{package:03}");
        add_file(tree, store, path.as_bytes(), &content(20_000, package * 100 + 9), 0o755);
        let path = format!("usr/lib/library-{package:03}");
        add_file(tree, store, path.as_bytes(), &content(140_000, package * 100 + 10), 0o755);
    }
}

#[test]
fn five_new_packages_leave_the_rest_alone() {
    let place = Place::new();
    let mut tree = Tree::new();
    packages(&mut tree, &place.store, (0..120).filter(|n| n % 24 != 12));
    place.write(&tree, "before");
    let before = place.forms();
    packages(&mut tree, &place.store, (12..120).step_by(24));
    let (warm, _) = place.write(&tree, "after");
    let new = place.forms() - before;
    // Five libraries; the others are five folders and five commands that fall into fragments, each with some neighbours.
    assert!(new <= 60 && before > 200, "{new} of {before}");
    let elsewhere = Place::new();
    packages(&mut Tree::new(), &elsewhere.store, 0..120);
    let (cold, _) = elsewhere.write(&tree, "after");
    assert!(fs::read(warm).unwrap() == fs::read(cold).unwrap(), "what was kept is what would be made");
}

#[test]
fn damaged_forms_are_made_again() {
    let place = Place::new();
    let mut tree = Tree::new();
    packages(&mut tree, &place.store, 0..20);
    add_file(&mut tree, &place.store, b"large", &content(9_000_001, 1), 0o644);
    let (image, _) = place.write(&tree, "image");
    let image = fs::read(image).unwrap();
    let entries = fs::read_dir(place.path("store/forms")).unwrap().map(|entry| entry.unwrap().path());
    let pack = entries.filter(|path| path.extension().is_some_and(|e| e == "pack")).max().unwrap();
    for at in [10, 500_000, 2_000_000] {
        let mut bytes = fs::read(&pack).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= 1;
        fs::write(&pack, bytes).unwrap();
        // A handle of its own, as another process has.
        let options = WriteOptions::at(EPOCH);
        let store = Store::open(place.path("store")).unwrap();
        let out = place.path("again");
        write_squashfs(&tree, &store, SquashCompressor::Zstd, &options, &out, &|_, _| true).unwrap();
        assert!(fs::read(&out).unwrap() == image, "{at}");
    }
}

#[test]
fn what_it_cannot_carry_is_said() {
    let place = Place::new();
    let mut tree = Tree::new();
    add_file(&mut tree, &place.store, b"etc/acl", b"x", 0o644);
    tree.get_mut("etc/acl").unwrap().xattrs.insert(b"system.posix_acl_access".to_vec(), b"\x02\0\0\0".to_vec());
    assert_eq!(place.write(&tree, "image").1, ["squashfs: /etc/acl loses the attribute system.posix_acl_access"]);

    for id in 0..33_000 {
        tree.insert(format!("{id}"), Entry::dir(0o755).with_owner(id, 100_000 + id)).unwrap();
    }
    let out = place.path("too-many");
    let options = WriteOptions::at(EPOCH);
    let error = write_squashfs(&tree, &place.store, SquashCompressor::Zstd, &options, &out, &|_, _| true).unwrap_err();
    assert!(matches!(&error, Error::Boot(said) if said.contains("65535 different owners")), "{error}");
    assert!(File::open(out).is_err());
}
