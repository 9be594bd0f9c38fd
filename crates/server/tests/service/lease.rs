//! The lease protocol, and what becomes of builds when workers or the server are lost.

use std::time::Duration;

use contract::lease::{EndReport, LeaseRequest, PROTOCOL};
use contract::{Event, Format, Lease, Step};

use crate::backend::stored;
use crate::common::{Setup, Site, WORKER_TOKEN, artifact, content, failed, folder, operator_token, order, ready, wait_until};

#[test]
fn an_order_becomes_an_image() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    assert!(site.lease().is_none());
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Iso, Format::Zip]));
    let status = site.status(&placed);
    assert_eq!((status["state"].as_str(), status["position"].as_u64()), (Some("waiting"), Some(1)));
    let lease = site.lease().unwrap();
    let cpvs: Vec<&str> = lease.job.plan.packages.iter().map(|p| p.cpv.as_str()).collect();
    assert!(cpvs.contains(&"app-shells/bash-5.2_p15"), "{cpvs:?}");
    assert!(cpvs.contains(&"sys-kernel/kernel-6.1.38"), "an ISO needs a kernel: {cpvs:?}");
    assert_eq!(lease.job.binhosts.len(), 1);
    assert!(site.lease().is_none(), "a build is leased once");
    let events = vec![Event::Progress { step: Step::Fetch, done: 1, total: 4, what: "bash".into() }];
    assert_eq!(site.events(&lease, 0, events), Ok(false));
    let status = site.status(&placed);
    assert_eq!(status["state"], "building");
    assert_eq!(status["progress"]["step"], "fetch");
    assert_eq!(status["progress"]["total"], 4);
    site.build(&lease);
    let status = site.status(&placed);
    assert_eq!(status["state"], "ready");
    let names: Vec<&str> = status["artifacts"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{}.iso", lease.job.image_name), format!("{}.zip", lease.job.image_name)]);
    let file = site.get(&format!("{placed}/artifacts/{}", names[0]));
    assert_eq!((file.status, file.body), (200, content(Format::Iso)));
    let lock = site.get(&format!("{placed}/plan")).json();
    assert_eq!(lock["packages"][0]["sha256"].as_str().unwrap().len(), 64);
    let log = site.get(&format!("{placed}/log")).text();
    assert!(log.contains("did merge packages"), "{log}");
    site.stop();
}

#[test]
fn a_batch_sent_twice_is_recorded_once() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    for _ in 0..2 {
        assert_eq!(site.events(&lease, 0, vec![Event::Log { line: "once".into() }]), Ok(false));
    }
    assert_eq!(site.get(&format!("{placed}/log")).text(), "once\n");
    assert_eq!(site.upload(&lease, &artifact(&lease, Format::Zip).name, &content(Format::Zip)), 204);
    for _ in 0..2 {
        assert_eq!(site.end(&lease, &ready(&lease)).status, 204, "a repeated end is no error");
    }
    site.stop();
}

#[test]
fn strangers_and_former_workers_are_refused() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let request = r#"{"worker":"x","arches":["amd64"]}"#;
    for token in ["", "Bearer ", "Bearer wrong", "Basic dG9rZW4="] {
        let answer = site.post_with("/api/worker/lease", request, &[("Authorization", token)]);
        assert_eq!(answer.status, 401, "{token}");
    }
    let lease = site.lease().unwrap();
    let mut former = lease.clone();
    former.lease = "0".repeat(32);
    assert_eq!(site.events(&former, 0, vec![]), Err(409));
    assert_eq!(site.upload(&former, "x.zip", b"x"), 409);
    assert_eq!(site.end(&former, &ready(&lease)).status, 409);
    assert_eq!(site.upload(&lease, "..%2Fx", b"x"), 400);
    site.stop();
}

#[test]
fn what_does_not_agree_with_the_report_is_no_image() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    let name = artifact(&lease, Format::Zip).name;
    let answer = site.end(&lease, &ready(&lease));
    assert_eq!(answer.status, 422, "nothing was sent");
    for _ in 0..2 {
        assert_eq!(site.upload(&lease, &name, &content(Format::Zip)), 204, "as often as a worker is unsure");
    }
    assert_eq!(site.upload(&lease, &name, b"something else"), 409, "what was hashed stays");
    assert_eq!(site.get(&format!("{placed}/artifacts/{name}")).status, 404);
    let contract::lease::EndReport::Ready { artifacts, mut plan, messages, evidence } = ready(&lease) else { unreachable!() };
    plan.packages[0].cpv = "app-shells/evil-1".into();
    let answer = site.end(&lease, &contract::lease::EndReport::Ready { artifacts, plan, messages, evidence });
    assert_eq!(answer.status, 422, "another plan");
    assert_eq!(site.state(&placed), "building");
    assert_eq!(site.end(&lease, &ready(&lease)).status, 204);
    assert_eq!(site.upload(&lease, &name, b"something else"), 409, "nor does it change later");
    let url = site.status(&placed)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&url).body, content(Format::Zip));

    let other = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert_eq!(site.upload(&lease, &artifact(&lease, Format::Zip).name, b"something else"), 204);
    let answer = site.end(&lease, &ready(&lease));
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("SHA-256"), "{}", answer.text());
    assert_eq!(site.state(&other), "building");
    site.stop();
}

