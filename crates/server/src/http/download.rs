//! Downloads: whole files and parts of them (RFC 9110, section 14), and the lists of checksums.

use std::io::{Cursor, SeekFrom};
use std::pin::Pin;

use attest::DocumentKind;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio_stream::StreamExt;
use tokio_util::io::ReaderStream;

use super::SharedApp;
use super::api::find;
use super::openapi::{Malformed, NotFound, OrderId, TooMany, Unauthorized, WrongRange};
use super::problem::Problem;
use super::ranges::{Wanted, multipart, wanted};
use crate::app::App;
use crate::client::Client;
use crate::db::BuildState;
use crate::orders;
use crate::status::OrderStatus;
use crate::storage::Source;

pub const BUFFER: usize = 256 << 10;
/// The media type of images.
const IMAGE: &str = "application/octet-stream";

/// A file of an order: an image, or what lies beside the images
///
/// Parts are given for up to 32 ranges of bytes in ascending order (RFC 9110, section 14), several as `multipart/byteranges`; `If-Range` takes the
/// `ETag`, which is the SHA-256.
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
        (status = 206, description = "The part, or the parts", body = String, content_type = "*/*"),
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
    if let (Content::Stored(Source::Elsewhere(address)), &Method::GET, Wanted::Whole | Wanted::Part(..) | Wanted::Parts(_)) =
        (&found.content, &method, &wanted)
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
    let media_type = found.kind.map_or(IMAGE, DocumentKind::media_type);
    let mut kind = media_type.to_owned();
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
        Wanted::Parts(ranges) => {
            let (boundary, heads) = multipart(&ranges, media_type, found.size)?;
            kind = format!("multipart/byteranges; boundary={boundary}");
            parts(&found, &method, &ranges, heads).await?
        }
    };
    if method == Method::GET && found.kind.is_none() {
        app.db.picked_up(&id).await?;
        tracing::info!(order, build = status.build, name, "download begins");
    }
    let mut response = held(response, permit);
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::CONTENT_TYPE, &kind);
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
pub fn held(response: Response, permit: Option<OwnedSemaphorePermit>) -> Response {
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
    let body = match method {
        &Method::HEAD => Body::empty(),
        _ => Body::from_stream(ReaderStream::with_capacity(section(found, first, length).await?, BUFFER)),
    };
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

/// An answer with several parts of the file, each after its head; `heads` has one more, for the end.
async fn parts(found: &Found, method: &Method, ranges: &[(u64, u64)], heads: Vec<String>) -> Result<Response, Problem> {
    let sent: u64 = ranges.iter().map(|(first, last)| last - first + 1).sum();
    let length = heads.iter().map(|head| head.len() as u64).sum::<u64>().saturating_add(sent);
    let mut all: Section = Box::pin(tokio::io::empty());
    if method != Method::HEAD {
        let mut heads = heads.into_iter().map(Cursor::new);
        for ((first, last), head) in ranges.iter().zip(heads.by_ref()) {
            all = Box::pin(all.chain(head).chain(section(found, *first, last - first + 1).await?));
        }
        if let Some(end) = heads.next() {
            all = Box::pin(all.chain(end));
        }
    }
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(all, BUFFER)));
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    Ok(response)
}

/// Bytes that are read while they are sent.
type Section = Pin<Box<dyn AsyncRead + Send>>;

/// `length` bytes of the file from `first` on.
async fn section(found: &Found, first: u64, length: u64) -> Result<Section, Problem> {
    Ok(match &found.content {
        Content::Stored(Source::Elsewhere(_)) => Box::pin(tokio::io::empty()),
        Content::Stored(Source::File(path)) => {
            let mut file = tokio::fs::File::open(path).await?;
            file.seek(SeekFrom::Start(first)).await?;
            Box::pin(file.take(length))
        }
        Content::Bytes(bytes) => {
            let at = |position: u64| usize::try_from(position).unwrap_or(usize::MAX);
            Box::pin(Cursor::new(bytes.get(at(first)..at(first.saturating_add(length))).unwrap_or_default().to_vec()))
        }
    })
}

pub fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

pub fn set(response: &mut Response, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
