//! Bytes as text: what is printable ASCII stays, everything else becomes `\xNN`, so any path survives JSON and messages.

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

/// Writes bytes as text that [`unescape`] turns back exactly.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            0x20..=0x7e => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// Reads what [`escape`] wrote; `None` when the text is not of that form.
pub(crate) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'\\' {
            bytes.push(first);
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix(b"\\") {
            bytes.push(b'\\');
            rest = tail;
        } else {
            let digits = tail.strip_prefix(b"x")?.get(..2)?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            bytes.extend(byte);
            rest = tail.get(3..)?;
        }
    }
    Some(bytes)
}

/// `#[serde(with = "text::as_text")]` for byte strings.
pub(crate) mod as_text {
    use super::*;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescape(&text).ok_or_else(|| D::Error::custom(format!("“{text}” has a malformed escape")))
    }
}

/// `#[serde(with = "text::as_text_map")]` for maps of byte strings, as a list of pairs.
pub(crate) mod as_text_map {
    use std::collections::BTreeMap;

    use super::*;

    pub fn serialize<S: Serializer>(map: &BTreeMap<Vec<u8>, Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(name, value)| (escape(name), escape(value))))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, D::Error> {
        let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
        let pair = |(name, value): (&String, &String)| Some((unescape(name)?, unescape(value)?));
        texts.iter().map(pair).collect::<Option<_>>().ok_or_else(|| D::Error::custom("a malformed escape"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&escape(&all)), Some(all));
        assert_eq!(escape("a\\ü".as_bytes()), "a\\\\\\xc3\\xbc");
    }

    #[test]
    fn malformed_escapes_are_refused() {
        for text in ["\\", "\\x", "\\x1", "\\xg0", "\\n", "\\xé"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
