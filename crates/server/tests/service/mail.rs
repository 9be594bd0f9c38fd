//! Notices by mail, against a real SMTP server (aiosmtpd, which the setup puts into target/test-venv).

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use contract::{Format, Order};
use serde_json::Value;

use crate::backend::{self, execute, texts};
use crate::common::{Setup, Site, days_go_by, failed, folder, order, venv, wait_until};

/// A running mail server and what it has taken.
pub struct MailServer {
    process: Child,
    pub port: u16,
    mails: Arc<Mutex<Vec<Value>>>,
}

impl MailServer {
    /// `None`, with a line that says so, where aiosmtpd is not installed.
    pub fn start() -> Option<MailServer> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let venv = venv();
        let python = venv.join("bin/python3");
        let there = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            println!("SKIPPED: mail needs aiosmtpd in {}: run scripts/setup test", venv.display());
            return None;
        }
        let mut process = Command::new(python)
            .arg(here.join("tests/service/smtp.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        let mails: Arc<Mutex<Vec<Value>>> = Arc::default();
        let taken = mails.clone();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(MailServer { process, port, mails })
    }

    pub fn to(&self, address: &str) -> Vec<Value> {
        self.mails.lock().unwrap().iter().filter(|m| m["to"][0] == address).cloned().collect()
    }

    pub fn wait_for(&self, address: &str) -> Value {
        wait_until(&format!("a mail comes to {address}"), || !self.to(address).is_empty());
        self.to(address).remove(0)
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// A site that sends mail to whoever is named.
pub fn setup(port: u16) -> Setup {
    let mut setup = asking(port);
    setup.tables += "confirm = false\n";
    setup
}

/// A site that first asks.
pub fn asking(port: u16) -> Setup {
    let tables = format!("[mail]\nhost = '127.0.0.1'\nport = {port}\nfrom = 'Hatchery <hatchery@example.org>'\n");
    Setup { tables, ..Setup::default() }
}

fn wish(package: &str, email: &str) -> Order {
    let mut wish = order(&[package], &[Format::Zip]);
    wish.notify.email = Some(email.into());
    wish
}

#[test]
fn whoever_ordered_is_told_how_it_ended() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &setup(mail.port));
    let good = site.order(&wish("app-shells/bash", "good@example.org"));
    let german = [("Content-Type", "application/json"), ("Accept-Language", "de-AT, en;q=0.5")];
    let later = serde_json::to_string(&wish("app-shells/bash", "later@example.org")).unwrap();
    assert_eq!(site.post_with("/api/v1/orders", &later, &german).status, 201);
    let gone = site.order(&wish("app-shells/bash", "gone@example.org"));
    site.order(&wish("app-shells/bash", "never@example.org"));
    site.order(&wish("dev-vcs/git", "bad@example.org"));
    assert_eq!(site.post(&format!("{gone}/cancel"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    let lease = site.lease().unwrap();
    assert_eq!(site.end(&lease, &failed()).status, 204);

    let told = mail.wait_for("good@example.org");
    let status = site.status(&good);
    let body = told["body"].as_str().unwrap();
    assert!(told["subject"].as_str().unwrap().contains("is ready"), "{told}");
    assert!(body.contains(status["url"].as_str().unwrap()), "{body}");
    assert!(body.contains(status["artifacts"][0]["sha256"].as_str().unwrap()), "{body}");
    let bad = mail.wait_for("bad@example.org");
    assert!(bad["subject"].as_str().unwrap().contains("could not be built"), "{bad}");
    assert!(bad["body"].as_str().unwrap().contains("Leave the package out."), "{bad}");
    let told = mail.wait_for("later@example.org");
    assert!(told["subject"].as_str().unwrap().ends_with("ist fertig"), "in the language of the order: {told}");
    assert!(told["body"].as_str().unwrap().contains("Lade es herunter"), "{told}");
    // An order placed when the image is there already is told of at once.
    site.order(&wish("app-shells/bash", "afterwards@example.org"));
    mail.wait_for("afterwards@example.org");
    assert!(mail.to("gone@example.org").is_empty(), "who cancelled is not told");
    assert!(mail.to("never@example.org").is_empty());
    assert_eq!(mail.to("good@example.org").len(), 1);
    site.stop();
}

#[test]
fn a_notice_outlives_mail_server_and_site() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    // A port that was free a moment ago: nobody answers there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let site = Site::start_with(&path, &setup(closed));
    site.order(&wish("app-shells/bash", "late@example.org"));
    site.build(&site.lease().unwrap());
    site.crash();
    // A server that shares its database leaves what it had in hand to others only after a while, which is let pass here.
    execute(&backend::of(&path).database, "UPDATE outbox SET claimed_until = 0");
    let site = Site::start_with(&path, &setup(mail.port));
    mail.wait_for("late@example.org");
    site.stop();
    let site = Site::start_with(&path, &setup(mail.port));
    site.order(&wish("app-shells/bash", "marker@example.org"));
    mail.wait_for("marker@example.org");
    assert_eq!(mail.to("late@example.org").len(), 1, "told once");
    site.stop();
}

/// The page of an address, as a mail names it that may be of a site before.
fn old_page_of(mail: &Value) -> String {
    let body = mail["body"].as_str().unwrap();
    format!("/mail/{}", body.split("/mail/").nth(1).unwrap().split_whitespace().next().unwrap())
}

/// The page of an address, as a mail names it.
fn page_of(site: &Site, mail: &Value) -> String {
    let page = old_page_of(mail);
    assert!(mail["html"].as_str().unwrap().contains(&format!("{}{page}", site.base)), "{mail}");
    page
}

#[test]
fn an_address_is_asked_before_anything_else_is_sent() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &asking(mail.port));
    let of_stranger = site.order(&wish("app-shells/bash", "stranger@example.org"));
    site.order(&wish("app-shells/bash", "stranger@example.org"));
    let of_larry = site.order(&wish("dev-vcs/git", "larry@example.org"));
    let asked = mail.wait_for("larry@example.org");
    assert!(asked["subject"].as_str().unwrap().contains("your address"), "{asked}");
    let page = page_of(&site, &asked);
    assert!(site.get(&page).text().contains("It is my address"), "looking alone confirms nothing");
    let positions = || [&of_stranger, &of_larry].map(|order| site.status(order)["position"].as_u64().unwrap());
    assert_eq!(positions(), [1, 2]);
    assert_eq!(site.post(&format!("{page}/confirm"), "application/x-www-form-urlencoded", "").status, 303);
    assert!(site.get(&page).text().contains("The address is confirmed"));
    assert_eq!(positions(), [2, 1], "who confirmed goes before who did not");
    for package in ["dev-vcs/git", "app-shells/bash"] {
        let lease = site.lease().unwrap();
        let plan = serde_json::to_string(&lease.job.plan).unwrap();
        assert!(plan.contains(package), "a worker gets them in this order: {plan}");
        site.build(&lease);
    }
    wait_until("the image is told of", || mail.to("larry@example.org").len() == 2);
    let told = mail.to("larry@example.org").remove(1);
    assert!(told["subject"].as_str().unwrap().contains("is ready"), "{told}");
    assert!(told["html"].as_str().unwrap().contains("Download it"), "{told}");
    // One click stops it, as a mail program does it (RFC 8058).
    let header = told["unsubscribe"][0].as_str().unwrap();
    assert_eq!(told["unsubscribe"][1], "List-Unsubscribe=One-Click");
    assert_eq!(header, format!("<{}{page}/stop>", site.base));
    let click = site.post(&format!("{page}/stop"), "application/x-www-form-urlencoded", "List-Unsubscribe=One-Click");
    assert_eq!(click.status, 200);
    site.order(&wish("dev-vcs/git", "larry@example.org"));
    // Of the stranger nothing but one question was asked, though an image is ready; once it is confirmed, it is told of.
    assert_eq!(mail.to("stranger@example.org").len(), 1);
    let page = page_of(&site, &mail.to("stranger@example.org")[0]);
    assert_eq!(site.post(&format!("{page}/confirm"), "application/x-www-form-urlencoded", "").status, 303);
    wait_until("what was owed is sent", || mail.to("stranger@example.org").len() == 3);
    assert_eq!(mail.to("larry@example.org").len(), 2, "who stopped gets no more");
    assert_eq!(site.get("/mail/0000").status, 404);
    assert_eq!(site.post("/mail/0000/stop", "text/plain", "").status, 404);
    site.stop();
}

