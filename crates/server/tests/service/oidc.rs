//! Logging in at an OpenID Connect provider: a real one, oidc-provider for Node, which the setup puts into target/test-venv.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::accounts::{Browser, link_for};
use crate::common::{Setup, Site, folder, venv};
use crate::mail::{self, MailServer};
use crate::services::free_port;

/// A running provider.
struct Provider {
    process: Child,
    port: u16,
    /// It writes there now and then, and ends where nobody reads.
    _output: BufReader<ChildStdout>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Provider {
    /// The provider on this port, which sends browsers back to the site. None, with a line that says so, where it is not installed.
    fn start(port: u16, site: &Site) -> Option<Provider> {
        let (node, folder) = (venv().join("bin/node"), venv().join("node"));
        if !node.exists() || !folder.join("node_modules/oidc-provider").exists() {
            println!("SKIPPED: log-in at a provider needs oidc-provider in {}: run scripts/setup test", folder.display());
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/service/provider.mjs");
        let back = format!("{}/log-in/oidc/back", site.base);
        let mut command = Command::new(node);
        command.arg(script).arg(folder).args([&port.to_string(), &back]).stdin(Stdio::piped());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "listening");
        Some(Provider { process, port, _output: output })
    }
}

/// A person at the provider's pages, with the cookies of those.
struct Person<'a> {
    provider: &'a Provider,
    name: &'a str,
    cookies: BTreeMap<String, String>,
}

impl Person<'_> {
    /// Where the provider leads to, or its form: where that goes, and what it asks.
    fn ask(&mut self, method: &str, address: &str, body: &str) -> Result<String, (String, String)> {
        let base = format!("http://127.0.0.1:{}", self.provider.port);
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let address = if address.starts_with('/') { format!("{base}{address}") } else { address.to_owned() };
        let answer = match method {
            "GET" => agent.get(address).header("Cookie", cookies.join("; ")).call(),
            _ => {
                let request = agent.post(address).header("Cookie", cookies.join("; "));
                request.header("Content-Type", "application/x-www-form-urlencoded").send(body)
            }
        };
        let mut answer = answer.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let (name, value) = cookie.to_str().unwrap().split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        if let Some(location) = answer.headers().get("location") {
            return Ok(location.to_str().unwrap().to_owned());
        }
        let mut page = String::new();
        answer.body_mut().as_reader().read_to_string(&mut page).unwrap();
        let after = |mark: &str| {
            page.split_once(mark).unwrap_or_else(|| panic!("no {mark}: {page}")).1.split('"').next().unwrap().to_owned()
        };
        Err((after("action=\""), after("name=\"prompt\" value=\"")))
    }

    /// Does what the provider's pages ask for; the address that the browser is sent back to.
    fn log_in(&mut self, first: &str) -> String {
        let mut address = first.to_owned();
        for _ in 0..12 {
            if address.contains("/log-in/oidc/back?") {
                return address;
            }
            address = match self.ask("GET", &address, "") {
                Ok(location) => location,
                Err((form, prompt)) => {
                    let body = format!("prompt={prompt}&login={}&password=any", self.name);
                    self.ask("POST", &form, &body).expect("the form leads on")
                }
            };
        }
        panic!("the provider goes round in circles: {address}");
    }
}

fn setup(port: u16, client: &str) -> Setup {
    let tables = format!(
        "[accounts.oidc]\nname = 'Our University'\nissuer = 'http://127.0.0.1:{port}'\n{client}\n\
         operator_claim = {{ name = 'groups', value = 'ops' }}\n"
    );
    Setup { tables, ..Setup::default() }
}

/// Logs in as somebody; the browser, and the address that it came back to.
fn log_in(site: &Site, provider: &Provider, name: &str) -> (Browser, String) {
    let mut browser = Browser::default();
    let sent = browser.get(site, "/log-in/oidc");
    assert_eq!(sent.status, 303, "{}", sent.text());
    let mut person = Person { provider, name, cookies: BTreeMap::new() };
    let back = person.log_in(sent.header("location")).strip_prefix(&site.base).unwrap().to_owned();
    let entered = browser.get(site, &back);
    assert_eq!(entered.header("location"), "/account", "{}", entered.text());
    (browser, back)
}

