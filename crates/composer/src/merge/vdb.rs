//! The database of installed packages, /var/db/pkg, and what Portage keeps beside it.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::useflags::{BuiltUse, ImplicitIuse};
use gentoo::version::Version;
use gentoo::{Atom, Cpv, Words};
use image::{Entry, Store, Tree};

use super::contents::{self, Contents, Order};
use crate::ComposeError;

const VDB: &str = "var/db/pkg";
const COUNTER: &str = "var/cache/edb/counter";
/// The file of a record that says what its programs and libraries need.
pub const NEEDED: &str = "NEEDED.ELF.2";
const WORLD: &str = "var/lib/portage/world";
const WORLD_SETS: &str = "var/lib/portage/world_sets";
/// Members that the merge itself writes, whatever the package says.
const OURS: [&str; 3] = ["CONTENTS", "COUNTER", "BINPKGMD5"];

/// What [`Installed`] is made of.
const ASKED: [&str; 7] = ["SLOT", "EAPI", "IUSE", "IUSE_EFFECTIVE", "USE", "repository", "COUNTER"];

/// An installed package, as has_version sees it.
#[derive(Clone, Debug)]
pub struct Installed {
    pub cpv: Cpv,
    pub slot: String,
    pub counter: u64,
    subslot: String,
    repo: String,
    eapi: String,
    iuse: Words,
    enabled: Words,
}

impl Installed {
    pub fn new(cpv: Cpv, metadata: &BTreeMap<String, Vec<u8>>) -> Installed {
        let text =
            |key: &str| metadata.get(key).map(|value| String::from_utf8_lossy(value).trim().to_owned()).unwrap_or_default();
        let slot = text("SLOT");
        let (slot, subslot) = slot.split_once('/').unwrap_or((&slot, &slot));
        Installed {
            cpv,
            counter: text("COUNTER").parse().unwrap_or(0),
            slot: slot.to_owned(),
            subslot: subslot.to_owned(),
            repo: text("repository"),
            eapi: Some(text("EAPI")).filter(|eapi| !eapi.is_empty()).unwrap_or_else(|| "0".into()),
            iuse: [text("IUSE_EFFECTIVE"), text("IUSE")].iter().collect(),
            enabled: [text("USE")].iter().collect(),
        }
    }

    fn satisfies(&self, atom: &Atom) -> bool {
        let implicit = ImplicitIuse::default();
        let built = BuiltUse { eapi: &self.eapi, iuse: &self.iuse, enabled: &self.enabled, implicit: &implicit };
        atom.matches(&self.cpv, &self.slot, &self.subslot, &self.repo)
            && atom.use_deps.iter().all(|dep| dep.satisfied_by(&built, &|_| false))
    }
}

/// All packages installed so far.
#[derive(Clone, Debug, Default)]
pub struct Vdb {
    installed: Vec<Installed>,
    /// What the next package gets as COUNTER; the first gets 0.
    next: u64,
}

impl Vdb {
    /// What a root has installed.
    pub fn read(tree: &Tree, store: &Store) -> Result<Vdb, ComposeError> {
        let mut vdb = Vdb::default();
        for (category, _) in tree.children(VDB) {
            let Ok(category) = std::str::from_utf8(category) else { continue };
            for (pf, entry) in tree.children(format!("{VDB}/{category}")) {
                // Half-merged ones (-MERGING-…) and lock files do not count.
                let name = std::str::from_utf8(pf).ok().filter(|name| entry.is_dir() && !name.starts_with(['-', '.']));
                let Some(cpv) = name.and_then(|name| Cpv::parse(&format!("{category}/{name}")).ok()) else { continue };
                let metadata = read_metadata(tree, store, &cpv, &|name| ASKED.contains(&name))?;
                vdb.installed.push(Installed::new(cpv, &metadata));
            }
        }
        let counter = tree.read_file(store, COUNTER)?.unwrap_or_default();
        let counter = String::from_utf8_lossy(&counter).trim().parse().ok();
        let last = vdb.installed.iter().map(|package| package.counter).chain(counter).max();
        vdb.next = last.map_or(0, |last| last.saturating_add(1));
        Ok(vdb)
    }

    pub fn installed(&self) -> &[Installed] {
        &self.installed
    }

