//! Every format is read back by the tools people use and compared with the tree.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{EPOCH, Place, assert_unpacked, full_tree, go_on, have, plain_tree, run};
use image::{Compression, Entry, Kind, SquashCompressor, Tree, WriteOptions, write_squashfs, write_tar, write_zip};

/// What `tar -tvv --numeric-owner --full-time --quoting-style=escape` prints for a tree, in order.
fn expected_listing(tree: &Tree) -> Vec<String> {
    let mut first_names = BTreeMap::new();
    let mut lines = Vec::new();
    let mut entries: Vec<_> = tree.iter().collect();
    entries.sort_by_key(|(path, _)| path.split(|b| *b == b'/').collect::<Vec<_>>());
    for (path, entry) in entries {
        let first = entry.link().map(|link| *first_names.entry(link).or_insert(path)).filter(|first| *first != path);
        let (letter, size, end) = match (&entry.kind, first) {
            (_, Some(first)) => ('h', "0".into(), format!(" link to ./{}", quoted(first))),
            (Kind::Dir, _) => ('d', "0".into(), if path.is_empty() { "" } else { "/" }.into()),
            (Kind::File { size, .. }, _) => ('-', size.to_string(), String::new()),
            (Kind::Symlink(target), _) => ('l', "0".into(), format!(" -> {}", quoted(target))),
            (Kind::CharDevice { major, minor }, _) => ('c', format!("{major},{minor}"), String::new()),
            (Kind::BlockDevice { major, minor }, _) => ('b', format!("{major},{minor}"), String::new()),
            (Kind::Fifo, _) => ('p', "0".into(), String::new()),
        };
        let mode = permissions(entry);
        let (uid, gid, time) = (entry.uid, entry.gid, entry.mtime.min(EPOCH));
        lines.push(format!("{letter}{mode} {uid}/{gid} {size} {time} ./{}{end}", quoted(path)));
    }
    lines
}

fn permissions(entry: &Entry) -> String {
    let mode = entry.mode;
    let mut text: Vec<char> =
        "rwxrwxrwx".chars().enumerate().map(|(i, c)| if mode >> (8 - i) & 1 == 1 { c } else { '-' }).collect();
    for (bit, at, set, unset) in [(0o4000, 2, 's', 'S'), (0o2000, 5, 's', 'S'), (0o1000, 8, 't', 'T')] {
        if mode & bit != 0 {
            text[at] = if text[at] == 'x' { set } else { unset };
        }
    }
    text.into_iter().collect()
}

/// GNU tar's escape quoting in the C locale: octal for what is not printable ASCII.
fn quoted(bytes: &[u8]) -> String {
    bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b).to_string() } else { format!("\\{b:03o}") }).collect()
}

/// The listing of a tar file, columns separated by one space and times as seconds.
fn listing(tar: &Path) -> Vec<String> {
    let args = ["-tvv", "--numeric-owner", "--full-time", "--quoting-style=escape", "-f"];
    let output = run(Command::new("tar").args(args).arg(tar));
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(errors, "", "tar has something to say");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(normal_line).collect()
}

fn normal_line(line: &str) -> String {
    let mut rest = line;
    let mut next = || {
        let (word, tail) = rest.trim_start().split_once(' ').unwrap();
        rest = tail;
        word.to_owned()
    };
    let (mode, owner, size, day, time) = (next(), next(), next(), next(), next());
    let seconds = seconds_of(&day, &time);
    format!("{mode} {owner} {size} {seconds} {rest}")
}

/// Seconds since the epoch of a UTC date from 1970 on, by counting days.
fn seconds_of(day: &str, time: &str) -> i64 {
    let numbers = |text: &str, by: char| text.split(by).map(|n| n.parse::<i64>().unwrap()).collect::<Vec<_>>();
    let (d, t) = (numbers(day, '-'), numbers(time, ':'));
    let leap = |y: i64| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0);
    let lengths = |y: i64| [31, if leap(y) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let days: i64 = (1970..d[0]).map(|y| if leap(y) { 366 } else { 365 }).sum::<i64>()
        + lengths(d[0]).iter().take(d[1] as usize - 1).sum::<i64>()
        + d[2]
        - 1;
    days * 86_400 + t[0] * 3600 + t[1] * 60 + t[2]
}

#[test]
fn tar_lists_as_the_tree() {
    let place = Place::new();
    let tree = full_tree(&place.store);
    let expected = expected_listing(&tree);
    for compression in Compression::ALL {
        // GNU tar runs the compressor that the content asks for, so each is read by the program people use.
        let out = place.path(&format!("image.tar.{}", compression.extension()));
        write_tar(&tree, &place.store, compression, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
        assert_eq!(listing(&out), expected, "{compression:?}");

        let output = run(Command::new("tar").args(["--xattrs", "--xattrs-include=*", "-tvvf"]).arg(&out));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains("x: 20 security.capability") && text.contains("x: 9 user.note"), "{text}");
    }
}

