//! Notices by other ways than mail: webhook and feed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use contract::{Format, Order};
use hmac::{Hmac, Mac};
use serde_json::Value;
use sha2::Sha256;

use crate::common::{Setup, Site, failed, folder, order, wait_until};

/// A request as a receiver gets it.
#[derive(Clone, Debug)]
struct Call {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Call {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// What the receiver's library does with the secret.
    fn is_signed_with(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body).as_bytes());
        self.header("webhook-signature") == format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()))
    }
}

/// A receiver of webhooks on a free port. It answers 503 the first time it is asked for a path that begins with “/later”, 410 for “/gone”, sends
/// on from “/elsewhere”, and never answers for “/silent”.
struct Receiver {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let kept = calls.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, kept) = (stream.unwrap(), kept.clone());
                std::thread::spawn(move || serve(stream, &kept));
            }
        });
        Receiver { port, calls }
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn of(&self, path: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.path == path).cloned().collect()
    }
}

fn serve(stream: TcpStream, calls: &Mutex<Vec<Call>>) {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_lowercase(), value.to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    let earlier = {
        let mut calls = calls.lock().unwrap();
        let earlier = calls.iter().any(|call| call.path == path);
        calls.push(Call { path: path.clone(), headers, body });
        earlier
    };
    if path.starts_with("/silent") {
        std::thread::sleep(std::time::Duration::from_secs(60));
        return;
    }
    let answer = match path.as_str() {
        path if path.starts_with("/later") && !earlier => "503 Service Unavailable\r\n",
        path if path.starts_with("/gone") => "410 Gone\r\n",
        path if path.starts_with("/elsewhere") => "307 Temporary Redirect\r\nLocation: /secret\r\n",
        _ => "204 No Content\r\n",
    };
    write!(reader.into_inner(), "HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
}

fn inside() -> Setup {
    Setup { top: "webhooks_inside = true".into(), ..Setup::default() }
}

fn wish(package: &str, webhook: &str) -> Order {
    let mut wish = order(&[package], &[Format::Zip]);
    wish.notify.webhook = Some(webhook.into());
    wish
}

#[test]
fn a_webhook_is_called_signed_and_again_until_it_answers() {
    let receiver = Receiver::start();
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &inside());
    site.order(&wish("app-shells/bash", &receiver.url("/silent")));
    let placed = site.order(&wish("app-shells/bash", &receiver.url("/good?a=b")));
    let elsewhere = site.order(&wish("app-shells/bash", &receiver.url("/elsewhere")));
    site.order(&wish("app-shells/bash", &receiver.url("/gone")));
    site.order(&wish("dev-vcs/git", &receiver.url("/later")));
    let gone = site.order(&wish("app-shells/bash", &receiver.url("/cancelled")));
    assert_eq!(site.post(&format!("{gone}/cancel"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);
    wait_until("the webhook was called, though another hangs", || receiver.of("/good?a=b").len() == 1);
    let status = site.status(&placed);
    let call = receiver.of("/good?a=b").remove(0);
    let secret = status["webhook_secret"].as_str().unwrap();
    assert!(call.is_signed_with(secret), "{call:?}");
    assert!(
        !call.is_signed_with(site.status(&elsewhere)["webhook_secret"].as_str().unwrap()),
        "each order has a secret of its own"
    );
    assert!(!call.body.contains(secret));
    let told: Value = serde_json::from_str(&call.body).unwrap();
    assert_eq!((told["type"].as_str(), told["data"]["state"].as_str()), (Some("order.ready"), Some("ready")));
    assert_eq!(told["data"]["artifacts"], status["artifacts"]);
    wait_until("the call is made again", || receiver.of("/later").len() == 2);
    let (first, second) = (receiver.of("/later").remove(0), receiver.of("/later").remove(1));
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"), "the receiver can tell that it is the same");
    assert!(first.body.contains("order.failed"), "{first:?}");
    assert_eq!(receiver.of("/gone").len(), 1);
    assert!(receiver.of("/secret").is_empty(), "no redirect is followed");
    assert!(receiver.of("/cancelled").is_empty());
    assert_eq!(receiver.of("/good?a=b").len(), 1);
    site.crash();
}

#[test]
fn nothing_is_sent_to_addresses_inside() {
    let receiver = Receiver::start();
    let (_dir, path) = folder();
    let site = Site::start(&path);
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        site.order(&wish("app-shells/bash", &format!("http://{host}:{}/inside", receiver.port)));
    }
    for bad in ["ftp://example.org/", "https://larry:secret@example.org/", "/path", "http://", "http://a b/"] {
        let answer = site.post_json("/api/v1/orders", &wish("app-shells/bash", bad));
        assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some("notify.webhook")), "{bad}");
    }
    site.build(&site.lease().unwrap());
    // The outbox is dealt with in its order, so that what comes after those tells that they were.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(receiver.of("/inside").is_empty());
    site.stop();
}

#[test]
fn the_feed_of_an_order_tells_what_became_of_it() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
    wish.system.hostname = Some("larry".into());
    let placed = site.order(&wish);
    let feed = format!("{}/feed.atom", placed.replace("/api/v1", ""));
    let entries = |text: &str| text.matches("<entry>").count();
    let first = site.get(&feed);
    assert_eq!(
        (first.header("content-type"), entries(&first.text())),
        ("application/atom+xml; charset=utf-8", 1),
        "{}",
        first.text()
    );
    site.build(&site.lease().unwrap());
    let text = site.get(&feed).text();
    assert!(text.starts_with("<?xml") && text.contains("is ready</title>"), "{text}");
    assert_eq!(entries(&text), 3);
    assert!(site.get(&placed.replace("/api/v1", "")).text().contains("application/atom+xml"));
    assert_eq!(site.get("/orders/nothing/feed.atom").status, 404);
    site.stop();
}
