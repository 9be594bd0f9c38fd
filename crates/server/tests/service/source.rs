//! Packages from source: orders wait for them, what is lacking may be built without being asked for, and the operator has them built.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use binhost::openpgp::SigningKey;
use contract::lease::{EndReport, LeaseRequest, PROTOCOL};
use contract::{Event, Format, Lease, Order, Step};
use gentoo::binpkg::Attributes;
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description};
use serde_json::{Value, json};

use crate::common::{Setup, Site, failed, folder, operator_token, order, wait_until};

/// A site whose channel has a binhost of its own, and what besides it lets be built.
fn setup(dir: &Path, lists: &str) -> Setup {
    let key = SigningKey::generate("Own <own@example.org>").unwrap();
    let (secret, certificate) = (dir.join("own.key"), dir.join("own.key.asc"));
    std::fs::write(&secret, key.to_armored().unwrap()).unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&certificate, key.certificate().unwrap()).unwrap();
    Setup {
        channel: format!("[channel.source_builds]\nbinhost = 'own'\nsigning_key_file = '{}'\n{lists}\n", secret.display()),
        tables: format!(
            "[[channel.binhost]]\nname = 'own'\nuri = 'file://{}'\nkeyring_file = '{}'\n",
            dir.join("own").display(),
            certificate.display()
        ),
        ..Setup::default()
    }
}

/// What a build root would make of an ebuild.
fn gpkg(name: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut metadata: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let pf = format!("{name}-1.0");
    let usual = [
        ("CATEGORY", "app-misc"),
        ("PF", pf.as_str()),
        ("SLOT", "0"),
        ("EAPI", "8"),
        ("KEYWORDS", "amd64"),
        ("LICENSE", "GPL-2"),
        ("CHOST", "x86_64-pc-linux-gnu"),
        ("repository", "own"),
        ("BUILD_TIME", "1795000000"),
        ("DEFINED_PHASES", "install"),
    ];
    for (key, value) in usual.iter().chain(fields) {
        metadata.insert((*key).to_owned(), format!("{value}\n").into_bytes());
    }
    let description = Description { basename: &pf, metadata: &metadata, compression: Compression::Zstd, mtime: 1 };
    let mut file = tempfile::tempfile().unwrap();
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, user: "root", group: "root", mtime: 1 };
    gpkg::write(&mut file, &description, None, &mut |writer| writer.directory(b"", &attributes)).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn from_source(packages: &[&str]) -> Order {
    Order { from_source: true, ..order(packages, &[Format::Zip]) }
}

/// Work for a worker that has a build root for the channel.
fn lease(site: &Site) -> Lease {
    let request = LeaseRequest {
        worker: "builder".into(),
        arches: vec!["amd64".into()],
        protocol: PROTOCOL,
        builds_source_for: vec!["test".into()],
        wait_seconds: 10,
        ..LeaseRequest::default()
    };
    site.lease_as(&request).expect("there is work")
}

/// The package of this lease, which must be the one that is expected.
fn wants(lease: &Lease, package: &str, flags: &[&str]) {
    let source = lease.job.source.as_ref().expect("a package is wanted");
    assert_eq!((source.package.as_str(), source.flags.iter().map(String::as_str).collect::<Vec<_>>()), (package, flags.to_vec()));
}

/// Does what a worker does that has built a package.
fn build(site: &Site, lease: &Lease, package: &[u8]) {
    let begun = Event::Progress { step: Step::Merge, done: 0, total: 1, what: "it".into() };
    assert_eq!(site.events(lease, 0, vec![begun]), Ok(false));
    assert_eq!(site.send_package(lease, package), 204);
    let report = EndReport::Ready {
        artifacts: Vec::new(),
        plan: Box::new(lease.job.plan.clone()),
        messages: Vec::new(),
        evidence: Vec::new(),
    };
    let answer = site.end(lease, &report);
    assert_eq!(answer.status, 204, "{}", answer.text());
}

fn packages(status: &Value) -> Vec<(&str, &str)> {
    let list = status["from_source"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|source| (source["package"].as_str().unwrap(), source["state"].as_str().unwrap())).collect()
}

