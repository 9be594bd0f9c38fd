//! Package search as one types.

use gentoo::index::Entry;

use super::{PkgId, Universe};

impl Universe {
    /// Names of packages that contain `text`, best match first, at most `limit`: the whole name, then its start, then anywhere.
    pub fn search(&self, text: &str, limit: usize) -> Vec<SearchHit<'_>> {
        let needle = text.trim().to_ascii_lowercase();
        if needle.is_empty() || needle.len() > 128 {
            return Vec::new();
        }
        let mut hits: Vec<(u8, &str, PkgId)> = Vec::new();
        for name in &self.names {
            let Some(best) = name.available.iter().copied().find(|p| self.pkg(*p).mask.is_none()) else { continue };
            let package = name.text.split_once('/').map_or(name.text.as_str(), |(_, p)| p);
            let weight = match (package == needle || name.text == needle, contains_ignoring_case(&name.text, &needle)) {
                (true, _) => 0,
                (_, Some(at)) if name.text.len() - package.len() == at || at == 0 => 1,
                (_, Some(_)) => 2,
                _ if contains_ignoring_case(&self.entry(best).desc, &needle).is_some() => 3,
                _ => continue,
            };
            hits.push((weight, &name.text, best));
        }
        hits.sort_unstable();
        hits.truncate(limit);
        hits.into_iter().map(|(_, name, best)| SearchHit { name, best: self.entry(best) }).collect()
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
