//! A site that is killed without warning, again and again, loses no order and ends with the same image.

use std::time::Duration;

use e2e::site::Site;
use e2e::{some_time, user};
use serde_json::{Value, json};

const KILLS: usize = 6;
const BUILD_LIMIT: Duration = Duration::from_secs(600);

fn order(hostname: &str) -> Value {
    json!({
        "arch": "amd64",
        "channel": "sample",
        "packages": ["@system"],
        "formats": ["tar.bz2"],
        "system": {"hostname": hostname},
    })
}

fn fresh_site(dir: &std::path::Path) -> Site {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    user::give(dir);
    Site::start(dir, "")
}

fn tar_of(status: &Value) -> String {
    status["artifacts"][0]["sha256"].as_str().expect("a checksum").to_owned()
}

#[test]
fn kill_dash_nine_again_and_again_loses_nothing() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut site = fresh_site(dir.path());
    let mut ids = Vec::new();
    for kill in 0..KILLS {
        // There is always a build to be interrupted: an order whose build ended in the meantime is followed by another.
        let open = ids.last().is_some_and(|id: &String| {
            let state = site.json(&format!("/api/v1/orders/{id}"))["state"].clone();
            state == "waiting" || state == "building"
        });
        if !open {
            let (code, placed) = site.order(&order(&format!("host{}", ids.len())));
            assert_eq!(code, 201, "{placed}");
            ids.push(placed["id"].as_str().expect("an id").to_owned());
        }
        let moment = some_time(Duration::from_secs(8));
        std::thread::sleep(moment);
        let status = site.json(&format!("/api/v1/orders/{}", ids.last().expect("an order")));
        eprintln!("kill {kill} after {:.1} s: {} {}", moment.as_secs_f64(), status["state"], status["progress"]);
        site.kill();
        site.resume();
    }
    let made: Vec<String> = ids.iter().map(|id| tar_of(&site.wait(id, "ready", BUILD_LIMIT))).collect();
    drop(site);

    let undisturbed = tempfile::tempdir().expect("a folder");
    let site = fresh_site(undisturbed.path());
    for (number, sha256) in made.iter().enumerate() {
        let (code, placed) = site.order(&order(&format!("host{number}")));
        assert_eq!(code, 201, "{placed}");
        let status = site.wait(placed["id"].as_str().expect("an id"), "ready", BUILD_LIMIT);
        assert_eq!(tar_of(&status), *sha256, "the image differs from that of an undisturbed site");
    }
}
