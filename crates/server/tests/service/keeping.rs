//! How long images are kept, building again, and what the operator does with the queue.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use contract::lease::EndReport;
use contract::{Evidence, EvidenceKind, Format};
use serde_json::{Value, json};

use crate::backend::{execute, of, on_s3, stored, while_written};
use crate::common::{
    Answer, Setup, Site, artifact, config, content, days_go_by, failed, folder, operator_token, order, ready, wait_until,
};
use crate::services;

#[test]
fn images_expire_and_are_built_again_from_their_lock() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let left = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let taken = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    for _ in 0..2 {
        site.build(&site.lease().unwrap());
    }
    let file = site.status(&taken)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    let build = site.status(&left)["build"].as_str().unwrap().to_owned();
    site.stop();
    days_go_by(&path, 5);
    let site = Site::start(&path);
    site.wait_for(&left, "expired");
    assert_eq!(site.state(&taken), "ready", "what was picked up is kept longer");
    wait_until("its files are removed", || stored(&path, &build).is_empty());
    let page = left.replace("/api/v1", "");
    assert!(site.get(&page).text().contains("Build it again"));
    let refused = site.post(&format!("{taken}/again"), "text/plain", "");
    assert!(refused.status == 409 && refused.text().contains("the order is ready"), "{}", refused.text());
    // Whoever orders the same anew gets a new build, and the old order is joined to it.
    assert_eq!(site.post(&format!("{page}/again"), "application/x-www-form-urlencoded", "").status, 303);
    assert_eq!(site.status(&left)["position"], 1);
    let lease = site.lease().unwrap();
    assert_eq!(lease.job.plan.packages[0].sha256.as_deref(), Some("a".repeat(64).as_str()), "it is built from the lock");
    site.build(&lease);
    assert_eq!(site.state(&left), "ready");
    let file = site.status(&left)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    site.stop();
    days_go_by(&path, 15);
    let site = Site::start(&path);
    site.wait_for(&taken, "expired");
    let again = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    assert_eq!(site.state(&again), "waiting", "what expired is not handed out");
    assert_eq!(site.post(&format!("{taken}/again"), "text/plain", "").status, 200);
    assert_eq!(site.status(&taken)["build"], site.status(&again)["build"]);
    site.stop();
}

#[test]
fn who_downloads_on_waits_for_no_writer() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.build(&site.lease().unwrap());
    let file = site.status(&placed)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    let part = while_written(&of(&path).database, || site.get_with(&file, &[("Range", "bytes=0-3")]));
    assert_eq!((part.status, part.body.len()), (206, 4), "{}", part.text());
    site.stop();
}

#[test]
fn what_failed_can_be_tried_again() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    assert_eq!(site.post(&format!("{placed}/again"), "text/plain", "").status, 409, "it waits");
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);
    assert_eq!(site.post(&format!("{placed}/again"), "text/plain", "").status, 200);
    let status = site.status(&placed);
    assert_eq!((status["state"].as_str(), status["failure"].is_null()), (Some("waiting"), true));
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&placed), "ready");
    let cancelled = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    assert_eq!(site.post(&format!("{cancelled}/cancel"), "text/plain", "").status, 200);
    let refused = site.post(&format!("{cancelled}/again"), "text/plain", "");
    assert!(refused.status == 409 && refused.text().contains("order the same anew"), "{}", refused.text());
    site.stop();
}

pub fn act(site: &Site, token: &str, what: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
    site.post_with("/api/v1/operator/queue", &what.to_string(), &headers)
}

