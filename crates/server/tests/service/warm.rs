//! Presets whose images are made ahead.

use contract::lease::LeaseRequest;
use contract::{Format, Order};

use crate::common::{Setup, Site, failed, folder, make_channel, order, wait_until};

fn warm() -> Setup {
    Setup { top: "warm = ['small']\nindex_ttl_seconds = 1".into(), ..Setup::default() }
}

/// The preset as it is, with no personal settings.
fn plain() -> Order {
    Order { arch: "amd64".into(), preset: Some("small".into()), formats: vec![Format::Zip], ..Order::default() }
}

fn waits(site: &Site) -> u64 {
    site.get("/healthz").json()["waiting"].as_u64().unwrap()
}

#[test]
fn a_preset_is_built_ahead_and_whoever_orders_it_has_it_at_once() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &warm());
    let mut lease = None;
    wait_until("it is built ahead", || {
        lease = site.lease();
        lease.is_some()
    });
    let lease = lease.unwrap();
    assert!(lease.job.plan.packages.iter().any(|package| package.cpv.starts_with("app-shells/bash-")));
    // Whoever orders while it is built joins it, and cancelling ends nothing that is made for all.
    let joined = site.order(&plain());
    assert_eq!(site.state(&joined), "building");
    assert_eq!(site.post(&format!("{joined}/cancel"), "text/plain", "").status, 200);
    assert_eq!(site.events(&lease, 0, vec![]), Ok(false), "it goes on");
    site.build_on(&lease, 1);
    let served = site.order(&plain());
    assert_eq!(site.state(&served), "ready");
    // With settings of one's own it is another image.
    let mut personal = plain();
    personal.system.hostname = Some("mine".into());
    let personal = site.order(&personal);
    assert_eq!(site.state(&personal), "waiting");
    site.build(&site.lease().unwrap());

    // The index has another build of the package: the image is made again, but not while anybody waits.
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let index = path.join("binhost/Packages");
    make_channel(&path.join("binhost"));
    let newer = std::fs::read_to_string(&index).unwrap().replace("BUILD_TIME: 1795000000", "BUILD_TIME: 1795000001");
    std::fs::write(&index, newer.replace("TIMESTAMP: 1795334700", "TIMESTAMP: 1795334701")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    let turn = site.lease().unwrap();
    assert_eq!(site.state(&waiting), "building");
    assert!(site.lease().is_none(), "nothing is made ahead while somebody's build runs");
    site.build(&turn);
    let mut again = None;
    wait_until("it is built ahead again", || {
        again = site.lease();
        again.is_some()
    });
    let again = again.unwrap();
    assert_ne!(again.job.plan.packages[0].build_time, lease.job.plan.packages[0].build_time);
    // One that fails is not tried for ever.
    assert_eq!(site.end(&again, &failed()).status, 204);
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert_eq!((waits(&site), site.lease().is_none()), (0, true));
    site.stop();
}

#[test]
fn what_no_worker_can_make_keeps_nothing_from_being_built_ahead() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let stuck = site.order(&order(&["app-shells/bash"], &[Format::Iso]));
    site.stop();
    let site = Site::start_with(&path, &warm());
    let writes_zip = LeaseRequest {
        worker: "test".into(),
        arches: vec!["amd64".into()],
        formats: vec!["zip".into()],
        starts_images: true,
        ..LeaseRequest::default()
    };
    let mut lease = None;
    wait_until("it is built ahead", || {
        lease = site.lease_as(&writes_zip);
        lease.is_some()
    });
    site.build(&lease.unwrap());
    assert_eq!((site.state(&site.order(&plain())).as_str(), site.state(&stuck).as_str()), ("ready", "waiting"));
    site.stop();
}

#[test]
fn only_presets_that_there_are_can_be_kept_warm() {
    let (_dir, path) = folder();
    let mut config = crate::common::config(&path, &Setup::default());
    config.warm = vec!["smal".into()];
    let error = server::Catalogue::new(&config).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(error.contains("smal") && error.contains("small"), "{error}");
}
