//! Hostile input: every parser answers or errs, whatever it is given, and what it accepts it prints back to an equal thing.

use gentoo::dep::MAX_DEPTH;
use gentoo::index::Packages;
use gentoo::license::{AcceptLicense, License, LicenseGroups};
use gentoo::required_use::RequiredUse;
use gentoo::useflags::UseDep;
use gentoo::version::Version;
use gentoo::{Atom, Cpv, Dep, Eapi};
use proptest::prelude::*;

/// Text made of the pieces that mean something in a dependency string.
fn dependency_like() -> impl Strategy<Value = String> {
    let pieces = [
        "(",
        ")",
        "||",
        "^^",
        "??",
        "x?",
        "!x?",
        "a/b",
        ">=a/b-1.2_rc3-r4",
        "=a/b-1*",
        "~a/b-1",
        "!!a/b",
        "a/b:0/3=",
        "a/b:*",
        "a/b::r",
        "a/b[x,-y(+),z?]",
        "!x",
        "GPL-2",
        "?",
        "[",
        "é",
        "a/b[",
        "=",
        "*",
    ];
    prop::collection::vec((prop::sample::select(pieces.to_vec()), prop::sample::select(vec![" ", " ", " ", ""])), 0..40)
        .prop_map(|words| words.into_iter().map(|(word, gap)| format!("{word}{gap}")).collect())
}

fn atom_like() -> impl Strategy<Value = String> {
    "(!|!!)?(>=|<=|<|>|=|~)?[a-z_+-]{0,4}/?[a-z+-]{0,4}(-[0-9.]{1,5}(_(p|rc)[0-9]?)?(-r[0-9])?)?\\*?(:[0-9/=*]{0,4})?(::[a-z]{0,3})?(\\[[a-z,!?=()+-]{0,9}\\])?"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn atoms(text in prop_oneof![atom_like(), any::<String>()]) {
        if let Ok(atom) = Atom::parse(&text) {
            prop_assert_eq!(atom.to_string(), text);
            let _ = Eapi::LATEST.check_atom(&atom);
        }
    }

    #[test]
    fn dependencies(text in prop_oneof![dependency_like(), any::<String>()]) {
        if let Ok(dep) = Dep::parse(&text) {
            prop_assert_eq!(&Dep::parse(&dep.to_string()).unwrap(), &dep);
            let words: Vec<&str> = text.split_ascii_whitespace().collect();
            prop_assert_eq!(words.join(" "), dep.to_string());
            dep.evaluate(&|flag| flag == "x");
        }
        if let Ok(required) = RequiredUse::parse(&text) {
            required.violations(Eapi::LATEST, &|flag| flag == "x");
        }
        if let Ok(license) = License::parse(&text) {
            AcceptLicense::parse(&text, &LicenseGroups::well_known()).unaccepted(&license, &|flag| flag == "x");
        }
    }

    #[test]
    fn versions_order_totally(
        a in "[0-9]{1,3}(\\.[0-9]{1,3}){0,3}[ab]?(_(alpha|beta|pre|rc|p)[0-9]{0,2}){0,2}(-r[0-9]{1,2})?",
        b in "[0-9]{1,2}(\\.[0-9]{1,2}){0,3}[ab]?(_(alpha|beta|pre|rc|p)[0-9]{0,2}){0,2}(-r[0-9]{1,2})?",
        c in "[0-9]{1,2}(\\.[0-9]{1,2}){0,2}[ab]?(_(alpha|beta|pre|rc|p)[0-9]{0,1}){0,1}(-r[0-9]{1,2})?",
    ) {
        let mut versions = [&a, &b, &c].map(|text| Version::parse(text).unwrap());
        prop_assert_eq!(versions[0].cmp(&versions[1]), versions[1].cmp(&versions[0]).reverse());
        versions.sort();
        prop_assert!(versions[0] <= versions[1] && versions[1] <= versions[2] && versions[0] <= versions[2]);
    }

    #[test]
    fn names(text in any::<String>()) {
        if let Ok(version) = Version::parse(&text) {
            prop_assert_eq!(version.to_string(), text.clone());
        }
        if let Ok(cpv) = Cpv::parse(&text) {
            prop_assert_eq!(cpv.to_string(), text.clone());
        }
        if let Ok(dep) = UseDep::parse(&text) {
            prop_assert_eq!(dep.to_string(), text);
        }
    }

    #[test]
    fn indexes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Packages::parse(&bytes);
    }

    #[test]
    fn damaged_indexes(at in 0_usize..400, with in any::<u8>()) {
        let mut bytes = b"ARCH: amd64\nPACKAGES: 1\n\nCPV: a/b-1\nBUILD_ID: 1\nBUILD_TIME: 2\nPATH: a/b/b-1-1.gpkg.tar\nSLOT: 0/1\nSIZE: 3\nIUSE: +x\nUSE: x\nFOO: bar\n\n".to_vec();
        let at = at % bytes.len();
        bytes[at] = with;
        if let Ok(packages) = Packages::parse(&bytes) {
            prop_assert_eq!(Packages::parse(&packages.to_bytes()).unwrap().entries, packages.entries);
        }
    }
}

