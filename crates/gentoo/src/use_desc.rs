//! What USE flags mean: `profiles/use.desc`, `use.local.desc` and the files of `desc/` (PMS 4.4.2 and the Gentoo repository layout).

use std::collections::HashMap;

/// Descriptions of USE flags, of one repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlagDescriptions {
    /// By flag; those of USE_EXPAND variables under their whole name, like `video_cards_intel`.
    global: HashMap<String, String>,
    /// By `category/package:flag`.
    local: HashMap<String, String>,
}

impl FlagDescriptions {
    /// Takes the lines of `use.desc`: `flag - what it means`.
    pub fn add_global(&mut self, text: &str) {
        self.global.extend(lines(text).map(|(flag, meaning)| (flag.to_owned(), meaning.to_owned())));
    }

    /// Takes the lines of `use.local.desc`: `category/package:flag - what it means there`.
    pub fn add_local(&mut self, text: &str) {
        self.local.extend(lines(text).map(|(flag, meaning)| (flag.to_owned(), meaning.to_owned())));
    }

    /// Takes the lines of `desc/VARIABLE.desc`; `variable` is the file's name without its ending, like `video_cards`.
    pub fn add_expanded(&mut self, variable: &str, text: &str) {
        self.global.extend(lines(text).map(|(value, meaning)| (format!("{variable}_{value}"), meaning.to_owned())));
    }

    /// What a flag means for a package (`category/package`): its own meaning there, or else the general one.
    pub fn of(&self, package: &str, flag: &str) -> Option<&str> {
        self.local.get(&format!("{package}:{flag}")).or_else(|| self.global.get(flag)).map(String::as_str)
    }

    /// Whether nothing is described.
    pub fn is_empty(&self) -> bool {
        self.global.is_empty() && self.local.is_empty()
    }
}

/// Flag and meaning of each line; remarks and lines that are no description are passed over.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let described = |line: &str| !line.starts_with('#');
    text.lines().filter(move |line| described(line)).filter_map(|line| {
        let (flag, meaning) = line.split_once(" - ")?;
        Some((flag.trim(), meaning.trim())).filter(|(flag, meaning)| !flag.is_empty() && !meaning.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_meaning_is_told() {
        let mut flags = FlagDescriptions::default();
        assert!(flags.is_empty());
        flags.add_global(
            "# a remark\nX - Add support for X11\nacl - Access Control Lists - also on NFS\nbroken line\n - nothing\n",
        );
        flags.add_local("app-editors/vim:X - Link console vim against X11\n");
        flags.add_expanded("video_cards", "intel - VIDEO_CARDS setting for Intel\n");
        assert_eq!(flags.of("app-editors/vim", "X"), Some("Link console vim against X11"));
        assert_eq!(flags.of("app-editors/emacs", "X"), Some("Add support for X11"));
        assert_eq!(flags.of("a/b", "acl"), Some("Access Control Lists - also on NFS"));
        assert_eq!(flags.of("a/b", "video_cards_intel"), Some("VIDEO_CARDS setting for Intel"));
        assert_eq!((flags.of("a/b", "broken"), flags.of("a/b", "")), (None, None));
    }
}
