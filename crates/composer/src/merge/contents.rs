//! CONTENTS: the record of a package's files (`vartree.py: dblink.getcontents`).

use std::collections::{BTreeMap, BTreeSet};

/// What CONTENTS says of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Dir,
    /// A regular file with its MD5, lower-case hexadecimal.
    Obj {
        md5: String,
        mtime: i64,
    },
    Sym {
        target: Vec<u8>,
        mtime: i64,
    },
    Fif,
    Dev,
}

/// The paths of a package, without the leading slash, in order.
pub type Contents = BTreeMap<Vec<u8>, Node>;

/// In what order the lines are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// As Portage meets the files when it merges them (`vartree.py: mergeme`): what is in a directory right after it, and last the links
    /// that led nowhere then. Files of one directory are by name, for which Portage takes the order that the disk has them in.
    Merged { dangling: BTreeSet<Vec<u8>> },
    /// By path, as Portage writes a record that it changes (`vartree.py: write_contents`).
    Sorted,
}

impl Default for Order {
    fn default() -> Order {
        Order::Merged { dangling: BTreeSet::new() }
    }
}

/// Reads CONTENTS; lines that make no sense are passed over, as Portage does after it has complained.
pub fn parse(text: &[u8]) -> Contents {
    text.split(|b| *b == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<(Vec<u8>, Node)> {
    let space = line.iter().position(|b| *b == b' ')?;
    let (word, rest) = (line.get(..space)?, line.get(space + 1..)?);
    let rest = rest.strip_prefix(b"/")?;
    let (path, node) = match word {
        b"dir" => (rest, Node::Dir),
        b"fif" => (rest, Node::Fif),
        b"dev" => (rest, Node::Dev),
        b"obj" => {
            let (rest, mtime) = last_word(rest)?;
            let (path, md5) = last_word(rest)?;
            let md5 = std::str::from_utf8(md5).ok()?.to_ascii_lowercase();
            (path, Node::Obj { md5, mtime: number(mtime)? })
        }
        b"sym" => {
            let (rest, mtime) = last_word(rest)?;
            let arrow = rest.windows(4).position(|part| part == b" -> ")?;
            (rest.get(..arrow)?, Node::Sym { target: rest.get(arrow + 4..)?.to_vec(), mtime: number(mtime)? })
        }
        _ => return None,
    };
    (!path.is_empty()).then(|| (path.to_vec(), node))
}

fn last_word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let space = text.iter().rposition(|b| *b == b' ')?;
    Some((text.get(..space)?, text.get(space + 1..)?))
}

fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The line of a path (without its leading slash). CONTENTS is UTF-8; Portage writes what is not as backslash escapes.
pub fn line(path: &[u8], node: &Node) -> String {
    let parts: [&[u8]; 2] = match node {
        Node::Dir => [b"dir /", b""],
        Node::Fif => [b"fif /", b""],
        Node::Dev => [b"dev /", b""],
        Node::Obj { md5, .. } => [b"obj /", md5.as_bytes()],
        Node::Sym { target, .. } => [b"sym /", target],
    };
    let [word, rest] = parts.map(escaped);
    let path = escaped(path);
    match node {
        Node::Dir | Node::Fif | Node::Dev => format!("{word}{path}\n"),
        Node::Obj { mtime, .. } => format!("{word}{path} {rest} {mtime}\n"),
        Node::Sym { mtime, .. } => format!("{word}{path} -> {rest} {mtime}\n"),
    }
}

/// All lines.
pub fn text(contents: &Contents, order: &Order) -> String {
    let mut nodes: Vec<(&Vec<u8>, &Node)> = contents.iter().collect();
    if let Order::Merged { dangling } = order {
        nodes.sort_by(|(a, _), (b, _)| a.split(|b| *b == b'/').cmp(b.split(|b| *b == b'/')));
        nodes.sort_by_key(|(path, _)| dangling.contains(*path));
    }
    nodes.into_iter().map(|(path, node)| line(path, node)).collect()
}

fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_are_written() {
        let lines = "dir /usr\nfif /run/pipe\nobj /usr/a file 0123456789abcdef0123456789abcdef 1700000000\n\
                     sym /usr/l -> a b -> c 5\n";
        let contents = parse(lines.as_bytes());
        assert_eq!(contents.len(), 4);
        assert_eq!(contents[b"usr/l".as_slice()], Node::Sym { target: b"a b -> c".to_vec(), mtime: 5 });
        assert_eq!(contents.iter().map(|(path, node)| line(path, node)).collect::<Vec<_>>().len(), 4);
        assert_eq!(
            text(&contents, &Order::Sorted),
            "fif /run/pipe\ndir /usr\nobj /usr/a file 0123456789abcdef0123456789abcdef 1700000000\nsym /usr/l -> a b -> c 5\n"
        );
        let walked = parse(b"dir /a\ndir /a/b\nfif /a/b/x\nfif /a/b-c\nsym /a/l -> x 5\nsym /a/m -> b 5\n");
        let dangling = BTreeSet::from([b"a/l".to_vec()]);
        let told = "dir /a\ndir /a/b\nfif /a/b/x\nfif /a/b-c\nsym /a/m -> b 5\nsym /a/l -> x 5\n";
        assert_eq!(text(&walked, &Order::Merged { dangling }), told);
        assert!(parse(b"obj /x\nwhat /y\nsym /z 3\ndir \n\xff\n").is_empty());
        assert_eq!(line(b"caf\xe9", &Node::Dir), "dir /caf\\xe9\n");
    }
}
