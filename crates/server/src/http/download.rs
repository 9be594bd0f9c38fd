//! Downloads: whole files and parts of them (RFC 9110, section 14), and the lists of checksums.

use std::io::SeekFrom;

use attest::DocumentKind;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;

use super::SharedApp;
use super::api::find;
use super::openapi::{Malformed, NotFound, OrderId, TooMany, Unauthorized, WrongRange};
use super::problem::Problem;
use crate::app::App;
use crate::client::Client;
use crate::db::BuildState;
use crate::orders;
use crate::status::OrderStatus;
use crate::storage::Source;

pub const BUFFER: usize = 256 << 10;
/// The media type of images.
const IMAGE: &str = "application/octet-stream";

/// What part of a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Whole,
    /// First and last byte, both included.
    Part(u64, u64),
    Unsatisfiable,
}

/// A file of an order: an image, or what lies beside the images
///
/// Parts are given for one range of bytes (RFC 9110, section 14); `If-Range` takes the `ETag`, which is the SHA-256.
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/artifacts/{name}",
    tag = "orders",
    operation_id = "artifact",
    security((), ("user" = [])),
    params(
        OrderId,
        ("name" = String, Path, description = "The name of the file"),
        ("Range" = Option<String>, Header, description = "The part that is wanted, like `bytes=1000-`"),
    ),
    responses(
        (status = 200, description = "The file; its media type is that of the file", body = String, content_type = "*/*"),
        (status = 206, description = "The part", body = String, content_type = "*/*"),
        (status = 304, description = "It is what the client has (`If-None-Match`)"),
        (status = 307, description = "The storage has it, at an address that is good for some hours"),
        Malformed, Unauthorized, NotFound, WrongRange, TooMany,
    ),
)]
pub async fn artifact(
    State(app): SharedApp,
    method: Method,
    Path((id, name)): Path<(String, String)>,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let status = ready_order(&app, &id).await?;
    let order = orders::number(&id);
    let Some(found) = find_file(&app, &status.build, &name).await? else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "The order has no file of this name."));
    };
    let etag = format!("\"{}\"", found.sha256);
    if text(&headers, header::IF_NONE_MATCH).is_some_and(|tags| tags == "*" || tags.split(',').any(|t| t.trim() == etag)) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let wanted = wanted(&headers, &etag, found.size);
    if let (Content::Stored(Source::Elsewhere(address)), &Method::GET, Wanted::Whole | Wanted::Part(..)) =
        (&found.content, &method, wanted)
    {
        app.may_fetch(&client.user(&app.secret)).await?;
        if found.kind.is_none() {
            app.db.picked_up(&id).await?;
        }
        tracing::info!(order, build = status.build, name, "download sent on to the storage");
        return Ok(sent_on(address));
    }
    let permit = match method {
        Method::GET => app.may_download(&client.user(&app.secret))?,
        _ => None,
    };
    let response = match wanted {
        Wanted::Unsatisfiable => {
            let mut response =
                Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "The file ends before the part that was asked for.")
                    .into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{}", found.size));
            return Ok(response);
        }
        Wanted::Whole => part(&found, &method, 0, found.size).await?,
        Wanted::Part(first, last) => {
            let mut response = part(&found, &method, first, last - first + 1).await?;
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{}", found.size));
            response
        }
    };
    if method == Method::GET && found.kind.is_none() {
        app.db.picked_up(&id).await?;
        tracing::info!(order, build = status.build, name, "download begins");
    }
    let mut response = held(response, permit);
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_TYPE, found.kind.map_or(IMAGE, DocumentKind::media_type));
    let disposition = if found.kind.is_some_and(DocumentKind::is_evidence) { "inline" } else { "attachment" };
    set(&mut response, header::CONTENT_DISPOSITION, &format!("{disposition}; filename=\"{name}\""));
    set(&mut response, header::CACHE_CONTROL, "private, max-age=86400, immutable");
    Ok(response)
}

