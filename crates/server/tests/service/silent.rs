//! Notices where the other side accepts the connection and then says nothing.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use contract::{Format, Order};

use crate::backend::{self, execute, texts};
use crate::common::{Setup, Site, folder, order, wait_until};
use crate::mail::{self, MailServer};
use crate::notices::{Browser, Receiver, inside};

/// More than the site gives at once.
const MANY: usize = 9;

/// A mail server that accepts connections, and keeps them without a word.
struct SilentServer {
    port: u16,
    accepted: Arc<Mutex<Vec<TcpStream>>>,
}

impl SilentServer {
    fn start() -> SilentServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let kept = accepted.clone();
        std::thread::spawn(move || listener.incoming().for_each(|stream| kept.lock().unwrap().push(stream.unwrap())));
        SilentServer { port, accepted }
    }
}

/// A site that sends mail to whoever is named, and waits so many seconds for its mail server.
fn setup(port: u16, seconds: u64) -> Setup {
    let mut setup = mail::setup(port);
    setup.tables += &format!("timeout_seconds = {seconds}\n");
    Setup { top: inside().top, ..setup }
}

fn wish() -> Order {
    order(&["app-shells/bash"], &[Format::Zip])
}

fn address(of: usize) -> String {
    format!("larry{of}@example.org")
}

/// Orders one image with many addresses, so that as many mails are owed once it is built.
fn order_with_mails(site: &Site) {
    for i in 0..MANY {
        let mut wish = wish();
        wish.notify.email = Some(address(i));
        site.order(&wish);
    }
}

/// What is owed goes to a mail server that answers, once to each.
fn is_told_by(mail: &MailServer, path: &Path) {
    // A server that shares its database leaves what it had in hand to others only after a while, which is let pass here.
    execute(&backend::of(path).database, "UPDATE outbox SET claimed_until = 0, next_try = 0");
    let site = Site::start_with(path, &setup(mail.port, 30));
    (0..MANY).for_each(|i| drop(mail.wait_for(&address(i))));
    let mut marker = wish();
    marker.notify.email = Some("marker@example.org".into());
    site.order(&marker);
    mail.wait_for("marker@example.org");
    assert!((0..MANY).all(|i| mail.to(&address(i)).len() == 1), "each is told once");
    site.stop();
}

#[test]
fn a_silent_mail_server_keeps_no_other_notice_from_being_given() {
    let Some(mail) = MailServer::start() else { return };
    let (silent, receiver) = (SilentServer::start(), Receiver::start());
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &setup(silent.port, 1));
    order_with_mails(&site);
    let mut called = wish();
    called.notify.webhook = Some(receiver.url("/called"));
    site.order(&called);
    site.build(&site.lease().unwrap());
    wait_until("the webhook is called", || receiver.of("/called").len() == 1);
    let told = || texts(&backend::of(&path).database, "SELECT last_error FROM outbox WHERE way = 'mail' AND attempts > 0");
    wait_until("it is noted that no mail was taken", || told().len() == MANY);
    assert!(told().iter().all(|error| error.contains("did not take it within 1 seconds")), "{:?}", told());
    site.stop();
    is_told_by(&mail, &path);
}

#[test]
fn a_silent_mail_server_does_not_keep_the_site_from_stopping() {
    let Some(mail) = MailServer::start() else { return };
    let silent = SilentServer::start();
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &setup(silent.port, 60));
    order_with_mails(&site);
    site.build(&site.lease().unwrap());
    wait_until("as many mails are in hand as can be", || silent.accepted.lock().unwrap().len() == MANY - 1);
    let stopped = std::thread::spawn(|| site.stop());
    wait_until("the site stops", || stopped.is_finished());
    stopped.join().unwrap();
    is_told_by(&mail, &path);
}

#[test]
fn a_mail_that_was_taken_is_not_sent_again_for_want_of_a_goodbye() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &setup(mail.port, 1));
    let mut wish = wish();
    wish.notify.email = Some("clinging@example.org".into());
    site.order(&wish);
    site.build(&site.lease().unwrap());
    mail.wait_for("clinging@example.org");
    let given = "SELECT kind FROM outbox WHERE sent IS NOT NULL AND attempts = 1";
    wait_until("it counts as given", || texts(&backend::of(&path).database, given) == ["ready"]);
    site.stop();
}

#[test]
fn a_slow_push_service_keeps_no_other_browser_waiting() {
    let receiver = Receiver::start();
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &inside());
    let placed = site.order(&wish());
    for service in ["/silent/1", "/silent/2", "/silent/3", "/then/4"] {
        let subscription = Browser::new().subscription(&receiver.url(service));
        assert_eq!(site.put_json(&format!("{placed}/push"), &subscription).status, 204);
    }
    site.build(&site.lease().unwrap());
    // One after the other, each of the three would be waited for as long as a push service may take.
    wait_until("the browser is told that comes last", || receiver.of("/then/4").len() == 1);
    site.crash();
}
