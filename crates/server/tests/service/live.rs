//! The live events of an order.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use contract::{Event, Format, Step};
use serde_json::Value;

use crate::common::{Setup, Site, artifact, content, folder, order, ready, wait_until};

/// An event as it comes over the line.
#[derive(Debug)]
pub struct Live {
    name: String,
    id: String,
    pub data: Value,
}

/// A listener to the events of an order.
pub struct Listener {
    lines: std::io::Lines<BufReader<Box<dyn std::io::Read>>>,
}

impl Listener {
    pub fn start(site: &Site, order: &str, last_seen: Option<&str>) -> Listener {
        let headers: Vec<(&str, &str)> = last_seen.map(|id| ("Last-Event-ID", id)).into_iter().collect();
        Listener::from(site, order, &headers).expect("a stream")
    }

    /// The same with other headers; none where the user has too many.
    fn from(site: &Site, order: &str, headers: &[(&str, &str)]) -> Option<Listener> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build()
            .into();
        let request = agent.get(format!("{}{order}/events", site.base));
        let answer = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call().unwrap();
        if answer.status() == 429 {
            return None;
        }
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let reader: Box<dyn std::io::Read> = Box::new(answer.into_body().into_reader());
        Some(Listener { lines: BufReader::new(reader).lines() })
    }

    /// The next event; `None` when the stream has ended.
    fn next(&mut self) -> Option<Live> {
        let mut live = Live { name: String::new(), id: String::new(), data: Value::Null };
        for line in self.lines.by_ref() {
            // ureq takes the hang-up right behind the last chunk for an error.
            let Ok(line) = line else { return None };
            match line.split_once(": ").unwrap_or((line.as_str(), "")) {
                ("event", name) => live.name = name.into(),
                ("id", id) => live.id = id.into(),
                ("data", data) => live.data = serde_json::from_str(data).unwrap(),
                ("", "") if !live.name.is_empty() => return Some(live),
                _ => {}
            }
        }
        None
    }

    /// The next event, which there has to be.
    pub fn next_of_any(&mut self) -> Live {
        self.next().expect("the stream goes on")
    }

    /// The next event of this name, past all others.
    fn next_of(&mut self, name: &str) -> Live {
        loop {
            let live = self.next().unwrap_or_else(|| panic!("the stream ended before {name}"));
            if live.name == name {
                return live;
            }
        }
    }
}

fn log(line: &str) -> Event {
    Event::Log { line: line.into() }
}

#[test]
fn a_live_page_hears_everything_in_order() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let first = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let second = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let mut of_second = Listener::start(&site, &second, None);
    assert_eq!(of_second.next_of("snapshot").data["position"], 2);
    let mut of_first = Listener::start(&site, &first, None);
    assert_eq!(of_first.next_of("snapshot").data["state"], "waiting");

    let lease = site.lease().unwrap();
    assert_eq!(of_first.next_of("state").data["state"], "building");
    assert_eq!(of_second.next_of("state").data["position"], 1, "who waits hears that it moved up");
    let progress = Event::Progress { step: Step::Fetch, done: 5, total: 10, what: "bash".into() };
    site.events(&lease, 0, vec![log("one"), progress, log("two")]).unwrap();
    let lines = of_first.next_of("log");
    assert_eq!((lines.data["lines"].to_string(), lines.id.as_str()), (r#"["one","two"]"#.to_owned(), "2"));
    let progress = of_first.next_of("progress");
    assert_eq!(progress.data["progress"]["done"], 5);

    // A client that comes back gets what it missed.
    site.events(&lease, 1, vec![log("three")]).unwrap();
    let mut back = Listener::start(&site, &first, Some("2"));
    back.next_of("snapshot");
    assert_eq!(back.next_of("log").data["lines"].to_string(), r#"["three"]"#);

    assert_eq!(site.upload(&lease, &artifact(&lease, Format::Zip).name, &content(Format::Zip)), 204);
    assert_eq!(site.end(&lease, &ready(&lease)).status, 204);
    assert_eq!(of_first.next_of("state").data["state"], "ready");
    assert!(of_first.next().is_none(), "the stream ends with the order");
    assert_eq!(Listener::start(&site, &first, None).next_of("snapshot").data["artifacts"].as_array().unwrap().len(), 1);
    site.stop();
}

#[test]
fn one_user_has_so_many_live_pages_at_once_and_leaves_the_rest_to_others() {
    let (_dir, path) = folder();
    let setup = Setup { top: "behind_proxy = true".into(), tables: "[limits]\nlive_pages = 2\n".into(), ..Setup::default() };
    let site = Site::start_with(&path, &setup);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let first = Listener::start(&site, &placed, None);
    let _second = Listener::start(&site, &placed, None);
    let refused = site.get(&format!("{placed}/events"));
    assert!(refused.status == 429 && refused.text().contains("at most 2 live pages"), "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "30");
    assert_eq!(site.status(&placed)["position"], 1, "the order itself can be asked for");
    let other = Listener::from(&site, &placed, &[("X-Forwarded-For", "192.0.2.1")]);
    assert_eq!(other.unwrap().next_of("snapshot").data["state"], "waiting");
    // One that is closed makes room.
    drop(first);
    let mut third = None;
    wait_until("there is room", || {
        third = Listener::from(&site, &placed, &[]);
        third.is_some()
    });
    assert_eq!(third.unwrap().next_of("snapshot").data["state"], "waiting");
    site.stop();
}

#[test]
fn an_open_live_page_does_not_hold_up_the_end_of_the_server() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup::default());
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let mut listener = Listener::start(&site, &placed, None);
    listener.next_of("snapshot");
    site.stop();
    assert!(listener.next().is_none());
}
