//! What one user may take, and who may order at all.

use contract::{Format, Order};
use serde_json::{Value, json};

use crate::common::{Answer, Setup, Site, failed, folder, operator_token, order};

fn wish(hostname: &str) -> Order {
    let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
    wish.system.hostname = Some(hostname.into());
    wish
}

fn post_from(site: &Site, address: &str, path: &str, wish: &Order) -> Answer {
    let body = serde_json::to_string(wish).unwrap();
    site.post_with(path, &body, &[("Content-Type", "application/json"), ("X-Forwarded-For", address)])
}

fn order_from(site: &Site, address: &str, hostname: &str) -> Answer {
    post_from(site, address, "/api/v1/orders", &wish(hostname))
}

fn limits(tables: &str) -> Setup {
    Setup { top: "behind_proxy = true".into(), tables: format!("[limits]\n{tables}\n"), ..Setup::default() }
}

fn retry_after(answer: &Answer) -> u32 {
    assert_eq!(answer.status, 429, "{}", answer.text());
    answer.header("retry-after").parse().unwrap()
}

#[test]
fn a_flood_is_turned_away_and_nobody_else_waits_for_it() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &limits("open_orders = 5\nplans_per_minute = 1000000\norders_per_hour = 1000000"));
    let answers: Vec<Answer> = (0..60).map(|i| order_from(&site, "192.0.2.1", &format!("flood{i}"))).collect();
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 5);
    assert!(retry_after(answers.last().unwrap()) > 0);
    assert!(
        answers.last().unwrap().json()["detail"].as_str().unwrap().contains("5 of your orders"),
        "{}",
        answers.last().unwrap().text()
    );
    let other = order_from(&site, "192.0.2.2", "other");
    assert_eq!((other.status, other.json()["position"].as_u64()), (201, Some(2)));
    // Whoever cancels may order again.
    let first = answers[0].header("location").to_owned();
    assert_eq!(site.post(&format!("{first}/cancel"), "text/plain", "").status, 200);
    assert_eq!(order_from(&site, "192.0.2.1", "again").status, 201);
    site.stop();
}

#[test]
fn a_flood_leaves_the_wait_of_others_within_twice_of_what_it_was() {
    let orders = std::env::var("HATCHERY_FLOOD").map_or(1_000, |number| number.parse().unwrap());
    let (_dir, path) = folder();
    let lifted = "open_orders = 100\nplans_per_minute = 1000000\norders_per_hour = 1000000\nsite_orders_per_hour = 1000000";
    let site = Site::start_with(&path, &limits(lifted));
    let position = |answer: Answer| answer.json()["position"].as_u64().unwrap_or_else(|| panic!("{}", answer.text()));
    for user in 0..6 {
        assert_eq!(order_from(&site, &format!("198.51.100.{user}"), &format!("before{user}")).status, 201);
    }
    let quiet = order_from(&site, "203.0.113.1", "quiet");
    let (id, before) = (quiet.header("location").to_owned(), position(quiet));
    let taken = (0..orders).filter(|i| order_from(&site, "192.0.2.1", &format!("flood{i}")).status == 201).count();
    assert_eq!(taken, 100, "the rest is refused");
    let now = site.status(&id)["position"].as_u64().unwrap();
    let after = position(order_from(&site, "203.0.113.2", "after"));
    println!("of {orders} orders {taken} were taken; place {before} before the flood, {now} after it, {after} for the next user");
    assert!(now <= 2 * before && after <= 2 * (before + 1), "{before} builds were before it, {now} now, {after} for the next");
    // Workers get them in that order.
    let turns = std::iter::from_fn(|| site.lease()).take(2 * (before as usize + 1));
    let turns: Vec<String> = turns.filter_map(|lease| lease.job.system.hostname).collect();
    assert!(turns.iter().any(|host| host == "quiet") && turns.iter().any(|host| host == "after"), "{turns:?}");
    site.stop();
}

#[test]
fn each_limit_says_what_it_is_and_when_to_come_again() {
    let (_dir, path) = folder();
    let site = Site::start_with(
        &path,
        &limits("orders_per_hour = 2\nsite_orders_per_hour = 4\nplans_per_minute = 5\nmax_installed_bytes = 20000"),
    );
    for i in 0..2 {
        assert_eq!(order_from(&site, "192.0.2.1", &format!("h{i}")).status, 201);
    }
    let hour = order_from(&site, "192.0.2.1", "h2");
    assert!(
        (3_500..=3_600).contains(&retry_after(&hour)) && hour.text().contains("2 orders an hour from one user"),
        "{}",
        hour.text()
    );
    let planned = |address| post_from(&site, address, "/api/v1/plan", &wish("p"));
    assert_eq!((planned("192.0.2.1").status, planned("192.0.2.1").status), (200, 200));
    let minute = planned("192.0.2.1");
    assert!((1..=60).contains(&retry_after(&minute)) && minute.text().contains("5 plans a minute"), "{}", minute.text());
    for i in 0..2 {
        assert_eq!(order_from(&site, "192.0.2.2", &format!("i{i}")).status, 201);
    }
    let whole = order_from(&site, "192.0.2.3", "j");
    assert!(retry_after(&whole) > 3_000 && whole.text().contains("at most 4 orders an hour"), "{}", whole.text());
    site.stop();
    let site = Site::start_with(&path, &limits("max_installed_bytes = 100"));
    let large = order_from(&site, "192.0.2.4", "k");
    assert!(large.status == 422 && large.text().contains("fewer packages"), "{}", large.text());
    // The form tells the same.
    let form = site.form(&[("arch", "amd64"), ("packages", "app-shells/bash"), ("formats", "zip"), ("channel", "test")]);
    assert!(form.status == 422 && form.text().contains("fewer packages"), "{}", form.text());
    site.stop();
}

