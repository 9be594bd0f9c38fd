//! What a site does when its disk has no room for an image, or for anything.

use std::path::PathBuf;

use contract::Format;
use contract::lease::Lease;

use crate::backend::{on_s3, stored};
use crate::common::{Setup, Site, artifact, content, folder, order, ready};
use crate::disk::Disk;

/// A site on a small disk of its own, and an order whose build a worker has in hand.
struct Begun {
    site: Site,
    placed: String,
    lease: Lease,
    /// The image that was ordered.
    name: String,
    path: PathBuf,
    disk: Disk,
    _dir: tempfile::TempDir,
}

impl Begun {
    /// None where nothing can be mounted, and with S3, as there is nothing of the images on this disk.
    fn start() -> Option<Begun> {
        if on_s3() {
            return None;
        }
        let (_dir, path) = folder();
        std::fs::create_dir(path.join("data")).unwrap();
        let disk = Disk::mount(&path.join("data"), 16)?;
        let site = Site::start_with(&path, &Setup::default());
        let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
        let lease = site.lease().unwrap();
        let name = artifact(&lease, Format::Zip).name;
        Some(Begun { site, placed, lease, name, path, disk, _dir })
    }

    /// The worker delivers.
    fn finish(&self) {
        assert_eq!(self.site.upload(&self.lease, &self.name, &content(Format::Zip)), 204);
        assert_eq!(self.site.end(&self.lease, &ready(&self.lease)).status, 204);
    }
}

#[test]
fn an_image_that_does_not_fit_on_the_disk_leaves_nothing_behind() {
    let Some(begun) = Begun::start() else { return };
    let Begun { site, placed, lease, name, path, .. } = &begun;
    // An image that does not fit is refused, and its beginning does not stay.
    assert_eq!(site.upload(lease, name, &vec![7; 24 << 20]), 507);
    assert_eq!(stored(path, &lease.job.build), Vec::<String>::new());
    assert_eq!(site.state(placed), "building");
    // With room again, as here, the worker's next try is good, and the order is what it would have been.
    begun.finish();
    let file = site.get(&format!("{placed}/artifacts/{name}"));
    assert_eq!((file.status, file.body), (200, content(Format::Zip)));
    begun.site.stop();
}

#[test]
fn a_disk_that_was_full_to_the_last_byte_is_forgotten_when_it_has_room() {
    let Some(begun) = Begun::start() else { return };
    let (site, rest) = (&begun.site, begun.disk.fill());
    let wanted = order(&["dev-vcs/git"], &[Format::Zip]);
    // More often than there are connections, so that every one of them meets the full disk.
    let refused: Vec<u16> =
        (0..24).map(|_| site.post_json("/api/v1/orders", &wanted).status).filter(|status| *status != 201).collect();
    assert!(!refused.is_empty() && refused.iter().all(|status| *status == 507), "the disk is full: {refused:?}");
    std::fs::remove_file(rest).unwrap();
    for _ in 0..24 {
        let answer = site.post_json("/api/v1/orders", &wanted);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    // What was taken before is there, and its build goes on.
    begun.finish();
    assert_eq!(site.state(&begun.placed), "ready");
    begun.site.stop();
}

/// Orders and pages do not need the storage.
#[test]
fn a_storage_that_hangs_does_not_keep_a_server_from_starting() {
    if on_s3() {
        return;
    }
    let (_dir, path) = folder();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(path.join("secret"), "a secret").unwrap();
    let storage = format!(
        "[storage]\nendpoint = 'http://{}'\nbucket = 'b'\naccess_key = 'k'\nsecret_key_file = '{}'\n",
        silent.local_addr().unwrap(),
        path.join("secret").display()
    );
    let site = Site::start_with(&path, &Setup { tables: storage, ..Setup::default() });
    assert_eq!(site.get("/healthz").status, 200);
    site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.crash();
}