    /// The NEEDED.ELF.2 texts of all packages, in the order they were merged.
    pub fn needed(&self, tree: &Tree, store: &Store) -> Result<Vec<String>, ComposeError> {
        let mut installed: Vec<&Installed> = self.installed.iter().collect();
        installed.sort_by_key(|package| package.counter);
        let read = |package: &Installed| {
            let text = tree.read_file(store, format!("{}/{NEEDED}", record_dir(&package.cpv)))?;
            Ok(text.map(|text| String::from_utf8_lossy(&text).into_owned()))
        };
        installed.into_iter().filter_map(|package| read(package).transpose()).collect()
    }

    /// What a package replaces: the instances in its slot, and of the very same version; in the order they were merged.
    pub fn replaced_by(&self, cpv: &Cpv, slot: &str) -> Vec<Cpv> {
        let (slot, _) = slot.split_once('/').unwrap_or((slot, ""));
        let same = |other: &&Installed| other.cpv == *cpv || (other.cpv.cp() == cpv.cp() && other.slot == slot);
        let mut found: Vec<&Installed> = self.installed.iter().filter(same).collect();
        found.sort_by_key(|installed| installed.counter);
        found.into_iter().map(|installed| installed.cpv.clone()).collect()
    }

    /// Forgets a package that is gone.
    pub fn remove(&mut self, cpv: &Cpv) {
        self.installed.retain(|installed| installed.cpv != *cpv);
    }

    /// Records a package, without its CONTENTS, which come when its files are merged. Returns its COUNTER.
    pub fn add(&mut self, package: Installed) -> u64 {
        let counter = self.next;
        self.next = self.next.saturating_add(1);
        self.installed.push(Installed { counter, ..package });
        counter
    }

    /// Answers a question that a phase asks: words of `has_version ATOM`, `best_version ATOM`, `ver_test A B`. A `!` starts what is
    /// wrong with the question; nothing means no.
    pub fn answer(&self, words: &[String]) -> String {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["has_version" | "best_version", atom] => match Atom::parse(atom) {
                Ok(atom) => self.best(&atom).map(|best| best.cpv.to_string()).unwrap_or_default(),
                Err(error) => format!("!{error}"),
            },
            ["ver_test", left, right] => match (Version::parse(left), Version::parse(right)) {
                (Ok(left), Ok(right)) => match left.cmp(&right) {
                    std::cmp::Ordering::Less => "lt".into(),
                    std::cmp::Ordering::Equal => "eq".into(),
                    std::cmp::Ordering::Greater => "gt".into(),
                },
                (Err(error), _) | (_, Err(error)) => format!("!{error}"),
            },
            _ => "!this question is not understood".into(),
        }
    }

    fn best(&self, atom: &Atom) -> Option<&Installed> {
        self.installed.iter().filter(|package| package.satisfies(atom)).max_by(|a, b| a.cpv.version.cmp(&b.cpv.version))
    }

    /// Writes /var/cache/edb/counter.
    pub fn write_counter(&self, tree: &mut Tree, store: &Store) -> Result<(), ComposeError> {
        Ok(tree.write_file(store, COUNTER, self.next.saturating_sub(1).to_string().as_bytes(), 0o644)?)
    }
}

/// The folder of a package's record.
pub fn record_dir(cpv: &Cpv) -> String {
    format!("{VDB}/{}/{}", cpv.category, cpv.pf())
}

/// The files of a package's record whose names are `wanted`.
pub fn read_metadata(
    tree: &Tree,
    store: &Store,
    cpv: &Cpv,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>, ComposeError> {
    let dir = record_dir(cpv);
    let mut metadata = BTreeMap::new();
    for (name, entry) in tree.children(&dir) {
        let Some(name) = std::str::from_utf8(name).ok().filter(|name| entry.is_file() && wanted(name)) else { continue };
        let content = tree.read_file(store, format!("{dir}/{name}"))?.unwrap_or_default();
        metadata.insert(name.to_owned(), content);
    }
    Ok(metadata)
}

/// What an entry of the VDB holds besides the package's own metadata.
pub struct Record<'a> {
    pub cpv: &'a Cpv,
    pub metadata: &'a BTreeMap<String, Vec<u8>>,
    pub contents: &'a Contents,
    pub order: &'a Order,
    pub counter: u64,
    /// MD5 of the binary package's file, where the index tells it.
    pub md5: Option<&'a str>,
    /// Seconds since the epoch, for the files' times.
    pub time: i64,
}

