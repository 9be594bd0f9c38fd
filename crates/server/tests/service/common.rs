//! A real server on a free port of the loopback interface, a channel on disk, and clients for both of its sides.
#![allow(dead_code)]

use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use attest::Digests;
use contract::lease::{EndReport, EventAnswer, EventBatch, LeaseRequest};
use contract::{Artifact, Event, Failure, Format, Lease, Order, Step};
use gentoo::Cpv;
use gentoo::index::{Entry, Packages};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::backend;

pub const WORKER_TOKEN: &str = "token-of-the-tests-0123456789";
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test may change in the configuration: lines at its top, and tables after the channel.
#[derive(Clone, Default)]
pub struct Setup {
    pub top: String,
    /// Lines of the channel.
    pub channel: String,
    pub tables: String,
}

/// A running site.
pub struct Site {
    pub base: String,
    agent: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|v| v.to_str().unwrap()).unwrap_or_default()
    }
}

/// The packages of the channel, and the fields of each that are not as usual.
type Fields = &'static [(&'static str, &'static str)];
const PACKAGES: [(&str, Fields); 8] = [
    ("app-shells/bash-5.2_p15", &[]),
    ("dev-vcs/git-2.40.1", &[]),
    ("sys-kernel/kernel-6.1.38", &[]),
    ("net-misc/openssh-9.3_p2", &[]),
    (
        "app-editors/vim-9.0.1503",
        &[("IUSE", "X +python"), ("USE", "python"), ("DESC", "Vi IMproved"), ("RDEPEND", "app-shells/bash")],
    ),
    // Built against each other: Portage refuses such a circle.
    ("sys-apps/util-1", &[("RDEPEND", "virtual/udev:0/1=")]),
    ("virtual/udev-1", &[("SLOT", "0/1"), ("RDEPEND", "sys-apps/systemd:0/2=")]),
    ("sys-apps/systemd-2", &[("SLOT", "0/2"), ("RDEPEND", "sys-apps/util:=")]),
];

/// Makes a channel of a few packages.
pub fn make_channel(dir: &Path) {
    let mut packages = Packages::default();
    for (key, value) in [("VERSION", "0"), ("TIMESTAMP", "1795334700"), ("ARCH", "amd64"), ("CHOST", "x86_64-pc-linux-gnu")] {
        packages.header.insert(key.into(), value.into());
    }
    packages.header.insert("ACCEPT_KEYWORDS".into(), "amd64".into());
    for (i, (name, fields)) in PACKAGES.iter().enumerate() {
        let cpv = Cpv::parse(name).unwrap();
        let mut entry = Entry::new(cpv);
        entry.eapi = "8".into();
        entry.keywords = "amd64".into();
        entry.license = "GPL-2".into();
        entry.path = format!("{name}.gpkg.tar").into();
        entry.size = 1_000 + i as u64;
        entry.build_time = 1_795_000_000;
        entry.md5 = Some("0".repeat(32).into());
        entry.sha1 = Some("0".repeat(40).into());
        entry.chost = "x86_64-pc-linux-gnu".into();
        entry.repo = "gentoo".into();
        for (key, value) in *fields {
            entry.set(key, value).unwrap();
        }
        // The workers of these tests fetch nothing, but what a folder does not have is not planned with.
        let file = dir.join(&entry.path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "").unwrap();
        packages.entries.push(entry);
    }
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join("Packages"), packages.to_bytes()).unwrap();
}

/// The token that the server made for its operator.
pub fn operator_token(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("data/operator.token")).unwrap()
}

/// Makes everything the database knows so many days older. The site must not be running.
pub fn days_go_by(dir: &Path, days: i64) {
    let by = days * 86_400;
    let aged = format!(
        "UPDATE builds SET created = created - {by}, started = started - {by}, ended = ended - {by};
         UPDATE orders SET created = created - {by}, since = since - {by}, picked_up = picked_up - {by}"
    );
    backend::execute(&backend::of(dir).database, &aged);
}

