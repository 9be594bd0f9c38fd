//! The worker's side of the lease protocol (`contract::lease`).

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use contract::Lease;
use contract::lease::{EndReport, EventAnswer, EventBatch, LeaseRequest, is_token};

/// Why a worker could not work.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// This machine lacks what a build needs.
    #[error("this machine cannot build: {0}")]
    Unfit(String),
    /// The server answered, and said no.
    #[error("the server refused ({status}): {detail}")]
    Refused { status: u16, detail: String },
    /// The server did not answer; worth another try.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
}

/// A connection to one server.
#[derive(Clone)]
pub struct ServerClient {
    agent: ureq::Agent,
    base: String,
    authorization: String,
}

const LEASE_HEADER: &str = "X-Hatchery-Lease";

impl ServerClient {
    /// `server` is the address a browser would use; `token` the worker token.
    pub fn new(server: &str, token: &str) -> Result<Self, WorkerError> {
        if !server.starts_with("http://") && !server.starts_with("https://") {
            return Err(WorkerError::Unfit(format!("“{server}” is not an address: give one like http://127.0.0.1:8480")));
        }
        if !is_token(token) {
            let why =
                "the token is no single word: give the file that holds the worker token of the site's operator and nothing else";
            return Err(WorkerError::Unfit(why.into()));
        }
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .build();
        let base = server.trim_end_matches('/').to_owned();
        Ok(ServerClient { agent: config.into(), base, authorization: format!("Bearer {token}") })
    }

    /// Asks for a job; `None` when nothing waits.
    pub fn lease(&self, request: &LeaseRequest) -> Result<Option<Lease>, WorkerError> {
        let answer = self.agent.post(self.url("lease")).header("Authorization", &self.authorization).send_json(request);
        let mut answer = accepted(answer)?;
        if answer.status() == 204 {
            return Ok(None);
        }
        answer.body_mut().with_config().limit(64 << 20).read_json().map(Some).map_err(|e| WorkerError::Unreachable(e.to_string()))
    }

    /// Reports events and renews the lease.
    pub fn events(&self, lease: &Lease, batch: &EventBatch) -> Result<EventAnswer, WorkerError> {
        let answer = self.leased(self.agent.post(self.build_url(lease, "events")), lease).send_json(batch);
        accepted(answer)?.body_mut().read_json().map_err(|e| WorkerError::Unreachable(e.to_string()))
    }

    /// Uploads one file as it is on disk, again and again if the server is away for a while, as long as `go_on` says so: a build is not lost
    /// for a network that is.
    pub fn upload(&self, lease: &Lease, name: &str, path: &Path, go_on: impl Fn() -> bool) -> Result<(), WorkerError> {
        patiently(go_on, || self.upload_once(lease, &format!("artifacts/{name}"), path))
    }

    /// Uploads the package of a build from source, which the server takes or refuses.
    pub fn upload_package(&self, lease: &Lease, path: &Path, go_on: impl Fn() -> bool) -> Result<(), WorkerError> {
        patiently(go_on, || self.upload_once(lease, "package", path))
    }

    fn upload_once(&self, lease: &Lease, place: &str, path: &Path) -> Result<(), WorkerError> {
        let unreadable = |e: std::io::Error| WorkerError::Unfit(format!("{}: {e}", path.display()));
        let file = File::open(path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let request = self.leased(self.agent.put(self.build_url(lease, place)), lease);
        let request = request.header("Content-Length", size.to_string());
        // A network that is cut says nothing; without a limit the worker would wait for it until TCP gives up.
        let limit = Duration::from_secs(LEAST_UPLOAD.saturating_add(size / SLOWEST_UPLOAD));
        let request = request.config().timeout_send_body(Some(limit)).build();
        accepted(request.send(ureq::SendBody::from_owned_reader(file)))?;
        Ok(())
    }

    /// Says how the build ended, again and again if the server is away for a while.
    pub fn end(&self, lease: &Lease, report: &EndReport) -> Result<(), WorkerError> {
        patiently(
            || true,
            || {
                let answer = self.leased(self.agent.post(self.build_url(lease, "end")), lease).send_json(report);
                accepted(answer).map(drop)
            },
        )
    }

    fn leased<B>(&self, request: ureq::RequestBuilder<B>, lease: &Lease) -> ureq::RequestBuilder<B> {
        request.header("Authorization", &self.authorization).header(LEASE_HEADER, &lease.lease)
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/worker/{path}", self.base)
    }

    fn build_url(&self, lease: &Lease, path: &str) -> String {
        self.url(&format!("builds/{}/{path}", lease.job.build))
    }
}

/// The slowest that an upload may go, in bytes a second, and the seconds that it may take besides.
const SLOWEST_UPLOAD: u64 = 100_000;
const LEAST_UPLOAD: u64 = 30;

/// Something is tried again for so long while the server cannot be reached. The lease decides before that: it lapses, and what comes too
/// late is refused.
const PATIENCE: Duration = Duration::from_secs(300);
/// The longest wait between two tries. Seconds.
const LONGEST_WAIT: u64 = 5;

fn patiently(go_on: impl Fn() -> bool, mut call: impl FnMut() -> Result<(), WorkerError>) -> Result<(), WorkerError> {
    let began = Instant::now();
    let mut tries = 1;
    loop {
        match call() {
            Err(WorkerError::Unreachable(_)) if began.elapsed() < PATIENCE && go_on() => {
                std::thread::sleep(Duration::from_secs(tries.min(LONGEST_WAIT)));
            }
            ended => return ended,
        }
        tries += 1;
    }
}

fn accepted(
    answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
) -> Result<ureq::http::Response<ureq::Body>, WorkerError> {
    let mut answer = answer.map_err(|e| WorkerError::Unreachable(e.to_string()))?;
    let status = answer.status().as_u16();
    match status {
        200..=299 => Ok(answer),
        // 5xx and 429 pass: a proxy without its server answers so too.
        429 | 500..=599 => Err(WorkerError::Unreachable(format!("it answered {status}"))),
        _ => {
            let text = answer.body_mut().with_config().limit(64 << 10).read_to_string().unwrap_or_default();
            Err(WorkerError::Refused { status, detail: detail(&text).unwrap_or(text) })
        }
    }
}

/// What a problem document (RFC 9457) says to people.
fn detail(text: &str) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_str(text).ok()?;
    problem.get("detail")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_and_no_token_is_refused_at_once() {
        ServerClient::new("https://hatchery.example.org", "0123456789abcdef").unwrap();
        for (server, token) in [("hatchery.example.org", "x"), ("http://127.0.0.1:1", ""), ("http://127.0.0.1:1", "two\nlines")] {
            assert!(matches!(ServerClient::new(server, token), Err(WorkerError::Unfit(_))), "{server} {token}");
        }
    }

    #[test]
    fn of_a_problem_its_words_are_said() {
        assert_eq!(detail(r#"{"status":401,"detail":"Ask the operator."}"#).as_deref(), Some("Ask the operator."));
        assert_eq!(detail("<html>Not here"), None);
    }
}
