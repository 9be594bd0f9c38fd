//! A worker by hand: it speaks the lease protocol and makes nothing, so that a test can have an order in each of its states at once.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::site::Site;

/// A worker of a site that has none of its own.
pub struct Hand<'a> {
    site: &'a Site,
    token: String,
    agent: ureq::Agent,
}

/// A build in hand.
pub struct Held {
    build: String,
    lease: String,
    job: Value,
}

/// What it sends for an image.
pub const IMAGE: &[u8] = b"no image at all";

impl<'a> Hand<'a> {
    /// `dir` is the site's folder.
    pub fn new(site: &'a Site, dir: &Path) -> Hand<'a> {
        let token = std::fs::read_to_string(dir.join("data/worker.token")).expect("the site has made a token");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Hand { site, token: token.trim().to_owned(), agent }
    }

    /// Takes the next build.
    pub fn lease(&self) -> Held {
        let asked = json!({"worker": "hand", "arches": ["amd64"], "starts_images": true, "protocol": 2, "wait_seconds": 10});
        let (status, lease) = self.send("lease", "", &asked);
        assert_eq!(status, 200, "a build waits: {lease}");
        let text = |value: &Value| value.as_str().expect("text").to_owned();
        Held { build: text(&lease["job"]["build"]), lease: text(&lease["lease"]), job: lease["job"].clone() }
    }

    /// Says that steps were done and one is under way.
    pub fn tells(&self, held: &Held) {
        let progress = |step: &str, done: u64| json!({"event": "progress", "step": step, "done": done, "total": 60, "what": "sys-apps/coreutils-9.1"});
        let events =
            [progress("fetch", 60), progress("merge", 23), json!({"event": "log", "line": "merge sys-apps/coreutils-9.1"})];
        self.must(&format!("builds/{}/events", held.build), held, &json!({"sequence": 0, "events": events}));
    }

    /// Ends a build as failed.
    pub fn fails(&self, held: &Held) {
        let failure = json!({"step": "merge", "package": "app-editors/nano-7.2", "message": "app-editors/nano-7.2, pkg_postinst: its script failed\nIts last words were:\nno such file", "advice": "Take another build of it."});
        self.must(&format!("builds/{}/end", held.build), held, &json!({"end": "failed", "failure": failure}));
    }

    /// Ends a build of one zip file as ready.
    pub fn is_ready(&self, held: &Held) {
        let name = format!("{}.zip", held.job["image_name"].as_str().expect("a name"));
        let url = format!("{}/api/worker/builds/{}/artifacts/{name}", self.site.url, held.build);
        let sent =
            self.agent.put(url).header("Authorization", format!("Bearer {}", self.token)).header("X-Hatchery-Lease", &held.lease);
        assert_eq!(sent.send(IMAGE).expect("the site answers").status(), 204);
        let mut plan = held.job["plan"].clone();
        for package in plan["packages"].as_array_mut().expect("packages") {
            package["sha256"] = "a".repeat(64).into();
        }
        let [sha256, sha512, blake2b] = ["sha256sum", "sha512sum", "b2sum"].map(checksum);
        let artifact =
            json!({"name": name, "format": "zip", "size": IMAGE.len(), "sha256": sha256, "sha512": sha512, "blake2b": blake2b});
        let report =
            json!({"end": "ready", "artifacts": [artifact], "plan": plan, "messages": ["nano says hello"], "evidence": []});
        self.must(&format!("builds/{}/end", held.build), held, &report);
    }

    fn must(&self, path: &str, held: &Held, body: &Value) {
        let (status, answer) = self.send(path, &held.lease, body);
        assert!((200..300).contains(&status), "{path}: {status}: {answer}");
    }

    fn send(&self, path: &str, lease: &str, body: &Value) -> (u16, Value) {
        let request = self.agent.post(format!("{}/api/worker/{path}", self.site.url));
        let request = request.header("Authorization", format!("Bearer {}", self.token)).header("X-Hatchery-Lease", lease);
        let mut answer = request.send_json(body).expect("the site answers");
        let status = answer.status().as_u16();
        (status, answer.body_mut().with_config().limit(64 << 20).read_json().unwrap_or(Value::Null))
    }
}

/// A checksum of the image, by a program of coreutils.
fn checksum(program: &str) -> String {
    let mut child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("coreutils are there");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), IMAGE).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).split_whitespace().next().unwrap_or_default().to_owned()
}