/// Confirms an address, as the question has it.
fn confirm(site: &Site, question: &Value) {
    let page = old_page_of(question);
    assert_eq!(site.post(&format!("{page}/confirm"), "application/x-www-form-urlencoded", "").status, 303);
}

/// The kinds of notices that are owed.
fn owed(dir: &Path) -> Vec<String> {
    texts(&backend::of(dir).database, "SELECT kind FROM outbox WHERE sent IS NULL AND gave_up IS NULL ORDER BY id")
}

#[test]
fn who_confirms_late_is_told_of_what_is_so_still() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let late = "late@example.org";
    let site = Site::start_with(&path, &asking(mail.port));
    let gone = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.order(&wish("app-shells/bash", late));
    site.build(&site.lease().unwrap());
    let question = mail.wait_for(late);
    site.stop();
    days_go_by(&path, 5);
    let site = Site::start_with(&path, &asking(mail.port));
    wait_until("the image is about to expire", || owed(&path) == ["ready", "expiring"]);
    site.stop();
    execute(&backend::of(&path).database, "UPDATE outbox SET created = created - 2 * 86400");
    let site = Site::start_with(&path, &asking(mail.port));
    site.wait_for(&gone, "expired");
    // Whoever else ordered the same has what failed for both built again.
    let other = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    site.order(&wish("dev-vcs/git", late));
    assert_eq!(site.end(&site.lease().unwrap(), &failed()).status, 204);
    assert_eq!(site.post(&format!("{other}/again"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    assert_eq!(owed(&path), ["ready", "expiring", "failed", "ready"]);
    confirm(&site, &question);
    wait_until("nothing is owed any more", || owed(&path).is_empty());
    // Mails come in the order in which the server took them.
    site.order(&wish("dev-vcs/git", late));
    wait_until("the marker comes", || mail.to(late).len() >= 3);
    let told: Vec<bool> = mail.to(late).iter().map(|mail| mail["subject"].as_str().unwrap().contains("is ready")).collect();
    assert_eq!(told, [false, true, true], "the question, the image that is there, and the marker: {:?}", mail.to(late));

    // What was dropped is told of when it comes true again, whoever had it built.
    assert_eq!(site.post(&format!("{gone}/again"), "text/plain", "").status, 200);
    site.build(&site.lease().unwrap());
    wait_until("the first image is told of", || mail.to(late).len() == 4);
    site.stop();
}

#[test]
fn mail_to_who_never_confirms_is_not_owed_for_ever() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &asking(mail.port));
    let addresses = ["silent@example.org", "larry@example.org"];
    for address in addresses {
        site.order(&wish("app-shells/bash", address));
    }
    site.build(&site.lease().unwrap());
    let questions = addresses.map(|address| mail.wait_for(address));
    wait_until("the questions are sent", || owed(&path) == ["ready", "ready"]);
    site.stop();
    let age = "UPDATE outbox SET created = created - CASE WHEN order_id IN (SELECT id FROM orders WHERE email LIKE 'silent%')
                   THEN 31 ELSE 29 END * 86400";
    execute(&backend::of(&path).database, age);
    let site = Site::start_with(&path, &asking(mail.port));
    wait_until("what is old is owed no more", || owed(&path) == ["ready"]);
    questions.iter().for_each(|question| confirm(&site, question));
    wait_until("who confirmed in time is told", || mail.to(addresses[1]).len() == 2);
    assert_eq!(mail.to(addresses[0]).len(), 1, "the question alone");
    site.stop();
}

