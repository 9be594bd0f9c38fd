//! GRUB's modules as the host has them, for trees that are to boot.

use std::fs;
use std::path::Path;

use image::{Store, Tree};

/// Puts them into a tree; false, with a line that says so, where the host lacks some.
pub fn add_grub(tree: &mut Tree, store: &Store) -> bool {
    let platforms = ["i386-pc", "x86_64-efi", "i386-efi"].map(|name| (name, Path::new("/usr/lib/grub").join(name)));
    if !platforms.iter().all(|(_, dir)| dir.join("normal.mod").is_file()) {
        println!("skipped: the host has no GRUB modules (Debian's grub-pc-bin, grub-efi-amd64-bin, grub-efi-ia32-bin)");
        return false;
    }
    for (name, dir) in platforms {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
            let inside = format!("usr/lib/grub/{name}/{}", path.file_name().unwrap().to_str().unwrap());
            super::add_file(tree, store, inside.as_bytes(), &fs::read(&path).unwrap(), 0o644);
        }
    }
    true
}
