//! Orders: how they are taken, joined, refused, followed and downloaded.

use contract::lease::EndReport;
use contract::{Format, Order};
use serde_json::json;

use crate::backend::on_s3;
use crate::common::{Setup, Site, artifact, content, folder, operator_token, order, ready};

#[test]
fn equal_orders_share_a_build_and_personal_ones_do_not() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let a = site.status(&site.order(&order(&["app-shells/bash"], &[Format::Zip, Format::Iso])));
    let b = site.status(&site.order(&order(&["app-shells/bash"], &[Format::Iso, Format::Zip])));
    assert_eq!(a["build"], b["build"]);
    assert_ne!(a["id"], b["id"], "each order has its own secret");
    let mut personal = order(&["app-shells/bash"], &[Format::Zip, Format::Iso]);
    personal.system.hostname = Some("mine".into());
    let c = site.status(&site.order(&personal));
    assert_ne!(a["build"], c["build"]);
    assert_eq!(c["position"], 2);
    site.build(&site.lease().unwrap());
    let d = site.status(&site.order(&order(&["app-shells/bash"], &[Format::Zip, Format::Iso])));
    assert_eq!(d["state"], "ready", "what is there is not built again");
    site.stop();
}

#[test]
fn a_repeated_request_is_one_order() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let body = serde_json::to_string(&order(&["app-shells/bash"], &[Format::Zip])).unwrap();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "5d2c7c1e-6d0f-4c58-9a53-0d5e4f1a2b3c")];
    let first = site.post_with("/api/v1/orders", &body, &headers);
    let second = site.post_with("/api/v1/orders", &body, &headers);
    assert_eq!((first.status, second.status), (201, 200));
    assert_eq!(first.json()["id"], second.json()["id"]);
    let other = serde_json::to_string(&order(&["dev-vcs/git"], &[Format::Zip])).unwrap();
    assert_eq!(site.post_with("/api/v1/orders", &other, &headers).status, 422);
    let guessable = [("Content-Type", "application/json"), ("Idempotency-Key", "1")];
    assert_eq!(site.post_with("/api/v1/orders", &body, &guessable).status, 400);
    site.stop();
}

#[test]
fn refusals_say_what_to_do() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup { top: "max_waiting = 1".into(), ..Setup::default() });
    let refused = |order: &contract::Order, status: u16, words: &[&str]| {
        let answer = site.post_json("/api/v1/orders", order);
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        for word in words {
            assert!(detail.contains(word), "{word}: {detail}");
        }
        answer.json()
    };
    refused(&order(&["app-misc/nonexistent"], &[Format::Zip]), 422, &["app-misc/nonexistent"]);
    assert_eq!(refused(&order(&["app-shells/bash"], &[]), 422, &["at least one format"])["field"], "formats");
    let mut wrong = order(&["app-shells/bash"], &[Format::Zip]);
    wrong.channel = Some("nowhere".into());
    refused(&wrong, 422, &["nowhere", "test"]);
    wrong.channel = None;
    wrong.preset = Some("nothing".into());
    refused(&wrong, 422, &["nothing", "small"]);
    wrong.preset = None;
    wrong.arch = "sparc".into();
    refused(&wrong, 422, &["sparc"]);
    wrong.arch = "amd64".into();
    wrong.system.root_password_hash = Some("plain".into());
    refused(&wrong, 422, &["never the password itself"]);
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    refused(&order(&["dev-vcs/git"], &[Format::Zip]), 503, &["order again later"]);

    let broken = site.post("/api/v1/orders", "application/json", "{\"arch\": 1}");
    assert_eq!(broken.status, 422, "{}", broken.text());
    assert_eq!(site.post("/api/v1/orders", "application/json", "{\"arch\": ").status, 400);
    assert_eq!(site.post("/api/v1/orders", "text/plain", "{}").status, 415);
    let huge = format!("{{\"x\": \"{}\"}}", "x".repeat(3 << 20));
    assert_eq!(site.post("/api/v1/orders", "application/json", &huge).status, 413);
    assert_eq!(site.get("/api/v1/orders/00000000").status, 404);
    assert_eq!(site.get("/api/v1/nothing").header("content-type"), "application/problem+json");
    assert_eq!(site.post("/api/v1/presets", "text/plain", "").status, 405);
    site.stop();
}

