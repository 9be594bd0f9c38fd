//! Addresses of binhosts, as an operator gives them, and paths below them, as an index gives them. Both are checked to the letter before
//! anything is made of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

const MAX_PATH: usize = 1024;

/// A checked address of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `http://…` or `https://…`, without a closing slash.
    Web(String),
    /// The folder of a `file:///…`.
    Folder(PathBuf),
}

impl Address {
    pub(crate) fn parse(uri: &str) -> Result<Address, &'static str> {
        if !uri.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("it contains spaces, line breaks or characters that have to be percent-encoded");
        }
        if uri.contains(['?', '#', '\\', '"', '<', '>']) {
            return Err("it contains a query, a fragment or characters that have to be percent-encoded");
        }
        if let Some(path) = uri.strip_prefix("file://") {
            return Address::folder(path);
        }
        let (_, rest) = split_web(uri).ok_or("it begins neither with https:// nor with http:// nor with file:///")?;
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err("it contains a user name or password");
        }
        if authority.is_empty() || authority.starts_with(':') {
            return Err("it has no host");
        }
        Ok(Address::Web(uri.trim_end_matches('/').to_owned()))
    }

    fn folder(path: &str) -> Result<Address, &'static str> {
        if !path.starts_with('/') {
            return Err("an address of a folder has three slashes, as in file:///srv/binpkgs");
        }
        let bytes = percent_decode(path).ok_or("its percent-encoding is broken")?;
        if bytes.contains(&0) {
            return Err("it contains a NUL byte");
        }
        let folder: OsString = OsStringExt::from_vec(bytes);
        Ok(Address::Folder(folder.into()))
    }

    /// The address of a file below, for a path that passed [`check_path`].
    pub(crate) fn join(&self, path: &str) -> Source {
        match self {
            Address::Web(base) => Source::Web(format!("{base}/{}", percent_encode(path))),
            Address::Folder(folder) => Source::File(folder.join(path)),
        }
    }
}

/// Where one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Web(String),
    File(PathBuf),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Web(url) => f.write_str(url),
            Source::File(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The scheme and what follows `://`, for the two schemes of the web.
fn split_web(uri: &str) -> Option<(&str, &str)> {
    uri.split_once("://").filter(|(scheme, _)| ["http", "https"].contains(scheme))
}

/// Checks a PATH of an index: relative, plain, and below the binhost.
pub(crate) fn check_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() || path.len() > MAX_PATH {
        return Err("it is empty or too long");
    }
    if path.starts_with('/') {
        return Err("it is absolute");
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Err("it contains control characters or backslashes");
    }
    if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return Err("it contains an empty part, “.” or “..”");
    }
    Ok(())
}

/// The address that a `Location` header means, where it may be followed: to the web only, and never from https to http.
pub(crate) fn redirect(from: &str, location: &str) -> Option<String> {
    let (scheme, rest) = split_web(from)?;
    let authority = rest.split('/').next()?;
    let target = if split_web(location).is_some() {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    } else {
        let (folder, _) = from.rsplit_once('/')?;
        format!("{folder}/{location}")
    };
    let (target_scheme, target_rest) = split_web(&target)?;
    let target_authority = target_rest.split(['/', '?', '#']).next()?;
    let downgrade = scheme == "https" && target_scheme == "http";
    let fit = target.bytes().all(|b| b.is_ascii_graphic()) && !target_authority.contains('@') && !target_authority.is_empty();
    (fit && !downgrade).then_some(target)
}

/// Encodes everything but unreserved characters (RFC 3986) and slashes. The plus sign is encoded too: object stores read it as a space.
fn percent_encode(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    path.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

fn percent_decode(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut out = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
        out.push(u8::from_str_radix(digits, 16).ok()?);
        out.extend_from_slice(part.get(2..)?.as_bytes());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_checked() {
        for uri in [
            "https://user:secret@example.org/x",
            "https://example.org/x\nHost: y",
            "https://example.org/x y",
            "https://example.org/?q",
            "https:///x",
            "http://:80/x",
            "ftp://example.org/",
            "example.org",
            "file://host/x",
            "file:x",
            "file:///a%0",
            "file:///a%00",
            "javascript:alert(1)",
            "",
        ] {
            assert!(Address::parse(uri).is_err(), "{uri}");
        }
        assert_eq!(Address::parse("file:///srv/a%20b"), Ok(Address::Folder("/srv/a b".into())));
        assert_eq!(Address::parse("https://example.org:8080/x/"), Ok(Address::Web("https://example.org:8080/x".into())));
    }

    #[test]
    fn paths_stay_below() {
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "./a", "a/", "a\nb", "a\0b", "a\\b", &"x".repeat(2000)] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["app-shells/bash/bash-5.2_p15-r1-2.gpkg.tar", "dev-libs/libsigc++-2.tbz2", "ä/b c"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn names_are_encoded() {
        let base = Address::parse("http://h/b/").unwrap();
        assert_eq!(base.join("x/libsigc++-2 ä%.xpak"), Source::Web("http://h/b/x/libsigc%2B%2B-2%20%C3%A4%25.xpak".into()));
    }

    #[test]
    fn redirects_never_leave_the_web_or_lose_encryption() {
        let from = "https://a.example/x/Packages.gz";
        assert_eq!(redirect(from, "https://b.example/y").as_deref(), Some("https://b.example/y"));
        assert_eq!(redirect(from, "/y").as_deref(), Some("https://a.example/y"));
        assert_eq!(redirect(from, "y").as_deref(), Some("https://a.example/x/y"));
        assert_eq!(redirect(from, "//b.example/y").as_deref(), Some("https://b.example/y"));
        assert_eq!(redirect("http://a.example/x", "https://b.example/y").as_deref(), Some("https://b.example/y"));
        for location in
            ["http://b.example/y", "file:///etc/passwd", "gopher://x", "https://u@b.example/", "https://", "a\nb", "data:x"]
        {
            assert_eq!(redirect(from, location), None, "{location}");
        }
    }
}
