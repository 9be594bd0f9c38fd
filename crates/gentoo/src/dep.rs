//! Dependency strings as trees (PMS 8.2), for package dependencies and, with other leaves, REQUIRED_USE and LICENSE.

use std::fmt;

use crate::error::shown;
use crate::names::is_use_flag;
use crate::{Atom, ParseError};

/// How deep groups may be nested; real strings stay below 10.
pub const MAX_DEPTH: usize = 100;
/// Longest dependency string that is read, in bytes; real ones stay below 64 KiB.
pub const MAX_LENGTH: usize = 4 << 20;

/// A dependency string, parsed. `parse` gives an [`Tree::All`] of the top level.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tree<T> {
    /// A leaf: a package atom, a flag, a licence.
    Atom(T),
    /// `( … )`, and the top level.
    All(Vec<Tree<T>>),
    /// `|| ( … )`
    AnyOf(Vec<Tree<T>>),
    /// `^^ ( … )`
    ExactlyOne(Vec<Tree<T>>),
    /// `?? ( … )`
    AtMostOne(Vec<Tree<T>>),
    /// `flag? ( … )`, negated `!flag? ( … )`.
    UseConditional { flag: String, negated: bool, deps: Vec<Tree<T>> },
}

/// A dependency string over packages: DEPEND, BDEPEND, RDEPEND, PDEPEND, IDEPEND.
pub type Dep = Tree<Atom>;

/// What a group's opening said it is.
enum Opening {
    All,
    AnyOf,
    ExactlyOne,
    AtMostOne,
    UseConditional { flag: String, negated: bool },
}

impl Opening {
    fn close<T>(self, deps: Vec<Tree<T>>) -> Tree<T> {
        match self {
            Opening::All => Tree::All(deps),
            Opening::AnyOf => Tree::AnyOf(deps),
            Opening::ExactlyOne => Tree::ExactlyOne(deps),
            Opening::AtMostOne => Tree::AtMostOne(deps),
            Opening::UseConditional { flag, negated } => Tree::UseConditional { flag, negated, deps },
        }
    }

    /// The opening a word stands for, when it is one.
    fn from_word(word: &str) -> Result<Option<Opening>, String> {
        Ok(Some(match word {
            "||" => Opening::AnyOf,
            "^^" => Opening::ExactlyOne,
            "??" => Opening::AtMostOne,
            _ => {
                let Some(condition) = word.strip_suffix('?') else { return Ok(None) };
                let (flag, negated) = match condition.strip_prefix('!') {
                    Some(flag) => (flag, true),
                    None => (condition, false),
                };
                if !is_use_flag(flag) {
                    return Err(format!("“{}” is not a USE flag", shown(flag)));
                }
                Opening::UseConditional { flag: flag.to_owned(), negated }
            }
        }))
    }
}

impl Dep {
    /// Reads a package dependency string of any EAPI.
    ///
    /// # Errors
    /// When the text does not follow PMS 8.2, is longer than [`MAX_LENGTH`] or nested deeper than [`MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Dep, ParseError> {
        Tree::parse_with("dependency", text, |word| Atom::parse(word).map_err(|e| e.to_string()))
    }

    /// The tree as it applies to a package whose enabled flags `enabled` tells: conditionals are resolved, also those in USE dependencies.
    pub fn evaluate(&self, enabled: &dyn Fn(&str) -> bool) -> Dep {
        self.resolve_conditionals(enabled).map(&mut |atom| atom.evaluate(enabled))
    }
}

impl<T> Tree<T> {
    /// Reads a tree whose leaves `leaf` reads. The parser keeps its own stack, so hostile nesting costs no call depth.
    pub(crate) fn parse_with(
        what: &'static str,
        text: &str,
        mut leaf: impl FnMut(&str) -> Result<T, String>,
    ) -> Result<Tree<T>, ParseError> {
        let bad = |reason: String| ParseError::new(what, text, reason);
        if text.len() > MAX_LENGTH {
            return Err(bad(format!("it is longer than {MAX_LENGTH} bytes")));
        }
        let mut open: Vec<(Opening, Vec<Tree<T>>)> = Vec::new();
        let mut current = Vec::new();
        let mut words = text.split_ascii_whitespace();
        while let Some(word) = words.next() {
            let opening = match word {
                "(" => Some(Opening::All),
                ")" => {
                    let (opening, parent) = open.pop().ok_or_else(|| bad("a “)” has no “(”".to_owned()))?;
                    let group = opening.close(std::mem::replace(&mut current, parent));
                    current.push(group);
                    continue;
                }
                _ => {
                    let opening = Opening::from_word(word).map_err(bad)?;
                    if opening.is_some() && words.next() != Some("(") {
                        return Err(bad(format!("“{}” must be followed by “(”", shown(word))));
                    }
                    opening
                }
            };
            match opening {
                Some(_) if open.len() >= MAX_DEPTH => return Err(bad(format!("groups are nested deeper than {MAX_DEPTH}"))),
                Some(opening) => open.push((opening, std::mem::take(&mut current))),
                None => current.push(Tree::Atom(leaf(word).map_err(bad)?)),
            }
        }
        if !open.is_empty() {
            return Err(bad("a “(” has no “)”".to_owned()));
        }
        Ok(Tree::All(current))
    }

    /// The children of a group; none for a leaf.
    pub fn children(&self) -> &[Tree<T>] {
        match self {
            Tree::Atom(_) => &[],
            Tree::All(deps)
            | Tree::AnyOf(deps)
            | Tree::ExactlyOne(deps)
            | Tree::AtMostOne(deps)
            | Tree::UseConditional { deps, .. } => deps,
        }
    }

