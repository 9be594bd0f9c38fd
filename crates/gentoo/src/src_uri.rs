//! SRC_URI: where the sources of a package are (PMS 8.2, "URI").

use crate::ParseError;
use crate::dep::Tree;

/// The addresses of a SRC_URI that apply with these flags, in their order. Files without an address (in EAPI 0 those that have to be
/// fetched by hand) and the names that `->` gives are left out; `mirror://` stays as it is.
///
/// # Errors
/// When the text does not follow PMS 8.2.
pub fn src_uris(text: &str, enabled: &dyn Fn(&str) -> bool) -> Result<Vec<String>, ParseError> {
    let tree = Tree::parse_with("source address", text, |word| Ok(word.to_owned()))?.resolve_conditionals(enabled);
    let mut uris = Vec::new();
    let mut is_name = false;
    for word in tree.atoms() {
        match word.as_str() {
            "->" => is_name = true,
            _ if is_name => is_name = false,
            uri if uri.contains("://") => uris.push(uri.to_owned()),
            _ => {}
        }
    }
    Ok(uris)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_and_arrows_are_understood() {
        let text =
            "https://a.example/v1.tar.gz -> a-1.tar.gz doc? ( mirror://gnu/a/doc.txz ) !doc? ( https://b.example/x ) by-hand.bin";
        let found = |flag: bool| src_uris(text, &|name: &str| flag && name == "doc").unwrap();
        assert_eq!(found(true), ["https://a.example/v1.tar.gz", "mirror://gnu/a/doc.txz"]);
        assert_eq!(found(false), ["https://a.example/v1.tar.gz", "https://b.example/x"]);
        assert!(src_uris("doc? ( x", &|_| true).is_err());
    }
}