/// Where Python and its packages for the tests are.
pub fn venv() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::env::var_os("HATCHERY_TEST_VENV").map_or_else(|| here.join("../../target/test-venv"), PathBuf::from)
}

pub fn config(dir: &Path, setup: &Setup) -> server::Config {
    let channel_dir = dir.join("binhost");
    if !channel_dir.exists() {
        make_channel(&channel_dir);
    }
    let backend = backend::of(dir);
    let text = format!(
        "{}listen = '127.0.0.1:0'\ndata_dir = '{dir}/data'\nworker_token = '{WORKER_TOKEN}'\npresets_dir = '{dir}/presets'\n{}\n\
         [[channel]]\nname = 'test'\ntitle = 'Test'\narch = 'amd64'\ndescription = 'For tests.'\nboot_packages = ['sys-kernel/kernel']\n{}\n\
         [[channel.binhost]]\nname = 'here'\nuri = 'file://{}'\nallow_unsigned = true\n{}{}",
        backend.top,
        setup.top,
        setup.channel,
        channel_dir.display(),
        setup.tables,
        backend.tables,
        dir = dir.display(),
    );
    std::fs::create_dir_all(dir.join("presets")).unwrap();
    std::fs::write(
        dir.join("presets/small.toml"),
        "name='small'\ntitle='Small'\narch='amd64'\ndescription='A shell.'\npackages=['app-shells/bash']\nservices=['sshd']\nformats=['zip']\n",
    )
    .unwrap();
    server::Config::from_toml(&text).unwrap()
}

impl Site {
    pub fn start(dir: &Path) -> Site {
        Site::start_with(dir, &Setup::default())
    }

