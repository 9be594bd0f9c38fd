//! A client of a site's REST API, as the CLI and `try` use it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use contract::Order;
use contract::lease::is_token;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// How often an order is sent that got no answer. Its idempotency key makes that harmless.
const TRIES: u32 = 4;
/// Bytes of the largest answer that is JSON.
const MAX_JSON: u64 = 64 << 20;

/// One site.
pub struct Site {
    agent: ureq::Agent,
    base: String,
    /// `Authorization`, of an invited user or of the operator.
    authorization: Option<String>,
}

/// How the operator's commands find a site and its operator's token.
#[derive(clap::Args)]
pub struct OperatorArgs {
    /// The site's address
    #[arg(long, global = true, env = "HATCHERY_SERVER", default_value = "http://127.0.0.1:8480")]
    server: String,
    /// The file with the operator's token
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "HATCHERY_OPERATOR_TOKEN",
        default_value = "var/server/operator.token"
    )]
    token_file: PathBuf,
}

/// An order on a site, by its secret-bearing address.
pub struct Placed {
    /// Path of the order in the API, like `/api/v1/orders/…`.
    pub api_path: String,
    /// The page for people; empty where only the identifier is known.
    pub page: String,
}

impl Placed {
    pub fn of(id: &str) -> Placed {
        Placed { api_path: format!("/api/v1/orders/{id}"), page: String::new() }
    }
}

type Answer = ureq::http::Response<ureq::Body>;

impl Site {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .http_status_as_error(false)
            .build();
        Site { agent: config.into(), base: base.trim_end_matches('/').to_owned(), authorization: None }
    }

    /// The same site for whoever holds this token.
    pub fn with_token(self, token: Option<String>) -> anyhow::Result<Self> {
        if token.as_ref().is_some_and(|token| !is_token(token)) {
            bail!("the token is no single word: name a file that holds the token and nothing else");
        }
        Ok(Site { authorization: token.map(|token| format!("Bearer {token}")), ..self })
    }

    /// Whether the site answers.
    pub fn is_up(&self) -> bool {
        self.agent.get(format!("{}/healthz", self.base)).call().is_ok_and(|r| r.status() == 200)
    }

    /// Places an order. `Ok(Err(text))` is the site's explanation of why it is refused.
    pub fn order(&self, order: &Order) -> anyhow::Result<Result<Placed, String>> {
        let key = idempotency_key()?;
        let send = || {
            let request = self.agent.post(format!("{}/api/v1/orders", self.base)).header("Idempotency-Key", &key);
            self.shown(request).send_json(order)
        };
        let mut answer = send();
        for again in 1..TRIES {
            if answer.as_ref().is_ok_and(|answer| !matches!(answer.status().as_u16(), 502 | 504)) {
                break;
            }
            std::thread::sleep(Duration::from_secs(1 << again.min(4)) / 2);
            answer = send();
        }
        let mut answer = answer.with_context(|| self.unreachable())?;
        let status = answer.status().as_u16();
        let body: Value = answer.body_mut().with_config().limit(MAX_JSON).read_json().unwrap_or(Value::Null);
        match status {
            200 | 201 => {}
            422 => return Ok(Err(problem(&body))),
            _ => bail!("{}", refused(status, &body)),
        }
        let id = body["id"].as_str().context("the site's answer names no order")?;
        let page = body["url"].as_str().unwrap_or_default().to_owned();
        Ok(Ok(Placed { page, ..Placed::of(id) }))
    }

    /// The order as it stands.
    pub fn status(&self, placed: &Placed) -> anyhow::Result<Value> {
        self.get(&placed.api_path)
    }

    /// An answer in JSON, which must be a good one.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        json_of(self.ask(path)?)
    }

    /// An answer in text, which must be a good one.
    pub fn text(&self, path: &str) -> anyhow::Result<String> {
        let mut answer = self.ask(path)?;
        if answer.status() != 200 {
            return json_of(answer).map(|_| String::new());
        }
        Ok(answer.body_mut().with_config().limit(MAX_JSON).read_to_string()?)
    }

    fn ask(&self, path: &str) -> anyhow::Result<Answer> {
        self.shown(self.agent.get(format!("{}{path}", self.base))).call().with_context(|| self.unreachable())
    }

    /// Has something done.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.shown(self.agent.post(format!("{}{path}", self.base)));
        json_of(request.send_json(body).with_context(|| self.unreachable())?)
    }

    /// The live events of an order, the lines of its log from the one after `last` on. `take` gets each event's name and data, and says
    /// whether to go on. The number of the last line is kept in `last`.
    pub fn events(&self, placed: &Placed, last: &mut String, mut take: impl FnMut(&str, &Value) -> bool) -> anyhow::Result<()> {
        let mut request = self.agent.get(format!("{}{}/events", self.base, placed.api_path));
        if !last.is_empty() {
            request = request.header("Last-Event-ID", last.as_str());
        }
        let answer = self.shown(request).call().with_context(|| self.unreachable())?;
        if answer.status() != 200 {
            return json_of(answer).map(drop);
        }
        let reader = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let (mut name, mut data) = (String::new(), String::new());
        for line in BufReader::new(reader).lines() {
            let line = line?;
            match line.split_once(':').map(|(field, value)| (field, value.strip_prefix(' ').unwrap_or(value))) {
                Some(("event", value)) => name = value.to_owned(),
                Some(("data", value)) => data.push_str(value),
                Some(("id", value)) => *last = value.to_owned(),
                Some(_) => {}
                None if line.is_empty() && !data.is_empty() => {
                    let value = serde_json::from_str(&std::mem::take(&mut data)).context("an event of the site is not JSON")?;
                    if !take(&name, &value) {
                        return Ok(());
                    }
                }
                None => {}
            }
        }
        Ok(())
    }

    /// Downloads one file of an order into `dir`, going on where an earlier try ended, and checks its SHA-256. A file that is there already and
    /// is the right one is not fetched again.
    pub fn download(&self, placed: &Placed, name: &str, sha256: &str, dir: &Path) -> anyhow::Result<PathBuf> {
        if !is_file_name(name) {
            bail!("the site names a file “{}”, which is no plain file name", name.escape_debug());
        }
        let path = dir.join(name);
        if path.is_file() && sha256_of(&path)? == sha256 {
            return Ok(path);
        }
        let partial = dir.join(format!("{name}.part"));
        let have = partial.metadata().map(|m| m.len()).unwrap_or(0);
        let request = self.agent.get(format!("{}{}/artifacts/{name}", self.base, placed.api_path));
        let request = request.header("Range", format!("bytes={have}-")).header("If-Range", format!("\"{sha256}\""));
        let mut answer = self.shown(request).call().with_context(|| self.unreachable())?;
        let mut file = match answer.status().as_u16() {
            206 => File::options().append(true).create(true).open(&partial)?,
            200 => File::create(&partial)?,
            // Nothing is missing: the earlier try had fetched it all.
            416 => File::options().append(true).open(&partial)?,
            status => {
                let body = answer.body_mut().with_config().limit(MAX_JSON).read_json().unwrap_or(Value::Null);
                bail!("{name}: {}", refused(status, &body))
            }
        };
        if answer.status().as_u16() != 416 {
            let mut reader = answer.body_mut().with_config().limit(u64::MAX).reader();
            std::io::copy(&mut reader, &mut file)
                .with_context(|| format!("the download of {name} broke off; run it again to go on"))?;
        }
        file.flush()?;
        if sha256_of(&partial)? != sha256 {
            std::fs::remove_file(&partial)?;
            bail!("{name} arrived damaged (its SHA-256 differs) and was removed; download it again");
        }
        std::fs::rename(&partial, &path)?;
        Ok(path)
    }

    fn shown<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        }
    }

    fn unreachable(&self) -> String {
        format!("the site {} cannot be reached; is it running, and is its address right (--server)?", self.base)
    }
}

