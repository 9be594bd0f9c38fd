//! In what order CONTENTS is.

use super::RecordedOrder;

/// Whether the lines are in the order of those recorded, as far as that is determined.
pub fn is_as_recorded(contents: &str, theirs: &RecordedOrder) -> bool {
    let late = late(contents);
    theirs.walked && late.iter().all(|(is_link, path)| *is_link && theirs.links.iter().any(|link| link == path))
}

/// The lines from the first on that is not in a directory just told of, and whether each is a link.
fn late(contents: &str) -> Vec<(bool, &str)> {
    let mut open = vec![""];
    let mut lines = contents.lines().filter_map(path_of).skip_while(|(kind, path)| {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let Some(at) = open.iter().position(|dir| *dir == folder) else { return false };
        open.truncate(at + 1);
        open.extend((*kind == "dir").then_some(*path));
        true
    });
    lines.by_ref().map(|(kind, path)| (kind == "sym", path)).collect()
}

/// What a line tells of: its kind, and the path.
pub fn path_of(line: &str) -> Option<(&str, &str)> {
    let (kind, rest) = line.split_once(' ')?;
    let path = match kind {
        "sym" => rest.split_once(" -> ")?.0,
        "obj" => rest.rsplitn(3, ' ').nth(2)?,
        _ => rest,
    };
    Some((kind, path))
}

#[test]
fn what_is_out_of_order_is_seen() {
    let walked = "dir /a\ndir /a/b\nobj /a/b/c d m 1\nobj /a/d m 1\ndir /e\nsym /e/l -> x 1\n";
    assert_eq!(late(walked), []);
    assert_eq!(late(&format!("{walked}sym /a/b/z -> y 1\n")), [(true, "/a/b/z")]);
    assert_eq!(late(&format!("{walked}obj /a/b/z m 1\nsym /a/k -> y 1\n")), [(false, "/a/b/z"), (true, "/a/k")]);
}
