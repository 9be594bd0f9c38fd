//! Trees that nobody thought of.

use image::{Entry, Kind, Store, Tree};

use super::{EPOCH, add_file, content};

/// The block of squashfs, which is a border that contents are tried around.
const BLOCK: usize = 128 << 10;

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
pub fn random_tree(store: &Store, seed: u64) -> Tree {
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

/// Directories whose listings fill several blocks of metadata, with names of all lengths.
pub fn crowd(tree: &mut Tree, store: &Store) {
    let mut dice = Dice(7);
    for _ in 0..3000 {
        let name = dice.name();
        add_file(tree, store, &[b"crowd/".as_slice(), &name].concat(), b"one of many", 0o600);
    }
    (0..300).for_each(|n| tree.make_dirs(format!("folders/{n}/{n}")).unwrap());
    (0..300).for_each(|n| tree.hard_link(format!("crowd/{n}"), format!("folders/{n}/{n}/link")).unwrap_or_default());
}

pub fn tree_for_the_kernel(store: &Store) -> Tree {
    let mut tree = random_tree(store, 100);
    crowd(&mut tree, store);
    tree
}
