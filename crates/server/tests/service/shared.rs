//! Two servers on one PostgreSQL, which is killed under them.

use std::path::Path;

use contract::lease::{Lease, LeaseRequest, PROTOCOL};
use contract::{Event, Format, Step};

use crate::backend::{self, on_s3};
use crate::common::{Setup, Site, artifact, content, folder, order, ready, wait_until};
use crate::live::Listener;
use crate::services::{self, Process};

fn site_on(dir: &Path, name: &str, database: &str) -> Site {
    let dir = dir.join(name);
    std::fs::create_dir(&dir).unwrap();
    Site::start_with(
        &dir,
        &Setup {
            top: format!("database = '{database}'\nwebhooks_inside = true"),
            tables: "[limits]\nplans_per_minute = 20\n".into(),
            ..Setup::default()
        },
    )
}

/// The database is killed before and after whatever a worker says in the course of a build; the worker says it again, at the other server.
fn killed_at_every_step(one: &Site, other: &Site, mut postgres: Process, dir: &Path, port: u16) -> Process {
    let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
    wish.system.hostname = Some("killed".into());
    let placed = one.order(&wish);
    let mut lease: Option<Lease> = None;
    wait_until("the build is given out", || {
        lease = other.lease();
        lease.is_some()
    });
    let lease = lease.unwrap();
    for (batch, step) in (0..).zip(Step::ALL) {
        let say = |done| {
            vec![Event::Progress { step, done, total: 2, what: "bash".into() }, Event::Log { line: format!("{step:?} {done}") }]
        };
        assert_eq!(other.events(&lease, 2 * batch, say(1)), Ok(false));
        drop(postgres);
        postgres = services::run_postgres(&dir.join("postgres"), port);
        wait_until("the worker is heard again", || one.events(&lease, 2 * batch + 1, say(2)) == Ok(false));
        // What was said before the kill was kept, and saying it again changes nothing.
        assert_eq!(other.events(&lease, 2 * batch, say(1)), Ok(false));
    }
    let (name, bytes) = (artifact(&lease, Format::Zip).name, content(Format::Zip));
    wait_until("the image is taken", || one.upload(&lease, &name, &bytes) == 204);
    drop(postgres);
    postgres = services::run_postgres(&dir.join("postgres"), port);
    wait_until("the end is taken", || other.end(&lease, &ready(&lease)).status == 204);
    drop(postgres);
    postgres = services::run_postgres(&dir.join("postgres"), port);
    wait_until("the image is there", || one.get(&placed).status == 200 && one.state(&placed) == "ready");
    let status = one.status(&placed);
    assert_eq!((status["attempt"].as_u64(), status["artifacts"].as_array().map(Vec::len)), (Some(1), Some(1)), "{status}");
    let log = one.get(&format!("{placed}/log")).text();
    for step in Step::ALL {
        for done in [1, 2] {
            assert_eq!(log.matches(&format!("{step:?} {done}\n")).count(), 1, "each line once: {log}");
        }
    }
    assert_eq!(other.end(&lease, &ready(&lease)).status, 204, "the same end again changes nothing");
    postgres
}

#[test]
fn two_servers_are_one_site_and_outlive_their_database() {
    if on_s3() {
        // It has a database of its own to kill.
        return;
    }
    let (_dir, path) = folder();
    let Some((postgres, address)) = services::start_postgres(&path) else { return };
    let port = address.rsplit(':').next().unwrap().parse().unwrap();
    backend::execute(&format!("{address}/postgres"), "CREATE DATABASE site");
    let database = format!("{address}/site");
    let (one, other) = (site_on(&path, "one", &database), site_on(&path, "other", &database));
    let (url, heard) = services::receiver();

    // A worker that waits at one server gets what is ordered at the other, and a page that is open there moves.
    let asks = LeaseRequest {
        worker: "w".into(),
        arches: vec!["amd64".into()],
        protocol: PROTOCOL,
        wait_seconds: 25,
        ..Default::default()
    };
    let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
    wish.notify.webhook = Some(url);
    let (placed, mut page, lease) = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| other.lease_as(&asks));
        wait_until("the worker is known to both", || one.get("/healthz").json()["workers"] == 1);
        let placed = one.order(&wish);
        let page = Listener::start(&one, &placed, None);
        (placed, page, waiting.join().unwrap().expect("the order at one server is work at the other"))
    });
    let progress = Event::Progress { step: Step::Fetch, done: 1, total: 2, what: "bash".into() };
    assert_eq!(other.events(&lease, 0, vec![progress]), Ok(false));
    while page.next_of_any().data["progress"]["done"] != 1 {}

    // The database is killed in the middle of the build, and comes back.
    drop(postgres);
    let away = one.get("/readyz");
    assert_eq!((away.status, away.header("retry-after")), (503, "5"));
    let postgres = services::run_postgres(&path.join("postgres"), port);
    for site in [&one, &other] {
        wait_until("the server has its database again", || site.get("/readyz").status == 200);
    }
    assert_eq!(other.state(&placed), "building", "nothing is lost");
    wait_until("the worker is heard again", || one.events(&lease, 1, vec![]) == Ok(false));
    assert_eq!(one.upload(&lease, &artifact(&lease, Format::Zip).name, &content(Format::Zip)), 204);
    assert_eq!(one.end(&lease, &ready(&lease)).status, 204);
    assert_eq!(other.state(&placed), "ready");
    wait_until("it is told of", || !heard.lock().unwrap().is_empty());

    // News are heard again after the database was away.
    let second = one.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let mut page = Listener::start(&one, &second, None);
    // The server that did not take the order may be a moment late to hear of it.
    let mut lease = None;
    wait_until("the other server gives it out", || {
        lease = other.lease();
        lease.is_some()
    });
    let lease = lease.unwrap();
    while page.next_of_any().data["state"] != "building" {}
    other.build(&lease);
    assert_eq!(one.state(&second), "ready");
    assert_eq!(heard.lock().unwrap().len(), 1, "both servers looked at the outbox, and one told");

    let _postgres = killed_at_every_step(&one, &other, postgres, &path, port);

    // What a user may take is counted by both together: each alone would have let all of these through.
    let plan = order(&["app-shells/bash"], &[Format::Zip]);
    let answers = (0..19).flat_map(|_| [&one, &other]).map(|site| site.post_json("/api/v1/plan", &plan).status);
    assert!(answers.filter(|status| *status == 429).count() > 0);
    one.stop();
    other.stop();
}
