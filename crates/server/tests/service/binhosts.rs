//! Binhosts that a site gives out, and what its operator offers of them and sees of them.

use std::path::Path;
use std::process::Command;

use contract::Format;
use serde_json::Value;

use crate::common::{Setup, Site, folder, make_channel, operator_token, order, wait_until};

#[test]
fn a_binhost_is_given_out_and_its_packages_are_limited() {
    let (_dir, path) = folder();
    let binhost = path.join("binhost");
    make_channel(&binhost);
    std::fs::write(binhost.join("app-shells/bash-5.2_p15.gpkg.tar"), "0123456789").unwrap();
    std::fs::write(binhost.join("secret.txt"), "no package").unwrap();
    let setup = Setup {
        top: "public_url = 'http://site.example/'\n".into(),
        channel: "packages_denied = ['sys-apps/util']\npackages_allowed = ['app-shells/bash', 'dev-vcs/*', 'virtual/udev']\n"
            .into(),
        tables: "serve = true\n".into(),
    };
    let site = Site::start_with(&path, &setup);
    let base = "/binhost/test/here";

    // As Portage asks: for the index, if it is newer than the one that it has.
    let index = site.get(&format!("{base}/Packages"));
    assert_eq!((index.status, index.body), (200, std::fs::read(binhost.join("Packages")).unwrap()));
    let changed = index.headers["last-modified"].to_str().unwrap().to_owned();
    assert_eq!(changed, "Sun, 22 Nov 2026 08:05:00 GMT", "it is the index's own TIMESTAMP");
    let ask = |name: &str, value: &str| site.get_with(&format!("{base}/Packages"), &[(name, value)]).status;
    assert_eq!(ask("If-Modified-Since", &changed), 304);
    assert_eq!(ask("If-Modified-Since", "Sun, 22 Nov 2026 08:04:59 GMT"), 200);
    assert_eq!(ask("If-None-Match", index.headers["etag"].to_str().unwrap()), 304);
    let package = format!("{base}/app-shells/bash-5.2_p15.gpkg.tar");
    let part = site.get_with(&package, &[("Range", "bytes=4-")]);
    assert_eq!((part.status, part.text().as_str()), (206, "456789"), "a download that broke off goes on");
    assert_eq!(site.head(&package).header("content-length"), "10");
    for none in ["secret.txt", "../data/hatchery.sqlite", "%2e%2e/data/worker.token", "app-shells", ""] {
        assert_eq!(site.get(&format!("{base}/{none}")).status, 404, "{none}");
    }
    assert_eq!(site.get("/binhost/test/elsewhere/Packages").status, 404);

    // Images are told the address, and the lock names it.
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let plan = site.get(&format!("{placed}/plan")).json();
    assert_eq!(plan["binhosts"][0]["uri"], "http://site.example/binhost/test/here");
    assert!(site.lease().unwrap().job.binhosts[0].uri.starts_with("file://"), "workers read the folder");

    let refused = |package: &str| site.post_json("/api/v1/orders", &order(&[package], &[Format::Zip]));
    let answer = refused("app-editors/vim");
    assert!(answer.status == 422 && answer.text().contains("allows to be ordered by name"), "{}", answer.text());
    let answer = refused("virtual/udev");
    assert!(answer.status == 422 && answer.text().contains("does not offer it"), "{}", answer.text());
    site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    site.stop();
}

/// The first channel as its operator sees it.
fn channel_of(site: &Site, token: &str) -> Value {
    site.seen_by_operator(token)["channels"][0].clone()
}

fn mirror_states(site: &Site, token: &str) -> Vec<Value> {
    channel_of(site, token)["mirrors"].as_array().unwrap().iter().map(|mirror| mirror["state"].clone()).collect()
}

