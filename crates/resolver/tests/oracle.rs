//! Decides as Portage does: every recorded request is resolved again and compared with what the real `emerge --usepkgonly` chose.
//!
//! `tests/oracle/differences.json` lists every request with another outcome and its cause, and `docs/resolver.md` holds the table.
//! Both must be what this test finds; HATCHERY_UPDATE=1 writes them anew, to be looked at before they are committed.

mod common;

use std::collections::{BTreeMap, BTreeSet};

use gentoo::index::Entry;

use common::{Asker, Recorded, Recording, Trees, have_shared, order, recordings, recordings_dir, wanted};
use resolver::{Explanation, Resolution};
use serde::{Deserialize, Serialize};

/// A request whose outcome is not Portage's.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Difference {
    atoms: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    opts: Vec<String>,
    cause: Cause,
    /// What is different.
    what: String,
}

/// Why an outcome may differ. Anything that has no cause here is a mistake.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Cause {
    /// Portage refuses packages that were built against each other (a cycle through `:=`), as it would merge them one by one into a running
    /// system. A fresh root has nothing that could break meanwhile, so there is a plan, and a note that says so.
    PortageRefusesCycle,
    /// Something asked for is installed in the base, and cannot be merged again, as the binhost lacks what it needs or has none that may
    /// be chosen (the recorded bases are drawn at random, so some are broken). Portage refuses; here the installed one serves.
    InstalledServes,
    /// Anything else; must not happen.
    Unexplained,
}

/// A row of the table.
#[derive(Default)]
struct Row {
    requests: usize,
    same_plan: usize,
    both_refuse: usize,
    cycles: usize,
    installed_serves: usize,
    unexplained: usize,
    largest: usize,
    portage_seconds: f64,
}

#[test]
fn the_same_packages_as_portage() {
    if !have_shared("the comparison with Portage") {
        return;
    }
    let trees = Trees::new();
    let mut steps = 0;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut differences: BTreeMap<String, Vec<Difference>> = BTreeMap::new();
    for (group, recording) in recordings() {
        let row = rows.entry(group.clone()).or_default();
        let mut asker = Asker::new(&recording, &trees);
        for request in &recording.requests {
            row.requests += 1;
            row.portage_seconds += request.seconds;
            row.largest = row.largest.max(request.packages.len());
            let answer = asker.universe(request).resolve(&wanted(request));
            if let Ok(resolution) = &answer {
                steps = steps.max(resolution.steps);
                check_order(&asker, request, resolution);
            }
            match compare(&recording, request, &answer) {
                None if request.ok => row.same_plan += 1,
                None => row.both_refuse += 1,
                Some(difference) => {
                    match difference.cause {
                        Cause::PortageRefusesCycle => row.cycles += 1,
                        Cause::InstalledServes => row.installed_serves += 1,
                        Cause::Unexplained => row.unexplained += 1,
                    }
                    differences.entry(group.clone()).or_default().push(difference);
                }
            }
        }
    }
    println!("the longest search took {steps} steps");
    check_file(&recordings_dir().join("differences.json"), &(serde_json::to_string_pretty(&differences).unwrap() + "\n"));
    check_table(&table(&rows));
    let requests: usize = rows.values().map(|r| r.requests - r.cycles).sum();
    let unexplained: usize = rows.values().map(|r| r.unexplained).sum();
    assert!(rows.values().map(|r| r.requests).sum::<usize>() >= 300, "too few requests are recorded");
    assert!(unexplained * 100 <= requests, "{unexplained} of {requests} requests differ from Portage");
}

/// What is different from Portage's answer.
fn compare(recording: &Recording, request: &Recorded, answer: &Result<Resolution, Explanation>) -> Option<Difference> {
    let theirs: BTreeSet<String> = request.packages.iter().map(|i| recording.packages[*i].clone()).collect();
    let (cause, what) = match (answer, request.ok) {
        (Ok(resolution), true) => {
            let ours: BTreeSet<String> = resolution.plan.packages.iter().map(|p| recording.name_of(p)).collect();
            if ours == theirs {
                return None;
            }
            let (extra, lacking): (Vec<_>, Vec<_>) = (ours.difference(&theirs).collect(), theirs.difference(&ours).collect());
            (Cause::Unexplained, format!("of {} packages, ours has also {extra:?} and lacks {lacking:?}", theirs.len()))
        }
        (Err(_), false) => return None,
        (Ok(resolution), false) if request.why == "circular" && !resolution.notes.is_empty() => {
            (Cause::PortageRefusesCycle, format!("a plan of {} packages", resolution.plan.packages.len()))
        }
        (Ok(resolution), false) => (
            if installed_serves(recording, request, resolution) { Cause::InstalledServes } else { Cause::Unexplained },
            format!("a plan of {} packages, where Portage says: {}", resolution.plan.packages.len(), request.why),
        ),
        (Err(explanation), true) => (Cause::Unexplained, format!("no plan: {explanation}")),
    };
    Some(Difference { atoms: request.atoms.clone(), opts: request.opts.clone(), cause, what })
}

