//! Versions: syntax (PMS 3.2) and comparison (PMS 3.3), numbers of any length.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::ParseError;

/// A version with its revision, such as `5.2_p15-r1`. It keeps its text; equality and order are those of PMS 3.3, so `1.0` equals
/// `1.0-r0` and `1.010` equals `1.01`, though they print differently.
#[derive(Clone)]
pub struct Version {
    text: Box<str>,
}

/// The suffixes in PMS's order; `_p` is the only one above a version without suffix.
const SUFFIXES: [(&str, Suffix); 5] =
    [("alpha", Suffix::Alpha), ("beta", Suffix::Beta), ("pre", Suffix::Pre), ("rc", Suffix::Rc), ("p", Suffix::P)];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Suffix {
    Alpha,
    Beta,
    Pre,
    Rc,
    P,
}

impl Version {
    /// Reads a version with an optional `-rN`.
    ///
    /// # Errors
    /// When the text does not follow PMS 3.2.
    pub fn parse(text: &str) -> Result<Version, ParseError> {
        if is_version(text) {
            return Ok(Version::from_checked(text));
        }
        Err(ParseError::new("version", text, "expected numbers with dots, then optionally a letter, suffixes like _rc1, and -rN"))
    }

    /// A version out of text for which [`is_version`] holds.
    pub(crate) fn from_checked(text: &str) -> Version {
        Version { text: text.into() }
    }

    /// The version as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version without its revision (PMS's `PV`), as written.
    pub fn base(&self) -> &str {
        split_revision(&self.text).0
    }

    /// The revision's number as written, without `r`; empty when there is none.
    pub fn revision(&self) -> &str {
        split_revision(&self.text).1
    }

    /// Whether the glob `=…*` of `prefix` covers this version: its text is a prefix that ends at a boundary of version parts, leading
    /// zeros aside. `1*` covers `1.2` and `1_rc1`, not `10`.
    pub fn has_prefix(&self, prefix: &Version) -> bool {
        let (own, wanted) = (strip_leading_zeros(&self.text), strip_leading_zeros(&prefix.text));
        let Some(rest) = own.strip_prefix(wanted) else { return false };
        let Some(next) = rest.bytes().next() else { return true };
        let last_is_digit = wanted.bytes().next_back().is_some_and(|b| b.is_ascii_digit());
        matches!(next, b'.' | b'_' | b'-') || last_is_digit != next.is_ascii_digit()
    }

    fn parts(&self) -> Parts<'_> {
        let (base, revision) = split_revision(&self.text);
        let end = base.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(base.len());
        let (numbers, rest) = base.split_at(end);
        let letter = rest.bytes().next().filter(u8::is_ascii_lowercase);
        let suffixes = rest.get(usize::from(letter.is_some())..).unwrap_or_default();
        Parts { numbers, letter, suffixes, revision }
    }
}

/// A version cut at its seams.
struct Parts<'a> {
    numbers: &'a str,
    letter: Option<u8>,
    /// `_rc1_p2`, or empty.
    suffixes: &'a str,
    revision: &'a str,
}

impl<'a> Parts<'a> {
    fn suffixes(&self) -> impl Iterator<Item = (Suffix, &'a str)> + use<'a> {
        self.suffixes.split('_').skip(1).filter_map(split_suffix)
    }
}

fn split_suffix(text: &str) -> Option<(Suffix, &str)> {
    SUFFIXES.iter().find_map(|(name, suffix)| text.strip_prefix(name).filter(|n| all_digits(n)).map(|n| (*suffix, n)))
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Cuts `-rN` off; the number is empty when there is none.
fn split_revision(text: &str) -> (&str, &str) {
    text.rsplit_once('-').and_then(|(base, revision)| Some((base, revision.strip_prefix('r')?))).unwrap_or((text, ""))
}

/// For `=*` Portage compares texts after removing leading zeros, keeping one where nothing else would start the version.
fn strip_leading_zeros(text: &str) -> &str {
    let bare = text.trim_start_matches('0');
    if bare.starts_with(|c: char| c.is_ascii_digit()) {
        return bare;
    }
    text.get((text.len() - bare.len()).saturating_sub(1)..).unwrap_or(bare)
}

/// Whether the text is a version by PMS 3.2: `digits(.digits)*[letter](_suffix[digits])*[-rdigits]`.
pub(crate) fn is_version(text: &str) -> bool {
    let base = match text.rsplit_once('-') {
        None => text,
        Some((base, revision)) => match revision.strip_prefix('r') {
            Some(number) if !number.is_empty() && all_digits(number) => base,
            _ => return false,
        },
    };
    let mut pieces = base.split('_');
    let numbers = pieces.next().unwrap_or_default();
    let numbers = numbers.strip_suffix(|c: char| c.is_ascii_lowercase()).unwrap_or(numbers);
    numbers.split('.').all(|n| !n.is_empty() && all_digits(n)) && pieces.all(|s| split_suffix(s).is_some())
}

/// Compares decimal numbers of any length; the empty text counts as 0.
fn compare_numbers(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// PMS algorithm 3.3: parts after the first compare like fractions as soon as one has a leading zero.
fn compare_minor(a: &str, b: &str) -> Ordering {
    if a.starts_with('0') || b.starts_with('0') {
        a.trim_end_matches('0').cmp(b.trim_end_matches('0'))
    } else {
        compare_numbers(a, b)
    }
}

fn compare_dotted(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a.split('.'), b.split('.'));
    let first = compare_numbers(left.next().unwrap_or_default(), right.next().unwrap_or_default());
    if first != Ordering::Equal {
        return first;
    }
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) => match compare_minor(x, y) {
                Ordering::Equal => {}
                other => return other,
            },
        }
    }
}

