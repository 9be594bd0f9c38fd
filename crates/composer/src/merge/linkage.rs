//! Which programs and libraries need which libraries, as NEEDED.ELF.2 of the installed packages records it
//! (Portage's `util/_dyn_libs/LinkageMapELF.py`). Files are told apart by their real paths.

use std::collections::{BTreeMap, BTreeSet};

use gentoo::elf::Elf;
use image::{Store, Tree};

use crate::ComposeError;

/// Where the dynamic linker looks besides ld.so.conf.
const ALWAYS: [&str; 2] = ["usr/lib", "lib"];
/// Includes followed in ld.so.conf.
const MAX_INCLUDES: usize = 64;

/// One ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Object {
    /// Multilib category, like `x86_64`: what can be loaded into one process.
    category: String,
    soname: String,
    needed: Vec<String>,
    /// Real directories of its RUNPATH.
    runpaths: BTreeSet<Vec<u8>>,
}

/// The ELF files of a root.
pub struct Linkage<'a> {
    tree: &'a Tree,
    objects: BTreeMap<Vec<u8>, Object>,
    /// Real directories where every program looks.
    everywhere: BTreeSet<Vec<u8>>,
}

impl<'a> Linkage<'a> {
    /// The files that these NEEDED.ELF.2 texts list and that are there, and libraries that no package lists any more.
    pub fn read(
        tree: &'a Tree,
        store: &Store,
        needed: impl IntoIterator<Item = String>,
        unlisted: &BTreeSet<Vec<u8>>,
    ) -> Result<Linkage<'a>, ComposeError> {
        let mut linkage = Linkage { tree, objects: BTreeMap::new(), everywhere: BTreeSet::new() };
        for text in needed {
            text.lines().for_each(|line| linkage.add_line(line));
        }
        for path in unlisted {
            linkage.add_file(store, path)?;
        }
        let mut dirs = ALWAYS.map(str::to_owned).to_vec();
        read_ld_so_conf(tree, store, "etc/ld.so.conf", &mut dirs, &mut 0)?;
        linkage.everywhere = dirs.iter().filter_map(|dir| tree.resolve(dir).ok()).collect();
        Ok(linkage)
    }

    /// `arch;path;soname;runpath:runpath;needed,needed;category`
    fn add_line(&mut self, line: &str) {
        let fields: Vec<&str> = line.split(';').collect();
        let [arch, path, soname, runpath, needed, rest @ ..] = fields.as_slice() else { return };
        let Ok(real) = self.tree.resolve(path) else { return };
        let category = rest.first().filter(|category| !category.is_empty()).unwrap_or(arch);
        let runpaths = self.runpaths(path, if *runpath == "  -  " { "" } else { runpath });
        let needed = needed.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let object = Object { category: (*category).to_owned(), soname: (*soname).to_owned(), needed, runpaths };
        self.objects.insert(real, object);
    }

    fn add_file(&mut self, store: &Store, path: &[u8]) -> Result<(), ComposeError> {
        let Some(content) = self.tree.read_file(store, path).ok().flatten() else { return Ok(()) };
        let Ok(real) = self.tree.resolve(path) else { return Ok(()) };
        let Ok(elf) = Elf::parse(&content) else { return Ok(()) };
        let dynamic = elf.dynamic().ok().flatten().unwrap_or_default();
        let runpaths = self.runpaths(&String::from_utf8_lossy(path), dynamic.runpath.as_deref().unwrap_or_default());
        let category = elf.multilib_category().unwrap_or_default().to_owned();
        let object = Object { category, soname: dynamic.soname.unwrap_or_default(), needed: dynamic.needed, runpaths };
        self.objects.insert(real, object);
        Ok(())
    }

    fn runpaths(&self, path: &str, runpath: &str) -> BTreeSet<Vec<u8>> {
        let origin = path.rsplit_once('/').map_or("", |(dir, _)| dir);
        let expanded = runpath.split(':').filter(|dir| !dir.is_empty());
        let expanded = expanded.map(|dir| dir.replace("${ORIGIN}", origin).replace("$ORIGIN", origin));
        expanded.filter_map(|dir| self.tree.resolve(dir).ok()).collect()
    }

    /// The soname of a file.
    pub fn soname(&self, real: &[u8]) -> Option<&str> {
        self.objects.get(real).map(|object| object.soname.as_str())
    }

    /// Whether a library in these directories is found by a file.
    fn finds(&self, consumer: &Object, dirs: &BTreeSet<Vec<u8>>) -> bool {
        dirs.iter().any(|dir| self.everywhere.contains(dir) || consumer.runpaths.contains(dir))
    }

    /// The files (real paths) that need a library and find it at one of its `names`, and no other library of its soname in its place;
    /// providers for which `excluded` is true do not count as others.
    pub fn consumers(&self, real: &[u8], names: &BTreeSet<Vec<u8>>, excluded: &dyn Fn(&[u8]) -> bool) -> BTreeSet<Vec<u8>> {
        let Some(object) =
            self.objects.get(real).filter(|object| !object.soname.is_empty() && !self.is_shadowed(real, &object.soname))
        else {
            return BTreeSet::new();
        };
        let dir_of = |path: &Vec<u8>| {
            self.tree.resolve(path.get(..path.iter().rposition(|b| *b == b'/').unwrap_or(0)).unwrap_or_default()).ok()
        };
        let alike = |other: &&Object| other.category == object.category;
        let others = self.objects.iter().filter(|(path, other)| other.soname == object.soname && alike(other) && !excluded(path));
        let elsewhere: BTreeSet<Vec<u8>> = others.filter_map(|(path, _)| dir_of(path)).collect();
        let here: BTreeSet<Vec<u8>> = names.iter().filter_map(dir_of).collect();
        let needs = |other: &&Object| alike(other) && other.needed.contains(&object.soname);
        let found = self.objects.iter().filter(|(_, other)| needs(other));
        let found = found.filter(|(_, other)| !self.finds(other, &elsewhere) && self.finds(other, &here));
        found.map(|(path, _)| path.clone()).collect()
    }

    /// Whether the link of its soname beside a library leads to another one.
    fn is_shadowed(&self, real: &[u8], soname: &str) -> bool {
        let dir = real.get(..real.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1)).unwrap_or_default();
        self.tree.resolve([dir, soname.as_bytes()].concat()).is_ok_and(|target| target != real)
    }

    /// Whether a file finds a library of this soname that is not among `without`.
    pub fn finds_another(&self, consumer: &[u8], soname: &str, without: &BTreeSet<Vec<u8>>) -> bool {
        let Some(consumer) = self.objects.get(consumer) else { return false };
        self.objects.iter().any(|(path, other)| {
            let dir = path.get(..path.iter().rposition(|b| *b == b'/').unwrap_or(0)).unwrap_or_default();
            let dirs = self.tree.resolve(dir).ok().into_iter().collect();
            other.soname == soname
                && other.category == consumer.category
                && !without.contains(path)
                && !self.is_shadowed(path, soname)
                && self.finds(consumer, &dirs)
        })
    }
}

