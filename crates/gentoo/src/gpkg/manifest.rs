//! The `Manifest` of a GPKG: `DATA name size HASH hex …`, in the clear or clear-signed.

use std::collections::BTreeMap;
use std::io::Read;

use blake2::{Blake2b512, Digest};
use sha2::Sha512;

use crate::binpkg::Problem;

const BEGIN: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const BEGIN_SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";

/// What the Manifest lists of one member. Hashes are lower-case hexadecimal; at least one is there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) size: u64,
    pub(super) blake2b: Option<String>,
    pub(super) sha512: Option<String>,
}

/// Whether the bytes of a Manifest carry anything of a signature.
pub(super) fn is_signed(manifest: &[u8]) -> bool {
    let marker = b"-----BEGIN PGP";
    manifest.windows(marker.len()).any(|window| window == marker)
}

/// Reads the text of a Manifest (without its signature).
pub(super) fn parse(text: &[u8]) -> Result<BTreeMap<String, Record>, Problem> {
    let text = std::str::from_utf8(text).map_err(|_| malformed("it is not UTF-8"))?;
    let mut records = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, record) = parse_line(line)?;
        if records.insert(name.clone(), record).is_some() {
            return Err(malformed(format!("it lists {} twice", name.escape_debug())));
        }
    }
    Ok(records)
}

fn parse_line(line: &str) -> Result<(String, Record), Problem> {
    let mut words = line.split_whitespace();
    if words.next() != Some("DATA") {
        return Err(malformed("a line of it does not begin with DATA"));
    }
    let name = words.next().filter(|name| !name.contains('/')).ok_or_else(|| malformed("a line of it has no member's name"))?;
    let size =
        words.next().and_then(decimal).ok_or_else(|| malformed(format!("it gives no size for {}", name.escape_debug())))?;
    let mut record = Record { size, ..Record::default() };
    while let Some(hash) = words.next() {
        let value = words.next().ok_or_else(|| malformed(format!("it gives no value for the {} hash", hash.escape_debug())))?;
        let slot = match hash {
            "BLAKE2B" => &mut record.blake2b,
            "SHA512" => &mut record.sha512,
            // GLEP 78 leaves the set of hashes open; the others are passed over as Portage does.
            _ => continue,
        };
        if slot.replace(value.to_ascii_lowercase()).is_some() {
            return Err(malformed(format!("it gives two {hash} hashes for {}", name.escape_debug())));
        }
    }
    if record.blake2b.is_none() && record.sha512.is_none() {
        return Err(malformed(format!("it gives neither a BLAKE2B nor a SHA512 hash for {}", name.escape_debug())));
    }
    Ok((name.to_owned(), record))
}

fn decimal(word: &str) -> Option<u64> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok()).flatten()
}

/// The text within a clear-signed message whose signature is not looked at.
pub(super) fn unverified_text(message: &[u8]) -> Result<Vec<u8>, Problem> {
    let message = std::str::from_utf8(message).map_err(|_| malformed("it is not UTF-8"))?;
    let mut lines = message.lines();
    if !lines.any(|line| line.trim_end() == BEGIN) || !lines.any(|line| line.trim_end().is_empty()) {
        return Err(malformed("it has a signature but no signed text"));
    }
    let mut text = String::new();
    for line in lines {
        if line.trim_end() == BEGIN_SIGNATURE {
            return Ok(text.into_bytes());
        }
        text.push_str(line.strip_prefix("- ").unwrap_or(line));
        text.push('\n');
    }
    Err(malformed("its signed text has no end"))
}

fn malformed(why: impl Into<String>) -> Problem {
    Problem::Manifest { why: why.into() }
}

/// Both hashes of GLEP 78's current Manifests, in one pass.
#[derive(Default)]
pub(super) struct Hasher {
    blake2b: Blake2b512,
    sha512: Sha512,
    size: u64,
}

impl Hasher {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.blake2b.update(bytes);
        self.sha512.update(bytes);
        self.size += bytes.len() as u64;
    }

    pub(super) fn finish(self) -> Record {
        Record {
            size: self.size,
            blake2b: Some(hex::encode(self.blake2b.finalize())),
            sha512: Some(hex::encode(self.sha512.finalize())),
        }
    }
}

impl Record {
    /// Hashes a stream.
    pub(super) fn of(source: &mut dyn Read) -> std::io::Result<Record> {
        let mut hasher = Hasher::default();
        let mut buffer = vec![0; 128 << 10];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Compares every hash that this record lists with what was found.
    pub(super) fn check(&self, name: &str, found: &Record) -> Result<(), Problem> {
        if self.size != found.size {
            return Err(Problem::WrongSize { name: name.into(), found: found.size, listed: self.size });
        }
        for (listed, found, hash) in [(&self.blake2b, &found.blake2b, "BLAKE2B"), (&self.sha512, &found.sha512, "SHA512")] {
            if listed.is_some() && listed != found {
                return Err(Problem::WrongHash { name: name.into(), hash });
            }
        }
        Ok(())
    }

    /// The Manifest's line, with its end.
    pub(super) fn line(&self, name: &str) -> String {
        let hash = |name: &str, value: &Option<String>| value.as_ref().map(|v| format!(" {name} {v}")).unwrap_or_default();
        format!("DATA {name} {}{}{}\n", self.size, hash("BLAKE2B", &self.blake2b), hash("SHA512", &self.sha512))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_line_is_read_back() {
        let record = Record::of(&mut &b"content"[..]).unwrap();
        let read = parse(record.line("image.tar.zst").as_bytes()).unwrap();
        assert_eq!(read["image.tar.zst"], record);
    }

    #[test]
    fn malformed_lines_are_refused() {
        let hash = "00";
        for text in [
            format!("FILE a 1 SHA512 {hash}"),
            format!("DATA a x SHA512 {hash}"),
            format!("DATA a +1 SHA512 {hash}"),
            format!("DATA a/b 1 SHA512 {hash}"),
            "DATA a 1".into(),
            "DATA a 1 SHA512".into(),
            format!("DATA a 1 MD5 {hash}"),
            format!("DATA a 1 SHA512 {hash} SHA512 {hash}"),
            format!("DATA a 1 SHA512 {hash}\nDATA a 1 SHA512 {hash}"),
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(Problem::Manifest { .. })), "{text}");
        }
    }

    #[test]
    fn hashes_may_come_in_any_order_and_case() {
        let text = "DATA a 1 SHA512 AB WHIRLPOOL cd BLAKE2B EF\n";
        let record = &parse(text.as_bytes()).unwrap()["a"];
        assert_eq!((record.sha512.as_deref(), record.blake2b.as_deref()), (Some("ab"), Some("ef")));
    }

    #[test]
    fn the_text_of_a_signed_manifest_is_found() {
        let message = format!("{BEGIN}\nHash: SHA512\n\nDATA a 1\n- - b\n{BEGIN_SIGNATURE}\nxx\n");
        assert!(is_signed(message.as_bytes()));
        assert_eq!(unverified_text(message.as_bytes()).unwrap(), b"DATA a 1\n- b\n");
        assert!(unverified_text(BEGIN_SIGNATURE.as_bytes()).is_err());
    }
}
