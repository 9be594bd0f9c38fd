//! Debian's packages: which ones this machine's apt offers, fetched by apt into a cache of ours. No root is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::SampleError;
use crate::apt::Apt;
use crate::arch::Arch;

/// A Debian package at the version that apt would install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deb {
    pub name: String,
    pub version: String,
    pub sha256: String,
    pub size: u64,
    /// Version of the source package, where it is another than the package's own.
    source_version: Option<String>,
    architecture: String,
    depends: Vec<String>,
}

impl Deb {
    /// The version of the source package it was built from.
    pub fn source_version(&self) -> &str {
        self.source_version.as_deref().unwrap_or(&self.version)
    }

    /// The name apt gives the file: an epoch's colon is escaped.
    fn file_name(&self) -> String {
        format!("{}_{}_{}.deb", self.name, self.version.replace(':', "%3a"), self.architecture)
    }
}

/// A cache folder of Debian packages.
pub struct Debs {
    dir: PathBuf,
    apt: Apt,
    known: BTreeMap<String, Deb>,
}

/// Packages fetched by one call of apt-get.
const BATCH: usize = 24;

impl Debs {
    /// Asks apt which of the packages named in `specs` there are, and at which version.
    ///
    /// # Errors
    /// [`SampleError::UnknownDebs`] when apt knows no package for a spec, [`SampleError::Program`] when it is no Debian's.
    pub fn open(dir: &Path, arch: Arch, specs: &BTreeSet<&str>) -> Result<Debs, SampleError> {
        fs::create_dir_all(dir).map_err(SampleError::io(dir))?;
        let apt = Apt::new(arch.debian(), dir)?;
        let names: BTreeSet<String> = specs.iter().flat_map(|spec| alternatives(spec)).map(str::to_owned).collect();
        let mut debs = Debs { dir: dir.to_owned(), apt, known: BTreeMap::new() };
        let mut answer = debs.apt.show(&names)?;
        debs.learn(&answer);
        let behind_metas: BTreeSet<String> = specs.iter().filter_map(|spec| debs.behind_meta(spec)).collect();
        answer.push_str(&debs.apt.show(&behind_metas)?);
        debs.learn(&answer);
        debs.remember(&answer)?;
        let missing: Vec<String> =
            specs.iter().filter(|spec| !spec.starts_with('?') && debs.find(spec).is_none()).map(|s| s.to_string()).collect();
        match missing.is_empty() {
            true => Ok(debs),
            false => Err(SampleError::UnknownDebs { names: missing }),
        }
    }

    /// The package that a recipe's spec stands for; `None` for an optional one that this Debian does not have.
    pub fn find(&self, spec: &str) -> Option<&Deb> {
        if spec.starts_with('@') {
            return self.known.get(&self.behind_meta(spec)?);
        }
        alternatives(spec).find_map(|name| self.known.get(name))
    }

    /// The file of a package that [`Debs::fetch`] brought.
    pub fn path(&self, deb: &Deb) -> PathBuf {
        self.dir.join(deb.file_name())
    }

