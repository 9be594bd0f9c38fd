//! The whole channel: fetch, build what changed, index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use binhost::openpgp::SigningKey;
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::SampleError;
use crate::arch::Arch;
use crate::content::Content;
use crate::debs::Debs;
use crate::facts::Facts;
use crate::index::{self, Summary};
use crate::package::{self, Metadata};
use crate::plan::{Providers, Target, targets};
use crate::recipe::{self, Recipe};
use crate::repository;

/// Raised when the same recipes and Debian packages would give other packages than before.
const CODE_VERSION: &str = "5";
/// Content of builds up to this many bytes is kept in memory between looking at it and writing it.
const HELD: u64 = 16 << 20;

/// Where and how to make the sample.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for all of it: Debian's packages, the binhost, the repository, the key.
    pub dir: PathBuf,
    pub arch: Arch,
    /// Packages made at the same time; 0 for as many as there are processors.
    pub jobs: usize,
    /// A folder of recipes to use instead of the built-in ones.
    pub recipes: Option<PathBuf>,
    /// Programs from outside that recipes name, like Hatchery's own (`hatchery`).
    pub given: BTreeMap<String, PathBuf>,
}

/// A sample channel that is ready to serve.
#[derive(Clone, Debug)]
pub struct SampleChannel {
    /// The folder with the `Packages` index; its address is `file://` and this.
    pub binhost_dir: PathBuf,
    /// A Gentoo repository with the profile [`Arch::profile`].
    pub repo_dir: PathBuf,
    /// The certificate that the packages are signed with.
    pub keyring_armored: String,
    /// Binary packages in the index.
    pub packages: usize,
}

/// The folder to use when none was named: `$HATCHERY_SAMPLE_DIR`, else `var/sample` below `workspace`.
pub fn default_dir(workspace: &Path) -> PathBuf {
    std::env::var_os("HATCHERY_SAMPLE_DIR").map_or_else(|| workspace.join("var/sample"), PathBuf::from)
}

/// Makes the sample channel, or brings an existing one up to date; what did not change is kept. `progress` is told what is being
/// done, and how far it is.
///
/// # Errors
/// [`SampleError`]: most likely apt's lists are absent, or the download failed.
pub fn make(options: &Options, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<SampleChannel, SampleError> {
    let arch = options.arch;
    let layout = Layout::new(&options.dir, arch)?;
    let _lock = layout.lock()?;
    let recipes = recipe::with_given(recipe::all(options.recipes.as_deref(), arch)?, &options.given)?;
    let debs = Debs::open(&layout.debs, arch, &specs(&recipes, arch))?;
    let targets = targets(&recipes, arch, &debs)?;
    debs.fetch(targets.iter().flat_map(|t| &t.debs), &mut |done, total| progress("fetch Debian's packages", done, total))?;
    let key = layout.key()?;
    let maker = Maker { arch, layout: &layout, debs: &debs, targets: &targets, key: &key, jobs: jobs(options.jobs) };
    let looked_at = maker.look(progress)?;
    let packages = maker.write(looked_at, progress)?;
    repository::write(&layout.repository, arch, &targets)?;
    let keyring_armored = key.certificate().map_err(|e| layout.key_error(&e.to_string()))?;
    fs::write(layout.dir.join("key/certificate.asc"), &keyring_armored).map_err(SampleError::io(&layout.dir))?;
    Ok(SampleChannel { binhost_dir: layout.binhost.clone(), repo_dir: layout.repository.clone(), keyring_armored, packages })
}

fn specs(recipes: &[Recipe], arch: Arch) -> BTreeSet<&str> {
    let builds = recipes.iter().flat_map(|r| r.builds.iter().filter(|b| b.is_for(arch)).map(move |b| (r, b)));
    builds.flat_map(|(recipe, build)| recipe.debs_of(build)).map(String::as_str).collect()
}

fn jobs(wanted: usize) -> usize {
    match wanted {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    }
}

/// The folders of a sample.
struct Layout {
    dir: PathBuf,
    debs: PathBuf,
    binhost: PathBuf,
    repository: PathBuf,
    /// What is known of packages made earlier.
    notes: PathBuf,
}

impl Layout {
    /// Debian's packages and the key are shared by all architectures.
    fn new(dir: &Path, arch: Arch) -> Result<Layout, SampleError> {
        fs::create_dir_all(dir).map_err(SampleError::io(dir))?;
        let dir = dir.canonicalize().map_err(SampleError::io(dir))?;
        let at = |name: &str| dir.join(arch.folder()).join(name);
        let layout = Layout {
            debs: dir.join("debs"),
            binhost: at("binhost"),
            repository: at("repo"),
            notes: at("notes"),
            dir: dir.clone(),
        };
        for folder in [&layout.debs, &layout.binhost, &layout.repository, &layout.notes] {
            fs::create_dir_all(folder).map_err(SampleError::io(folder))?;
        }
        Ok(layout)
    }

    /// Two processes that make the same sample take turns.
    fn lock(&self) -> Result<fs::File, SampleError> {
        let path = self.dir.join("lock");
        let file = fs::File::create(&path).map_err(SampleError::io(&path))?;
        file.lock().map_err(SampleError::io(&path))?;
        Ok(file)
    }

    fn key_error(&self, message: &str) -> SampleError {
        SampleError::Key { path: self.dir.join("key").display().to_string(), message: message.to_owned() }
    }

    /// The signing key, made on the first run.
    fn key(&self) -> Result<SigningKey, SampleError> {
        let folder = self.dir.join("key");
        let path = folder.join("secret.asc");
        if let Ok(text) = fs::read_to_string(&path) {
            return SigningKey::from_armored(&text).map_err(|e| self.key_error(&e.to_string()));
        }
        fs::create_dir_all(&folder).map_err(SampleError::io(&folder))?;
        let key = SigningKey::generate("Hatchery sample channel (made on this machine) <hatchery-sample@localhost>")
            .map_err(|e| self.key_error(&e.to_string()))?;
        let text = key.to_armored().map_err(|e| self.key_error(&e.to_string()))?;
        let fresh = path.with_extension("new");
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)
            .map_err(SampleError::io(&fresh))?;
        file.write_all(text.as_bytes()).map_err(SampleError::io(&fresh))?;
        fs::rename(&fresh, &path).map_err(SampleError::io(&path))?;
        Ok(key)
    }

    fn note(&self, target: &Target) -> PathBuf {
        self.notes.join(format!("{}.toml", target.path().replace('/', "~")))
    }
}

