//! Gentoo's licence names in SPDX's words, and who uses which.

use std::collections::{BTreeMap, BTreeSet};

use contract::Plan;
use gentoo::dep::Tree;
use gentoo::license::License;

use crate::component::contents;

/// Gentoo's names (GLEP 23) of licences that SPDX's list has under another one. Gentoo's `GPL-2` is version 2 alone.
const RENAMED: &[(&str, &str)] = &[
    ("AFL-2.1", "AFL-2.1"),
    ("AGPL-3", "AGPL-3.0-only"),
    ("AGPL-3+", "AGPL-3.0-or-later"),
    ("Apache-1.1", "Apache-1.1"),
    ("Apache-2.0", "Apache-2.0"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Artistic-2", "Artistic-2.0"),
    ("BSD", "BSD-3-Clause"),
    ("BSD-1", "BSD-1-Clause"),
    ("BSD-2", "BSD-2-Clause"),
    ("BSD-4", "BSD-4-Clause"),
    ("0BSD", "0BSD"),
    ("Boost-1.0", "BSL-1.0"),
    ("BZIP2", "bzip2-1.0.6"),
    ("CC-BY-3.0", "CC-BY-3.0"),
    ("CC-BY-4.0", "CC-BY-4.0"),
    ("CC-BY-SA-3.0", "CC-BY-SA-3.0"),
    ("CC-BY-SA-4.0", "CC-BY-SA-4.0"),
    ("CC0-1.0", "CC0-1.0"),
    ("CDDL", "CDDL-1.0"),
    ("curl", "curl"),
    ("EPL-1.0", "EPL-1.0"),
    ("EPL-2.0", "EPL-2.0"),
    ("FDL-1.1", "GFDL-1.1-only"),
    ("FDL-1.1+", "GFDL-1.1-or-later"),
    ("FDL-1.2", "GFDL-1.2-only"),
    ("FDL-1.2+", "GFDL-1.2-or-later"),
    ("FDL-1.3", "GFDL-1.3-only"),
    ("FDL-1.3+", "GFDL-1.3-or-later"),
    ("FTL", "FTL"),
    ("GPL-1", "GPL-1.0-only"),
    ("GPL-1+", "GPL-1.0-or-later"),
    ("GPL-2", "GPL-2.0-only"),
    ("GPL-2+", "GPL-2.0-or-later"),
    ("GPL-3", "GPL-3.0-only"),
    ("GPL-3+", "GPL-3.0-or-later"),
    ("HPND", "HPND"),
    ("icu", "ICU"),
    ("IJG", "IJG"),
    ("Info-ZIP", "Info-ZIP"),
    ("ISC", "ISC"),
    ("LGPL-2", "LGPL-2.0-only"),
    ("LGPL-2+", "LGPL-2.0-or-later"),
    ("LGPL-2.1", "LGPL-2.1-only"),
    ("LGPL-2.1+", "LGPL-2.1-or-later"),
    ("LGPL-3", "LGPL-3.0-only"),
    ("LGPL-3+", "LGPL-3.0-or-later"),
    ("libpng", "Libpng"),
    ("libpng2", "libpng-2.0"),
    ("libtiff", "libtiff"),
    ("MIT", "MIT"),
    ("MIT-0", "MIT-0"),
    ("MPL-1.1", "MPL-1.1"),
    ("MPL-2.0", "MPL-2.0"),
    ("OFL-1.1", "OFL-1.1"),
    ("OPENLDAP", "OLDAP-2.8"),
    ("openssl", "OpenSSL"),
    ("PCRE", "BSD-3-Clause"),
    ("POSTGRESQL", "PostgreSQL"),
    ("PSF-2", "PSF-2.0"),
    ("PYTHON", "Python-2.0"),
    ("Ruby", "Ruby"),
    ("Ruby-BSD", "Ruby"),
    ("Sleepycat", "Sleepycat"),
    ("tcp_wrappers_license", "TCP-wrappers"),
    ("Unlicense", "Unlicense"),
    ("vim", "Vim"),
    ("W3C", "W3C"),
    ("WTFPL-2", "WTFPL"),
    ("ZLIB", "Zlib"),
    ("ZPL", "ZPL-2.1"),
];

/// A licence as an SPDX expression, and which of its parts are none of SPDX's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Expression {
    /// None where there is nothing to say, as for a package without a licence.
    pub text: Option<String>,
    /// The SPDX name (`LicenseRef-…`) and Gentoo's, of each that SPDX does not list.
    pub own: BTreeMap<String, String>,
}

