//! The one error of all the small parsers: what was read, and what is wrong with it.

/// Text that does not follow the grammar of PMS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("“{input}” is not a valid {what}: {reason}")]
pub struct ParseError {
    /// What it should have been, like `package atom`.
    pub what: &'static str,
    /// The text at fault, shortened and with control characters escaped.
    pub input: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// Longest piece of foreign text that is repeated in a message, in characters.
const SHOWN: usize = 120;

impl ParseError {
    pub(crate) fn new(what: &'static str, input: &str, reason: impl Into<String>) -> Self {
        ParseError { what, input: shown(input), reason: reason.into() }
    }
}

/// Foreign text for a message: its beginning, control characters escaped.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    shown
}
