//! Documents against the reference validators of their formats, and the checksums against coreutils and GnuPG.

use std::path::{Path, PathBuf};
use std::process::Command;

use attest::glsa::GlsaReport;
use attest::{DocumentKind, Listed, Run, Sources, documents};
use binhost::openpgp::SigningKey;
use contract::Format;

use crate::common::{artifact, facts, inherited, origin, package, plan, removal, stage3};

/// The Python that `scripts/setup test` gave the validators to.
fn validators() -> Option<PathBuf> {
    let venv = std::env::var_os("HATCHERY_TEST_VENV")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/test-venv"), PathBuf::from);
    let python = venv.join("bin/python");
    let there = Command::new(&python).args(["-c", "import spdx_tools, cyclonedx, packageurl, in_toto_attestation"]).output();
    if there.is_ok_and(|o| o.status.success()) {
        return Some(python);
    }
    println!("skipped: the validators are not in {}: run scripts/setup test", venv.display());
    None
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn documents_are_what_their_formats_ask_for() {
    let mut vim = package("app-editors/vim-9.1.0-r1", "0", "vim GPL-2+ ssl? ( || ( MIT linux-fw-redistributable ) )");
    vim.origin = Some(origin());
    let mut plan = plan(vec![vim, package("x11-libs/gtk+-3.24.41", "3/3", "LGPL-2+"), package("acct-user/a-0", "0", "")]);
    plan.base = Some(stage3());
    plan.inherited = vec![inherited("sys-libs/glibc-2.42-r3", "LGPL-2.1+ BSD")];
    let sources = Sources::from([("app-editors/vim-9.1.0-r1".into(), vec!["mirror://gnu/vim-9.1.tar.gz".into()])]);
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("image.iso"), b"an image").unwrap();
    std::fs::write(dir.path().join("image.iso.log"), b"a log").unwrap();
    let files = [artifact("image.iso", Format::Iso, b"an image")];
    let facts = facts(&plan, &files, &sources);
    let evidence = [Listed { name: "image.iso.log".into(), digests: attest::Digests::of(b"a log") }];
    let mut key = SigningKey::generate("Operator <operator@example.org>").unwrap();
    let how = Run { build: "b1", started: 1_700_000_000, ended: 1_700_000_060 };
    let made = documents(&facts, &how, &GlsaReport::of(&plan, None), &evidence, Some(&mut key)).unwrap();
    for document in &made {
        std::fs::write(dir.path().join(&document.name), &document.body).unwrap();
    }
    let path = |kind: DocumentKind| dir.path().join(kind.file_name("image"));

    // Every file but the lists and the signature is listed, and is as listed.
    for (program, kind) in
        [("sha256sum", DocumentKind::Sha256Sums), ("sha512sum", DocumentKind::Sha512Sums), ("b2sum", DocumentKind::Blake2bSums)]
    {
        let said = run(Command::new(program).args(["--check", "--strict"]).arg(path(kind)).current_dir(dir.path()));
        assert_eq!(said.lines().filter(|l| l.ends_with(": OK")).count(), 2 + 5, "{said}");
    }
    let home = dir.path().join("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(dir.path().join("certificate"), key.certificate().unwrap()).unwrap();
    let gpg = || {
        let mut gpg = Command::new("gpg");
        gpg.arg("--homedir").arg(&home).args(["--batch", "--quiet"]);
        gpg
    };
    run(gpg().arg("--import").arg(dir.path().join("certificate")));
    let said = run(gpg().arg("--verify").arg(path(DocumentKind::Signature)).arg(path(DocumentKind::Sha512Sums)));
    assert!(said.contains("Good signature"), "{said}");

    let spdx = std::fs::read_to_string(path(DocumentKind::Spdx)).unwrap();
    for told in ["vim.org", "LicenseRef-Gentoo-linux-fw-redistributable", "mirror://gnu/vim-9.1.tar.gz", "GPL-2.0-or-later"] {
        assert!(spdx.contains(told), "{told} is missing in {spdx}");
    }
    let Some(python) = validators() else { return };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attest/validate.py");
    run(Command::new(python).arg(script).args([DocumentKind::Spdx, DocumentKind::Cyclonedx, DocumentKind::Provenance].map(path)));
}

#[test]
fn the_same_image_has_the_same_bills_of_materials() {
    let (a, b) = (plan(vec![package("a/b-1", "0", "MIT")]), plan(vec![package("a/b-2", "0", "MIT")]));
    let (files, sources) = ([artifact("image.zip", Format::Zip, b"x")], Sources::new());
    let of = |plan| {
        let facts = facts(plan, &files, &sources);
        (attest::spdx(&facts), attest::cyclonedx(&facts))
    };
    let again = a.clone();
    assert_eq!(of(&a), of(&again));
    assert_ne!(of(&a), of(&b));
}

#[test]
fn licences_are_listed_with_their_packages() {
    let plan = plan(vec![
        package("a/b-1", "0", "MIT !ssl? ( GPL-2 )"),
        package("a/c-1", "0", "|| ( MIT BSD )"),
        package("a/d-1", "0", ""),
    ]);
    let found = attest::licences(&plan);
    let names: Vec<&str> = found.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "BSD", "MIT"]);
    assert_eq!(found["MIT"], ["a/b-1", "a/c-1"]);
    assert_eq!(found[""], ["a/d-1"]);
}

