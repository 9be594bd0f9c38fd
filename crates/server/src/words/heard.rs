//! What other parts of Hatchery say in English, in the reader's language: what is wrong with an order, why there is no plan for it. Those
//! parts know of no languages and say whole sentences with values in them, so that a sentence is known by its shape.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::{Language, fill, language};

/// What is wrong with orders and plans; why builds failed; what operators are told.
const GERMAN_SENTENCES: [&str; 3] = [
    include_str!("../../texts/de-heard.toml"),
    include_str!("../../texts/de-failed.toml"),
    include_str!("../../texts/de-operator.toml"),
];

/// Longest line that is looked at, in bytes.
const MAX_LINE: usize = 4 << 10;
/// A value may be a sentence with values itself, so deep.
const MAX_DEPTH: u8 = 5;
/// What parts of a list are put together with.
const GERMAN_LISTS: [(&str, &str); 5] = [("; ", "; "), (", ", ", "), (" and ", " und "), (" or ", " oder "), (" with ", " mit ")];
/// What stands between our words about a failure and those of the program that failed.
const LAST_WORDS: [&str; 2] = ["Its last words were:", "The serial console's last words were:"];

/// The shape of a sentence, and what is said for it.
struct Shape {
    /// What stands before, between and after the places: one more than places.
    fixed: Vec<String>,
    places: Vec<String>,
    own: String,
}

