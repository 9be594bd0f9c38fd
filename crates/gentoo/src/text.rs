//! Text that shares the buffer it was read from. An index is one large text; its fields point into it instead of being copied one by one.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// A piece of text that cannot be changed; a copy costs next to nothing. A piece of a larger text keeps all of it in memory.
#[derive(Clone)]
pub struct Text(Source);

#[derive(Clone)]
enum Source {
    Static(&'static str),
    /// The piece `start..end` of a text; both are at boundaries of characters.
    Shared {
        whole: Arc<String>,
        start: u32,
        end: u32,
    },
}

impl Text {
    pub const EMPTY: Text = Text(Source::Static(""));

    /// Text that lives as long as the program.
    pub const fn from_static(text: &'static str) -> Text {
        Text(Source::Static(text))
    }

    /// The piece of `whole` that `part` is. What is not a piece of it, or lies beyond 4 GiB, is copied.
    pub fn piece(whole: &Arc<String>, part: &str) -> Text {
        if part.is_empty() {
            return Text::EMPTY;
        }
        let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
        let end = start.wrapping_add(part.len());
        let is_piece = start < end && whole.get(start..end).is_some();
        match (u32::try_from(start), u32::try_from(end)) {
            (Ok(start), Ok(end)) if is_piece => Text(Source::Shared { whole: whole.clone(), start, end }),
            _ => Text::from(part),
        }
    }

    #[inline]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Source::Static(text) => text,
            Source::Shared { whole, start, end } => whole.get(*start as usize..*end as usize).unwrap_or_default(),
        }
    }
}

impl From<&str> for Text {
    /// Copies the text. Beyond 4 GiB, where no field of Gentoo's formats is, it is cut.
    fn from(text: &str) -> Text {
        let longest = text.len().min(u32::MAX as usize);
        let text = (0..=longest).rev().find_map(|end| text.get(..end)).unwrap_or_default();
        match text.len() {
            0 => Text::EMPTY,
            end => Text(Source::Shared { whole: Arc::new(text.to_owned()), start: 0, end: end as u32 }),
        }
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::from(text.as_str())
    }
}

impl From<Text> for String {
    fn from(text: Text) -> String {
        text.as_str().to_owned()
    }
}

impl Default for Text {
    fn default() -> Text {
        Text::EMPTY
    }
}

impl Deref for Text {
    type Target = str;
    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self
    }
}

impl AsRef<Path> for Text {
    fn as_ref(&self) -> &Path {
        Path::new(self.as_str())
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Text) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Text) -> std::cmp::Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Words with white space between them, such as USE flags; kept as written and told apart when asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Words(Text);

impl Words {
    /// The words one after the other, as often as they are named.
    pub fn iter(&self) -> std::str::SplitAsciiWhitespace<'_> {
        self.0.split_ascii_whitespace()
    }

    /// Whether the word is among them.
    pub fn contains(&self, word: &str) -> bool {
        self.iter().any(|own| own == word)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The words as one text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Text> for Words {
    fn from(text: Text) -> Words {
        Words(text)
    }
}

impl<S: AsRef<str>> FromIterator<S> for Words {
    /// Words that hold white space become several.
    fn from_iter<I: IntoIterator<Item = S>>(words: I) -> Words {
        let mut joined = String::new();
        for word in words {
            joined.push_str(if joined.is_empty() { "" } else { " " });
            joined.push_str(word.as_ref());
        }
        Words(joined.into())
    }
}

impl<'a> IntoIterator for &'a Words {
    type Item = &'a str;
    type IntoIter = std::str::SplitAsciiWhitespace<'a>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_share_and_the_rest_is_copied() {
        let whole = Arc::new(String::from("über: alles"));
        let piece = Text::piece(&whole, &whole[0..5]);
        assert_eq!((piece.as_str(), Arc::strong_count(&whole)), ("über", 2));
        let copied = Text::piece(&whole, "alles");
        assert_eq!((copied.as_str(), Arc::strong_count(&whole)), ("alles", 2));
        assert_eq!(Text::piece(&whole, &whole[3..3]), Text::EMPTY);
        assert_eq!(Text::from(String::from("x")), Text::from_static("x"));
    }

    #[test]
    fn words_are_told_apart() {
        let words = Words::from(Text::from(" a  b\tc "));
        assert_eq!(words.iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(words.contains("b") && !words.contains("a  b") && Words::from(Text::from(" ")).is_empty());
        assert_eq!(["a", "b"].iter().collect::<Words>().as_str(), "a b");
    }
}