#[test]
fn a_file_too_large_is_refused_with_a_reason() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup { top: "max_artifact_bytes = 1000000".into(), ..Setup::default() });
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert_eq!(site.upload(&lease, "large.zip", &vec![7; 1_900_000]), 413);
    let left = stored(&path, &lease.job.build);
    assert!(left.is_empty(), "{left:?}");
    site.stop();
}

#[test]
fn a_lost_worker_costs_the_order_nothing_until_it_happens_too_often() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup { top: "lease_ttl_seconds = 1".into(), ..Setup::default() });
    let first = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let second = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    for attempt in 1..=3 {
        let lease = site.lease().unwrap();
        assert!(lease.job.plan.packages.iter().any(|p| p.cpv.contains("bash")), "the first order keeps its place");
        assert_eq!(site.upload(&lease, "half.zip", b"half"), 204);
        let state = if attempt < 3 { "waiting" } else { "failed" };
        site.wait_for(&first, state);
        assert_eq!(site.events(&lease, 0, vec![]), Err(409));
        assert_eq!(site.end(&lease, &ready(&lease)).status, 409);
    }
    let failure = &site.status(&first)["failure"];
    assert!(failure["message"].as_str().unwrap().contains("lost 3 times"), "{failure}");
    let lease = site.lease().unwrap();
    site.build(&lease);
    assert_eq!(site.state(&second), "ready", "the queue goes on");
    site.stop();
}

#[test]
fn a_crash_of_the_server_loses_nothing() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let building = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert_eq!(site.events(&lease, 0, vec![Event::Log { line: "before".into() }]), Ok(false));
    assert_eq!(site.upload(&lease, &artifact(&lease, Format::Zip).name, &content(Format::Zip)), 204);
    site.crash();

    let site = Site::start(&path);
    assert_eq!(site.state(&building), "building");
    assert_eq!(site.status(&waiting)["position"], 1);
    assert_eq!(site.get(&format!("{building}/log")).text(), "before\n");
    assert_eq!(site.events(&lease, 1, vec![]), Ok(false), "the worker goes on with the lease it has");
    assert_eq!(site.end(&lease, &ready(&lease)).status, 204);
    site.crash();

    let site = Site::start(&path);
    assert_eq!(site.state(&building), "ready");
    let file = site.get(&format!("{building}/artifacts/{}", artifact(&lease, Format::Zip).name));
    assert_eq!(file.body, content(Format::Zip));
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&waiting), "ready");
    site.stop();
}

/// Each message was taken and its answer lost: the worker says it again, to the server that was started anew.
#[test]
fn a_crash_between_any_two_messages_loses_nothing() {
    let (_dir, path) = folder();
    let crash = |site: Site| {
        site.crash();
        Site::start(&path)
    };
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let mut site = crash(site);
    let lease = site.lease().unwrap();
    site = crash(site);
    for (sequence, step) in (0..).zip(Step::ALL) {
        let line = || vec![Event::Log { line: format!("{step:?}") }];
        assert_eq!(site.events(&lease, sequence, line()), Ok(false));
        site = crash(site);
        assert_eq!(site.events(&lease, sequence, line()), Ok(false));
    }
    let (name, bytes) = (artifact(&lease, Format::Zip).name, content(Format::Zip));
    assert_eq!(site.upload(&lease, &name, &bytes), 204);
    site = crash(site);
    assert_eq!(site.upload(&lease, &name, &bytes), 204);
    assert_eq!(site.end(&lease, &ready(&lease)).status, 204);
    site = crash(site);
    assert_eq!(site.end(&lease, &ready(&lease)).status, 204);

    let status = site.status(&placed);
    assert_eq!((&status["state"], &status["attempt"]), (&"ready".into(), &1.into()), "{status}");
    let log = site.get(&format!("{placed}/log")).text();
    assert_eq!(log.lines().map(str::to_owned).collect::<Vec<_>>(), Step::ALL.map(|step| format!("{step:?}")), "each line once");
    assert_eq!(site.get(&format!("{placed}/artifacts/{name}")).body, bytes);
    assert!(site.lease().is_none(), "nothing is built twice");
    site.stop();
}

