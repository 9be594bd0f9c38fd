//! Writing an index.

use std::collections::BTreeMap;

use super::{Entry, Packages, default_path};

/// Writes the index: header, then entries.
pub(super) fn to_bytes(packages: &Packages) -> Vec<u8> {
    let mut out = String::new();
    let mut header = packages.header.clone();
    header.insert("PACKAGES".into(), packages.entries.len().to_string());
    for (key, value) in &header {
        write_field(&mut out, key, value);
    }
    for entry in &packages.entries {
        out.push('\n');
        for (key, value) in entry_fields(entry, &header) {
            write_field(&mut out, key, &value);
        }
    }
    out.push('\n');
    out.into_bytes()
}

/// What is written of an entry, in alphabetical order but for CPV at the front.
fn entry_fields<'a>(entry: &'a Entry, header: &BTreeMap<String, String>) -> Vec<(&'a str, String)> {
    let number = |n: u64| if n == 0 { String::new() } else { n.to_string() };
    let unless = |text: &str, default: Option<&str>| if Some(text) == default { String::new() } else { text.to_owned() };
    let inherited = |key: &str| header.get(key).map(String::as_str);
    let mut fields: Vec<(&str, String)> = vec![
        ("BDEPEND", entry.bdepend.to_string()),
        ("BUILD_ID", entry.build_id.map(|n| n.to_string()).unwrap_or_default()),
        ("BUILD_TIME", number(entry.build_time)),
        ("CHOST", unless(&entry.chost, inherited("CHOST"))),
        ("DEFINED_PHASES", entry.defined_phases.to_string()),
        ("DEPEND", entry.depend.to_string()),
        ("DESC", entry.desc.to_string()),
        ("EAPI", unless(&entry.eapi, Some("0"))),
        ("IDEPEND", entry.idepend.to_string()),
        ("IUSE", entry.iuse.as_str().to_owned()),
        ("KEYWORDS", entry.keywords.to_string()),
        ("LICENSE", entry.license.to_string()),
        ("MD5", entry.md5.clone().unwrap_or_default().to_string()),
        ("MTIME", number(entry.mtime)),
        ("PATH", unless(&entry.path, Some(&default_path(&entry.cpv)))),
        ("PDEPEND", entry.pdepend.to_string()),
        ("PROPERTIES", entry.properties.to_string()),
        ("PROVIDES", entry.provides.to_string()),
        ("RDEPEND", entry.rdepend.to_string()),
        ("REPO", unless(&entry.repo, inherited("REPO"))),
        ("REQUIRES", entry.requires.to_string()),
        ("RESTRICT", entry.restrict.to_string()),
        ("SHA1", entry.sha1.clone().unwrap_or_default().to_string()),
        ("SIZE", number(entry.size)),
        ("SLOT", unless(&entry.slot_text(), Some("0"))),
        ("USE", entry.use_flags.as_str().to_owned()),
    ];
    fields.extend(entry.extra.iter().map(|(key, value)| (key.as_str(), value.to_string())));
    fields.retain(|(_, value)| !value.is_empty());
    fields.sort_by(|a, b| a.0.cmp(b.0));
    fields.insert(0, ("CPV", entry.cpv.to_string()));
    fields
}

/// Writes one line. A line break in a value would forge fields and reading refuses other control characters: they become spaces.
fn write_field(out: &mut String, key: &str, value: &str) {
    out.push_str(key);
    out.push_str(": ");
    out.extend(value.chars().map(|c| if c.is_ascii_control() && c != '\t' { ' ' } else { c }));
    out.push('\n');
}
