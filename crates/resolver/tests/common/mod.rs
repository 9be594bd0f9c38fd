//! The recordings of what Portage chose, and the indexes and profiles they were made with.
#![allow(dead_code)]

pub mod order;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use contract::{BinhostRef, PlannedPackage};
use gentoo::Atom;
use gentoo::index::{Entry, Packages};
use resolver::{Binhost, Installed, Profile, Source, Universe, Wanted};
use serde::Deserialize;

/// A recorded group of requests to one index.
#[derive(Deserialize)]
pub struct Recording {
    pub index: String,
    pub stubs: Option<String>,
    pub arch: String,
    pub tree: String,
    pub profile: String,
    pub chost: String,
    pub unmask: Vec<String>,
    pub packages: Vec<String>,
    pub requests: Vec<Recorded>,
    /// Where several binhosts were asked at once, best first; then packages are named `CPV@BUILD_ID@BINHOST`.
    #[serde(default)]
    pub binhosts: Vec<Part>,
}

impl Recording {
    /// The name a package has in the recording.
    pub fn name_of(&self, package: &PlannedPackage) -> String {
        let id = id_of(&package.cpv, package.build_id);
        if self.binhosts.is_empty() { id } else { format!("{id}@{}", package.binhost) }
    }
}

/// A binhost that has all or most of an index.
#[derive(Deserialize)]
pub struct Part {
    pub name: String,
    pub index: String,
    /// Which of every three entries it lacks.
    pub lacks: Option<usize>,
}

/// A request and what Portage answered. Packages are numbers in the group's list of `CPV@BUILD_ID`.
#[derive(Deserialize)]
pub struct Recorded {
    pub atoms: Vec<String>,
    #[serde(default)]
    pub opts: Vec<String>,
    #[serde(default)]
    pub installed: Vec<usize>,
    pub ok: bool,
    #[serde(default)]
    pub packages: Vec<usize>,
    #[serde(default)]
    pub why: String,
    pub seconds: f64,
    pub wall: f64,
}

pub fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared")
}

pub fn recordings_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

/// Whether the real data is there; says so when not.
pub fn have_shared(test: &str) -> bool {
    let there = shared().join("oracle").is_dir();
    if !there {
        println!("skipped: {test} needs the real indexes in ../shared");
    }
    there
}

/// The recorded groups by name.
pub fn recordings() -> BTreeMap<String, Recording> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(recordings_dir()).unwrap().map(|f| f.unwrap().path()) {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        if file.extension().is_some_and(|e| e == "json") && name != "differences" {
            let text = std::fs::read(&file).unwrap();
            found.insert(name.clone(), serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}")));
        }
    }
    found
}

/// The profile trees, unpacked once.
pub struct Trees {
    dir: tempfile::TempDir,
}

impl Trees {
    pub fn new() -> Trees {
        Trees { dir: tempfile::tempdir().unwrap() }
    }

    /// The folder of a tree.
    pub fn path(&self, tree: &str) -> PathBuf {
        let to = self.dir.path().join(tree);
        if !to.exists() {
            let packed = std::fs::File::open(shared().join(format!("oracle/{tree}.tar.zst"))).unwrap();
            tar::Archive::new(zstd::stream::read::Decoder::new(packed).unwrap()).unpack(&to).unwrap();
        }
        to
    }

    pub fn profile(&self, tree: &str, profile: &str) -> Profile {
        let to = self.path(tree);
        Profile::load(&to.join("profiles").join(profile), &to).unwrap()
    }
}

/// The index of a recording, closed with its stubs.
pub fn index_of(recording: &Recording) -> Packages {
    Packages::parse(index_text(recording).as_bytes()).unwrap()
}

pub fn index_text(recording: &Recording) -> String {
    let mut text = if recording.index.ends_with(".gz") {
        let packed = std::fs::File::open(recordings_dir().join(&recording.index)).unwrap();
        std::io::read_to_string(flate2::read::GzDecoder::new(packed)).unwrap()
    } else {
        std::fs::read_to_string(shared().join(&recording.index)).unwrap()
    };
    if let Some(stubs) = &recording.stubs {
        text = format!("{}\n\n{}", text.trim_end_matches('\n'), std::fs::read_to_string(recordings_dir().join(stubs)).unwrap());
    }
    text
}

