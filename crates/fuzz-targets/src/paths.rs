//! Paths: of tar members, and of trees with links.

use gentoo::binpkg::BinaryPackage;
use image::{BlobId, Entry, Kind, Tree};

pub const WORDS: &[&str] = &["image/", "./", "../", "/", "a/", "usr/lib", "\n", " -> ", "..", "//", "\0", "b"];

/// The name of a tar member: what is accepted stays inside, and is accepted again under either root.
pub fn path(data: &[u8]) {
    let Ok(Some(path)) = BinaryPackage::image_path(data) else { return };
    let proper = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
    assert!(path.split(|b| *b == b'/').all(proper), "{}", path.escape_ascii());
    for root in [&b"image/"[..], b"./"] {
        let again = BinaryPackage::image_path(&[root, path.as_slice()].concat());
        assert_eq!(again, Ok(Some(path.clone())));
    }
}

/// Lines are changes to a tree: `PATH/` makes a directory, `PATH -> TARGET` a link, `PATH => PATH` moves, `-PATH` removes, `=PATH` links
/// hard to the first file, `PATH` makes a file. Whatever succeeds keeps the invariants of trees, and lookups stay inside.
pub fn tree(data: &[u8]) {
    let mut tree = Tree::new();
    for line in data.split(|b| *b == b'\n').take(64) {
        change(&mut tree, line);
        let real = tree.resolve(line);
        assert!(real.is_err() || real.is_ok_and(|real| tree.contains(real)));
    }
    for (path, entry) in tree.iter() {
        let parent = path.iter().rposition(|b| *b == b'/').map_or(&b""[..], |at| &path[..at]);
        assert!(tree.get(parent).is_some_and(Entry::is_dir), "{} has no directory", path.escape_ascii());
        let proper = |part: &[u8]| !matches!(part, b"" | b"." | b"..") && !part.contains(&0);
        assert!(path.is_empty() || path.split(|b| *b == b'/').all(proper), "{}", path.escape_ascii());
        assert!(entry.is_dir() || tree.children(path).is_empty());
    }
    assert_eq!(tree.len(), tree.below("").len() + 1);
}

fn change(tree: &mut Tree, line: &[u8]) {
    let file = |content: &[u8]| Entry::new(Kind::File { blob: BlobId::of(content), size: 0, link: None }, 0o644);
    let part = |sign: &[u8]| {
        let at = line.windows(sign.len()).position(|window| window == sign)?;
        Some((&line[..at], &line[at + sign.len()..]))
    };
    // Refusals are as good as successes here: the invariants are looked at afterwards.
    let _refused_or_done = match line {
        [b'-', rest @ ..] => tree.remove(rest).map(drop),
        [b'=', rest @ ..] => {
            let first = tree.iter().find(|(_, entry)| entry.is_file()).map(|(path, _)| path.to_vec());
            first.map_or(Ok(()), |first| tree.hard_link(first, rest))
        }
        _ => match (part(b" -> "), part(b" => ")) {
            (Some((from, to)), _) => tree.symlink(from, to),
            (None, Some((from, to))) => tree.rename(from, to),
            (None, None) if line.ends_with(b"/") => tree.make_dirs(line),
            (None, None) => tree.insert(line, file(line)).map(drop),
        },
    };
}
