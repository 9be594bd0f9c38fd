//! Hostile indexes of up to 20 MB (issue 3, item 8): each is read or refused, and resolved or explained, in work that grows with its
//! size. That these tests end is the assertion; how long they take is measured in bench/.

mod common;

use std::fmt::Write as _;

use common::binhost;
use gentoo::index::{IndexError, Packages};
use resolver::{Profile, Source, Universe, Wanted};

const HEADER: &str = "ARCH: amd64\nCHOST: x86_64-pc-linux-gnu\nTIMESTAMP: 1\n";
/// Bytes of a hostile index.
const LARGE: usize = 20 << 20;

/// Reads the index and asks for the atom; the number of packages planned, or none where it was explained that there is no plan.
fn ask(entries: &str, atom: &str) -> Option<usize> {
    let index = Packages::parse(format!("{HEADER}{entries}").as_bytes()).unwrap();
    let mut profile = Profile::minimal("amd64");
    profile.accept_keywords.extend("**");
    profile.set_accept_license("*");
    let source = Source::new(vec![binhost("hostile", index)], profile);
    match Universe::new(source).resolve(&Wanted { atoms: vec![atom.into()], services: Vec::new() }) {
        Ok(resolution) => Some(resolution.plan.packages.len()),
        Err(explanation) => {
            assert!(!explanation.troubles.is_empty());
            // What a person reads must not be as long as the index.
            assert!(explanation.to_string().len() < 64 << 10, "an explanation of {} bytes", explanation.to_string().len());
            None
        }
    }
}

fn entries(count: usize, entry: impl Fn(usize) -> String) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        let _ = write!(text, "\n{}", entry(n));
        text
    })
}

#[test]
fn large_files_that_are_no_index_are_refused() {
    let refused = |text: String| Packages::parse(text.as_bytes()).unwrap_err().to_string();
    for text in [
        "x".repeat(LARGE),
        "\n".repeat(LARGE),
        format!("{HEADER}\n{}", "y".repeat(LARGE)),
        format!("A: b\n\n{}", "A: b\n\n".repeat(3 << 20)),
    ] {
        assert!(refused(text).len() < 1000);
    }
    let many = format!("{HEADER}\n{}", "CPV: a/b-1\n\n".repeat(1_000_001));
    assert!(matches!(Packages::parse(many.as_bytes()), Err(IndexError::TooLarge { .. })));
}

#[test]
fn one_entry_of_twenty_megabytes() {
    assert_eq!(ask(&format!("\nCPV: a/b-1\nDESC: {}\n", "long ".repeat(LARGE / 5)), "a/b"), Some(1));
    // As an unknown field, as a field without end, and as dependencies too long to be read.
    assert_eq!(ask(&format!("\nCPV: a/b-1\n{}: x\n", "K".repeat(LARGE)), "a/b"), Some(1));
    assert_eq!(ask(&format!("\nCPV: a/b-1\nRDEPEND: {}\n", "a/c ".repeat(LARGE / 4)), "a/b"), None);
    assert_eq!(ask(&format!("\nCPV: a/b-1\nRDEPEND: {}\n", "( ".repeat(LARGE / 2)), "a/b"), None);
}

#[test]
fn a_million_atoms_in_one_dependency() {
    let atoms = (4 << 20) / 5;
    // Each counts as a step of the search, and there are only so many.
    let _either = ask(&format!("\nCPV: a/b-1\nRDEPEND: {}\n\nCPV: a/c-1\n", "a/c ".repeat(atoms)), "a/b");
    let _either = ask(&format!("\nCPV: a/b-1\nRDEPEND: || ( {})\n\nCPV: a/c-1\n", "a/c ".repeat(atoms)), "a/b");
    assert_eq!(ask(&format!("\nCPV: a/b-1\nRDEPEND: || ( {})\n", "a/c ".repeat(atoms)), "a/b"), None);
    let pairs: String = (0..150_000).fold(String::new(), |text, n| text + &format!("|| ( a/c a/d{n} ) "));
    let _either = ask(&format!("\nCPV: a/b-1\nRDEPEND: {pairs}\n\nCPV: a/c-1\n"), "a/b");
    let different: String = (0..300_000).fold(String::new(), |text, n| text + "a/c" + &n.to_string() + " ");
    assert_eq!(ask(&format!("\nCPV: a/b-1\nRDEPEND: {different}\n"), "a/b"), None);
}

