//! What pages say, in the reader's language.
//!
//! English stands where it is used, as `say!("…")` in templates and code; each other language is a file of `texts/` from the English text to
//! its own. A text that is counted has a form for one and a form for others (`say_n!`). A test holds each file complete. The language is the
//! request's: whatever is said while it is answered is said in it, and in English elsewhere.

use std::collections::HashMap;
use std::future::Future;
use std::sync::LazyLock;

use serde::Deserialize;

mod heard;

pub use heard::{failure, failure_as_text, heard};

/// A text in the reader's language, with its named places filled in: `say!("{count} of {all}", count = 1, all = 2)`.
macro_rules! say {
    ($text:expr $(, $name:ident = $value:expr)* $(,)?) => {
        $crate::words::fill(&$crate::words::translated($text), &[$((stringify!($name), $value.to_string())),*])
    };
}

/// A text that is counted, in the reader's language: `say_n!(3, "{n} package", "{n} packages")`.
macro_rules! say_n {
    ($count:expr, $one:literal, $others:literal $(, $name:ident = $value:expr)* $(,)?) => {{
        let count = u64::try_from($count).unwrap_or(0);
        $crate::words::fill($crate::words::counted(count, $one, $others), &[("n", count.to_string()) $(, (stringify!($name), $value.to_string()))*])
    }};
}

/// The languages of the site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    German,
}

/// The forms of a text.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Forms {
    Plain(String),
    /// For one, and for any other number.
    Counted([String; 2]),
}

type Texts = HashMap<String, Forms>;

const GERMAN_TEXTS: &str = include_str!("../texts/de.toml");

static GERMAN: LazyLock<Texts> = LazyLock::new(|| {
    toml::from_str(GERMAN_TEXTS).unwrap_or_else(|error| {
        tracing::error!(%error, "the German texts cannot be read");
        Texts::new()
    })
});

tokio::task_local! {
    static LANGUAGE: Language;
}

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::German];

    /// Its tag (RFC 5646).
    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::German => "de",
        }
    }

    /// What those who speak it call it.
    pub fn name(self) -> &'static str {
        match self {
            Language::English => "English",
            Language::German => "Deutsch",
        }
    }

    /// The language of a tag, whatever region it names.
    pub fn from_tag(tag: &str) -> Option<Language> {
        let primary = tag.split('-').next().unwrap_or_default();
        Language::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.tag()))
    }

    /// The best one by `Accept-Language` (RFC 9110, section 12.5.4).
    pub fn accepted(header: &str) -> Option<Language> {
        let mut best: Option<(f32, Language)> = None;
        for range in header.split(',').take(50) {
            let mut parts = range.split(';').map(str::trim);
            let Some(language) = parts.next().and_then(Language::from_tag) else { continue };
            let weight = parts.find_map(|p| p.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if weight > 0.0 && best.is_none_or(|(most, _)| weight > most) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }

    fn texts(self) -> Option<&'static Texts> {
        match self {
            Language::English => None,
            Language::German => Some(&GERMAN),
        }
    }
}

/// The language in which is spoken now.
pub fn language() -> Language {
    LANGUAGE.try_with(|language| *language).unwrap_or_default()
}

/// Runs something that speaks in a language.
pub async fn speaking<F: Future>(language: Language, work: F) -> F::Output {
    LANGUAGE.scope(language, work).await
}

/// The text in the reader's language; as it is where the language has none.
pub fn translated(text: &str) -> String {
    match language().texts().and_then(|texts| texts.get(text)) {
        Some(Forms::Plain(own)) => own.clone(),
        Some(Forms::Counted([_, others])) => others.clone(),
        None => text.to_owned(),
    }
}

/// The form of a counted text for this number.
pub fn counted(count: u64, one: &'static str, others: &'static str) -> &'static str {
    let (one, others) = match language().texts().and_then(|texts| texts.get(one)) {
        Some(Forms::Counted([one, others])) => (one.as_str(), others.as_str()),
        Some(Forms::Plain(own)) => (own.as_str(), own.as_str()),
        None => (one, others),
    };
    if count == 1 { one } else { others }
}