    /// Every leaf in the order written, conditions and alternatives alike.
    pub fn atoms(&self) -> Vec<&T> {
        let mut found = Vec::new();
        let mut pending = vec![self];
        while let Some(tree) = pending.pop() {
            match tree {
                Tree::Atom(atom) => found.push(atom),
                group => pending.extend(group.children().iter().rev()),
            }
        }
        found
    }

    /// The same tree with other leaves.
    pub fn map<U>(&self, change: &mut dyn FnMut(&T) -> U) -> Tree<U> {
        let mut all = |deps: &[Tree<T>]| deps.iter().map(|d| d.map(change)).collect();
        match self {
            Tree::All(deps) => Tree::All(all(deps)),
            Tree::AnyOf(deps) => Tree::AnyOf(all(deps)),
            Tree::ExactlyOne(deps) => Tree::ExactlyOne(all(deps)),
            Tree::AtMostOne(deps) => Tree::AtMostOne(all(deps)),
            Tree::UseConditional { flag, negated, deps } => {
                Tree::UseConditional { flag: flag.clone(), negated: *negated, deps: all(deps) }
            }
            Tree::Atom(atom) => Tree::Atom(change(atom)),
        }
    }
}

impl<T: Clone> Tree<T> {
    /// The tree without conditionals: those that hold give their content to the group around them (in `||`, `^^` and `??` as one
    /// alternative), the others vanish. The result is a [`Tree::All`].
    pub fn resolve_conditionals(&self, enabled: &dyn Fn(&str) -> bool) -> Tree<T> {
        let mut kept = Vec::new();
        match self {
            Tree::All(deps) => deps.iter().for_each(|dep| dep.resolve_into(enabled, true, &mut kept)),
            other => other.resolve_into(enabled, true, &mut kept),
        }
        Tree::All(kept)
    }

    fn resolve_into(&self, enabled: &dyn Fn(&str) -> bool, conjunction: bool, out: &mut Vec<Tree<T>>) {
        let resolve = |deps: &[Tree<T>], conjunction: bool| {
            let mut kept = Vec::new();
            deps.iter().for_each(|dep| dep.resolve_into(enabled, conjunction, &mut kept));
            kept
        };
        match self {
            Tree::Atom(atom) => out.push(Tree::Atom(atom.clone())),
            // As in Portage an empty group vanishes; in `||` it would be an alternative that always holds.
            Tree::All(deps) => out.extend(Some(resolve(deps, true)).filter(|kept| !kept.is_empty()).map(Tree::All)),
            Tree::AnyOf(deps) => out.push(Tree::AnyOf(resolve(deps, false))),
            Tree::ExactlyOne(deps) => out.push(Tree::ExactlyOne(resolve(deps, false))),
            Tree::AtMostOne(deps) => out.push(Tree::AtMostOne(resolve(deps, false))),
            Tree::UseConditional { flag, negated, deps } => {
                if enabled(flag) == *negated {
                    return;
                }
                let mut kept = resolve(deps, conjunction || deps.len() != 1);
                if conjunction || kept.len() == 1 {
                    out.append(&mut kept);
                } else if !kept.is_empty() {
                    out.push(Tree::All(kept));
                }
            }
        }
    }
}

impl<T: fmt::Display> Tree<T> {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self {
            Tree::Atom(atom) => return atom.fmt(f),
            Tree::All(_) => "",
            Tree::AnyOf(_) => "|| ",
            Tree::ExactlyOne(_) => "^^ ",
            Tree::AtMostOne(_) => "?? ",
            Tree::UseConditional { flag, negated, .. } => {
                write!(f, "{}{flag}? ", if *negated { "!" } else { "" })?;
                ""
            }
        };
        write!(f, "{sign}( ")?;
        for dep in self.children() {
            dep.write(f)?;
            f.write_str(" ")?;
        }
        f.write_str(")")
    }
}

impl<T: fmt::Display> fmt::Display for Tree<T> {
    /// Writes the string; of a conjunction only its content, as at the top level. Reading it gives an equal tree.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tree::All(deps) = self else { return self.write(f) };
        for (index, dep) in deps.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { " " })?;
            dep.write(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_is_read_and_printed_back() {
        let text = "a/b || ( a/c ( a/d a/e ) ) ^^ ( a/f a/g ) ?? ( a/h ) x? ( a/i !y? ( >=a/j-1:0= ) ) !a/k ( )";
        let dep = Dep::parse(&text.replace(' ', " \n\t")).unwrap();
        assert_eq!(dep.to_string(), text);
        assert_eq!(dep.atoms().len(), 10);
        assert_eq!(Dep::parse("").unwrap(), Dep::All(Vec::new()));
    }

    #[test]
    fn mistakes_are_explained() {
        for (text, reason) in [
            ("( a/b", "has no “)”"),
            ("a/b )", "has no “(”"),
            ("|| a/b", "must be followed by “(”"),
            ("x? a/b", "must be followed by “(”"),
            ("||", "must be followed by “(”"),
            ("||( a/b )", "category"),
            ("-x? ( a/b )", "not a USE flag"),
            ("a/b c", "category/package"),
        ] {
            let error = Dep::parse(text).unwrap_err();
            assert!(error.to_string().contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn conditionals_resolve() {
        let dep = Dep::parse("a/a[x?] x? ( a/b y? ( a/c ) ) !x? ( a/d ) || ( x? ( a/e a/f ) y? ( a/g ) a/h )").unwrap();
        assert_eq!(dep.evaluate(&|flag| flag == "x").to_string(), "a/a[x] a/b || ( ( a/e a/f ) a/h )");
        assert_eq!(dep.evaluate(&|_| false).to_string(), "a/a a/d || ( a/h )");
    }
}
