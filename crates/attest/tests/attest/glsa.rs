//! Every real advisory against Portage's own `glsa.py`: on all versions that real binhosts have, and on the versions where ranges end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{inherited, package, plan, stage3};
use attest::glsa::{Advisories, Advisory, GlsaReport};
use gentoo::Cpv;
use gentoo::index::Packages;
use gentoo::version::Version;

fn real_data() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/real");
    if dir.is_dir() {
        return Some(dir);
    }
    println!("skipped: {} is not there", dir.display());
    None
}

/// The real advisories, unpacked to `metadata/glsa` below `dir`.
fn unpack(real: &Path, dir: &Path) {
    let file = std::fs::File::open(real.join("gentoo-tree.tar.zst")).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    std::fs::create_dir_all(dir.join("metadata/glsa")).unwrap();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if entry.header().entry_type().is_file() && path.parent().is_some_and(|p| p.ends_with("metadata/glsa")) {
            entry.unpack(dir.join("metadata/glsa").join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The versions and slots of each package that real binhosts have.
fn real_versions(real: &Path) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut found: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for index in [
        "indexes/aarch64-2024-10-18.Packages",
        "indexes/x86_64-2022-11-18.Packages",
        "binhost-amd64-gpkg/Packages",
        "binhost-amd64-xpak/Packages",
        "prefix-x86/Packages",
    ] {
        for entry in Packages::parse(&std::fs::read(real.join(index)).unwrap()).unwrap().entries {
            found.entry(entry.cpv.cp()).or_default().insert(entry.cpv.to_string(), entry.slot_text());
        }
    }
    found
}

/// A round gives each candidate one slot.
type Round = BTreeMap<String, BTreeMap<String, String>>;

/// Real versions in their slots, and for each advisory the versions at the ends of its ranges, in slot 0 and in those it names.
fn candidates(advisories: &[Advisory], real: &Round) -> Vec<Round> {
    let mut rounds = vec![Round::new(); 3];
    for affected in advisories.iter().flat_map(|a| &a.affected) {
        let ranges: Vec<_> = affected.vulnerable.iter().chain(&affected.unaffected).collect();
        let slots: BTreeSet<&str> = ranges.iter().filter_map(|range| range.slot.as_deref()).collect();
        let slots: Vec<&str> = ["0"].into_iter().chain(slots).collect();
        for (number, round) in rounds.iter_mut().enumerate() {
            let Some(slot) = slots.get(number) else { continue };
            let builds = round.entry(affected.package.clone()).or_default();
            for range in &ranges {
                let revision: u64 = range.version.revision().parse().unwrap_or(0);
                for version in [range.version.as_str().to_owned(), format!("{}-r{}", range.version.base(), revision + 1)] {
                    builds.insert(format!("{}-{version}", affected.package), (*slot).to_owned());
                }
            }
            if number == 0 {
                builds.extend(real.get(&affected.package).cloned().unwrap_or_default());
            }
        }
    }
    rounds
}

fn portage_says(glsa_dir: &Path, rounds: &[Round], scratch: &Path) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let default = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/hatchery-oracle/venv/bin/python"));
    let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map(PathBuf::from).or_else(default)?;
    if !python.exists() {
        println!("skipped: no Portage at {}; set HATCHERY_PORTAGE_PYTHON to a Python that has it", python.display());
        return None;
    }
    let lists: Vec<BTreeMap<_, Vec<_>>> =
        rounds.iter().map(|round| round.iter().map(|(cp, builds)| (cp, builds.iter().collect())).collect()).collect();
    std::fs::write(scratch.join("candidates.json"), serde_json::to_vec(&lists).unwrap()).unwrap();
    std::fs::create_dir_all(scratch.join("root")).unwrap();
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/attest/glsa_oracle.py"))
        .arg(glsa_dir)
        .arg(scratch.join("candidates.json"))
        .arg(scratch.join("root"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn we_say(advisory: &Advisory, rounds: &[Round]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (number, round) in rounds.iter().enumerate() {
        for affected in &advisory.affected {
            for (cpv, slot) in round.get(&affected.package).into_iter().flatten() {
                if affected.is_vulnerable("amd64", &Cpv::parse(cpv).unwrap().version, slot) {
                    found.insert(format!("{number} {cpv}"));
                }
            }
        }
    }
    found
}

#[test]
fn every_real_advisory_says_what_portage_reads_in_it() {
    let Some(real) = real_data() else { return };
    let dir = tempfile::tempdir().unwrap();
    unpack(&real, dir.path());
    let glsa_dir = dir.path().join("metadata/glsa");
    let advisories = Advisories::read(&glsa_dir).unwrap();
    assert!(advisories.list.len() > 3_000 && advisories.timestamp.is_some(), "{} advisories", advisories.list.len());
    assert_eq!(advisories.unreadable, Vec::<String>::new());
    let rounds = candidates(&advisories.list, &real_versions(&real));
    let count: usize = rounds.iter().flat_map(|round| round.values()).map(BTreeMap::len).sum();
    let Some(portage) = portage_says(&glsa_dir, &rounds, dir.path()) else { return };
    let mut vulnerable = 0;
    for advisory in &advisories.list {
        let ours = we_say(advisory, &rounds);
        let theirs = portage.get(&advisory.id).expect("Portage reads every advisory");
        let differences: Vec<_> = ours.symmetric_difference(theirs).collect();
        assert!(
            differences.is_empty(),
            "GLSA {}: only one of us calls vulnerable: {differences:?}\n{:#?}",
            advisory.id,
            advisory.affected
        );
        vulnerable += ours.len();
    }
    assert!(vulnerable > 10_000, "hardly anything is vulnerable: {vulnerable}");
    println!("{} advisories, {count} packages, {vulnerable} found vulnerable as by Portage", advisories.list.len());
}

const ADVISORY: &str = r#"<?xml version="1.0"?><!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="202501-01"><title>A:
  many</title><synopsis>S</synopsis><announced>2025-01-01</announced><revised count="1">2025-01-02</revised><impact type="high"/>
<affected><package name="a/b" auto="yes" arch="*"><unaffected range="rge">1.0-r3</unaffected><unaffected range="ge" slot="2">2.4</unaffected>
<vulnerable range="lt">3</vulnerable></package></affected></glsa>"#;

#[test]
fn a_report_names_what_is_touched_and_what_was_not_looked_at() {
    let advisories = Advisories { list: vec![Advisory::parse(ADVISORY).unwrap()], ..Advisories::default() };
    let told = |cpv: &str, slot: &str| GlsaReport::compare(&plan(vec![package(cpv, slot, "MIT")]), &advisories);
    let touched = |cpv: &str, slot: &str| !told(cpv, slot).findings().is_empty();
    assert!(touched("a/b-1.0-r2", "0") && !touched("a/b-1.0-r3", "0") && !touched("a/b-1.0-r12", "0") && touched("a/b-1.1", "0"));
    assert!(touched("a/b-2.4", "0") && !touched("a/b-2.4", "2/9") && !touched("a/b-3", "0") && !touched("a/bc-1", "0"));
    let report = told("a/b-1.1", "0");
    assert_eq!(report.findings()[0].unaffected, ["a/b: >=~1.0-r3", "a/b: >=2.4:2"]);
    assert_eq!(report.findings()[0].title, "A: many");
    assert!(report.summary().contains("one touches"), "{}", report.summary());

    let mut on_base = plan(vec![package("a/c-1", "0", "MIT")]);
    on_base.base = Some(stage3());
    let report = GlsaReport::compare(&on_base, &advisories);
    assert!(report.summary().contains("none touches") && report.summary().contains("as far as"), "{}", report.summary());
    // What stays of the stage3 is looked at where the plan names it.
    on_base.inherited = vec![contract::plan::Inherited { slot: "0/0".into(), ..inherited("a/b-1.1", "MIT") }];
    let report = GlsaReport::compare(&on_base, &advisories);
    assert_eq!(report.findings()[0].packages, ["a/b-1.1"]);
    assert!(!report.summary().contains("as far as"), "{}", report.summary());
    on_base.inherited.clear();
    // That nobody looked must not read as if nothing were found.
    let unknown = GlsaReport::of(&on_base, None);
    assert!(unknown.summary().starts_with("Not known") && matches!(unknown, GlsaReport::Unknown { .. }));
    let gone = GlsaReport::of(&on_base, Some(Path::new("/nonexistent")));
    assert!(matches!(gone, GlsaReport::Unknown { .. }), "{gone:?}");
}

#[test]
fn hostile_advisories_are_refused() {
    let bomb = format!("<!DOCTYPE glsa [<!ENTITY a \"aaaaaaaaaa\">{}]><glsa id=\"&l9;\"/>", {
        let mut text = String::from("<!ENTITY l0 \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">");
        (1..10).for_each(|n| text += &format!("<!ENTITY l{n} \"{}\">", format!("&l{};", n - 1).repeat(10)));
        text
    });
    let deep = "<a>".repeat(50_000) + &"</a>".repeat(50_000);
    for text in [
        bomb.as_str(),
        deep.as_str(),
        "",
        "<glsa/>",
        "<glsa id=\"1\"/>",
        &ADVISORY.replace("a/b", "../b"),
        &ADVISORY.replace("rge", "near"),
    ] {
        assert!(Advisory::parse(text).is_err(), "{:.80}", text);
    }
    assert!(Advisory::parse(&ADVISORY.replace("1.0-r3", "one")).is_err());
    assert!(Version::parse("one").is_err());
}
