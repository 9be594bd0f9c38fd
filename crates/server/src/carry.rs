//! Carrying a whole site elsewhere in one archive, also where there is no network: its database, its images, its configuration, presets,
//! binhosts and, where wanted, its keys. What was a site on SQLite and a folder may come to be one on PostgreSQL and S3, and the other way round.
//!
//! The archive is a tar file that is written and read from its beginning to its end. Its last member, `SHA256SUMS`, names all others: without
//! it the archive was cut off, and nothing of it is taken.

mod read;
mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::db::{LoadError, MigrateError};

pub use read::{Imported, import};
pub use write::{Exported, export};

/// The layout of archives.
const VERSION: u32 = 1;
/// The first and the last member.
const FACTS: &str = "hatchery-export.json";
const SUMS: &str = "SHA256SUMS";
/// The folders and files between them.
const CONFIG: &str = "hatchery.toml";
const PRESETS: &str = "presets";
const KEYS: &str = "keys";
const KEYRINGS: &str = "keyrings";
const FOLDERS: &str = "folders";
const TABLES: &str = "tables";
const IMAGES: &str = "images";
/// Files in `keys`.
const WORKER_TOKEN: &str = "worker.token";
const OPERATOR_TOKEN: &str = "operator.token";
const SIGNING_KEY: &str = "signing.key";

/// What an archive says of itself.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    version: u32,
    /// The version of the tables.
    tables_version: i64,
    /// The tables in an order in which those that others refer to come first.
    tables: Vec<String>,
    /// Where the folders in `folders/N` were, by their number.
    folders: BTreeMap<usize, PathBuf>,
    /// Where the keyrings in `keyrings/N` were.
    keyrings: BTreeMap<usize, PathBuf>,
    /// The data folder, the folder of presets and the file of the signing key, as the configuration named them.
    #[serde(default)]
    data_dir: PathBuf,
    #[serde(default)]
    presets_dir: Option<PathBuf>,
    #[serde(default)]
    signing_key_file: Option<PathBuf>,
}

/// Why a site was not carried.
#[derive(Debug, thiserror::Error)]
pub enum CarryError {
    #[error("{} cannot be used: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the archive cannot be written: {0}")]
    Write(io::Error),
    #[error("the archive was cut off or is damaged ({0}); nothing of it was taken. Carry it over again")]
    Damaged(String),
    #[error("the archive is of a newer Hatchery ({0}); import it with that one")]
    Newer(String),
    #[error("there is a site here already: {0}. Import into an empty data folder and an empty database")]
    InTheWay(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database: {0}")]
    Tables(#[from] MigrateError),
    #[error("the table {table}: {source}")]
    Load { table: String, source: LoadError },
    #[error("the image {name} cannot be fetched from the storage: {reason}")]
    Fetch { name: String, reason: String },
    #[error("the images cannot be stored: {0}")]
    Store(io::Error),
}

fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> CarryError {
    let path = path.to_owned();
    move |source| CarryError::File { path, source }
}