#[test]
fn nesting_is_limited_and_costs_no_call_depth() {
    let nested = |depth: usize| "( ".repeat(depth) + "a/b" + &" )".repeat(depth);
    let deepest = Dep::parse(&nested(MAX_DEPTH)).unwrap();
    assert_eq!(Dep::parse(&deepest.evaluate(&|_| true).to_string()).unwrap(), deepest);
    assert!(Dep::parse(&nested(MAX_DEPTH + 1)).unwrap_err().reason.contains("deeper"));
    for opening in ["( ", "|| ( ", "x? ( ", "!x? ( "] {
        assert!(Dep::parse(&opening.repeat(300_000)).is_err());
        assert!(License::parse(&opening.repeat(300_000)).is_err());
        assert!(RequiredUse::parse(&opening.repeat(300_000)).is_err());
    }
}

#[test]
fn long_strings_are_read_in_linear_work_or_refused() {
    let wide = "a/b ".repeat(200_000);
    assert_eq!(Dep::parse(&wide).unwrap().atoms().len(), 200_000);
    assert!(Dep::parse(&"a/b ".repeat(2_000_000)).unwrap_err().reason.contains("longer"));
    assert!(Atom::parse(&format!("a/b[{}]", "x,".repeat(10_000))).is_err());
    let digits = "9".repeat(1_000_000);
    assert!(Version::parse(&digits).unwrap() < Version::parse(&format!("1{digits}")).unwrap());
}

/// Issue 3: looking at each group twice cost two to the power of the depth.
#[test]
fn nested_groups_are_judged_in_linear_work() {
    for opening in ["( ", "|| ( ", "^^ ( ", "?? ( ", "x? ( "] {
        let text = opening.repeat(MAX_DEPTH) + "x" + &" )".repeat(MAX_DEPTH);
        let required = RequiredUse::parse(&text).unwrap();
        for eapi in ["6", "8"] {
            assert!(required.is_satisfied(Eapi::parse(eapi).unwrap(), &|flag| flag == "x"), "{opening}");
        }
    }
    let text = "|| ( ".repeat(MAX_DEPTH) + "x" + &" )".repeat(MAX_DEPTH);
    assert_eq!(RequiredUse::parse(&text).unwrap().violations(Eapi::LATEST, &|_| false), [text]);
}

/// Issue 3: a message repeats the beginning of what it is about, not megabytes.
#[test]
fn messages_stay_short() {
    let long = "é".repeat(1_000_000);
    for text in [long.clone(), format!("{long}?"), format!("|| {long}"), format!("x? {long}")] {
        for message in [
            Dep::parse(&text).unwrap_err().to_string(),
            RequiredUse::parse(&text).unwrap_err().to_string(),
            License::parse(&text).unwrap_err().to_string(),
            Atom::parse(&text).unwrap_err().to_string(),
            Version::parse(&text).unwrap_err().to_string(),
        ] {
            assert!(message.len() < 4096, "{} bytes", message.len());
        }
    }
}
