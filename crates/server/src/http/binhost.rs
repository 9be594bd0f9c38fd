//! Binhosts that are given out: folders of this machine with an index and packages, as Portage fetches from them. Images name this address in
//! their binrepos.conf, so that they can be updated from where they were made.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, SeekFrom};
use tokio_util::io::ReaderStream;

use super::SharedApp;
use super::download::{BUFFER, set, text};
use super::problem::Problem;
use super::ranges::{Wanted, wanted};
use crate::client::Client;

/// What an index is called.
const INDEXES: [&str; 2] = ["Packages", "Packages.gz"];
/// What packages end in.
const PACKAGES: [&str; 4] = [".gpkg.tar", ".gpkg.tar.sig", ".xpak", ".tbz2"];
/// So much of an index is read to find its TIMESTAMP. Bytes.
const HEADER: u64 = 64 << 10;

/// `GET` and `HEAD /binhost/{channel}/{binhost}/{path}`
pub async fn file(
    State(app): SharedApp,
    method: Method,
    Path((channel, binhost, path)): Path<(String, String, String)>,
    client: Client,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let nothing = || Problem::new(StatusCode::NOT_FOUND, "There is no such file in a binhost that this site gives out.");
    let folder = app.catalogue.channels.get(&channel).and_then(|channel| channel.served_folder(&binhost)).ok_or_else(nothing)?;
    let file = file_below(&folder, &path).ok_or_else(nothing)?;
    let metadata = tokio::fs::metadata(&file).await.ok().filter(std::fs::Metadata::is_file).ok_or_else(nothing)?;
    let changed = changed(&file, metadata.modified()?).await;
    let (size, etag) = (metadata.len(), format!("\"{:x}-{:x}\"", seconds(changed), metadata.len()));
    if is_known(&headers, &etag, changed) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let permit = if method == Method::GET { app.may_download(&client.user(&app.secret))? } else { None };
    let (first, length, part) = match wanted(&headers, &etag, size) {
        // Portage asks for one at a time.
        Wanted::Whole | Wanted::Parts(_) => (0, size, false),
        Wanted::Part(first, last) => (first, last - first + 1, true),
        Wanted::Unsatisfiable => {
            let problem = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, "The file ends before the part that was asked for.");
            let mut response = problem.into_response();
            set(&mut response, header::CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(response);
        }
    };
    let mut open = File::open(&file).await?;
    open.seek(SeekFrom::Start(first)).await?;
    let body = match method {
        Method::HEAD => Body::empty(),
        // The right to a download lasts as long as it is read.
        _ => Body::from_stream(ReaderStream::with_capacity(Held { file: open.take(length), _permit: permit }, BUFFER)),
    };
    let mut response = Response::new(body);
    if part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(&mut response, header::CONTENT_RANGE, &format!("bytes {first}-{}/{size}", first + length - 1));
    }
    set(&mut response, header::CONTENT_LENGTH, &length.to_string());
    set(&mut response, header::CONTENT_TYPE, "application/octet-stream");
    set(&mut response, header::ACCEPT_RANGES, "bytes");
    set(&mut response, header::ETAG, &etag);
    set(&mut response, header::LAST_MODIFIED, &httpdate::fmt_http_date(changed));
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    Ok(response)
}

/// The file at a path that is an index's or a package's, and leads nowhere else.
fn file_below(folder: &FilePath, path: &str) -> Option<PathBuf> {
    let is_plain = |part: &str| {
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-+@=".contains(&b))
    };
    let is_known = INDEXES.contains(&path) || PACKAGES.iter().any(|ending| path.ends_with(ending));
    (is_known && path.len() <= 1_024 && path.split('/').all(is_plain)).then(|| folder.join(path))
}

/// When a file was changed. Of an index, that is what it says itself: Portage asks for what is newer than the TIMESTAMP that it has, and that
/// is a moment before the file was closed.
async fn changed(file: &FilePath, modified: SystemTime) -> SystemTime {
    if file.file_name().is_none_or(|name| name != "Packages") {
        return modified;
    }
    let mut head = Vec::new();
    let Ok(open) = File::open(file).await else { return modified };
    if open.take(HEADER).read_to_end(&mut head).await.is_err() {
        return modified;
    }
    let head = String::from_utf8_lossy(&head);
    let header = head.split("\n\n").next().unwrap_or_default();
    let stamp = header.lines().find_map(|line| line.strip_prefix("TIMESTAMP: ")?.trim().parse::<u64>().ok());
    stamp.and_then(|stamp| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(stamp))).unwrap_or(modified)
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether the client has the file as it is (RFC 9110, section 13.2.2).
fn is_known(headers: &HeaderMap, etag: &str, changed: SystemTime) -> bool {
    match (text(headers, header::IF_NONE_MATCH), text(headers, header::IF_MODIFIED_SINCE)) {
        (Some(tags), _) => tags == "*" || tags.split(',').any(|tag| tag.trim() == etag),
        (None, Some(since)) => httpdate::parse_http_date(since).is_ok_and(|since| seconds(changed) <= seconds(since)),
        (None, None) => false,
    }
}

/// A part of a file with the right to read it.
struct Held {
    file: tokio::io::Take<File>,
    _permit: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl tokio::io::AsyncRead for Held {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.file).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_binhost_is_made_of_is_found() {
        let folder = FilePath::new("/srv/b");
        for good in ["Packages", "Packages.gz", "app-shells/bash/bash-5.2_p15-1.gpkg.tar", "a/gtk+-2.xpak"] {
            assert_eq!(file_below(folder, good), Some(folder.join(good)));
        }
        for bad in
            ["", "..", "../Packages", "a/../b.xpak", "/etc/x.xpak", "a//b.xpak", "key.asc", ".x.xpak", "a/.b.xpak", "a b.xpak"]
        {
            assert_eq!(file_below(folder, bad), None, "{bad}");
        }
    }
}
