//! Composing needs no root: an ordinary user with user namespaces makes a whole system; without them it is refused before any work.

use std::path::Path;
use std::process::{Command, Output};

use e2e::{hatchery, sample_dir, user, workspace};
use serde_json::Value;

/// The configuration, and an order for the packages of the server preset.
fn prepare(dir: &Path) {
    let sample = sample_dir();
    let sample = sample.display();
    let config = format!(
        r#"data_dir = "data"
[[channel]]
name = "sample"
title = "Sample"
arch = "amd64"
profile = "{sample}/repo/profiles/default/linux/amd64/23.0"
[[channel.binhost]]
name = "sample"
uri = "file://{sample}/binhost"
keyring_file = "{sample}/key/certificate.asc"
"#
    );
    let preset = std::fs::read_to_string(workspace().join("presets/server.toml")).expect("the preset");
    let packages = preset
        .split_once("packages = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .expect("a list of packages")
        .0
        .trim_end()
        .trim_end_matches(',');
    let order =
        format!("arch = \"amd64\"\nchannel = \"sample\"\nformats = [\"tar.zst\"]\npackages = [{packages}, \"@system\"]\n");
    std::fs::write(dir.join("hatchery.toml"), config).expect("a file");
    std::fs::write(dir.join("order.toml"), order).expect("a file");
    std::fs::write(dir.join("token"), "0123456789abcdef0123456789abcdef\n").expect("a file");
    user::give(dir);
}

fn run(command: &mut Command, dir: &Path, arguments: &[&str]) -> Output {
    command.args(arguments).env("HATCHERY_DIR", "data").env_remove("HATCHERY_CONFIG").current_dir(dir).output().expect("it runs")
}

/// A command that runs Hatchery as an ordinary user in a user namespace that has no more of them to give.
fn without_namespaces() -> Command {
    let mut command = user::command(Path::new("unshare"));
    command.args([
        "--user",
        "--map-root-user",
        "--",
        "sh",
        "-c",
        "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$@\"",
        "sh",
    ]);
    command.arg(hatchery());
    command
}

fn namespaces_work() -> bool {
    let there = user::command(Path::new("unshare")).args(["--user", "--map-root-user", "true"]).output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        println!("skipped: this machine gives ordinary users no user namespaces");
    }
    there
}

const BUILD: [&str; 6] = ["build", "order.toml", "-o", "out", "--config", "hatchery.toml"];

#[test]
fn an_ordinary_user_composes_a_hundred_packages() {
    if !namespaces_work() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path());
    let output = run(&mut user::command(&hatchery()), dir.path(), &BUILD);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let made: Vec<_> =
        std::fs::read_dir(dir.path().join("out")).expect("images").map(|entry| entry.expect("a file").path()).collect();
    let lock = made.iter().find(|path| path.to_string_lossy().ends_with(".plan.json")).expect("a lock file");
    let plan: Value = serde_json::from_slice(&std::fs::read(lock).expect("the lock file")).expect("JSON");
    let packages = plan["packages"].as_array().expect("packages");
    println!("{} packages", packages.len());
    assert!(packages.len() >= 100, "only {} packages", packages.len());
    let scripts =
        packages.iter().filter(|package| package["defined_phases"].as_str().is_some_and(|phases| phases.contains("postinst")));
    assert!(scripts.count() >= 5, "hardly a package has scripts");
    assert!(made.iter().any(|path| path.to_string_lossy().ends_with(".tar.zst")), "{made:?}");
}

#[test]
fn without_user_namespaces_it_is_refused_at_start() {
    if !namespaces_work() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path());
    let work = ["work", "--server", "http://127.0.0.1:9", "--token-file", "token", "--dir", "work"];
    for arguments in [BUILD.as_slice(), work.as_slice()] {
        let output = run(&mut without_namespaces(), dir.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{said}");
        for words in ["package scripts cannot be run here", "no user namespace", "sysctl user.max_user_namespaces"] {
            assert!(said.contains(words), "“{words}” is missing in: {said}");
        }
    }
    for unused in ["out", "data/build/packages", "work/packages"] {
        let empty = std::fs::read_dir(dir.path().join(unused)).map_or(true, |mut children| children.next().is_none());
        assert!(empty, "{unused} is not empty");
    }
}
