//! Whose turn it is, and what is said of when.

use std::path::Path;

use contract::Format;
use contract::lease::EndReport;
use serde_json::{Value, json};

use crate::backend::{self, execute, texts};
use crate::common::{Setup, Site, failed, folder, operator_token, order};
use crate::keeping::act;

/// Makes everything so much older, what was said of times too. The site must not be running.
fn days_go_by(dir: &Path, days: i64) {
    crate::common::days_go_by(dir, days);
    execute(&backend::of(dir).database, &format!("UPDATE promises SET made = made - {0}, ended = ended - {0}", days * 86_400));
}

/// Places an order from an address; its path in the API.
fn order_from(site: &Site, address: &str, packages: &[&str], hostname: &str) -> String {
    let mut wish = order(packages, &[Format::Zip]);
    wish.system.hostname = Some(hostname.into());
    let body = serde_json::to_string(&wish).unwrap();
    let headers = [("Content-Type", "application/json"), ("X-Forwarded-For", address)];
    let answer = site.post_with("/api/v1/orders", &body, &headers);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.header("location").to_owned()
}

fn behind_proxy() -> Setup {
    Setup { top: "behind_proxy = true".into(), ..Setup::default() }
}

#[test]
fn a_tenth_order_waits_for_anothers_first() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &behind_proxy());
    let many: Vec<String> = (0..10).map(|i| order_from(&site, "192.0.2.1", &["app-shells/bash"], &format!("h{i}"))).collect();
    let other = order_from(&site, "198.51.100.7, 192.0.2.99", &["dev-vcs/git"], "other");
    let positions: Vec<u64> = many.iter().map(|o| site.status(o)["position"].as_u64().unwrap()).collect();
    assert_eq!(positions, [1, 3, 4, 5, 6, 7, 8, 9, 10, 11], "in their order, but for the other's");
    assert_eq!(site.status(&other)["position"], 2);
    let first = site.lease().unwrap();
    assert_eq!(first.job.system.hostname.as_deref(), Some("h0"));
    assert_eq!(site.lease().unwrap().job.system.hostname.as_deref(), Some("other"));
    assert_eq!(site.lease().unwrap().job.system.hostname.as_deref(), Some("h1"));
    site.stop();
}

#[test]
fn who_lets_images_lie_waits_behind_who_picks_them_up() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &behind_proxy());
    let left = order_from(&site, "192.0.2.1", &["app-shells/bash"], "left");
    let taken = order_from(&site, "192.0.2.2", &["app-shells/bash"], "taken");
    for _ in 0..2 {
        site.build(&site.lease().unwrap());
    }
    let file = site.status(&taken)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    assert_eq!(site.state(&left), "ready");
    site.stop();
    days_go_by(&path, 2);
    let site = Site::start_with(&path, &behind_proxy());
    let first = order_from(&site, "192.0.2.1", &["dev-vcs/git"], "a");
    let second = order_from(&site, "192.0.2.2", &["dev-vcs/git"], "b");
    assert_eq!((site.status(&first)["position"].as_u64(), site.status(&second)["position"].as_u64()), (Some(2), Some(1)));
    // Whoever picks up what lies there is believed again.
    let file = site.status(&left)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    let third = order_from(&site, "192.0.2.3", &["dev-vcs/git"], "c");
    assert_eq!(site.status(&first)["position"], 1);
    assert_eq!(site.status(&third)["position"], 3);
    site.stop();
}

#[test]
fn a_range_is_named_from_the_plan_on_and_compared_with_what_came() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup::default());
    let nobody = site.order(&order(&["net-misc/openssh"], &[Format::Zip]));
    let ready = &site.status(&nobody)["ready"];
    assert!(ready["seconds"].is_null() && ready["text"].as_str().unwrap().contains("no worker"), "{ready}");
    site.build(&site.lease().unwrap());
    let told = |status: &Value| -> Vec<u64> {
        let ready = &status["ready"];
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{status}"));
        let (r90, r50) = (&ready["range90"], &ready["range50"]);
        vec![number(&r90[0]), number(&r50[0]), number(&ready["seconds"]), number(&r50[1]), number(&r90[1])]
    };
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let status = site.status(&placed);
    let range = told(&status);
    assert!(range.is_sorted() && range[4] > 0, "{range:?}");
    assert!(status["ready"]["text"].as_str().unwrap().contains("nine of ten times in"), "{status}");
    let joined = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert!(told(&site.status(&placed)).is_sorted());
    site.build(&lease);
    assert_eq!(site.status(&joined)["ready"]["text"], "ready");
    let stats = site.get("/api/v1/stats").json();
    assert_eq!((stats["delivered"].as_u64(), stats["promises"]["orders"].as_u64()), (Some(3), Some(2)), "{stats}");
    let page = site.get("/stats").text();
    assert!(page.contains("3 orders were delivered") && page.contains("Of the last 2 orders"), "{page}");
    // What failed was promised nothing that could be compared.
    site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let EndReport::Failed { failure } = failed() else { unreachable!() };
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &EndReport::Failed { failure }).status, 204);
    assert_eq!(site.get("/api/v1/stats").json()["promises"]["orders"], 2);
    site.stop();
}

