//! What other parts of Hatchery say in English, in the reader's language: what is wrong with an order, why there is no plan for it. Those
//! parts know of no languages and say whole sentences with values in them, so that a sentence is known by its shape.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Language, fill, language};

const GERMAN_SENTENCES: &str = include_str!("../../texts/de-heard.toml");

/// Longest line that is looked at, in bytes.
const MAX_LINE: usize = 4 << 10;
/// A value may be a sentence with values itself; those of that one may not.
const MAX_DEPTH: u8 = 2;

/// The shape of a sentence, and what is said for it.
struct Shape {
    /// What stands before, between and after the places: one more than places.
    fixed: Vec<String>,
    places: Vec<String>,
    own: String,
}

static GERMAN: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let texts: HashMap<String, String> = toml::from_str(GERMAN_SENTENCES).unwrap_or_else(|error| {
        tracing::error!(%error, "the German sentences cannot be read");
        HashMap::new()
    });
    let mut shapes: Vec<Shape> = texts.into_iter().map(|(english, own)| Shape::new(&english, own)).collect();
    // The one that fixes most of the sentence comes first.
    shapes.sort_by_key(|shape| (std::cmp::Reverse(shape.fixed.iter().map(String::len).sum::<usize>()), shape.fixed.clone()));
    shapes
});

impl Shape {
    fn new(english: &str, own: String) -> Shape {
        let (mut fixed, mut places, mut rest) = (Vec::new(), Vec::new(), english);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((place, after)) = after.split_once('}') else { break };
            fixed.push(before.to_owned());
            places.push(place.to_owned());
            rest = after;
        }
        fixed.push(rest.to_owned());
        Shape { fixed, places, own }
    }

    /// What stands in the places, if the text has this shape. No place holds the end of a sentence and the start of another.
    fn values<'a>(&self, text: &'a str) -> Option<Vec<&'a str>> {
        let (first, others) = self.fixed.split_first()?;
        let mut rest = text.strip_prefix(first.as_str())?;
        let Some((last, between)) = others.split_last() else { return rest.is_empty().then(Vec::new) };
        let mut values = Vec::new();
        for fixed in between {
            let (value, after) = rest.split_once(fixed.as_str())?;
            values.push(value);
            rest = after;
        }
        values.push(rest.strip_suffix(last.as_str())?);
        values.iter().all(|value| sentences(value).len() == 1).then_some(values)
    }
}

/// A text of another part, in the reader's language as far as it is known there.
pub fn heard(text: &(impl AsRef<str> + ?Sized)) -> String {
    match language() {
        Language::English => text.as_ref().to_owned(),
        Language::German => text.as_ref().split('\n').map(|line| in_own_words(&GERMAN, line, 0)).collect::<Vec<_>>().join("\n"),
    }
}

fn in_own_words(shapes: &[Shape], line: &str, depth: u8) -> String {
    let text = line.trim_start();
    if depth > MAX_DEPTH || text.is_empty() || line.len() > MAX_LINE {
        return line.to_owned();
    }
    let indent = line.get(..line.len() - text.len()).unwrap_or_default();
    if let Some(own) = of_shape(shapes, text, depth) {
        return format!("{indent}{own}");
    }
    let sentences = sentences(text);
    let own = sentences.iter().map(|sentence| of_shape(shapes, sentence, depth).unwrap_or_else(|| (*sentence).to_owned()));
    format!("{indent}{}", own.collect::<Vec<_>>().join(" "))
}

fn of_shape(shapes: &[Shape], text: &str, depth: u8) -> Option<String> {
    let (shape, values) = shapes.iter().find_map(|shape| Some((shape, shape.values(text)?)))?;
    let own = values.into_iter().map(|value| in_own_words(shapes, value, depth + 1));
    let places: Vec<(&str, String)> = shape.places.iter().map(String::as_str).zip(own).collect();
    Some(fill(&shape.own, &places))
}