#[test]
fn an_image_is_compared_with_its_lock() {
    use gentoo::index::Entry;
    use gentoo::vdb::Installed;
    let installed = |cpv: &str, build_time: u64| {
        let mut entry = Entry::new(gentoo::Cpv::parse(cpv).unwrap());
        entry.build_time = build_time;
        Installed { entry, counter: 1 }
    };
    let mut lock = plan(vec![package("a/b-1", "0/0", "MIT"), package("a/c-1", "0", "MIT")]);
    let time = lock.packages[0].build_time;
    let whole = [installed("a/b-1", time), installed("a/c-1", time)];
    assert_eq!(attest::verify::compare(&lock, &whole), Vec::<String>::new());
    let other = [installed("a/b-1", time + 1), installed("a/d-1", time)];
    let said = attest::verify::compare(&lock, &other).join("\n");
    for expected in ["a/b-1 is another build", "a/c-1 is in the lock and not", "a/d-1 is in the image and not"] {
        assert!(said.contains(expected), "{said}");
    }
    // A stage3 brings packages of its own.
    lock.base = Some(stage3());
    lock.packages.truncate(1);
    assert_eq!(attest::verify::compare(&lock, &whole), Vec::<String>::new());
    // But for those that the lock removes.
    lock.removals = vec![removal("a/c-1")];
    let said = attest::verify::compare(&lock, &whole);
    assert!(matches!(said.as_slice(), [one] if one.starts_with("a/c-1 is in the image and the lock removes it")), "{said:?}");
    assert_eq!(attest::verify::compare(&lock, &whole[..1]), Vec::<String>::new());
    // Where the lock says which stay, they are compared like all others.
    lock.removals = Vec::new();
    lock.inherited = vec![contract::plan::Inherited { build_time: time, ..inherited("a/c-1", "MIT") }];
    assert_eq!(attest::verify::compare(&lock, &whole), Vec::<String>::new());
    let said = attest::verify::compare(&lock, &other).join("\n");
    for expected in ["a/c-1 is in the lock and not", "a/d-1 is in the image and not"] {
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn what_stays_of_a_stage3_is_told_of_like_all_else() {
    let mut plan = plan(vec![package("a/new-2", "0", "MIT")]);
    plan.base = Some(stage3());
    let (files, sources) = ([artifact("image.zip", Format::Zip, b"x")], Sources::new());
    let of = |plan: &contract::Plan| {
        let facts = facts(plan, &files, &sources);
        (attest::spdx(&facts), attest::cyclonedx(&facts))
    };
    let (_, cyclonedx) = of(&plan);
    assert_eq!(cyclonedx["compositions"][0]["aggregate"], "incomplete");

    plan.inherited = vec![inherited("sys-apps/old-1", "GPL-2 nls? ( BSD )")];
    let (spdx, cyclonedx) = of(&plan);
    assert_eq!(cyclonedx["compositions"][0]["aggregate"], "complete");
    let find = |list: &serde_json::Value, name: &str| {
        list.as_array().unwrap().iter().find(|part| part["name"] == name).unwrap_or_else(|| panic!("{name} in {list}")).clone()
    };
    let old = find(&spdx["packages"], "sys-apps/old");
    assert_eq!(old["licenseDeclared"], "(GPL-2.0-only AND BSD-3-Clause)");
    assert_eq!(old["sourceInfo"], "From the stage3 20260101/stage3.tar.xz");
    assert!(find(&spdx["packages"], "20260101/stage3.tar.xz")["comment"].as_str().unwrap().contains("1 of its packages are"));
    let old = find(&cyclonedx["components"], "old");
    assert_eq!(old["purl"], "pkg:ebuild/sys-apps/old@1?arch=amd64&slot=0");
    assert!(
        old["properties"]
            .as_array()
            .unwrap()
            .contains(&serde_json::json!({ "name": "gentoo:stage3", "value": "20260101/stage3.tar.xz" }))
    );
    assert!(cyclonedx["dependencies"][0]["dependsOn"].as_array().unwrap().contains(&old["purl"]));
    assert_eq!(attest::licences(&plan)["BSD"], ["sys-apps/old-1"]);
}

#[test]
fn what_is_removed_from_a_stage3_is_part_of_no_bill() {
    let mut plan = plan(vec![package("a/new-2", "0", "MIT")]);
    plan.base = Some(stage3());
    plan.removals = vec![removal("a/old-1")];
    let (files, sources) = ([artifact("image.zip", Format::Zip, b"x")], Sources::new());
    let facts = facts(&plan, &files, &sources);
    let (spdx, cyclonedx) = (attest::spdx(&facts), attest::cyclonedx(&facts));
    let told = |list: &serde_json::Value, key: &str| {
        let parts = list.as_array().unwrap();
        assert!(parts.iter().all(|part| !part["name"].as_str().unwrap().contains("old")), "{parts:?}");
        parts.iter().filter_map(|part| part[key].as_str()).any(|text| text.contains("nor are a/old-1, which were removed"))
    };
    assert!(told(&spdx["packages"], "comment"), "{spdx}");
    assert!(told(&cyclonedx["components"], "description"), "{cyclonedx}");
    assert_eq!(attest::licences(&plan).into_values().flatten().collect::<Vec<_>>(), ["a/new-2"]);
}
