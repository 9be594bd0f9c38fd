//! Stage3 tarballs as a mirror has them: found through the signed list, checked against DIGESTS and their own signature.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};

use binhost::openpgp::SigningKey;
use binhost::{BinhostError, Client};
use blake2::Blake2b512;
use common::{Reply, Server, access, patience};
use gentoo::compression::Compression;
use gentoo::gpkg::Signer;
use sha2::{Digest, Sha512};

const LIST: &str = "latest-stage3-amd64-openrc.txt";
const NAME: &str = "stage3-amd64-openrc-20260811T083102Z.tar.xz";

/// A root with two packages, packed.
fn tarball() -> Vec<u8> {
    let mut archive = tar::Builder::new(Compression::Xz.writer(Vec::new()).unwrap());
    let mut put = |path: &str, content: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, path, content.as_bytes()).unwrap();
    };
    for (package, slot) in [("app-shells/bash-5.2_p37", "0"), ("sys-libs/glibc-2.41-r4", "2.2")] {
        put(&format!("var/db/pkg/{package}/SLOT"), &format!("{slot}\n"));
        put(&format!("var/db/pkg/{package}/COUNTER"), "7");
        put(&format!("var/db/pkg/{package}/CONTENTS"), "dir /usr\n");
    }
    put("etc/hostname", "localhost\n");
    archive.into_inner().unwrap().finish().unwrap()
}

fn digests(bytes: &[u8], name: &str) -> String {
    let (blake2b, sha512) = (hex::encode(Blake2b512::digest(bytes)), hex::encode(Sha512::digest(bytes)));
    format!("# BLAKE2B HASH\n{blake2b}  {name}\n# SHA512 HASH\n{sha512}  {name}\n")
}

/// The files of a mirror, by path.
fn mirror(bytes: &[u8], key: &SigningKey) -> BTreeMap<String, Vec<u8>> {
    let mut key = key.clone();
    let list = format!("# Latest as of now\n# ts=1786785301\n20260811T083102Z/{NAME} {}\n", bytes.len());
    let folder = format!("20260811T083102Z/{NAME}");
    BTreeMap::from([
        (LIST.to_owned(), key.clear_sign(&list).unwrap().into_bytes()),
        (format!("{folder}.DIGESTS"), key.clear_sign(&digests(bytes, NAME)).unwrap().into_bytes()),
        (format!("{folder}.asc"), key.detached(&mut &bytes[..]).unwrap().into_bytes()),
        (folder, bytes.to_vec()),
    ])
}

struct Bench {
    server: Server,
    client: Client,
    key: SigningKey,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new(files: BTreeMap<String, Vec<u8>>, key: SigningKey) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let bench = Bench { server: Server::start(), client: Client::with_patience(dir.path(), patience()), key, _dir: dir };
        for (path, bytes) in files {
            bench.server.set(&path, Reply::Bytes(bytes));
        }
        bench
    }

    fn get(&self) -> Result<Vec<gentoo::vdb::Installed>, BinhostError> {
        let access = access(&self.server.uri, Some(&self.key));
        let stage3 = self.client.latest_stage3(&access, LIST)?;
        self.client.stage3(&access, &stage3, &mut |_| {})?.installed()
    }
}

fn key() -> SigningKey {
    SigningKey::generate("Test <test@example.org>").unwrap()
}

#[test]
fn the_newest_is_found_checked_and_read() {
    let key = key();
    let bytes = tarball();
    let bench = Bench::new(mirror(&bytes, &key), key);
    let installed = bench.get().unwrap();
    let names: Vec<String> = installed.iter().map(|package| package.entry.cpv.to_string()).collect();
    assert_eq!(names, ["app-shells/bash-5.2_p37", "sys-libs/glibc-2.41-r4"]);
    assert_eq!((installed[1].entry.slot.as_str(), installed[1].counter), ("2.2", 7));
    // The second time the tarball comes from the cache; the small texts are asked for again.
    bench.get().unwrap();
    assert_eq!(bench.server.requests(&format!("20260811T083102Z/{NAME}")).len(), 1);
    let access = access(&bench.server.uri, Some(&bench.key));
    let stage3 = bench.client.latest_stage3(&access, LIST).unwrap();
    let mut read = Vec::new();
    bench.client.stage3(&access, &stage3, &mut |_| {}).unwrap().file.read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
}

#[test]
fn each_check_refuses_with_its_own_reason() {
    let (key, stranger) = (key(), key());
    let bytes = tarball();
    let good = mirror(&bytes, &key);
    let foreign = mirror(&bytes, &stranger);
    let folder = format!("20260811T083102Z/{NAME}");
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    let mut short = bytes.clone();
    short.pop();
    let signed = |text: String| key.clone().clear_sign(&text).unwrap().into_bytes();
    let cases: [(&str, Option<Vec<u8>>, &str); 10] = [
        (LIST, foreign.get(LIST).cloned(), "not among this binhost's trusted keys"),
        (LIST, Some(b"20260811T083102Z/x.tar.xz 5\n".to_vec()), LIST),
        (LIST, Some(signed("../x.tar.xz 5\n".into())), "“..”"),
        (LIST, None, "404"),
        (&format!("{folder}.DIGESTS"), foreign.get(&format!("{folder}.DIGESTS")).cloned(), "DIGESTS"),
        (&format!("{folder}.DIGESTS"), Some(signed("# SHA512 HASH\n".into())), "it has no SHA512"),
        (&format!("{folder}.DIGESTS"), Some(signed(digests(b"else", NAME))), "SHA512 hash is not the one"),
        (&format!("{folder}.asc"), foreign.get(&format!("{folder}.asc")).cloned(), ".asc is refused"),
        (&folder, Some(altered), "hash is not the one"),
        (&folder, Some(short), "truncated"),
    ];
    for (path, content, expected) in cases {
        let mut files = good.clone();
        match content {
            Some(content) => files.insert(path.to_owned(), content),
            None => files.remove(path),
        };
        let error = Bench::new(files, key.clone()).get().unwrap_err();
        assert!(error.to_string().contains(expected), "{path}: {error}, not {expected}");
        assert!(!error.advice().is_empty());
    }
}

#[test]
fn a_base_without_packages_is_no_base() {
    let key = key();
    let mut encoder = Compression::Xz.writer(Vec::new()).unwrap();
    encoder.write_all(&tar::Builder::new(Vec::new()).into_inner().unwrap()).unwrap();
    let bench = Bench::new(mirror(&encoder.finish().unwrap(), &key), key);
    assert!(bench.get().unwrap_err().to_string().contains("no packages installed"));
}