#[test]
fn settings_that_no_image_of_the_order_could_have_are_refused_at_once() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let refused = |system: contract::System, field: &str, words: &str| {
        let answer = site.post_json("/api/v1/orders", &Order { system, ..order(&["app-shells/bash"], &[Format::Zip]) });
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some(field)), "{}", answer.text());
        assert!(answer.text().contains(words), "{}", answer.text());
    };
    let system = contract::System::default;
    let zone = |name: &str| contract::System { timezone: Some(name.into()), ..system() };
    refused(zone("Europe/Berln"), "system.timezone", "Did you mean Europe/Berlin?");
    refused(zone("Europe/Berlin"), "system.timezone", "Add sys-libs/timezone-data");
    refused(contract::System { services: vec!["sshd".into()], ..system() }, "system.services", "Add sys-apps/openrc");
    let root = contract::User { name: "root".into(), ..contract::User::default() };
    refused(contract::System { users: vec![root], ..system() }, "system.users", "root_password_hash");
    let german = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept-Language", "de")];
    let page = |fields: &str| site.post_with("/orders/parts", fields, &german).text();
    let shown = page("packages=app-shells/bash&formats=zip&timezone=Europe/Berln");
    assert!(shown.contains("Eine Zeitzone „Europe/Berln“ gibt es nicht. Meintest du Europe/Berlin?"), "{shown}");
    let shown = page("packages=../../etc&formats=zip");
    assert!(shown.contains("„../../etc“ kann nicht bestellt werden: „..“ ist keine Kategorie."), "{shown}");
    site.stop();
}

#[test]
fn that_nobody_can_log_in_is_said_above_the_downloads() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    for (format, is_told) in [(Format::Iso, true), (Format::Zip, false)] {
        let id = site.order(&order(&["app-shells/bash"], &[format]));
        let lease = site.lease().unwrap();
        assert_eq!(site.upload(&lease, &artifact(&lease, format).name, &content(format)), 204);
        let EndReport::Ready { artifacts, plan, mut messages, evidence } = ready(&lease) else { unreachable!() };
        messages.push(contract::NOBODY_CAN_LOG_IN.into());
        assert_eq!(site.end(&lease, &EndReport::Ready { artifacts, plan, messages, evidence }).status, 204);
        let page = site.get(&id.replace("/api/v1", "")).text();
        assert!(!page.contains(contract::NOBODY_CAN_LOG_IN) && page.contains("bash says hello"), "{page}");
        let note = page.find("nobody can log in, unless");
        assert_eq!(note.is_some(), is_told, "{format}: {page}");
        assert!(note.is_none_or(|note| note < page.find("id=\"downloads\"").unwrap()), "{page}");
    }
    site.stop();
}

