//! Writes the archive a Linux kernel unpacks as its first root: cpio in the "newc" layout.
//!
//! Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Entries are written sorted, with fixed times and
//! numbers, so the same content gives the same bytes. Devices are mere headers here, which is why no root is needed.

use std::collections::BTreeMap;

/// What one entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Dir,
    File { content: Vec<u8>, mode: u32 },
    Symlink(String),
    CharDevice { mode: u32, major: u32, minor: u32 },
}

/// The files of an initramfs, by path without a leading slash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive {
    nodes: BTreeMap<String, Node>,
}

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFCHR: u32 = 0o020_000;

impl Archive {
    /// Adds a folder and those above it.
    pub(crate) fn dir(&mut self, path: &str) {
        for above in path.match_indices('/').filter_map(|(at, _)| path.get(..at)) {
            self.nodes.entry(above.to_string()).or_insert(Node::Dir);
        }
        self.nodes.entry(path.to_string()).or_insert(Node::Dir);
    }

    /// Adds a file; what was at the path is replaced.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.put(path, Node::File { content: content.into(), mode });
    }

    /// Adds a symbolic link.
    pub(crate) fn symlink(&mut self, path: &str, target: &str) {
        self.put(path, Node::Symlink(target.to_string()));
    }

    /// Adds a character device.
    pub(crate) fn char_device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.put(path, Node::CharDevice { mode, major, minor });
    }

    /// Whether something is at this very path.
    pub(crate) fn contains(&self, path: &str) -> bool {
        self.nodes.contains_key(path)
    }

    fn put(&mut self, path: &str, node: Node) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.dir(parent);
        }
        self.nodes.insert(path.to_string(), node);
    }

    /// The archive's bytes, not compressed.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        // A folder sorts before what is in it, because a prefix sorts before what it is a prefix of.
        for (number, (path, node)) in (1u32..).zip(&self.nodes) {
            match node {
                Node::Dir => entry(&mut out, number, path, S_IFDIR | 0o755, 2, (0, 0), &[]),
                Node::File { content, mode } => entry(&mut out, number, path, S_IFREG | mode, 1, (0, 0), content),
                Node::Symlink(target) => entry(&mut out, number, path, S_IFLNK | 0o777, 1, (0, 0), target.as_bytes()),
                Node::CharDevice { mode, major, minor } => {
                    entry(&mut out, number, path, S_IFCHR | mode, 1, (*major, *minor), &[])
                }
            }
        }
        entry(&mut out, 0, "TRAILER!!!", 0, 1, (0, 0), &[]);
        out
    }
}

fn entry(out: &mut Vec<u8>, number: u32, path: &str, mode: u32, links: u32, device: (u32, u32), content: &[u8]) {
    // Every file here is far below 4 GiB; modules and programs are bounded when they are read.
    let size = content.len() as u32;
    let name_size = path.len() as u32 + 1;
    out.extend_from_slice(b"070701");
    let fields = [number, mode, 0, 0, links, 0, size, 0, 0, device.0, device.1, name_size, 0];
    for field in fields {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    fn sample() -> Archive {
        let mut archive = Archive::default();
        archive.file("init", 0o755, "#!/bin/sh\n");
        archive.file("usr/lib/odd", 0o644, "12345");
        archive.symlink("bin/sh", "busybox");
        archive.char_device("dev/console", 0o600, 5, 1);
        archive
    }

    #[test]
    fn folders_come_before_their_content_and_bytes_are_the_same_each_time() {
        let bytes = sample().to_bytes();
        assert_eq!(bytes, sample().to_bytes());
        let at = |name: &str| bytes.windows(name.len() + 1).position(|w| w == [name.as_bytes(), b"\0"].concat()).unwrap();
        assert!(at("usr") < at("usr/lib") && at("usr/lib") < at("usr/lib/odd"));
        assert_eq!(bytes.len() % 4, 0);
    }

    #[test]
    fn cpio_and_busybox_read_it() {
        for program in [&["cpio", "-itv"][..], &["busybox", "cpio", "-itv"]] {
            let Ok(mut child) = Command::new(program[0]).args(&program[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
            else {
                println!("skipped: {} is not installed", program[0]);
                continue;
            };
            child.stdin.take().unwrap().write_all(&sample().to_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let listing = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{program:?}: {listing}");
            assert!(listing.lines().any(|l| l.starts_with("crw-------") && l.ends_with("dev/console")), "{listing}");
            // GNU cpio shows device numbers, busybox does not.
            assert!(program[0] == "busybox" || listing.contains(" 5,   1 "), "{listing}");
            assert!(listing.lines().any(|l| l.starts_with("-rwxr-xr-x") && l.contains("10") && l.ends_with("init")), "{listing}");
            assert!(listing.contains("bin/sh -> busybox"), "{listing}");
        }
    }
}
