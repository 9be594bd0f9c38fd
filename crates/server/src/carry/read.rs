//! Taking an archive in.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Component, Path, PathBuf};

use attest::{Digests, Hasher};

use super::{
    CONFIG, CarryError, FACTS, FOLDERS, Facts, IMAGES, KEYRINGS, KEYS, OPERATOR_TOKEN, PRESETS, SIGNING_KEY, SUMS, TABLES,
    VERSION, WORKER_TOKEN, at,
};
use crate::app::database_address;
use crate::config::Config;
use crate::db::{Db, NEWEST};
use crate::storage::{Storage, is_plain_name, make_private_folder};
use crate::tokens;

/// The folder in the data folder that holds what is no table, token or image.
const CARRIED: &str = "carried";
/// Bytes that are read at once.
const BUFFER: usize = 256 << 10;
/// The largest list of members that is read. Bytes.
const MAX_SUMS: u64 = 256 << 20;
/// The deepest path.
const MAX_DEPTH: usize = 16;

/// What was taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    pub rows: u64,
    pub images: u64,
    /// Where presets, keyrings, binhosts and the old configuration are; the latter names their new places.
    pub carried: PathBuf,
}

/// Takes an archive in. All of it is read and checked before anything becomes a site.
///
/// # Errors
/// When there is a site already, or the archive is not whole, or of a newer Hatchery.
pub async fn import(config: &Config, from: &mut (dyn Read + Send)) -> Result<Imported, CarryError> {
    let carried = config.data_dir.join(CARRIED);
    if carried.exists() {
        return Err(CarryError::InTheWay(format!("{} exists", carried.display())));
    }
    make_private_folder(&config.data_dir).map_err(at(&config.data_dir))?;
    let db = Db::connect(&database_address(config)).await?;
    if !db.tables().await?.is_empty() && !db.is_unused().await? {
        return Err(CarryError::InTheWay("orders are in the database".into()));
    }
    let unpacked = tempfile::Builder::new().prefix(".import-").tempdir_in(&config.data_dir).map_err(at(&config.data_dir))?;
    unpack(from, unpacked.path())?;
    let facts = facts(unpacked.path())?;
    let images = images(config, &unpacked.path().join(IMAGES)).await?;
    place_keys(config, &unpacked.path().join(KEYS))?;
    carry(&facts, unpacked.path(), &carried)?;
    // The tables come last: until then there is no site.
    db.migrate(facts.tables_version).await?;
    let mut tables: Vec<(String, Box<dyn BufRead + Send>)> = Vec::new();
    for table in &facts.tables {
        let path = unpacked.path().join(TABLES).join(format!("{table}.jsonl"));
        tables.push((table.clone(), Box::new(BufReader::new(File::open(&path).map_err(at(&path))?))));
    }
    let rows = db.load(tables).await.map_err(|source| CarryError::Load { table: "of the archive".into(), source })?;
    db.migrate(NEWEST).await?;
    db.close().await;
    Ok(Imported { rows, images, carried })
}

/// Unpacks all members into a folder, and compares them with the list at the end.
fn unpack(from: &mut (dyn Read + Send), to: &Path) -> Result<(), CarryError> {
    let damaged = |what: &dyn std::fmt::Display| CarryError::Damaged(what.to_string());
    let (mut sums, mut list) = (BTreeMap::new(), None);
    let mut archive = tar::Archive::new(from);
    for member in archive.entries().map_err(|e| damaged(&e))? {
        let mut member = member.map_err(|e| damaged(&e))?;
        let name =
            member_name(&member.path().map_err(|e| damaged(&e))?).ok_or_else(|| damaged(&"a member has a strange name"))?;
        if list.is_some() || !member.header().entry_type().is_file() {
            return Err(damaged(&format!("{name} does not belong there")));
        }
        if name == SUMS {
            let mut text = String::new();
            member.take(MAX_SUMS).read_to_string(&mut text).map_err(|e| damaged(&e))?;
            list = Some(text);
            continue;
        }
        let path = to.join(&name);
        let folder = path.parent().unwrap_or(to);
        std::fs::create_dir_all(folder).map_err(at(folder))?;
        let mut file = File::create_new(&path).map_err(at(&path))?;
        let size = member.size();
        let (mut hasher, mut buffer) = (Hasher::default(), vec![0; BUFFER]);
        loop {
            let read = member.read(&mut buffer).map_err(|e| damaged(&e))?;
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            hasher.update(bytes);
            file.write_all(bytes).map_err(at(&path))?;
        }
        let digests: Digests = hasher.finish();
        if digests.size != size {
            return Err(damaged(&format!("{name} ends too early")));
        }
        sums.insert(name, digests.sha256);
    }
    let list = list.ok_or_else(|| damaged(&"its end is missing"))?;
    let expected: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    if list == expected { Ok(()) } else { Err(damaged(&"its checksums are other ones")) }
}

/// The name of a member that may be unpacked: a path down, in one of the known places.
fn member_name(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => return None,
        }
    }
    let known = match parts.as_slice() {
        [FACTS | SUMS | CONFIG] => true,
        [PRESETS | KEYS | KEYRINGS | FOLDERS | TABLES | IMAGES, rest @ ..] => !rest.is_empty() && rest.len() < MAX_DEPTH,
        _ => false,
    };
    known.then(|| parts.join("/"))
}

