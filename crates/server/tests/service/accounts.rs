//! Accounts: logging in by a link that is mailed, and what comes with an account.

use contract::Format;
use serde_json::{Value, json};

use crate::backend::{self, execute, texts};
use crate::common::{Answer, Setup, Site, folder, operator_token, order, wait_until};
use crate::mail::{self, MailServer};

const FORM: &str = "application/x-www-form-urlencoded";

/// A browser with its cookies.
#[derive(Default)]
pub struct Browser {
    pub cookie: String,
}

impl Browser {
    pub fn get(&mut self, site: &Site, path: &str) -> Answer {
        let answer = site.get_with(path, &[("Cookie", &self.cookie), ("User-Agent", "Tested <b>1.0")]);
        self.keep(answer)
    }

    pub fn post(&mut self, site: &Site, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = [("Content-Type", FORM), ("Cookie", self.cookie.as_str()), ("Sec-Fetch-Site", "same-origin")];
        let answer = site.post_with(path, &body, &headers);
        self.keep(answer)
    }

    fn keep(&mut self, answer: Answer) -> Answer {
        let set: Vec<&str> = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
        for cookie in set {
            assert!(cookie.contains("; HttpOnly; SameSite=Lax"), "{cookie}");
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        answer
    }

    fn order(&self, site: &Site, hostname: &str) -> Answer {
        let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
        wish.system.hostname = Some(hostname.into());
        let body = serde_json::to_string(&wish).unwrap();
        site.post_with("/api/v1/orders", &body, &[("Content-Type", "application/json"), ("Cookie", &self.cookie)])
    }
}

fn with_accounts(port: u16, accounts: &str) -> Setup {
    let mut setup = mail::asking(port);
    setup.top = "behind_proxy = true\n".into();
    setup.tables += &format!("[accounts]\n{accounts}\n");
    setup
}

/// Asks for a link, and gives back its path.
pub fn link_for(site: &Site, mail: &MailServer, email: &str) -> String {
    let before = mail.to(email).len();
    let asked = Browser::default().post(site, "/log-in/mail", &[("email", email)]);
    assert_eq!(asked.status, 200, "{}", asked.text());
    wait_until("the link comes", || mail.to(email).len() > before);
    link_in(&mail.to(email).remove(before))
}

/// The path of the link that a mail has.
fn link_in(told: &Value) -> String {
    let body = told["body"].as_str().unwrap();
    let link = body.split("/log-in/link/").nth(1).unwrap().split_whitespace().next().unwrap();
    assert!(told["html"].as_str().unwrap().contains(link), "{told}");
    format!("/log-in/link/{link}")
}

#[test]
fn a_link_outlives_mail_server_and_site_and_is_kept_nowhere() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    // A port that was free a moment ago: nobody answers there.
    let closed = crate::services::free_port();
    let site = Site::start_with(&path, &with_accounts(closed, ""));
    let german = [("Content-Type", FORM), ("Accept-Language", "de")];
    assert_eq!(site.post_with("/log-in/mail", "email=late%40example.org", &german).status, 200);
    site.crash();
    // A server that shares its database leaves what it had in hand to others only after a while, which is let pass here.
    let database = backend::of(&path).database;
    execute(&database, "UPDATE outbox SET claimed_until = 0, next_try = 0");
    let site = Site::start_with(&path, &with_accounts(mail.port, ""));
    let told = mail.wait_for("late@example.org");
    assert!(told["subject"].as_str().unwrap().contains("Dein Link"), "in the language of who asked: {told}");
    let link = link_in(&told);
    assert_eq!(Browser::default().post(&site, &link, &[]).header("location"), "/account");
    link_for(&site, &mail, "marker@example.org");
    assert_eq!(mail.to("late@example.org").len(), 1, "sent once");
    wait_until("what the links follow from is forgotten", || {
        texts(&database, "SELECT hash FROM log_in_links WHERE nonce IS NOT NULL").is_empty()
    });
    let secret = link.rsplit('/').next().unwrap();
    let known = texts(&database, "SELECT hash FROM log_in_links UNION ALL SELECT link FROM outbox WHERE link IS NOT NULL");
    assert!(known.len() == 4 && !known.iter().any(|text| text == secret), "{known:?}");
    site.stop();
}

