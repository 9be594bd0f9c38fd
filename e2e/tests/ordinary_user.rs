//! Composing needs no root: an ordinary user with user namespaces makes a whole system; without them it is refused before any work.

use std::path::Path;
use std::process::{Command, Output};

use e2e::{hatchery, sample_dir, user, workspace};
use serde_json::Value;

/// The configuration, with `extra` at its top, and an order for the packages of the server preset.
fn prepare(dir: &Path, extra: &str) {
    let sample = sample_dir();
    let sample = sample.display();
    let config = format!(
        r#"data_dir = "data"
{extra}
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
    prepare(dir.path(), "signing_key_file = \"signing.key\"");
    let output = run(&mut user::command(&hatchery()), dir.path(), &["keygen", "Tests <tests@example.org>", "-o", "signing.key"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
    let image = made.iter().find(|path| path.to_string_lossy().ends_with(".tar.zst")).expect("an image");
    it_is_what_its_documents_say(dir.path(), image, lock);
}

/// What came with the image holds it to the last byte, and notices when one is another.
fn it_is_what_its_documents_say(dir: &Path, image: &Path, lock: &Path) {
    let verify = || {
        let arguments = ["verify", image.to_str().expect("a plain path"), "--certificate", "signing.key.asc"];
        let output = run(&mut user::command(&hatchery()), dir, &arguments);
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (good, said) = verify();
    assert!(good && said.contains("contents:  the image says of itself"), "{said}");
    let beside = |ending: &str| std::path::PathBuf::from(lock.to_string_lossy().replace("plan.json", ending));
    documents_are_valid(&beside("spdx.json"), &beside("cdx.json"), &beside("intoto.json"));

    // A certificate that lies beside the image counts, and it is said how little that shows.
    let certificate = dir.join("out/certificate.asc");
    std::fs::copy(dir.join("signing.key.asc"), &certificate).expect("the certificate");
    let output = run(&mut user::command(&hatchery()), dir, &["verify", image.to_str().expect("a plain path")]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("nothing here can show"), "{said}");

    // Another lock with checksums of its own: the signature is not of them.
    let text = std::fs::read_to_string(lock).expect("the lock");
    std::fs::write(lock, text.replacen("\"build_time\": 1", "\"build_time\": 2", 1)).expect("it is written");
    let (good, said) = verify();
    assert!(!good && said.contains("is not what was given out"), "{said}");
    for (program, list) in [("sha256sum", "SHA256SUMS"), ("sha512sum", "SHA512SUMS"), ("b2sum", "BLAKE2BSUMS")] {
        let names = std::fs::read_to_string(beside(list)).expect("a list");
        let names = names.lines().filter_map(|line| line.split_once("  ")).map(|(_, name)| name.to_owned());
        let output = Command::new(program).args(names).current_dir(dir.join("out")).output().expect("it runs");
        std::fs::write(beside(list), output.stdout).expect("it is written");
    }
    let (good, said) = verify();
    assert!(!good && said.contains("SHA512SUMS.asc does not hold"), "{said}");
    let output = run(&mut user::command(&hatchery()), dir, &["verify", image.to_str().expect("a plain path"), "--unsigned"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is another build in the image"), "{said}");
}

/// Asks the reference validators, where `scripts/setup test` has installed them.
fn documents_are_valid(spdx: &Path, cyclonedx: &Path, provenance: &Path) {
    let venv = e2e::test_venv();
    let python = venv.join("bin/python");
    if !Command::new(&python)
        .args(["-c", "import spdx_tools, cyclonedx, in_toto_attestation"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        println!("skipped: the validators of documents are not in {}", python.display());
        return;
    }
    let script = workspace().join("crates/attest/tests/attest/validate.py");
    let output = Command::new(python).arg(script).args([spdx, cyclonedx, provenance]).output().expect("it runs");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
fn without_user_namespaces_it_is_refused_at_start() {
    if !namespaces_work() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    prepare(dir.path(), "");
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
