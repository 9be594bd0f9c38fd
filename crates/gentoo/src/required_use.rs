//! REQUIRED_USE (PMS 7.3.4, 8.2): what combinations of flags a package allows.

use std::fmt;

use crate::dep::Tree;
use crate::error::shown;
use crate::names::is_use_flag;
use crate::{Eapi, ParseError};

/// A flag in REQUIRED_USE, `x` or `!x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlagTerm {
    pub flag: String,
    pub negated: bool,
}

impl fmt::Display for FlagTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.negated { "!" } else { "" }, self.flag)
    }
}

/// A REQUIRED_USE expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequiredUse(Tree<FlagTerm>);

impl RequiredUse {
    /// Reads a REQUIRED_USE variable.
    ///
    /// # Errors
    /// When it does not follow PMS 8.2.
    pub fn parse(text: &str) -> Result<RequiredUse, ParseError> {
        let leaf = |word: &str| {
            let (flag, negated) = match word.strip_prefix('!') {
                Some(flag) => (flag, true),
                None => (word, false),
            };
            match is_use_flag(flag) {
                true => Ok(FlagTerm { flag: flag.to_owned(), negated }),
                false => Err(format!("“{}” is not a USE flag", shown(flag))),
            }
        };
        Tree::parse_with("REQUIRED_USE", text, leaf).map(RequiredUse)
    }

    /// The flags that play a part, conditions aside.
    pub fn flags(&self) -> Vec<&str> {
        self.0.atoms().into_iter().map(|term| term.flag.as_str()).collect()
    }

    /// The parts of the top level that the enabled flags violate, as written; none means that the combination is allowed.
    pub fn violations(&self, eapi: Eapi, enabled: &dyn Fn(&str) -> bool) -> Vec<String> {
        let parts = self.0.children().iter();
        parts
            .filter(|part| satisfied(part, eapi, enabled) == Some(false))
            .map(|part| Tree::All(vec![(*part).clone()]).to_string())
            .collect()
    }

    /// Whether the combination of flags is allowed.
    pub fn is_satisfied(&self, eapi: Eapi, enabled: &dyn Fn(&str) -> bool) -> bool {
        self.violations(eapi, enabled).is_empty()
    }
}

/// The truth of a part; none for a conditional that does not apply and so does not count, as if it were not there.
fn satisfied(tree: &Tree<FlagTerm>, eapi: Eapi, enabled: &dyn Fn(&str) -> bool) -> Option<bool> {
    // Every child is looked at once: twice each would cost two to the power of the depth.
    let (mut count, mut true_ones) = (0_usize, 0_usize);
    for value in tree.children().iter().filter_map(|child| satisfied(child, eapi, enabled)) {
        count += 1;
        true_ones += usize::from(value);
    }
    let empty = eapi.empty_groups_are_true() && count == 0;
    match tree {
        Tree::Atom(term) => Some(enabled(&term.flag) != term.negated),
        Tree::All(_) if count == 0 => None,
        Tree::All(_) => Some(true_ones == count),
        Tree::AnyOf(_) => Some(empty || true_ones > 0),
        Tree::ExactlyOne(_) => Some(empty || true_ones == 1),
        Tree::AtMostOne(_) => Some(true_ones <= 1),
        Tree::UseConditional { flag, negated, .. } if enabled(flag) == *negated => None,
        Tree::UseConditional { .. } => Some(true_ones == count),
    }
}

impl fmt::Display for RequiredUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violations_are_named() {
        let eapi = Eapi::LATEST;
        for (text, flags, expected) in [
            ("a? ( b )", "a", vec!["a? ( b )"]),
            ("a? ( b )", "", vec![]),
            ("!a? ( b ) c", "", vec!["!a? ( b )", "c"]),
            ("^^ ( a b c )", "a b", vec!["^^ ( a b c )"]),
            ("^^ ( a b c )", "b", vec![]),
            ("?? ( a b )", "", vec![]),
            ("?? ( a b )", "a b", vec!["?? ( a b )"]),
            ("|| ( a ( b c ) )", "b", vec!["|| ( a ( b c ) )"]),
            ("|| ( a ( b c ) )", "b c", vec![]),
            ("|| ( )", "", vec!["|| ( )"]),
            ("|| ( x? ( y ) )", "", vec!["|| ( x? ( y ) )"]),
        ] {
            let required = RequiredUse::parse(text).unwrap();
            let enabled = |flag: &str| flags.split(' ').any(|f| f == flag);
            assert_eq!(required.violations(eapi, &enabled), expected, "{text} with {flags}");
            assert_eq!(required.to_string(), text);
        }
    }

    #[test]
    fn empty_groups_were_true_before_eapi_7() {
        assert!(RequiredUse::parse("|| ( )").unwrap().is_satisfied(Eapi::parse("6").unwrap(), &|_| false));
    }
}