/// Builds something first, so that there is a worker of which times are known; then two orders wait that are one build.
fn two_are_named_a_time(site: &Site, host: &str) -> [String; 2] {
    order_from(site, "192.0.2.1", &["net-misc/openssh"], host);
    site.build(&site.lease().unwrap());
    let placed = ["192.0.2.2", "192.0.2.3"].map(|address| order_from(site, address, &["app-shells/bash"], host));
    assert!(site.status(&placed[0])["ready"]["seconds"].is_u64());
    placed
}

/// Of the orders that were named a time, and once more of some that are by this, none counts as having taken long.
fn none_took_an_hour(site: &Site, dir: &Path) {
    two_are_named_a_time(site, "two");
    site.build(&site.lease().unwrap());
    let found = texts(&backend::of(dir).database, "SELECT CAST(max(actual) AS TEXT) FROM promises WHERE ended IS NOT NULL");
    let longest: f64 = found.first().expect("some order was named a time").parse().unwrap();
    assert!(longest < 3_600.0, "{longest} s");
}

#[test]
fn the_night_before_a_build_is_tried_again_is_no_lesson_about_times() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let [first, second] = two_are_named_a_time(&site, "one");
    assert_eq!(site.end(&site.lease().unwrap(), &failed()).status, 204);
    site.stop();
    days_go_by(&path, 1);

    let site = Site::start(&path);
    assert_eq!(site.post(&format!("{first}/again"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&second), "ready");
    none_took_an_hour(&site, &path);
    site.stop();
}

#[test]
fn what_waited_while_the_operator_held_the_queue_is_no_lesson_about_times() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let [first, _] = two_are_named_a_time(&site, "one");
    let token = operator_token(&path);
    assert_eq!(act(&site, &token, json!({ "action": "pause" })).status, 200);
    site.stop();
    days_go_by(&path, 1);

    let site = Site::start(&path);
    assert_eq!(act(&site, &token, json!({ "action": "open" })).status, 200);
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&first), "ready");
    none_took_an_hour(&site, &path);
    site.stop();
}

#[test]
fn who_has_an_old_image_since_a_moment_has_not_left_it() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &behind_proxy());
    order_from(&site, "192.0.2.1", &["app-shells/bash"], "same");
    site.build(&site.lease().unwrap());
    site.stop();
    days_go_by(&path, 2);

    let site = Site::start_with(&path, &behind_proxy());
    let joined = order_from(&site, "192.0.2.2", &["app-shells/bash"], "same");
    assert_eq!(site.state(&joined), "ready");
    let own = order_from(&site, "192.0.2.2", &["dev-vcs/git"], "own");
    let later = order_from(&site, "192.0.2.3", &["dev-vcs/git"], "later");
    let positions = [&own, &later].map(|order| site.status(order)["position"].as_u64());
    assert_eq!(positions, [Some(1), Some(2)], "who came first is first");
    site.stop();
}

#[test]
fn what_a_failed_build_took_is_not_forgotten_when_it_is_tried_again() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &behind_proxy());
    let failing = order_from(&site, "192.0.2.1", &["app-shells/bash"], "failing");
    assert_eq!(site.end(&site.lease().unwrap(), &failed()).status, 204);
    site.stop();
    execute(&backend::of(&path).database, "UPDATE builds SET started = started - 1200");

    let site = Site::start_with(&path, &behind_proxy());
    assert_eq!(site.post(&format!("{failing}/again"), "text/plain", "").status, 200);
    let other = order_from(&site, "192.0.2.2", &["dev-vcs/git"], "other");
    let positions = [&failing, &other].map(|order| site.status(order)["position"].as_u64());
    assert_eq!(positions, [Some(2), Some(1)], "the other has had nothing yet");
    site.stop();
}
