//! A channel on a stage3: the base is found through its signed list, verified, and the order's packages are merged over what it has.
//! The stage3 is made from the sample channel, with the file layout of Gentoo's mirrors.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use binhost::openpgp::SigningKey;
use e2e::{hatchery, sample_dir, user};
use gentoo::gpkg::Signer;
use serde_json::Value;

const STAMP: &str = "20261122T000000Z";
/// Without a kernel and services, so that it packs in seconds.
const BASE: &[&str] = &["sys-apps/baselayout", "app-shells/bash", "sys-apps/coreutils", "sys-apps/sed", "sys-apps/grep"];

fn channel(dir: &Path, base: &str) -> String {
    format!(
        "data_dir = \"{dir}/data\"\n[[channel]]\nname = \"sample\"\ntitle = \"Sample\"\narch = \"amd64\"\n\
         profile = \"{sample}/repo/profiles/default/linux/amd64/23.0\"\n{base}\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n",
        dir = dir.display(),
        sample = sample_dir().display(),
    )
}

/// Builds an order of these packages; the tar and the plan.
fn build(dir: &Path, name: &str, packages: &[&str]) -> Result<(PathBuf, Value), String> {
    let order = format!("arch = \"amd64\"\nformats = [\"tar.xz\"]\npackages = {packages:?}\n");
    fs::write(dir.join("order.toml"), order).expect("the order is written");
    let output = user::build(dir, name);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    let files: Vec<_> = fs::read_dir(dir.join(name)).expect("images").flatten().map(|e| e.path()).collect();
    let with = |suffix: &str| files.iter().find(|p| p.to_string_lossy().ends_with(suffix)).expect("the file is there").clone();
    let plan = serde_json::from_slice(&fs::read(with(".plan.json")).expect("a lock")).expect("JSON");
    Ok((with(".tar.xz"), plan))
}

/// Puts a tarball where a mirror has it, with its list, DIGESTS and signatures.
fn publish(dir: &Path, tarball: &Path) -> PathBuf {
    let mirror = dir.join("autobuilds");
    let name = format!("stage3-amd64-openrc-{STAMP}.tar.xz");
    fs::create_dir_all(mirror.join(STAMP)).expect("a folder");
    let path = mirror.join(STAMP).join(&name);
    fs::rename(tarball, &path).expect("the tarball moves");
    let sum = |program: &str| {
        let output = Command::new(program).arg(&path).output().expect("it runs");
        String::from_utf8(output.stdout).expect("text").split(' ').next().expect("a hash").to_owned()
    };
    let digests = format!("# BLAKE2B HASH\n{}  {name}\n# SHA512 HASH\n{}  {name}\n", sum("b2sum"), sum("sha512sum"));
    let list = format!("# Latest\n# ts=1795305600\n{STAMP}/{name} {}\n", fs::metadata(&path).expect("it is there").len());
    let mut key = SigningKey::generate("A stage builder <stage@example.org>").expect("a key");
    fs::write(dir.join("stage.asc"), key.certificate().expect("a certificate")).expect("written");
    let beside = |end: &str| path.with_file_name(format!("{name}{end}"));
    fs::write(beside(".DIGESTS"), key.clear_sign(&digests).expect("signed")).expect("written");
    let mut tarball = fs::File::open(&path).expect("it is there");
    fs::write(beside(".asc"), key.detached(&mut tarball).expect("signed")).expect("written");
    let list_path = mirror.join("latest-stage3-amd64-openrc.txt");
    fs::write(&list_path, key.clear_sign(&list).expect("signed")).expect("written");
    list_path
}

#[test]
fn an_order_is_built_on_a_stage3() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    fs::write(path.join("hatchery.toml"), channel(path, "")).expect("the configuration is written");
    let (tarball, base_plan) = build(path, "stage", BASE).unwrap_or_else(|error| panic!("{error}"));
    let list = publish(path, &tarball);
    let on = format!("[channel.base]\nstage3 = \"file://{}\"\nkeyring_file = \"{}/stage.asc\"\n", list.display(), path.display());
    fs::write(path.join("hatchery.toml"), channel(path, &on)).expect("the configuration is written");

    let (tarball, plan) = build(path, "out", &["app-editors/nano"]).unwrap_or_else(|error| panic!("{error}"));
    let names = |plan: &Value, key: &str| -> Vec<String> {
        plan[key].as_array().expect("packages").iter().map(|p| p["cpv"].as_str().expect("a CPV").to_owned()).collect()
    };
    let (of_base, over_it) = (names(&base_plan, "packages"), names(&plan, "packages"));
    assert!(over_it.iter().any(|cpv| cpv.starts_with("app-editors/nano-")), "{over_it:?}");
    assert!(!over_it.iter().any(|cpv| of_base.contains(cpv)), "what the base has is merged again: {over_it:?}");
    assert_eq!(plan["base"]["path"], format!("{STAMP}/stage3-amd64-openrc-{STAMP}.tar.xz"));

    // The lock and the bills of materials name what the base brings, and the image has just that.
    let mut expected = of_base.clone();
    expected.sort();
    assert_eq!(names(&plan, "inherited"), expected);
    let verified = Command::new(hatchery()).arg("verify").arg(&tarball).arg("--unsigned").output().expect("it runs");
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let bill = fs::read_to_string(tarball.with_extension("").with_extension("spdx.json")).expect("a bill of materials");
    assert_eq!(bill.matches("\"pkg:ebuild/").count(), of_base.len() + over_it.len(), "{bill}");

    let root = path.join("root");
    fs::create_dir(&root).expect("a folder");
    let mut unpack = Command::new("tar");
    unpack.args(["--no-same-owner", "--exclude=./dev/*", "-xf"]).arg(&tarball).arg("-C").arg(&root);
    assert!(unpack.status().expect("tar runs").success());
    for cpv in of_base.iter().chain(&over_it) {
        assert!(root.join("var/db/pkg").join(cpv).join("CONTENTS").is_file(), "{cpv} is not recorded");
    }
    let world = fs::read_to_string(root.join("var/lib/portage/world")).expect("a world file");
    assert!(world.contains("app-editors/nano\n") && world.contains("app-shells/bash\n"), "{world}");
    user::give(&root);
    let ran = user::command(Path::new("bwrap"))
        .arg("--bind")
        .arg(&root)
        .args(["/", "--dev", "/dev", "/bin/bash", "-c", "nano --version"])
        .output();
    let ran = ran.expect("bubblewrap runs");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("GNU nano"), "{}", String::from_utf8_lossy(&ran.stderr));

    // One byte of the tarball changed: nothing is built on it.
    let stage3 = path.join("autobuilds").join(STAMP).join(format!("stage3-amd64-openrc-{STAMP}.tar.xz"));
    let mut bytes = fs::read(&stage3).expect("the tarball");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    fs::write(&stage3, bytes).expect("written");
    for kept in ["data", "work"] {
        fs::remove_dir_all(path.join(kept)).expect("the caches go");
    }
    let refused = build(path, "again", &["app-editors/nano"]).expect_err("it must be refused");
    assert!(refused.contains("SHA512 hash is not the one"), "{refused}");
}
