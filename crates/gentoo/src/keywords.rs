//! ACCEPT_KEYWORDS: which KEYWORDS a system takes (PMS 7.3.3; Portage `KeywordsManager.py`).

use std::collections::BTreeSet;

use crate::incremental::apply;

/// The accepted keywords: `amd64`, `~amd64`, `*` (anything stable somewhere), `~*` (anything tested somewhere), `**` (everything).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptKeywords(BTreeSet<String>);

impl AcceptKeywords {
    /// Reads the incremental variable: `-word` takes back, `-*` takes back all before it.
    pub fn parse(text: &str) -> AcceptKeywords {
        let mut accepted = AcceptKeywords::default();
        accepted.extend(text);
        accepted
    }

    /// Adds the words of another such variable.
    pub fn extend(&mut self, text: &str) {
        apply(&mut self.0, text.split_ascii_whitespace());
    }

    /// The words accepted, sorted.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether a package with these KEYWORDS is accepted.
    pub fn accepts(&self, keywords: &str) -> bool {
        let has = |word: &str| self.0.contains(word);
        if has("**") {
            return true;
        }
        // `-*` says that the keywords not named are known not to work; it accepts nothing by itself.
        keywords.split_ascii_whitespace().filter(|word| !word.starts_with('-')).any(|word| match word {
            "*" => true,
            "~*" => self.0.iter().any(|accepted| accepted.starts_with('~')),
            testing if testing.starts_with('~') => has(testing) || has("~*"),
            stable => has(stable) || has("*"),
        })
    }

    /// Whether a package with these KEYWORDS counts as stable here: accepted, and not any more if all its keywords were `~` ones
    /// (Portage's rule for the `stable` variants of use.mask and use.force).
    pub fn is_stable(&self, keywords: &str) -> bool {
        let testing: Vec<String> = keywords
            .split_ascii_whitespace()
            .filter(|word| *word != "-*")
            .map(|word| if word.starts_with('~') { word.to_owned() } else { format!("~{word}") })
            .collect();
        self.accepts(keywords) && !self.accepts(&testing.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_accepts_what_portage_says() {
        for (accepted, keywords, expected) in [
            ("amd64", "amd64 ~x86", true),
            ("amd64", "~amd64", false),
            ("amd64", "-*", false),
            ("amd64", "-* amd64", true),
            ("amd64 ~amd64", "~amd64", true),
            ("~amd64", "amd64", false),
            ("amd64", "", false),
            ("**", "", true),
            ("*", "arm64", true),
            ("*", "~arm64", false),
            ("~*", "~arm64", true),
            ("amd64", "*", true),
            ("amd64", "~*", false),
            ("amd64 ~amd64", "~*", true),
            ("amd64 ~amd64 -~amd64", "~amd64", false),
            ("** -* amd64", "x86", false),
            ("*", "-arm64", false),
        ] {
            assert_eq!(AcceptKeywords::parse(accepted).accepts(keywords), expected, "{accepted} | {keywords}");
        }
    }

    #[test]
    fn stable_means_that_testing_would_not_do() {
        assert!(AcceptKeywords::parse("amd64").is_stable("amd64 ~x86"));
        assert!(!AcceptKeywords::parse("amd64 ~amd64").is_stable("amd64"));
        assert!(!AcceptKeywords::parse("amd64").is_stable("~amd64"));
    }
}
