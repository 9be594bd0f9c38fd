//! The database of installed packages, `/var/db/pkg/CATEGORY/PF/`: one file per metadata key. Read here as the base others build on, for
//! example that of a stage3; PMS leaves its form to the package manager, so this is Portage's (`dbapi/vartree.py`).

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::index::Entry;
use crate::names::is_category;
use crate::profile::ProfileError;
use crate::{Cpv, Text};

/// Largest metadata file that is read, in bytes.
const MAX_VALUE: u64 = 4 << 20;
/// Most packages that are read.
const MAX_PACKAGES: usize = 100_000;

/// The file with the number of the merge.
const COUNTER: &str = "COUNTER";

/// A package that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// Its metadata. `size` is what it takes when installed; `path`, `md5` and `sha1` are empty.
    pub entry: Entry,
    /// Grows with every merge; tells which of two was merged later.
    pub counter: u64,
}

/// Metadata files that become fields of an index entry, with the field's name there.
const KEYS: [(&str, &str); 22] = [
    ("SLOT", "SLOT"),
    ("EAPI", "EAPI"),
    ("KEYWORDS", "KEYWORDS"),
    ("LICENSE", "LICENSE"),
    ("RESTRICT", "RESTRICT"),
    ("PROPERTIES", "PROPERTIES"),
    ("IUSE", "IUSE"),
    ("USE", "USE"),
    ("DEPEND", "DEPEND"),
    ("RDEPEND", "RDEPEND"),
    ("PDEPEND", "PDEPEND"),
    ("BDEPEND", "BDEPEND"),
    ("IDEPEND", "IDEPEND"),
    ("BUILD_ID", "BUILD_ID"),
    ("BUILD_TIME", "BUILD_TIME"),
    ("SIZE", "SIZE"),
    ("CHOST", "CHOST"),
    ("repository", "REPO"),
    ("DESCRIPTION", "DESC"),
    ("DEFINED_PHASES", "DEFINED_PHASES"),
    ("REQUIRES", "REQUIRES"),
    ("PROVIDES", "PROVIDES"),
];

/// Reads every package of a VDB (the folder `var/db/pkg` of a root), sorted. Half-merged ones (`-MERGING-…`) and lock files are left out.
///
/// # Errors
/// When a folder or file cannot be read, or a value makes no sense; the message names the file.
pub fn read_vdb(dir: &Path) -> Result<Vec<Installed>, ProfileError> {
    let mut found = Vec::new();
    for category in folders(dir)?.iter().filter(|(name, _)| is_category(name)) {
        for (pf, path) in folders(&category.1)?.iter().filter(|(name, _)| !name.starts_with(['-', '.'])) {
            if found.len() >= MAX_PACKAGES {
                return Err(ProfileError::structure(dir, format!("it holds more than {MAX_PACKAGES} packages")));
            }
            let cpv = Cpv::parse(&format!("{}/{pf}", category.0)).map_err(|e| ProfileError::structure(path, e.to_string()))?;
            found.push(read_package(path, cpv)?);
        }
    }
    found.sort_by(|a, b| a.entry.cpv.cmp(&b.entry.cpv));
    Ok(found)
}

/// The folders in a folder with their names; symbolic links do not count.
fn folders(dir: &Path) -> Result<Vec<(String, PathBuf)>, ProfileError> {
    let mut found = Vec::new();
    for item in std::fs::read_dir(dir).map_err(|e| ProfileError::io(dir, e))? {
        let item = item.map_err(|e| ProfileError::io(dir, e))?;
        let is_folder = item.file_type().map_err(|e| ProfileError::io(&item.path(), e))?.is_dir();
        if let (true, Ok(name)) = (is_folder, item.file_name().into_string()) {
            found.push((name, item.path()));
        }
    }
    Ok(found)
}

/// Reads every package of the VDB inside a root's tar archive (`./var/db/pkg/…`), like that of a stage3, sorted. The archive is read
/// once from beginning to end; nothing else of it is kept.
///
/// # Errors
/// When the archive cannot be read, or a value makes no sense; the message names the file in it.
pub fn read_vdb_of_tar(archive: impl Read) -> Result<Vec<Installed>, ProfileError> {
    let archive_path = Path::new("var/db/pkg");
    let unreadable = |e| ProfileError::io(archive_path, e);
    let mut files: BTreeMap<(String, String), BTreeMap<String, String>> = BTreeMap::new();
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let Some((category, pf, name)) = vdb_file(&entry.path_bytes()) else { continue };
        if !entry.header().entry_type().is_file() || !is_read(&name) {
            continue;
        }
        let path = archive_path.join(&category).join(&pf).join(&name);
        let value = read_text(&mut entry, &path)?;
        if files.len() >= MAX_PACKAGES {
            return Err(ProfileError::structure(archive_path, format!("it holds more than {MAX_PACKAGES} packages")));
        }
        files.entry((category, pf)).or_default().extend(value.map(|value| (name, value)));
    }
    let mut found = Vec::new();
    for ((category, pf), values) in files {
        let path = archive_path.join(&category).join(&pf);
        let cpv = Cpv::parse(&format!("{category}/{pf}")).map_err(|e| ProfileError::structure(&path, e.to_string()))?;
        found.push(package(&path, cpv, &|name| Ok(values.get(name).cloned()))?);
    }
    found.sort_by(|a, b| a.entry.cpv.cmp(&b.entry.cpv));
    Ok(found)
}

/// Category, PF and file name, where a path of an archive is that of a VDB file.
fn vdb_file(path: &[u8]) -> Option<(String, String, String)> {
    let path = std::str::from_utf8(path).ok()?;
    let mut parts = path.strip_prefix("./").unwrap_or(path).strip_prefix("var/db/pkg/")?.split('/');
    let (category, pf, name) = (parts.next()?, parts.next()?, parts.next()?);
    let plain = parts.next().is_none() && is_category(category) && !pf.starts_with(['-', '.']);
    plain.then(|| (category.to_owned(), pf.to_owned(), name.to_owned()))
}

