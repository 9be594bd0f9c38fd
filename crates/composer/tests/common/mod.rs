//! Hand-made packages, and a base system for them out of this machine's own bash.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use composer::{ComposeError, MergeRequest, Observer, Root};
use contract::{PackageFormat, Plan, PlannedPackage};
use gentoo::binpkg::{Attributes, BinaryPackage};
use gentoo::compression::Compression;
use gentoo::gpkg::{Description, Signatures};
use image::{Store, Tree};

pub const TIME: u64 = 1_700_000_000;

/// What an image holds at a path.
#[derive(Clone)]
pub enum Item {
    Dir(u32),
    File(u32, Vec<u8>),
    Owned(u32, Vec<u8>, &'static str, &'static str, u64),
    Link(String),
    Hard(&'static str),
    Fifo,
}

pub fn text(content: &str) -> Item {
    Item::File(0o644, content.as_bytes().to_vec())
}

pub fn script(content: &str) -> Item {
    Item::File(0o755, content.as_bytes().to_vec())
}

/// A package being described.
#[derive(Clone)]
pub struct Pack {
    pub cpv: String,
    pub items: Vec<(String, Item)>,
    pub metadata: BTreeMap<String, Vec<u8>>,
}

impl Pack {
    pub fn new(cpv: &str) -> Pack {
        let (category, pf) = cpv.split_once('/').unwrap();
        let pairs =
            [("CATEGORY", category), ("PF", pf), ("SLOT", "0"), ("EAPI", "8"), ("DEFINED_PHASES", "install"), ("USE", "")];
        let metadata = pairs.map(|(key, value)| (key.to_owned(), format!("{value}\n").into_bytes())).into();
        Pack { cpv: cpv.into(), items: Vec::new(), metadata }
    }

    pub fn item(mut self, path: &str, item: Item) -> Pack {
        self.items.push((path.into(), item));
        self
    }

    pub fn meta(mut self, key: &str, value: &str) -> Pack {
        self.metadata.insert(key.into(), format!("{value}\n").into_bytes());
        self
    }

    /// Functions of the environment; DEFINED_PHASES follows from their names.
    pub fn phases(mut self, environment: &str) -> Pack {
        let all = ["pretend", "setup", "preinst", "postinst", "prerm", "postrm"];
        let defined: Vec<&str> = all.into_iter().filter(|name| environment.contains(&format!("pkg_{name} ()"))).collect();
        let mut packed = Vec::new();
        bzip2::read::BzEncoder::new(environment.as_bytes(), bzip2::Compression::fast()).read_to_end(&mut packed).unwrap();
        self.metadata.insert("environment.bz2".into(), packed);
        self.meta("DEFINED_PHASES", &defined.join(" "))
    }

    /// The package as a verified GPKG.
    pub fn build(&self) -> BinaryPackage {
        BinaryPackage::open(self.file(), &self.cpv, Signatures::Ignored).unwrap()
    }

    /// The package's file, its directories made on demand.
    pub fn file(&self) -> std::fs::File {
        let mut file = tempfile::tempfile().unwrap();
        let pf = self.cpv.split_once('/').unwrap().1;
        let description = Description { basename: pf, metadata: &self.metadata, compression: Compression::Zstd, mtime: TIME };
        let plain = |mode: u32| Attributes { mode, uid: 0, gid: 0, user: "root", group: "root", mtime: TIME - 100 };
        gentoo::gpkg::write(&mut file, &description, None, &mut |out| {
            let mut dirs = BTreeSet::from([String::new()]);
            out.directory(b"", &plain(0o755))?;
            for (path, item) in &self.items {
                let mut parents: Vec<&str> = Path::new(path).ancestors().skip(1).map(|dir| dir.to_str().unwrap()).collect();
                parents.reverse();
                for dir in parents {
                    if dirs.insert(dir.to_owned()) {
                        out.directory(dir.as_bytes(), &plain(0o755))?;
                    }
                }
                let path_bytes = path.as_bytes();
                match item {
                    Item::Dir(mode) => {
                        dirs.insert(path.clone());
                        out.directory(path_bytes, &plain(*mode))?;
                    }
                    Item::File(mode, content) => {
                        out.file(path_bytes, &plain(*mode), content.len() as u64, &mut content.as_slice())?
                    }
                    Item::Owned(mode, content, user, group, id) => {
                        let attributes = Attributes { uid: *id, gid: *id, user, group, ..plain(*mode) };
                        out.file(path_bytes, &attributes, content.len() as u64, &mut content.as_slice())?;
                    }
                    Item::Link(target) => out.symlink(path_bytes, target.as_bytes(), &plain(0o777))?,
                    Item::Hard(first) => out.hard_link(path_bytes, first.as_bytes(), &plain(0o755))?,
                    Item::Fifo => out.fifo(path_bytes, &plain(0o644))?,
                }
            }
            Ok(())
        })
        .unwrap();
        file.rewind().unwrap();
        file
    }
}

pub fn planned(cpv: &str) -> PlannedPackage {
    PlannedPackage {
        cpv: cpv.into(),
        slot: "0".into(),
        build_id: None,
        build_time: TIME,
        use_flags: Vec::new(),
        binhost: "test".into(),
        path: format!("{cpv}.gpkg.tar"),
        size: 0,
        format: PackageFormat::Gpkg,
        md5: Some("0123456789abcdef0123456789abcdef".into()),
        sha1: None,
        sha256: None,
        license: String::new(),
        origin: None,
        repo: String::new(),
        defined_phases: String::new(),
        because: Vec::new(),
    }
}

pub fn plan(packages: Vec<PlannedPackage>) -> Plan {
    Plan {
        version: contract::plan::PLAN_VERSION,
        arch: "amd64".into(),
        channel: "test".into(),
        chost: "x86_64-pc-linux-gnu".into(),
        binhosts: Vec::new(),
        profile: None,
        world: vec!["app-shells/bash".into()],
        services: Vec::new(),
        base: None,
        install_mask: String::new(),
        portage: None,
        removals: Vec::new(),
        inherited: Vec::new(),
        notes: Vec::new(),
        summary: contract::Summary::estimate(&packages),
        prefix: None,
        packages,
    }
}

/// Remembers the log.
#[derive(Default)]
pub struct Log(pub Mutex<Vec<String>>);

impl Observer for Log {
    fn progress(&self, _done: u64, _total: u64, _what: &str) {}
    fn log(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn cancelled(&self) -> bool {
        false
    }
}

impl Log {
    pub fn text(&self) -> String {
        self.0.lock().unwrap().join("\n")
    }
}

pub struct Bench {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Bench {
    pub fn new() -> Bench {
        // An example that shares this file becomes the helper itself.
        if let Some(helper) = option_env!("CARGO_BIN_EXE_phase-host") {
            composer::sandbox::use_helper(helper);
        }
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Bench { dir, store }
    }

