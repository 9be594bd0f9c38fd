//! A server, a worker and the database killed in the middle of every step of a build, all that the API knows of, and while an image is started.
//!
//! Something real holds the build in the step meanwhile: a mirror that falls silent, a sandbox that is stopped, files that take long to
//! compress, a storage that hangs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e::processes::{self, Running, descendants};
use e2e::{wait_closely_for, wait_for};
use serde_json::{Value, json};

use super::shared::{LIMIT, Shared, Victim};

/// What is killed in each step, one after the other. The worker is the last, as its build begins again after that.
const VICTIMS: [&str; 3] = ["database", "server", "worker"];
/// The argument by which `hatchery` is the sandbox of packages' scripts.
const SANDBOX: &str = "__phase-host";

/// What keeps a build in a step.
pub(super) enum Hold {
    /// The step takes longer than the killing.
    Long,
    /// Whatever runs in the image's sandbox is stopped.
    Sandbox,
    /// The storage is stopped.
    Storage,
}

/// The steps, an order that goes through each in a way that can be held, and how it is held.
fn steps(few: &[&'static str]) -> [(&'static str, Value, Hold); 5] {
    let with = |package: &'static str| [few, &[package]].concat();
    [
        // At the beginning, as no other build is to wait for the storage.
        ("upload", json!({}), Hold::Storage),
        // Nothing comes of this package for longer than the killing takes.
        ("fetch", json!({"channel": "mirror", "packages": with("app-arch/zip")}), Hold::Long),
        ("merge", json!({}), Hold::Sandbox),
        // The image's own localedef is all that runs while it is configured.
        ("configure", json!({"packages": with("app-arch/gzip"), "system": {"locales": ["de_DE.UTF-8"]}}), Hold::Sandbox),
        // No format takes longer to compress.
        ("write", json!({"formats": ["tar.xz"]}), Hold::Long),
    ]
}