fn facts(unpacked: &Path) -> Result<Facts, CarryError> {
    let path = unpacked.join(FACTS);
    let text = std::fs::read_to_string(&path).map_err(|e| CarryError::Damaged(format!("{FACTS}: {e}")))?;
    let facts: Facts = serde_json::from_str(&text).map_err(|e| CarryError::Damaged(format!("{FACTS}: {e}")))?;
    if facts.version > VERSION || facts.tables_version > NEWEST {
        return Err(CarryError::Newer(format!("layout {}, tables {}", facts.version, facts.tables_version)));
    }
    if !facts.tables.iter().all(|table| is_plain_name(table)) {
        return Err(CarryError::Damaged(format!("{FACTS} names a strange table")));
    }
    Ok(facts)
}

/// Puts the images into the storage.
async fn images(config: &Config, from: &Path) -> Result<u64, CarryError> {
    let storage = Storage::open(config)?;
    let mut count = 0;
    for (build, in_build) in entries(from)? {
        for (attempt, in_attempt) in entries(&in_build)? {
            for (name, path) in entries(&in_attempt)? {
                let number = attempt.parse::<u32>().ok().filter(|_| is_plain_name(&build) && is_plain_name(&name));
                let number = number.ok_or_else(|| CarryError::Damaged(format!("{build}/{attempt}/{name} is no image")))?;
                let mut incoming = storage.receive(&build, number, &name).await.map_err(CarryError::Store)?;
                let (mut file, mut buffer) = (File::open(&path).map_err(at(&path))?, vec![0; BUFFER]);
                loop {
                    let read = file.read(&mut buffer).map_err(at(&path))?;
                    if read == 0 {
                        break;
                    }
                    incoming.write(buffer.get(..read).unwrap_or_default()).await.map_err(CarryError::Store)?;
                }
                incoming.keep().await.map_err(CarryError::Store)?;
                count += 1;
            }
        }
    }
    Ok(count)
}

/// What is in a folder, by name; nothing where there is no folder.
fn entries(folder: &Path) -> Result<Vec<(String, PathBuf)>, CarryError> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let list = std::fs::read_dir(folder).map_err(at(folder))?;
    list.map(|entry| {
        let entry = entry.map_err(at(folder))?;
        Ok((entry.file_name().to_string_lossy().into_owned(), entry.path()))
    })
    .collect()
}

/// Tokens go where the new configuration has them, if it has none there yet.
fn place_keys(config: &Config, from: &Path) -> Result<(), CarryError> {
    let tokens = [(WORKER_TOKEN, tokens::worker_path(config)), (OPERATOR_TOKEN, tokens::operator_path(config))];
    let signing = config.signing_key_file.clone().map(|path| (SIGNING_KEY, path));
    for (name, path) in tokens.into_iter().chain(signing) {
        let carried = from.join(name);
        if carried.exists() && !path.exists() {
            let text = std::fs::read_to_string(&carried).map_err(at(&carried))?;
            tokens::write_private(&path, &text).map_err(at(&path))?;
        }
    }
    Ok(())
}

/// Keeps what the new configuration has to name itself, and the old one with the new places in it.
fn carry(facts: &Facts, unpacked: &Path, carried: &Path) -> Result<(), CarryError> {
    std::fs::create_dir_all(carried).map_err(at(carried))?;
    for part in [PRESETS, KEYS, KEYRINGS, FOLDERS] {
        let (old, new) = (unpacked.join(part), carried.join(part));
        if old.exists() {
            std::fs::rename(&old, &new).map_err(at(&new))?;
        }
    }
    let config = unpacked.join(CONFIG);
    if config.exists() {
        let mut text = std::fs::read_to_string(&config).map_err(at(&config))?;
        let places = [(FOLDERS, &facts.folders), (KEYRINGS, &facts.keyrings)];
        let mut moved: Vec<(String, PathBuf)> = places
            .into_iter()
            .flat_map(|(part, old)| old.iter().map(move |(n, old)| (old.to_string_lossy().into_owned(), (part, n))))
            .map(|(old, (part, n))| (old, carried.join(part).join(n.to_string())))
            .collect();
        // A longer path first, so that none is taken for the beginning of another.
        moved.sort_by_key(|(old, _)| std::cmp::Reverse(old.len()));
        for (old, new) in &moved {
            text = text.replace(old.as_str(), &new.to_string_lossy());
        }
        for (old, new) in own_places(facts, carried) {
            for quote in ['"', '\''] {
                let named = |path: &Path| format!("{quote}{}{quote}", path.display());
                text = text.replace(&named(&old), &named(&new));
            }
        }
        let new = carried.join(CONFIG);
        std::fs::write(&new, text).map_err(at(&new))?;
    }
    Ok(())
}

/// Old and new places of what the configuration names once, and perhaps by a short word, so that it is found by its quotes.
fn own_places(facts: &Facts, carried: &Path) -> Vec<(PathBuf, PathBuf)> {
    let key = carried.join(KEYS).join(SIGNING_KEY);
    let places = [
        (Some(&facts.data_dir), carried.parent().unwrap_or(carried).to_owned()),
        (facts.presets_dir.as_ref(), carried.join(PRESETS)),
        (facts.signing_key_file.as_ref().filter(|_| key.exists()), key),
    ];
    let named = places.into_iter().filter_map(|(old, new)| Some((old?.clone(), new)));
    named.filter(|(old, _)| !old.as_os_str().is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_in_their_places() {
        for good in ["hatchery-export.json", "SHA256SUMS", "folders/0/Packages", "images/a/1/x.iso"] {
            assert_eq!(member_name(Path::new(good)).as_deref(), Some(good));
        }
        for bad in ["/etc/passwd", "folders/../x", "elsewhere/x", "folders", "x", "presets/../../x"] {
            assert_eq!(member_name(Path::new(bad)), None, "{bad}");
        }
    }
}