/// The operator's queue, or what it answers to an action.
fn operator(site: &Site, dir: &Path, address: &str, body: Option<&Value>) -> Value {
    let bearer = format!("Bearer {}", operator_token(dir));
    let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    let answer = match body {
        Some(body) => site.post_with(address, &body.to_string(), &headers),
        None => site.get_with(address, &headers[..1]),
    };
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// The state of the build that has this title.
fn state(site: &Site, dir: &Path, title: &str) -> Option<String> {
    let queue = operator(site, dir, "/api/v1/operator/queue", None);
    let builds = queue["builds"].as_array().unwrap();
    let build = builds.iter().find(|build| build["image_name"] == title)?;
    build["state"].as_str().map(str::to_owned)
}

#[test]
fn an_order_waits_for_what_it_lacks_through_a_crash_and_is_made_of_it() {
    let (_dir, path) = folder();
    let setup = setup(&path, "for_orders = ['app-misc/*']");
    let site = Site::start_with(&path, &setup);
    let names = ["app-misc/hello[loud]", "app-shells/bash"];
    let refused = site.post_json("/api/v1/orders", &order(&names, &[Format::Zip]));
    assert_eq!((refused.status, refused.json()["from_source"].as_bool()), (422, Some(true)), "{}", refused.text());
    let never = site.post_json("/api/v1/orders", &from_source(&["app-editors/vim[X]"]));
    assert_eq!((never.status, never.json()["from_source"].is_null()), (422, true), "it is not on the list: {}", never.text());

    // On the page it is one click.
    let form =
        [("token", "0123456789abcdef"), ("preset", ""), ("packages", "app-misc/hello[loud] app-shells/bash"), ("formats", "zip")];
    let page = site.form(&form);
    assert!(page.status == 422 && page.text().contains("name=\"from_source\""), "{}", page.text());
    let mut click = form.to_vec();
    click.push(("from_source", "yes"));
    let page = site.form(&click);
    assert_eq!(page.status, 303, "{}", page.text());
    let first = page.header("location").replace("/orders/", "/api/v1/orders/");

    let second = site.order(&from_source(&names));
    let status = site.status(&second);
    assert_eq!((status["state"].as_str(), status["lacks_packages"].as_bool()), (Some("waiting"), Some(true)), "{status:#}");
    assert_eq!(packages(&status), [("app-misc/hello[loud]", "waiting")]);
    assert_eq!(site.status(&first)["build"], status["build"], "equal orders wait as one");
    let reversed = site.order(&from_source(&["app-shells/bash", "app-misc/hello[loud]"]));
    assert_ne!(site.status(&reversed)["build"], status["build"], "what it comes to is not known yet");
    assert_eq!(site.get(&format!("{second}/plan")).status, 409);
    assert!(site.lease().is_none(), "there is nothing for a worker without a build root");
    let status = site.status(&second);
    for ready in [&status["ready"], &status["from_source"][0]["ready"]] {
        assert!(
            ready["seconds"].is_null() && ready["text"].as_str().unwrap().contains("no worker that is connected can make it"),
            "{ready}"
        );
    }
    let queue = operator(&site, &path, "/api/v1/operator/queue", None);
    let lacks_a_worker = |build: &Value| build["image_name"] == "app-misc/hello[loud]" && build["no_worker"] == true;
    assert!(queue["builds"].as_array().unwrap().iter().any(lacks_a_worker), "{queue:#}");
    // That stays so when a queue that is paused goes on, and is said meanwhile.
    let paused = operator(&site, &path, "/api/v1/operator/queue", Some(&json!({ "action": "pause" })));
    assert!(paused["builds"].as_array().unwrap().iter().any(lacks_a_worker), "{paused:#}");
    operator(&site, &path, "/api/v1/operator/queue", Some(&json!({ "action": "open" })));
    site.crash();

    let site = Site::start_with(&path, &setup);
    let job = lease(&site);
    wants(&job, "app-misc/hello", &["loud"]);
    let status = site.status(&second);
    assert_eq!(packages(&status), [("app-misc/hello[loud]", "building")]);
    let seconds = |value: &Value| value["seconds"].as_u64().unwrap_or_else(|| panic!("no time is named: {value}"));
    let (whole, part) = (seconds(&status["ready"]), seconds(&status["from_source"][0]["ready"]));
    assert!(whole > part, "the image is ready after its package: {whole}, {part}");
    let page = site.get(&second.replace("/api/v1", "")).text();
    assert!(page.contains("waits for packages that are built from source") && page.contains("data-source="), "{page}");
    build(&site, &job, &gpkg("hello", &[("IUSE", "loud"), ("USE", "loud"), ("RDEPEND", "app-misc/world")]));

    // What was built needs another, which nobody has either.
    wait_until("more is built", || {
        let status = site.status(&first);
        assert_eq!(status["state"], "waiting", "{status:#}");
        packages(&status).len() == 2
    });
    let job = lease(&site);
    wants(&job, "app-misc/world", &[]);
    assert_eq!(packages(&site.status(&first)), [("app-misc/hello[loud]", "ready"), ("app-misc/world", "building")]);
    build(&site, &job, &gpkg("world", &[]));

    let job = lease(&site);
    let cpvs: Vec<&str> = job.job.plan.packages.iter().map(|package| package.cpv.as_str()).collect();
    assert!(cpvs.contains(&"app-misc/hello-1.0") && cpvs.contains(&"app-misc/world-1.0"), "{cpvs:?}");
    let build = job.job.build.as_str();
    wait_until("what comes to the same is one build", || site.status(&reversed)["build"] == build);
    assert!(site.lease().is_none(), "nothing is built twice");
    site.build(&job);
    for placed in [&first, &second, &reversed] {
        let status = site.status(placed);
        assert_eq!((status["state"].as_str(), status["lacks_packages"].as_bool()), (Some("ready"), Some(false)), "{status:#}");
    }
    // What is there now is ordered like anything else.
    let status = site.status(&site.order(&order(&names, &[Format::Iso])));
    assert_eq!((status["lacks_packages"].as_bool(), status["from_source"].is_null()), (Some(false), true));
    site.stop();
}

#[test]
fn what_cannot_be_built_is_said_and_what_nobody_wants_any_more_is_not_built() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &setup(&path, "packages = ['app-misc/*']\nfor_orders = ['app-misc/*']"));
    let placed = site.order(&from_source(&["app-misc/hello"]));
    let job = lease(&site);
    wants(&job, "app-misc/hello", &[]);
    assert_eq!(site.end(&job, &failed()).status, 204);
    site.wait_for(&placed, "failed");
    let failure = site.status(&placed)["failure"].clone();
    assert_eq!(failure["package"], "app-misc/hello");
    let message = failure["message"].as_str().unwrap();
    assert!(message.contains("built from source") && message.contains("pkg_postinst ended with status 1"), "{failure}");
    let page = site.get(&placed.replace("/api/v1", "")).text();
    assert!(
        page.contains("failed before it was planned") && page.contains("name=\"without\" value=\"app-misc/hello\""),
        "{page}"
    );

    // Tried again it is built, and cannot be taken: a package of another keyword.
    assert_eq!(site.post(&format!("{placed}/again"), "application/json", "").status, 200);
    build(&site, &lease(&site), &gpkg("hello", &[("KEYWORDS", "~amd64")]));
    site.wait_for(&placed, "failed");
    let failure = site.status(&placed)["failure"].clone();
    assert!(failure["message"].as_str().unwrap().contains("cannot be planned"), "{failure}");

    // One who cancels takes along what was to be built for them alone.
    let (one, other) = (site.order(&from_source(&["app-misc/one"])), site.order(&from_source(&["app-misc/two", "app-misc/one"])));
    let own = serde_json::json!({ "channel": "test", "package": "app-misc/two" });
    operator(&site, &path, "/api/v1/operator/source", Some(&own));
    let cancel = |placed: &str| assert_eq!(site.post(&format!("{placed}/cancel"), "application/json", "").status, 200);
    let shared = packages(&site.status(&other))[0].0.to_owned();
    cancel(&one);
    cancel(&other);
    for (title, expected) in [("app-misc/one", "cancelled"), ("app-misc/two", "waiting")] {
        assert_eq!(state(&site, &path, title).as_deref(), Some(expected), "{title} ({shared} came first)");
    }
    assert_eq!(site.state(&one), "cancelled");

    // What the operator cancels ends the order, in words.
    let placed = site.order(&from_source(&["app-misc/three"]));
    let build = site.status(&placed)["from_source"][0]["build"].clone();
    operator(&site, &path, "/api/v1/operator/queue", Some(&serde_json::json!({ "action": "cancel", "build": build })));
    site.wait_for(&placed, "failed");
    assert!(site.status(&placed)["failure"]["message"].as_str().unwrap().contains("the operator cancelled"));
    site.stop();
}

