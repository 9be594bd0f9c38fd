//! Category, package and version in one name, like `app-shells/bash-5.2_p15-r1`.

use std::fmt;
use std::str::FromStr;

use crate::ParseError;
use crate::names::{is_category, is_package};
use crate::version::{Version, is_version};

/// A package of one version. Ordered by category, package, then version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cpv {
    pub category: String,
    pub package: String,
    pub version: Version,
}

impl Cpv {
    /// Reads `category/package-version[-rN]` (PMS 3.1, 3.2).
    ///
    /// # Errors
    /// When a part is missing or malformed.
    pub fn parse(text: &str) -> Result<Cpv, ParseError> {
        let bad = |reason: &str| ParseError::new("package name with version", text, reason);
        let (category, pf) = text.split_once('/').ok_or_else(|| bad("expected category/package-version"))?;
        if !is_category(category) {
            return Err(bad("its category is not a name"));
        }
        let (package, version) = split_pf(pf).ok_or_else(|| bad("it has no version at its end"))?;
        if !is_package(package) {
            return Err(bad("its package is not a name"));
        }
        Ok(Cpv { category: category.to_owned(), package: package.to_owned(), version: Version::from_checked(version) })
    }

    /// `category/package`.
    pub fn cp(&self) -> String {
        format!("{}/{}", self.category, self.package)
    }

    /// `package-version-rN` (PMS's `PF`).
    pub fn pf(&self) -> String {
        format!("{}-{}", self.package, self.version)
    }
}

/// Cuts `package-version[-rN]` before the version, which is a valid one; `None` when it ends in none. The package is not checked.
pub(crate) fn split_pf(pf: &str) -> Option<(&str, &str)> {
    let (head, tail) = pf.rsplit_once('-')?;
    let is_revision = tail.strip_prefix('r').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let package = if is_revision { head.rsplit_once('-')?.0 } else { head };
    let version = pf.get(package.len() + 1..)?;
    is_version(version).then_some((package, version))
}

impl fmt::Display for Cpv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}-{}", self.category, self.package, self.version)
    }
}

impl FromStr for Cpv {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        Cpv::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_found() {
        for (text, package, version) in [
            ("app-shells/bash-5.2_p15-r1", "bash", "5.2_p15-r1"),
            ("dev-libs/gtk+-2.0", "gtk+", "2.0"),
            ("x/font-adobe-100dpi-1.0.3", "font-adobe-100dpi", "1.0.3"),
            ("sys-devel/gcc-config-2.8-r0", "gcc-config", "2.8-r0"),
            ("virtual/libc-1-r1", "libc", "1-r1"),
        ] {
            let cpv = Cpv::parse(text).unwrap();
            assert_eq!((cpv.package.as_str(), cpv.version.as_str()), (package, version));
            assert_eq!(cpv.to_string(), text);
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in [
            "bash-1",
            "a/b",
            "a/b-",
            "/b-1",
            "a/-1",
            "a/b-1-2",
            "a/b-1-r1-2",
            "a/b-r1",
            "../b-1",
            "a/b/c-1",
            "a/b-1\n",
            "-a/b-1",
            "a/+b-1",
        ] {
            assert!(Cpv::parse(text).is_err(), "{text}");
        }
    }
}
