//! Orders that are kept fresh.

use std::path::Path;

use contract::Format;

use crate::common::{Setup, Site, folder, make_channel, order, wait_until};
use crate::notices::{Browser, Receiver};

fn setup() -> Setup {
    Setup {
        top: "index_ttl_seconds = 1\n".into(),
        tables: "[limits]\nfresh_orders = 1\nfresh_hours = 0\nfresh_unclaimed = 2\n".into(),
        ..Setup::default()
    }
}

/// The channel gets this version of the shell instead of the one that it has.
fn publish(dir: &Path, old: &str, new: &str) {
    let binhost = dir.join("binhost");
    let index = std::fs::read_to_string(binhost.join("Packages")).unwrap();
    assert!(index.contains(&format!("bash-{old}")));
    std::fs::write(binhost.join(format!("app-shells/bash-{new}.gpkg.tar")), "").unwrap();
    let index = index.replace(&format!("bash-{old}"), &format!("bash-{new}"));
    std::fs::write(binhost.join("Packages.new"), index).unwrap();
    std::fs::rename(binhost.join("Packages.new"), binhost.join("Packages")).unwrap();
}

/// The order that takes an order's place, once there is one.
fn newest(site: &Site, order: &str) -> String {
    wait_until("it is ordered again", || !site.status(order)["fresh"]["newest"].is_null());
    let page = site.status(order)["fresh"]["newest"].as_str().unwrap().to_owned();
    format!("/api/v1/orders/{}", page.rsplit_once('/').unwrap().1)
}

#[test]
fn what_is_kept_fresh_is_ordered_again_until_nobody_fetches_it() {
    let (_dir, path) = folder();
    make_channel(&path.join("binhost"));
    let site = Site::start_with(&path, &setup());
    let mut first = order(&["app-shells/bash"], &[Format::Zip]);
    first.system.root_password_hash = Some("$6$rounds=5000$abcdefgh$0123456789".into());
    let (first, other) = (site.order(&first), site.order(&order(&["dev-vcs/git"], &[Format::Zip])));
    assert_eq!(site.put_json(&format!("{first}/fresh"), &serde_json::Value::Null).status, 200);
    assert_eq!(site.put_json(&format!("{first}/fresh"), &serde_json::Value::Null).status, 200, "a second time changes nothing");
    let refused = site.put_json(&format!("{other}/fresh"), &serde_json::Value::Null);
    assert_eq!(refused.status, 429, "{}", refused.text());
    for _ in 0..2 {
        site.build(&site.lease().unwrap());
    }
    let page = first.replace("/api/v1", "");
    assert!(site.get(&page).text().contains(&format!("{page}/fresh/stop")));

    publish(&path, "5.2_p15", "5.3");
    let second = newest(&site, &first);
    let status = site.status(&second);
    let changes: Vec<&str> = status["fresh"]["changes"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    assert_eq!(changes, ["1 upgraded", "upgraded app-shells/bash 5.2_p15 → 5.3"]);
    assert_eq!(status["fresh"]["kept"], true);
    assert_eq!((&status["state"], &status["position"]), (&"waiting".into(), &1.into()), "it waits its turn as any order does");
    assert!(site.get(&page).text().contains("A newer image has taken its place"));
    let refused = site.put_json(&format!("{first}/fresh"), &serde_json::Value::Null);
    assert_eq!(refused.status, 429, "the old one has had its day");
    let lease = site.lease().unwrap();
    assert_eq!(lease.job.plan.packages[0].cpv, "app-shells/bash-5.3");
    assert!(lease.job.system.root_password_hash.is_some(), "the settings are as ordered, secrets among them");
    site.build(&lease);

    // Nobody has fetched either of the two.
    publish(&path, "5.3", "5.4");
    wait_until("it is let be", || site.status(&second)["fresh"]["kept"] == false);
    assert!(site.status(&second)["fresh"]["ended"].as_str().unwrap().contains("nobody fetched"));
    // Whoever wants it again says so, and it goes on once the image was fetched.
    let file = site.status(&second)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).status, 200);
    assert_eq!(site.put_json(&format!("{second}/fresh"), &serde_json::Value::Null).status, 200);
    let third = newest(&site, &second);
    assert_eq!(site.post(&format!("{}/fresh/stop", third.replace("/api/v1", "")), "text/plain", "").status, 303);
    assert_eq!(site.status(&third)["fresh"]["kept"], false);
    assert_eq!(site.put_json(&format!("{other}/fresh"), &serde_json::Value::Null).status, 200, "there is room for another");
    site.stop();
}

#[test]
fn browsers_are_told_of_what_was_ready_before_it_was_ordered_anew() {
    let (_dir, path) = folder();
    make_channel(&path.join("binhost"));
    let receiver = Receiver::start();
    let mut setup = setup();
    setup.top += "webhooks_inside = true\n";
    setup.tables += "orders_per_hour = 3000\nplans_per_minute = 3000\n";
    let site = Site::start_with(&path, &setup);
    let wish = order(&["app-shells/bash"], &[Format::Zip]);
    let kept = site.order(&wish);
    site.build(&site.lease().unwrap());
    let subscription = Browser::new().subscription(&receiver.url("/push"));
    assert_eq!(site.put_json(&format!("{kept}/push"), &subscription).status, 204);

    // Somebody else has the new image made before the order is kept fresh.
    publish(&path, "5.2_p15", "5.3");
    let mut other = String::new();
    wait_until("the channel's news are known", || {
        other = site.order(&wish);
        site.state(&other) == "waiting"
    });
    site.build(&site.lease().unwrap());
    assert!(receiver.of("/push").is_empty(), "the image that it was told of is the old one");
    assert_eq!(site.put_json(&format!("{kept}/fresh"), &serde_json::Value::Null).status, 200);
    wait_until("the browser is told", || receiver.of("/push").len() == 1);
    assert_eq!(site.status(&newest(&site, &kept))["build"], site.status(&other)["build"], "nothing was built for it");
    site.stop();
}
