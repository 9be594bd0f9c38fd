//! Reading an index: lines to fields to entries.

use std::sync::Arc;

use super::{Entry, IndexError, MAX_ENTRIES, MAX_INDEX, Packages};
use crate::{Cpv, Text, Words};

/// Longest IUSE and USE that are read, in bytes. Real ones stay below 6 KiB.
const MAX_FLAGS: usize = 32 << 10;

/// Reads an uncompressed index.
pub(super) fn parse(bytes: Vec<u8>) -> Result<Packages, IndexError> {
    let text = Arc::new(check_text(bytes)?);
    let mut lines = text.lines().zip(1..);
    let mut stanza = Vec::with_capacity(64);
    let mut packages = Packages::default();
    read_stanza(&mut lines, &text, &mut stanza)?;
    packages.header.extend(stanza.iter().map(|field| (field.key.to_owned(), field.value.to_owned())));
    if packages.header.is_empty() || packages.header.contains_key("CPV") {
        return Err(IndexError::NotAnIndex("it does not start with a header".into()));
    }
    packages.entries.reserve(capacity(&packages, text.len()));
    let of_header = |key: &str| packages.header.get(key).map_or(Text::EMPTY, |value| Text::from(value.as_str()));
    let inherited = Inherited { chost: of_header("CHOST"), repo: of_header("REPO") };
    while read_stanza(&mut lines, &text, &mut stanza)? {
        if packages.entries.len() >= MAX_ENTRIES {
            return Err(IndexError::TooLarge { what: "it has more entries".into(), limit: MAX_ENTRIES });
        }
        packages.entries.push(parse_entry(&stanza, &inherited)?);
    }
    check_count(&packages)?;
    Ok(packages)
}

/// The text of an index.
fn check_text(bytes: Vec<u8>) -> Result<String, IndexError> {
    if bytes.len() > MAX_INDEX {
        return Err(IndexError::TooLarge { what: format!("it has {} bytes", bytes.len()), limit: MAX_INDEX });
    }
    if let Some(at) = find_control(&bytes) {
        let line = line_at(&bytes, at);
        return Err(IndexError::NotAnIndex(format!("line {line} holds control characters")));
    }
    String::from_utf8(bytes).map_err(|e| {
        let line = line_at(e.as_bytes(), e.utf8_error().valid_up_to());
        IndexError::NotAnIndex(format!("line {line} is not UTF-8 text"))
    })
}

/// For how many entries to make room: as many as the header announces, if the text can hold them.
fn capacity(packages: &Packages, bytes: usize) -> usize {
    const SHORTEST_ENTRY: usize = "CPV: a/b-1\n\n".len();
    let announced = packages.header.get("PACKAGES").and_then(|n| n.parse().ok()).unwrap_or(0);
    // A hostile index of short lines must not make room for entries many times its size.
    std::cmp::min(announced, bytes / SHORTEST_ENTRY / 8).min(MAX_ENTRIES)
}

fn check_count(packages: &Packages) -> Result<(), IndexError> {
    let announced = packages.header.get("PACKAGES").and_then(|n| n.parse().ok());
    match announced {
        Some(announced) if announced > packages.entries.len() => {
            Err(IndexError::Incomplete { announced, found: packages.entries.len() })
        }
        _ => Ok(()),
    }
}

/// One line of a stanza.
pub(super) struct Field<'a> {
    /// The index that the line is part of, so that what is kept of it need not be copied.
    pub whole: Option<&'a Arc<String>>,
    pub line: usize,
    pub key: &'a str,
    pub value: &'a str,
}

impl Field<'_> {
    fn error(&self, reason: impl Into<String>) -> IndexError {
        IndexError::Field { line: self.line, field: self.key.escape_debug().take(64).collect(), reason: reason.into() }
    }

    fn number<N: std::str::FromStr>(&self) -> Result<N, IndexError> {
        self.value.parse().map_err(|_| self.error(format!("“{}” is not a number that fits", shorten(self.value))))
    }

    fn hash(&self, digits: usize) -> Result<Option<Text>, IndexError> {
        let (mut is_hexadecimal, mut is_lower_case) = (self.value.len() == digits, true);
        for byte in self.value.bytes() {
            is_hexadecimal &= byte.is_ascii_hexdigit();
            is_lower_case &= !byte.is_ascii_uppercase();
        }
        match (is_hexadecimal, is_lower_case) {
            (true, true) => return Ok(Some(self.text())),
            (true, false) => return Ok(Some(self.value.to_ascii_lowercase().into())),
            (false, _) => {}
        }
        Err(self.error(format!("“{}” is not a hash of {digits} hexadecimal digits", shorten(self.value))))
    }

    fn text(&self) -> Text {
        self.keep(self.value)
    }

    /// Part of the line as text that lasts.
    fn keep(&self, part: &str) -> Text {
        self.whole.map_or_else(|| Text::from(part), |whole| Text::piece(whole, part))
    }

    /// Flags are looked up one after the other, which is quick for the hundreds that a package has and slow for a million.
    fn flags(&self) -> Result<Words, IndexError> {
        match self.value.len() <= MAX_FLAGS {
            true => Ok(self.text().into()),
            false => Err(self.error(format!("it has more than {MAX_FLAGS} bytes of flags"))),
        }
    }

    /// PATH goes into addresses and file names: only plain relative ones pass.
    fn path(&self) -> Result<Text, IndexError> {
        let allowed = |b: u8| b.is_ascii_graphic() && !b"\\?#%".contains(&b);
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed);
        if self.value.len() <= 1024 && self.value.split('/').all(plain) {
            return Ok(self.text());
        }
        Err(self.error(format!("“{}” is not a plain relative path", shorten(self.value))))
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