/// A file of an order: an image, or what lies beside the images.
struct Found {
    size: u64,
    sha256: String,
    /// None is an image.
    kind: Option<DocumentKind>,
    content: Content,
}

enum Content {
    Stored(Source),
    Bytes(Vec<u8>),
}

async fn find_file(app: &App, build: &str, name: &str) -> Result<Option<Found>, Problem> {
    let artifacts = app.db.artifacts(build).await?;
    if let Some((artifact, attempt)) = artifacts.into_iter().find(|(artifact, _)| artifact.name == name) {
        let content = Content::Stored(app.storage.source(build, attempt, name, IMAGE, false));
        return Ok(Some(Found { size: artifact.size, sha256: artifact.sha256, kind: None, content }));
    }
    let documents = app.db.documents(build).await?;
    let Some(document) = documents.into_iter().find(|document| document.name == name) else { return Ok(None) };
    let content = match document.attempt {
        Some(attempt) => {
            let kind = document.kind;
            Content::Stored(app.storage.source(build, attempt, name, kind.media_type(), kind.is_evidence()))
        }
        None => Content::Bytes(app.db.document_body(build, name).await?.unwrap_or_default()),
    };
    Ok(Some(Found { size: document.size, sha256: document.sha256, kind: Some(document.kind), content }))
}

/// What the operator's signatures can be checked with
///
/// Whoever trusts it should have it by another way too.
#[utoipa::path(
    get,
    path = "/certificate.asc",
    tag = "site",
    operation_id = "certificate",
    responses((status = 200, description = "An OpenPGP certificate", body = String, content_type = "application/pgp-keys"), NotFound),
)]
pub async fn certificate(State(app): SharedApp) -> Result<Response, Problem> {
    let Some(certificate) = app.attestor.certificate() else {
        return Err(Problem::new(StatusCode::NOT_FOUND, "This site signs nothing: its operator named no key."));
    };
    Ok(([(header::CONTENT_TYPE, "application/pgp-keys")], certificate.to_owned()).into_response())
}

/// The answer, which holds its right to be sent until it was, or the client is gone.
fn held(response: Response, permit: Option<OwnedSemaphorePermit>) -> Response {
    let Some(permit) = permit else { return response };
    let (head, body) = response.into_parts();
    let stream = body.into_data_stream().map(move |chunk| {
        let _ = &permit;
        chunk
    });
    Response::from_parts(head, Body::from_stream(stream))
}

/// Sends a client on to the storage, which serves parts of files too. The address is good for a while only, and kept by nobody.
fn sent_on(address: &str) -> Response {
    let mut response = StatusCode::TEMPORARY_REDIRECT.into_response();
    set(&mut response, header::LOCATION, address);
    response
}

/// The checksums of the images, as `sha256sum -c` reads them
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/SHA256SUMS",
    tag = "orders",
    operation_id = "sha256sums",
    params(OrderId),
    responses((status = 200, description = "The sums", body = String, content_type = "text/plain; charset=utf-8"), Malformed, NotFound),
)]
pub async fn sha256sums(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = ready_order(&app, &id).await?;
    Ok(sums(status.artifacts.iter().map(|d| (d.artifact.sha256.as_str(), d.artifact.name.as_str()))))
}

/// The checksums of the images, as `sha512sum -c` reads them
#[utoipa::path(
    get,
    path = "/api/v1/orders/{id}/SHA512SUMS",
    tag = "orders",
    operation_id = "sha512sums",
    params(OrderId),
    responses((status = 200, description = "The sums", body = String, content_type = "text/plain; charset=utf-8"), Malformed, NotFound),
)]
pub async fn sha512sums(State(app): SharedApp, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = ready_order(&app, &id).await?;
    Ok(sums(status.artifacts.iter().map(|d| (d.artifact.sha512.as_str(), d.artifact.name.as_str()))))
}

fn sums<'a>(lines: impl Iterator<Item = (&'a str, &'a str)>) -> Response {
    let text: String = lines.map(|(hash, name)| format!("{hash}  {name}\n")).collect();
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
}

