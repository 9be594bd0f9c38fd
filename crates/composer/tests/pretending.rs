//! pkg_pretend of every package runs before anything else does.

mod common;

use std::sync::Mutex;

use common::{Bench, Log, Pack, base_system, plan, planned, text};
use composer::{MergeRequest, Observer};
use contract::PlannedPackage;

/// Remembers in one list what was merged and what scripts said.
#[derive(Default)]
struct Course(Mutex<Vec<String>>);

impl Observer for Course {
    fn progress(&self, _done: u64, _total: u64, what: &str) {
        self.log(&format!("merging {what}"));
    }
    fn log(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn cancelled(&self) -> bool {
        false
    }
}

fn first() -> Pack {
    Pack::new("x/first-1").item("usr/share/first", text("1")).phases("pkg_postinst () \n{ \n elog first\n}\n")
}

fn last(body: &str) -> Pack {
    Pack::new("x/last-1").phases(&format!("pkg_pretend () \n{{ \n {body}\n}}\n"))
}

#[test]
fn over_a_base_the_last_packages_pretend_fails_before_the_first_is_merged() {
    let bench = Bench::new();
    let base = bench.merge(&[base_system()], &Log::default()).unwrap().tree;
    let packs = [first(), last("die \"not on this machine\"")];
    for hint in ["", "pretend"] {
        let mut plan = plan(packs.iter().map(|pack| planned(&pack.cpv)).collect());
        plan.packages[1].defined_phases = hint.into();
        let course = Course::default();
        let work_dir = bench.work_dir();
        let request = MergeRequest { plan: &plan, store: &bench.store, work_dir: &work_dir, notice: "", base: Some(&base) };
        let mut fetch =
            |wanted: &PlannedPackage| packs.iter().find(|pack| pack.cpv == wanted.cpv).map(Pack::build).ok_or("no such package");
        let error = composer::merge(request, &mut fetch, &course).unwrap_err();
        assert_eq!((error.package.as_deref(), error.phase.as_deref()), (Some("x/last-1"), Some("pkg_pretend")), "{error}");
        assert!(error.to_string().contains("not on this machine"), "{error}");
        let course = course.0.into_inner().unwrap().join("\n");
        assert!(!course.contains("merging") && !course.contains("pkg_postinst"), "{course}");
    }
}

#[test]
fn from_nothing_it_fails_before_any_other_script_has_run() {
    let bench = Bench::new();
    let log = Log::default();
    let error = bench.merge(&[first(), base_system(), first_again(), last("die no")], &log).unwrap_err();
    assert_eq!((error.package.as_deref(), error.phase.as_deref()), (Some("x/last-1"), Some("pkg_pretend")), "{error}");
    assert!(!log.text().contains("pkg_postinst"), "{}", log.text());
}

fn first_again() -> Pack {
    Pack { cpv: "x/second-1".into(), ..first() }.meta("PF", "second-1")
}

#[test]
fn it_sees_what_was_there_before_and_runs_once() {
    let bench = Bench::new();
    let old = Pack::new("x/last-0.5");
    let base = bench.merge(&[base_system(), old], &Log::default()).unwrap().tree;
    let pack =
        last("KEPT=1; has_version x/first && die order; has_version x/last || die last; elog \"replaces ${REPLACING_VERSIONS}\"")
            .item("usr/share/last", text("1"));
    let log = Log::default();
    let root = bench.merge_over(&base, &[first(), pack], &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    assert_eq!(root.messages, ["x/last-1: replaces 0.5", "x/first-1: first"]);
    assert_eq!(log.text().matches(">>> pkg_pretend").count(), 1, "{}", log.text());
}

/// Many run side by side, as onlookers that cannot change the root; one that must is run again, alone. What they say is in the plan's order.
#[test]
fn many_look_on_at_once_and_are_told_in_order() {
    let bench = Bench::new();
    let base = bench.merge(&[base_system()], &Log::default()).unwrap().tree;
    let body = |number: usize| match number {
        5 => ": > /written || die; elog wrote".to_owned(),
        // The first ones end last.
        number => format!(
            "sleep 0.{}; elog $(has_version app-shells/bash && echo {number}) $(: > /not 2>/dev/null || echo kept)",
            9 - number % 9
        ),
    };
    let pack = |number: usize| {
        let pretend = format!("pkg_pretend () \n{{ \n {}\n}}\n", body(number));
        Pack::new(&format!("x/p{number}-1")).phases(&pretend)
    };
    let packs: Vec<Pack> = (0..12).map(pack).collect();
    let log = Log::default();
    let root = bench.merge_over(&base, &packs, &log).unwrap_or_else(|error| panic!("{error}\n{}", log.text()));
    let onlooking = std::thread::available_parallelism().is_ok_and(|n| n.get() > 1);
    let said = |number: usize| match number {
        5 => "x/p5-1: wrote".to_owned(),
        number if onlooking => format!("x/p{number}-1: {number} kept"),
        number => format!("x/p{number}-1: {number}"),
    };
    assert_eq!(root.messages, (0..12).map(said).collect::<Vec<_>>());
    assert!(root.tree.contains("written"), "{}", log.text());
    assert_eq!(root.tree.contains("not"), !onlooking);
    assert_eq!(log.text().matches(">>> pkg_pretend").count(), 12, "{}", log.text());
    assert_eq!(std::fs::read_dir(bench.work_dir()).unwrap().count(), 0, "nothing is left behind");
}
