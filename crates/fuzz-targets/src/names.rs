//! The small grammars: versions, atoms, dependency strings, the index.

use std::cmp::Ordering;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use gentoo::index::Packages;
use gentoo::license::{AcceptLicense, License, LicenseGroups};
use gentoo::required_use::RequiredUse;
use gentoo::useflags::UseDep;
use gentoo::version::Version;
use gentoo::{Atom, Cpv, Dep, Eapi};

pub const VERSION_WORDS: &[&str] = &["1", "0", "01", ".", "_alpha", "_p", "_rc1", "-r1", "-r0", "a", "\n", "10", "010"];
pub const ATOM_WORDS: &[&str] = &[
    "!!",
    "!",
    ">=",
    "=",
    "~",
    "a/b",
    "-1.2_rc3-r4",
    "*",
    ":0/3",
    ":=",
    ":*",
    "::r",
    "[x,-y(+),!z?]",
    "[",
    "]",
    "(-)",
    "x=",
    "?",
    "-9999",
];
pub const DEPENDENCY_WORDS: &[&str] =
    &["( ", " )", " || ( ", " ^^ ( ", " ?? ( ", " x? ( ", " !x? ( ", " a/b ", " >=a/b-1:0= ", " !!a/b[x?] ", " GPL-2 ", " !y "];
pub const INDEX_WORDS: &[&str] = &[
    "\n\n",
    "CPV: a/b-1\n",
    "SLOT: 0/1\n",
    "PATH: ",
    "BUILD_ID: 1\n",
    "PACKAGES: 2\n",
    "USE: ",
    "IUSE: +x -y\n",
    "REPO: r\n",
    ": ",
    "SIZE: ",
    "EAPI: 8\n",
    "CHOST: c\n",
    "MD5: 0123456789abcdef0123456789abcdef\n",
];

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Lines are versions: each is printed back, and any three of them are in a total order that agrees with equality and hashes.
pub fn version(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let versions: Vec<Version> = text.split('\n').take(6).filter_map(|line| Version::parse(line).ok()).collect();
    for a in &versions {
        assert_eq!(Version::parse(&a.to_string()).map(|again| again.to_string()), Ok(a.to_string()));
        assert!(a.has_prefix(a) && a.cmp(a) == Ordering::Equal);
        assert!(Version::parse(a.base()).is_ok_and(|base| base <= *a), "the revision can only add");
        for b in &versions {
            assert_eq!(a.cmp(b), b.cmp(a).reverse(), "{a} {b}");
            assert_eq!(a == b, a.cmp(b) == Ordering::Equal);
            assert!(a != b || hash(a) == hash(b), "{a} {b} are equal and hash differently");
            for c in &versions {
                assert!(!(a <= b && b <= c) || a <= c, "{a} {b} {c}");
            }
        }
    }
}

/// One atom, name or USE dependency.
pub fn atom(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(cpv) = Cpv::parse(text) {
        assert_eq!(cpv.to_string(), text);
        assert_eq!(cpv.to_string(), format!("{}/{}", cpv.category, cpv.pf()));
        let exact = Atom::parse(&format!("={text}")).expect("a full name with “=” is an atom");
        assert!(exact.matches_cpv(&cpv));
    }
    if let Ok(dep) = UseDep::parse(text) {
        assert_eq!(dep.to_string(), text);
    }
    let Ok(atom) = Atom::parse(text) else { return };
    assert_eq!(atom.to_string(), text);
    let _allowed_or_not = Eapi::LATEST.check_atom(&atom);
    for enabled in [true, false] {
        let evaluated = atom.evaluate(&|_| enabled);
        assert_eq!(Atom::parse(&evaluated.to_string()).as_ref(), Ok(&evaluated));
        assert_eq!(evaluated.evaluate(&|_| !enabled), evaluated, "an evaluated atom asks nothing of the parent any more");
    }
    assert_eq!(Atom::parse(&atom.without_use().to_string()), Ok(atom.without_use()));
}

/// One dependency string, licence expression or REQUIRED_USE.
pub fn dependency(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let words = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    if let Ok(dep) = Dep::parse(text) {
        assert_eq!(dep.to_string(), words);
        assert_eq!(Dep::parse(&words).as_ref(), Ok(&dep));
        for enabled in [true, false] {
            let evaluated = dep.evaluate(&|_| enabled);
            assert_eq!(Dep::parse(&evaluated.to_string()).as_ref(), Ok(&evaluated));
            // Once all groups that became empty are gone, nothing is left to resolve.
            let again = evaluated.evaluate(&|_| !enabled);
            assert_eq!(again.evaluate(&|_| enabled), again);
            assert!(evaluated.atoms().len() <= dep.atoms().len());
        }
    }
    if let Ok(required) = RequiredUse::parse(text) {
        assert_eq!(required.to_string(), words);
        for eapi in [Eapi::LATEST, Eapi::parse("6").expect("EAPI 6")] {
            for enabled in [true, false] {
                let violations = required.violations(eapi, &|_| enabled);
                assert_eq!(violations.is_empty(), required.is_satisfied(eapi, &|_| enabled));
                assert!(violations.iter().all(|part| RequiredUse::parse(part).is_ok()));
            }
        }
    }
    if let Ok(license) = License::parse(text) {
        assert_eq!(license.to_string(), words);
        let nothing = AcceptLicense::parse("", &LicenseGroups::default());
        let all = AcceptLicense::parse("*", &LicenseGroups::default());
        assert!(all.unaccepted(&license, &|_| true).is_empty());
        assert!(nothing.unaccepted(&license, &|_| true).iter().all(|name| license.names().contains(name.as_str())));
    }
}

/// An index: what is read is written, read again as the same, and written again as the same bytes.
pub fn index(data: &[u8]) {
    let Ok(packages) = Packages::parse(data) else { return };
    let bytes = packages.to_bytes();
    let again = Packages::parse(&bytes).unwrap_or_else(|e| panic!("{e}\n{}", String::from_utf8_lossy(&bytes)));
    assert_eq!(again.entries, packages.entries);
    assert_eq!(again.to_bytes(), bytes);
    for entry in &packages.entries {
        assert!(!entry.slot.is_empty() && !entry.subslot.is_empty() && !entry.eapi.is_empty());
        let inside = entry.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        assert!(inside, "{}", entry.path);
    }
}
