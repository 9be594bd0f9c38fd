//! Package search as one types.

use std::collections::BTreeMap;

use gentoo::index::Entry;

use super::Universe;
use super::categories::words_of;
use crate::explain::similar_names;

/// Longest text that is searched for, in bytes.
const MAX_TEXT: usize = 128;
/// Categories of packages that are there for others.
const HELPERS: [&str; 3] = ["acct-group", "acct-user", "virtual"];

impl Universe {
    /// Packages that every word of `text` fits, in any order: by the name, by what the category is for, or by the description. Best match first, at
    /// most `limit`; users, groups and virtuals, which hardly anyone asks for, come last.
    pub fn search(&self, text: &str, limit: usize) -> Vec<SearchHit<'_>> {
        if text.len() > MAX_TEXT {
            return Vec::new();
        }
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Vec::new();
        }
        let mut hits: Vec<(Rank, SearchHit<'_>)> = self.offered().filter_map(|hit| Some((rank(&hit, &words)?, hit))).collect();
        hits.sort_unstable_by_key(|(rank, hit)| (*rank, hit.name));
        hits.truncate(limit);
        hits.into_iter().map(|(_, hit)| hit).collect()
    }

    /// The packages of a category, by name, at most `limit`.
    pub fn in_category(&self, category: &str, limit: usize) -> Vec<SearchHit<'_>> {
        let is_in = |hit: &SearchHit<'_>| hit.name.split_once('/').is_some_and(|(own, _)| own == category);
        let mut hits: Vec<SearchHit<'_>> = self.offered().filter(is_in).collect();
        hits.sort_unstable_by_key(|hit| hit.name);
        hits.truncate(limit);
        hits
    }

    /// The categories that packages can be chosen from, with how many each has.
    pub fn categories(&self) -> BTreeMap<&str, usize> {
        let mut categories = BTreeMap::new();
        for (category, _) in self.offered().filter_map(|hit| hit.name.split_once('/')) {
            *categories.entry(category).or_default() += 1;
        }
        categories
    }

    /// The sets that may be asked for, without `@`, each with its members.
    pub fn sets(&self) -> BTreeMap<&str, Vec<String>> {
        let of_profile = [("system", &self.source.profile.system), ("profile", &self.source.profile.profile_set)];
        let of_profile = of_profile.into_iter().map(|(name, atoms)| (name, atoms.iter().map(ToString::to_string).collect()));
        let own = self.source.sets.iter().map(|(name, members)| (name.as_str(), members.clone()));
        of_profile.chain(own).filter(|(_, members): &(&str, Vec<String>)| !members.is_empty()).collect()
    }

    /// Names of packages that are spelt much like this one, nearest first, three at most.
    pub fn similar(&self, name: &str) -> Vec<String> {
        similar_names(self, name)
    }

    /// Each name with a build that may be chosen.
    fn offered(&self) -> impl Iterator<Item = SearchHit<'_>> {
        self.names.iter().filter_map(|name| {
            let best = name.available.iter().copied().find(|p| self.pkg(*p).mask.is_none())?;
            Some(SearchHit { name: &name.text, best: self.entry(best) })
        })
    }
}

/// Where a package stands among those that were found, the best first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// It is there for other packages.
    is_helper: bool,
    /// How the word fits that fits worst.
    fit: Fit,
    /// How many words the description does not have.
    undescribed: usize,
}

/// How well a word fits a package.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    WholeName,
    StartOfName,
    InName,
    /// It is a word for what the category is for.
    Category,
    Description,
}

/// None where a word does not fit.
fn rank(hit: &SearchHit<'_>, words: &[&str]) -> Option<Rank> {
    let fit = words.iter().map(|word| fit(hit, word)).collect::<Option<Vec<Fit>>>()?.into_iter().max()?;
    let undescribed = words.iter().filter(|word| contains_ignoring_case(&hit.best.desc, word).is_none()).count();
    Some(Rank { is_helper: HELPERS.contains(&hit.parts().0), fit, undescribed })
}

fn fit(hit: &SearchHit<'_>, word: &str) -> Option<Fit> {
    let (category, package) = hit.parts();
    let singular = word.strip_suffix('s').filter(|rest| rest.len() > 3).unwrap_or(word);
    let in_name = contains_ignoring_case(hit.name, word).or_else(|| contains_ignoring_case(hit.name, singular));
    match in_name {
        _ if package == word || hit.name == word => Some(Fit::WholeName),
        Some(at) if at == 0 || at == hit.name.len() - package.len() => Some(Fit::StartOfName),
        Some(_) => Some(Fit::InName),
        // The first letters of a word that is being typed would fit too much.
        None if word.len() > 2 && words_of(category).split(' ').any(|known| known.starts_with(singular)) => Some(Fit::Category),
        None => contains_ignoring_case(&hit.best.desc, singular).map(|_| Fit::Description),
    }
}

/// A search result.
#[derive(Clone, Debug)]
pub struct SearchHit<'a> {
    /// `category/package`.
    pub name: &'a str,
    /// The package one gets when asking for the name alone.
    pub best: &'a Entry,
}

impl<'a> SearchHit<'a> {
    /// Category and package.
    fn parts(&self) -> (&'a str, &'a str) {
        self.name.split_once('/').unwrap_or(("", self.name))
    }
}

fn contains_ignoring_case(hay: &str, needle: &str) -> Option<usize> {
    let (hay, needle) = (hay.as_bytes(), needle.as_bytes());
    hay.windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle))
}
