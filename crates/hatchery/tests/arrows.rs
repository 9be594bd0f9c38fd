//! Holds the arrows between crates that ARCHITECTURE.md names: a dependency not listed there does not land.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const ARROWS: &[(&str, &[&str])] = &[
    ("advice", &["gentoo"]),
    ("attest", &["gentoo", "contract"]),
    ("gentoo", &[]),
    ("contract", &[]),
    ("image", &[]),
    ("queue", &[]),
    ("machine", &[]),
    ("zsync", &[]),
    ("resolver", &["gentoo", "contract"]),
    ("binhost", &["gentoo", "contract"]),
    ("composer", &["gentoo", "image", "contract"]),
    ("sample", &["gentoo", "binhost", "contract"]),
    ("server", &["advice", "attest", "resolver", "binhost", "gentoo", "contract", "queue"]),
    ("worker", &["attest", "composer", "image", "machine", "binhost", "gentoo", "contract", "zsync"]),
    (
        "hatchery",
        &[
            "attest", "server", "worker", "resolver", "binhost", "gentoo", "contract", "composer", "image", "machine", "sample",
            "zsync",
        ],
    ),
    ("e2e", &["machine"]),
    ("fuzz-targets", &["gentoo", "image", "composer", "contract"]),
];

#[test]
fn crates_depend_on_each_other_only_as_drawn() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "a crate came or went: draw its arrows");
    for package in packages {
        let name = package["name"].as_str().expect("name");
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            // What only tests use may point anywhere: it is not part of what ships.
            if dependency["kind"] == "dev" {
                continue;
            }
            let to = dependency["name"].as_str().expect("name");
            assert!(!ours.contains(to) || allowed[name].contains(&to), "{name} must not depend on {to}");
        }
    }
}
