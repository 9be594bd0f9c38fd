use super::*;
use crate::useflags::PackageUse;

const HEADER: &str = "ARCH: amd64\nCHOST: x86_64-pc-linux-gnu\nREPO: gentoo\nTIMESTAMP: 5\nUSE: header-flag\n\n";

fn parse(entries: &str) -> Result<Packages, IndexError> {
    Packages::parse(format!("{HEADER}{entries}").as_bytes())
}

#[test]
fn both_styles_are_read() {
    let packages = parse(
        "CPV: a/b-1\nBUILD_ID: 3\nBUILD_TIME: 9\nPATH: a/b/b-1-3.gpkg.tar\nSLOT: 0/2\nIUSE: +x -y z\nUSE: x\nREPO: other\nNEW: field\n\n\nCPV: a/c-2-r1\nEAPI: 8\n",
    )
    .unwrap();
    let [multi, single] = packages.entries.as_slice() else { panic!("{packages:?}") };
    assert_eq!((multi.build_id, multi.build_time, multi.path.as_str()), (Some(3), 9, "a/b/b-1-3.gpkg.tar"));
    assert_eq!((multi.slot.as_str(), multi.subslot.as_str(), multi.slot_text().as_str()), ("0", "2", "0/2"));
    assert_eq!(
        (multi.repo.as_str(), multi.chost.as_str(), multi.extra["NEW"].as_str()),
        ("other", "x86_64-pc-linux-gnu", "field")
    );
    assert_eq!(multi.iuse_names().collect::<Vec<_>>(), ["x", "y", "z"]);
    assert_eq!(
        (single.path.as_str(), single.build_id, single.slot.as_str(), single.eapi.as_str()),
        ("a/c-2-r1.tbz2", None, "0", "8")
    );
    assert_eq!((single.repo.as_str(), single.subslot.as_str()), ("gentoo", "0"));
    assert!(single.use_flags.is_empty(), "USE is not inherited from the header");
    assert_eq!(packages.timestamp(), Some(5));
}

#[test]
fn an_error_names_line_and_field() {
    for (entries, line, field) in [
        ("CPV: a/b-1\nSIZE: many\n", 8, "SIZE"),
        ("CPV: a/b-1\nBUILD_ID: -1\n", 8, "BUILD_ID"),
        ("CPV: nonsense\n", 7, "CPV"),
        ("SLOT: 0\nSIZE: 1\n", 7, "CPV"),
        ("CPV: a/b-1\nSLOT: 0/\n", 8, "SLOT"),
        ("CPV: a/b-1\nMD5: abc\n", 8, "MD5"),
        ("CPV: a/b-1\nPATH: ../../etc/shadow\n", 8, "PATH"),
        ("CPV: a/b-1\nPATH: /etc/shadow\n", 8, "PATH"),
        ("CPV: a/b-1\nPATH: a//b\n", 8, "PATH"),
        ("CPV: a/b-1\nPATH: a/b?x=%2e\n", 8, "PATH"),
    ] {
        match parse(entries) {
            Err(IndexError::Field { line: l, field: f, .. }) => assert_eq!((l, f.as_str()), (line, field), "{entries}"),
            other => panic!("{entries}: {other:?}"),
        }
    }
}

#[test]
fn what_is_no_index_is_told_from_a_damaged_one() {
    for bytes in [&b""[..], b"\n\n", b"CPV: a/b-1\n", b"<html>\n", b"ARCH: \xff\n", b"\x1f\x8b\x08", b"ARCH: \x1b[2J\n"] {
        assert!(matches!(Packages::parse(bytes), Err(IndexError::NotAnIndex(_))), "{bytes:?}");
    }
    let cut = Packages::parse(b"ARCH: amd64\nPACKAGES: 2\n\nCPV: a/b-1\n").unwrap_err();
    assert_eq!(cut, IndexError::Incomplete { announced: 2, found: 1 });
    assert!(cut.to_string().contains("fetch it again"));
}

#[test]
fn writing_leaves_out_defaults_and_cannot_forge_fields() {
    let mut packages = parse("CPV: a/b-1\nSIZE: 3\n").unwrap();
    packages.entries[0].desc = "one\nSIZE: 4".into();
    let text = String::from_utf8(packages.to_bytes()).unwrap();
    assert!(text.ends_with("\n\nCPV: a/b-1\nDESC: one SIZE: 4\nSIZE: 3\n\n"), "{text}");
    assert!(text.contains("PACKAGES: 1\n"));
}

#[test]
fn implicit_flags_count_as_the_packages_own() {
    let header = "IUSE_IMPLICIT: prefix\nUSE_EXPAND: ELIBC\nUSE_EXPAND_IMPLICIT: ELIBC\nUSE_EXPAND_VALUES_ELIBC: glibc musl\nUSE_EXPAND_HIDDEN: KERNEL\n\n";
    let packages = Packages::parse(
        format!("{header}CPV: a/b-1\nEAPI: 8\nIUSE: +x\nUSE: elibc_glibc gone\n\nCPV: a/c-1\nEAPI: 4\nUSE: gone\n").as_bytes(),
    )
    .unwrap();
    let implicit = ImplicitIuse::from_variables(&packages.header);
    let [new, old] = packages.entries.as_slice() else { panic!("{packages:?}") };
    let has =
        |entry: &Entry, flag: &str| (entry.built_use(&implicit).has_flag(flag), entry.built_use(&implicit).is_enabled(flag));
    assert_eq!(has(new, "x"), (true, false));
    assert_eq!(has(new, "elibc_glibc"), (true, true));
    assert_eq!(has(new, "elibc_musl"), (true, false));
    assert_eq!(has(new, "gone"), (true, true), "what it was built with is there, whatever the profile says now");
    assert_eq!(has(new, "unknown"), (false, false));
    assert_eq!(has(old, "gone"), (false, false));
    assert_eq!(has(old, "kernel_linux"), (true, false));
}