#[test]
fn tar_unpacks_to_the_tree() {
    let place = Place::new();
    let tree = plain_tree(&place.store);
    for compression in Compression::ALL {
        let extension = compression.extension();
        let (out, dir) = (place.path(&format!("image.tar.{extension}")), place.path(extension));
        write_tar(&tree, &place.store, compression, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
        fs::create_dir(&dir).unwrap();
        run(Command::new("tar").args(["-xp", "--no-same-owner", "-C"]).arg(&dir).arg("-f").arg(&out));
        assert_unpacked(&tree, &place.store, &dir, 0);
    }
}

#[test]
fn hard_links_unpack_to_one_inode() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let mut tree = plain_tree(&place.store);
    tree.hard_link("usr/bin/tool", "a-first-name").unwrap();
    let (out, dir) = (place.path("image.tar.bz2"), place.path("unpacked"));
    write_tar(&tree, &place.store, Compression::Bzip2, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
    fs::create_dir(&dir).unwrap();
    run(Command::new("tar").args(["-xp", "--no-same-owner", "-C"]).arg(&dir).arg("-f").arg(&out));
    let inode = |name: &str| fs::metadata(dir.join(name)).unwrap().ino();
    assert_eq!(inode("usr/bin/tool"), inode("a-first-name"));
    assert_unpacked(&tree, &place.store, &dir, 0);
}

#[test]
fn squashfs_holds_the_tree() {
    let place = Place::new();
    let tree = full_tree(&place.store);
    let out = place.path("image.squashfs");
    write_squashfs(&tree, &place.store, SquashCompressor::Zstd, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();

    // Attributes, owners, devices and hard links by way of the tar that the reference tool makes of the image.
    let tar = place.path("back.tar");
    run(Command::new("sqfs2tar").args(["--root-becomes", "."]).arg(&out).stdout(fs::File::create(&tar).unwrap()));
    let sorted = |mut lines: Vec<String>| {
        lines.iter_mut().for_each(|line| line.retain(|c| c != '/'));
        lines.sort();
        lines
    };
    let (found, expected) = (sorted(listing(&tar)), sorted(expected_listing(&tree)));
    let plain = |lines: &[String]| {
        lines.iter().filter(|l| !l.contains(" link to ") && !l.contains("usrbin")).cloned().collect::<Vec<_>>()
    };
    assert_eq!(plain(&found), plain(&expected));
    assert_eq!(found.iter().filter(|line| line.starts_with('h')).count(), 2);
    let output = run(Command::new("tar").args(["--xattrs", "--xattrs-include=*", "-tvvf"]).arg(&tar));
    assert!(String::from_utf8_lossy(&output.stdout).contains("x: 20 security.capability"));

    // Contents, modes and times by unpacking what an ordinary user may.
    let (plain_out, dir) = (place.path("plain.squashfs"), place.path("unpacked"));
    let tree = plain_tree(&place.store);
    write_squashfs(&tree, &place.store, SquashCompressor::Zstd, &WriteOptions::at(EPOCH), &plain_out, &go_on).unwrap();
    run(Command::new("unsquashfs").args(["-quiet", "-no-progress", "-dest"]).arg(&dir).arg(&plain_out).stdout(Stdio::null()));
    assert_unpacked(&tree, &place.store, &dir, 0);
}

#[test]
fn unzip_unpacks_the_tree() {
    let place = Place::new();
    let tree = plain_tree(&place.store);
    let (out, dir) = (place.path("image.zip"), place.path("unpacked"));
    let report = write_zip(&tree, &place.store, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
    assert_eq!(report.notes, [""; 0]);
    run(Command::new("unzip").arg("-tqq").arg(&out));
    run(Command::new("unzip").env("LC_ALL", "C.UTF-8").arg("-qq").arg(&out).arg("-d").arg(&dir));
    assert_unpacked(&tree, &place.store, &dir, 1);
}

#[test]
fn other_programs_read_the_zip_too() {
    let place = Place::new();
    let tree = full_tree(&place.store);
    let out = place.path("image.zip");
    write_zip(&tree, &place.store, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
    if have("python3") {
        run(Command::new("python3").args(["-m", "zipfile", "-t"]).arg(&out));
    }
    if have("bsdtar") {
        let (dir, tree) = (place.path("by-bsdtar"), plain_tree(&place.store));
        let plain = place.path("plain.zip");
        write_zip(&tree, &place.store, &WriteOptions::at(EPOCH), &plain, &go_on).unwrap();
        fs::create_dir(&dir).unwrap();
        run(Command::new("bsdtar").env("LC_ALL", "C.UTF-8").arg("-xpf").arg(&plain).arg("-C").arg(&dir).arg("--no-same-owner"));
        assert_unpacked(&tree, &place.store, &dir, 1);
    }
}

#[test]
fn zip_says_what_it_cannot_carry() {
    let place = Place::new();
    let tree = full_tree(&place.store);
    let out = place.path("image.zip");
    let report = write_zip(&tree, &place.store, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
    let output = run(Command::new("unzip").arg("-p").arg(&out).arg("HATCHERY-ZIP-NOTES.txt"));
    let text = String::from_utf8(output.stdout).unwrap();
    for (what, entry) in [
        ("3 entries left out", "/dev/null"),
        ("1 entry with extended attributes", "/usr/bin/ping"),
        ("2 entries that were hard links", "/usr/bin/tool (as /a-first-name)"),
        ("2 entries with set-user-id", "/usr/bin/su"),
        ("2 entries owned by somebody else", "/home/user/far"),
        ("1 entry whose names are not UTF-8", "/usr/share/latin1-\\xe9"),
    ] {
        assert!(text.contains(what) && text.contains(entry), "{what}:\n{text}");
        assert!(report.notes.iter().any(|note| note.contains(what)), "{what}: {:?}", report.notes);
    }
}

#[test]
fn a_zip_of_very_many_entries_opens() {
    let place = Place::new();
    let mut tree = Tree::new();
    for i in 0..66_000 {
        tree.symlink(format!("{}/{i}", i / 1000), "x").unwrap();
    }
    let out = place.path("image.zip");
    write_zip(&tree, &place.store, &WriteOptions::at(EPOCH), &out, &go_on).unwrap();
    let output = run(Command::new("unzip").arg("-Z1").arg(&out));
    assert_eq!(output.stdout.iter().filter(|b| **b == b'\n').count(), tree.len());
}
