//! A binhost of one's own, a folder that finished packages are added to: each is checked, numbered, signed, and named in the index.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gentoo::binpkg::{BinaryPackage, Container, PackageError};
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description, Signatures, Signer};
use gentoo::index::{Entry, IndexError, Packages};
use gentoo::{Atom, Cpv};
use md5::Md5;
use sha1::Sha1;
use sha2::Digest;

use crate::openpgp::SigningKey;
use crate::transfer::for_each_piece;

/// The file that is locked while the index is read, changed and written.
const LOCK: &str = ".lock";
/// What the index says of a package under the same name as the package itself.
const SAME: [&str; 17] = [
    "BDEPEND",
    "BUILD_TIME",
    "CHOST",
    "DEFINED_PHASES",
    "DEPEND",
    "EAPI",
    "IDEPEND",
    "IUSE",
    "KEYWORDS",
    "LICENSE",
    "PDEPEND",
    "PROPERTIES",
    "PROVIDES",
    "RDEPEND",
    "REQUIRES",
    "RESTRICT",
    "SLOT",
];

/// Why a package was not added. The binhost is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum AddError {
    #[error(transparent)]
    Package(#[from] PackageError),
    #[error("what was built is not what was asked for: {0}")]
    Another(String),
    #[error("the package says of itself what cannot be: {0}")]
    Nonsense(String),
    #[error("the index of {} cannot be added to: {source}", folder.display())]
    Index { folder: PathBuf, source: IndexError },
    #[error("the binhost {} cannot be written: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
}

/// What a package has to be.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub package: &'a Atom,
    /// USE flags it must be built with, or without where they begin with `-`.
    pub flags: &'a [String],
}

/// A package as it is in the binhost now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    pub cpv: String,
    pub build_id: u32,
    /// Below the binhost's folder.
    pub path: String,
}

/// The folder of a binhost that may be added to. Several processes may do so at once.
#[derive(Clone, Debug)]
pub struct OwnBinhost {
    folder: PathBuf,
}

impl OwnBinhost {
    /// Opens the folder; where it is not there, or has no index yet, both are made. `header` is what a new index says of its packages in
    /// common, as that of another binhost for the same machines does.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn open(folder: &Path, header: &BTreeMap<String, String>) -> Result<OwnBinhost, AddError> {
        let binhost = OwnBinhost { folder: folder.to_owned() };
        let made = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            let _lock = binhost.lock()?;
            if !folder.join("Packages").exists() {
                let mut header = header.clone();
                // What the index says in common must not be taken for what a package does not say.
                ["CHOST", "REPO", "TIMESTAMP", "TTL", "URI"].iter().for_each(|key| drop(header.remove(*key)));
                header.insert("VERSION".into(), "0".into());
                binhost.write_index(Packages { header, entries: Vec::new() })?;
            }
            Ok(())
        };
        made().map_err(|e| binhost.folder_error(e))?;
        Ok(binhost)
    }

    /// Adds a GPKG: it is verified as far as it is not signed, held against what was asked for, given the next free BUILD_ID of its version,
    /// signed, and only then named in the index. What is there already (same version, time and flags) is not added again.
    ///
    /// # Errors
    /// When it is no such package, or the binhost cannot be read or written.
    pub fn add(&self, file: File, asked: Asked<'_>, key: &SigningKey) -> Result<Added, AddError> {
        let package = BinaryPackage::open(file, &asked.package.to_string(), Signatures::Ignored)?;
        let entry = entry(&package)?;
        check(&package, &entry, asked)?;
        let _lock = self.lock().map_err(|e| self.folder_error(e))?;
        let mut index = self.index()?;
        let same =
            |known: &&Entry| known.cpv == entry.cpv && known.build_time == entry.build_time && known.use_flags == entry.use_flags;
        if let Some(known) = index.entries.iter().find(same) {
            let (cpv, path) = (known.cpv.to_string(), known.path.to_string());
            return Ok(Added { cpv, build_id: known.build_id.unwrap_or(0), path });
        }
        let others = index.entries.iter().filter(|known| known.cpv == entry.cpv).filter_map(|known| known.build_id);
        let build_id = others.max().unwrap_or(0).saturating_add(1);
        let entry = self.keep(&package, entry, build_id, key).map_err(|e| self.folder_error(e))?;
        let added = Added { cpv: entry.cpv.to_string(), build_id, path: entry.path.to_string() };
        index.entries.push(entry);
        self.write_index(index).map_err(|e| self.folder_error(e))?;
        Ok(added)
    }

    /// Writes the signed package; the entry with what is known only then.
    fn keep(&self, package: &BinaryPackage, mut entry: Entry, build_id: u32, key: &SigningKey) -> io::Result<Entry> {
        let basename = format!("{}-{build_id}", entry.cpv.pf());
        let path = format!("{}/{basename}.gpkg.tar", entry.cpv.cp());
        let target = self.folder.join(&path);
        let folder = target.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        let mut metadata = package.metadata.clone();
        metadata.insert("BUILD_ID".into(), format!("{build_id}\n").into_bytes());
        let description =
            Description { basename: &basename, metadata: &metadata, compression: Compression::Zstd, mtime: entry.build_time };
        let mut signer = key.clone();
        gpkg::repack(file.as_file_mut(), &description, package, Some(&mut signer as &mut dyn Signer))?;
        let file_out = file.as_file_mut();
        publish(file_out, entry.build_time)?;
        file_out.sync_all()?;
        let (size, md5, sha1) = digests(file_out)?;
        file.persist(&target).map_err(|e| e.error)?;
        (entry.size, entry.mtime, entry.build_id) = (size, entry.build_time, Some(build_id));
        (entry.md5, entry.sha1, entry.path) = (Some(md5.into()), Some(sha1.into()), path.into());
        Ok(entry)
    }

    fn index(&self) -> Result<Packages, AddError> {
        let bytes = fs::read(self.folder.join("Packages")).map_err(|e| self.folder_error(e))?;
        Packages::from_bytes(bytes).map_err(|source| AddError::Index { folder: self.folder.clone(), source })
    }

    /// Puts an index in the place of the one there.
    fn write_index(&self, mut index: Packages) -> io::Result<()> {
        // Who has the index that was there, even of this very second, has to take the new one for newer.
        let old = index.timestamp().unwrap_or(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        index.header.insert("TIMESTAMP".into(), now.max(old.saturating_add(1)).to_string());
        put_index(&self.folder, &index.to_bytes())
    }

    fn lock(&self) -> io::Result<File> {
        let file = File::options().write(true).create(true).truncate(false).open(self.folder.join(LOCK))?;
        file.lock()?;
        Ok(file)
    }

    fn folder_error(&self, source: io::Error) -> AddError {
        AddError::Folder { folder: self.folder.clone(), source }
    }
}

