//! Which site the client commands speak to, and as whom: options first, then the environment, then the client's own file, then the usual.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use crate::site::{Placed, Site};

/// Where a site of this machine is.
const HERE: &str = "http://127.0.0.1:8480";

/// How a client command finds its site.
#[derive(clap::Args)]
pub struct ClientArgs {
    /// The site's address; without it `server` of ~/.config/hatchery/client.toml counts, then http://127.0.0.1:8480
    #[arg(long, env = "HATCHERY_SERVER", value_name = "URL")]
    server: Option<String>,
    /// A file with your token, where only invited users can order; HATCHERY_TOKEN can hold the token itself
    #[arg(long, value_name = "FILE", env = "HATCHERY_TOKEN_FILE")]
    token_file: Option<PathBuf>,
}

/// `client.toml`.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct File {
    server: Option<String>,
    token: Option<String>,
    token_file: Option<PathBuf>,
}

impl ClientArgs {
    /// The site that is meant.
    pub fn site(&self) -> anyhow::Result<Site> {
        self.site_at(None)
    }

    /// The site and the order that are meant: by the order's page, or by its identifier on the usual site.
    pub fn order(&self, order: &str) -> anyhow::Result<(Site, Placed)> {
        let (server, id) = parts(order)?;
        Ok((self.site_at(server)?, Placed::of(id)))
    }

    fn site_at(&self, server: Option<&str>) -> anyhow::Result<Site> {
        let file = File::load(path().as_deref())?;
        let address = server.or(self.server.as_deref()).or(file.server.as_deref()).unwrap_or(HERE).to_owned();
        // A token is for the site it was given out by, and shown to no other.
        let is_usual = server.is_none_or(|server| [self.server.as_deref(), file.server.as_deref()].contains(&Some(server)));
        let token = if is_usual { self.token(file)? } else { None };
        Site::new(&address).with_token(token)
    }

    fn token(&self, file: File) -> anyhow::Result<Option<String>> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("the token cannot be read from {}", path.display()))
        };
        let token = match (&self.token_file, std::env::var("HATCHERY_TOKEN").ok().filter(|token| !token.is_empty())) {
            (Some(path), _) => Some(read(path)?),
            (None, Some(token)) => Some(token),
            (None, None) => match file.token_file {
                Some(path) => Some(read(&path)?),
                None => file.token,
            },
        };
        Ok(token.map(|token| token.trim().to_owned()))
    }
}

/// `https://site/orders/ID` as its site and identifier; an identifier alone as itself.
fn parts(order: &str) -> anyhow::Result<(Option<&str>, &str)> {
    let (server, id) = match order.trim_end_matches('/').rsplit_once("/orders/") {
        Some((server, id)) => (Some(server.trim_end_matches("/api/v1")), id),
        None => (None, order),
    };
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        bail!("“{order}” is no order: give the address of its page, or its identifier, as `hatchery order` printed it");
    }
    Ok((server, id))
}

/// Where the client's settings are.
fn path() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("HATCHERY_CLIENT_CONFIG") {
        return Some(path.into());
    }
    let folder = match std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(folder.join("hatchery/client.toml"))
}

impl File {
    fn load(path: Option<&Path>) -> anyhow::Result<File> {
        let Some(path) = path else { return Ok(File::default()) };
        match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text).with_context(|| {
                format!("{} is not understood; it may have server, token and token_file, each a text", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(File::default()),
            Err(error) => Err(error).with_context(|| format!("{} cannot be read", path.display())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_named_by_its_page_or_its_identifier() {
        assert_eq!(parts("https://h.example/orders/ab12").unwrap(), (Some("https://h.example"), "ab12"));
        assert_eq!(parts("https://h.example/api/v1/orders/ab12/").unwrap(), (Some("https://h.example"), "ab12"));
        assert_eq!(parts("ab12").unwrap(), (None, "ab12"));
        for bad in ["", "../x", "https://h.example/", "https://h.example/orders/a/b", "a b"] {
            assert!(parts(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_with_an_unknown_word_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("client.toml");
        assert_eq!(File::load(Some(&path)).unwrap(), File::default());
        std::fs::write(&path, "server = 'https://h.example'\ntoken = 'x'\n").unwrap();
        assert_eq!(File::load(Some(&path)).unwrap().server.as_deref(), Some("https://h.example"));
        std::fs::write(&path, "serve = 'x'").unwrap();
        assert!(File::load(Some(&path)).is_err());
    }
}
