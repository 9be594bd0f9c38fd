//! Indexes: fetched with few questions, refused when they are none.

mod common;

use std::io::Write;

use binhost::{BinhostError, Client};
use common::{Reply, Server, access, patience};
use contract::lease::BinhostAccess;
use sha2::{Digest, Sha256};

struct Setting {
    server: Server,
    _folder: tempfile::TempDir,
    client: Client,
    access: BinhostAccess,
}

fn setting() -> Setting {
    let (server, folder) = (Server::start(), tempfile::tempdir().unwrap());
    let client = Client::with_patience(folder.path(), patience());
    let access = access(&server.uri, None);
    Setting { server, _folder: folder, client, access }
}

fn text(ttl: &str) -> Vec<u8> {
    let entry = "CPV: app-misc/hello-1.0\nPATH: app-misc/hello-1.0.gpkg.tar\nSIZE: 5\nBUILD_TIME: 7\nUSE: \n";
    format!("ARCH: amd64\nPACKAGES: 1\nTIMESTAMP: 784111777\n{ttl}VERSION: 0\n\n{entry}\n").into_bytes()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_compressed_index_comes_first() {
    let s = setting();
    s.server.set("Packages.gz", Reply::Bytes(gzip(&text(""))));
    let index = s.client.index(&s.access).unwrap();
    assert_eq!((index.timestamp, index.packages.entries.len()), (784_111_777, 1));
    assert_eq!(index.sha256, hex::encode(Sha256::digest(text(""))));
    assert_eq!(s.server.log.lock().unwrap().len(), 1);
}

#[test]
fn the_plain_index_serves_where_there_is_no_other() {
    let s = setting();
    s.server.set("Packages", Reply::Bytes(text("")));
    assert_eq!(s.client.index(&s.access).unwrap().packages.entries.len(), 1);
    // A server that decompresses what it sends.
    s.server.set("Packages.gz", Reply::Bytes(text("")));
    assert_eq!(s.client.index(&s.access).unwrap().packages.entries.len(), 1);
}

#[test]
fn an_unchanged_index_is_not_transferred_again() {
    let s = setting();
    s.server.set("Packages.gz", Reply::Bytes(gzip(&text(""))));
    let first = s.client.index(&s.access).unwrap();
    s.server.set("Packages.gz", Reply::Status(304));
    assert_eq!(s.client.index(&s.access).unwrap().sha256, first.sha256);
    let requests = s.server.requests("Packages.gz");
    assert!(!requests[0].contains("if-modified-since"));
    assert!(requests[1].contains("if-modified-since: sun, 06 nov 1994 08:49:37 gmt"), "{}", requests[1]);
    assert_eq!(s.client.cached_index(&s.access).unwrap().unwrap().sha256, first.sha256);
}

#[test]
fn a_time_to_live_spares_the_question() {
    let s = setting();
    s.server.set("Packages.gz", Reply::Bytes(gzip(&text("TTL: 3600\n"))));
    for _ in 0..3 {
        s.client.index(&s.access).unwrap();
    }
    assert_eq!(s.server.log.lock().unwrap().len(), 1);
}

#[test]
fn a_changed_index_replaces_the_kept_one() {
    let s = setting();
    s.server.set("Packages.gz", Reply::Bytes(gzip(&text(""))));
    let first = s.client.index(&s.access).unwrap();
    s.server.set("Packages.gz", Reply::Bytes(gzip(&text("USE: x\n"))));
    let second = s.client.index(&s.access).unwrap();
    assert_ne!(first.sha256, second.sha256);
    assert_eq!(s.client.cached_index(&s.access).unwrap().unwrap().sha256, second.sha256);
}

#[test]
fn what_is_no_index_is_refused() {
    let s = setting();
    assert!(s.client.cached_index(&s.access).unwrap().is_none());
    assert!(matches!(s.client.index(&s.access).unwrap_err(), BinhostError::NoIndex { .. }));
    let index = |bytes: Vec<u8>| {
        s.server.set("Packages.gz", Reply::Bytes(bytes));
        let error = s.client.index(&s.access).unwrap_err();
        assert!(!error.advice().is_empty() && error.to_string().contains("test"), "{error}");
        error
    };
    assert!(matches!(index(b"<html>login</html>".to_vec()), BinhostError::Index { .. }));
    let zipped = gzip(&text(""));
    assert!(matches!(index(zipped[..zipped.len() - 9].to_vec()), BinhostError::BrokenIndex { .. }));
    let no_time = String::from_utf8(text("")).unwrap().replace("TIMESTAMP: 784111777\n", "");
    assert!(matches!(index(no_time.into_bytes()), BinhostError::Index { .. }));
    assert!(matches!(index(gzip(&vec![b'\n'; 129 << 20])), BinhostError::BrokenIndex { .. }));
    s.server.set("Packages.gz", Reply::Status(304));
    assert!(matches!(s.client.index(&s.access).unwrap_err(), BinhostError::Unreachable { .. }));
    s.server.set("Packages.gz", Reply::Stall(zipped, 10));
    assert!(matches!(s.client.index(&s.access).unwrap_err(), BinhostError::Unreachable { .. }));
    s.server.set("Packages.gz", Reply::Status(500));
    assert!(matches!(s.client.index(&s.access).unwrap_err(), BinhostError::Refused { status: 500, .. }));
}

#[test]
fn a_folder_is_a_binhost() {
    let s = setting();
    let folder = tempfile::tempdir().unwrap();
    let access = BinhostAccess { uri: format!("file://{}", folder.path().display()), ..s.access.clone() };
    assert!(matches!(s.client.index(&access).unwrap_err(), BinhostError::NoIndex { .. }));
    std::fs::write(folder.path().join("Packages.gz"), gzip(&text("USE: old\n"))).unwrap();
    let compressed = s.client.index(&access).unwrap();
    std::fs::write(folder.path().join("Packages"), text("")).unwrap();
    assert_ne!(s.client.index(&access).unwrap().sha256, compressed.sha256);
}