/// What the index will say of a package, but for what follows from its file.
fn entry(package: &BinaryPackage) -> Result<Entry, AddError> {
    let cpv = package.cpv().ok_or_else(|| AddError::Nonsense("it has no CATEGORY and PF".into()))?;
    let cpv = Cpv::parse(&cpv).map_err(|e| AddError::Nonsense(e.to_string()))?;
    let mut entry = Entry::new(cpv);
    let renamed = [("USE", "USE"), ("DESCRIPTION", "DESC"), ("repository", "REPO")];
    for (key, field) in SAME.iter().map(|key| (*key, *key)).chain(renamed) {
        // A package may spread a value over lines, an index cannot.
        let value = package.text(key).unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
        if !value.is_empty() {
            entry.set(field, &value).map_err(|why| AddError::Nonsense(format!("{key}: {why}")))?;
        }
    }
    if entry.build_time == 0 {
        return Err(AddError::Nonsense("it has no BUILD_TIME".into()));
    }
    Ok(entry)
}

/// The package is what was asked for.
fn check(package: &BinaryPackage, entry: &Entry, asked: Asked<'_>) -> Result<(), AddError> {
    if package.container() != Container::Gpkg {
        return Err(AddError::Another("it is no GPKG; the build root needs BINPKG_FORMAT=\"gpkg\"".into()));
    }
    if !asked.package.matches_package(entry.package()) {
        return Err(AddError::Another(format!("it is {}, and {} was asked for", entry.cpv, asked.package)));
    }
    for flag in asked.flags {
        let (name, wanted) = flag.strip_prefix('-').map_or((flag.as_str(), true), |name| (name, false));
        let known = entry.iuse_names().any(|known| known == name);
        let has = entry.use_flags.iter().any(|used| used == name);
        // A flag that the package does not have is off.
        if has != wanted || (wanted && !known) {
            let with = if has { "with" } else { "without" };
            return Err(AddError::Another(format!("{} was built {with} {name}", entry.cpv)));
        }
    }
    Ok(())
}

/// Puts the text of an index in the place of the one in this folder, first compressed, as servers give it out, then plain.
///
/// # Errors
/// When the folder cannot be written.
pub fn put_index(folder: &Path, index: &[u8]) -> io::Result<()> {
    let mut packed = Compression::Gzip.writer(Vec::new())?;
    packed.write_all(index)?;
    replace(folder, "Packages.gz", &packed.finish()?)?;
    replace(folder, "Packages", index)
}

fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map(drop).map_err(|e| e.error)
}

/// Gives a package's file the mode that everybody may read, and the time that the index repeats. Seconds since the epoch.
///
/// # Errors
/// When the file refuses them.
pub fn publish(file: &File, mtime: u64) -> io::Result<()> {
    file.set_permissions(fs::Permissions::from_mode(0o644))?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(mtime))
}

/// Size, MD5 and SHA-1, the last two in lower-case hexadecimal.
fn digests(file: &mut File) -> io::Result<(u64, String, String)> {
    let (mut md5, mut sha1, mut size) = (Md5::new(), Sha1::new(), 0u64);
    for_each_piece(file, |bytes| {
        md5.update(bytes);
        sha1.update(bytes);
        size += bytes.len() as u64;
    })?;
    Ok((size, hex::encode(md5.finalize()), hex::encode(sha1.finalize())))
}
