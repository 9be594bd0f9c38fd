//! Incremental lists (PMS 5.3.1): later words add, `-word` takes back, `-*` takes back everything before it.

use std::collections::BTreeSet;

/// Applies words to a set.
pub(crate) fn apply<'a>(set: &mut BTreeSet<String>, words: impl IntoIterator<Item = &'a str>) {
    for word in words {
        match word.strip_prefix('-') {
            Some("*") => set.clear(),
            Some(taken_back) => {
                set.remove(taken_back);
            }
            None => {
                set.insert(word.to_owned());
            }
        }
    }
}