#[test]
fn what_orders_lack_is_built_unasked_where_the_operator_says_so() {
    let (_dir, path) = folder();
    let site =
        Site::start_with(&path, &setup(&path, "packages = ['app-misc/*']\nunasked = ['app-misc/hello', 'app-editors/vim']"));
    let refused = |package: &str| assert_eq!(site.post_json("/api/v1/orders", &order(&[package], &[Format::Zip])).status, 422);
    refused("app-misc/world");
    refused("app-editors/vim[X]");
    refused("app-misc/hello[-loud]");
    refused("app-misc/hello[-loud]");
    let queue = operator(&site, &path, "/api/v1/operator/queue", None);
    let titles: Vec<&str> =
        queue["builds"].as_array().unwrap().iter().map(|build| build["image_name"].as_str().unwrap()).collect();
    assert_eq!(titles, ["app-misc/hello[-loud]"], "what is on both lists, and once");
    // What the advice says to build is one click away, where it may be built.
    let log_in =
        site.post("/operator", "application/x-www-form-urlencoded", &format!("operator_token={}", operator_token(&path)));
    let cookie = log_in.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = site.get_with("/operator/advice?channel=test", &[("Cookie", &cookie)]).text();
    assert!(page.contains("name=\"package\" value=\"app-misc/world\"") && !page.contains("value=\"app-editors/vim\""), "{page}");
    let fields = "channel=test&package=app-misc%2Fworld&flags=";
    let headers = [("Cookie", cookie.as_str()), ("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(site.post_with("/operator/source", fields, &headers).status, 303);
    assert_eq!(state(&site, &path, "app-misc/world").as_deref(), Some("waiting"));

    let job = lease(&site);
    wants(&job, "app-misc/hello", &["-loud"]);
    build(&site, &job, &gpkg("hello", &[("IUSE", "loud")]));
    wait_until("it can be ordered", || {
        site.post_json("/api/v1/orders", &order(&["app-misc/hello[-loud]"], &[Format::Zip])).status == 201
    });
    site.stop();
}
