//! Writing an archive.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use attest::Digests;
use axum::body::Body;
use axum::http::Request;
use gentoo::index::Packages;
use tokio_stream::StreamExt;

use super::{
    CONFIG, CarryError, FACTS, FOLDERS, Facts, IMAGES, KEYRINGS, KEYS, OPERATOR_TOKEN, PRESETS, SIGNING_KEY, SUMS, TABLES,
    VERSION, WORKER_TOKEN, at,
};
use crate::app::database_address;
use crate::config::Config;
use crate::db::Db;
use crate::outbound::{self, Reach};
use crate::storage::{Source, Storage};
use crate::tokens;

/// How long a storage may take to begin its answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// What of a Gentoo repository a site needs: profiles, advisories, and where sources are.
const OF_REPOSITORY: [&str; 3] = ["profiles", "metadata/glsa", "metadata/md5-cache"];

/// How much an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    pub files: u64,
    pub rows: u64,
    pub images: u64,
}

/// Writes a site into an archive. The site may run meanwhile: the tables are as they were at one moment, and an image that goes while it is
/// written is left out. `config_file` is the file that the configuration was read from; `keys` puts the tokens and the signing key in.
///
/// # Errors
/// When something of the site cannot be read, or the archive not written.
pub async fn export(
    config: &Config,
    config_file: Option<&Path>,
    keys: bool,
    to: &mut (dyn Write + Send),
) -> Result<Exported, CarryError> {
    let db = Db::of_site(&database_address(config)).await?;
    let tables = db.tables().await?;
    let (folders, keyrings) = (folders(config), keyrings(config));
    let facts = Facts {
        version: VERSION,
        tables_version: db.tables_version().await?,
        tables: tables.clone(),
        folders: folders.iter().map(Folder::path).enumerate().collect(),
        keyrings: keyrings.iter().cloned().enumerate().collect(),
        data_dir: config.data_dir.clone(),
        presets_dir: config.presets_dir.clone(),
        signing_key_file: config.signing_key_file.clone(),
    };
    let mut archive = Archive { tar: tar::Builder::new(to), sums: BTreeMap::new() };
    archive.text(FACTS, &serde_json::to_string_pretty(&facts).map_err(|e| CarryError::Write(e.into()))?)?;
    if let Some(file) = config_file {
        archive.file(CONFIG, file)?;
    }
    if let Some(presets) = &config.presets_dir {
        archive.folder(PRESETS, presets)?;
    }
    if keys {
        archive.keys(config)?;
    }
    for (number, keyring) in keyrings.iter().enumerate() {
        archive.file(&format!("{KEYRINGS}/{number}"), keyring)?;
    }
    for (number, folder) in folders.iter().enumerate() {
        folder.write(&format!("{FOLDERS}/{number}"), &mut archive)?;
    }
    let mut exported = Exported::default();
    let mut snapshot = db.snapshot().await?;
    for table in &tables {
        let mut rows = tempfile::tempfile().map_err(CarryError::Write)?;
        let failed = |source| CarryError::Load { table: table.clone(), source };
        exported.rows += snapshot.dump(table, &mut io::BufWriter::new(&mut rows)).await.map_err(failed)?;
        archive.add(&format!("{TABLES}/{table}.jsonl"), &mut rows)?;
    }
    // A connection that is still in use would keep the database from being closed.
    drop(snapshot);
    exported.images = images(config, &db, &mut archive).await?;
    db.close().await;
    exported.files = archive.finish()?;
    Ok(exported)
}

/// Puts the images in that are ready.
async fn images(config: &Config, db: &Db, archive: &mut Archive<'_>) -> Result<u64, CarryError> {
    let storage = Storage::open(config)?;
    let mut count = 0;
    for (build, attempt, name) in db.all_files().await? {
        let number = u32::try_from(attempt).unwrap_or(0);
        let member = format!("{IMAGES}/{build}/{attempt}/{name}");
        match storage.source(&build, number, &name, "application/octet-stream", false) {
            Source::File(path) => match File::open(&path) {
                Ok(mut file) => archive.add(&member, &mut file)?,
                // It expired since the database was asked.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(at(&path)(error)),
            },
            Source::Elsewhere(address) => {
                let fetched = fetch(&address).await.map_err(|reason| CarryError::Fetch { name, reason })?;
                let Some(mut file) = fetched else { continue };
                archive.add(&member, &mut file)?;
            }
        }
        count += 1;
    }
    Ok(count)
}

/// A file of the storage; none where it is gone.
async fn fetch(address: &str) -> Result<Option<File>, String> {
    let request = Request::get(address).body(Body::empty()).map_err(|e| e.to_string())?;
    let answer = outbound::send(request, Reach::Any, PATIENCE).await.map_err(|e| e.to_string())?;
    match answer.status().as_u16() {
        200 => {}
        404 => return Ok(None),
        status => return Err(format!("it answered {status}")),
    }
    let mut file = tempfile::tempfile().map_err(|e| e.to_string())?;
    let mut body = Body::new(answer.into_body()).into_data_stream();
    while let Some(chunk) = body.next().await {
        file.write_all(&chunk.map_err(|e| e.to_string())?).map_err(|e| e.to_string())?;
    }
    Ok(Some(file))
}

/// A folder that the configuration names.
#[derive(PartialEq, Eq)]
enum Folder {
    /// A binhost: its index and what that lists.
    Binhost(PathBuf),
    /// A Gentoo repository.
    Repository(PathBuf),
}

