//! Package search as one types.

use std::collections::BTreeMap;

use gentoo::index::Entry;

use super::Universe;
use crate::explain::similar_names;

/// Longest text that is searched for, in bytes.
const MAX_TEXT: usize = 128;

impl Universe {
    /// Packages whose name or description holds every word of `text`, best match first, at most `limit`: the whole name, then its start,
    /// then anywhere in it, then the description.
    pub fn search(&self, text: &str, limit: usize) -> Vec<SearchHit<'_>> {
        if text.len() > MAX_TEXT {
            return Vec::new();
        }
        let text = text.to_ascii_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.is_empty() {
            return Vec::new();
        }
        let mut hits: Vec<(u8, SearchHit<'_>)> = Vec::new();
        for hit in self.offered() {
            // What fits worst decides.
            let weights: Option<Vec<u8>> = words.iter().map(|word| weight(&hit, word)).collect();
            if let Some(weight) = weights.and_then(|weights| weights.into_iter().max()) {
                hits.push((weight, hit));
            }
        }
        hits.sort_unstable_by_key(|(weight, hit)| (*weight, hit.name));
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

/// How well a word fits, 0 best; none where it does not.
fn weight(hit: &SearchHit<'_>, word: &str) -> Option<u8> {
    let package = hit.name.split_once('/').map_or(hit.name, |(_, p)| p);
    match (package == word || hit.name == word, contains_ignoring_case(hit.name, word)) {
        (true, _) => Some(0),
        (_, Some(at)) if hit.name.len() - package.len() == at || at == 0 => Some(1),
        (_, Some(_)) => Some(2),
        _ => contains_ignoring_case(&hit.best.desc, word).map(|_| 3),
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

fn contains_ignoring_case(hay: &str, needle: &str) -> Option<usize> {
    let (hay, needle) = (hay.as_bytes(), needle.as_bytes());
    hay.windows(needle.len()).position(|w| w.eq_ignore_ascii_case(needle))
}