#[test]
fn a_failure_names_the_package_and_what_to_do() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);
    let status = site.status(&placed);
    assert_eq!(status["state"], "failed");
    assert_eq!(status["failure"]["package"], "app-shells/bash-5.2_p15");
    let page = site.get(&placed.replace("/api/v1", "")).text();
    assert!(page.contains("Leave the package out.") && page.contains("its pkg_postinst ended with status 1"), "{page}");
    // A failed build joins nobody: ordering again tries again.
    let again = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    assert_eq!(site.state(&again), "waiting");
    site.stop();
}

#[test]
fn a_cancelled_build_is_taken_from_its_worker() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let first = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let second = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    assert_eq!(site.post(&format!("{first}/cancel"), "text/plain", "").status, 200);
    assert_eq!(site.state(&first), "cancelled");
    assert_eq!(site.events(&lease, 0, vec![]), Ok(false), "the second order still wants it");
    assert_eq!(site.post(&format!("{second}/cancel"), "text/plain", "").status, 200);
    assert_eq!(site.events(&lease, 1, vec![]), Ok(true));
    assert_eq!(site.end(&lease, &failed()).status, 204);
    assert_eq!(site.state(&second), "cancelled");
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    assert_eq!(site.post(&format!("{waiting}/cancel"), "text/plain", "").status, 200);
    assert!(site.lease().is_none(), "a cancelled order is not built");
    site.stop();
}

#[test]
fn a_flood_of_log_lines_is_cut() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    for sequence in 0..5 {
        let events = (0..1_000).map(|_| Event::Log { line: "x".repeat(1_500) }).collect();
        assert_eq!(site.events(&lease, sequence, events), Ok(false));
    }
    let log = site.get(&format!("{placed}/log")).text();
    assert!(log.len() < 5 << 20, "{}", log.len());
    assert_eq!(log.matches("the log is too long").count(), 1);
    assert!(log.trim_end().ends_with("is not kept —"));
    wait_until("the log is served", || site.get(&format!("{placed}/log")).status == 200);
    site.stop();
}

fn asks(worker: &str, formats: &[&str], wait_seconds: u32) -> LeaseRequest {
    let formats = formats.iter().map(|format| (*format).to_owned()).collect();
    LeaseRequest {
        worker: worker.into(),
        arches: vec!["amd64".into()],
        starts_images: true,
        protocol: PROTOCOL,
        formats,
        wait_seconds,
        ..LeaseRequest::default()
    }
}

#[test]
fn a_worker_that_waits_gets_work_when_it_comes() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let leased = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.lease_as(&asks("patient", &[], 25)));
        wait_until("the worker is known", || site.get("/healthz").json()["workers"] == 1);
        site.order(&order(&["app-shells/bash"], &[Format::Zip]));
        waiting.join().unwrap()
    });
    site.build(&leased.unwrap());
    assert!(site.lease_as(&asks("impatient", &[], 1)).is_none());
    site.stop();
}

#[test]
fn a_worker_that_went_away_while_it_waited_is_not_counted_on() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let token = operator_token(&path);
    let worker = || site.seen_by_operator(&token)["workers"][0].clone();
    std::thread::scope(|scope| {
        scope.spawn(|| site.ask_and_hang_up(&asks("lost", &[], 30), Duration::from_secs(3)));
        wait_until("it asks", || worker()["asking"] == true);
    });
    wait_until("it asks no more", || worker()["asking"] == false);
    let quiet = worker()["quiet"].as_u64().unwrap();
    assert!(quiet < 30, "that was only noted when its wait would have ended: {quiet}");
    site.stop();
}

#[test]
fn a_worker_that_comes_second_goes_on_asking() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let token = operator_token(&path);
    let workers = || site.seen_by_operator(&token)["workers"].clone();
    let asking = || workers().as_array().unwrap().iter().filter(|worker| worker["asking"] == true).count();
    std::thread::scope(|scope| {
        for name in ["one", "two", "three"] {
            scope.spawn(|| site.lease_as(&asks(name, &[], 30)));
        }
        wait_until("all ask", || asking() == 3);
        // All hear of it at once, and look for themselves.
        let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
        wait_until("one has it", || site.state(&placed) == "building");
        for _ in 0..20 {
            assert_eq!(asking(), 2, "{}", workers());
            std::thread::sleep(Duration::from_millis(30));
        }
        for package in ["dev-vcs/git", "net-misc/openssh"] {
            site.order(&order(&[package], &[Format::Zip]));
        }
    });
    site.stop();
}