#[test]
fn a_site_logs_in_at_its_mail_server_and_sends_nothing_unprotected_that_is_to_be_protected() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let password = path.join("password");
    let setup = |lines: &str| {
        let mut setup = setup(mail.port);
        setup.tables += &format!("user = 'larry'\npassword_file = '{}'\n{lines}", password.display());
        setup
    };
    // The mail server offers no TLS.
    std::fs::write(&password, "secret of larry\n").unwrap();
    let errors = || texts(&backend::of(&path).database, "SELECT last_error FROM outbox WHERE sent IS NULL AND attempts > 0");
    let site = Site::start_with(&path, &setup("security = 'starttls'\n"));
    site.order(&wish("app-shells/bash", "user@example.org"));
    site.build(&site.lease().unwrap());
    wait_until("it is noted that there is no TLS", || errors().iter().any(|error| error.contains("STARTTLS is not supported")));
    site.stop();
    assert!(mail.to("user@example.org").is_empty());
    let again = || execute(&backend::of(&path).database, "UPDATE outbox SET next_try = 0, claimed_until = 0");

    again();
    std::fs::write(&password, "wrong").unwrap();
    let site = Site::start_with(&path, &setup(""));
    wait_until("it is noted that the password is wrong", || errors().iter().any(|error| error.contains("535")));
    site.stop();

    // It is not given up for that.
    again();
    std::fs::write(&password, "secret of larry\n").unwrap();
    let site = Site::start_with(&path, &setup(""));
    assert_eq!(mail.wait_for("user@example.org")["user"], "larry");
    site.stop();
}