#[test]
fn more_use_flags_than_any_package_has() {
    let flags = |count: usize| (0..count).fold(String::new(), |text, n| text + "f" + &n.to_string() + " ");
    let many = format!("{HEADER}\nCPV: a/b-1\nIUSE: {}\n", flags(500_000));
    let error = Packages::parse(many.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("IUSE") && error.contains("bytes of flags"), "{error}");
    // As many as there may be, asked for by hundreds at once, and as conditions.
    let flags = flags(5_000);
    let asked: Vec<String> = (4_500..5_000).map(|n| format!("f{n}")).collect();
    let atoms: String = (0..20).fold(String::new(), |text, n| text + &format!("a/b[{},f{n}] ", asked.join(",")));
    let text = format!("\nCPV: a/b-1\nIUSE: {flags}\nUSE: {flags}\n\nCPV: a/c-1\nRDEPEND: {atoms}\n");
    assert_eq!(ask(&text, "a/c"), Some(2));
    // Twenty megabytes of the longest atoms, each asking hundreds of flags of all that there may be.
    let long = |n: usize| {
        format!(
            "CPV: a/c{n}x-1\nRDEPEND: {}\n",
            (0..250).fold(String::new(), |text, m| text + &format!("a/b[{},f{}] ", asked.join(","), (n * 250 + m) % 4_500))
        )
    };
    let many = format!("\nCPV: a/b-1\nIUSE: {flags}\nUSE: {flags}\n{}", entries(25, long));
    let all: String = (0..25).fold(String::new(), |text, n| text + &format!("a/c{n}x "));
    assert_eq!(ask(&format!("{many}\nCPV: a/d-1\nRDEPEND: {all}\n"), "a/d"), Some(27));
    let conditions: String = (0..300_000).fold(String::new(), |text, n| text + "f" + &(n % 6_000).to_string() + "? ( a/c ) ");
    let _either = ask(&format!("\nCPV: a/b-1\nIUSE: {flags}\nUSE: {flags}\nRDEPEND: {conditions}\n\nCPV: a/c-1\n"), "a/b");
}

#[test]
fn gigantic_versions() {
    let digits = "9".repeat(1 << 20);
    assert_eq!(ask(&entries(9, |n| format!("CPV: a/b-{n}{digits}\n")), "a/b"), Some(1));
    let parts = "1.".repeat(1000);
    assert_eq!(ask(&entries(5_000, |n| format!("CPV: a/b-{parts}{n}\n")), &format!(">=a/b-{parts}7")), Some(1));
}

#[test]
fn a_hundred_thousand_slots() {
    let slots = entries(100_000, |n| format!("CPV: a/b-{n}\nSLOT: {n}\n"));
    assert_eq!(ask(&slots, "a/b"), Some(1));
    assert_eq!(ask(&slots, "a/b:77777"), Some(1));
    assert_eq!(ask(&slots, "a/b:none"), None);
    let many =
        format!("{slots}\nCPV: a/c-1\nRDEPEND: {}\n", (0..300).fold(String::new(), |text, n| text + &format!("a/b:{n}= ")));
    assert_eq!(ask(&many, "a/c"), Some(301));
}

#[test]
fn a_chain_of_twenty_thousand_packages() {
    let chain = entries(20_000, |n| format!("CPV: a/p{n}x-1\nRDEPEND: a/p{}x\n", (n + 1) % 20_000));
    let _either = ask(&chain, "a/p0x");
    let chain = entries(20_000, |n| format!("CPV: a/p{n}x-1\nRDEPEND: || ( a/q{n}x a/p{}x )\n", n + 1));
    let _either = ask(&chain, "a/p0x");
}
