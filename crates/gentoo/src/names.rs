//! The character rules for names (PMS 3.1).

use crate::cpv::split_pf;

fn is_name(text: &str, first: fn(u8) -> bool, rest: &[u8]) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(first) && bytes.all(|b| b.is_ascii_alphanumeric() || rest.contains(&b))
}

fn word_start(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// PMS 3.1.1.
pub fn is_category(text: &str) -> bool {
    is_name(text, word_start, b"+_.-")
}

/// PMS 3.1.2: like a word, and not ending in what looks like a version.
pub fn is_package(text: &str) -> bool {
    is_name(text, word_start, b"+_-") && split_pf(text).is_none()
}

/// PMS 3.1.3: names of slots and of sub-slots.
pub fn is_slot(text: &str) -> bool {
    is_name(text, word_start, b"+_.-")
}

/// PMS 3.1.4.
pub fn is_use_flag(text: &str) -> bool {
    is_name(text, |b| b.is_ascii_alphanumeric(), b"+_@-")
}

/// PMS 3.1.5.
pub fn is_repository(text: &str) -> bool {
    is_name(text, word_start, b"_-")
}

/// PMS 3.1.7.
pub fn is_license(text: &str) -> bool {
    is_name(text, word_start, b"+_.-")
}