async fn ready_order(app: &App, id: &str) -> Result<OrderStatus, Problem> {
    let status = find(app, id).await?;
    if status.state != BuildState::Ready {
        let detail = format!("There is nothing to download: the order is {}, not ready.", status.state);
        return Err(Problem::new(StatusCode::NOT_FOUND, detail));
    }
    Ok(status)
}

/// An answer with `length` bytes of the file from `first` on; with none of them for HEAD.
async fn part(found: &Found, method: &Method, first: u64, length: u64) -> Result<Response, Problem> {
    let body = match &found.content {
        _ if method == Method::HEAD => Body::empty(),
        Content::Stored(Source::Elsewhere(_)) => Body::empty(),
        Content::Stored(Source::File(path)) => {
            let mut file = tokio::fs::File::open(path).await?;
            file.seek(SeekFrom::Start(first)).await?;
            Body::from_stream(ReaderStream::with_capacity(file.take(length), BUFFER))
        }
        Content::Bytes(bytes) => {
            let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
            Body::from(bytes.get(at(first)..at(first.saturating_add(length))).unwrap_or_default().to_vec())
        }
    };
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

/// Reads Range and If-Range. A form we do not serve in parts (several ranges, other units) means the whole file, as the RFC allows.
pub fn wanted(headers: &HeaderMap, etag: &str, size: u64) -> Wanted {
    let Some(range) = text(headers, header::RANGE).and_then(|r| r.strip_prefix("bytes=")) else {
        return Wanted::Whole;
    };
    if text(headers, header::IF_RANGE).is_some_and(|tag| tag != etag) {
        return Wanted::Whole;
    }
    let Some((first, last)) = range.split_once('-') else {
        return Wanted::Whole;
    };
    match (first.trim().parse::<u64>(), last.trim().parse::<u64>()) {
        (Ok(first), Ok(last)) if first > last => Wanted::Whole,
        (Ok(first), _) if first >= size => Wanted::Unsatisfiable,
        (Ok(first), Ok(last)) => Wanted::Part(first, last.min(size - 1)),
        (Ok(first), Err(_)) if last.trim().is_empty() => Wanted::Part(first, size - 1),
        (Err(_), Ok(0)) if first.trim().is_empty() => Wanted::Unsatisfiable,
        (Err(_), Ok(_)) if first.trim().is_empty() && size == 0 => Wanted::Unsatisfiable,
        (Err(_), Ok(count)) if first.trim().is_empty() => Wanted::Part(size.saturating_sub(count), size - 1),
        _ => Wanted::Whole,
    }
}

pub fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(range: &str, if_range: Option<&str>, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, range.parse().unwrap());
        if let Some(tag) = if_range {
            headers.insert(header::IF_RANGE, tag.parse().unwrap());
        }
        wanted(&headers, "\"abc\"", size)
    }

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        assert_eq!(asked("bytes=0-0", None, 10), Wanted::Part(0, 0));
        assert_eq!(asked("bytes=5-", None, 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=5-99", None, 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=-3", None, 10), Wanted::Part(7, 9));
        assert_eq!(asked("bytes=-30", None, 10), Wanted::Part(0, 9));
        assert_eq!(asked("bytes=10-", None, 10), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=-0", None, 10), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=0-", None, 0), Wanted::Unsatisfiable);
        assert_eq!(asked("bytes=-5", None, 0), Wanted::Unsatisfiable);
        for whole in ["bytes=7-3", "bytes=0-1,4-5", "lines=1-2", "bytes=", "bytes=x-y", "bytes=-"] {
            assert_eq!(asked(whole, None, 10), Wanted::Whole, "{whole}");
        }
    }

    #[test]
    fn a_changed_file_is_sent_whole() {
        assert_eq!(asked("bytes=5-", Some("\"abc\""), 10), Wanted::Part(5, 9));
        assert_eq!(asked("bytes=5-", Some("\"old\""), 10), Wanted::Whole);
    }
}
