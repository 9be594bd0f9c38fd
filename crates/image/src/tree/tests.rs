use super::*;
use crate::store::{BlobId, Store};

fn blob(text: &str) -> Entry {
    Entry::file(BlobId::of(text.as_bytes()), text.len() as u64, 0o644)
}

/// A root with merged /usr, a link out of the root and a loop.
fn sample() -> Tree {
    let mut tree = Tree::new();
    tree.insert("usr/bin/bash", blob("bash")).unwrap();
    tree.insert("usr/bin-extra/tool", blob("tool")).unwrap();
    tree.symlink("bin", "usr/bin").unwrap();
    tree.symlink("usr/bin/sh", "bash").unwrap();
    tree.symlink("var/run", "/run").unwrap();
    tree.symlink("escape", "../../../usr").unwrap();
    tree.symlink("loop", "loop2").unwrap();
    tree.symlink("loop2", "loop").unwrap();
    tree
}

fn names<'a>(list: impl IntoIterator<Item = (&'a [u8], &'a Entry)>) -> Vec<String> {
    list.into_iter().map(|(path, _)| escape(path)).collect()
}

#[test]
fn parents_are_made_and_children_listed() {
    let tree = sample();
    assert_eq!(tree.get("usr").unwrap(), &Entry::dir(0o755));
    assert_eq!(names(tree.children("")), ["bin", "escape", "loop", "loop2", "usr", "var"]);
    assert_eq!(names(tree.children("usr")), ["bin", "bin-extra"]);
    assert_eq!(names(tree.children("/usr/bin")), ["bash", "sh"]);
    assert_eq!(names(tree.children("usr/bin/bash")), [""; 0]);
    assert_eq!(names(tree.below("usr")), ["usr/bin", "usr/bin-extra", "usr/bin-extra/tool", "usr/bin/bash", "usr/bin/sh"]);
}

#[test]
fn directories_come_before_what_is_in_them() {
    let tree = sample();
    let mut seen = std::collections::BTreeSet::new();
    for (path, _) in tree.iter() {
        assert!(parent(path).is_none_or(|dir| seen.contains(dir)), "{}", escape(path));
        seen.insert(path.to_vec());
    }
    assert_eq!(seen.len(), tree.len());
}

#[test]
fn links_are_followed_inside_only() {
    let tree = sample();
    assert_eq!(tree.resolve("bin/sh").unwrap(), b"usr/bin/bash");
    assert_eq!(tree.resolve("/escape/bin/../bin/./sh").unwrap(), b"usr/bin/bash");
    assert_eq!(tree.resolve("../../bin").unwrap(), b"usr/bin");
    assert_eq!(tree.resolve("/").unwrap(), b"");
    assert_eq!(tree.resolve_parent("bin/sh").unwrap(), b"usr/bin/sh");
    assert_eq!(tree.resolve_parent("var/run/new/x").unwrap(), b"run/new/x");
    assert!(matches!(tree.resolve("loop"), Err(TreeError::LinkLoop(_))));
    assert!(matches!(tree.resolve("var/run"), Err(TreeError::NotFound(_))));
    assert!(matches!(tree.resolve("bin/bash/x"), Err(TreeError::NotADirectory(_))));
    assert!(matches!(tree.resolve("bin/a\0b"), Err(TreeError::BadPath(_))));
}

#[test]
fn growing_links_end() {
    let mut tree = Tree::new();
    tree.symlink("a", "b/b/b/b").unwrap();
    tree.symlink("b", "a/a/a/a").unwrap();
    assert!(matches!(tree.resolve("a"), Err(TreeError::LinkLoop(_))));
}

#[test]
fn hostile_paths_are_refused() {
    let mut tree = sample();
    let long = "x".repeat(256);
    for path in ["../x", "a/../b", "a//b", "a/", ".", "a/./b", "a\0", long.as_str()] {
        assert!(matches!(tree.insert(path, blob("")), Err(TreeError::BadPath(_))), "{path}");
    }
    assert!(matches!(tree.insert("bin/x", blob("")), Err(TreeError::NotADirectory(_))));
    assert!(matches!(tree.insert("usr", blob("")), Err(TreeError::IsADirectory(_))));
    assert!(matches!(tree.insert("", blob("")), Err(TreeError::IsADirectory(_))));
    assert_eq!(tree, sample());
}

