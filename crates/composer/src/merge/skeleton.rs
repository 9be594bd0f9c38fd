//! The root that packages are merged into: empty but for what none of them brings, or what must be there before the first.

use image::{Entry, Tree};

use crate::ComposeError;

/// Directories with their modes. Packages may bring them again; they stay as they are then.
const DIRECTORIES: [(&str, u32); 17] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("opt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/lib", 0o755),
    ("var/tmp", 0o1777),
];

/// The links of a merged-usr layout, which no package holds (they came from the stage; news item 2022-12-01-systemd-usrmerge).
const LINKS: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/bin"), ("lib", "usr/lib"), ("usr/sbin", "bin")];

/// Architectures whose libraries are in lib64 (SYMLINK_LIB=no profiles).
const WITH_LIB64: [&str; 7] = ["amd64", "arm64", "loong", "ppc64", "riscv", "s390", "sparc"];

/// The tree to begin with.
pub fn tree(arch: &str) -> Result<Tree, ComposeError> {
    let mut tree = Tree::new();
    for (path, mode) in DIRECTORIES {
        tree.insert(path, Entry::dir(mode))?;
    }
    for (path, target) in LINKS {
        tree.symlink(path, target)?;
    }
    if WITH_LIB64.contains(&arch) {
        tree.insert("usr/lib64", Entry::dir(0o755))?;
        tree.symlink("lib64", "usr/lib64")?;
    }
    Ok(tree)
}
