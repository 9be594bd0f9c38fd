//! What the tree on disk is told and tells.

use super::super::wire::{Reply, receive};
use super::*;

fn entry(kind: WireKind, mode: u32) -> WireEntry {
    let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    WireEntry { kind, mode, uid, gid, mtime: 1_000_000, xattrs: Vec::new() }
}

fn file(text: &str) -> WireEntry {
    entry(WireKind::File { size: text.len() as u64, link: None }, 0o644)
}

fn scan(disk: &mut Disk) -> Vec<String> {
    let mut pipe = Vec::new();
    disk.scan(false, &mut pipe).unwrap();
    let mut input = pipe.as_slice();
    let mut told = Vec::new();
    while let Some(reply) = receive::<Reply>(&mut input).unwrap() {
        match reply {
            Reply::Gone { path } => told.push(format!("-{path}")),
            Reply::Found { path, entry } => {
                let mut body = vec![0; entry.body() as usize];
                input.read_exact(&mut body).unwrap();
                told.push(format!("+{path} {}", String::from_utf8(body).unwrap()));
            }
            other => panic!("{other:?}"),
        }
    }
    told
}

#[test]
fn only_changes_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(dir.path());
    disk.put("d", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    for name in ["d/a", "d/b", "d/c"] {
        disk.put(name, &file("one"), &mut "one".as_bytes()).unwrap();
    }
    disk.put("l", &entry(WireKind::Symlink { target: "d".into() }, 0o777), &mut io::empty()).unwrap();
    disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    disk.settle().unwrap();
    assert_eq!(scan(&mut disk), Vec::<String>::new());
    fs::write(dir.path().join("d/a"), "two").unwrap();
    fs::remove_file(dir.path().join("d/b")).unwrap();
    fs::remove_file(dir.path().join("l")).unwrap();
    fs::create_dir(dir.path().join("l")).unwrap();
    let told = scan(&mut disk);
    assert_eq!(told, ["-l", "-d/b", "+ ", "+d ", "+d/a two", "+l "]);
    assert_eq!(scan(&mut disk), Vec::<String>::new());
}

#[test]
fn a_link_left_by_a_phase_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(dir.path());
    std::os::unix::fs::symlink(outside.path(), dir.path().join("d")).unwrap();
    assert!(disk.put("d/evil", &file("x"), &mut "x".as_bytes()).is_err());
    assert!(disk.remove("d/../x").is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn hard_links_stay_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::new(dir.path());
    disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    disk.put("a", &entry(WireKind::File { size: 1, link: Some(7) }, 0o644), &mut "x".as_bytes()).unwrap();
    disk.put("b", &entry(WireKind::HardLink { to: "a".into(), link: 7 }, 0o644), &mut io::empty()).unwrap();
    disk.settle().unwrap();
    assert_eq!(scan(&mut disk), Vec::<String>::new());
    fs::write(dir.path().join("b"), "y").unwrap();
    assert_eq!(scan(&mut disk), ["+a y", "+b "]);
}

/// Everything that can be done to names, seen through watches: what is reported must be what a look at everything finds.
#[test]
fn touched_places_are_all_that_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::watched(dir.path());
    disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    for name in ["a", "a/deep", "b", "gone", "gone/sub"] {
        disk.put(name, &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    }
    for name in ["a/deep/x", "a/y", "b/z", "gone/sub/w", "still", "b/moved"] {
        disk.put(name, &file("one"), &mut "one".as_bytes()).unwrap();
    }
    disk.settle().unwrap();
    disk.arm();
    let at = |name: &str| dir.path().join(name);
    fs::rename(at("a"), at("c")).unwrap();
    fs::write(at("c/deep/x"), "two").unwrap();
    fs::remove_dir_all(at("gone")).unwrap();
    fs::create_dir_all(at("new/er")).unwrap();
    fs::write(at("new/er/f"), "new").unwrap();
    fs::hard_link(at("b/z"), at("new/z")).unwrap();
    fs::set_permissions(at("b"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::rename(at("b/moved"), at("b/there")).unwrap();
    disk.collect();
    let told = scan(&mut disk);
    let expected = [
        "-gone/sub/w",
        "-gone/sub",
        "-gone",
        "-b/moved",
        "-a/y",
        "-a/deep/x",
        "-a/deep",
        "-a",
        "+b ",
        "+b/there one",
        "+b/z one",
        "+c ",
        "+c/deep ",
        "+c/deep/x two",
        "+c/y one",
        "+new ",
        "+new/er ",
        "+new/er/f new",
        "+new/z ",
    ];
    assert_eq!(told, expected);
    // The directories that were moved or made are watched where they are now, and one name stands for all names of an inode.
    disk.arm();
    fs::write(at("c/deep/x"), "three").unwrap();
    fs::write(at("new/er/g"), "").unwrap();
    fs::write(at("new/z"), "linked").unwrap();
    disk.collect();
    assert_eq!(scan(&mut disk), ["+b/z linked", "+c/deep/x three", "+new/er/g ", "+new/z "]);
    disk.arm();
    fs::remove_file(at("new/z")).unwrap();
    disk.collect();
    assert_eq!(scan(&mut disk), ["-new/z", "+b/z linked"]);
    // Nothing was overlooked.
    disk.watcher = None;
    let rest: Vec<String> = scan(&mut disk).into_iter().filter(|line| !line.ends_with(' ')).collect();
    assert_eq!(rest, Vec::<String>::new());
}

#[test]
fn more_changes_than_the_kernel_notes_are_found_all_the_same() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    if limit > 100_000 {
        eprintln!("skipped: the queue of inotify is too long here to overflow quickly ({limit})");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut disk = Disk::watched(dir.path());
    disk.put("", &entry(WireKind::Dir, 0o755), &mut io::empty()).unwrap();
    disk.put("a", &file("one"), &mut "one".as_bytes()).unwrap();
    disk.put("b", &file("one"), &mut "one".as_bytes()).unwrap();
    disk.settle().unwrap();
    disk.arm();
    for turn in 0..limit {
        // Turn by turn another file, as equal events are counted as one.
        fs::set_permissions(dir.path().join(["a", "b"][turn % 2]), fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(dir.path().join("late"), "x").unwrap();
    disk.collect();
    assert_eq!(scan(&mut disk), ["+ ", "+a one", "+b one", "+late x"]);
}
