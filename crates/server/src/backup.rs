//! Backup and restore of a site: its database, its images where they lie in a folder, and its tokens. A running server need not be stopped
//! for a backup; for a restore there must be none.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::app::database_address;
use crate::config::Config;
use crate::db::{Db, MigrateError, split_password};
use crate::storage::is_plain_name;
use crate::tokens;

/// What a backup is made of.
const SQLITE: &str = "database.sqlite";
const POSTGRES: &str = "database.pgdump";
const ARTIFACTS: &str = "artifacts";
const WORKER_TOKEN: &str = "worker.token";
const OPERATOR_TOKEN: &str = "operator.token";

/// Why there is no backup, or nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists already; name a folder that is not there yet", .0.display())]
    Exists(PathBuf),
    #[error("{} exists already, and is not overwritten; move it away first", .0.display())]
    InTheWay(PathBuf),
    #[error("{} holds no backup of this kind of database ({name} is not there)", path.display())]
    NoBackup { path: PathBuf, name: &'static str },
    #[error("{} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("the database: {0}")]
    Database(#[from] sqlx::Error),
    #[error("the database: {0}")]
    Tables(#[from] MigrateError),
    #[error("{program} did not do its work: {reason}")]
    Program { program: &'static str, reason: String },
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Folder { path, source }
}

/// Makes a backup in a folder that is not there yet. It is whole when this returns, and gets its name only then.
pub async fn backup(config: &Config, to: &Path) -> Result<(), BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let address = database_address(config);
    let db = Db::of_site(&address).await?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(at(parent))?;
    let unfinished = tempfile::Builder::new()
        .prefix(".hatchery-backup-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(at(parent))?;
    if db.is_shared() {
        run("pg_dump", &address, &["--format=custom", "--no-owner", "--file"], &unfinished.path().join(POSTGRES))?;
    } else {
        db.copy_to(&unfinished.path().join(SQLITE)).await?;
    }
    if config.storage.is_none() {
        copy_images(&db, &config.data_dir.join(ARTIFACTS), &unfinished.path().join(ARTIFACTS)).await?;
    }
    db.close().await;
    for (name, path) in token_files(config) {
        if path.exists() {
            std::fs::copy(&path, unfinished.path().join(name)).map_err(at(&path))?;
        }
    }
    let made = unfinished.keep();
    std::fs::rename(&made, to).map_err(at(to))
}

/// The images that are ready, and what workers made beside them. Links serve where the backup is on the same disk: a file of an image never changes.
async fn copy_images(db: &Db, from: &Path, to: &Path) -> Result<(), BackupError> {
    for (build, attempt, name) in db.all_files().await? {
        if !is_plain_name(&build) || !is_plain_name(&name) {
            continue;
        }
        let file = Path::new(&build).join(attempt.to_string()).join(&name);
        let (old, new) = (from.join(&file), to.join(&file));
        if let Some(folder) = new.parent() {
            std::fs::create_dir_all(folder).map_err(at(folder))?;
        }
        match std::fs::hard_link(&old, &new) {
            Ok(()) => {}
            // It expired since the database was asked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => std::fs::copy(&old, &new).map(drop).map_err(at(&old))?,
        }
    }
    Ok(())
}

/// Puts a backup in place of a site that is not there: an empty data folder, an empty database. Tables of an older version are brought up to
/// date when the server starts.
pub async fn restore(config: &Config, from: &Path) -> Result<(), BackupError> {
    let address = database_address(config);
    let shared = crate::db::is_shared_address(&address);
    let name = if shared { POSTGRES } else { SQLITE };
    if !from.join(name).exists() {
        return Err(BackupError::NoBackup { path: from.to_owned(), name });
    }
    let artifacts = config.data_dir.join(ARTIFACTS);
    let mut in_the_way = vec![artifacts.clone()];
    in_the_way.extend((!shared).then(|| PathBuf::from(&address)));
    if let Some(there) = in_the_way.into_iter().find(|path| path.exists()) {
        return Err(BackupError::InTheWay(there));
    }
    crate::storage::make_private_folder(&config.data_dir).map_err(at(&config.data_dir))?;
    if from.join(ARTIFACTS).exists() {
        copy_tree(&from.join(ARTIFACTS), &artifacts).map_err(at(&artifacts))?;
    }
    for (name, path) in token_files(config) {
        if from.join(name).exists() {
            tokens::write_private(&path, &std::fs::read_to_string(from.join(name)).map_err(at(from))?).map_err(at(&path))?;
        }
    }
    if shared {
        let arguments = ["--no-owner", "--exit-on-error", "--single-transaction"];
        return run("pg_restore", &address, &arguments, &from.join(name)).map_err(|error| match error {
            BackupError::Program { program, reason } => BackupError::Program {
                program,
                reason: format!("{reason}\nThe database has to be there and empty, as createdb(1) makes it"),
            },
            other => other,
        });
    }
    // The database comes last, and under its name at once: until then there is no site.
    let (database, new) = (PathBuf::from(&address), PathBuf::from(format!("{address}.new")));
    std::fs::copy(from.join(name), &new).map_err(at(&new))?;
    std::fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(at(&new))?;
    std::fs::rename(&new, &database).map_err(at(&database))
}

fn token_files(config: &Config) -> [(&'static str, PathBuf); 2] {
    [(WORKER_TOKEN, tokens::worker_path(config)), (OPERATOR_TOKEN, tokens::operator_path(config))]
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Runs one of PostgreSQL's programs on a database, with a file as its last argument.
fn run(program: &'static str, address: &str, arguments: &[&str], file: &Path) -> Result<(), BackupError> {
    let failed = |reason: String| BackupError::Program { program, reason };
    let done = command(program, address, arguments, file).stdin(Stdio::null()).output();
    let done = done.map_err(|e| failed(format!("{e}; install PostgreSQL's client programs")))?;
    if done.status.success() { Ok(()) } else { Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned())) }
}

/// Everybody on the machine sees the arguments of programs; their environment is seen by its own user alone.
fn command(program: &str, address: &str, arguments: &[&str], file: &Path) -> Command {
    let (address, password) = split_password(address);
    let mut command = Command::new(program);
    command.args(["--dbname", &address]).args(arguments).arg(file).envs(password.map(|password| ("PGPASSWORD", password)));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_argument_has_the_databases_password() {
        let command = command("pg_dump", "postgres://larry:s%2Fcret@h/site", &["--no-owner", "--file"], Path::new("dump"));
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["--dbname", "postgres://larry@h/site", "--no-owner", "--file", "dump"]);
        assert_eq!(command.get_envs().collect::<Vec<_>>(), [("PGPASSWORD".as_ref(), Some("s/cret".as_ref()))]);
    }
}
