//! Images in a bucket of an S3-compatible storage. Large files go up in parts while they come in; downloads go straight to the storage,
//! by addresses that this server has signed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming as Answer;
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Credentials, S3Action, UrlStyle, signing};

use crate::clock::now;
use crate::config::{ConfigError, S3Config};
use crate::outbound::{self, Reach};

/// How long a signed address for a download is good.
const DOWNLOAD: Duration = Duration::from_secs(6 * 3_600);
/// How long a signed address for the server itself is good.
const REQUEST: Duration = Duration::from_secs(900);
/// Bytes of a part; a file that fits into one goes up whole. S3 takes 10,000 parts, and none but the last below 5 MiB.
const PART: usize = 16 << 20;
/// How long the storage may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a request is tried that the storage could not answer; each wait is longer.
const TRIES: u32 = 4;
/// Bytes of an answer in XML.
const MAX_ANSWER: usize = 4 << 20;
/// An upload in parts that is older than this was left by a server that ended. Seconds.
const ABANDONED: i64 = 86_400;

/// A bucket and the right to use it.
pub struct Bucket(Arc<Inner>);

struct Inner {
    bucket: rusty_s3::Bucket,
    /// The same as browsers reach it.
    public: rusty_s3::Bucket,
    /// What our names in the bucket begin with.
    prefix: String,
    credentials: Credentials,
}

/// A file on its way into the bucket.
pub struct Incoming {
    bucket: Arc<Inner>,
    key: String,
    part: Vec<u8>,
    /// The upload in parts, once there is more than one.
    parts: Option<Parts>,
}

struct Parts {
    upload: String,
    etags: Vec<String>,
}

impl Bucket {
    pub fn open(config: &S3Config) -> Result<Bucket, ConfigError> {
        let secret = std::fs::read_to_string(&config.secret_key_file)
            .map_err(ConfigError::unreadable("[storage] secret_key_file", &config.secret_key_file))?;
        let style = if config.virtual_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket = |endpoint: &str| {
            let invalid = |e: &dyn std::fmt::Display| {
                ConfigError::Invalid(format!("[storage] endpoint “{endpoint}” is no address like https://s3.example.org: {e}"))
            };
            let endpoint = endpoint.parse().map_err(|e| invalid(&e))?;
            rusty_s3::Bucket::new(endpoint, style, config.bucket.clone(), config.region.clone()).map_err(|e| invalid(&e))
        };
        Ok(Bucket(Arc::new(Inner {
            bucket: bucket(&config.endpoint)?,
            public: bucket(config.public_endpoint.as_ref().unwrap_or(&config.endpoint))?,
            prefix: config.prefix.clone(),
            credentials: Credentials::new(config.access_key.clone(), secret.trim().to_owned()),
        })))
    }

    /// Whether the bucket answers.
    pub async fn check(&self) -> io::Result<()> {
        let inner = &self.0;
        let address = inner.bucket.head_bucket(Some(&inner.credentials)).sign(REQUEST);
        inner.send(Method::HEAD, address.as_str(), &[]).await.map(drop)
    }

    /// Where browsers are sent for files.
    pub fn origin(&self) -> String {
        self.0.public.base_url().origin().ascii_serialization()
    }

    /// An address by which a file can be fetched for a while, whole or in part.
    pub fn download(&self, build: &str, attempt: u32, name: &str, media_type: &str, inline: bool) -> String {
        let (key, disposition) = (self.0.key(build, attempt, name), if inline { "inline" } else { "attachment" });
        let mut action = self.0.public.get_object(Some(&self.0.credentials), &key);
        action.query_mut().insert("response-content-disposition", format!("{disposition}; filename=\"{name}\""));
        action.query_mut().insert("response-content-type", media_type);
        action.sign(DOWNLOAD).into()
    }

    /// Starts to take a file.
    pub fn receive(&self, build: &str, attempt: u32, name: &str) -> Incoming {
        Incoming { bucket: self.0.clone(), key: self.0.key(build, attempt, name), part: Vec::new(), parts: None }
    }

    /// Builds that have files here, whole or on their way.
    pub async fn builds(&self) -> io::Result<Vec<String>> {
        let mut keys = self.0.keys("").await?;
        for upload in self.0.uploads().await? {
            if upload.is_abandoned() {
                self.0.abort(&upload.key, &upload.id).await?;
            } else {
                keys.push(upload.key);
            }
        }
        let build_of = |key: &String| Some(key.strip_prefix(&self.0.prefix)?.split_once('/')?.0.to_owned());
        let builds: BTreeSet<String> = keys.iter().filter_map(build_of).collect();
        Ok(builds.into_iter().collect())
    }