#[test]
fn a_provider_says_who_somebody_is() {
    let (_dir, path) = folder();
    let secret = path.join("client.secret");
    std::fs::write(&secret, "a secret: of / the client\n").unwrap();
    let port = free_port();
    let client = format!("client_id = 'hatchery'\nclient_secret_file = '{}'", secret.display());
    let site = Site::start_with(&path, &setup(port, &client));
    let nobody = Browser::default().get(&site, "/log-in/oidc");
    assert!(nobody.status == 502 && nobody.text().contains("could not log you in"), "{}", nobody.text());
    let Some(provider) = Provider::start(port, &site) else { return };
    assert!(site.get("/log-in").text().contains("Log in with Our University"));

    let (mut larry, back) = log_in(&site, &provider, "larry");
    let page = larry.get(&site, "/account").text();
    assert!(page.contains("Name of larry (larry@example.org)") && !page.contains("You are an operator"), "{page}");
    // What led one browser in leads nobody else in, and only once.
    for mut other in [Browser::default(), larry] {
        assert_eq!(other.get(&site, &back).status, 403);
    }
    // The same person comes to the same account; another with an address that nobody has seen to be theirs to one without.
    let (mut larry, _) = log_in(&site, &provider, "larry");
    assert_eq!(larry.get(&site, "/account").text().matches("name=\"id\"").count(), 2);
    let (mut unseen, _) = log_in(&site, &provider, "unseen");
    let page = unseen.get(&site, "/account").text();
    assert!(page.contains("Name of unseen") && !page.contains("unseen@example.org"), "{page}");
    let (mut olga, _) = log_in(&site, &provider, "olga");
    assert!(olga.get(&site, "/operator").text().contains("The queue is open"), "a claim makes an operator");

    // A code that the provider did not give, a no of the provider's, and somebody else who answers in its stead.
    let begin = || {
        let mut browser = Browser::default();
        let sent = browser.get(&site, "/log-in/oidc").header("location").to_owned();
        let state = sent.split("state=").nth(1).unwrap().split('&').next().unwrap().to_owned();
        (browser, state)
    };
    let issuer = format!("http%3A%2F%2F127.0.0.1%3A{port}");
    for (rest, what) in [
        (format!("code=made-up&iss={issuer}"), "answered 400"),
        (format!("error=access_denied&iss={issuer}"), "access_denied"),
        ("code=x&iss=https%3A%2F%2Fevil.example".to_owned(), "not from the provider"),
        ("code=x".to_owned(), "not from the provider"),
    ] {
        let (mut browser, state) = begin();
        let answer = browser.get(&site, &format!("/log-in/oidc/back?state={state}&{rest}"));
        assert!(answer.status == 502 && answer.text().contains(what), "{rest}: {}", answer.text());
    }
    site.stop();
}

#[test]
fn a_client_without_a_secret_logs_in_with_keys_of_p256() {
    let (_dir, path) = folder();
    let port = free_port();
    let site = Site::start_with(&path, &setup(port, "client_id = 'public'\noperator_subjects = ['larry']\ninvited = true"));
    let Some(provider) = Provider::start(port, &site) else { return };
    let (mut larry, _) = log_in(&site, &provider, "larry");
    assert!(larry.get(&site, "/account").text().contains("You are an operator"));
    site.stop();
}

#[test]
fn what_the_provider_says_counts_for_who_comes_from_there() {
    let Some(mail) = MailServer::start() else { return };
    let (_dir, path) = folder();
    let port = free_port();
    let by_provider = setup(port, "client_id = 'public'");
    let mut both = mail::asking(mail.port);
    both.tables += &by_provider.tables;
    let site = Site::start_with(&path, &both);
    let Some(provider) = Provider::start(port, &site) else { return };
    let (mut olga, _) = log_in(&site, &provider, "olga");
    assert!(olga.get(&site, "/account").text().contains("You are an operator"));
    // By mail it is the same account; whether she is still of the group, nobody was asked.
    let mut by_mail = Browser::default();
    let link = link_for(&site, &mail, "olga@example.org");
    assert_eq!(by_mail.post(&site, &link, &[]).status, 303);
    let page = by_mail.get(&site, "/account").text();
    assert!(page.contains("Name of olga") && !page.contains("You are an operator"), "{page}");
    assert!(!by_mail.get(&site, "/operator").text().contains("The queue is open"));
    assert!(olga.get(&site, "/account").text().contains("You are an operator"));
    site.stop();
}