/// The binhosts of a recording.
pub fn binhosts(recording: &Recording) -> Vec<Binhost> {
    if recording.binhosts.is_empty() {
        return vec![binhost("recorded", index_of(recording))];
    }
    let part = |part: &Part| {
        let mut index = Packages::from_bytes(std::fs::read(shared().join(&part.index)).unwrap()).unwrap();
        let entries = index.entries.into_iter().enumerate();
        index.entries = entries.filter(|(at, _)| part.lacks.is_none_or(|lacks| at % 3 != lacks)).map(|(_, e)| e).collect();
        binhost(&part.name, index)
    };
    recording.binhosts.iter().map(part).collect()
}

pub fn binhost(name: &str, index: Packages) -> Binhost {
    let access = BinhostRef { name: name.into(), uri: format!("file:///{name}"), index_sha256: String::new(), timestamp: 0 };
    Binhost { access, index: Arc::new(index) }
}

/// The name a recording gives a package.
pub fn id_of(cpv: &str, build_id: Option<u32>) -> String {
    format!("{cpv}@{}", build_id.map(|b| b.to_string()).unwrap_or_default())
}

/// What a group's requests choose from, with Portage's own rules.
pub fn source(recording: &Recording, trees: &Trees) -> Source {
    let mut profile = trees.profile(&recording.tree, &recording.profile);
    profile.accept_keywords.extend("**");
    profile.set_accept_license("*");
    for atom in &recording.unmask {
        profile.masks.unmask(Atom::parse(atom).unwrap());
    }
    Source {
        arch: recording.arch.clone(),
        chost: Some(recording.chost.clone()),
        prefer_binhost_order: false,
        ..Source::new(binhosts(recording), profile)
    }
}

/// Universes per installed base and options, as requests share them.
pub struct Asker<'a> {
    recording: &'a Recording,
    source: Source,
    universes: BTreeMap<(Vec<usize>, bool), Universe>,
}

impl<'a> Asker<'a> {
    pub fn new(recording: &'a Recording, trees: &Trees) -> Asker<'a> {
        Asker { recording, source: source(recording, trees), universes: BTreeMap::new() }
    }

    /// The entry of a planned package.
    pub fn entry(&self, package: &PlannedPackage) -> &Entry {
        let binhost = self.source.binhosts.iter().find(|b| b.access.name == package.binhost).unwrap();
        let same = |e: &&Entry| e.cpv.to_string() == package.cpv && e.build_id == package.build_id;
        binhost.index.entries.iter().find(same).unwrap()
    }

    pub fn implicit(&self) -> &gentoo::useflags::ImplicitIuse {
        &self.source.profile.implicit_iuse
    }

    pub fn universe(&mut self, request: &Recorded) -> &Universe {
        let ignore = request.opts.iter().any(|o| o == "--ignore-built-slot-operator-deps=y");
        let key = (request.installed.clone(), ignore);
        let (recording, base) = (self.recording, &self.source);
        self.universes.entry(key).or_insert_with(|| {
            let mut source = base.clone();
            source.ignore_built_slot_operators = ignore;
            if !request.installed.is_empty() {
                let all: BTreeMap<String, &Entry> =
                    source.binhosts[0].index.entries.iter().map(|e| (id_of(&e.cpv.to_string(), e.build_id), e)).collect();
                let entries = request.installed.iter().map(|i| (*all[&recording.packages[*i]]).clone()).collect();
                source.installed = Some(Installed { entries });
            }
            Universe::new(source)
        })
    }
}

pub fn wanted(request: &Recorded) -> Wanted {
    Wanted { atoms: request.atoms.clone(), services: Vec::new() }
}

/// An index from `CPV ; KEY=value ; …` lines. KEYWORDS and LICENSE default to harmless values.
pub fn small_index(lines: &str) -> Packages {
    let mut text = String::from("ARCH: amd64\nCHOST: x86_64-pc-linux-gnu\nTIMESTAMP: 1\n");
    for line in lines.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut parts = line.split(" ; ").map(str::trim);
        let mut fields = BTreeMap::from([("KEYWORDS", "amd64"), ("LICENSE", "GPL-2"), ("EAPI", "8"), ("SIZE", "1000")]);
        fields.insert("CPV", parts.next().unwrap());
        fields.extend(parts.map(|p| p.split_once('=').unwrap()));
        text.push('\n');
        for (key, value) in fields {
            text.push_str(&format!("{key}: {value}\n"));
        }
    }
    Packages::parse(text.as_bytes()).unwrap()
}