fn act(site: &Site, token: &str, what: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    site.post_with(
        "/api/v1/operator/access",
        &what.to_string(),
        &[("Content-Type", "application/json"), ("Authorization", &bearer)],
    )
}

fn order_with(site: &Site, headers: &[(&str, &str)], hostname: &str) -> Answer {
    let body = serde_json::to_string(&wish(hostname)).unwrap();
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    site.post_with("/api/v1/orders", &body, &all)
}

#[test]
fn on_trial_only_invited_users_order() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let operator = operator_token(&path);
    assert_eq!(act(&site, "wrong", json!({ "action": "invited-only" })).status, 401);
    let before = site.order(&wish("before"));
    assert_eq!(act(&site, &operator, json!({ "action": "invited-only" })).json()["access"], "invited");
    let refused = order_with(&site, &[], "a");
    assert!(refused.status == 403 && refused.text().contains("/log-in"), "{}", refused.text());
    assert_eq!(site.state(&before), "waiting", "what was ordered stays");
    let made = act(&site, &operator, json!({ "action": "add", "name": "larry", "role": "user" })).json();
    let token = made["token"].as_str().unwrap().to_owned();
    assert_eq!(act(&site, &operator, json!({ "action": "add", "name": "larry", "role": "user" })).status, 409);
    assert_eq!(act(&site, &operator, json!({ "action": "add", "name": "a b", "role": "user" })).status, 400);
    let bearer = format!("Bearer {token}");
    assert_eq!(order_with(&site, &[("Authorization", &bearer)], "b").status, 201);
    assert_eq!(order_with(&site, &[("Authorization", "Bearer hatchery_unknown")], "b").status, 401);
    // A browser logs in; the token itself is in no cookie.
    assert!(site.get("/log-in").text().contains("on trial"));
    let type_of = "application/x-www-form-urlencoded";
    assert_eq!(site.post("/log-in", type_of, "token=wrong").status, 403);
    let logged_in = site.post("/log-in", type_of, &format!("token={token}"));
    let cookie = logged_in.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(logged_in.status == 303 && !cookie.contains(&token), "{cookie}");
    assert_eq!(order_with(&site, &[("Cookie", &cookie)], "c").status, 201);
    let forged = cookie.replace("larry", "lenny");
    assert_eq!(order_with(&site, &[("Cookie", &forged)], "d").status, 403);
    // A user's token is not the operator's; an operator's is.
    assert_eq!(act(&site, &token, json!({ "action": "everybody" })).status, 403);
    let second = act(&site, &operator, json!({ "action": "add", "name": "olga", "role": "operator" })).json();
    let second = second["token"].as_str().unwrap().to_owned();
    let listed = act(&site, &second, json!({ "action": "revoke", "name": "larry" })).json();
    assert!(
        listed["tokens"].as_array().unwrap().iter().all(|token| token["name"] != "larry" && token["hash"].is_null()),
        "{listed}"
    );
    assert_eq!(order_with(&site, &[("Authorization", &bearer)], "e").status, 401);
    assert_eq!(order_with(&site, &[("Cookie", &cookie)], "e").status, 403);
    assert_eq!(act(&site, &second, json!({ "action": "everybody" })).status, 200);
    assert_eq!(order_with(&site, &[], "f").status, 201);
    site.stop();
}

#[test]
fn orders_that_come_at_once_are_counted_one_by_one() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &limits("open_orders = 5"));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let site = &site;
        let all: Vec<_> = (0..40).map(|i| scope.spawn(move || order_from(site, "192.0.2.1", &format!("h{i}")).status)).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 35, "{statuses:?}");
    site.stop();
}

#[test]
fn what_is_built_again_counts_as_what_is_ordered() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &limits("open_orders = 2"));
    let first = order_from(&site, "192.0.2.1", "first").header("location").to_owned();
    assert_eq!(site.end(&site.lease().unwrap(), &failed()).status, 204);
    let open = ["second", "third"].map(|host| order_from(&site, "192.0.2.1", host).header("location").to_owned());
    let again = || site.post(&format!("{first}/again"), "text/plain", "");
    assert!(again().text().contains("2 of your orders"), "{}", again().text());
    assert!(retry_after(&again()) > 0 && site.state(&first) == "failed");
    assert!(retry_after(&site.post(&format!("{}/again", first.replace("/api/v1", "")), "text/plain", "")) > 0, "on a page, too");
    assert_eq!(site.post(&format!("{}/cancel", open[0]), "text/plain", "").status, 200);
    assert_eq!(again().status, 200);
    assert_eq!(site.state(&first), "waiting");
    site.stop();
}
