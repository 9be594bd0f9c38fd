//! A real browser: Debian's Chromium, driven by chromedriver over the W3C WebDriver protocol.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{free_port, wait_for, workspace};

pub struct Browser {
    agent: ureq::Agent,
    session: String,
    driver: Child,
}

/// The key the WebDriver standard gives an element's reference.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

impl Browser {
    /// Starts Chromium with a profile below `dir`; `None`, with a line that says so, where it is not installed.
    pub fn start(dir: &Path) -> Option<Self> {
        Browser::with_profile(&dir.join("chromium"), &[])
    }

    /// The same for pages whose scripts are not run. The driver's own still are.
    pub fn without_javascript(dir: &Path) -> Option<Self> {
        Browser::with_profile(&dir.join("chromium-plain"), &["--blink-settings=scriptEnabled=false"])
    }

    fn with_profile(profile: &Path, more: &[&str]) -> Option<Self> {
        if !Path::new("/usr/bin/chromedriver").exists() {
            eprintln!("SKIPPED: the browser needs chromium and chromium-driver: run scripts/setup test");
            return None;
        }
        let port = free_port();
        let driver = Command::new("/usr/bin/chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver starts");
        let base = format!("http://127.0.0.1:{port}");
        let config =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(120))).build();
        let agent: ureq::Agent = config.into();
        wait_for("chromedriver", Duration::from_secs(60), || agent.get(format!("{base}/status")).call().ok());
        let profile = format!("--user-data-dir={}", profile.display());
        let mut quiet = vec![
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,1600",
            &profile,
        ];
        quiet.extend(more);
        let wanted =
            json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": quiet, "binary": "/usr/bin/chromium"}}}});
        let answer = post(&agent, &format!("{base}/session"), &wanted);
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}")).to_owned();
        Some(Browser { agent, session: format!("{base}/session/{id}"), driver })
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    pub fn address(&self) -> String {
        self.get("url").as_str().unwrap_or_default().to_owned()
    }

    pub fn reload(&self) {
        self.post("refresh", &json!({}));
    }

    pub fn back(&self) {
        self.post("back", &json!({}));
    }

    pub fn forward(&self) {
        self.post("forward", &json!({}));
    }

    /// Has what is downloaded from now on go to this folder.
    pub fn download_to(&self, dir: &Path) {
        self.devtools("Browser.setDownloadBehavior", &json!({ "behavior": "allow", "downloadPath": dir }));
    }

    /// The whole page as text.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Runs JavaScript in the page.
    pub fn script(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// A command of the Chrome DevTools Protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    /// Whether an element is there.
    pub fn has(&self, css: &str) -> bool {
        !self.post("elements", &json!({"using": "css selector", "value": css})).as_array().is_none_or(Vec::is_empty)
    }

    /// Clicks an element where a person would see it: on the middle of the screen and on top, when what moves there has come to rest.
    pub fn click(&self, css: &str) {
        let tried = Instant::now();
        loop {
            let element = self.find(css);
            let script = "arguments[0].scrollIntoView({ block: 'center', behavior: 'instant' })";
            self.post("execute/sync", &json!({ "script": script, "args": [{ ELEMENT: element }] }));
            let answer = self.post(&format!("element/{element}/click"), &json!({}));
            if answer.is_null() {
                return;
            }
            let waited = tried.elapsed() < Duration::from_secs(10);
            assert!(waited, "{css} on {} cannot be clicked: {}", self.address(), answer["message"]);
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Empties a field and types into it.
    pub fn type_into(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses keys, one after the other, wherever the focus is.
    pub fn press(&self, keys: &str) {
        let strokes = keys.chars().flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })));
        let actions = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": strokes.collect::<Vec<_>>() }] });
        self.post("actions", &actions);
    }

    /// Saves what the window shows as a PNG, for people to look at.
    pub fn screenshot(&self, path: &Path) {
        let data = self.get("screenshot");
        let bytes = base64(data.as_str().unwrap_or_default());
        std::fs::write(path, bytes).expect("the screenshot is written");
    }

    /// Shows pages from now on as on a screen of this width, in pixels.
    pub fn set_width(&self, width: u32) {
        let params = json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.post("goog/cdp/execute", &json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params}));
    }

    /// What axe-core finds against WCAG 2.2, levels A and AA, on the page: a line for each place.
    pub fn axe(&self, axe: &str) -> Vec<String> {
        const RUN: &str =
            "return axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']}).then(found =>
            found.violations.flatMap(v => v.nodes.map(n => `${v.id}: ${n.html.slice(0, 200)}: ${n.failureSummary}`))
                .concat(found.passes.length ? [] : ['axe looked at nothing']))";
        let found = self.script(&format!("{axe};{RUN}"));
        let lines = found.as_array().unwrap_or_else(|| panic!("axe did not run: {found}"));
        lines.iter().map(|line| line.as_str().unwrap_or_default().to_owned()).collect()
    }

    fn find(&self, css: &str) -> String {
        let answer = self.post("element", &json!({"using": "css selector", "value": css}));
        answer[ELEMENT].as_str().unwrap_or_else(|| panic!("no element {css} on {}: {answer}", self.address())).to_owned()
    }

    fn get(&self, path: &str) -> Value {
        let mut answer = self.agent.get(format!("{}/{path}", self.session)).call().expect("chromedriver answers");
        let mut body: Value = answer.body_mut().with_config().limit(64 << 20).read_json().expect("JSON");
        body["value"].take()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        post(&self.agent, &format!("{}/{path}", self.session), body)
    }
}

/// The program of axe-core, where `scripts/setup test` put it; else a line that says so.
pub fn axe_core() -> Option<String> {
    let venv = std::env::var_os("HATCHERY_TEST_VENV").map_or_else(|| workspace().join("target/test-venv"), PathBuf::from);
    let pythons = std::fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let paths = pythons.map(|python| python.path().join("site-packages/axe_playwright_python/axe.min.js"));
    let found = paths.filter_map(|path| std::fs::read_to_string(path).ok()).next();
    if found.is_none() {
        eprintln!("SKIPPED: accessibility needs axe-core: run scripts/setup test");
    }
    found
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The session may be gone already; the driver is ended in any case.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn post(agent: &ureq::Agent, url: &str, body: &Value) -> Value {
    let mut answer = agent.post(url).send_json(body).expect("chromedriver answers");
    let mut body: Value = answer.body_mut().with_config().limit(64 << 20).read_json().expect("JSON");
    body["value"].take()
}

/// Decodes the standard alphabet of RFC 4648; WebDriver sends pictures so.
fn base64(text: &str) -> Vec<u8> {
    let value = |b: u8| match b {
        b'A'..=b'Z' => Some(b - b'A'),
        b'a'..=b'z' => Some(b - b'a' + 26),
        b'0'..=b'9' => Some(b - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut out, mut bits, mut count) = (Vec::new(), 0u32, 0);
    for v in text.bytes().filter_map(value) {
        bits = (bits << 6) | u32::from(v);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}
