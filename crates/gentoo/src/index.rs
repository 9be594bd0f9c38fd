//! A binhost's `Packages` index: stanzas of `Key: value`, the first one the header (Portage: `getbinpkg.py`, `dbapi/bintree.py`).
//!
//! Both styles are read: multi-instance (BUILD_ID and PATH) and single-instance (neither). Dependency strings stay text.

use std::collections::BTreeMap;

use crate::Cpv;
use crate::atom::PackageRef;
use crate::useflags::{BuiltUse, ImplicitIuse, bare_flag};

/// Largest index that is read, in bytes. Gentoo's largest one has some 16 MiB.
pub const MAX_INDEX: usize = 512 << 20;
/// Most entries that are read.
pub const MAX_ENTRIES: usize = 1_000_000;

/// An index that cannot be read, with the place and a way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error(
        "the Packages index is damaged at line {line}, field {field}: {reason}. Fetch it again; if it stays so, its operator must \
         run `emaint --fix binhost` there"
    )]
    Field { line: usize, field: String, reason: String },
    #[error(
        "the Packages index is too large: {what} where at most {limit} are read. Check that the address is that of a binhost"
    )]
    TooLarge { what: String, limit: usize },
    #[error("this is not a Packages index: {0}. Check that the address is that of a binhost")]
    NotAnIndex(String),
    #[error(
        "the Packages index is incomplete: its header announces {announced} packages and it holds {found}. The download was probably \
         cut off; fetch it again"
    )]
    Incomplete { announced: usize, found: usize },
}

/// An index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// The header's fields as they stand.
    pub header: BTreeMap<String, String>,
    pub entries: Vec<Entry>,
}

/// One binary package of an index. Fields that were absent are empty, but for `eapi` and `slot`, which are then `0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub cpv: Cpv,
    pub slot: String,
    /// Equal to `slot` when SLOT names none (PMS 7.2).
    pub subslot: String,
    pub eapi: String,
    pub keywords: String,
    pub license: String,
    pub restrict: String,
    pub properties: String,
    /// IUSE as written, with its `+` and `-` defaults.
    pub iuse: Vec<String>,
    /// USE: the flags it was built with, out of IUSE and the implicit ones.
    pub use_flags: Vec<String>,
    pub depend: String,
    pub rdepend: String,
    pub pdepend: String,
    pub bdepend: String,
    pub idepend: String,
    pub build_id: Option<u32>,
    /// Seconds since the epoch; 0 when unknown.
    pub build_time: u64,
    /// Modification time of the package file, seconds since the epoch; 0 when unknown.
    pub mtime: u64,
    /// Bytes of the package file.
    pub size: u64,
    /// Path below the binhost's address: PATH, or the single-instance place where PATH is absent.
    pub path: String,
    /// Lower-case hexadecimal.
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub chost: String,
    pub repo: String,
    pub desc: String,
    pub defined_phases: String,
    pub requires: String,
    pub provides: String,
    /// Fields not named above, as they stand.
    pub extra: BTreeMap<String, String>,
}

impl Entry {
    /// An entry with nothing but its name, and the defaults for the rest.
    pub fn new(cpv: Cpv) -> Entry {
        let mut entry = Entry::blank(cpv);
        entry.fill_defaults();
        entry
    }

    /// Puts in what stands for absent fields.
    fn fill_defaults(&mut self) {
        for field in [&mut self.slot, &mut self.subslot, &mut self.eapi] {
            if field.is_empty() {
                field.push('0');
            }
        }
        if self.path.is_empty() {
            self.path = default_path(&self.cpv);
        }
    }

    fn blank(cpv: Cpv) -> Entry {
        Entry {
            cpv,
            slot: String::new(),
            subslot: String::new(),
            eapi: String::new(),
            keywords: String::new(),
            license: String::new(),
            restrict: String::new(),
            properties: String::new(),
            iuse: Vec::new(),
            use_flags: Vec::new(),
            depend: String::new(),
            rdepend: String::new(),
            pdepend: String::new(),
            bdepend: String::new(),
            idepend: String::new(),
            build_id: None,
            build_time: 0,
            mtime: 0,
            size: 0,
            path: String::new(),
            md5: None,
            sha1: None,
            chost: String::new(),
            repo: String::new(),
            desc: String::new(),
            defined_phases: String::new(),
            requires: String::new(),
            provides: String::new(),
            extra: BTreeMap::new(),
        }
    }

