//! Binhosts that a site gives out, and what its operator offers of them.

use contract::Format;

use crate::common::{Setup, Site, folder, make_channel, order};

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