#[test]
fn a_build_goes_where_its_packages_are_and_its_memory_is() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let wish = |package: &str, name: &str| {
        let mut wish = order(&[package], &[Format::Zip]);
        wish.system.hostname = Some(name.into());
        site.order(&wish)
    };
    // Each of two workers gets to know one package. That takes them the same time, nearly all of it to fetch.
    for (worker, package) in [("one", "app-shells/bash"), ("two", "net-misc/openssh")] {
        wish(package, worker);
        let lease = site.lease_as(&asks(worker, &[], 0)).unwrap();
        let begins = Event::Progress { step: Step::Fetch, done: 0, total: 1, what: package.into() };
        assert_eq!(site.events(&lease, 0, vec![begins]), Ok(false));
        std::thread::sleep(std::time::Duration::from_secs(1));
        site.build_on(&lease, 1);
    }
    // Both are idle when something comes that only the second has the packages of: the first leaves it alone.
    std::thread::scope(|scope| {
        let second = scope.spawn(|| site.lease_as(&asks("two", &[], 20)));
        wait_until("both are known", || site.get("/healthz").json()["workers"] == 2);
        std::thread::sleep(std::time::Duration::from_millis(300));
        let first = scope.spawn(|| site.lease_as(&asks("one", &[], 2)));
        std::thread::sleep(std::time::Duration::from_millis(300));
        wish("net-misc/openssh", "theirs");
        site.build(&second.join().unwrap().expect("the second has its packages"));
        assert!(first.join().unwrap().is_none());
    });
    // Whoever has too little memory gets nothing, and keeps nobody else from it, though it has the packages.
    let small = LeaseRequest { memory_bytes: 100 << 20, ..asks("two", &[], 3) };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.lease_as(&small));
        std::thread::sleep(std::time::Duration::from_millis(300));
        wish("net-misc/openssh", "large");
        site.build(&site.lease_as(&asks("one", &[], 4)).expect("it is not left to one that cannot make it"));
        assert!(waiting.join().unwrap().is_none());
    });
    site.stop();
}

#[test]
fn older_and_newer_workers_work_side_by_side() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let iso = site.order(&order(&["app-shells/bash"], &[Format::Iso]));
    let zip = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    // One that knows fewer formats gets what it can write, though it is not its turn.
    let lease = site.lease_as(&asks("old", &["zip", "tar.gz"], 0)).unwrap();
    assert_eq!(lease.job.formats, [Format::Zip]);
    assert!(site.lease_as(&asks("old", &["zip"], 0)).is_none());
    // One that says more than this server knows is understood.
    let request =
        r#"{"worker":"new","arches":["amd64"],"protocol":99,"formats":["iso","zip","holo"],"wait_seconds":0,"mood":"good"}"#;
    let bearer = format!("Bearer {WORKER_TOKEN}");
    let answer = site.post_with("/api/worker/lease", request, &[("Authorization", &bearer)]);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let newer: Lease = serde_json::from_slice(&answer.body).unwrap();
    site.build(&newer);
    site.build(&lease);
    assert_eq!((site.state(&iso).as_str(), site.state(&zip).as_str()), ("ready", "ready"));
    site.stop();
}

#[test]
fn a_large_file_comes_in_as_it_was_sent() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let lease = site.lease().unwrap();
    // More than two of the parts in which it goes into a storage of its own.
    let bytes: Vec<u8> = (0..35u32 << 20).map(|i| (i >> 8) as u8 ^ i as u8).collect();
    let mut file = artifact(&lease, Format::Zip);
    let digests = attest::Digests::of(&bytes);
    (file.size, file.sha256, file.sha512, file.blake2b) = (digests.size, digests.sha256, digests.sha512, digests.blake2b);
    assert_eq!(site.upload(&lease, &file.name, &bytes), 204);
    let EndReport::Ready { plan, messages, .. } = ready(&lease) else { unreachable!() };
    let report = EndReport::Ready { artifacts: vec![file.clone()], plan, messages, evidence: vec![] };
    assert_eq!(site.end(&lease, &report).status, 204);
    let url = format!("{placed}/artifacts/{}", file.name);
    let middle = site.get_with(&url, &[("Range", "bytes=16777000-16778000")]);
    assert_eq!((middle.status, middle.body.as_slice()), (206, &bytes[16_777_000..=16_778_000]));
    assert!(site.get(&url).body == bytes);
    site.stop();
}