/// What is remembered of a package between runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    /// Hash of the recipe and of Debian's packages: while it is the same, so are the facts.
    content_key: String,
    /// Hash of all that the package file depends on; empty while there is none.
    package_key: String,
    size: u64,
    md5: String,
    sha1: String,
    facts: Facts,
}

/// A build after its content was looked at.
struct Seen {
    note: Note,
    /// The content, where it was gathered just now and is small.
    content: Option<Content>,
}

struct Maker<'a> {
    arch: Arch,
    layout: &'a Layout,
    debs: &'a Debs,
    targets: &'a [Target],
    key: &'a SigningKey,
    jobs: usize,
}

impl Maker<'_> {
    /// Finds out what each build provides and requires.
    fn look(&self, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<Vec<Seen>, SampleError> {
        self.parallel("unpack Debian's packages", progress, &|index| {
            let target = self.target(index)?;
            let content_key = content_key(target);
            if let Some(note) = self.read_note(target).filter(|note| note.content_key == content_key) {
                return Ok(Seen { note, content: None });
            }
            let content = self.gather(target)?;
            let facts = Facts::of(&content);
            let empty = String::new();
            let note = Note { content_key, package_key: empty.clone(), size: 0, md5: empty.clone(), sha1: empty, facts };
            self.save_note(target, &note)?;
            let content = (content.size() <= HELD).then_some(content);
            Ok(Seen { note, content })
        })
    }

    /// Writes the packages that changed, and the index.
    fn write(&self, seen: Vec<Seen>, progress: &mut dyn FnMut(&str, u64, u64)) -> Result<usize, SampleError> {
        let facts: Vec<Facts> = seen.iter().map(|s| s.note.facts.clone()).collect();
        let providers = Providers::new(self.targets, &facts);
        let missing = providers.unresolved(&facts);
        if !missing.is_empty() {
            return Err(SampleError::Unresolved { missing });
        }
        let dependencies = providers.all_dependencies(&facts)?;
        let seen: Vec<Mutex<Option<Seen>>> = seen.into_iter().map(|s| Mutex::new(Some(s))).collect();
        let entries = self.parallel("write packages", progress, &|index| {
            let target = self.target(index)?;
            let taken = seen.get(index).and_then(|slot| slot.lock().ok()?.take());
            let seen = taken.ok_or_else(|| SampleError::recipe(&target.recipe.name, "it was written twice"))?;
            let dependencies = dependencies.get(index).cloned().unwrap_or_default();
            let metadata = Metadata::new(target, &seen.note.facts, &dependencies);
            let note = self.write_package(target, seen, &metadata)?;
            Ok(index::entry(target, &Summary { size: note.size, md5: &note.md5, sha1: &note.sha1 }, &metadata))
        })?;
        self.remove_others()?;
        index::write(self.arch, &self.layout.binhost, entries)
    }

    fn target(&self, index: usize) -> Result<&Target, SampleError> {
        self.targets.get(index).ok_or_else(|| SampleError::recipe("sample", "a build is out of range"))
    }

    fn gather(&self, target: &Target) -> Result<Content, SampleError> {
        let archives: Vec<PathBuf> = target.debs.iter().map(|deb| self.debs.path(deb)).collect();
        let archives: Vec<&Path> = archives.iter().map(PathBuf::as_path).collect();
        Content::gather(&target.recipe, &target.build, &archives)
    }

    fn read_note(&self, target: &Target) -> Option<Note> {
        toml::from_str(&fs::read_to_string(self.layout.note(target)).ok()?).ok()
    }

    fn save_note(&self, target: &Target, note: &Note) -> Result<(), SampleError> {
        let text =
            toml::to_string(note).map_err(|e| SampleError::Package { cpv: target.cpv.to_string(), message: e.to_string() })?;
        let path = self.layout.note(target);
        fs::write(&path, text).map_err(SampleError::io(&path))
    }

    /// Writes one package unless the file of an earlier run is the same.
    fn write_package(&self, target: &Target, seen: Seen, metadata: &Metadata) -> Result<Note, SampleError> {
        let Seen { mut note, content } = seen;
        let path = self.layout.binhost.join(target.path());
        let package_key = hash(&[&note.content_key, &metadata.fingerprint(), &self.key.fingerprint()]);
        let is_there = fs::metadata(&path).is_ok_and(|m| m.len() == note.size);
        if note.package_key == package_key && is_there {
            return Ok(note);
        }
        let content = match content {
            Some(content) => content,
            None => self.gather(target)?,
        };
        package::write(target, &content, &note.facts, metadata, self.key, &self.layout.binhost)?;
        let bytes = fs::read(&path).map_err(SampleError::io(&path))?;
        note.package_key = package_key;
        note.size = bytes.len() as u64;
        note.md5 = hex::encode(Md5::digest(&bytes));
        note.sha1 = hex::encode(Sha1::digest(&bytes));
        self.save_note(target, &note)?;
        Ok(note)
    }

    /// Package files of earlier runs that no recipe makes any more.
    fn remove_others(&self) -> Result<(), SampleError> {
        let wanted: BTreeSet<PathBuf> = self.targets.iter().map(|t| self.layout.binhost.join(t.path())).collect();
        for category in folders(&self.layout.binhost)? {
            for package in folders(&category)? {
                for file in fs::read_dir(&package).map_err(SampleError::io(&package))? {
                    let path = file.map_err(SampleError::io(&package))?.path();
                    if !wanted.contains(&path) {
                        fs::remove_file(&path).map_err(SampleError::io(&path))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Runs `work` for every target on several threads, and tells how far it is.
    fn parallel<T: Send>(
        &self,
        what: &str,
        progress: &mut dyn FnMut(&str, u64, u64),
        work: &(dyn Fn(usize) -> Result<T, SampleError> + Sync),
    ) -> Result<Vec<T>, SampleError> {
        let total = self.targets.len();
        let next = AtomicUsize::new(0);
        let (sender, results) = mpsc::channel();
        let mut done: BTreeMap<usize, T> = BTreeMap::new();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(total) {
                let (sender, next) = (sender.clone(), &next);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= total || sender.send((index, work(index))).is_err() {
                            return;
                        }
                    }
                });
            }
            drop(sender);
            progress(what, 0, total as u64);
            for (index, result) in &results {
                match result {
                    Ok(value) => done.insert(index, value),
                    Err(e) => {
                        next.store(total, Ordering::Relaxed);
                        return Err(e);
                    }
                };
                progress(what, done.len() as u64, total as u64);
            }
            Ok(())
        })?;
        Ok(done.into_values().collect())
    }
}

fn folders(dir: &Path) -> Result<Vec<PathBuf>, SampleError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(SampleError::io(dir))? {
        let path = entry.map_err(SampleError::io(dir))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Everything that the files of a build depend on.
fn content_key(target: &Target) -> String {
    let mut parts = vec![CODE_VERSION.to_owned(), format!("{:?}{:?}", target.recipe, target.build)];
    parts.extend(target.debs.iter().map(|deb| deb.sha256.clone()));
    parts.extend(target.recipe.found.values().map(|given| given.sha256.clone()));
    hash(&parts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn hash(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hex::encode(hasher.finalize())
}
