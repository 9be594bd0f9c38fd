//! The site as an operator starts it: `hatchery serve` with a configuration file, as an ordinary user.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::{free_port, hatchery, sample_dir, user, wait_for};

/// The library that gives a process another time of day.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

pub struct Site {
    pub url: String,
    dir: PathBuf,
    port: u16,
    process: Option<Child>,
    agent: ureq::Agent,
    /// It has a worker of its own, and listens on the loopback interface alone.
    whole: bool,
    /// What its process finds in its environment besides.
    environment: Vec<(&'static str, String)>,
}

impl Site {
    /// Starts a site that serves the sample channel, with everything it keeps below `dir`. `extra` goes into the configuration's top.
    pub fn start(dir: &Path, extra: &str) -> Self {
        Site::make(dir, extra, true, Vec::new())
    }

    /// The same without a worker, for workers that come from elsewhere: it listens on all addresses of this machine.
    pub fn without_worker(dir: &Path, extra: &str) -> Self {
        Site::make(dir, extra, false, Vec::new())
    }

    /// The same on a machine whose clock is so many seconds ahead; `None`, with a line that says so, where that cannot be had.
    pub fn without_worker_and_ahead(dir: &Path, extra: &str, seconds: u32) -> Option<Self> {
        if !Path::new(FAKETIME).exists() {
            eprintln!("SKIPPED: another clock needs libfaketime: run scripts/setup test");
            return None;
        }
        let clock = [
            ("LD_PRELOAD", FAKETIME.to_owned()),
            ("FAKETIME", format!("+{seconds}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DISABLE_SHM", "1".to_owned()),
        ];
        Some(Site::make(dir, extra, false, clock.into()))
    }

    fn make(dir: &Path, extra: &str, whole: bool, environment: Vec<(&'static str, String)>) -> Self {
        let port = free_port();
        let host = if whole { "127.0.0.1" } else { "0.0.0.0" };
        let sample = sample_dir();
        let lease_ttl = if extra.contains("lease_ttl_seconds") { "" } else { "lease_ttl_seconds = 5" };
        let config = format!(
            r#"listen = "{host}:{port}"
data_dir = "{data}"
{lease_ttl}
{extra}
[[channel]]
name = "sample"
title = "Sample"
arch = "amd64"
notice = "This image is a sample made from Debian's binaries."
profile = "{sample}/repo/profiles/default/linux/amd64/23.0"
boot_packages = ["sys-kernel/debian-kernel-bin", "sys-boot/grub", "sys-apps/busybox[static]"]
[[channel.binhost]]
name = "sample"
uri = "file://{sample}/binhost"
keyring_file = "{sample}/key/certificate.asc"
"#,
            data = dir.join("data").display(),
            sample = sample.display(),
        );
        Site::begin(dir, port, &config, whole, environment)
    }

    /// Starts a site with a configuration of one's own, which has to name this port, and which goes to `hatchery.toml` in the folder.
    pub fn with_config(dir: &Path, port: u16, config: &str, whole: bool) -> Self {
        Site::begin(dir, port, config, whole, Vec::new())
    }

    fn begin(dir: &Path, port: u16, config: &str, whole: bool, environment: Vec<(&'static str, String)>) -> Self {
        std::fs::write(dir.join("hatchery.toml"), config).expect("the configuration is written");
        user::give(dir);
        let agent =
            ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60))).build();
        let mut site = Site {
            url: format!("http://127.0.0.1:{port}"),
            dir: dir.to_owned(),
            port,
            process: None,
            agent: agent.into(),
            whole,
            environment,
        };
        site.resume();
        site
    }

    /// Starts the process (again).
    pub fn resume(&mut self) {
        assert!(self.process.is_none(), "the site runs already");
        let log = std::fs::File::options().create(true).append(true).open(self.dir.join("site.log")).expect("a log");
        // As an ordinary user from the start: libfaketime shares memory under the name of who began.
        let child = user::command(Path::new("env"))
            .args(self.environment.iter().map(|(name, value)| format!("{name}={value}")))
            .arg(hatchery())
            .args(["serve", "--config"])
            .arg(self.dir.join("hatchery.toml"))
            .args(if self.whole { None } else { Some("--no-worker") })
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the site starts");
        self.process = Some(child);
        let what = format!("the site; its log is {}", self.dir.join("site.log").display());
        wait_for(&what, Duration::from_secs(60), || {
            let _ = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
            self.agent.get(format!("{}/healthz", self.url)).call().ok().filter(|r| r.status() == 200)
        });
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `kill -9`: no warning, no clean-up.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("the site runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// Places an order over the API; the status code and the answer.
    pub fn order(&self, order: &Value) -> (u16, Value) {
        let mut answer = self.agent.post(format!("{}/api/v1/orders", self.url)).send_json(order).expect("the site answers");
        let body = answer.body_mut().read_json().unwrap_or(Value::Null);
        (answer.status().as_u16(), body)
    }

    /// The same under a key by which the site knows the order again when it is sent again; none when no answer came.
    pub fn order_once(&self, order: &Value, key: &str) -> Option<(u16, Value)> {
        let request = self.agent.post(format!("{}/api/v1/orders", self.url)).header("Idempotency-Key", key);
        let mut answer = request.send_json(order).ok()?;
        let body = answer.body_mut().read_json().unwrap_or(Value::Null);
        Some((answer.status().as_u16(), body))
    }

    /// Posts nothing to a path of the site; the status code and the answer.
    pub fn post(&self, path: &str) -> (u16, Value) {
        let mut answer = self.agent.post(format!("{}{path}", self.url)).send_empty().expect("the site answers");
        let body = answer.body_mut().read_json().unwrap_or(Value::Null);
        (answer.status().as_u16(), body)
    }

    /// A path of the site, as JSON.
    pub fn json(&self, path: &str) -> Value {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().expect("the site answers");
        answer.body_mut().with_config().limit(64 << 20).read_json().expect("JSON")
    }

    /// The status of a path of the site.
    pub fn status(&self, path: &str) -> u16 {
        self.agent.get(format!("{}{path}", self.url)).call().expect("the site answers").status().as_u16()
    }

    /// A page of the site, as it comes.
    pub fn text(&self, path: &str) -> String {
        let mut answer = self.agent.get(format!("{}{path}", self.url)).call().expect("the site answers");
        answer.body_mut().with_config().limit(64 << 20).read_to_string().expect("text")
    }

    /// Bytes `from` to the end of a file of the site.
    pub fn download(&self, path: &str, from: u64) -> (u16, Vec<u8>) {
        let request = self.agent.get(format!("{}{path}", self.url)).header("Range", format!("bytes={from}-"));
        let mut answer = request.call().expect("the site answers");
        let status = answer.status().as_u16();
        (status, answer.body_mut().with_config().limit(8 << 30).read_to_vec().expect("the whole file"))
    }

    /// Waits for the end of an order, which must be `state`.
    pub fn wait(&self, id: &str, state: &str, limit: Duration) -> Value {
        wait_for(&format!("the order to be {state}"), limit, || {
            let status = self.json(&format!("/api/v1/orders/{id}"));
            let now = status["state"].as_str().unwrap_or_default().to_owned();
            if now == state {
                return Some(status);
            }
            let over = ["ready", "failed", "cancelled"].contains(&now.as_str());
            assert!(!over, "the order is {now}: {status:#}\n{}", self.log());
            None
        })
    }

    /// What the site and its worker wrote to standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("site.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}