/// Puts values into the named places of a text. What a value says is not looked at again.
pub fn fill(text: &str, values: &[(&str, String)]) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once('{') {
        out += before;
        let place = after.split_once('}').and_then(|(name, after)| Some((values.iter().find(|(n, _)| *n == name)?, after)));
        match place {
            Some(((_, value), after)) => {
                out += value;
                rest = after;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out + rest
}

/// A number with digits after its point, as the reader writes it.
pub fn decimal(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    match language() {
        Language::English => text,
        Language::German => text.replace('.', ","),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn files(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs" || e == "html" || e == "svg" || e == "txt")
                && !path.ends_with("words.rs")
            {
                found.push(path);
            }
        }
    }

    fn sources() -> Vec<(String, String)> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        files(&root.join("src"), &mut found);
        files(&root.join("templates"), &mut found);
        let read = |path: PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        };
        found.into_iter().map(read).collect()
    }

    /// The literals that follow a call of a macro, up to `most` of each call.
    fn literals(source: &str, call: &str, most: usize) -> Vec<String> {
        let mut found = Vec::new();
        for after in source.split(call).skip(1) {
            let mut rest = after;
            // What is said by a name is held elsewhere.
            if most == 1 && call == "say!(" && !after.trim_start().starts_with('"') {
                continue;
            }
            for _ in 0..most {
                // Up to the first literal there are only names and numbers.
                let Some((before, text)) = rest.split_once('"') else { break };
                if before.contains("say") || before.contains("%}") || before.contains("}}") {
                    break;
                }
                let end = text.find('"').unwrap();
                found.push(text[..end].to_owned());
                rest = &text[end + 1..];
            }
        }
        found
    }

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect()
    }

    /// What is said by names that the code has elsewhere.
    fn named() -> Vec<String> {
        let steps = contract::Step::ALL.into_iter().map(|step| step.label().to_owned());
        let documents = attest::DocumentKind::ALL.into_iter().map(|kind| kind.label().to_owned());
        let states = ["waiting", "building", "ready", "failed", "cancelled", "expired", "running", "done"].map(str::to_owned);
        let formats = contract::Format::ALL.iter().map(|format| format.advice().to_owned());
        let roots = contract::RootFilesystem::ALL.iter().map(|root| root.advice().to_owned());
        steps.chain(documents).chain(states).chain(formats).chain(roots).collect()
    }

    #[test]
    fn every_language_says_everything_and_nothing_else() {
        let texts: Texts = toml::from_str(GERMAN_TEXTS).unwrap();
        let mut said: BTreeSet<String> = named().into_iter().collect();
        let mut counted: BTreeSet<String> = BTreeSet::new();
        for (_, source) in sources() {
            said.extend(literals(&source, "say!(", 1));
            counted.extend(literals(&source, "say_n!(", 1));
        }
        let mut missing: Vec<&String> = said.iter().chain(&counted).filter(|text| !texts.contains_key(*text)).collect();
        missing.sort();
        assert!(missing.is_empty(), "texts/de.toml lacks {missing:#?}");
        for (english, own) in &texts {
            assert!(said.contains(english) || counted.contains(english), "nobody says {english:?} any more");
            match own {
                Forms::Plain(own) => assert_eq!(places(own), places(english), "{english:?}"),
                Forms::Counted(forms) => {
                    assert!(counted.contains(english), "{english:?} is not counted");
                    let mut known = places(english);
                    known.insert("n");
                    for form in forms {
                        assert!(places(form).is_subset(&known), "{form:?}");
                    }
                }
            }
        }
        for text in &counted {
            assert!(matches!(texts.get(text), Some(Forms::Counted(_))), "{text:?} has a form for one and one for others");
        }
    }

    /// The words of a template that are not said by a macro.
    fn bare(template: &str) -> String {
        let mut out = String::new();
        let mut rest = template;
        while let Some(at) = rest.find(['{', '<']) {
            out += &rest[..at];
            let after = &rest[at..];
            let end = match after {
                _ if after.starts_with("{%") => after.find("%}").map(|e| e + 2),
                _ if after.starts_with("{{") => after.find("}}").map(|e| e + 2),
                _ if after.starts_with("<code") => after.find("</code>").map(|e| e + 7),
                _ if after.starts_with("<pre") => after.find("</pre>").map(|e| e + 6),
                _ if after.starts_with("<path") => after.find("/>").map(|e| e + 2),
                _ if after.starts_with('<') => {
                    // Attributes that are read aloud are words too.
                    let tag = &after[..after.find('>').unwrap()];
                    for name in ["aria-label=\"", "alt=\"", "title=\"", "placeholder=\""] {
                        if let Some((_, value)) = tag.split_once(name) {
                            out +=
                                bare(value.split_once('"').map_or(value, |(v, _)| if v.contains('{') { "" } else { v })).as_str();
                        }
                    }
                    // A tag may hold expressions with the sign that ends it.
                    let mut end = at;
                    let (mut depth, bytes) = (0, after.as_bytes());
                    for (i, pair) in bytes.windows(2).enumerate() {
                        match pair {
                            b"{%" | b"{{" => depth += 1,
                            b"%}" | b"}}" => depth -= 1,
                            _ => {}
                        }
                        if depth <= 0 && pair[0] == b'>' {
                            end = i + 1;
                            break;
                        }
                    }
                    if end == at { after.rfind('>').map(|e| e + 1) } else { Some(end) }
                }
                _ => Some(1),
            };
            out.push(' ');
            rest = &after[end.unwrap_or(after.len())..];
        }
        out + rest
    }

    #[test]
    fn templates_say_nothing_by_themselves() {
        const NAMES: &[&str] = &["Hatchery", "GLSA", "SHA", "SHA256SUMS", "SHA512SUMS", "mdash", "amp", "nbsp"];
        let mut untold = Vec::new();
        for (name, source) in sources() {
            if !(name.ends_with(".html") || name.ends_with(".svg") || name.ends_with(".txt")) {
                continue;
            }
            let words = bare(&source);
            let words = words
                .split(|c: char| !c.is_alphanumeric())
                .filter(|word| word.len() > 1 && word.chars().all(char::is_alphabetic));
            untold.extend(words.filter(|word| !NAMES.contains(word)).map(|word| format!("{name}: {word}")));
        }
        assert!(untold.is_empty(), "said by templates themselves: {untold:#?}");
    }

    #[test]
    fn places_are_filled_and_numbers_have_their_form() {
        assert_eq!(say!("{a} {b} {c} {", a = "{b}", b = 2), "{b} 2 {c} {");
        assert_eq!(say_n!(1u64, "{n} egg", "{n} eggs"), "1 egg");
        assert_eq!(say_n!(0u64, "{n} egg", "{n} eggs"), "0 eggs");
    }

    #[test]
    fn the_readers_language_is_found() {
        let accepted = |header| Language::accepted(header).map(Language::tag);
        assert_eq!(accepted("fr-CH, fr;q=0.9, de;q=0.7, en;q=0.8, *;q=0.5"), Some("en"));
        assert_eq!(accepted("de-AT"), Some("de"));
        assert_eq!(accepted("en;q=0, de;q=0.1"), Some("de"));
        assert_eq!([accepted("tlh"), accepted(""), accepted("de;q=x")], [None, None, None]);
    }
}
