//! What goes wrong around a site and inside it: processes killed, networks cut, disks full, clocks that differ, mirrors that lie.

mod alone;
mod mirrors;
mod network;
mod shared;
mod steps;

use serde_json::Value;

/// Where a site keeps the files of a finished order: its images, and what a small download of each needs. Its other documents are in
/// the database.
fn places(order: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let list = |name: &str| order[name].as_array().expect("a list").iter().map(|file| text(&file["name"])).collect::<Vec<_>>();
    let control_files = list("documents").into_iter().filter(|name| name.ends_with(".zsync"));
    let place = |name| format!("{}/{}/{name}", text(&order["build"]), order["attempt"]);
    list("artifacts").into_iter().chain(control_files).map(place).collect()
}