#[test]
fn directories_over_directories_keep_what_is_inside() {
    let mut tree = sample();
    tree.insert("usr/bin", Entry::dir(0o711)).unwrap();
    assert_eq!(tree.get("usr/bin").unwrap().mode, 0o711);
    assert!(tree.contains("usr/bin/bash"));
    tree.insert("", Entry::dir(0o700)).unwrap();
    assert_eq!(tree.get("").unwrap().mode, 0o700);
}

#[test]
fn removal() {
    let mut tree = sample();
    assert!(matches!(tree.remove("usr"), Err(TreeError::IsADirectory(_))));
    assert!(matches!(tree.remove("nothing"), Err(TreeError::NotFound(_))));
    assert_eq!(tree.remove("usr/bin/sh").unwrap().kind, Kind::Symlink(b"bash".to_vec()));
    assert_eq!(tree.remove_all("usr/bin"), 2);
    assert!(tree.contains("usr/bin-extra/tool"));
    tree.remove_all("");
    assert!(tree.is_empty());
}

#[test]
fn renaming_moves_whole_directories() {
    let mut tree = sample();
    tree.rename("usr/bin", "opt/tools").unwrap();
    assert_eq!(names(tree.below("opt")), ["opt/tools", "opt/tools/bash", "opt/tools/sh"]);
    assert!(!tree.contains("usr/bin") && tree.contains("usr/bin-extra/tool"));
    assert!(matches!(tree.rename("opt", "opt/tools/opt"), Err(TreeError::IntoItself { .. })));
    assert!(matches!(tree.rename("loop", "opt"), Err(TreeError::IsADirectory(_))));
    tree.rename("loop", "opt/tools/bash").unwrap();
    assert!(tree.get("opt/tools/bash").unwrap().is_symlink());
}

#[test]
fn hard_links_count_once() {
    let mut tree = sample();
    tree.hard_link("usr/bin/bash", "usr/bin/rbash").unwrap();
    tree.hard_link("usr/bin/rbash", "usr/bin/b").unwrap();
    tree.hard_link("usr/bin-extra/tool", "tool").unwrap();
    assert!(matches!(tree.hard_link("bin", "x"), Err(TreeError::NotAFile(_))));
    let groups: Vec<usize> = tree.link_groups().values().map(Vec::len).collect();
    assert_eq!(groups, [3, 2]);
    let totals = tree.totals();
    assert_eq!((totals.files, totals.bytes), (2, 8));
    assert_eq!(totals.entries, tree.len() as u64);
}

#[test]
fn files_are_written_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut tree = sample();
    tree.set_time(7);
    tree.insert("run/old", blob("old").with_owner(3, 4)).unwrap();
    tree.write_file(&store, "var/run/old", b"new", 0o600).unwrap();
    let entry = tree.get("run/old").unwrap();
    assert_eq!((entry.mode, entry.uid, entry.gid, entry.mtime), (0o600, 3, 4, 7));
    assert_eq!(tree.read_file(&store, "var/run/old").unwrap().unwrap(), b"new");
    assert_eq!(tree.read_file(&store, "var/run/none").unwrap(), None);
    assert!(matches!(tree.read_file(&store, "usr"), Err(TreeError::NotAFile(_))));
    assert!(matches!(tree.read_file(&store, "bin/bash"), Err(TreeError::Store { .. })));
}

#[test]
fn a_tree_survives_serialization() {
    let mut tree = sample();
    tree.hard_link("usr/bin/bash", b"usr/bin/\xff\n\\".as_slice()).unwrap();
    let mut device = Entry::new(Kind::CharDevice { major: 1, minor: 3 }, 0o4666);
    device.xattrs.insert(b"user.\x80".to_vec(), vec![0, 255]);
    tree.insert("dev/null", device).unwrap();
    let text = serde_json::to_string(&tree).unwrap();
    let back: Tree = serde_json::from_str(&text).unwrap();
    assert_eq!(back, tree);
    let hostile = text.replace("usr/bin/bash", "usr/../bash");
    assert!(serde_json::from_str::<Tree>(&hostile).is_err());
}