pub(super) fn killed_in_every_step(shared: &mut Shared, few: &[&'static str]) {
    let mut killed = BTreeSet::new();
    let mut orders = Vec::new();
    for (step, wish, hold) in steps(few) {
        let began = Instant::now();
        let id = shared.order_of(&wish);
        let held = Held::begin(shared, &id, step, &hold);
        if let Hold::Storage = hold {
            assert_eq!(shared.sites[1].status("/readyz"), 503, "a balancer is told soon that the storage hangs");
        }
        for victim in VICTIMS {
            held.kill(shared, &id, victim);
            killed.insert((step.to_owned(), victim));
        }
        held.end();
        eprintln!("{step}: all killed within {:.1} s", began.elapsed().as_secs_f64());
        orders.push((step, id));
    }
    for (step, id) in orders {
        let ready = shared.ready(&id);
        assert_eq!(ready["attempt"], 2, "what was killed in “{step}” is built again once: {ready:#}");
    }
    let api = shared.sites[0].json("/api/v1/openapi.json");
    let all = api["components"]["schemas"]["Step"]["enum"].as_array().expect("the steps").clone();
    let expected = all.iter().flat_map(|step| VICTIMS.map(|victim| (step.as_str().expect("a step").to_owned(), victim)));
    assert_eq!(killed, expected.collect(), "each was killed in each step");
}

/// The same while an image is started before it is given out, which belongs to writing it. The machines of a worker that is gone end with it; the
/// build is begun again and then cancelled, as an image's whole start is another test's.
pub(super) fn killed_while_an_image_starts(shared: &mut Shared) {
    if !shared.boot_gate {
        return;
    }
    let began = Instant::now();
    shared.work_with_room();
    let packages = ["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils", "sys-apps/openrc"];
    let id = shared.order_of(&json!({"packages": packages, "formats": ["iso"]}));
    let mut held = Held::begin(shared, &id, "write", &Hold::Long);
    let worker = shared.workers[held.worker].as_ref().expect("it runs").id();
    held.processes = wait_for("a machine runs", LIMIT, || {
        let running = descendants(worker);
        running.iter().any(|process| process.is_program("qemu-system-x86_64")).then_some(running)
    });
    for victim in VICTIMS {
        held.kill(shared, &id, victim);
    }
    held.end();
    wait_for("the build is given to a worker again", LIMIT, || (shared.status(&id)["attempt"] == 2).then_some(()));
    shared.cancel(&id);
    eprintln!("boot gate: all killed and built again within {:.1} s", began.elapsed().as_secs_f64());
}

/// Whether the first attempt is at this step.
fn stands_in(shared: &Shared, id: &str, step: &str) -> bool {
    let status = shared.status(id);
    status["state"] == "building" && status["attempt"] == 1 && status["progress"]["step"] == step
}

/// A build that stands still.
pub(super) struct Held {
    step: &'static str,
    /// Which worker has it.
    worker: usize,
    /// The processes of that worker, which end with it.
    processes: Vec<Running>,
    stopped: Vec<u32>,
}

impl Held {
    /// Returns when the build is at the step.
    pub(super) fn begin(shared: &Shared, id: &str, step: &'static str, hold: &Hold) -> Held {
        let mut stopped = Vec::new();
        if let Hold::Storage = hold {
            stopped.push(shared.storage.process.id());
            processes::signal("STOP", &stopped);
        }
        let build = shared.status(id)["build"].as_str().expect("a build").to_owned();
        let worker = at_once("a worker has it", || (0..2).find(|worker| shared.has_leased(*worker, &build)));
        let process = shared.workers[worker].as_ref().expect("it runs").id();
        if let Hold::Sandbox = hold {
            stopped = stop_sandbox(shared, id, step, process);
        }
        at_once(&format!("the build is at “{step}”"), || {
            let status = shared.status(id);
            assert_eq!((&status["state"], &status["attempt"]), (&json!("building"), &json!(1)), "{status:#}");
            (status["progress"]["step"] == step).then_some(())
        });
        Held { step, worker, processes: descendants(process), stopped }
    }

    /// Kills something while the build stands in its step.
    fn kill(&self, shared: &mut Shared, id: &str, victim: &str) {
        assert!(stands_in(shared, id, self.step), "before the {victim} is killed: {:#}", shared.status(id));
        shared.kill(match victim {
            "database" => Victim::Postgres,
            "server" => Victim::Server(self.worker),
            _ => Victim::Worker(self.worker),
        });
        // What was killed was killed in this step: what a worker that is gone now had begun before, it had told.
        assert!(stands_in(shared, id, self.step), "after the {victim} was killed: {:#}", shared.status(id));
    }

    /// Lets go what was stopped.
    pub(super) fn let_go(&self) {
        processes::signal("CONT", &self.stopped);
    }

    /// Lets go what was stopped. Nothing of a worker is left that was killed.
    fn end(self) {
        self.let_go();
        wait_for("what the worker had started ends with it", LIMIT, || {
            let left: Vec<&Running> = self.processes.iter().filter(|process| process.is_there()).collect();
            if !left.is_empty() {
                eprintln!("still there: {left:?}");
            }
            left.is_empty().then_some(())
        });
    }
}

/// Stops the sandbox that runs something in the step; those of other steps go on.
fn stop_sandbox(shared: &Shared, id: &str, step: &str, worker: u32) -> Vec<u32> {
    let mut others: BTreeSet<u32> = BTreeSet::new();
    at_once(&format!("something runs in the sandbox for “{step}”"), || {
        let found = descendants(worker).into_iter().filter(|process| process.has_argument(SANDBOX));
        let found: Vec<u32> = found.map(|process| process.id).filter(|id| !others.contains(id)).collect();
        if found.is_empty() {
            return None;
        }
        processes::signal("STOP", &found);
        // That a step begins is told at once.
        std::thread::sleep(Duration::from_millis(300));
        if shared.status(id)["progress"]["step"] == step {
            return Some(found);
        }
        processes::signal("CONT", &found);
        others.extend(found);
        None
    })
}

/// As [`wait_for`], for what passes quickly.
fn at_once<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_closely_for(what, LIMIT, Duration::from_millis(5), ask)
}