fn compare_suffixes(a: &Parts<'_>, b: &Parts<'_>) -> Ordering {
    let (mut left, mut right) = (a.suffixes(), b.suffixes());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some((kind, _))) => return if kind == Suffix::P { Ordering::Less } else { Ordering::Greater },
            (Some((kind, _)), None) => return if kind == Suffix::P { Ordering::Greater } else { Ordering::Less },
            (Some((x, m)), Some((y, n))) => match x.cmp(&y).then_with(|| compare_numbers(m, n)) {
                Ordering::Equal => {}
                other => return other,
            },
        }
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        if self.text == other.text {
            return Ordering::Equal;
        }
        let (a, b) = (self.parts(), other.parts());
        compare_dotted(a.numbers, b.numbers)
            .then_with(|| a.letter.cmp(&b.letter))
            .then_with(|| compare_suffixes(&a, &b))
            .then_with(|| compare_numbers(a.revision, b.revision))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl Hash for Version {
    /// Hashes the normal form, so that versions that compare equal hash alike.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let parts = self.parts();
        for (index, number) in parts.numbers.split('.').enumerate() {
            match (index, number.starts_with('0')) {
                (0, _) => number.trim_start_matches('0').hash(state),
                (_, true) => number.trim_end_matches('0').hash(state),
                (_, false) => number.hash(state),
            }
        }
        parts.letter.hash(state);
        for (suffix, number) in parts.suffixes() {
            suffix.hash(state);
            number.trim_start_matches('0').hash(state);
        }
        parts.revision.trim_start_matches('0').hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Version {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Version::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn order_follows_pms() {
        let ascending = [
            "0.9",
            "1_alpha",
            "1_alpha1",
            "1_beta",
            "1_pre",
            "1_rc",
            "1",
            "1_p",
            "1-r1",
            "1a",
            "1b-r3",
            "1.0",
            "1.001",
            "1.01",
            "1.1",
            "1.1.0",
            "1.2",
            "1.10",
            "2",
            "10",
            "20230101",
            "99999999999999999999999999",
        ];
        // `1_p` and `1-r1` differ: suffixes weigh more than revisions.
        for pair in ascending.windows(2) {
            let expected = if pair == ["1_p", "1-r1"] { Ordering::Greater } else { Ordering::Less };
            assert_eq!(v(pair[0]).cmp(&v(pair[1])), expected, "{pair:?}");
        }
    }

    #[test]
    fn equal_versions_may_print_differently_but_hash_alike() {
        use std::collections::HashSet;
        for (a, b) in [("1.0", "1.0-r0"), ("1.010", "1.01"), ("01", "1"), ("1_p", "1_p0"), ("1.0-r01", "1.0-r1"), ("1.0", "1.00")]
        {
            assert_eq!(v(a), v(b));
            assert_eq!(HashSet::from([v(a), v(b)]).len(), 1, "{a} {b}");
            assert_eq!(v(a).to_string(), a);
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "", "a", "1.", ".1", "1..2", "1ab", "1_", "1_foo", "1_p_", "1-r", "1-rx", "1-r1-r2", "1-1", "1 ", "1A", "1_rc1a", "١",
        ] {
            assert!(Version::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn globs_end_at_a_boundary() {
        for (version, prefix, expected) in [
            ("1.2", "1", true),
            ("10", "1", false),
            ("1_rc1", "1", true),
            ("1a", "1", true),
            ("1-r1", "1", true),
            ("1-r10", "1-r1", false),
            ("01.2", "1", true),
            ("0.5", "0", true),
            ("1", "1.2", false),
        ] {
            assert_eq!(v(version).has_prefix(&v(prefix)), expected, "{version} {prefix}");
        }
    }
}