    /// SLOT as Portage writes it: the sub-slot only where it differs from the slot.
    pub fn slot_text(&self) -> String {
        if self.slot == self.subslot { self.slot.clone() } else { format!("{}/{}", self.slot, self.subslot) }
    }

    /// The names in IUSE, without their defaults.
    pub fn iuse_names(&self) -> impl Iterator<Item = &str> {
        self.iuse.iter().map(|flag| bare_flag(flag))
    }

    /// Sets a field by its name in an index, which is also that of the metadata in most other places.
    ///
    /// # Errors
    /// With the reason when the value makes no sense for the field.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match set_field(self, &Field { line: 0, key, value }) {
            Ok(()) => Ok(()),
            Err(IndexError::Field { reason, .. }) => Err(reason),
            Err(other) => Err(other.to_string()),
        }
    }

    /// What atoms look at.
    pub fn package(&self) -> PackageRef<'_> {
        PackageRef { cpv: &self.cpv, slot: &self.slot, subslot: &self.subslot, repo: &self.repo }
    }

    /// The flags it was built with and has, for [`crate::useflags::UseDep::satisfied_by`].
    pub fn built_use<'a>(&'a self, implicit: &'a ImplicitIuse) -> BuiltUse<'a> {
        BuiltUse { eapi: &self.eapi, iuse: &self.iuse, enabled: &self.use_flags, implicit }
    }
}

fn default_path(cpv: &Cpv) -> String {
    format!("{cpv}.tbz2")
}

impl Packages {
    /// Reads an uncompressed index.
    ///
    /// # Errors
    /// When it is no index, is cut off, or a field that is understood holds nonsense; the message names line and field.
    pub fn parse(bytes: &[u8]) -> Result<Packages, IndexError> {
        if bytes.len() > MAX_INDEX {
            return Err(IndexError::TooLarge { what: format!("it has {} bytes", bytes.len()), limit: MAX_INDEX });
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|e| IndexError::NotAnIndex(format!("line {} is not UTF-8 text", line_at(bytes, e.valid_up_to()))))?;
        if let Some(at) = find_control(bytes) {
            let line = line_at(bytes, at);
            return Err(IndexError::NotAnIndex(format!("line {line} holds control characters")));
        }
        let mut lines = text.lines().zip(1..);
        let mut stanza = Vec::with_capacity(64);
        let mut packages = Packages::default();
        read_stanza(&mut lines, &mut stanza)?;
        packages.header.extend(stanza.iter().map(|field| (field.key.to_owned(), field.value.to_owned())));
        if packages.header.is_empty() || packages.header.contains_key("CPV") {
            return Err(IndexError::NotAnIndex("it does not start with a header".into()));
        }
        while read_stanza(&mut lines, &mut stanza)? {
            if packages.entries.len() >= MAX_ENTRIES {
                return Err(IndexError::TooLarge { what: "it has more entries".into(), limit: MAX_ENTRIES });
            }
            packages.entries.push(parse_entry(&stanza, &packages.header)?);
        }
        packages.check_count()?;
        Ok(packages)
    }

    /// TIMESTAMP of the header, seconds since the epoch; none when absent or not a number.
    pub fn timestamp(&self) -> Option<u64> {
        self.header.get("TIMESTAMP").and_then(|t| t.parse().ok())
    }

    fn check_count(&self) -> Result<(), IndexError> {
        let announced = self.header.get("PACKAGES").and_then(|n| n.parse().ok());
        match announced {
            Some(announced) if announced > self.entries.len() => {
                Err(IndexError::Incomplete { announced, found: self.entries.len() })
            }
            _ => Ok(()),
        }
    }

    /// Writes the index as Portage does: header first with its PACKAGES count, then the entries in their order, defaults and what the
    /// header already says left out.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = String::new();
        let mut header = self.header.clone();
        header.insert("PACKAGES".into(), self.entries.len().to_string());
        for (key, value) in &header {
            write_field(&mut out, key, value);
        }
        for entry in &self.entries {
            out.push('\n');
            for (key, value) in entry_fields(entry, &header) {
                write_field(&mut out, key, &value);
            }
        }
        out.push('\n');
        out.into_bytes()
    }
}