#[test]
fn the_operator_holds_the_queue() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let token = operator_token(&path);
    let placed: Vec<String> =
        ["app-shells/bash", "dev-vcs/git", "net-misc/openssh"].iter().map(|p| site.order(&order(&[p], &[Format::Zip]))).collect();
    let builds: Vec<String> = placed.iter().map(|o| site.status(o)["build"].as_str().unwrap().to_owned()).collect();
    let positions = || -> Vec<u64> { placed.iter().map(|o| site.status(o)["position"].as_u64().unwrap_or(0)).collect() };
    assert_eq!(act(&site, "wrong", json!({ "action": "pause" })).status, 401);
    assert_eq!(act(&site, &token, json!({ "action": "first", "build": builds[2] })).status, 200);
    assert_eq!(positions(), [2, 3, 1]);
    assert_eq!(act(&site, &token, json!({ "action": "last", "build": builds[0] })).status, 200);
    assert_eq!(positions(), [3, 2, 1]);
    assert_eq!(act(&site, &token, json!({ "action": "usual", "build": builds[0] })).status, 200);
    assert_eq!(positions(), [2, 3, 1]);

    let view = act(&site, &token, json!({ "action": "pause" })).json();
    assert_eq!((view["gate"].as_str(), view["builds"][0]["id"].as_str()), (Some("paused"), Some(builds[2].as_str())));
    assert!(site.lease().is_none(), "nothing is given out");
    assert!(site.status(&placed[0])["ready"]["text"].as_str().unwrap().contains("paused"));
    assert!(view["builds"].as_array().unwrap().iter().all(|build| build["range90"].is_null()), "{view:#}");
    let page = site.get("/queue").text();
    assert!(page.contains("has paused the queue") && !page.contains("in turn"), "{page}");
    assert_eq!(act(&site, &token, json!({ "action": "first" })).status, 422, "which build?");
    site.stop();
    let site = Site::start(&path);
    assert!(site.lease().is_none(), "the word holds over a restart");
    assert_eq!(act(&site, &token, json!({ "action": "drain" })).status, 200);
    let refused = site.post_json("/api/v1/orders", &order(&["app-editors/vim"], &[Format::Zip]));
    assert_eq!(refused.status, 503);
    assert!(refused.text().contains("takes no orders"), "{}", refused.text());
    for path in ["/", "/queue"] {
        assert!(site.get(path).text().contains("takes no orders"), "{path} says so before anybody orders");
    }
    let lease = site.lease().unwrap();
    assert_eq!(lease.job.build, builds[2]);
    assert_eq!(act(&site, &token, json!({ "action": "cancel", "build": builds[2] })).status, 200);
    assert_eq!(site.events(&lease, 0, vec![]), Ok(true), "the worker is told");
    assert_eq!(site.state(&placed[2]), "cancelled");
    assert_eq!(site.end(&lease, &failed()).status, 204);
    assert_eq!(act(&site, &token, json!({ "action": "cancel", "build": builds[2] })).status, 409);
    assert_eq!(act(&site, &token, json!({ "action": "open" })).status, 200);
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);
    assert_eq!(act(&site, &token, json!({ "action": "retry", "build": lease.job.build })).status, 200);
    assert_eq!(site.state(&placed[0]), "waiting");
    site.stop();
}

#[test]
fn the_operators_page_acts_too() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(site.post("/operator/act", form, "action=pause").status, 403);
    let answer = site.post("/operator", form, &format!("operator_token={}", operator_token(&path)));
    let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
    let headers = [("Cookie", cookie.as_str()), ("Content-Type", form)];
    assert_eq!(site.post_with("/operator/act", "action=pause", &headers).status, 303);
    let page = site.get_with("/operator", &headers[..1]).text();
    assert!(page.contains("The queue is paused") && page.contains("value=\"first\""), "{page}");
    assert_eq!(site.post_with("/operator/act", "action=explode", &headers).status, 400);
    assert!(site.lease().is_none());
    site.stop();
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

/// Builds what waits and sends all that a worker makes beside an image; the names of that.
fn build_with_evidence(site: &Site) -> Vec<String> {
    let lease = site.lease().unwrap();
    let image = artifact(&lease, Format::Zip).name;
    assert_eq!(site.upload(&lease, &image, &content(Format::Zip)), 204);
    let evidence = |kind, ending: &str, firmware: &str| {
        let name = format!("{image}.{ending}");
        assert_eq!(site.upload(&lease, &name, format!("what is in {name}").as_bytes()), 204);
        Evidence { name, kind, format: Format::Zip, firmware: firmware.into() }
    };
    let all = vec![
        evidence(EvidenceKind::BootLog, "seabios.log", "SeaBIOS"),
        evidence(EvidenceKind::BootScreen, "seabios.png", "SeaBIOS"),
        evidence(EvidenceKind::Zsync, "zsync", ""),
    ];
    let names = all.iter().map(|evidence| evidence.name.clone()).collect();
    let EndReport::Ready { artifacts, plan, messages, .. } = ready(&lease) else { unreachable!() };
    let answer = site.end(&lease, &EndReport::Ready { artifacts, plan, messages, evidence: all });
    assert_eq!(answer.status, 204, "{}", answer.text());
    names
}

