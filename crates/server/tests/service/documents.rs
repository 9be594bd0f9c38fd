//! What lies beside an image: made and signed by the site, never by a worker.

use attest::{Digests, parse_sums};
use binhost::openpgp::{Keyring, SigningKey};
use contract::lease::EndReport;
use contract::{Evidence, EvidenceKind, Format};
use gentoo::gpkg::Verifier;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::common::{Setup, Site, folder, order, ready};

/// An advisory that touches the bash of the channel.
const ADVISORY: &str = r#"<?xml version="1.0"?><!DOCTYPE glsa SYSTEM "http://www.gentoo.org/dtd/glsa.dtd">
<glsa id="209901-01"><title>Bash: holes</title><synopsis>S</synopsis><announced>2099-01-01</announced><revised count="1">2099-01-01</revised>
<affected><package name="app-shells/bash" auto="yes" arch="*"><unaffected range="ge">5.3</unaffected>
<vulnerable range="lt">5.3</vulnerable></package></affected><impact type="high"/></glsa>"#;

fn make_key(dir: &Path, mode: u32) -> SigningKey {
    let key = SigningKey::generate("Operator <operator@example.org>").unwrap();
    std::fs::write(dir.join("key"), key.to_armored().unwrap()).unwrap();
    std::fs::set_permissions(dir.join("key"), std::fs::Permissions::from_mode(mode)).unwrap();
    key
}