#[test]
fn a_channel_that_cannot_be_read_says_so_and_names_one_that_works() {
    let (_dir, path) = folder();
    let away = "[[channel]]\nname='away'\ntitle='Away'\narch='amd64'\n[[channel.binhost]]\nname='b'\nuri='file:///nonexistent/binhost'\nallow_unsigned=true\n\
                [[channel]]\nname='keyless'\ntitle='Keyless'\narch='amd64'\n[[channel.binhost]]\nname='b'\nuri='file:///b'\nkeyring_file='/nonexistent/key.asc'\n";
    let site = Site::start_with(&path, &Setup { tables: away.into(), ..Setup::default() });
    // The order reads the channel that works; then the other can be told of.
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    for name in ["away", "keyless"] {
        let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
        wish.channel = Some(name.into());
        let answer = site.post_json("/api/v1/orders", &wish);
        assert_eq!(answer.status, 503, "{}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(name) && detail.contains("“test” works"), "{detail}");
        assert!(!detail.contains("/nonexistent"), "{detail}");
        let german = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept-Language", "de")];
        let page =
            site.post_with("/orders/parts", &format!("channel={name}&packages=app-shells/bash&formats=zip"), &german).text();
        let told = [
            "der Binhost b hat kein Verzeichnis Packages",
            "der Binhost b ist nicht zu erreichen",
            "keyring_file kann nicht gelesen werden: ",
        ];
        assert!(told.iter().any(|told| page.contains(told)) && !page.contains("/nonexistent"), "{page}");
    }
    let channels = site.get("/api/v1/channels").json();
    assert_eq!(channels[0]["available"], true);
    assert_eq!(channels[1]["available"], false);
    let (list, page) = (site.get("/api/v1/channels").text(), site.get("/").text());
    assert!(page.contains("not available") && !page.contains("/nonexistent") && !list.contains("/nonexistent"), "{list}");
    let authorization = format!("Bearer {}", operator_token(&path));
    let told = site.get_with("/api/v1/operator/site", &[("Authorization", &authorization)]).text();
    assert!(
        told.contains("/nonexistent/binhost") && told.contains("/nonexistent/key.asc"),
        "the operator is told the paths: {told}"
    );
    site.stop();
}

#[test]
fn parts_of_a_file_can_be_fetched() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    site.build(&lease);
    let file = artifact(&lease, Format::Zip);
    let url = format!("{placed}/artifacts/{}", file.name);
    let whole = content(Format::Zip);
    let etag = format!("\"{}\"", file.sha256);

    let head = site.head(&url);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.len().to_string());
    assert_eq!(head.header("etag"), etag);
    assert_eq!(head.header("accept-ranges"), "bytes");
    assert_eq!(head.header("content-disposition"), format!("attachment; filename=\"{}\"", file.name));

    // Where the storage answers, it has tags of its own.
    let tag = site.get(&url).header("etag").to_owned();
    let part = site.get_with(&url, &[("Range", "bytes=100-199")]);
    assert_eq!((part.status, part.body.as_slice()), (206, &whole[100..200]));
    assert_eq!(part.header("content-range"), format!("bytes 100-199/{}", whole.len()));
    let rest = site.get_with(&url, &[("Range", "bytes=1000-"), ("If-Range", &tag)]);
    assert_eq!((rest.status, rest.body.as_slice()), (206, &whole[1000..]));
    // SeaweedFS does not look at If-Range. A file of an image never changes, so nobody gets parts of two.
    if !on_s3() {
        let changed = site.get_with(&url, &[("Range", "bytes=1000-"), ("If-Range", "\"other\"")]);
        assert_eq!((changed.status, changed.body.len()), (200, whole.len()));
    }
    let beyond = site.get_with(&url, &[("Range", &format!("bytes={}-", whole.len()))]);
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", whole.len()));
    assert_eq!(site.get_with(&url, &[("If-None-Match", &etag)]).status, 304);
    assert_eq!(site.get(&format!("{placed}/artifacts/..%2f..%2fworker.token")).status, 404);

    let sums = site.get(&format!("{placed}/SHA256SUMS")).text();
    assert_eq!(sums, format!("{}  {}\n", file.sha256, file.name));
    assert!(site.get(&format!("{placed}/SHA512SUMS")).text().starts_with(&file.sha512));
    site.stop();
}

#[test]
fn presets_bring_packages_and_services_and_toml_is_taken_too() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let names: Vec<String> =
        site.get("/api/v1/presets").json().as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["amd64-server", "small"]);
    let toml = "arch = 'amd64'\npreset = 'small'\npackages = ['dev-vcs/git']\nformats = ['zip']\n";
    let plan = site.post("/api/v1/plan", "application/toml", toml).json();
    assert_eq!(plan["world"], json!(["app-shells/bash", "dev-vcs/git"]));
    assert_eq!(plan["services"], json!(["sshd"]));
    let answer = site.post("/api/v1/orders", "application/toml", toml);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["url"], format!("{}/orders/{}", site.base, answer["id"].as_str().unwrap()));
    assert!(site.lease().unwrap().job.image_name.starts_with("hatchery-small-"));
    assert_eq!(site.post("/api/v1/orders", "application/toml", "arch = 'amd64'\nroot_password = 'x'").status, 422);
    site.stop();
}

#[test]
fn no_secret_comes_back() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut secret = order(&["app-shells/bash"], &[Format::Zip]);
    secret.system.root_password_hash = Some("$6$saltsaltsalt$hashhashhash".into());
    let placed = site.order(&secret);
    assert_eq!(site.lease().unwrap().job.system, secret.system, "the worker needs it");
    let id = placed.rsplit('/').next().unwrap();
    for page in [placed.clone(), format!("{placed}/plan"), format!("{placed}/log"), format!("/orders/{id}"), "/queue".into()] {
        let text = site.get(&page).text();
        assert!(!text.contains("hashhash"), "{page}");
    }
    assert!(!site.get("/queue").text().contains(id), "the queue page names no order");
    site.stop();
}
