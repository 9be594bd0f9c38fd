//! INSTALL_MASK: what of a package is left out of the root (make.conf(5); Portage's `util/install_mask.py`).

use image::Tree;

use super::package::shown;
use crate::ComposeError;

/// Patterns, in the order given: a later one that starts with `-` takes back what an earlier one masks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallMask(Vec<Pattern>);

/// A program or library that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked {
    /// The pattern that did it.
    pub pattern: String,
    /// Its path, absolute and for people.
    pub path: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    masks: bool,
    /// Starts with a slash: it is held against the whole path, else against the name alone.
    anchored: bool,
    text: Vec<u8>,
}

impl InstallMask {
    /// Reads the words of a value.
    pub fn parse(value: &str) -> InstallMask {
        let pattern = |word: &str| {
            let (masks, text) = word.strip_prefix('-').map_or((true, word), |rest| (false, rest));
            Pattern { masks, anchored: text.starts_with('/'), text: text.as_bytes().to_vec() }
        };
        InstallMask(value.split_whitespace().map(pattern).collect())
    }

    /// Takes what is masked out of an image: files, then the directories that are masked and empty. Returns the programs and libraries
    /// among the files, each with the pattern that masks it.
    pub fn apply(&self, image: &mut Tree) -> Result<Vec<Masked>, ComposeError> {
        let mut masked = Vec::new();
        if self.0.is_empty() {
            return Ok(masked);
        }
        let paths: Vec<(Vec<u8>, bool)> =
            image.iter().filter(|(path, _)| !path.is_empty()).map(|(path, entry)| (path.to_vec(), entry.is_dir())).collect();
        for (path, _) in paths.iter().filter(|(_, is_dir)| !is_dir) {
            let Some(pattern) = self.decides(path).filter(|pattern| pattern.masks) else { continue };
            image.remove(path)?;
            if is_program_or_library(path) {
                masked.push(Masked { pattern: String::from_utf8_lossy(&pattern.text).into_owned(), path: shown(path) });
            }
        }
        for (path, _) in paths.iter().rev().filter(|(path, is_dir)| *is_dir && self.matches(&[path, b"/".as_slice()].concat())) {
            if image.children(path).is_empty() {
                image.remove(path)?;
            }
        }
        Ok(masked)
    }

    /// Whether a path, relative to the root and with a closing slash for a directory, is masked. The last pattern that fits decides.
    fn matches(&self, path: &[u8]) -> bool {
        self.decides(path).is_some_and(|pattern| pattern.masks)
    }

    fn decides(&self, path: &[u8]) -> Option<&Pattern> {
        self.0.iter().rev().find(|pattern| pattern.fits(path))
    }
}

/// Whether a program or a library is lost with it: what is in a folder of programs, a shared object, or a link in the place of such a folder.
fn is_program_or_library(path: &[u8]) -> bool {
    let parts: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    let Some((name, folders)) = parts.split_last() else { return false };
    let is_folder = |part: &[u8]| part == b"bin" || part == b"sbin";
    let is_system_link = folders.is_empty() && (is_folder(name) || name.starts_with(b"lib"));
    is_system_link || folders.last().is_some_and(|part| is_folder(part)) || name.windows(3).any(|part| part == b".so")
}

impl Pattern {
    fn fits(&self, path: &[u8]) -> bool {
        if !self.anchored {
            // A directory has no name here, as its path ends in a slash.
            return glob(&self.text, path.rsplit(|b| *b == b'/').next().unwrap_or_default());
        }
        let whole = self.text.get(1..).unwrap_or_default();
        let mut dir = whole;
        while let Some(shorter) = dir.strip_suffix(b"/") {
            dir = shorter;
        }
        let exact = if path.ends_with(b"/") { [dir, b"/"].concat() } else { whole.to_vec() };
        self.may_fit(path) && (glob(&exact, path) || glob(&[dir, b"/*"].concat(), path))
    }

    /// Portage looks a pattern up by its leading parts without `*`, so these have to be in the path letter by letter.
    fn may_fit(&self, path: &[u8]) -> bool {
        let parts =
            |text: &'_ [u8]| text.split(|b| *b == b'/').filter(|part| !part.is_empty()).map(<[u8]>::to_vec).collect::<Vec<_>>();
        let plain: Vec<Vec<u8>> = parts(&self.text).into_iter().take_while(|part| !part.contains(&b'*')).collect();
        parts(path).starts_with(&plain)
    }
}