/// Writes the entry /var/db/pkg/CATEGORY/PF: every metadata file verbatim, and what the merge adds.
pub fn write_record(tree: &mut Tree, store: &Store, record: &Record<'_>) -> Result<(), ComposeError> {
    let dir = record_dir(record.cpv);
    tree.set_time(record.time);
    tree.make_dirs(&dir)?;
    let mut put = |name: &str, content: &[u8]| -> Result<(), ComposeError> {
        let (blob, size) = store.put_bytes(content)?;
        tree.insert(format!("{dir}/{name}"), Entry::file(blob, size, 0o644).with_mtime(record.time))?;
        Ok(())
    };
    for (name, content) in record.metadata.iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
        if name.contains('/') {
            return Err(ComposeError::new(
                format!("its metadata has a file with the impossible name “{}”", name.escape_debug()),
                "",
            ));
        }
        put(name, content)?;
    }
    put("CONTENTS", contents::text(record.contents, record.order).as_bytes())?;
    put("COUNTER", record.counter.to_string().as_bytes())?;
    if let Some(md5) = record.md5 {
        put("BINPKGMD5", format!("{md5}\n").as_bytes())?;
    }
    Ok(())
}

/// Writes the world file: what was asked for by name, without versions and USE, as emerge records it; sets go to world_sets. What
/// the base has there stays.
pub fn write_world(tree: &mut Tree, store: &Store, asked: &[String]) -> Result<(), ComposeError> {
    let mut world = lines(tree, store, WORLD)?;
    let mut sets = lines(tree, store, WORLD_SETS)?;
    for item in asked {
        match (item.starts_with('@'), Atom::parse(item)) {
            // A system has these two always.
            (true, _) if item == "@system" || item == "@world" => {}
            (true, _) => {
                sets.insert(item.clone());
            }
            (false, Ok(atom)) => {
                let slot = atom.slot.as_ref().map(|slot| format!(":{slot}")).unwrap_or_default();
                world.insert(atom.cp() + &slot);
            }
            (false, Err(error)) => return Err(ComposeError::new(format!("the plan's world has a malformed atom: {error}"), "")),
        }
    }
    for (path, lines) in [(WORLD, world), (WORLD_SETS, sets)] {
        let text: String = lines.into_iter().map(|line| line + "\n").collect();
        tree.write_file(store, path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn lines(tree: &Tree, store: &Store, path: &str) -> Result<BTreeSet<String>, ComposeError> {
    let bytes = tree.read_file(store, path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vdb() -> Vdb {
        let mut vdb = Vdb::default();
        for (cpv, slot, iuse, enabled) in [
            ("dev-lang/python-3.11.4", "3.11", "ssl +xml", "ssl"),
            ("dev-lang/python-3.12.1", "3.12/1", "ssl", ""),
            ("a/b-1-r2", "0", "", ""),
        ] {
            let metadata = [("SLOT", slot), ("IUSE", iuse), ("USE", enabled), ("EAPI", "8")];
            let metadata = metadata.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
            vdb.add(Installed::new(Cpv::parse(cpv).unwrap(), &metadata));
        }
        vdb
    }

    #[test]
    fn questions_are_answered_from_what_is_installed() {
        let vdb = vdb();
        let ask = |words: &[&str]| vdb.answer(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(ask(&["best_version", "dev-lang/python"]), "dev-lang/python-3.12.1");
        assert_eq!(ask(&["has_version", "dev-lang/python[ssl]"]), "dev-lang/python-3.11.4");
        assert_eq!(ask(&["has_version", "dev-lang/python:3.12[gtk(-)]"]), "");
        assert_eq!(ask(&["has_version", "<a/b-1-r2"]), "");
        assert!(ask(&["has_version", "a/"]).starts_with('!'));
        assert_eq!(ask(&["ver_test", "1.2-r1", "1.10"]), "lt");
        assert!(ask(&["ver_test", "x", "1"]).starts_with('!'));
        assert!(ask(&[]).starts_with('!'));
    }

    #[test]
    fn world_has_names_and_slots_only() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut tree = Tree::new();
        let asked = ["@system", ">=app-editors/vim-9[X]", "dev-lang/python:3.12", "@mine"].map(str::to_owned);
        write_world(&mut tree, &store, &asked).unwrap();
        assert_eq!(tree.read_file(&store, WORLD).unwrap().unwrap(), b"app-editors/vim\ndev-lang/python:3.12\n");
        assert_eq!(tree.read_file(&store, WORLD_SETS).unwrap().unwrap(), b"@mine\n");
    }
}