pub fn log_in(site: &Site, mail: &MailServer, email: &str) -> Browser {
    let link = link_for(site, mail, email);
    let mut browser = Browser::default();
    assert_eq!(browser.post(site, &link, &[]).header("location"), "/account");
    browser
}

#[test]
fn a_link_logs_in_once_and_says_nothing_of_who_is_known() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &with_accounts(mail.port, ""));
    assert!(site.get("/log-in").text().contains("Send me a link"));
    let link = link_for(&site, &mail, "larry@example.org");
    let mut browser = Browser::default();
    for _ in 0..2 {
        assert!(browser.get(&site, &link).text().contains("Log in as larry@example.org"), "a mail scanner uses nothing up");
    }
    let second = link_for(&site, &mail, "Larry@example.org".to_lowercase().as_str());
    // Another site cannot log a browser in, nor do anything else there.
    let foreign = site.post_with(&link, "", &[("Content-Type", FORM), ("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(foreign.status, 403);
    let entered = browser.post(&site, &link, &[]);
    assert_eq!((entered.status, entered.header("location")), (303, "/account"));
    for used in [&link, &second] {
        assert!(Browser::default().get(&site, used).text().contains("logs nobody in"), "one use ends all links");
        assert_eq!(Browser::default().post(&site, used, &[]).status, 404);
    }
    let page = browser.get(&site, "/account").text();
    assert!(page.contains("Logged in as larry@example.org") && page.contains("This browser"), "{page}");

    // The answer is the same to the letter, but for the address.
    let asked = |email: &str| Browser::default().post(&site, "/log-in/mail", &[("email", email)]).text().replace(email, "…");
    let known = asked("larry@example.org");
    assert_eq!(known, asked("nobody@example.org"));
    wait_until("the third link comes", || mail.to("larry@example.org").len() == 3);
    for _ in 0..4 {
        assert_eq!(asked("larry@example.org"), known);
    }
    assert_eq!(Browser::default().post(&site, "/log-in/mail", &[("email", "no address")]).status, 422);
    mail.wait_for("nobody@example.org");
    link_for(&site, &mail, "marker@example.org");
    wait_until("the fourth link comes", || mail.to("larry@example.org").len() == 4);
    let links = texts(&backend::of(&path).database, "SELECT hash FROM log_in_links WHERE email = 'larry@example.org'");
    assert_eq!(links.len(), 4, "not more than so many an hour");
    let asks = |i| Browser::default().post(&site, "/log-in/mail", &[("email", &format!("u{i}@example.org"))]).status;
    let many: Vec<u16> = (0..40).map(asks).collect();
    assert_eq!(many.last(), Some(&429));

    // A link that is too old, and a session.
    let database = backend::of(&path).database;
    execute(&database, "UPDATE log_in_links SET used = NULL, created = created - 1201");
    assert_eq!(Browser::default().post(&site, &link, &[]).status, 404);
    execute(&database, "UPDATE sessions SET rotated = rotated - 90000, created = created - 90000");
    let before = browser.cookie.clone();
    assert_eq!(browser.get(&site, "/account").status, 200);
    assert_ne!(browser.cookie, before, "the cookie changes each day");
    let mut old = Browser { cookie: before };
    assert_eq!((browser.get(&site, "/account").status, old.get(&site, "/account").status), (200, 200), "requests under way");
    execute(&database, "UPDATE sessions SET rotated = rotated - 61");
    assert_eq!((browser.get(&site, "/account").status, old.get(&site, "/account").status), (200, 303));
    execute(&database, "UPDATE sessions SET created = created - 2592000");
    assert_eq!(browser.get(&site, "/account").header("location"), "/log-in");
    site.stop();
}

#[test]
fn an_account_has_its_orders_tokens_and_sessions_and_can_be_deleted() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &with_accounts(mail.port, ""));
    let before = site.order(&order(&["dev-vcs/git"], &[Format::Zip])).replace("/api/v1", "");
    let (mut larry, mut other) = (log_in(&site, &mail, "larry@example.org"), log_in(&site, &mail, "other@example.org"));
    let own = larry.order(&site, "own").json()["id"].as_str().unwrap().to_owned();
    let act = |browser: &mut Browser, fields: &[(&str, &str)]| browser.post(&site, "/account", fields);
    let link = format!("{}{before}", site.base);
    assert_eq!(act(&mut larry, &[("act", "take-in"), ("link", &link)]).status, 303);
    assert_eq!(act(&mut larry, &[("act", "take-in"), ("link", &link)]).status, 303, "twice does no harm");
    assert_eq!(act(&mut other, &[("act", "take-in"), ("link", &link)]).status, 409, "it is somebody's already");
    assert_eq!(act(&mut other, &[("act", "take-in"), ("link", "/orders/none")]).status, 409);
    let page = larry.get(&site, "/account").text();
    assert!(page.contains(&own) && page.contains(&before), "{page}");
    assert!(!other.get(&site, "/account").text().contains(&before));

    // The account's address is told of the order that named none; it was confirmed by the link.
    assert_eq!(act(&mut larry, &[("act", "tell")]).status, 303);
    larry.order(&site, "untold");
    assert_eq!(act(&mut larry, &[("act", "tell"), ("tell", "on")]).status, 303);
    while let Some(lease) = site.lease() {
        site.build(&lease);
    }
    wait_until("the account is told", || mail.to("larry@example.org").len() == 2);
    assert!(mail.to("larry@example.org")[1]["body"].as_str().unwrap().contains(&own));

    // A program's token orders as the account, and is no operator's.
    let made = act(&mut larry, &[("act", "add-token"), ("name", "laptop")]).text();
    let token = made.split("id=\"made\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert!(!larry.get(&site, "/account").text().contains(&token), "it is shown once");
    assert_eq!(act(&mut larry, &[("act", "add-token"), ("name", "laptop")]).status, 409);
    let bearer = format!("Bearer {token}");
    let view = |bearer: &str| site.get_with("/api/v1/account", &[("Authorization", bearer)]);
    assert_eq!((view(&bearer).json()["orders"].as_array().unwrap().len(), view("").status), (3, 401));
    assert_eq!(site.get_with("/api/v1/operator/queue", &[("Authorization", &bearer)]).status, 403);
    assert_eq!(act(&mut other, &[("act", "revoke-token"), ("name", "laptop")]).status, 303);
    assert_eq!(view(&bearer).status, 200, "nobody else's");
    let program = |what: Value| {
        let headers = [("Content-Type", "application/json"), ("Authorization", bearer.as_str())];
        site.post_with("/api/v1/account", &what.to_string(), &headers)
    };
    let alone = site.order(&order(&["app-shells/bash", "dev-vcs/git"], &[Format::Zip]));
    assert_eq!(program(json!({"action": "take-in", "order": alone})).json()["orders"].as_array().unwrap().len(), 4);
    assert_eq!(program(json!({"action": "take-in", "order": "none"})).status, 409);
    assert_eq!(program(json!({"action": "tell", "tell": false})).json()["tell"], false);
    assert_eq!(program(json!({"action": "tell", "tell": true})).json()["tell"], true);
    assert_eq!(program(json!({"action": "add-token", "name": "more"})).status, 422, "a token makes no tokens");
    assert_eq!(program(json!({"action": "revoke-token", "name": "laptop"})).json()["tokens"], json!([]));
    assert_eq!(view(&bearer).status, 401);

    // Sessions are listed and ended, each by its own account; what a browser says of itself is text.
    let mut second = log_in(&site, &mail, "larry@example.org");
    let page = larry.get(&site, "/account").text();
    let ids: Vec<&str> = page.split("name=\"id\" value=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert!(ids.len() == 2 && !page.contains("<b>1.0"), "{page}");
    for id in &ids {
        act(&mut other, &[("act", "end-session"), ("id", id)]);
    }
    assert_eq!((larry.get(&site, "/account").status, second.get(&site, "/account").status), (200, 200));
    let cookie = second.cookie.clone();
    assert_eq!(second.post(&site, "/log-out", &[]).header("location"), "/");
    assert_eq!(Browser { cookie }.get(&site, "/account").status, 303, "it is over for the server too");

    // What stays of a deleted account, and what goes.
    assert_eq!(act(&mut larry, &[("act", "delete")]).status, 409);
    assert_eq!(act(&mut larry, &[("act", "delete"), ("sure", "on")]).status, 303);
    assert_eq!(site.get(&format!("/orders/{own}")).status, 200);
    let told = mail.to("larry@example.org").len();
    let mut again = log_in(&site, &mail, "larry@example.org");
    assert!(again.get(&site, "/account").text().contains("There are none yet"), "a new account has no old orders");
    assert_eq!(mail.to("larry@example.org").len(), told + 1);
    site.stop();
}

fn access(site: &Site, token: &str, what: Value) -> Answer {
    let headers = [("Content-Type", "application/json"), ("Authorization", &*format!("Bearer {token}"))];
    site.post_with("/api/v1/operator/access", &what.to_string(), &headers)
}

#[test]
fn accounts_are_invited_operators_and_take_turns() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &with_accounts(mail.port, "operators = ['Olga@example.org']"));
    let operator = operator_token(&path);
    let mut early = log_in(&site, &mail, "early@example.org");
    assert_eq!(access(&site, &operator, json!({"action": "invite", "email": "no address", "role": "user"})).status, 422);
    let listed = access(&site, &operator, json!({"action": "invite", "email": "Larry@example.org", "role": "user"})).json();
    assert_eq!(listed["invitations"][0]["email"], "larry@example.org");
    assert_eq!(access(&site, &operator, json!({"action": "invited-only"})).status, 200);
    assert_eq!(early.order(&site, "a").status, 403, "an account alone is no invitation");
    assert_eq!(early.get(&site, "/account").status, 200);
    let asked = Browser::default().post(&site, "/log-in/mail", &[("email", "stranger@example.org")]);
    assert_eq!(asked.status, 200);
    let larry = log_in(&site, &mail, "larry@example.org");
    let larrys = larry.order(&site, "b");
    assert_eq!(larrys.status, 201);
    assert!(mail.to("stranger@example.org").is_empty(), "nobody else is sent a link");
    assert_eq!(access(&site, &operator, json!({"action": "uninvite", "email": "larry@example.org"})).status, 200);
    assert_eq!(larry.order(&site, "c").status, 403);
    assert_eq!(access(&site, &operator, json!({"action": "everybody"})).status, 200);

    // The operator's page is open to who is one, and to nobody else.
    let mut olga = log_in(&site, &mail, "olga@example.org");
    assert!(olga.get(&site, "/account").text().contains("You are an operator"));
    assert!(olga.get(&site, "/operator").text().contains("The queue is open"));
    assert_eq!(olga.post(&site, "/operator/act", &[("action", "pause")]).status, 303);
    assert_eq!(olga.post(&site, "/operator/act", &[("action", "open")]).status, 303);
    assert_eq!(early.post(&site, "/operator/act", &[("action", "pause")]).status, 403);
    let foreign = [("Content-Type", FORM), ("Cookie", olga.cookie.as_str()), ("Sec-Fetch-Site", "same-site")];
    assert_eq!(site.post_with("/operator/act", "action=pause", &foreign).status, 403);

    // Turns are by account, though all of these come from one address.
    let position = |answer: Answer| answer.json()["position"].as_u64().unwrap();
    // A build that was finished would teach that builds take no time, and waiting for a moment would count for more than one.
    let cancel = format!("/api/v1/orders/{}/cancel", larrys.json()["id"].as_str().unwrap());
    assert_eq!(site.post(&cancel, FORM, "").status, 200);
    let many: Vec<u64> = (0..4).map(|i| position(early.order(&site, &format!("e{i}")))).collect();
    assert_eq!(many, [1, 2, 3, 4]);
    assert_eq!(position(olga.order(&site, "o")), 2, "another account's first goes before a second");
    site.stop();
}
