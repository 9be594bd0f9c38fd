//! From Debian's version of a package to the version that Gentoo would give it.

/// The upstream version inside a Debian version, in PMS's form: the epoch, Debian's revision and its repacking marks are dropped
/// (`1:9.2p1-2+deb12u5` is 9.2_p1, `2.1.28+dfsg-10` is 2.1.28, `1.5.0~rc1-2` is 1.5.0_rc1). What no rule covers comes out as it is,
/// for the caller to refuse.
pub fn gentoo_version(debian: &str) -> String {
    let text = debian.split_once(':').map_or(debian, |(_, rest)| rest);
    let text = text.rsplit_once('-').map_or(text, |(upstream, _)| upstream);
    let text = without_repack(text);
    suffixes(&text)
}

fn without_repack(text: &str) -> String {
    let mut text = text.to_owned();
    for mark in ["+dfsg", ".dfsg", "~dfsg", "+ds", "~ds", "+repack", "+really", "+deb", "~deb", "+nmu", "-stable"] {
        if let Some(at) = text.find(mark) {
            text.truncate(at);
        }
    }
    without_commit(&text).to_owned()
}

/// Cuts off the abbreviated commit at the end of a snapshot's version, like `~g7ed88a0`.
fn without_commit(text: &str) -> &str {
    let Some(at) = text.rfind(['+', '~']) else { return text };
    let is_commit = |word: &str| word.len() >= 7 && word.bytes().all(|b| b.is_ascii_hexdigit());
    match text[at + 1..].strip_prefix('g').is_some_and(is_commit) {
        true => &text[..at],
        false => text,
    }
}

fn suffixes(text: &str) -> String {
    let text = text.replace("+git", "_p").replace('~', "").replace(['-', '+'], "_p");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(letter) = rest.chars().next() {
        let word_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(word_end);
        let number_follows = after.starts_with(|c: char| c.is_ascii_digit());
        let is_suffix = matches!(word, "alpha" | "beta" | "pre" | "rc") || (word == "p" && number_follows);
        if is_suffix {
            let trimmed = out.trim_end_matches(['.', '_']).len();
            out.truncate(trimmed);
            out.push('_');
            out.push_str(word);
            rest = after;
        } else {
            out.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    out
}

/// Fills `{v}` and `{1}`, `{2}`… of a recipe's template with the whole version and its dotted parts.
pub fn fill(template: &str, version: &str) -> String {
    let mut text = template.replace("{v}", version);
    for (i, part) in version.split('.').enumerate().take(9) {
        text = text.replace(&format!("{{{}}}", i + 1), part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_versions_become_gentoo_versions() {
        for (debian, gentoo) in [
            ("1:9.2p1-2+deb12u7", "9.2_p1"),
            ("2.1.28+dfsg-10", "2.1.28"),
            ("1:1.2.13.dfsg-1", "1.2.13"),
            ("252.39-1~deb12u1", "252.39"),
            ("1.5.0~rc1-2", "1.5.0_rc1"),
            ("3:20221126-1+deb12u1", "20221126"),
            ("1.9.13p3-1+deb12u2", "1.9.13_p3"),
            ("20230311+deb12u1", "20230311"),
            ("2026a-0+deb12u1", "2026a"),
            ("3.1-20221030-2", "3.1_p20221030"),
            ("7.7+9+b1", "7.7_p9_pb1"),
            ("2.4.0+git20190614-2", "2.4.0_p20190614"),
            ("590-2.1~deb12u2", "590"),
            ("1:2.2+10~g7ed88a0-6.1", "2.2_p10"),
            ("6.1.192-2", "6.1.192"),
            ("2.1.12-stable-8+deb12u1", "2.1.12"),
        ] {
            assert_eq!(gentoo_version(debian), gentoo, "{debian}");
        }
    }

    #[test]
    fn templates_are_filled() {
        assert_eq!(fill("{1}.{2}_p{3}", "5.2.15"), "5.2_p15");
        assert_eq!(fill("{1}.{2}", "3.11.2"), "3.11");
        assert_eq!(fill("2/{v}", "2.06"), "2/2.06");
    }
}