fn documents(status: &serde_json::Value, kind: &str) -> Vec<String> {
    let all = status["documents"].as_array().unwrap();
    all.iter().filter(|d| d["kind"] == kind).map(|d| d["url"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_ready_image_comes_with_signed_checksums_of_everything() {
    let (_guard, dir) = folder();
    make_key(&dir, 0o600);
    std::fs::create_dir_all(dir.join("repo/metadata/glsa")).unwrap();
    std::fs::write(dir.join("repo/metadata/glsa/glsa-209901-01.xml"), ADVISORY).unwrap();
    let setup = Setup {
        top: format!("signing_key_file = '{}'", dir.join("key").display()),
        channel: format!("repository = '{}'", dir.join("repo").display()),
        ..Setup::default()
    };
    let site = Site::start_with(&dir, &setup);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    // The worker shows that the image started.
    let evidence = Evidence {
        name: format!("{}.zip.seabios.log", lease.job.image_name),
        kind: EvidenceKind::BootLog,
        format: Format::Zip,
        firmware: "SeaBIOS".into(),
    };
    assert_eq!(site.upload(&lease, &evidence.name, b"HATCHERY-READY"), 204);
    site.upload(&lease, &crate::common::artifact(&lease, Format::Zip).name, &crate::common::content(Format::Zip));
    let EndReport::Ready { artifacts, plan, messages, .. } = ready(&lease) else { unreachable!() };
    let report = EndReport::Ready { artifacts, plan, messages, evidence: vec![evidence] };
    assert_eq!(site.end(&lease, &report).status, 204);
    // A repeated report changes nothing that was signed.
    let before = site.status(&placed);
    assert_eq!(site.end(&lease, &report).status, 204);
    assert_eq!(site.status(&placed)["documents"], before["documents"]);

    let certificate = site.get("/certificate.asc").text();
    let keyring = Keyring::from_armored(&certificate).unwrap();
    let body = |kind: &str| site.get(&documents(&before, kind)[0]).body;
    let sums = body("sha512-sums");
    keyring.verify_detached(&mut sums.as_slice(), &body("signature")).unwrap();
    // Every other file is in the list, and is what the list says.
    let text = String::from_utf8(sums).unwrap();
    let listed = parse_sums(&text);
    assert_eq!(listed.len(), 1 + 1 + 5, "{text}");
    for (name, sum) in listed {
        let answer = site.get(&format!("{placed}/artifacts/{name}"));
        assert_eq!((answer.status, Digests::of(&answer.body).sha512.as_str()), (200, sum), "{name}");
    }
    let part = site.get_with(&documents(&before, "spdx")[0], &[("Range", "bytes=1-4")]);
    assert_eq!((part.status, part.body.len()), (206, 4));
    assert_eq!(site.get(&documents(&before, "boot-log")[0]).header("content-type"), "text/plain; charset=utf-8");

    // Advisories and licences are on the page.
    assert_eq!(before["advisories"]["findings"][0]["id"], "209901-01");
    let page = site.get(&placed.replace("/api/v1", "")).text();
    for told in ["GLSA 209901-01", "one touches", "GPL-2", "spdx.json", "zip with SeaBIOS", "/certificate.asc"] {
        assert!(page.contains(told), "{told} is missing in {page}");
    }
    site.stop();
}

#[test]
fn without_a_key_or_a_repository_it_says_so() {
    let (_guard, dir) = folder();
    let site = Site::start(&dir);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.build(&site.lease().unwrap());
    let status = site.status(&placed);
    assert_eq!(documents(&status, "signature"), Vec::<String>::new());
    assert_eq!(status["advisories"]["state"], "unknown");
    assert_eq!(site.get("/certificate.asc").status, 404);
    let page = site.get(&placed.replace("/api/v1", "")).text();
    assert!(page.contains("Not known.") && page.contains("signs nothing"), "{page}");
    site.stop();
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let (_guard, dir) = folder();
    make_key(&dir, 0o644);
    let config = server::Config { signing_key_file: Some(dir.join("key")), ..server::Config::default() };
    let error = server::Attestor::new(&config, None).err().expect("a refusal").to_string();
    assert!(error.contains("may be read by others") && error.contains("chmod 600"), "{error}");
}

#[test]
fn evidence_must_be_about_what_was_ordered() {
    let (_guard, dir) = folder();
    let site = Site::start(&dir);
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    site.upload(&lease, &crate::common::artifact(&lease, Format::Zip).name, &crate::common::content(Format::Zip));
    site.upload(&lease, "x.png", b"picture");
    let EndReport::Ready { artifacts, plan, messages, .. } = ready(&lease) else { unreachable!() };
    for (name, format, firmware) in
        [("y.png", Format::Zip, "OVMF"), ("x.png", Format::Iso, "OVMF"), ("x.png", Format::Zip, "<b>")]
    {
        let evidence = Evidence { name: name.into(), kind: EvidenceKind::BootScreen, format, firmware: firmware.into() };
        let (artifacts, plan, messages) = (artifacts.clone(), plan.clone(), messages.clone());
        let answer = site.end(&lease, &EndReport::Ready { artifacts, plan, messages, evidence: vec![evidence] });
        assert_eq!(answer.status, 422, "{}", answer.text());
    }
    site.stop();
}

#[test]
fn the_page_may_show_the_screen_wherever_it_lies() {
    let (_guard, dir) = folder();
    let site = Site::start(&dir);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    site.upload(&lease, &crate::common::artifact(&lease, Format::Zip).name, &crate::common::content(Format::Zip));
    site.upload(&lease, "screen.png", b"picture");
    let EndReport::Ready { artifacts, plan, messages, .. } = ready(&lease) else { unreachable!() };
    let (kind, format) = (EvidenceKind::BootScreen, Format::Zip);
    let evidence = vec![Evidence { name: "screen.png".into(), kind, format, firmware: "OVMF".into() }];
    assert_eq!(site.end(&lease, &EndReport::Ready { artifacts, plan, messages, evidence }).status, 204);
    let page = site.get(&placed.replace("/api/v1", ""));
    let text = page.text();
    let url = text.split_once("class=\"screen\" src=\"").unwrap().1.split_once('"').unwrap().0;
    let picture = site.get(url);
    assert_eq!((picture.header("content-type"), picture.body.as_slice()), ("image/png", b"picture".as_slice()));
    // The policy names where the browser is sent on to, and nothing more.
    let sent_on = site.sent_on_to(url);
    let origin = sent_on.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let policy = page.header("content-security-policy");
    let pictures = policy.split(';').find_map(|part| part.trim().strip_prefix("img-src ")).unwrap();
    assert_eq!(pictures, format!("'self' {origin}").trim_end());
    assert_eq!(sent_on.is_empty(), !crate::backend::on_s3());
    site.stop();
}

#[test]
fn a_worker_that_cannot_start_images_gets_none_from_a_site_that_does() {
    let (_guard, dir) = folder();
    let site = Site::start_with(&dir, &Setup { top: "boot_gate = true".into(), ..Setup::default() });
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let refused = site.ask_for_work(false);
    assert!(refused.status == 403 && refused.text().contains("qemu-system-x86"), "{}", refused.text());
    assert!(site.lease().unwrap().job.boot_gate);
    site.stop();
}