static GERMAN: LazyLock<Vec<Shape>> = LazyLock::new(|| {
    let read = |text: &str| -> HashMap<String, String> {
        toml::from_str(text).unwrap_or_else(|error| {
            tracing::error!(%error, "the German sentences cannot be read");
            HashMap::new()
        })
    };
    let texts = GERMAN_SENTENCES.into_iter().flat_map(read);
    let mut shapes: Vec<Shape> = texts.map(|(english, own)| Shape::new(&english, own)).collect();
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
    let known = |sentence: &str| {
        let own = of_shape(shapes, sentence, depth).or_else(|| of_list(shapes, sentence, depth));
        own.or_else(|| after_a_name(shapes, sentence, depth)).unwrap_or_else(|| sentence.to_owned())
    };
    format!("{indent}{}", sentences(text).into_iter().map(known).collect::<Vec<_>>().join(" "))
}

/// A list of things that are known or are single words; prose is none.
fn of_list(shapes: &[Shape], text: &str, depth: u8) -> Option<String> {
    let (between, own) = GERMAN_LISTS.into_iter().find(|(between, _)| text.contains(between)).filter(|_| depth < MAX_DEPTH)?;
    let is_word = |part: &str| !part.contains(' ') || part.split(' ').nth(1).is_some_and(|second| second.starts_with('('));
    let parts: Option<Vec<String>> = text
        .split(between)
        .map(|part| {
            let known = of_shape(shapes, part, depth + 1).or_else(|| of_list(shapes, part, depth + 1));
            known.or_else(|| is_word(part).then(|| part.to_owned()))
        })
        .collect();
    Some(parts?.join(own))
}

/// What follows the name of whom it is about: `app-editors/nano-7.2, pkg_postinst: its script failed`.
fn after_a_name(shapes: &[Shape], text: &str, depth: u8) -> Option<String> {
    let (name, about) = text.split_once(": ")?;
    Some(format!("{name}: {}", of_shape(shapes, about, depth)?))
}

/// What a failure says, in the reader's language, and below it what the program that failed had said last.
pub fn failure(message: &str) -> (String, Option<&str>) {
    let cut = LAST_WORDS.iter().find_map(|words| message.find(words).map(|at| at + words.len()));
    let (own, output) = cut.and_then(|at| message.split_at_checked(at)).unwrap_or((message, ""));
    (heard(own), Some(output.trim_matches('\n')).filter(|output| !output.is_empty()))
}

fn of_shape(shapes: &[Shape], text: &str, depth: u8) -> Option<String> {
    let (shape, values) = shapes.iter().find_map(|shape| Some((shape, shape.values(text)?)))?;
    let own = values.into_iter().map(|value| in_own_words(shapes, value, depth + 1));
    let places: Vec<(&str, String)> = shape.places.iter().map(String::as_str).zip(own).collect();
    Some(fill(&shape.own, &places))
}

/// The sentences of a line: each ends with a full stop or a question mark that a capital follows.
fn sentences(text: &str) -> Vec<&str> {
    let (mut found, mut start) = (Vec::new(), 0);
    for (at, _) in text.match_indices(['.', '?']).filter(|(at, _)| text.get(at + 1..).is_some_and(|rest| rest.starts_with(' '))) {
        if text.get(at + 2..).and_then(|rest| rest.chars().next()).is_some_and(|c| c.is_uppercase() || c == '“') {
            found.extend(text.get(start..=at));
            start = at + 2;
        }
    }
    found.extend(text.get(start..));
    found
}

/// The same as one text.
pub fn failure_as_text(message: &str) -> String {
    match failure(message) {
        (own, Some(output)) => format!("{own}\n{output}"),
        (own, None) => own,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::words::speaking;

    /// The text of sources without what breaks their lines, every place of a format string as `{}`.
    fn said(paths: &[&str]) -> String {
        without_names(&said_in_full(paths))
    }

    /// The text of sources without what breaks their lines.
    fn said_in_full(paths: &[&str]) -> String {
        let mut text = String::new();
        for path in paths {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
            let mut files = vec![path];
            while let Some(path) = files.pop() {
                if path.is_dir() {
                    files.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
                } else if path.extension().is_some_and(|e| e == "rs" || e == "toml") && !path.ends_with("heard.rs") {
                    text += std::fs::read_to_string(path).unwrap().split("#[cfg(test)]\nmod tests {").next().unwrap();
                }
            }
        }
        let mut joined = String::new();
        for (i, part) in text.split("\\\n").enumerate() {
            joined += if i > 0 { part.trim_start() } else { part };
        }
        joined
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

    fn texts() -> HashMap<String, String> {
        GERMAN_SENTENCES.into_iter().flat_map(|text| toml::from_str::<HashMap<String, String>>(text).unwrap()).collect()
    }

    /// Where reasons of failed builds come from.
    const BUILDERS: [&str; 13] = [
        "src/reconcile.rs",
        "src/lacking.rs",
        "src/http/worker.rs",
        "../worker/src",
        "../composer/src",
        "../binhost/src",
        "../image/src",
        "../machine/src",
        "src/source_builds.rs",
        "../gentoo/src/profile/error.rs",
        "../gentoo/src/index/mod.rs",
        "../gentoo/src/binpkg",
        "../gentoo/src/gpkg",
    ];

    #[test]
    fn each_sentence_is_said_somewhere() {
        let others = [
            "src",
            "../contract/src",
            "../resolver/src",
            "../attest/src",
            "../advice/src",
            "../gentoo/src/atom.rs",
            "../gentoo/src/useflags.rs",
            "../../presets",
        ];
        let sources = said(&[others.as_slice(), BUILDERS.as_slice()].concat());
        // What is put together of a word and a number or name, with the word in another place.
        let kinds = resolver::ChangeKind::ALL.map(resolver::ChangeKind::label);
        let is_change =
            |text: &str| kinds.iter().any(|kind| text == format!("{{n}} {kind}") || text == format!("{kind} {{what}}"));
        let is_advisory = |text: &str| text.contains("touch it") || text.contains("touches it") || text.contains("GLSA {id}");
        let is_place = |text: &str| ["{n}. ", "not chosen: "].iter().any(|place| text.starts_with(place));
        for (english, own) in &texts() {
            let is_made = is_change(english) || is_advisory(english) || is_place(english);
            let is_there = is_made || sources.contains(&without_names(english));
            assert!(is_there, "nobody says {english:?} any more");
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
        let known: Vec<String> = texts().keys().map(|text| without_names(text)).collect();
        let sources = said(&[
            "src/settings.rs",
            "../contract/src/order.rs",
            "../contract/src/system.rs",
            "../contract/src/eprefix.rs",
            "../contract/src/network.rs",
        ]);
        let code = sources
            .lines()
            .filter(|line| !line.trim_start().starts_with(['/', '#']))
            .collect::<String>()
            .replace("'\"'", "")
            .replace("\\\"", "");
        let literals: Vec<&str> = code.split('"').skip(1).step_by(2).filter(|text| text.matches(' ').count() > 2).collect();
        assert!(literals.len() > 20, "{literals:#?}");
        let is_known = |text: &str| known.iter().any(|known| known == text.trim_end_matches(" {}"));
        let missing: Vec<&&str> = literals
            .iter()
            .filter(|text| !is_known(text) && !sentences(text).into_iter().all(is_known))
            .filter(|text| !others.iter().any(|other| text.starts_with(other)))
            .collect();
        assert!(missing.is_empty(), "texts/de-heard.toml lacks {missing:#?}");
    }

    #[test]
    fn whatever_is_wrong_with_an_atom_is_said_in_german() {
        let known: Vec<String> = texts().keys().map(|text| without_names(text)).collect();
        let sources = said_in_full(&["../gentoo/src/atom.rs", "../gentoo/src/useflags.rs"]);
        let starts = ["Err(", "ok_or(", "format!("]
            .into_iter()
            .flat_map(|start| sources.match_indices(start).map(move |(at, _)| at + start.len() - 1));
        let literals: Vec<String> = starts
            .flat_map(|at| bracketed(&sources[at..]).split('"').skip(1).step_by(2))
            .filter(|text| text.contains(' ') && *text != "package atom")
            .map(without_names)
            .collect();
        assert!(literals.len() > 12, "{literals:#?}");
        let missing: Vec<&String> = literals.iter().filter(|text| !known.contains(text)).collect();
        assert!(missing.is_empty(), "texts/de-heard.toml lacks {missing:#?}");
    }

    /// What stands between a bracket and the one that closes it; strings in it may hold brackets.
    fn bracketed(text: &str) -> &str {
        let (mut depth, mut in_string, mut escaped) = (0, false, false);
        for (at, c) in text.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' if in_string => escaped = true,
                '"' => in_string = !in_string,
                '(' | '{' if !in_string => depth += 1,
                ')' | '}' if !in_string => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return &text[..at];
            }
        }
        text
    }

    #[test]
    fn whatever_makes_a_build_fail_is_said_in_german() {
        // A worker that cannot work at all says these to its operator, and takes no work; the rest is no sentence or another's.
        let others = [
            "apt install",
            "sysctl",
            "usermod",
            "CAP_SETUID",
            "set-uid root",
            "no range of",
            "as happens in a container",
            "emulator",
            "the path “{}” {}",
        ];
        let known: Vec<String> = texts().keys().map(|text| without_names(text)).collect();
        let mut missing = Vec::new();
        let mut count = 0;
        for path in BUILDERS {
            // The names of places stay, so that brackets remain pairs.
            let sources = said_in_full(&[path]);
            for start in [
                "ComposeError::new(",
                "Failure {",
                "Failure::new(",
                "#[error(",
                "fn advice(error: &image::Error) -> &'static str {",
                "-> Failure {",
            ] {
                for (at, _) in sources.match_indices(start) {
                    let region = bracketed(&sources[at + start.len() - 1..]);
                    for literal in region.split('"').skip(1).step_by(2).filter(|text| text.matches(' ').count() > 2) {
                        count += 1;
                        let own = without_names(literal);
                        let own = own.split("\\n").next().unwrap().to_owned();
                        let is_known =
                            |sentence: &str| ["", "{}"].contains(&sentence) || known.iter().any(|known| known == sentence);
                        let whole = own.trim_end_matches(" {}");
                        let is_known = is_known(&own) || is_known(whole) || sentences(&own).into_iter().all(is_known);
                        if !is_known && !others.iter().any(|other| own.contains(other)) {
                            missing.push(format!("{path}: {own}"));
                        }
                    }
                }
            }
        }
        missing.sort();
        missing.dedup();
        assert!(count > 150, "only {count} sentences were found");
        assert!(missing.is_empty(), "texts/de-failed.toml lacks {missing:#?}");
    }

    #[tokio::test]
    async fn failures_and_changes_are_told_in_german() {
        let german = |text: &'static str| speaking(Language::German, async move { heard(text) });
        assert_eq!(
            german("app-editors/nano-7.2, pkg_postinst: its script was stopped, as it took more than 4 GiB of memory").await,
            "app-editors/nano-7.2, pkg_postinst: sein Skript wurde angehalten, denn es nahm mehr als 4 GiB Speicher"
        );
        assert_eq!(
            german("a/b-1 is refused: the package file b.gpkg.tar has a signature on Manifest that does not hold: the key AB has expired").await,
            "a/b-1 wird abgelehnt: die Paketdatei b.gpkg.tar hat auf Manifest eine Signatur, die nicht hält: der Schlüssel AB ist abgelaufen"
        );
        assert_eq!(
            german("No binhost has a/b with these USE flags. The nearest build is a/b-1 (build 2). It is built without lua, X and ssl.").await,
            "Kein Binhost hat a/b mit diesen USE-Flags. Der nächste Bau ist a/b-1 (build 2). Er ist ohne lua, X und ssl gebaut."
        );
        assert_eq!(
            german("2 upgraded, 1 other USE; 1 security advisory no longer touches it").await,
            "2 erneuert, 1 mit anderem USE; 1 Sicherheitshinweis betrifft es nicht mehr"
        );
        assert_eq!(
            german("With 25 builds more, 3 of 3 orders that lacked something would have been served, by 1 build (4.6 MiB). No other choice serves more.").await,
            "Mit 25 Bauten mehr wären 3 von 3 Bestellungen, denen etwas fehlte, erfüllt worden, durch 1 Bau (4.6 MiB). Keine andere Wahl erfüllt mehr."
        );
        assert_eq!(
            german("a/b: lacked by 1 order\n  1 order asked for a/b[c]\n  2. build =a/b-1 once more with c; it meets what 1 order asked of the package; some 4.4 MiB; what it draws in is not known").await,
            "a/b: fehlte 1 Bestellung\n  von 1 Bestellung gewünscht: a/b[c]\n  2. baue =a/b-1 noch einmal mit c; es erfüllt die Wünsche von 1 Bestellung an das Paket; etwa 4.4 MiB; was es nach sich zieht, ist nicht bekannt"
        );
        assert_eq!(german("upgraded a/b 1 → 2").await, "erneuert: a/b 1 → 2");
        assert_eq!(
            german("“../../etc” cannot be asked for: “..” is not a category.").await,
            "„../../etc“ kann nicht bestellt werden: „..“ ist keine Kategorie."
        );
        assert_eq!(
            german(
                "system.timezone: There is no time zone “Europe/Berln” in the image's time zone data. Did you mean Europe/Berlin?"
            )
            .await,
            "system.timezone: Eine Zeitzone „Europe/Berln“ gibt es in den Zeitzonendaten des Abbilds nicht. Meintest du Europe/Berlin?"
        );
        assert_eq!(german("Did you mean a/b or a/c? Or leave out d/e.").await, "Meintest du a/b oder a/c? Oder lass d/e weg.");
        assert_eq!(german("what a program says, with and without an end").await, "what a program says, with and without an end");
        let said = "a/b-1: its script failed\nIts last words were:\n/tmp/x does not exist\nno";
        let (own, output) = speaking(Language::German, async move { failure(said) }).await;
        assert_eq!(
            (own.as_str(), output),
            ("a/b-1: sein Skript scheiterte\nDie letzten Worte waren:", Some("/tmp/x does not exist\nno"))
        );
        assert_eq!(failure("no"), ("no".to_owned(), None));
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
