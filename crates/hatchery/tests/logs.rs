//! What the real server logs while it is used: JSON that names orders by their number, and no secret, whatever happens.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use contract::lease::{EndReport, LeaseRequest};
use contract::{Artifact, Failure, Format, Lease, Step};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A site without a worker, in a process of its own.
struct Site {
    process: Child,
    base: String,
    agent: ureq::Agent,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Site {
    fn start(dir: &Path, format: &str) -> Site {
        let binhost = dir.join("binhost");
        std::fs::create_dir_all(binhost.join("app-shells")).unwrap();
        std::fs::write(binhost.join("app-shells/bash-5.gpkg.tar"), "").unwrap();
        let index = "ACCEPT_KEYWORDS: amd64\nARCH: amd64\nTIMESTAMP: 1795334700\nVERSION: 0\n\nCPV: app-shells/bash-5\nBUILD_TIME: 1795000000\n\
                     EAPI: 8\nKEYWORDS: amd64\nLICENSE: GPL-2\nMD5: 00000000000000000000000000000000\nPATH: app-shells/bash-5.gpkg.tar\n\
                     SHA1: 0000000000000000000000000000000000000000\nSIZE: 0\nREPO: gentoo\n\n";
        std::fs::write(binhost.join("Packages"), index).unwrap();
        let config = format!(
            "listen = '127.0.0.1:0'\ndata_dir = '{0}/data'\nwebhooks_inside = true\n[mail]\nhost = '127.0.0.1'\nport = 1\nfrom = 'h@example.org'\n[accounts]\n\
             [[channel]]\nname = 'c'\ntitle = 'C'\narch = 'amd64'\n[[channel.binhost]]\nname = 'b'\nuri = 'file://{0}/binhost'\n\
             allow_unsigned = true\n",
            dir.display()
        );
        std::fs::write(dir.join("hatchery.toml"), config).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_hatchery"))
            .args(["--log", format, "serve", "--no-worker", "--config"])
            .arg(dir.join("hatchery.toml"))
            .env("RUST_LOG", "info,hatchery=trace,server=trace,binhost=trace,resolver=trace,sqlx=debug")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut base = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut base).unwrap();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        Site { process, base: base.trim().to_owned(), agent }
    }

    /// Status and body.
    fn post(&self, path: &str, kind: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Content-Type", kind);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        read(request.send(body).unwrap())
    }

    fn get(&self, path: &str) -> (u16, Vec<u8>) {
        read(self.agent.get(format!("{}{path}", self.base)).call().unwrap())
    }

    fn json(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> (u16, Value) {
        let (status, body) = self.post(path, "application/json", headers, body.to_string().as_bytes());
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }
}

fn read(mut answer: ureq::http::Response<ureq::Body>) -> (u16, Vec<u8>) {
    let mut body = Vec::new();
    answer.body_mut().as_reader().read_to_end(&mut body).unwrap();
    (answer.status().as_u16(), body)
}

/// The report of a worker that has sent nothing, so that it is refused; and one of a failure.
fn reports(lease: &Lease) -> [EndReport; 2] {
    let sums = "a".repeat(128);
    let artifact = Artifact {
        name: "x.zip".into(),
        format: Format::Zip,
        size: 1,
        sha256: hex(&Sha256::digest(b"x")),
        sha512: sums.clone(),
        blake2b: sums,
    };
    let (plan, messages) = (Box::new(lease.job.plan.clone()), Vec::new());
    let failure = Failure::new(Step::Merge, "no", "order less");
    [EndReport::Ready { artifacts: vec![artifact], plan, messages, evidence: Vec::new() }, EndReport::Failed { failure }]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn logs_are_json_and_hold_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "json");
    let file = |name: &str| std::fs::read_to_string(dir.path().join("data").join(name)).unwrap().trim().to_owned();
    let (worker, operator) = (file("worker.token"), file("operator.token"));
    let (as_worker, as_operator) = (format!("Bearer {worker}"), format!("Bearer {operator}"));
    let (_, invited) = site.json(
        "/api/v1/operator/access",
        &[("Authorization", &as_operator)],
        &json!({"action": "add", "name": "larry", "role": "user"}),
    );
    let invited = invited["token"].as_str().expect("a token is made").to_owned();