impl OperatorArgs {
    /// The site as its operator sees it.
    pub fn site(&self) -> anyhow::Result<Site> {
        let token = std::fs::read_to_string(&self.token_file).with_context(|| {
            format!(
                "the operator's token cannot be read from {}; the server keeps it as operator.token in its data_dir: name it by --token-file",
                self.token_file.display()
            )
        })?;
        Site::new(&self.server).with_token(Some(token.trim().to_owned()))
    }
}

/// What nobody guesses.
fn idempotency_key() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).context("/dev/urandom cannot be read")?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// The body of an answer that must be a good one.
fn json_of(mut answer: Answer) -> anyhow::Result<Value> {
    let status = answer.status().as_u16();
    let body: Value = answer.body_mut().with_config().limit(MAX_JSON).read_json().unwrap_or(Value::Null);
    if status != 200 {
        bail!("{}", refused(status, &body));
    }
    Ok(body)
}

/// Why the site did not do it, and what helps.
fn refused(status: u16, body: &Value) -> String {
    let advice = match status {
        401 | 403 => " (a token is shown by --token-file, or in HATCHERY_TOKEN)",
        _ => "",
    };
    format!("the site answered {status}: {}{advice}", problem(body))
}

/// The text of a problem document.
fn problem(body: &Value) -> String {
    body["detail"].as_str().or_else(|| body["title"].as_str()).unwrap_or("no explanation was given").to_owned()
}

/// Whether a name from elsewhere is that of a file in a folder, and of no hidden one.
pub fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains('/') && !name.starts_with('.')
}

/// SHA-256 of a file, lower-case hexadecimal.
pub fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect());
        }
        hash.update(buffer.get(..n).unwrap_or_default());
    }
}
