//! A small binhost for tests: packages made on the spot, and a server on loopback that can misbehave.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binhost::Patience;
use binhost::openpgp::SigningKey;
use contract::lease::BinhostAccess;
use contract::{PackageFormat, PlannedPackage};
use gentoo::binpkg::{Attributes, ImageWriter};
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description, Signer};
use gentoo::xpak;
use md5::{Digest, Md5};

/// What a path answers with.
#[derive(Clone)]
pub enum Reply {
    /// The bytes, whole or from a range on; with a `Last-Modified` when given.
    Bytes(Vec<u8>),
    /// The bytes without regard to ranges.
    Whole(Vec<u8>),
    /// Announces all bytes and closes the connection after some; the next request gets what it asks for.
    BreakOnce(Vec<u8>, usize),
    /// Announces all bytes, sends some, and says nothing more.
    Stall(Vec<u8>, usize),
    /// Bytes without end.
    Endless,
    Status(u16),
    Redirect(String),
}

/// A request as it came: its first line and headers, lower-case.
pub type Log = Arc<Mutex<Vec<String>>>;

pub struct Server {
    pub uri: String,
    pub log: Log,
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
}

impl Server {
    pub fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let uri = format!("http://{}/b", listener.local_addr().unwrap());
        let replies: Arc<Mutex<BTreeMap<String, Reply>>> = Arc::default();
        let log = Log::default();
        let (served, logged) = (replies.clone(), log.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (served, logged) = (served.clone(), logged.clone());
                std::thread::spawn(move || serve(stream, &served, &logged));
            }
        });
        Server { uri, log, replies }
    }

    pub fn set(&self, path: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(format!("/b/{path}"), reply);
    }

    pub fn requests(&self, path: &str) -> Vec<String> {
        let start = format!("get /b/{path} ").to_lowercase();
        self.log.lock().unwrap().iter().filter(|request| request.starts_with(&start)).cloned().collect()
    }
}

/// Answers one request and closes; a peer that goes away early is its own business.
fn serve(stream: TcpStream, replies: &Mutex<BTreeMap<String, Reply>>, log: &Mutex<Vec<String>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
    }
    let path = request.split(' ').nth(1)?.to_owned();
    let request = request.to_lowercase();
    log.lock().unwrap().push(request.clone());
    let reply = replies.lock().unwrap().get(&path).cloned();
    if let Some(Reply::BreakOnce(bytes, _)) = &reply {
        replies.lock().unwrap().insert(path, Reply::Bytes(bytes.clone()));
    }
    answer(stream, &request, reply)
}

fn answer(mut out: TcpStream, request: &str, reply: Option<Reply>) -> Option<()> {
    let range: usize = request.split("range: bytes=").nth(1).and_then(|r| r.split('-').next()?.parse().ok()).unwrap_or(0);
    let head = |status: &str, len: usize| format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len}\r\n");
    let mut send = |head: String, body: &[u8]| {
        out.write_all(head.as_bytes()).ok()?;
        out.write_all(b"\r\n").ok()?;
        out.write_all(body).ok()
    };
    match reply {
        None => send(head("404 Not Found", 0), b""),
        Some(Reply::Bytes(bytes)) if range > 0 && range >= bytes.len() => send(head("416 Range Not Satisfiable", 0), b""),
        Some(Reply::Bytes(bytes)) if range > 0 => {
            let part = &bytes[range..];
            let content_range = format!("Content-Range: bytes {range}-{}/{}\r\n", bytes.len() - 1, bytes.len());
            send(head("206 Partial Content", part.len()) + &content_range, part)
        }
        Some(Reply::Bytes(bytes) | Reply::Whole(bytes)) => send(head("200 OK", bytes.len()), &bytes),
        Some(Reply::BreakOnce(bytes, sent)) => send(head("200 OK", bytes.len()), &bytes[..sent]),
        Some(Reply::Stall(bytes, sent)) => {
            send(head("200 OK", bytes.len()), &bytes[..sent])?;
            std::thread::sleep(Duration::from_secs(20));
            Some(())
        }
        Some(Reply::Endless) => {
            send("HTTP/1.1 200 OK\r\nConnection: close\r\n".into(), b"")?;
            while out.write_all(&[0; 4096]).is_ok() {}
            Some(())
        }
        Some(Reply::Status(status)) => send(head(&format!("{status} Some"), 0), b""),
        Some(Reply::Redirect(to)) => send(head("302 Found", 0) + &format!("Location: {to}\r\n"), b""),
    }
}

/// Waits as a test can afford to.
pub fn patience() -> Patience {
    let (long, short) = (Duration::from_secs(20), Duration::from_secs(2));
    Patience { connect: long, answer: long, stall: short, attempts: 2, pause: Duration::from_millis(5) }
}

pub fn access(uri: &str, key: Option<&SigningKey>) -> BinhostAccess {
    let keyring = key.map(|key| key.certificate().unwrap()).unwrap_or_default();
    BinhostAccess { name: "test".into(), uri: uri.into(), keyring, allow_unsigned: key.is_none() }
}

pub fn metadata(version: &str, build_time: u64) -> BTreeMap<String, Vec<u8>> {
    let pairs = [
        ("CATEGORY", "app-misc\n".to_owned()),
        ("PF", format!("hello-{version}\n")),
        ("BUILD_TIME", format!("{build_time}\n")),
        ("BUILD_ID", "3\n".to_owned()),
        ("SLOT", "0\n".to_owned()),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into_bytes())).collect()
}

fn image(writer: &mut ImageWriter<'_>) -> std::io::Result<()> {
    let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, user: "root", group: "root", mtime: 1 };
    writer.directory(b"", &attributes)?;
    let noise: Vec<u8> = (0..30_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    writer.file(b"hello", &attributes, noise.len() as u64, &mut &noise[..])
}

pub fn gpkg(version: &str, build_time: u64, key: Option<&SigningKey>) -> Vec<u8> {
    let metadata = metadata(version, build_time);
    let basename = format!("hello-{version}-3");
    let description = Description { basename: &basename, metadata: &metadata, compression: Compression::Zstd, mtime: 1 };
    let mut file = tempfile::tempfile().unwrap();
    let mut key = key.cloned();
    gpkg::write(&mut file, &description, key.as_mut().map(|k| k as &mut dyn Signer), &mut image).unwrap();
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

pub fn xpak(version: &str, build_time: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    xpak::write(&mut bytes, &metadata(version, build_time), Compression::Bzip2, &mut image).unwrap();
    bytes
}

pub const PATH: &str = "app-misc/hello/hello-1.0-3.gpkg.tar";

/// The plan's entry for these bytes.
pub fn planned(bytes: &[u8]) -> PlannedPackage {
    PlannedPackage {
        cpv: "app-misc/hello-1.0".into(),
        slot: "0".into(),
        build_id: Some(3),
        build_time: 1_700_000_000,
        use_flags: vec![],
        binhost: "test".into(),
        path: PATH.into(),
        size: bytes.len() as u64,
        format: PackageFormat::Gpkg,
        md5: Some(hex::encode(Md5::digest(bytes))),
        sha1: None,
        sha256: None,
        license: String::new(),
        origin: None,
        repo: String::new(),
        defined_phases: String::new(),
        because: vec![],
    }
}