/// The number of the line that the byte is in.
fn line_at(bytes: &[u8], at: usize) -> usize {
    bytes.iter().take(at).filter(|b| **b == b'\n').count() + 1
}

/// The first control character other than a line break or a tab.
fn find_control(bytes: &[u8]) -> Option<usize> {
    let is_control = |b: &u8| (*b < 0x20 && *b != b'\n' && *b != b'\t') || *b == 0x7f;
    // Whole blocks are looked at without stopping, which compiles to vector code.
    let block = bytes.chunks(4096).position(|block| block.iter().fold(false, |found, b| found | is_control(b)))?;
    bytes.iter().skip(block * 4096).position(is_control).map(|at| block * 4096 + at)
}

/// Reads the fields up to the next empty line; whether there were any.
fn read_stanza<'a>(
    lines: &mut impl Iterator<Item = (&'a str, usize)>,
    whole: &'a Arc<String>,
    into: &mut Vec<Field<'a>>,
) -> Result<bool, IndexError> {
    into.clear();
    for (text, line) in lines.skip_while(|(text, _)| text.is_empty()) {
        if text.is_empty() {
            break;
        }
        into.push(parse_line(line, text, whole)?);
    }
    Ok(!into.is_empty())
}

fn parse_line<'a>(line: usize, text: &'a str, whole: &'a Arc<String>) -> Result<Field<'a>, IndexError> {
    let (key, value) = text.split_once(':').unwrap_or(("", text));
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(IndexError::NotAnIndex(format!("line {line} is not of the form “Key: value”")));
    }
    Ok(Field { whole: Some(whole), line, key, value: value.strip_prefix(' ').unwrap_or(value) })
}

/// What entries take from the header where they do not say it themselves.
struct Inherited {
    chost: Text,
    repo: Text,
}

fn parse_entry(fields: &[Field<'_>], inherited: &Inherited) -> Result<Entry, IndexError> {
    let cpv = fields.iter().find(|f| f.key == "CPV").ok_or_else(|| IndexError::Field {
        line: fields.first().map_or(0, |f| f.line),
        field: "CPV".into(),
        reason: "the entry that starts here does not have it".into(),
    })?;
    let mut entry = Entry::blank(Cpv::parse(cpv.value).map_err(|e| cpv.error(e.to_string()))?);
    for field in fields {
        set_field(&mut entry, field)?;
    }
    // Portage lets only these two inherit from the header; USE in particular does not.
    for (own, inherited) in [(&mut entry.chost, &inherited.chost), (&mut entry.repo, &inherited.repo)] {
        if own.is_empty() {
            own.clone_from(inherited);
        }
    }
    entry.fill_defaults();
    Ok(entry)
}

pub(super) fn set_field(entry: &mut Entry, field: &Field<'_>) -> Result<(), IndexError> {
    match field.key {
        "CPV" => {}
        "SLOT" => {
            let (slot, subslot) = field.value.split_once('/').unwrap_or((field.value, field.value));
            if ![slot, subslot].into_iter().all(crate::names::is_slot) {
                return Err(field.error(format!("“{}” is not a slot", shorten(field.value))));
            }
            (entry.slot, entry.subslot) = (field.keep(slot), field.keep(subslot));
        }
        "BUILD_ID" => entry.build_id = Some(field.number()?),
        "BUILD_TIME" => entry.build_time = field.number()?,
        "MTIME" => entry.mtime = field.number()?,
        "SIZE" => entry.size = field.number()?,
        "MD5" => entry.md5 = field.hash(32)?,
        "SHA1" => entry.sha1 = field.hash(40)?,
        "PATH" => entry.path = field.path()?,
        "IUSE" => entry.iuse = field.flags()?,
        "USE" => entry.use_flags = field.flags()?,
        key => match text_field(entry, key) {
            Some(text) => *text = field.text(),
            // An empty field is one that is absent: Portage does not write it.
            None if field.value.is_empty() => drop(entry.extra.remove(key)),
            None => drop(entry.extra.insert(field.keep(key), field.text())),
        },
    }
    Ok(())
}

/// The fields that are kept as plain text.
fn text_field<'a>(entry: &'a mut Entry, key: &str) -> Option<&'a mut Text> {
    Some(match key {
        "EAPI" => &mut entry.eapi,
        "KEYWORDS" => &mut entry.keywords,
        "LICENSE" => &mut entry.license,
        "RESTRICT" => &mut entry.restrict,
        "PROPERTIES" => &mut entry.properties,
        "DEPEND" => &mut entry.depend,
        "RDEPEND" => &mut entry.rdepend,
        "PDEPEND" => &mut entry.pdepend,
        "BDEPEND" => &mut entry.bdepend,
        "IDEPEND" => &mut entry.idepend,
        "CHOST" => &mut entry.chost,
        "REPO" => &mut entry.repo,
        "DESC" => &mut entry.desc,
        "DEFINED_PHASES" => &mut entry.defined_phases,
        "REQUIRES" => &mut entry.requires,
        "PROVIDES" => &mut entry.provides,
        _ => return None,
    })
}