/// The sentences of a line: each ends with a full stop that a capital follows.
fn sentences(text: &str) -> Vec<&str> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(". ") {
        if text.get(at + 2..).and_then(|rest| rest.chars().next()).is_some_and(|c| c.is_uppercase() || c == '“') {
            found.extend(text.get(start..=at));
            start = at + 2;
        }
    }
    found.extend(text.get(start..));
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::words::speaking;

    /// The text of sources without what breaks their lines, every place of a format string as `{}`.
    fn said(paths: &[&str]) -> String {
        let mut text = String::new();
        for path in paths {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let mut files = vec![path];
            while let Some(path) = files.pop() {
                if path.is_dir() {
                    files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") && !path.ends_with("heard.rs") {
                    text += std::fs::read_to_string(path).unwrap().split("#[cfg(test)]").next().unwrap();
                }
            }
        }
        let mut joined = String::new();
        for (i, part) in text.split("\\\n").enumerate() {
            joined += if i > 0 { part.trim_start() } else { part };
        }
        without_names(&joined)
    }

    /// Every place as `{}`; other braces are those of code.
    fn without_names(text: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            out += before;
            let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || "_:.?".contains(c));
            rest = match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((_, after)) => {
                    out += "{}";
                    after
                }
                None => {
                    out.push('{');
                    after
                }
            };
        }
        out + rest
    }

    #[test]
    fn each_sentence_is_said_somewhere() {
        let sources = said(&["src", "../contract/src", "../resolver/src", "../../presets"]);
        let texts: HashMap<String, String> = toml::from_str(GERMAN_SENTENCES).unwrap();
        for (english, own) in &texts {
            assert!(sources.contains(&without_names(english)), "nobody says {english:?} any more");
            let places = |text: &str| {
                let mut places = Shape::new(text, String::new()).places;
                places.sort();
                places
            };
            assert_eq!(places(english), places(own), "{english:?}");
        }
    }

    #[test]
    fn whatever_is_wrong_with_an_order_is_said_in_german() {
        // What is no sentence to somebody who orders: a message of serde, and the names of hashes.
        let others = ["invalid type", "hatchery "];
        let texts: HashMap<String, String> = toml::from_str(GERMAN_SENTENCES).unwrap();
        let known: Vec<String> = texts.keys().map(|text| without_names(text)).collect();
        let sources = said(&["../contract/src/order.rs", "../contract/src/system.rs", "../contract/src/eprefix.rs"]);
        let code = sources
            .lines()
            .filter(|line| !line.trim_start().starts_with(['/', '#']))
            .collect::<String>()
            .replace("'\"'", "")
            .replace("\\\"", "");
        let literals: Vec<&str> = code.split('"').skip(1).step_by(2).filter(|text| text.matches(' ').count() > 2).collect();
        assert!(literals.len() > 20, "{literals:#?}");
        let missing: Vec<&&str> = literals
            .iter()
            .filter(|text| !known.iter().any(|known| known == **text) && !others.iter().any(|other| text.starts_with(other)))
            .collect();
        assert!(missing.is_empty(), "texts/de-heard.toml lacks {missing:#?}");
    }

    #[tokio::test]
    async fn sentences_are_known_by_their_shape() {
        let shapes = [
            Shape::new("No binhost has {name}.", "Kein Binhost hat {name}.".into()),
            Shape::new("Leave out {what}.", "Lass {what} weg.".into()),
            Shape::new("{reason}; try in {n} minutes", "{reason}; versuche es in {n} Minuten".into()),
            Shape::new("at most {n} plans", "höchstens {n} Pläne".into()),
        ];
        let own = |text| in_own_words(&shapes, text, 0);
        assert_eq!(own("No binhost has a/b-1.2. Leave out c/d."), "Kein Binhost hat a/b-1.2. Lass c/d weg.");
        assert_eq!(own("  No binhost has {name}. What else?"), "  Kein Binhost hat {name}. What else?");
        assert_eq!(own("at most 3 plans; try in 4 minutes"), "höchstens 3 Pläne; versuche es in 4 Minuten");
        let (english, german) = (Language::English, Language::German);
        assert_eq!(speaking(english, async { heard("choose at least one format") }).await, "choose at least one format");
        assert_eq!(speaking(german, async { heard("choose at least one format") }).await, "wähle mindestens ein Format");
    }
}
