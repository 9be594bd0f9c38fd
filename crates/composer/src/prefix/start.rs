//! What a prefix needs beside its packages to be entered from the host.

use image::{Entry, Store, Tree};

use crate::ComposeError;

const ENTER: &str = include_str!("enter.sh");
/// Files that a prefix takes from its host, where no package brings them: its own C library looks for them below EPREFIX.
const FROM_HOST: [&str; 5] = ["passwd", "group", "hosts", "resolv.conf", "localtime"];
/// Folders that programs expect, with their modes.
const DIRECTORIES: [(&str, u32); 4] = [("etc", 0o755), ("tmp", 0o1777), ("var/tmp", 0o1777), ("usr/local/bin", 0o755)];

/// Writes `EPREFIX/enter`, which starts a shell inside; `startprefix`, the name that Gentoo's own documentation tells, leads to it where
/// app-portage/prefix-toolkit brings none.
///
/// # Errors
/// Of the store, and when packages hold something else in the places of these files.
pub fn write(tree: &mut Tree, store: &Store, prefix: &str, notice: &str) -> Result<(), ComposeError> {
    let notice = notice.replace(char::is_control, " ");
    let script = ENTER.replace("@EPREFIX@", prefix).replace("@NOTICE@", &notice);
    tree.write_file(store, "enter", script.as_bytes(), 0o755)?;
    if !tree.contains("startprefix") {
        tree.symlink("startprefix", "enter")?;
    }
    for (path, mode) in DIRECTORIES {
        if tree.lookup(path).is_err() {
            tree.make_dirs(path)?;
            tree.insert(path, Entry::dir(mode))?;
        }
    }
    for name in FROM_HOST {
        let path = format!("etc/{name}");
        if !tree.contains(&path) {
            tree.symlink(&path, format!("/etc/{name}"))?;
        }
    }
    Ok(())
}