    pub fn start_with(dir: &Path, setup: &Setup) -> Site {
        let config = config(dir, setup);
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            let crashed = runtime.block_on(async move {
                let server = server::Server::bind(config).await.unwrap();
                tell.send(server.addr()).unwrap();
                let (crash, crashed) = oneshot::channel::<()>();
                let end = async move {
                    // The sender dropped means a crash: the server is not told to stop.
                    if stopped.await.is_err() {
                        let _ = crash.send(());
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    ended = server.run(end) => { ended.unwrap(); false }
                    Ok(()) = crashed => true,
                }
            });
            if crashed {
                runtime.shutdown_background();
            }
        });
        let addr = told.recv_timeout(PATIENCE).expect("the server starts");
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .build()
            .into();
        Site { base: format!("http://{addr}"), agent, stop: Some(stop), thread: Some(thread) }
    }

    /// Lets the server end in order.
    pub fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }

    /// Ends the server where it stands, with nothing flushed or answered.
    pub fn crash(mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }

    fn read(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut answer = answer.unwrap();
        let mut body = Vec::new();
        answer.body_mut().as_reader().read_to_end(&mut body).unwrap();
        Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), body }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let get = |url: &str| {
            let request = headers.iter().fold(self.agent.get(url), |request, (name, value)| request.header(*name, *value));
            Self::read(request.call())
        };
        let answer = get(&format!("{}{path}", self.base));
        // Files in a storage of their own are fetched there, as browsers do.
        if answer.status == 307 { get(answer.header("location")) } else { answer }
    }

    /// Where a GET of this path is sent on to; empty when it is answered here.
    pub fn sent_on_to(&self, path: &str) -> String {
        Self::read(self.agent.get(format!("{}{path}", self.base)).call()).header("location").to_owned()
    }

    pub fn head(&self, path: &str) -> Answer {
        Self::read(self.agent.head(format!("{}{path}", self.base)).call())
    }

    pub fn post(&self, path: &str, content_type: &str, body: &str) -> Answer {
        self.post_with(path, body, &[("Content-Type", content_type)])
    }

    pub fn post_with(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.post(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Self::read(request.send(body))
    }

    pub fn post_json(&self, path: &str, body: &impl serde::Serialize) -> Answer {
        self.post(path, "application/json", &serde_json::to_string(body).unwrap())
    }

    pub fn put_json(&self, path: &str, body: &Value) -> Answer {
        let request = self.agent.put(format!("{}{path}", self.base)).header("Content-Type", "application/json");
        Self::read(request.send(body.to_string()))
    }

    pub fn form(&self, fields: &[(&str, &str)]) -> Answer {
        self.form_to("/orders", fields)
    }

    /// Sends the order form to one of the addresses that its buttons name.
    pub fn form_to(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body: String = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.post(path, "application/x-www-form-urlencoded", &body)
    }

    /// The same as browsers send it, with a file: its field, its name and what is in it.
    pub fn form_with_file(&self, path: &str, fields: &[(&str, &str)], (field, name, content): (&str, &str, &str)) -> Answer {
        let part =
            |about: &str, content: &str| format!("--b0undary\r\nContent-Disposition: form-data; {about}\r\n\r\n{content}\r\n");
        let mut body: String = fields.iter().map(|(name, value)| part(&format!("name=\"{name}\""), value)).collect();
        body += &part(&format!("name=\"{field}\"; filename=\"{name}\""), content);
        self.post(path, "multipart/form-data; boundary=b0undary", &(body + "--b0undary--\r\n"))
    }

    /// Places an order that must be taken; its path in the API.
    pub fn order(&self, order: &Order) -> String {
        let answer = self.post_json("/api/v1/orders", order);
        assert_eq!(answer.status, 201, "{}", answer.text());
        answer.header("location").to_owned()
    }

    pub fn status(&self, order: &str) -> Value {
        let answer = self.get(order);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub fn state(&self, order: &str) -> String {
        self.status(order)["state"].as_str().unwrap().to_owned()
    }

    /// Waits until the order's state is this.
    pub fn wait_for(&self, order: &str, state: &str) {
        wait_until(&format!("the order is {state}"), || self.state(order) == state);
    }

    // The worker's side.

    fn worker(&self, method: &str, path: &str, lease: &str, body: &[u8]) -> Answer {
        let url = format!("{}/api/worker/{path}", self.base);
        let request = match method {
            "PUT" => self.agent.put(url),
            _ => self.agent.post(url),
        };
        let request = request.header("Authorization", format!("Bearer {WORKER_TOKEN}")).header("X-Hatchery-Lease", lease);
        Self::read(request.send(body))
    }

    /// What the site answers to a worker that asks for work.
    pub fn ask_for_work(&self, starts_images: bool) -> Answer {
        let request =
            LeaseRequest { worker: "test".into(), arches: vec!["amd64".into()], starts_images, ..LeaseRequest::default() };
        self.worker("POST", "lease", "", &serde_json::to_vec(&request).unwrap())
    }

    pub fn lease(&self) -> Option<Lease> {
        self.lease_as(&LeaseRequest {
            worker: "test".into(),
            arches: vec!["amd64".into()],
            starts_images: true,
            ..LeaseRequest::default()
        })
    }

    /// Asks for work as a worker of one's own making.
    pub fn lease_as(&self, request: &LeaseRequest) -> Option<Lease> {
        let answer = self.worker("POST", "lease", "", &serde_json::to_vec(&request).unwrap());
        match answer.status {
            204 => None,
            200 => Some(serde_json::from_slice(&answer.body).unwrap()),
            other => panic!("{other}: {}", answer.text()),
        }
    }

    /// The site as its operator, who has this token, sees it.
    pub fn seen_by_operator(&self, token: &str) -> Value {
        self.get_with("/api/v1/operator/site", &[("Authorization", &format!("Bearer {token}"))]).json()
    }

    /// Asks for work and goes away when no answer has come in time.
    pub fn ask_and_hang_up(&self, request: &LeaseRequest, after: Duration) {
        let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(after)).build().into();
        let post =
            agent.post(format!("{}/api/worker/lease", self.base)).header("Authorization", format!("Bearer {WORKER_TOKEN}"));
        let answer = post.send(&serde_json::to_vec(request).unwrap());
        assert!(matches!(answer, Err(ureq::Error::Timeout(_))), "{answer:?}");
    }

    pub fn events(&self, lease: &Lease, sequence: u64, events: Vec<Event>) -> Result<bool, u16> {
        let batch = serde_json::to_vec(&EventBatch { sequence, events }).unwrap();
        let answer = self.worker("POST", &format!("builds/{}/events", lease.job.build), &lease.lease, &batch);
        match answer.status {
            200 => Ok(serde_json::from_slice::<EventAnswer>(&answer.body).unwrap().cancel),
            other => Err(other),
        }
    }

    pub fn upload(&self, lease: &Lease, name: &str, bytes: &[u8]) -> u16 {
        self.worker("PUT", &format!("builds/{}/artifacts/{name}", lease.job.build), &lease.lease, bytes).status
    }

    pub fn send_package(&self, lease: &Lease, bytes: &[u8]) -> u16 {
        self.worker("PUT", &format!("builds/{}/package", lease.job.build), &lease.lease, bytes).status
    }

    pub fn end(&self, lease: &Lease, report: &EndReport) -> Answer {
        let body = serde_json::to_vec(report).unwrap();
        self.worker("POST", &format!("builds/{}/end", lease.job.build), &lease.lease, &body)
    }

    /// Does what a worker does, with files of our own.
    pub fn build(&self, lease: &Lease) {
        self.build_on(lease, 0);
    }

    /// The same after so many batches of events.
    pub fn build_on(&self, lease: &Lease, batches: u64) {
        for (i, step) in (batches..).zip(Step::ALL) {
            let events = vec![
                Event::Progress { step, done: 1, total: 1, what: "all".into() },
                Event::Log { line: format!("did {}", step.label()) },
            ];
            assert_eq!(self.events(lease, i, events), Ok(false));
        }
        for format in &lease.job.formats {
            assert_eq!(self.upload(lease, &artifact(lease, *format).name, &content(*format)), 204);
        }
        let answer = self.end(lease, &ready(lease));
        assert_eq!(answer.status, 204, "{}", answer.text());
    }
}

