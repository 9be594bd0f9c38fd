//! A client of a site's REST API, as the CLI and `try` use it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use contract::Order;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One site.
pub struct Site {
    agent: ureq::Agent,
    base: String,
    /// `Authorization` of an invited user.
    authorization: Option<String>,
}

/// How the operator's commands find a site and its operator's token.
#[derive(clap::Args)]
pub struct OperatorArgs {
    /// The site's address
    #[arg(long, env = "HATCHERY_SERVER", default_value = "http://127.0.0.1:8480")]
    server: String,
    /// The file with the operator's token
    #[arg(long, value_name = "FILE", env = "HATCHERY_OPERATOR_TOKEN", default_value = "var/server/operator.token")]
    token_file: PathBuf,
}

/// One site, with its operator's token.
pub struct OperatorSite {
    site: Site,
    token: String,
}

/// An order on a site, by its secret-bearing address.
pub struct Placed {
    /// Path of the order in the API, like `/api/v1/orders/…`.
    pub api_path: String,
    /// The page for people.
    pub page: String,
}

impl Site {
    pub fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(120)))
            .http_status_as_error(false)
            .build();
        Site { agent: config.into(), base: base.trim_end_matches('/').to_owned(), authorization: None }
    }

    /// The same site for whoever holds the token in this file.
    pub fn with_token(mut self, file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            let token =
                std::fs::read_to_string(file).with_context(|| format!("the token cannot be read from {}", file.display()))?;
            self.authorization = Some(format!("Bearer {}", token.trim()));
        }
        Ok(self)
    }

    /// Whether the site answers.
    pub fn is_up(&self) -> bool {
        self.agent.get(format!("{}/healthz", self.base)).call().is_ok_and(|r| r.status() == 200)
    }

    /// Places an order. `Ok(Err(text))` is the site's explanation of why there is no plan.
    pub fn order(&self, order: &Order) -> anyhow::Result<Result<Placed, String>> {
        let mut request = self.agent.post(format!("{}/api/v1/orders", self.base));
        if let Some(authorization) = &self.authorization {
            request = request.header("Authorization", authorization);
        }
        let mut answer = request.send_json(order).context(self.unreachable())?;
        let status = answer.status().as_u16();
        let body: Value = answer.body_mut().read_json().unwrap_or(Value::Null);
        if status == 422 {
            return Ok(Err(problem(&body)));
        }
        if status != 201 {
            bail!("the site answered {status}: {}", problem(&body));
        }
        let id = body["id"].as_str().context("the site's answer names no order")?;
        let page = body["url"].as_str().unwrap_or_default().to_owned();
        Ok(Ok(Placed { api_path: format!("/api/v1/orders/{id}"), page }))
    }

    /// The order as it stands.
    pub fn status(&self, placed: &Placed) -> anyhow::Result<Value> {
        self.get_json(&placed.api_path)
    }

    fn get_json(&self, path: &str) -> anyhow::Result<Value> {
        json_of(self.agent.get(format!("{}{path}", self.base)).call().context(self.unreachable())?)
    }

    /// Downloads one artifact into `dir`, going on where an earlier try ended, and checks its SHA-256.
    pub fn download(&self, placed: &Placed, name: &str, sha256: &str, dir: &Path) -> anyhow::Result<PathBuf> {
        if name.is_empty() || name.contains('/') || name.starts_with('.') {
            bail!("the site names a file “{}”, which is no plain file name", name.escape_debug());
        }
        let path = dir.join(name);
        let partial = dir.join(format!("{name}.part"));
        let have = partial.metadata().map(|m| m.len()).unwrap_or(0);
        let url = format!("{}{}/artifacts/{name}", self.base, placed.api_path);
        let mut answer = self.agent.get(&url).header("Range", format!("bytes={have}-")).call().context(self.unreachable())?;
        let mut file = match answer.status().as_u16() {
            206 => File::options().append(true).create(true).open(&partial)?,
            200 => File::create(&partial)?,
            // Nothing is missing: the earlier try had fetched it all.
            416 => File::options().append(true).open(&partial)?,
            status => bail!("the site answered {status} for {name}"),
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

    fn unreachable(&self) -> String {
        format!("the site {} cannot be reached; is it running?", self.base)
    }
}

impl OperatorArgs {
    /// The site as its operator sees it.
    pub fn site(&self) -> anyhow::Result<OperatorSite> {
        let token = std::fs::read_to_string(&self.token_file)
            .with_context(|| format!("the operator's token cannot be read from {}", self.token_file.display()))?;
        Ok(OperatorSite { site: Site::new(&self.server), token: token.trim().to_owned() })
    }
}

impl OperatorSite {
    /// Asks for something that only the operator may see.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let request = self.site.agent.get(format!("{}{path}", self.site.base));
        let answer = request.header("Authorization", format!("Bearer {}", self.token)).call().context(self.site.unreachable())?;
        json_of(answer)
    }

    /// Has something done.
    pub fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.site.agent.post(format!("{}{path}", self.site.base));
        let answer =
            request.header("Authorization", format!("Bearer {}", self.token)).send_json(body).context(self.site.unreachable())?;
        json_of(answer)
    }
}

/// The body of an answer that must be a good one.
fn json_of(mut answer: ureq::http::Response<ureq::Body>) -> anyhow::Result<Value> {
    let status = answer.status().as_u16();
    let body: Value = answer.body_mut().with_config().limit(64 << 20).read_json().unwrap_or(Value::Null);
    if status != 200 {
        bail!("the site answered {status}: {}", problem(&body));
    }
    Ok(body)
}

/// The text of a problem document.
fn problem(body: &Value) -> String {
    body["detail"].as_str().or_else(|| body["title"].as_str()).unwrap_or("no explanation was given").to_owned()
}

fn sha256_of(path: &Path) -> anyhow::Result<String> {
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