    /// Removes the files of a build, but for those of one attempt.
    pub async fn remove_all_but(&self, build: &str, attempt: Option<u32>) -> io::Result<()> {
        let prefix = format!("{}{build}/", self.0.prefix);
        let kept = attempt.map(|attempt| format!("{prefix}{attempt}/"));
        let goes = |key: &str| key.starts_with(&prefix) && kept.as_ref().is_none_or(|kept| !key.starts_with(kept.as_str()));
        for key in self.0.keys(&format!("{build}/")).await?.iter().filter(|key| goes(key)) {
            let address = self.0.bucket.delete_object(Some(&self.0.credentials), key).sign(REQUEST);
            self.0.send(Method::DELETE, address.as_str(), &[]).await?;
        }
        for upload in self.0.uploads().await?.iter().filter(|upload| goes(&upload.key)) {
            self.0.abort(&upload.key, &upload.id).await?;
        }
        Ok(())
    }
}

/// A file that goes up in parts.
struct Upload {
    key: String,
    id: String,
    /// RFC 3339, as the storage writes it.
    began: String,
}

impl Upload {
    fn is_abandoned(&self) -> bool {
        self.began.parse::<jiff::Timestamp>().is_ok_and(|began| now().saturating_sub(began.as_second()) > ABANDONED)
    }
}

impl Inner {
    /// Sends a request, a few times over while the storage cannot answer.
    async fn send(&self, method: Method, address: &str, body: &[u8]) -> io::Result<Response<Answer>> {
        let mut tries = 1;
        loop {
            let request = Request::builder().method(method.clone()).uri(address).body(Body::from(body.to_vec()));
            let answer = outbound::send(request.map_err(io::Error::other)?, Reach::Any, PATIENCE).await;
            let problem = match answer {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) => refusal(answer).await,
                Err(error) => Problem { error: io::Error::other(error), passes: true },
            };
            if !problem.passes || tries >= TRIES {
                return Err(problem.error);
            }
            tokio::time::sleep(Duration::from_millis(250) * 2u32.pow(tries)).await;
            tries += 1;
        }
    }

    async fn text(&self, method: Method, address: &str, body: &[u8]) -> io::Result<String> {
        let answer = self.send(method, address, body).await?;
        let bytes = outbound::read("the storage", answer, MAX_ANSWER, PATIENCE).await.map_err(io::Error::other)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }

    fn key(&self, build: &str, attempt: u32, name: &str) -> String {
        format!("{}{build}/{attempt}/{name}", self.prefix)
    }

    /// Our keys that begin so, behind the prefix of them all.
    async fn keys(&self, begin: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{}{begin}", self.prefix);
        let mut keys = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut list = self.bucket.list_objects_v2(Some(&self.credentials));
            list.with_prefix(prefix.as_str());
            if let Some(token) = &token {
                list.with_continuation_token(token.as_str());
            }
            let text = self.text(Method::GET, list.sign(REQUEST).as_str(), &[]).await?;
            let page = ListObjectsV2::parse_response(&text).map_err(io::Error::other)?;
            keys.extend(page.contents.into_iter().map(|object| object.key));
            match page.next_continuation_token {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => return Ok(keys),
            }
        }
    }

    /// Our uploads in parts that are under way, of the first thousand in the bucket.
    async fn uploads(&self) -> io::Result<Vec<Upload>> {
        let (key, secret) = (self.credentials.key(), self.credentials.secret());
        let address = signing::sign(
            &jiff::Timestamp::now(),
            rusty_s3::Method::Get,
            self.bucket.base_url().clone(),
            key,
            secret,
            self.credentials.token(),
            self.bucket.region(),
            REQUEST.as_secs(),
            [("uploads", "")].into_iter(),
            std::iter::empty(),
        );
        let text = self.text(Method::GET, address.as_str(), &[]).await?;
        let uploads = text.split("<Upload>").skip(1).filter_map(|entry| {
            Some(Upload {
                key: element(entry, "Key")?.to_owned(),
                id: element(entry, "UploadId")?.to_owned(),
                began: element(entry, "Initiated").unwrap_or_default().to_owned(),
            })
        });
        Ok(uploads.filter(|upload| upload.key.starts_with(&self.prefix)).collect())
    }

    async fn abort(&self, key: &str, upload: &str) -> io::Result<()> {
        let address = self.bucket.abort_multipart_upload(Some(&self.credentials), key, upload).sign(REQUEST);
        self.send(Method::DELETE, address.as_str(), &[]).await.map(drop)
    }
}