    /// Fetches what is not in the cache yet and checks every file against the hash in apt's signed lists.
    /// `progress` gets bytes done and bytes in all.
    ///
    /// # Errors
    /// [`SampleError::Download`] with what apt said.
    pub fn fetch<'a>(
        &self,
        wanted: impl Iterator<Item = &'a Deb>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(), SampleError> {
        let wanted: BTreeMap<&str, &Deb> = wanted.map(|deb| (deb.name.as_str(), deb)).collect();
        let total: u64 = wanted.values().map(|d| d.size).sum();
        let missing: Vec<&Deb> = wanted.values().copied().filter(|deb| !self.is_cached(deb)).collect();
        let mut done = total - missing.iter().map(|d| d.size).sum::<u64>();
        progress(done, total);
        for batch in missing.chunks(BATCH) {
            self.download(batch)?;
            done += batch.iter().map(|d| d.size).sum::<u64>();
            progress(done, total);
        }
        Ok(())
    }

    fn is_cached(&self, deb: &Deb) -> bool {
        fs::metadata(self.path(deb)).is_ok_and(|m| m.len() == deb.size)
    }

    fn download(&self, batch: &[&Deb]) -> Result<(), SampleError> {
        // Apt writes into the working directory; a folder of its own keeps a broken download out of the cache.
        let incoming = tempfile::tempdir_in(&self.dir).map_err(SampleError::io(&self.dir))?;
        self.apt.download(batch.iter().map(|d| format!("{}={}", d.name, d.version)), incoming.path())?;
        for deb in batch {
            let fetched = incoming.path().join(deb.file_name());
            let bytes = fs::read(&fetched).map_err(SampleError::io(&fetched))?;
            if hex::encode(Sha256::digest(&bytes)) != deb.sha256 {
                let message = format!("{} differs from the hash in apt's lists", deb.file_name());
                return Err(SampleError::Download { message });
            }
            let target = self.path(deb);
            fs::rename(&fetched, &target).map_err(SampleError::io(&target))?;
        }
        Ok(())
    }

    fn learn(&mut self, answer: &str) {
        self.known.extend(stanzas(answer).into_iter().map(|deb| (deb.name.clone(), deb)));
    }

    /// Keeps what apt said; where it said nothing, its lists are gone, and what it said at an earlier time serves.
    fn remember(&mut self, answer: &str) -> Result<(), SampleError> {
        let path = self.dir.join(self.apt.remembered());
        if self.known.is_empty() {
            self.learn(&fs::read_to_string(&path).unwrap_or_default());
            return Ok(());
        }
        fs::write(&path, answer).map_err(SampleError::io(&path))
    }

    fn behind_meta(&self, spec: &str) -> Option<String> {
        let meta = spec.strip_prefix('@')?;
        self.known.get(meta)?.depends.iter().find(|name| name.as_str() != meta).cloned()
    }
}

fn alternatives(spec: &str) -> impl Iterator<Item = &str> {
    spec.trim_start_matches(['?', '@']).split('|')
}

fn stanzas(text: &str) -> Vec<Deb> {
    text.split("\n\n").filter_map(stanza).collect()
}

fn stanza(text: &str) -> Option<Deb> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "))).map(str::to_owned)
    };
    let first_words =
        |list: String| list.split(',').filter_map(|item| item.split_whitespace().next().map(str::to_owned)).collect::<Vec<_>>();
    let source_version = field("Source").and_then(|source| {
        let (_, version) = source.split_once('(')?;
        Some(version.trim_end_matches(')').to_owned())
    });
    Some(Deb {
        source_version,
        name: field("Package")?,
        version: field("Version")?,
        sha256: field("SHA256")?,
        size: field("Size")?.parse().ok()?,
        architecture: field("Architecture")?,
        depends: field("Depends").map(first_words).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "Package: bash\nVersion: 5.2.15-2+b13\nArchitecture: amd64\nDepends: base-files (>= 2.1.12), debianutils (>= 5.6-0.1)\n\
        Description: a\n b: c\nSize: 10\nSHA256: ab\n\nPackage: broken\nVersion: 1\n\nPackage: tzdata\nVersion: 1:2026a-0\nArchitecture: all\nSize: 5\nSHA256: cd\n";

    #[test]
    fn apt_cache_output_is_read() {
        let debs = stanzas(SHOWN);
        assert_eq!(debs.len(), 2);
        assert_eq!(debs[0].depends, ["base-files", "debianutils"]);
        assert_eq!(debs[1].file_name(), "tzdata_1%3a2026a-0_all.deb");
    }

    #[test]
    fn specs_name_alternatives_and_metas() {
        let known = stanzas(SHOWN).into_iter().map(|d| (d.name.clone(), d)).collect();
        let debs = Debs { dir: PathBuf::new(), apt: Apt::default(), known };
        assert_eq!(debs.find("nothing|bash").map(|d| d.name.as_str()), Some("bash"));
        assert_eq!(debs.find("?nothing"), None);
        assert_eq!(debs.behind_meta("@bash").as_deref(), Some("base-files"));
    }
}