/// One line of a stanza.
struct Field<'a> {
    line: usize,
    key: &'a str,
    value: &'a str,
}

impl Field<'_> {
    fn error(&self, reason: impl Into<String>) -> IndexError {
        IndexError::Field { line: self.line, field: self.key.escape_debug().take(64).collect(), reason: reason.into() }
    }

    fn number<N: std::str::FromStr>(&self) -> Result<N, IndexError> {
        self.value.parse().map_err(|_| self.error(format!("“{}” is not a number that fits", shorten(self.value))))
    }

    fn hash(&self, digits: usize) -> Result<Option<String>, IndexError> {
        let value = self.value.to_ascii_lowercase();
        if value.len() == digits && value.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(Some(value));
        }
        Err(self.error(format!("“{}” is not a hash of {digits} hexadecimal digits", shorten(self.value))))
    }

    fn words(&self) -> Vec<String> {
        self.value.split_ascii_whitespace().map(str::to_owned).collect()
    }

    /// PATH goes into addresses and file names: only plain relative ones pass.
    fn path(&self) -> Result<String, IndexError> {
        let allowed = |b: u8| b.is_ascii_graphic() && !b"\\?#%".contains(&b);
        let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed);
        if self.value.len() <= 1024 && self.value.split('/').all(plain) {
            return Ok(self.value.to_owned());
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
fn read_stanza<'a>(lines: &mut impl Iterator<Item = (&'a str, usize)>, into: &mut Vec<Field<'a>>) -> Result<bool, IndexError> {
    into.clear();
    for (text, line) in lines.skip_while(|(text, _)| text.is_empty()) {
        if text.is_empty() {
            break;
        }
        into.push(parse_line(line, text)?);
    }
    Ok(!into.is_empty())
}

fn parse_line(line: usize, text: &str) -> Result<Field<'_>, IndexError> {
    let (key, value) = text.split_once(':').unwrap_or(("", text));
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(IndexError::NotAnIndex(format!("line {line} is not of the form “Key: value”")));
    }
    Ok(Field { line, key, value: value.strip_prefix(' ').unwrap_or(value) })
}

fn parse_entry(fields: &[Field<'_>], header: &BTreeMap<String, String>) -> Result<Entry, IndexError> {
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
    for (key, own) in [("CHOST", &mut entry.chost), ("REPO", &mut entry.repo)] {
        if let (true, Some(inherited)) = (own.is_empty(), header.get(key)) {
            own.clone_from(inherited);
        }
    }
    entry.fill_defaults();
    Ok(entry)
}

fn set_field(entry: &mut Entry, field: &Field<'_>) -> Result<(), IndexError> {
    match field.key {
        "CPV" => {}
        "SLOT" => {
            let (slot, subslot) = field.value.split_once('/').unwrap_or((field.value, field.value));
            if ![slot, subslot].into_iter().all(crate::names::is_slot) {
                return Err(field.error(format!("“{}” is not a slot", shorten(field.value))));
            }
            (entry.slot, entry.subslot) = (slot.to_owned(), subslot.to_owned());
        }
        "BUILD_ID" => entry.build_id = Some(field.number()?),
        "BUILD_TIME" => entry.build_time = field.number()?,
        "MTIME" => entry.mtime = field.number()?,
        "SIZE" => entry.size = field.number()?,
        "MD5" => entry.md5 = field.hash(32)?,
        "SHA1" => entry.sha1 = field.hash(40)?,
        "PATH" => entry.path = field.path()?,
        "IUSE" => entry.iuse = field.words(),
        "USE" => entry.use_flags = field.words(),
        key => match text_field(entry, key) {
            Some(text) => *text = field.value.to_owned(),
            None => {
                entry.extra.insert(key.to_owned(), field.value.to_owned());
            }
        },
    }
    Ok(())
}

/// The fields that are kept as plain text.
fn text_field<'a>(entry: &'a mut Entry, key: &str) -> Option<&'a mut String> {
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