#[test]
fn the_operator_sees_how_each_binhost_does() {
    let (_dir, path) = folder();
    let second = path.join("second");
    let setup = Setup {
        top: "index_ttl_seconds = 1\n".into(),
        tables: format!("[[channel.binhost]]\nname = 'second'\nuri = 'file://{}'\nallow_unsigned = true\n", second.display()),
        ..Setup::default()
    };
    let site = Site::start_with(&path, &setup);
    let token = operator_token(&path);
    let operator = [("Authorization", &*format!("Bearer {token}"))];
    let (channel, states) = (|| channel_of(&site, &token), || mirror_states(&site, &token));

    // One that is not there sets the other aside.
    wait_until("the channel was looked at", || states() == ["set-aside", "unreadable"]);
    let seen = channel();
    assert!(seen["trouble"].as_str().unwrap().contains("second"), "{seen:#}");
    let [here, there] = [&seen["mirrors"][0], &seen["mirrors"][1]];
    assert_eq!((&here["packages"], &here["made"]), (&8.into(), &1_795_334_700.into()), "{here:#}");
    assert!(here["read"].is_i64() && here["failure"].is_null() && here["failed"].is_null(), "{here:#}");
    assert!(there["read"].is_null() && there["packages"].is_null() && there["failed"].is_i64(), "{there:#}");
    assert!(there["failure"].as_str().unwrap().contains("second"), "{there:#}");
    let form = "application/x-www-form-urlencoded";
    let in_at_the_door = site.post("/operator", form, &format!("operator_token={token}"));
    let cookie = in_at_the_door.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = |language| site.get_with("/operator", &[("Cookie", &*cookie), ("Accept-Language", language)]).text();
    let (english, german) = (page("en"), page("de"));
    for words in
        ["<td>set aside</td>", "<strong>cannot be read</strong>", here["uri"].as_str().unwrap(), there["uri"].as_str().unwrap()]
    {
        assert!(english.contains(words), "{words}: {english}");
    }
    for words in ["<td>beiseitegelegt</td>", "<strong>nicht lesbar</strong>", "der Binhost second hat in"] {
        assert!(german.contains(words), "{words}: {german}");
    }

    // Once it is there, both are used; what went wrong last is still known.
    make_channel(&second);
    std::fs::remove_file(second.join("dev-vcs/git-2.40.1.gpkg.tar")).unwrap();
    wait_until("both are used", || {
        site.get("/api/v1/packages?q=bash");
        states() == ["used", "used"]
    });
    let there = channel()["mirrors"][1].clone();
    assert_eq!((&there["packages"], &there["absent"]), (&8.into(), &1.into()), "{there:#}");
    assert!(there["read"].as_i64() >= there["failed"].as_i64() && there["failure"].is_string(), "{there:#}");
    assert!(page("en").contains("(1 of them absent)"));
    let metrics = site.get_with("/metrics", &operator).text();
    let labels = "channel=\"test\",binhost=\"second\"";
    for line in [
        format!("hatchery_mirror{{{labels},state=\"used\"}} 1"),
        format!("hatchery_mirror{{{labels},state=\"unreadable\"}} 0"),
        format!("hatchery_mirror_packages{{{labels}}} 8"),
        format!("hatchery_mirror_index_timestamp_seconds{{{labels}}} 1795334700"),
    ] {
        assert!(metrics.lines().any(|known| known == line), "{line}\n{metrics}");
    }
    site.stop();
}

/// An unsigned stage3 with one package, where a mirror has it.
fn make_stage3(mirror: &Path) {
    let stamp = "20261115T170105Z";
    let name = format!("stage3-amd64-openrc-{stamp}.tar.gz");
    let (root, folder) = (mirror.join("root"), mirror.join(stamp));
    let package = root.join("var/db/pkg/sys-libs/glibc-2.41-r4");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(package.join("SLOT"), "2.2\n").unwrap();
    std::fs::write(package.join("CONTENTS"), "dir /usr\n").unwrap();
    let packed = Command::new("tar").arg("-C").arg(&root).arg("-czf").arg(folder.join(&name)).arg(".").status().unwrap();
    assert!(packed.success());
    let sum = |program: &str| {
        let output = Command::new(program).arg(&name).current_dir(&folder).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let digests = format!("# BLAKE2B HASH\n{}# SHA512 HASH\n{}", sum("b2sum"), sum("sha512sum"));
    std::fs::write(folder.join(format!("{name}.DIGESTS")), digests).unwrap();
    let size = std::fs::metadata(folder.join(&name)).unwrap().len();
    std::fs::write(mirror.join("latest-stage3-amd64-openrc.txt"), format!("{stamp}/{name} {size}\n")).unwrap();
}

#[test]
fn the_operator_sees_where_the_stage3_is_from() {
    let (_dir, path) = folder();
    let mirror = path.join("autobuilds");
    let uri = format!("file://{}/latest-stage3-amd64-openrc.txt", mirror.display());
    let tables = format!("[channel.base]\nstage3 = '{uri}'\nallow_unsigned = true\n");
    let site = Site::start_with(&path, &Setup { top: "index_ttl_seconds = 1\n".into(), tables, ..Setup::default() });
    let token = operator_token(&path);
    let (stage3, states) = (|| channel_of(&site, &token)["mirrors"][1].clone(), || mirror_states(&site, &token));
    wait_until("the list is missed", || states() == ["set-aside", "unreadable"]);
    let seen = stage3();
    assert_eq!((&seen["name"], &seen["uri"]), (&"stage3".into(), &uri.into()), "{seen:#}");
    assert!(seen["failure"].as_str().unwrap().contains("latest-stage3-amd64-openrc.txt"), "{seen:#}");

    make_stage3(&mirror);
    wait_until("both are used", || {
        site.get("/api/v1/packages?q=bash");
        states() == ["used", "used"]
    });
    let seen = stage3();
    assert_eq!((&seen["packages"], &seen["made"]), (&1.into(), &1_794_762_065.into()), "{seen:#}");
    site.stop();
}
