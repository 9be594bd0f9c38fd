//! A worker on another machine, with the network between it and the site cut and slowed.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use e2e::network::Namespace;
use e2e::site::Site;
use e2e::worker::Worker;
use e2e::{hatchery, user, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(180);

fn order(site: &Site, hostname: &str) -> String {
    let order = json!({
        "arch": "amd64", "channel": "sample", "packages": ["@system"], "formats": ["tar.gz"], "system": {"hostname": hostname},
    });
    let (code, placed) = site.order(&order);
    assert_eq!(code, 201, "{placed}");
    placed["id"].as_str().expect("an id").to_owned()
}

fn status(site: &Site, id: &str) -> Value {
    site.json(&format!("/api/v1/orders/{id}"))
}

/// The files that a site keeps: `BUILD/ATTEMPT/NAME`.
fn kept(dir: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).map(|entries| entries.map(|e| e.expect("an entry").path()).collect::<Vec<_>>());
        entries.unwrap_or_default()
    };
    let root = dir.join("data/artifacts");
    for file in names(&root).iter().flat_map(|build| names(build)).flat_map(|attempt| names(&attempt)) {
        files.insert(file.strip_prefix(&root).expect("it is below").display().to_string());
    }
    files
}

#[test]
fn a_network_that_is_cut_and_slow_loses_nothing_and_doubles_nothing() {
    let Some(wire) = Namespace::new() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let mut site = Site::without_worker(dir.path(), "");
    let work = dir.path().join("work");
    std::fs::create_dir(&work).expect("a folder");
    user::give(&work);
    let server = format!("http://{}:{}", wire.address, site.port());
    let worker = Worker::start(wire.command(&hatchery()), &server, &dir.path().join("data/worker.token"), &work);

    // Cut for longer than a lease lives (5 s): the build goes back to the queue, and the worker that comes back gets it again.
    let first = order(&site, "first");
    wait_for("the build is under way", LIMIT, || (status(&site, &first)["progress"]["step"] == "merge").then_some(()));
    wire.cut(true);
    wait_for("its worker is taken for lost", LIMIT, || (status(&site, &first)["state"] == "waiting").then_some(()));
    wire.cut(false);
    let ready = site.wait(&first, "ready", LIMIT);
    assert_eq!(ready["attempt"], 2, "{ready:#}");

    // A slow wire only takes longer, and cut for a moment while the image is sent it costs no second attempt.
    wire.slow(40);
    let second = order(&site, "second");
    wait_for("the image is sent", LIMIT, || {
        let status = status(&site, &second);
        (status["progress"]["step"] == "upload" || status["state"] == "ready").then_some(())
    });
    wire.cut(true);
    std::thread::sleep(Duration::from_secs(2));
    wire.cut(false);
    let ready = site.wait(&second, "ready", LIMIT);
    assert_eq!(ready["attempt"], 1, "{ready:#}");

    // What is kept is what was given out, once the site has looked; and it is whole.
    site.kill();
    site.resume();
    let orders = [first, second].map(|id| (status(&site, &id), id));
    let expected: BTreeSet<String> = orders.iter().flat_map(|(order, _)| super::places(order)).collect();
    wait_for("only what was given out is kept", Duration::from_secs(20), || (kept(dir.path()) == expected).then_some(()));
    for (order, _) in &orders {
        let (code, bytes) = site.download(order["artifacts"][0]["url"].as_str().expect("an address"), 0);
        assert_eq!((code, Some(bytes.len() as u64)), (206, order["artifacts"][0]["size"].as_u64()));
    }
    drop(worker);
}
