//! The tokens of workers and of the operator: as configured, or made at the first start and kept in the data folder.

use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use contract::lease::is_token;

use crate::config::Config;
use crate::secret;
use crate::server::ServerError;

/// Where the workers' token is.
pub fn worker_path(config: &Config) -> PathBuf {
    config.worker_token_file.clone().unwrap_or_else(|| config.data_dir.join("worker.token"))
}

/// Where the operator's token is.
pub fn operator_path(config: &Config) -> PathBuf {
    config.operator_token_file.clone().unwrap_or_else(|| config.data_dir.join("operator.token"))
}

/// The token that workers show.
pub fn worker(config: &Config) -> Result<String, ServerError> {
    kept("worker_token_file", config.worker_token.as_deref(), worker_path(config))
}

/// The token that the operator shows.
pub fn operator(config: &Config) -> Result<String, ServerError> {
    kept("operator_token_file", None, operator_path(config))
}

/// The configured token, or that of the file, or a new one. One that the configuration gives as text is written to the file too, for
/// programs on this machine.
fn kept(field: &'static str, configured: Option<&str>, path: PathBuf) -> Result<String, ServerError> {
    let wrong = |reason: String| ServerError::Token { field, path: path.clone(), reason };
    let token = match configured {
        Some(token) => token.trim().to_owned(),
        None => match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::info!(path = %path.display(), "a new token is made");
                secret::token::<32>().map_err(|e| wrong(e.to_string()))?
            }
            Err(error) => return Err(wrong(error.to_string())),
        },
    };
    if !is_good(&token) {
        return Err(wrong(
            "it must have at least 16 characters and no spaces; remove it and a new one is made at the start".into(),
        ));
    }
    if std::fs::read_to_string(&path).map(|text| text.trim() != token).unwrap_or(true) {
        write_private(&path, &token).map_err(|e| wrong(e.to_string()))?;
    }
    Ok(token)
}

/// Whether a token is hard to guess, and can be shown in a header.
pub fn is_good(token: &str) -> bool {
    token.len() >= 16 && is_token(token)
}

/// Writes a file that only its owner may read, whole or not at all.
pub fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)
}