/// What is written of an entry, in alphabetical order but for CPV at the front.
fn entry_fields<'a>(entry: &'a Entry, header: &BTreeMap<String, String>) -> Vec<(&'a str, String)> {
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let unless = |text: &str, default: Option<&str>| if Some(text) == default { String::new() } else { text.to_owned() };
    let inherited = |key: &str| header.get(key).map(String::as_str);
    let mut fields: Vec<(&str, String)> = vec![
        ("BDEPEND", entry.bdepend.clone()),
        ("BUILD_ID", entry.build_id.map(|n| n.to_string()).unwrap_or_default()),
        ("BUILD_TIME", number(entry.build_time)),
        ("CHOST", unless(&entry.chost, inherited("CHOST"))),
        ("DEFINED_PHASES", entry.defined_phases.clone()),
        ("DEPEND", entry.depend.clone()),
        ("DESC", entry.desc.clone()),
        ("EAPI", unless(&entry.eapi, Some("0"))),
        ("IDEPEND", entry.idepend.clone()),
        ("IUSE", entry.iuse.join(" ")),
        ("KEYWORDS", entry.keywords.clone()),
        ("LICENSE", entry.license.clone()),
        ("MD5", entry.md5.clone().unwrap_or_default()),
        ("MTIME", number(entry.mtime)),
        ("PATH", unless(&entry.path, Some(&default_path(&entry.cpv)))),
        ("PDEPEND", entry.pdepend.clone()),
        ("PROPERTIES", entry.properties.clone()),
        ("PROVIDES", entry.provides.clone()),
        ("RDEPEND", entry.rdepend.clone()),
        ("REPO", unless(&entry.repo, inherited("REPO"))),
        ("REQUIRES", entry.requires.clone()),
        ("RESTRICT", entry.restrict.clone()),
        ("SHA1", entry.sha1.clone().unwrap_or_default()),
        ("SIZE", number(entry.size)),
        ("SLOT", unless(&entry.slot_text(), Some("0"))),
        ("USE", entry.use_flags.join(" ")),
    ];
    fields.extend(entry.extra.iter().map(|(key, value)| (key.as_str(), value.clone())));
    fields.retain(|(_, value)| !value.is_empty());
    fields.sort_by(|a, b| a.0.cmp(b.0));
    fields.insert(0, ("CPV", entry.cpv.to_string()));
    fields
}