fn is_read(name: &str) -> bool {
    name == COUNTER || KEYS.iter().any(|(file, _)| *file == name)
}

fn read_package(dir: &Path, cpv: Cpv) -> Result<Installed, ProfileError> {
    package(dir, cpv, &|name| read_value(&dir.join(name)))
}

/// A package from the values of its files.
fn package(
    dir: &Path,
    cpv: Cpv,
    value: &dyn Fn(&str) -> Result<Option<String>, ProfileError>,
) -> Result<Installed, ProfileError> {
    let mut entry = Entry::new(cpv);
    entry.path = Text::EMPTY;
    for (file, key) in KEYS {
        if let Some(value) = value(file)? {
            entry.set(key, &value).map_err(|reason| ProfileError::structure(&dir.join(file), reason))?;
        }
    }
    let counter = match value(COUNTER)? {
        Some(text) => text.parse().map_err(|_| ProfileError::structure(&dir.join(COUNTER), "it does not hold a number"))?,
        None => 0,
    };
    Ok(Installed { entry, counter })
}

/// The value in a file; none when absent or empty.
fn read_value(path: &Path) -> Result<Option<String>, ProfileError> {
    let is_file = path.symlink_metadata().is_ok_and(|m| m.is_file());
    if !is_file {
        return Ok(None);
    }
    read_text(std::fs::File::open(path).map_err(|e| ProfileError::io(path, e))?, path)
}

/// A value, white space at its ends removed and line breaks turned into spaces; none when empty.
fn read_text(file: impl Read, path: &Path) -> Result<Option<String>, ProfileError> {
    let mut bytes = Vec::new();
    file.take(MAX_VALUE + 1).read_to_end(&mut bytes).map_err(|e| ProfileError::io(path, e))?;
    if bytes.len() as u64 > MAX_VALUE {
        return Err(ProfileError::structure(path, format!("it is larger than {MAX_VALUE} bytes")));
    }
    let text = String::from_utf8_lossy(&bytes).split_whitespace().collect::<Vec<_>>().join(" ");
    Ok((!text.is_empty()).then_some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(root: &Path, cpv: &str, files: &[(&str, &str)]) {
        let dir = root.join(cpv);
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
    }

    #[test]
    fn packages_are_read_with_their_metadata() {
        let root = tempfile::tempdir().unwrap();
        let glibc = [
            ("SLOT", "2.2\n"),
            ("EAPI", "8\n"),
            ("USE", "ssp\nmultiarch \n"),
            ("IUSE", "+ssp multiarch doc\n"),
            ("RDEPEND", "!sys-kernel/linux-headers\n|| ( a/b a/c )\n"),
            ("repository", "gentoo\n"),
            ("COUNTER", "17"),
            ("BUILD_TIME", "1700000000\n"),
            ("CONTENTS", "obj /x 0 0\n"),
            ("SIZE", "4096\n"),
            ("LICENSE", ""),
        ];
        install(root.path(), "sys-libs/glibc-2.38-r1", &glibc);
        install(root.path(), "app-shells/bash-5.2", &[("SLOT", "0/5")]);
        install(root.path(), "app-shells/-MERGING-zsh-5", &[("SLOT", "0")]);
        std::fs::write(root.path().join("app-shells/.bash-5.2.portage_lockfile"), "").unwrap();
        let found = read_vdb(root.path()).unwrap();
        let [bash, glibc] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((bash.entry.slot_text().as_str(), bash.counter, bash.entry.path.as_str()), ("0/5", 0, ""));
        assert_eq!(glibc.entry.cpv.to_string(), "sys-libs/glibc-2.38-r1");
        assert_eq!(glibc.entry.use_flags.as_str(), "ssp multiarch");
        assert_eq!(glibc.entry.rdepend, "!sys-kernel/linux-headers || ( a/b a/c )");
        assert_eq!(
            (glibc.entry.repo.as_str(), glibc.counter, glibc.entry.build_time, glibc.entry.size),
            ("gentoo", 17, 1_700_000_000, 4096)
        );
    }

    #[test]
    fn the_vdb_of_an_archive_is_the_same() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("var/db/pkg");
        install(&dir, "sys-libs/glibc-2.38-r1", &[("SLOT", "2.2\n"), ("USE", "a\nb\n"), ("IUSE", "a b c"), ("COUNTER", "17")]);
        install(&dir, "app-shells/bash-5.2", &[("SLOT", "0/5"), ("CONTENTS", "obj /x 0 0\n")]);
        install(&dir, "app-shells/-MERGING-zsh-5", &[("SLOT", "0")]);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", root.path()).unwrap();
        let archive = archive.into_inner().unwrap();
        assert_eq!(read_vdb_of_tar(archive.as_slice()).unwrap(), read_vdb(&dir).unwrap());
        assert!(read_vdb_of_tar(archive.get(..700).unwrap()).is_err());
    }

    #[test]
    fn damage_is_told_with_the_file() {
        let root = tempfile::tempdir().unwrap();
        install(root.path(), "a/b-1", &[("BUILD_TIME", "soon")]);
        let error = read_vdb(root.path()).unwrap_err().to_string();
        assert!(error.contains("BUILD_TIME") && error.contains("soon"), "{error}");
        assert!(read_vdb(&root.path().join("nowhere")).is_err());
        install(root.path(), "a/b-1", &[("BUILD_TIME", "1"), ("COUNTER", "x")]);
        assert!(read_vdb(root.path()).unwrap_err().to_string().contains("COUNTER"));
    }
}