/// The directories of an ld.so.conf, `include` lines followed.
fn read_ld_so_conf(tree: &Tree, store: &Store, path: &str, dirs: &mut Vec<String>, read: &mut usize) -> Result<(), ComposeError> {
    *read += 1;
    if *read > MAX_INCLUDES {
        return Ok(());
    }
    let text = tree.read_file(store, path)?.unwrap_or_default();
    for line in String::from_utf8_lossy(&text).lines().map(|line| line.split('#').next().unwrap_or_default().trim()) {
        match line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            None => dirs.extend(Some(line.to_owned()).filter(|line| !line.is_empty())),
            Some(pattern) => {
                for file in matching(tree, pattern.trim()) {
                    read_ld_so_conf(tree, store, &file, dirs, read)?;
                }
            }
        }
    }
    Ok(())
}

/// Files of a pattern like `ld.so.conf.d/*.conf`, relative to /etc.
fn matching(tree: &Tree, pattern: &str) -> Vec<String> {
    let pattern = match pattern.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None => format!("etc/{pattern}"),
    };
    let (dir, name) = pattern.rsplit_once('/').unwrap_or(("", &pattern));
    let Ok(real) = tree.resolve(dir) else { return Vec::new() };
    let names = tree.children(real).into_iter().filter_map(|(child, _)| std::str::from_utf8(child).ok());
    let fits = |child: &&str| match name.split_once('*') {
        Some((start, end)) => child.len() >= start.len() + end.len() && child.starts_with(start) && child.ends_with(end),
        None => *child == name,
    };
    names.filter(fits).map(|child| format!("{dir}/{child}")).collect()
}