    let hash = format!("$6$saltysaltysalty$.{}", "s".repeat(85));
    let body = json!({
        "arch": "amd64", "packages": ["app-shells/bash"], "formats": ["zip"],
        "system": {"hostname": "hidden-host", "root_password_hash": hash},
        "notify": {"email": "larry.secret@example.org", "webhook": "http://127.0.0.1:1/hook-secret?key=hook-key"},
    });
    let (status, placed) = site.json("/api/v1/orders", &[("Authorization", &format!("Bearer {invited}"))], &body);
    assert_eq!(status, 201, "{placed}");
    let id = placed["id"].as_str().unwrap().to_owned();
    let status: Value = serde_json::from_slice(&site.get(&format!("/api/v1/orders/{id}")).1).unwrap();
    let [number, secret] = ["number", "webhook_secret"].map(|field| status[field].as_str().unwrap().to_owned());
    assert!(!id.contains(&number) && number.len() == 12);

    // All that touches secrets, right and wrong.
    for path in ["", "/plan", "/log", "/artifacts/none", "/SHA256SUMS"] {
        site.get(&format!("/api/v1/orders/{id}{path}"));
    }
    site.get(&format!("/orders/{id}"));
    site.get(&format!("/orders/{id}/feed.atom"));
    site.get(&format!("/orders/{id}x?password=query-secret"));
    let form =
        "root_password=typed-secret&root_password_again=typed-secret&formats=zip&packages=none/such&token=0123456789abcdef0123";
    site.post("/orders", "application/x-www-form-urlencoded", &[], form.as_bytes());
    site.post("/log-in", "application/x-www-form-urlencoded", &[], b"token=wrong-secret");
    site.post("/log-in/mail", "application/x-www-form-urlencoded", &[], b"email=visitor.secret@example.org");
    site.post("/log-in/link/link-secret", "application/x-www-form-urlencoded", &[], b"");
    site.json(
        "/api/v1/operator/access",
        &[("Authorization", &as_operator)],
        &json!({"action": "invite", "email": "guest.secret@example.org", "role": "user"}),
    );
    site.post("/operator", "application/x-www-form-urlencoded", &[], format!("token={operator}").as_bytes());
    site.json("/api/worker/lease", &[("Authorization", "Bearer wrong-secret")], &json!({}));
    let asks = LeaseRequest { worker: "w".into(), arches: vec!["amd64".into()], ..LeaseRequest::default() };
    let headers = [("Authorization", as_worker.as_str())];
    let (status, lease) = site.json("/api/worker/lease", &headers, &serde_json::to_value(&asks).unwrap());
    assert_eq!(status, 200, "{lease}");
    let lease: Lease = serde_json::from_value(lease).unwrap();
    let headers = [headers[0], ("X-Hatchery-Lease", lease.lease.as_str())];
    let path = format!("/api/worker/builds/{}/end", lease.job.build);
    let ended: Vec<u16> =
        reports(&lease).iter().map(|report| site.json(&path, &headers, &serde_json::to_value(report).unwrap()).0).collect();
    assert_eq!(ended, [422, 204]);
    assert_eq!(site.post(&format!("/api/v1/orders/{id}/again"), "text/plain", &[], b"").0, 200);
    assert_eq!(site.post(&format!("/api/v1/orders/{id}/cancel"), "text/plain", &[], b"").0, 200);

    // The notices that cannot be given are logged as well.
    let log = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    let start = Instant::now();
    while !log().contains("notice not given") {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(site);
    let log = log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect();
    let of_order = |message: &str| {
        let line = lines.iter().find(|line| line["message"] == message).unwrap_or_else(|| panic!("no “{message}”: {log}"));
        line["order"] == number.as_str()
    };
    for message in ["order taken", "to be built again", "order cancelled", "notice not given"] {
        assert!(of_order(message), "{message}: {log}");
    }
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string() && line["target"].is_string()));
    let site_secrets = [worker, operator, invited, id, secret.trim_start_matches("whsec_").to_owned(), hash, lease.lease];
    let others = [
        "larry.secret",
        "visitor.secret",
        "guest.secret",
        "link-secret",
        "hook-secret",
        "hook-key",
        "typed-secret",
        "wrong-secret",
        "query-secret",
        "hidden-host",
    ];
    for secret in site_secrets.iter().map(String::as_str).chain(others) {
        assert!(!log.contains(secret), "“{secret}” is in the log: {}", log.lines().find(|line| line.contains(secret)).unwrap());
    }
}

#[test]
fn what_a_site_keeps_is_for_its_user_alone_and_a_log_in_a_file_has_no_colours() {
    let dir = tempfile::tempdir().unwrap();
    let site = Site::start(dir.path(), "text");
    site.agent.get(format!("{}/healthz", site.base)).call().unwrap();
    let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in
        [("data", 0o700), ("data/artifacts", 0o700), ("data/hatchery.sqlite", 0o600), ("data/operator.token", 0o600)]
    {
        assert_eq!(mode(name), expected, "{name}");
    }
    drop(site);
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    assert!(log.contains("listening") && !log.contains('\x1b'), "{log}");
}