/// The text of the first element of this name. What is asked for holds neither markup nor entities.
fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
}

/// Why a request was not done, and whether trying again can help.
struct Problem {
    error: io::Error,
    passes: bool,
}

async fn refusal(answer: Response<Answer>) -> Problem {
    let status = answer.status();
    let body = outbound::read("the storage", answer, MAX_ANSWER, PATIENCE).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&body);
    let reason = element(&text, "Code").unwrap_or("no reason given").chars().take(200).collect::<String>();
    let kind = match status {
        StatusCode::INSUFFICIENT_STORAGE => io::ErrorKind::StorageFull,
        StatusCode::NOT_FOUND => io::ErrorKind::NotFound,
        _ => io::ErrorKind::Other,
    };
    let error = io::Error::new(kind, format!("the storage answered {status}: {reason}"));
    let passes = (status.is_server_error() && kind == io::ErrorKind::Other) || status == StatusCode::TOO_MANY_REQUESTS;
    Problem { error, passes }
}

impl Incoming {
    pub async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // A full part goes up only when more comes, so that a file of just one part goes up whole.
            if self.part.len() == PART {
                self.send_part().await?;
            }
            let (now, later) = bytes.split_at(bytes.len().min(PART - self.part.len()));
            self.part.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    async fn send_part(&mut self) -> io::Result<()> {
        let credentials = Some(&self.bucket.credentials);
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => {
                let address = self.bucket.bucket.create_multipart_upload(credentials, &self.key).sign(REQUEST);
                let text = self.bucket.text(Method::POST, address.as_str(), &[]).await?;
                let made = CreateMultipartUpload::parse_response(&text).map_err(io::Error::other)?;
                none.insert(Parts { upload: made.upload_id().to_owned(), etags: Vec::new() })
            }
        };
        let number = u16::try_from(parts.etags.len() + 1).map_err(io::Error::other)?;
        let address = self.bucket.bucket.upload_part(credentials, &self.key, number, &parts.upload).sign(REQUEST);
        let answer = self.bucket.send(Method::PUT, address.as_str(), &self.part).await?;
        let etag = answer.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
        parts.etags.push(etag.ok_or_else(|| io::Error::other("the storage gave a part no ETag"))?.to_owned());
        self.part.clear();
        Ok(())
    }

    /// Gives the file its name: an object is there whole or not at all.
    pub async fn keep(mut self) -> io::Result<()> {
        let credentials = Some(&self.bucket.credentials);
        if self.parts.is_none() {
            let address = self.bucket.bucket.put_object(credentials, &self.key).sign(REQUEST);
            return self.bucket.send(Method::PUT, address.as_str(), &self.part).await.map(drop);
        }
        self.send_part().await?;
        let Some(parts) = &self.parts else {
            return Ok(());
        };
        let etags = parts.etags.iter().map(String::as_str);
        let action =
            self.bucket.bucket.complete_multipart_upload(Some(&self.bucket.credentials), &self.key, &parts.upload, etags);
        let address = action.sign(REQUEST);
        let text = self.bucket.text(Method::POST, address.as_str(), action.body().as_bytes()).await?;
        // S3 may answer 200 and tell of a failure in the body.
        if let Some(code) = element(&text, "Code") {
            return Err(io::Error::other(format!("the storage could not put the parts together: {code}")));
        }
        self.parts = None;
        Ok(())
    }
}

/// What was sent in parts and is not kept is given up; where that fails, the sweep does it.
impl Drop for Incoming {
    fn drop(&mut self) {
        let Some(parts) = self.parts.take() else { return };
        let (bucket, key) = (self.bucket.clone(), std::mem::take(&mut self.key));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = bucket.abort(&key, &parts.upload).await {
                    tracing::warn!(%error, "an upload that broke off could not be given up");
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_and_old_uploads_told_from_new() {
        let text = "<Upload><Key>b/1/x.iso</Key><UploadId>abc</UploadId><Initiated>2020-01-02T03:04:05.000Z</Initiated></Upload>";
        assert_eq!(
            (element(text, "Key"), element(text, "UploadId"), element(text, "Nothing")),
            (Some("b/1/x.iso"), Some("abc"), None)
        );
        let upload = |began: &str| Upload { key: String::new(), id: String::new(), began: began.to_owned() };
        assert!(upload("2020-01-02T03:04:05.000Z").is_abandoned());
        assert!(!upload("2999-01-02T03:04:05Z").is_abandoned());
        assert!(!upload("yesterday").is_abandoned());
    }
}