/// Python's fnmatch: `*`, `?`, `[set]`, `[!set]`; a `*` goes over slashes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
                continue;
            }
            None => (t == text.len()).then_some(0),
            Some(_) => text.get(t).and_then(|byte| one(pattern.get(p..).unwrap_or_default(), *byte)),
        };
        match (step, star) {
            (Some(0), _) => return true,
            (Some(length), _) => {
                p += length;
                t += 1;
            }
            (None, Some((after, from))) if from < text.len() => {
                star = Some((after, from + 1));
                (p, t) = (after, from + 1);
            }
            (None, _) => return false,
        }
    }
}

/// The length of the pattern's first element, where a byte fits it.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern) {
            Some((negated, members, length)) => (in_set(members, byte) != negated).then_some(length),
            None => (byte == b'[').then_some(1),
        },
        plain => (*plain == byte).then_some(1),
    }
}

/// `[…]` at the start: whether it is negated, what is in it, and its length. A `]` may be its first member.
fn set(pattern: &[u8]) -> Option<(bool, &[u8], usize)> {
    let negated = pattern.get(1) == Some(&b'!');
    let start = if negated { 2 } else { 1 };
    let end = pattern.iter().enumerate().skip(start + 1).find(|(_, byte)| **byte == b']').map(|(at, _)| at)?;
    Some((negated, pattern.get(start..end)?, end + 1))
}

fn in_set(members: &[u8], byte: u8) -> bool {
    let mut rest = members;
    loop {
        match rest {
            [low, b'-', high, after @ ..] => {
                if (*low..=*high).contains(&byte) {
                    return true;
                }
                rest = after;
            }
            [member, after @ ..] => {
                if *member == byte {
                    return true;
                }
                rest = after;
            }
            [] => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_portage() {
        for (mask, path, masked) in [
            ("/usr/share/doc", "usr/share/doc/a/README", true),
            ("/usr/share/doc", "usr/share/doc/", true),
            ("/usr/share/doc/", "usr/share/doc/x", true),
            ("/usr/share/doc", "usr/share/docs", false),
            ("*.a", "usr/lib/libx.a", true),
            ("*.a", "usr/lib.a/x", false),
            ("/usr/share/locale -/usr/share/locale/de*", "usr/share/locale/de_AT/x.mo", false),
            ("/usr/share/locale -/usr/share/locale/de*", "usr/share/locale/fr/x.mo", true),
            ("-/usr/share/locale/de /usr/share/locale", "usr/share/locale/de/x.mo", true),
            ("/usr/*/doc", "usr/share/deep/doc", true),
            ("/usr/shar?/doc", "usr/share/doc", false),
            ("/usr/*/d?c", "usr/share/doc", true),
            ("lib[xy].so", "usr/lib/liby.so", true),
            ("lib[!xy].so", "usr/lib/liby.so", false),
            ("lib[a-c]?", "libb1", true),
            ("lib[", "lib[", true),
            ("*", "anything", true),
            ("", "anything", false),
        ] {
            assert_eq!(InstallMask::parse(mask).matches(path.as_bytes()), masked, "{mask:?} and {path}");
        }
    }

    #[test]
    fn programs_and_libraries_that_go_are_told_of() {
        let mut tree = Tree::new();
        for path in ["usr/bin/bash", "usr/lib64/libc.so.6", "usr/share/doc/README", "usr/lib/liba.la", "etc/passwd"] {
            tree.insert(path, image::Entry::symlink("x")).unwrap();
        }
        let masked = InstallMask::parse("/usr/share *.la /usr/lib64 /usr/*").apply(&mut tree).unwrap();
        let told: Vec<(&str, &str)> = masked.iter().map(|m| (m.pattern.as_str(), m.path.as_str())).collect();
        assert_eq!(told, [("/usr/*", "/usr/bin/bash"), ("/usr/*", "/usr/lib64/libc.so.6")]);
        assert!(is_program_or_library(b"lib64") && is_program_or_library(b"sbin") && !is_program_or_library(b"usr/lib/x"));
    }

    #[test]
    fn empty_directories_go_with_their_files() {
        let mut tree = Tree::new();
        for path in ["usr/share/doc/a/x", "usr/share/doc/b/keep", "usr/bin/t"] {
            tree.insert(path, image::Entry::symlink("x")).unwrap();
        }
        InstallMask::parse("/usr/share/doc -/usr/share/doc/b/keep").apply(&mut tree).unwrap();
        let left: Vec<String> = tree.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
        assert_eq!(
            left,
            ["", "usr", "usr/bin", "usr/bin/t", "usr/share", "usr/share/doc", "usr/share/doc/b", "usr/share/doc/b/keep"]
        );
    }
}
