//! The packages of the order form: a text of atoms, as people type it and as buttons change it.

use std::collections::BTreeSet;

use gentoo::Atom;

/// The text without space around it, if anything is left.
pub fn optional(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// Words apart by white space or commas outside of brackets; what follows a `#` at a line's start or after white space is a remark.
pub fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for line in text.lines() {
        let mut word = String::new();
        let mut brackets = 0u32;
        for c in line.chars() {
            match c {
                '#' if word.is_empty() => break,
                '[' => brackets += 1,
                ']' => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            if c.is_whitespace() || (c == ',' && brackets == 0) {
                words.extend(optional(&std::mem::take(&mut word)));
            } else {
                word.push(c);
            }
        }
        words.extend(optional(&word));
    }
    let mut seen = BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
    words
}

/// The text with a word of it replaced wherever it stands alone.
pub fn replace_word(text: &str, word: &str, by: &str) -> String {
    if word.is_empty() {
        return text.to_owned();
    }
    let is_end = |c: char| c.is_whitespace() || c == ',';
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, after)) = rest.split_once(word) {
        let alone = before.chars().last().or(out.chars().last()).is_none_or(is_end) && after.chars().next().is_none_or(is_end);
        out += before;
        out += if alone { by } else { word };
        rest = after;
    }
    out + rest
}

/// The text without a word, and without the lines that this leaves empty.
pub fn without(text: &str, word: &str) -> String {
    let kept = |line: &str| {
        let left = replace_word(line, word, "");
        let left = left.trim().trim_matches(',').trim().to_owned();
        (line.trim().is_empty() || !left.is_empty()).then_some(left)
    };
    text.lines().filter_map(kept).collect::<Vec<_>>().join("\n")
}

/// The text with an atom more. Where its package is asked for already, its flags are added there.
pub fn with(text: &str, wanted: &str) -> String {
    let known = Atom::parse(wanted).ok().and_then(|atom| {
        let same = |word: &String| Atom::parse(word).is_ok_and(|known| known.cp() == atom.cp() && known.slot == atom.slot);
        Some((words(text).into_iter().find(same)?, atom))
    });
    if let Some((word, atom)) = known {
        let Ok(mut merged) = Atom::parse(&word) else { return text.to_owned() };
        merged.use_deps.retain(|dep| !atom.use_deps.iter().any(|other| other.flag == dep.flag));
        merged.use_deps.extend(atom.use_deps);
        return replace_word(text, &word, &merged.to_string());
    }
    if words(text).iter().any(|word| word == wanted) {
        return text.to_owned();
    }
    let text = text.trim_end();
    if text.is_empty() { wanted.to_owned() } else { format!("{text}\n{wanted}") }
}

/// The word among those typed that means the atom: as it stands, or with the category left out.
pub fn word_for<'a>(packages: &'a [String], atom: &str) -> Option<&'a String> {
    let without_category = |text: &str| {
        let start = text.find(|c: char| c.is_ascii_alphanumeric() || c == '_').unwrap_or(0);
        let slash = text.find('/')?;
        Some(format!("{}{}", text.get(..start)?, text.get(slash + 1..)?))
    };
    let means = |word: &str| {
        word == atom
            || Atom::parse(word).map_or_else(|_| without_category(atom).as_deref() == Some(word), |a| a.to_string() == atom)
    };
    packages.iter().find(|word| means(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_as_people_type_them() {
        let text = "app-editors/vim[python,-X], dev-vcs/git\n# a remark\n  app-misc/tmux # another\n\ndev-vcs/git\r\n";
        assert_eq!(words(text), ["app-editors/vim[python,-X]", "dev-vcs/git", "app-misc/tmux"]);
    }

    #[test]
    fn what_is_offered_replaces_the_word_it_is_for() {
        let text = "app-editors/vim[X]\napp-editors/vim[X,python], vim[X] # vim[X]\n";
        assert_eq!(replace_word(text, "vim[X]", "vim"), "app-editors/vim[X]\napp-editors/vim[X,python], vim # vim\n");
        assert_eq!(replace_word(text, "", "vim"), text);
        let typed = ["dev-vcs/git".to_owned(), "vim[-X]".into(), "=app-misc/tmux-3*[X]".into(), "@nothing".into()];
        assert_eq!(word_for(&typed, "app-editors/vim[-X]"), Some(&typed[1]));
        assert_eq!(word_for(&typed, "=app-misc/tmux-3*[X]"), Some(&typed[2]));
        assert_eq!(word_for(&typed, "@nothing"), Some(&typed[3]));
        assert_eq!(word_for(&typed, "app-editors/vim"), None);
    }

    #[test]
    fn a_click_adds_a_package_or_a_flag_of_it_and_another_takes_it_away() {
        let text = with("dev-vcs/git # for work", "app-editors/vim");
        assert_eq!(text, "dev-vcs/git # for work\napp-editors/vim");
        assert_eq!(with(&text, "app-editors/vim"), text);
        let text = with(&with(&text, "app-editors/vim[X]"), "app-editors/vim[python]");
        assert_eq!(text, "dev-vcs/git # for work\napp-editors/vim[X,python]");
        let text = with(&text, "app-editors/vim[-X]");
        assert_eq!(text, "dev-vcs/git # for work\napp-editors/vim[python,-X]");
        assert_eq!(without(&text, "app-editors/vim[python,-X]"), "dev-vcs/git # for work");
        assert_eq!(without("a/b, c/d\n\ne/f", "a/b"), "c/d\n\ne/f");
        assert_eq!(with(&with("", "@system"), "@system"), "@system");
    }
}