/// The bytes our worker makes for a format.
pub fn content(format: Format) -> Vec<u8> {
    format!("this is an image of format {format}. ").repeat(1_000).into_bytes()
}

pub fn artifact(lease: &Lease, format: Format) -> Artifact {
    let Digests { size, sha256, sha512, blake2b } = Digests::of(&content(format));
    Artifact { name: format!("{}.{format}", lease.job.image_name), format, size, sha256, sha512, blake2b }
}

/// The report of a good end.
pub fn ready(lease: &Lease) -> EndReport {
    let mut plan = lease.job.plan.clone();
    for package in &mut plan.packages {
        package.sha256 = Some("a".repeat(64));
    }
    plan.summary.installed_size = 4_242;
    plan.summary.measured = true;
    EndReport::Ready {
        artifacts: lease.job.formats.iter().map(|f| artifact(lease, *f)).collect(),
        plan: Box::new(plan),
        messages: vec!["bash says hello".into()],
        evidence: Vec::new(),
    }
}

pub fn failed() -> EndReport {
    EndReport::Failed {
        failure: Failure::new(Step::Merge, "its pkg_postinst ended with status 1", "Leave the package out.")
            .for_package("app-shells/bash-5.2_p15"),
    }
}

pub fn order(packages: &[&str], formats: &[Format]) -> Order {
    Order {
        arch: "amd64".into(),
        packages: packages.iter().map(|p| (*p).to_owned()).collect(),
        formats: formats.to_vec(),
        ..Order::default()
    }
}

/// Waits for something to become true; a test that waits for ever tells what for.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(30));
    }
}

/// A folder for one test.
pub fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    (dir, path)
}