#[test]
fn a_backup_is_a_site() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let built = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let beside = build_with_evidence(&site);
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let (_other, other) = folder();
    let backup = other.join("backup");
    let from = config(&path, &Setup::default());
    block_on(server::backup(&from, &backup)).unwrap();
    let again = block_on(server::backup(&from, &backup));
    assert!(matches!(again, Err(server::BackupError::Exists(_))));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&backup), 0o700, "all orders are in it");
    let token = operator_token(&path);
    site.stop();

    let at = config(&other, &Setup::default());
    block_on(server::restore(&at, &backup)).unwrap();
    let site = Site::start(&other);
    assert_eq!((site.state(&built).as_str(), site.state(&waiting).as_str()), ("ready", "waiting"));
    assert_eq!(operator_token(&other), token);
    if !on_s3() {
        let file = site.status(&built)["artifacts"][0]["url"].as_str().unwrap().to_owned();
        assert_eq!(site.get(&file).body, content(Format::Zip));
        for name in &beside {
            let sent = site.get(&format!("{built}/artifacts/{name}"));
            assert_eq!((sent.status, sent.text()), (200, format!("what is in {name}")));
        }
    }
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&waiting), "ready");
    site.stop();
    let over = block_on(server::restore(&at, &backup));
    assert!(over.is_err(), "a site is not overwritten");

    let (_nobody, nowhere) = folder();
    let nowhere = server::Config { data_dir: nowhere.join("data"), database: None, ..from };
    let none = block_on(server::backup(&nowhere, &other.join("of-nothing"))).unwrap_err();
    assert!(none.to_string().contains("there is no site"), "{none}");
    assert!(block_on(server::migrate(&nowhere, 5)).is_err());
    assert!(!nowhere.data_dir.exists(), "nothing is made by looking for a site");
}

#[test]
fn a_database_with_a_password_is_backed_up_and_restored() {
    if on_s3() {
        // It has a database of its own.
        return;
    }
    let (_dir, path) = folder();
    let Some((postgres, address)) = services::start_postgres(&path) else { return };
    for statement in ["CREATE DATABASE site", "CREATE DATABASE restored", "ALTER ROLE hatchery PASSWORD 's@cret/1'"] {
        execute(&format!("{address}/postgres"), statement);
    }
    drop(postgres);
    std::fs::write(path.join("postgres/pg_hba.conf"), "host all all all scram-sha-256\n").unwrap();
    let _postgres = services::run_postgres(&path.join("postgres"), address.rsplit(':').next().unwrap().parse().unwrap());
    let address = address.replace("hatchery@", "hatchery:s%40cret%2F1@");
    let setup = |database: &str| Setup { top: format!("database = '{address}/{database}'"), ..Setup::default() };

    let site = Site::start_with(&path, &setup("site"));
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let (_other, other) = folder();
    block_on(server::backup(&config(&path, &setup("site")), &other.join("backup"))).unwrap();
    site.stop();
    block_on(server::restore(&config(&other, &setup("restored")), &other.join("backup"))).unwrap();
    let site = Site::start_with(&other, &setup("restored"));
    assert_eq!(site.state(&placed), "waiting");
    site.stop();
}

#[test]
fn a_file_of_sqlite_is_for_one_server() {
    if on_s3() {
        return;
    }
    let (_dir, path) = folder();
    let bind = || block_on(server::Server::bind(config(&path, &Setup::default())));
    let first = bind().unwrap();
    let refused = bind().err().unwrap();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert!(why.contains("another Hatchery works on this database"), "{refused}: {why}");
    drop(first);
    bind().unwrap();
}

#[test]
fn the_tables_go_back_and_forward_with_what_is_in_them() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let built = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.build(&site.lease().unwrap());
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let config = config(&path, &Setup::default());
    let migrate = |to| block_on(server::migrate(&config, to));
    let told = migrate(5).unwrap_err().to_string();
    assert!(told.contains("another Hatchery works on this database: stop it first"), "{told}");
    site.stop();
    migrate(5).unwrap();
    assert!(migrate(4).is_err() && migrate(server::NEWEST_TABLES + 1).is_err());
    migrate(server::NEWEST_TABLES).unwrap();
    migrate(5).unwrap();
    let site = Site::start(&path);
    assert_eq!((site.state(&built).as_str(), site.state(&waiting).as_str()), ("ready", "waiting"));
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&waiting), "ready");
    site.stop();
}