/// Each folder once, however many channels name it.
fn folders(config: &Config) -> Vec<Folder> {
    let mut folders = Vec::new();
    for channel in &config.channels {
        let binhosts =
            channel.binhosts.iter().filter_map(|binhost| binhost.folder()).map(|path| Folder::Binhost(path.to_owned()));
        for folder in binhosts.chain(crate::channels::repository(channel).map(Folder::Repository)) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
    }
    folders
}

fn keyrings(config: &Config) -> Vec<PathBuf> {
    let all = config.channels.iter().flat_map(|channel| {
        let of_base = channel.base.as_ref().and_then(|base| base.keyring_file.clone());
        channel.binhosts.iter().filter_map(|binhost| binhost.keyring_file.clone()).chain(of_base)
    });
    let mut keyrings: Vec<PathBuf> = all.filter(|path| path.exists()).collect();
    keyrings.sort();
    keyrings.dedup();
    keyrings
}

impl Folder {
    fn path(&self) -> PathBuf {
        match self {
            Folder::Binhost(path) | Folder::Repository(path) => path.clone(),
        }
    }

    fn write(&self, name: &str, archive: &mut Archive<'_>) -> Result<(), CarryError> {
        match self {
            Folder::Binhost(path) => {
                let index = path.join("Packages");
                let text = std::fs::read(&index).map_err(at(&index))?;
                let wrong = |e: gentoo::index::IndexError| at(&index)(io::Error::other(e));
                let mut paths: Vec<String> =
                    Packages::from_bytes(text).map_err(wrong)?.entries.iter().map(|e| e.path.to_string()).collect();
                paths.sort();
                paths.dedup();
                archive.file(&format!("{name}/Packages"), &index)?;
                // Portage's own folder of packages may lack what its index still lists.
                for package in paths.iter().filter(|package| path.join(package).is_file()) {
                    archive.file(&format!("{name}/{package}"), &path.join(package))?;
                }
                Ok(())
            }
            Folder::Repository(path) => {
                for part in OF_REPOSITORY.into_iter().filter(|part| path.join(part).is_dir()) {
                    archive.folder(&format!("{name}/{part}"), &path.join(part))?;
                }
                let layout = path.join("metadata/layout.conf");
                if layout.exists() { archive.file(&format!("{name}/metadata/layout.conf"), &layout) } else { Ok(()) }
            }
        }
    }
}

/// An archive that is being written.
struct Archive<'a> {
    tar: tar::Builder<&'a mut (dyn Write + Send)>,
    sums: BTreeMap<String, String>,
}

impl Archive<'_> {
    fn text(&mut self, name: &str, text: &str) -> Result<(), CarryError> {
        self.member(name, text.len() as u64, &mut text.as_bytes())?;
        self.sums.insert(name.to_owned(), Digests::of(text.as_bytes()).sha256);
        Ok(())
    }

    fn file(&mut self, name: &str, path: &Path) -> Result<(), CarryError> {
        let mut file = File::open(path).map_err(at(path))?;
        self.add(name, &mut file)
    }

    /// Adds a file as it is now, from its beginning. It is hashed first, so that one that changes meanwhile is found out by the reader.
    fn add(&mut self, name: &str, file: &mut File) -> Result<(), CarryError> {
        file.rewind().map_err(CarryError::Write)?;
        let digests = Digests::read(&mut BufReader::new(&mut *file)).map_err(CarryError::Write)?;
        file.rewind().map_err(CarryError::Write)?;
        self.member(name, digests.size, &mut file.take(digests.size))?;
        self.sums.insert(name.to_owned(), digests.sha256);
        Ok(())
    }

    /// Adds a folder with all that is in it. Symbolic links are followed.
    fn folder(&mut self, name: &str, path: &Path) -> Result<(), CarryError> {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(path).and_then(|list| list.map(|entry| Ok(entry?.path())).collect()).map_err(at(path))?;
        entries.sort();
        for entry in entries {
            let Some(own) = entry.file_name().and_then(|own| own.to_str()).filter(|own| !own.starts_with('.')) else { continue };
            let member = format!("{name}/{own}");
            if entry.is_dir() { self.folder(&member, &entry)? } else { self.file(&member, &entry)? }
        }
        Ok(())
    }

    fn keys(&mut self, config: &Config) -> Result<(), CarryError> {
        let tokens = [(WORKER_TOKEN, tokens::worker_path(config)), (OPERATOR_TOKEN, tokens::operator_path(config))];
        let signing = config.signing_key_file.clone().map(|path| (SIGNING_KEY, path));
        for (name, path) in tokens.into_iter().chain(signing).filter(|(_, path)| path.exists()) {
            self.file(&format!("{KEYS}/{name}"), &path)?;
        }
        Ok(())
    }

    fn member(&mut self, name: &str, size: u64, content: &mut dyn Read) -> Result<(), CarryError> {
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o600);
        self.tar.append_data(&mut header, name, content).map_err(CarryError::Write)
    }

    /// Names all members, and ends. Returns how many there are.
    fn finish(mut self) -> Result<u64, CarryError> {
        let sums: String = self.sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
        self.member(SUMS, sums.len() as u64, &mut sums.as_bytes())?;
        self.tar.into_inner().and_then(|to| to.flush()).map_err(CarryError::Write)?;
        Ok(self.sums.len() as u64)
    }
}