/// Whether the base has something asked for that the plan leaves alone, in a request that Portage refuses for what is missing or masked.
fn installed_serves(recording: &Recording, request: &Recorded, resolution: &Resolution) -> bool {
    let has = |name: &str, cpv: &str| gentoo::Cpv::parse(cpv).is_ok_and(|c| c.cp() == name);
    let base = || request.installed.iter().filter_map(|i| recording.packages[*i].split('@').next());
    let mut names = request.atoms.iter().filter_map(|a| gentoo::Atom::parse(a).ok()).map(|a| a.cp());
    let left_alone = |name: String| base().any(|b| has(&name, b)) && !resolution.plan.packages.iter().any(|p| has(&name, &p.cpv));
    (request.why.starts_with("missing") || request.why.starts_with("masked")) && names.any(left_alone)
}

fn check_order(asker: &Asker<'_>, request: &Recorded, resolution: &Resolution) {
    let ignore_built = !request.opts.is_empty();
    let entries: Vec<&Entry> = resolution.plan.packages.iter().map(|p| asker.entry(p)).collect();
    let faults = order::faults(&entries, asker.implicit(), ignore_built);
    assert!(faults.is_empty(), "{:?}: {faults:?}", request.atoms);
    assert!(resolution.plan.packages.iter().all(|p| p.because.last().is_some_and(|b| b.starts_with("asked for as "))));
}

fn table(rows: &BTreeMap<String, Row>) -> String {
    let mut text = String::from(
        "| index | requests | largest plan | same plan | both refuse | Portage refuses a cycle, we plan | Portage refuses to merge again, the base serves | different |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    let mut all = Row::default();
    let line = |name: &str, r: &Row| {
        format!(
            "| {name} | {} | {} | {} | {} | {} | {} | {} |\n",
            r.requests, r.largest, r.same_plan, r.both_refuse, r.cycles, r.installed_serves, r.unexplained
        )
    };
    for (group, row) in rows {
        text.push_str(&line(group, row));
        all.requests += row.requests;
        all.largest = all.largest.max(row.largest);
        all.same_plan += row.same_plan;
        all.both_refuse += row.both_refuse;
        all.cycles += row.cycles;
        all.installed_serves += row.installed_serves;
        all.unexplained += row.unexplained;
    }
    text + &line("**all**", &all)
}

fn check_table(table: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/resolver.md");
    let known = std::fs::read_to_string(&path).unwrap();
    let (head, rest) = known.split_once("<!-- table -->\n").expect("docs/resolver.md has a place for the table");
    let (_, tail) = rest.split_once("<!-- end -->").expect("docs/resolver.md has an end of the table");
    check_file(&path, &format!("{head}<!-- table -->\n{table}<!-- end -->{tail}"));
}

fn check_file(path: &std::path::Path, found: &str) {
    if std::env::var_os("HATCHERY_UPDATE").is_some() {
        std::fs::write(path, found).unwrap();
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        known == found,
        "{} is out of date; run this test with HATCHERY_UPDATE=1 and look at what changed:\n{found}",
        path.display()
    );
}

/// Recordings must not rot: where the real Portage is at hand, it is asked some of the requests again.
#[test]
fn portage_still_says_what_was_recorded() {
    let oracle = std::env::var("ORACLE")
        .unwrap_or_else(|_| format!("{}/.cache/hatchery-oracle", std::env::var("HOME").unwrap_or_default()));
    let python = std::path::Path::new(&oracle).join("venv/bin/python");
    if !python.exists() || !have_shared("asking the real Portage") {
        println!("skipped: asking the real Portage needs {} (../shared/oracle/setup makes it)", python.display());
        return;
    }
    let mut asked: Vec<(String, usize)> = Vec::new();
    let recordings = recordings();
    for (group, recording) in recordings.iter().filter(|(g, _)| !g.contains("installed") && !g.contains("raw")) {
        // One small plan and one refusal of each group.
        for ok in [true, false] {
            let small = |r: &Recorded| r.ok == ok && r.packages.len() < 60 && r.wall < 1.5;
            asked.extend(recording.requests.iter().position(small).map(|at| (group.clone(), at)));
        }
    }
    let lines: String = asked
        .iter()
        .map(|(group, at)| {
            let request = &recordings[group].requests[*at];
            serde_json::json!({"index": group, "atoms": request.atoms, "opts": request.opts}).to_string() + "\n"
        })
        .collect();
    let mut child = std::process::Command::new(python)
        .arg(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/record_oracle.py"))
        .arg("--live")
        .arg(common::shared())
        .env("ORACLE", &oracle)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "record_oracle.py failed");
    let answers: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(answers.len(), asked.len());
    for ((group, at), answer) in asked.iter().zip(answers) {
        let (recording, request) = (&recordings[group], &recordings[group].requests[*at]);
        let recorded: BTreeSet<&str> = request.packages.iter().map(|i| recording.packages[*i].as_str()).collect();
        let now: BTreeSet<&str> = answer["packages"].as_array().unwrap().iter().filter_map(|p| p.as_str()).collect();
        assert_eq!(answer["ok"], request.ok, "{group} {:?}: {answer}", request.atoms);
        assert!(!request.ok || now == recorded, "{group} {:?}", request.atoms);
    }
    println!("asked Portage {} requests again", asked.len());
}
