//! The texts beside a stage3 tarball: `latest-….txt`, which names the newest, and DIGESTS, with its hashes (gentoo/releng
//! `scripts/copy_buildsync.sh`, gentoo/catalyst). Both are clear-signed on mirrors; what is read here is the text that was signed.

/// The one entry of a `latest-….txt`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latest {
    /// Relative to the folder that holds the list, like `20260811T083102Z/stage3-amd64-openrc-20260811T083102Z.tar.xz`.
    pub path: String,
    /// Bytes of the tarball.
    pub size: u64,
}

impl Latest {
    /// Reads a list: `#` comments, and a line `path size`.
    ///
    /// # Errors
    /// When there is no such line, or more than one.
    pub fn parse(text: &str) -> Result<Latest, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err("it does not name exactly one tarball".into());
        };
        let mut words = line.split_whitespace();
        match (words.next(), words.next().map(str::parse), words.next()) {
            (Some(path), Some(Ok(size)), None) => Ok(Latest { path: path.to_owned(), size }),
            _ => Err(format!("its line “{}” is not a path and a size", line.escape_debug())),
        }
    }
}

/// The hashes that a DIGESTS file lists.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// The kind as the comment above it says, the hash in lower case, the file's name.
    entries: Vec<(String, String, String)>,
}

impl Digests {
    /// Reads `# KIND HASH` comments, each followed by lines `hash  name`. Other lines are passed over.
    pub fn parse(text: &str) -> Digests {
        let mut kind = String::new();
        let mut entries = Vec::new();
        for line in text.lines().map(str::trim) {
            if let Some(comment) = line.strip_prefix('#') {
                kind = comment.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            } else if let Some((hash, name)) = line.split_once(char::is_whitespace)
                && hash.bytes().all(|b| b.is_ascii_hexdigit())
            {
                entries.push((kind.clone(), hash.to_ascii_lowercase(), name.trim().to_owned()));
            }
        }
        Digests { entries }
    }

    /// The SHA512 of a file, lower-case hexadecimal.
    pub fn sha512(&self, name: &str) -> Option<String> {
        self.hash("SHA512", name)
    }

    /// The BLAKE2B (512 bits) of a file, lower-case hexadecimal.
    pub fn blake2b(&self, name: &str) -> Option<String> {
        self.hash("BLAKE2B", name)
    }

    /// A hash listed once; two different ones are as good as none.
    fn hash(&self, kind: &str, name: &str) -> Option<String> {
        let mut found = self.entries.iter().filter(|(k, _, n)| k == kind && n == name).map(|(_, hash, _)| hash);
        let first = found.next()?;
        (first.len() == 128 && found.all(|other| other == first)).then(|| first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_one_tarball() {
        let text = "# Latest as of Sat, 15 Aug 2026 09:15:01 +0000\n# ts=1786785301\n2026/stage3.tar.xz 496363884\n";
        assert_eq!(Latest::parse(text), Ok(Latest { path: "2026/stage3.tar.xz".into(), size: 496_363_884 }));
        for bad in ["", "# x\n", "a 1\nb 2\n", "a\n", "a b\n", "a 1 2\n", "a -1\n"] {
            assert!(Latest::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn digests_are_told_by_kind_and_name() {
        let (a, b) = ("a".repeat(128), "B".repeat(128));
        let digests =
            Digests::parse(&format!("# BLAKE2B HASH\n{a}  s.tar.xz\n# SHA512 HASH\n{b}  s.tar.xz\n{a}  s.tar.xz.CONTENTS.gz\n"));
        assert_eq!(digests.blake2b("s.tar.xz"), Some(a.clone()));
        assert_eq!(digests.sha512("s.tar.xz"), Some(b.to_lowercase()));
        assert_eq!((digests.sha512("other"), digests.blake2b("s.tar.xz.CONTENTS.gz")), (None, None));
        let twice = Digests::parse(&format!("# SHA512 HASH\n{a}  s\n{b}  s\n"));
        assert_eq!(twice.sha512("s"), None);
        assert_eq!(Digests::parse("# SHA512 HASH\nabc  s\n").sha512("s"), None);
    }
}
