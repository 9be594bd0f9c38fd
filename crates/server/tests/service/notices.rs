//! Notices by other ways than mail: webhook and feed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD as BASE64, URL_SAFE_NO_PAD as URL_SAFE};
use contract::{Format, Order};
use hmac::{Hmac, Mac};
use openssl::bn::{BigNum, BigNumContext};
use openssl::derive::Deriver;
use openssl::ec::{EcGroup, EcKey, EcPoint, PointConversionForm};
use openssl::ecdsa::EcdsaSig;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::{Cipher, decrypt_aead};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::common::{Setup, Site, failed, folder, operator_token, order, wait_until};
use crate::keeping::act;
use crate::mail::{self, MailServer};

/// A request as a receiver gets it.
#[derive(Clone, Debug)]
pub struct Call {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
    bytes: Vec<u8>,
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
pub struct Receiver {
    port: u16,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Receiver {
    pub fn start() -> Receiver {
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

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn of(&self, path: &str) -> Vec<Call> {
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
    let bytes = body;
    let body = String::from_utf8_lossy(&bytes).into_owned();
    let earlier = {
        let mut calls = calls.lock().unwrap();
        let earlier = calls.iter().any(|call| call.path == path);
        calls.push(Call { path: path.clone(), headers, body, bytes });
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

pub fn inside() -> Setup {
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
    // The last comes first, though all of it happened within a second or two.
    let titles: Vec<_> =
        ["is ready</title>", "is being built</title>", "was ordered</title>"].map(|title| text.find(title)).into();
    assert!(titles.is_sorted() && titles.iter().all(Option::is_some), "{text}");
    assert_eq!(entries(&text), 3);
    assert!(site.get(&placed.replace("/api/v1", "")).text().contains("application/atom+xml"));
    assert_eq!(site.get("/orders/nothing/feed.atom").status, 404);
    site.stop();
}

/// A browser: what it told its push service, and how it reads what comes.
pub struct Browser {
    key: EcKey<Private>,
    public: Vec<u8>,
    auth: [u8; 16],
}

impl Browser {
    pub fn new() -> Browser {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = EcKey::generate(&group).unwrap();
        let public = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut BigNumContext::new().unwrap());
        Browser { key, public: public.unwrap(), auth: *b"sixteen bytes ab" }
    }

    pub fn subscription(&self, endpoint: &str) -> Value {
        let keys = serde_json::json!({ "p256dh": URL_SAFE.encode(&self.public), "auth": URL_SAFE.encode(self.auth) });
        serde_json::json!({ "endpoint": endpoint, "expirationTime": null, "keys": keys })
    }

    /// RFC 8188, section 2.1, and RFC 8291, section 3.4, from the receiver's side.
    fn read(&self, body: &[u8]) -> Value {
        let hkdf = |salt: &[u8], key: &[u8], info: &[&[u8]], length: usize| {
            let mac = |key: &[u8], parts: &[&[u8]]| {
                let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
                parts.iter().for_each(|part| mac.update(part));
                mac.finalize().into_bytes().to_vec()
            };
            mac(&mac(salt, &[key]), &[info, &[&[1u8][..]]].concat())[..length].to_vec()
        };
        let (salt, rest) = body.split_at(16);
        let (record, rest) = rest.split_at(4);
        assert!(body.len() <= 4_096 && u32::from_be_bytes(record.try_into().unwrap()) >= 18);
        let (theirs, sealed) = rest[1..].split_at(usize::from(rest[0]));
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let point = EcPoint::from_bytes(&group, theirs, &mut BigNumContext::new().unwrap()).unwrap();
        let peer = PKey::from_ec_key(EcKey::from_public_key(&group, &point).unwrap()).unwrap();
        let own = PKey::from_ec_key(self.key.clone()).unwrap();
        let mut deriver = Deriver::new(&own).unwrap();
        deriver.set_peer(&peer).unwrap();
        let shared = deriver.derive_to_vec().unwrap();
        let material = hkdf(&self.auth, &shared, &[b"WebPush: info\0", &self.public, theirs], 32);
        let key = hkdf(salt, &material, &[b"Content-Encoding: aes128gcm\0"], 16);
        let nonce = hkdf(salt, &material, &[b"Content-Encoding: nonce\0"], 12);
        let (sealed, tag) = sealed.split_at(sealed.len() - 16);
        let plain = decrypt_aead(Cipher::aes_128_gcm(), &key, Some(&nonce), &[], sealed, tag).unwrap();
        assert_eq!(plain.last(), Some(&2), "the last record's delimiter");
        serde_json::from_slice(&plain[..plain.len() - 1]).unwrap()
    }
}

/// What a push service does with `Authorization` (RFC 8292): the claims, if the signature is by the key that browsers were shown.
fn claims(authorization: &str, shown: &str) -> Value {
    let field = |name: &str| {
        let fields = authorization.strip_prefix("vapid ").unwrap().split(',');
        fields.filter_map(|field| field.trim().split_once('=')).find(|(n, _)| *n == name).unwrap().1.to_owned()
    };
    assert_eq!(field("k"), shown);
    let token = field("t");
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE.decode(signature).unwrap();
    let number = |bytes: &[u8]| BigNum::from_slice(bytes).unwrap();
    let signature = EcdsaSig::from_private_components(number(&signature[..32]), number(&signature[32..])).unwrap();
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let point = EcPoint::from_bytes(&group, &URL_SAFE.decode(shown).unwrap(), &mut BigNumContext::new().unwrap()).unwrap();
    let key = EcKey::from_public_key(&group, &point).unwrap();
    assert!(signature.verify(&Sha256::digest(signed.as_bytes()), &key).unwrap());
    let (head, claims) = signed.split_once('.').unwrap();
    let json = |part: &str| serde_json::from_slice::<Value>(&URL_SAFE.decode(part).unwrap()).unwrap();
    assert_eq!(json(head)["alg"], "ES256");
    json(claims)
}

#[test]
fn a_browser_is_told_by_web_push() {
    let (_dir, path) = folder();
    let receiver = Receiver::start();
    let site = Site::start_with(&path, &inside());
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let page = site.get(&placed.replace("/api/v1", "")).text();
    let shown = page.split_once("data-key=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    for (file, kind) in [("/service-worker.js", "text/javascript"), ("/assets/push.js", "text/javascript")] {
        assert!(site.get(file).header("content-type").starts_with(kind), "{file}");
    }
    let browser = Browser::new();
    let wrong = serde_json::json!({ "endpoint": "https://push.example.net/", "keys": { "p256dh": "AAAA", "auth": "AAAA" } });
    let refused = site.put_json(&format!("{placed}/push"), &wrong);
    assert!(refused.status == 422 && refused.text().contains("keys"), "{}", refused.text());
    assert_eq!(site.put_json("/api/v1/orders/none/push", &wrong).status, 404);
    // The first time the push service is busy; the notice comes all the same, and once.
    let subscription = browser.subscription(&receiver.url("/later/push"));
    let calls = |path: &str| receiver.of(path);
    let others = [Browser::new(), Browser::new()];
    let tell = |placed: &str, browser: &Browser, path: &str| {
        assert_eq!(site.put_json(&format!("{placed}/push"), &browser.subscription(&receiver.url(path))).status, 204);
    };
    assert_eq!(site.put_json(&format!("{placed}/push"), &subscription).status, 204);
    tell(&placed, &others[0], "/another");
    tell(&placed, &others[1], "/gone");
    tell(&placed, &others[1], "/gone");
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);
    wait_until("the browser is told", || calls("/later/push").len() == 2);
    assert_eq!((calls("/another").len(), calls("/gone").len()), (1, 1), "each is told once, whatever became of the others");
    let first = browser.read(&calls("/later/push")[1].bytes);
    assert!(first["text"].as_str().unwrap().contains("could not be built"), "{first}");
    // A browser that its push service does not know any more is forgotten.
    assert_eq!(site.post(&format!("{placed}/again"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    wait_until("the browsers are told again", || calls("/later/push").len() == 3 && calls("/another").len() == 2);
    assert_eq!(calls("/gone").len(), 1);
    let told = others[0].read(&calls("/another")[1].bytes);
    assert_eq!(told["url"], placed.replace("/api/v1", ""));
    let call = calls("/later/push").pop().unwrap();
    let told = browser.read(&call.bytes);
    assert_eq!(told["url"], placed.replace("/api/v1", ""));
    assert!(told["text"].as_str().unwrap().contains("ready"), "{told}");
    assert!(!call.body.contains("/orders/"), "the push service cannot read it");
    assert_eq!((call.header("content-encoding"), call.header("ttl")), ("aes128gcm", "86400"));
    let claims = claims(call.header("authorization"), &shown);
    assert_eq!(claims["aud"], receiver.url("").trim_end_matches('/'));
    assert!(claims["exp"].as_i64().is_some() && claims["sub"].as_str().is_some_and(|sub| !sub.is_empty()), "{claims}");
    site.stop();

    // Nothing is sent to addresses inside, unless the operator says so.
    let site = Site::start(&path);
    let placed = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    assert_eq!(site.put_json(&format!("{placed}/push"), &browser.subscription(&receiver.url("/inside"))).status, 204);
    site.build(&site.lease().unwrap());
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(calls("/inside").is_empty());
    site.stop();
}

#[test]
fn what_the_operator_cancels_is_told_to_who_ordered_it() {
    let Some(server) = MailServer::start() else { return };
    let receiver = Receiver::start();
    let (_dir, path) = folder();
    let mut setup = mail::setup(server.port);
    setup.top = "webhooks_inside = true\n".into();
    let site = Site::start_with(&path, &setup);
    let mut by_mail = wish("app-shells/bash", &receiver.url("/waiting"));
    by_mail.notify.email = Some("larry@example.org".into());
    let placed = [&by_mail, &wish("dev-vcs/git", &receiver.url("/running"))].map(|wish| site.order(wish));
    let lease = site.lease().unwrap();
    for order in &placed {
        let cancel = json!({ "action": "cancel", "build": site.status(order)["build"] });
        assert_eq!(act(&site, &operator_token(&path), cancel).status, 200);
    }
    assert_eq!(site.events(&lease, 0, vec![]), Ok(true), "the worker is told");
    for path in ["/waiting", "/running"] {
        wait_until("it is told", || receiver.of(path).len() == 1);
        let told: Value = serde_json::from_str(&receiver.of(path).remove(0).body).unwrap();
        assert_eq!(
            (told["type"].as_str(), told["data"]["state"].as_str()),
            (Some("order.cancelled"), Some("cancelled")),
            "{told}"
        );
    }
    wait_until("a mail says so", || {
        server.to("larry@example.org").iter().any(|told| told["subject"].as_str().unwrap().contains("cancelled"))
    });
    site.stop();
}
