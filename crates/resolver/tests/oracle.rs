//! Decides as Portage does: every recorded request is resolved again and compared with what the real `emerge --usepkgonly` chose.

mod common;

use std::collections::BTreeSet;

use common::{Asker, Trees, have_shared, id_of, recordings, wanted};

#[test]
fn the_same_packages_as_portage() {
    if !have_shared("the comparison with Portage") {
        return;
    }
    let trees = Trees::new();
    let (mut total, mut same_total) = (0, 0);
    let only = std::env::var("GROUP").ok();
    for (group, recording) in recordings() {
        if only.as_ref().is_some_and(|o| *o != group) {
            continue;
        }
        let mut asker = Asker::new(&recording, &trees);
        let (mut same, mut both_ok) = (0, 0);
        for (number, request) in recording.requests.iter().enumerate() {
            let started = std::time::Instant::now();
            let answer = asker.universe(request).resolve(&wanted(request));
            let took = started.elapsed();
            let theirs: BTreeSet<String> = request.packages.iter().map(|i| recording.packages[*i].clone()).collect();
            let verdict = match (&answer, request.ok) {
                (Ok(resolution), true) => {
                    let ours: BTreeSet<String> = resolution.plan.packages.iter().map(|p| id_of(&p.cpv, p.build_id)).collect();
                    let extra: Vec<_> = ours.difference(&theirs).cloned().collect();
                    let lacking: Vec<_> = theirs.difference(&ours).cloned().collect();
                    if extra.is_empty() && lacking.is_empty() {
                        both_ok += 1;
                        None
                    } else {
                        Some(format!("of {} extra {extra:?} lacking {lacking:?}", theirs.len()))
                    }
                }
                (Err(_), false) => None,
                (Ok(r), false) => {
                    Some(format!("we plan {}, Portage refuses: {} {:?}", r.plan.packages.len(), request.why, r.notes))
                }
                (Err(e), true) => Some(format!("we refuse, Portage plans {}: {e}", request.packages.len())),
            };
            match verdict {
                None => same += 1,
                Some(text) => println!(
                    "{group} #{number} {:?}{}: {text} ({took:?})",
                    request.atoms,
                    if request.opts.is_empty() { "" } else { " ignoring" }
                ),
            }
        }
        println!("{group}: {same} of {} same, {both_ok} with a plan", recording.requests.len());
        total += recording.requests.len();
        same_total += same;
    }
    println!("all: {same_total} of {total}");
}
