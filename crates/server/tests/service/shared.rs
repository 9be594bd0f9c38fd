//! Two servers on one PostgreSQL, which is killed under them.

use std::path::Path;

use contract::lease::{LeaseRequest, PROTOCOL};
use contract::{Event, Format, Step};

use crate::backend::{self, on_s3};
use crate::common::{Setup, Site, artifact, content, folder, order, ready, wait_until};
use crate::live::Listener;
use crate::services;

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
    assert_eq!(one.get("/readyz").status, 503);
    let _postgres = services::run_postgres(&path.join("postgres"), port);
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

    // What a user may take is counted by both together: each alone would have let all of these through.
    let plan = order(&["app-shells/bash"], &[Format::Zip]);
    let answers = (0..19).flat_map(|_| [&one, &other]).map(|site| site.post_json("/api/v1/plan", &plan).status);
    assert!(answers.filter(|status| *status == 429).count() > 0);
    one.stop();
    other.stop();
}