    pub fn work_dir(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    pub fn merge(&self, packs: &[Pack], log: &Log) -> Result<Root, ComposeError> {
        self.merge_plan(&plan(packs.iter().map(|pack| planned(&pack.cpv)).collect()), packs, log)
    }

    /// Merges over a root.
    pub fn merge_over(&self, base: &Tree, packs: &[Pack], log: &Log) -> Result<Root, ComposeError> {
        self.merge_request(&plan(packs.iter().map(|pack| planned(&pack.cpv)).collect()), Some(base), packs, log)
    }

    pub fn merge_plan(&self, plan: &Plan, packs: &[Pack], log: &Log) -> Result<Root, ComposeError> {
        self.merge_request(plan, None, packs, log)
    }

    /// Merges a plan over a root.
    pub fn merge_plan_over(&self, plan: &Plan, base: &Tree, packs: &[Pack], log: &Log) -> Result<Root, ComposeError> {
        self.merge_request(plan, Some(base), packs, log)
    }

    fn merge_request(&self, plan: &Plan, base: Option<&Tree>, packs: &[Pack], log: &Log) -> Result<Root, ComposeError> {
        let work_dir = self.work_dir();
        let request = MergeRequest { plan, store: &self.store, work_dir: &work_dir, notice: "", base };
        let mut fetch = |wanted: &PlannedPackage| {
            Ok::<_, String>(packs.iter().find(|pack| pack.cpv == wanted.cpv).ok_or("no such package")?.build())
        };
        composer::merge(request, &mut fetch, log)
    }

    pub fn read(&self, root: &Root, path: &str) -> String {
        String::from_utf8(root.tree.read_file(&self.store, path).unwrap().unwrap_or_else(|| panic!("no {path}"))).unwrap()
    }
}

/// Bash, the C library and some tools of this machine as a package.
pub fn base_system() -> Pack {
    let tools = "bash cat chmod chown cp cut date env find grep head id install ln ls mkdir mv readlink rm sed sleep sort stat touch tr true \
                 uname getent setcap groupadd useradd usermod ldconfig";
    host_tools("app-shells/bash-5.2", tools)
        .item("usr/bin/sh", Item::Link("bash".into()))
        .item("etc/passwd", text("root:x:0:0:root:/root:/bin/bash\n"))
        .item("etc/group", text("root:x:0:root\nshadow:x:42:\n"))
}

/// Tools of this machine with the libraries they need.
pub fn host_tools(cpv: &str, tools: &str) -> Pack {
    let mut pack = Pack::new(cpv);
    let mut libraries = BTreeSet::new();
    for tool in tools.split_whitespace() {
        let Some(found) = which(tool) else { continue };
        libraries.extend(libraries_of(&found));
        pack = pack.item(&format!("usr/bin/{tool}"), Item::File(0o755, std::fs::read(&found).unwrap()));
    }
    for library in libraries {
        let content = std::fs::read(&library).unwrap();
        let path = library.strip_prefix("/usr").map_or_else(|| library.clone(), |rest| rest.to_owned());
        pack = pack.item(path.trim_start_matches('/'), Item::File(0o755, content));
    }
    pack.item("etc/nsswitch.conf", text("passwd: files\ngroup: files\nshadow: files\n"))
        .item("etc/env.d/00host", text("LDPATH=\"/lib64:/usr/lib64:/lib/x86_64-linux-gnu\"\n"))
}

pub fn which(tool: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"].iter().map(|dir| Path::new(dir).join(tool)).find(|path| path.is_file())
}

pub fn libraries_of(program: &Path) -> Vec<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    text.lines().filter_map(path).collect()
}