/// What LICENSE means for a package with these flags; none where it cannot be read.
pub(crate) fn expression(license: &str, flags: &[String]) -> Option<Expression> {
    let tree = License::parse(license).ok()?.applying(&|flag| flags.iter().any(|f| f == flag));
    let mut own = BTreeMap::new();
    let text = write(&tree, &mut own);
    Some(Expression { text, own })
}

/// A part of an expression; groups inside groups come in parentheses.
fn write(tree: &Tree<String>, own: &mut BTreeMap<String, String>) -> Option<String> {
    let joined = |deps: &[Tree<String>], word: &str, own: &mut BTreeMap<String, String>| {
        let mut seen = BTreeSet::new();
        let parts: Vec<String> = deps.iter().filter_map(|dep| write(dep, own)).filter(|part| seen.insert(part.clone())).collect();
        match parts.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            many => Some(format!("({})", many.join(word))),
        }
    };
    match tree {
        Tree::Atom(name) => Some(spdx_name(name, own)),
        Tree::All(deps) => joined(deps, " AND ", own),
        // LICENSE knows no other groups; conditionals are resolved.
        Tree::AnyOf(deps) | Tree::ExactlyOne(deps) | Tree::AtMostOne(deps) => joined(deps, " OR ", own),
        Tree::UseConditional { deps, .. } => joined(deps, " AND ", own),
    }
}

fn spdx_name(name: &str, own: &mut BTreeMap<String, String>) -> String {
    if let Some((_, spdx)) = RENAMED.iter().find(|(gentoo, _)| *gentoo == name) {
        return (*spdx).to_owned();
    }
    // SPDX allows letters, digits, “-” and “.”.
    let plain: String =
        name.replace('+', "-plus").chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let reference = format!("LicenseRef-Gentoo-{plain}");
    own.insert(reference.clone(), name.to_owned());
    reference
}

/// The licences of an image by Gentoo's names, each with the packages (CPV) that are under it, alternatives included. Packages that say
/// nothing are under the empty name.
pub fn licences(plan: &Plan) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in contents(plan) {
        let enabled = |flag: &str| package.use_flags.iter().any(|f| f == flag);
        let tree = License::parse(package.license).map(|license| license.applying(&enabled)).ok();
        let names: BTreeSet<&String> = tree.iter().flat_map(|tree| tree.atoms()).collect();
        if names.is_empty() {
            found.entry(String::new()).or_default().push(package.cpv.to_owned());
        }
        for name in names {
            found.entry(name.clone()).or_default().push(package.cpv.to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(license: &str, flags: &[&str]) -> Option<String> {
        expression(license, &flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())?.text
    }

    #[test]
    fn expressions_are_spdx() {
        assert_eq!(says("GPL-2+ MIT", &[]).unwrap(), "(GPL-2.0-or-later AND MIT)");
        assert_eq!(says("|| ( Artistic GPL-1+ )", &[]).unwrap(), "(Artistic-1.0-Perl OR GPL-1.0-or-later)");
        assert_eq!(says("BSD doc? ( FDL-1.3 ) !doc? ( MIT )", &["doc"]).unwrap(), "(BSD-3-Clause AND GFDL-1.3-only)");
        assert_eq!(says("linux-fw-redistributable", &[]).unwrap(), "LicenseRef-Gentoo-linux-fw-redistributable");
        assert_eq!(says("LGPL-2+-with_x", &[]).unwrap(), "LicenseRef-Gentoo-LGPL-2-plus-with-x");
        assert_eq!(says("doc? ( MIT )", &[]), None);
        assert_eq!(expression("( MIT", &[]), None);
    }
}