/// Writes one line. A line break in a value would forge fields, so it becomes a space, as Portage's own normalisation does.
fn write_field(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push_str(": ");
    out.extend(value.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::useflags::PackageUse;

    const HEADER: &str = "ARCH: amd64\nCHOST: x86_64-pc-linux-gnu\nREPO: gentoo\nTIMESTAMP: 5\nUSE: header-flag\n\n";

    fn parse(entries: &str) -> Result<Packages, IndexError> {
        Packages::parse(format!("{HEADER}{entries}").as_bytes())
    }

    #[test]
    fn both_styles_are_read() {
        let packages = parse(
            "CPV: a/b-1\nBUILD_ID: 3\nBUILD_TIME: 9\nPATH: a/b/b-1-3.gpkg.tar\nSLOT: 0/2\nIUSE: +x -y z\nUSE: x\nREPO: other\nNEW: field\n\n\nCPV: a/c-2-r1\nEAPI: 8\n",
        )
        .unwrap();
        let [multi, single] = packages.entries.as_slice() else { panic!("{packages:?}") };
        assert_eq!((multi.build_id, multi.build_time, multi.path.as_str()), (Some(3), 9, "a/b/b-1-3.gpkg.tar"));
        assert_eq!((multi.slot.as_str(), multi.subslot.as_str(), multi.slot_text().as_str()), ("0", "2", "0/2"));
        assert_eq!(
            (multi.repo.as_str(), multi.chost.as_str(), multi.extra["NEW"].as_str()),
            ("other", "x86_64-pc-linux-gnu", "field")
        );
        assert_eq!(multi.iuse_names().collect::<Vec<_>>(), ["x", "y", "z"]);
        assert_eq!(
            (single.path.as_str(), single.build_id, single.slot.as_str(), single.eapi.as_str()),
            ("a/c-2-r1.tbz2", None, "0", "8")
        );
        assert_eq!((single.repo.as_str(), single.subslot.as_str()), ("gentoo", "0"));
        assert!(single.use_flags.is_empty(), "USE is not inherited from the header");
        assert_eq!(packages.timestamp(), Some(5));
    }

    #[test]
    fn an_error_names_line_and_field() {
        for (entries, line, field) in [
            ("CPV: a/b-1\nSIZE: many\n", 8, "SIZE"),
            ("CPV: a/b-1\nBUILD_ID: -1\n", 8, "BUILD_ID"),
            ("CPV: nonsense\n", 7, "CPV"),
            ("SLOT: 0\nSIZE: 1\n", 7, "CPV"),
            ("CPV: a/b-1\nSLOT: 0/\n", 8, "SLOT"),
            ("CPV: a/b-1\nMD5: abc\n", 8, "MD5"),
            ("CPV: a/b-1\nPATH: ../../etc/shadow\n", 8, "PATH"),
            ("CPV: a/b-1\nPATH: /etc/shadow\n", 8, "PATH"),
            ("CPV: a/b-1\nPATH: a//b\n", 8, "PATH"),
            ("CPV: a/b-1\nPATH: a/b?x=%2e\n", 8, "PATH"),
        ] {
            match parse(entries) {
                Err(IndexError::Field { line: l, field: f, .. }) => assert_eq!((l, f.as_str()), (line, field), "{entries}"),
                other => panic!("{entries}: {other:?}"),
            }
        }
    }

    #[test]
    fn what_is_no_index_is_told_from_a_damaged_one() {
        for bytes in [&b""[..], b"\n\n", b"CPV: a/b-1\n", b"<html>\n", b"ARCH: \xff\n", b"\x1f\x8b\x08", b"ARCH: \x1b[2J\n"] {
            assert!(matches!(Packages::parse(bytes), Err(IndexError::NotAnIndex(_))), "{bytes:?}");
        }
        let cut = Packages::parse(b"ARCH: amd64\nPACKAGES: 2\n\nCPV: a/b-1\n").unwrap_err();
        assert_eq!(cut, IndexError::Incomplete { announced: 2, found: 1 });
        assert!(cut.to_string().contains("fetch it again"));
    }

    #[test]
    fn writing_leaves_out_defaults_and_cannot_forge_fields() {
        let mut packages = parse("CPV: a/b-1\nSIZE: 3\n").unwrap();
        packages.entries[0].desc = "one\nSIZE: 4".into();
        let text = String::from_utf8(packages.to_bytes()).unwrap();
        assert!(text.ends_with("\n\nCPV: a/b-1\nDESC: one SIZE: 4\nSIZE: 3\n\n"), "{text}");
        assert!(text.contains("PACKAGES: 1\n"));
    }

    #[test]
    fn implicit_flags_count_as_the_packages_own() {
        let header = "IUSE_IMPLICIT: prefix\nUSE_EXPAND: ELIBC\nUSE_EXPAND_IMPLICIT: ELIBC\nUSE_EXPAND_VALUES_ELIBC: glibc musl\nUSE_EXPAND_HIDDEN: KERNEL\n\n";
        let packages = Packages::parse(
            format!("{header}CPV: a/b-1\nEAPI: 8\nIUSE: +x\nUSE: elibc_glibc gone\n\nCPV: a/c-1\nEAPI: 4\nUSE: gone\n")
                .as_bytes(),
        )
        .unwrap();
        let implicit = ImplicitIuse::from_variables(&packages.header);
        let [new, old] = packages.entries.as_slice() else { panic!("{packages:?}") };
        let has =
            |entry: &Entry, flag: &str| (entry.built_use(&implicit).has_flag(flag), entry.built_use(&implicit).is_enabled(flag));
        assert_eq!(has(new, "x"), (true, false));
        assert_eq!(has(new, "elibc_glibc"), (true, true));
        assert_eq!(has(new, "elibc_musl"), (true, false));
        assert_eq!(has(new, "gone"), (true, true), "what it was built with is there, whatever the profile says now");
        assert_eq!(has(new, "unknown"), (false, false));
        assert_eq!(has(old, "gone"), (false, false));
        assert_eq!(has(old, "kernel_linux"), (true, false));
    }
}
