//! Transfers one file into the cache: taken up again where it broke off, and checked against the size and hashes that are known of it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

use contract::lease::BinhostAccess;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::address::Source;
use crate::cache::Partial;
use crate::error::BinhostError;
use crate::transport::{Answer, Conditions};
use crate::{Client, refused};

const BUFFER: usize = 128 << 10;

/// A file that may be asked for: the settings allow it and its path is plain.
pub(crate) struct Wanted<'a> {
    pub(crate) access: &'a BinhostAccess,
    /// A package's CPV, or a stage3's name.
    pub(crate) name: &'a str,
    pub(crate) source: Source,
    pub(crate) size: u64,
    /// Hashes that are known, hexadecimal.
    pub(crate) md5: Option<&'a str>,
    pub(crate) sha1: Option<&'a str>,
    pub(crate) sha256: Option<&'a str>,
    /// Names the file in the cache by all that is said of it.
    pub(crate) key: String,
}

impl Client {
    /// The file as it is in the cache, whole and with the hashes that are known, and its SHA-256; `None` where it is to be fetched.
    pub(crate) fn kept(&self, wanted: &Wanted<'_>) -> Result<Option<(File, String)>, BinhostError> {
        let kept = self.cache.origin(&wanted.key).map_err(self.cache.error("a package"))?;
        let Some(sha256) = wanted.sha256.map(str::to_owned).or(kept) else { return Ok(None) };
        let Some(mut file) = self.cache.package(&sha256).map_err(self.cache.error("a package"))? else { return Ok(None) };
        let found = Hashes::of(&mut file).map_err(self.cache.error("a package"))?;
        if found.sha256 != sha256 {
            tracing::warn!(package = wanted.name, sha256, "a kept file is damaged and is fetched again");
            self.cache.discard(&sha256).map_err(self.cache.error("a package"))?;
            return Ok(None);
        }
        wanted.check_hashes(&found)?;
        self.cache.touch(&file).map_err(self.cache.error("a package"))?;
        Ok(Some((file, sha256)))
    }

    /// Fetches the file. What had arrived before is continued, and thrown away when the whole turns out to be wrong.
    pub(crate) fn download(&self, wanted: &Wanted<'_>, progress: &mut dyn FnMut(u64)) -> Result<(Partial, String), BinhostError> {
        let mut partial = self.cache.partial(&wanted.key).map_err(self.cache.error("a package"))?;
        let had = partial.len().map_err(self.cache.error("a package"))?;
        let mut outcome = self.fill_and_check(wanted, &mut partial, progress);
        if had > 0 && outcome.as_ref().is_err_and(|e| !matches!(e, BinhostError::Unreachable { .. })) {
            partial.cut(0).map_err(self.cache.error("a package"))?;
            outcome = self.fill_and_check(wanted, &mut partial, progress);
        }
        match outcome {
            Ok(sha256) => Ok((partial, sha256)),
            Err(e) => {
                if let BinhostError::Unreachable { .. } = e {
                    partial.leave().map_err(self.cache.error("a package"))?;
                }
                Err(e)
            }
        }
    }

    fn fill_and_check(
        &self,
        wanted: &Wanted<'_>,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, BinhostError> {
        let mut pause = self.patience.pause;
        let mut attempt = 1;
        while let Err(e) = self.fill(wanted, partial, progress) {
            let again = matches!(e, BinhostError::Unreachable { .. }) && attempt < self.patience.attempts;
            if !again {
                return Err(e);
            }
            tracing::info!(package = wanted.name, attempt, "a transfer is taken up again: {e}");
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
        let got = partial.len().map_err(self.cache.error("a package"))?;
        wanted.check_size(got)?;
        let found = Hashes::of(&mut partial.file).map_err(self.cache.error("a package"))?;
        wanted.check_hashes(&found)?;
        Ok(found.sha256)
    }

    /// Transfers what is missing, in one request. An `Unreachable` may be tried again.
    fn fill(&self, wanted: &Wanted<'_>, partial: &mut Partial, progress: &mut dyn FnMut(u64)) -> Result<(), BinhostError> {
        let size = wanted.size;
        let mut have = partial.len().map_err(self.cache.error("a package"))?;
        if have >= size {
            have = if have == size { return Ok(()) } else { 0 };
        }
        let answer = self.transport.get(&wanted.source, Conditions { modified_since: None, from: have });
        let (from, mut body) = match answer.map_err(|why| wanted.unreachable(why))? {
            Answer::Content { from, body } => (from, body),
            Answer::Missing => return Err(wanted.gone()),
            Answer::BeyondEnd if have > 0 => return wanted.check_size(have),
            other => return Err(refused(wanted.access, &wanted.source, other)),
        };
        partial.cut(from).map_err(self.cache.error("a package"))?;
        let mut buffer = vec![0; BUFFER];
        let mut have = from;
        while have <= size {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(wanted.unreachable(format!("the transfer broke off after {have} of {size} bytes: {e}"))),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            partial.file.write_all(bytes).map_err(self.cache.error(&format!("{} ({size} bytes)", wanted.name)))?;
            have += count as u64;
            progress(have.min(size));
        }
        Ok(())
    }
}

impl Wanted<'_> {
    pub(crate) fn names(&self) -> (String, String, String) {
        (self.access.name.clone(), self.name.to_owned(), self.source.to_string())
    }

    fn unreachable(&self, why: String) -> BinhostError {
        BinhostError::Unreachable { binhost: self.access.name.clone(), url: self.source.to_string(), why }
    }

    fn gone(&self) -> BinhostError {
        let (binhost, package, url) = self.names();
        BinhostError::Gone { binhost, package, url }
    }

    fn check_size(&self, got: u64) -> Result<(), BinhostError> {
        let (binhost, package, url) = self.names();
        let expected = self.size;
        match got.cmp(&expected) {
            std::cmp::Ordering::Less => Err(BinhostError::Truncated { binhost, package, url, got, expected }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(BinhostError::TooLong { binhost, package, url, expected }),
        }
    }

    /// Compares with the hashes of the index, and with the plan's own, which is binding.
    pub(crate) fn check_hashes(&self, found: &Hashes) -> Result<(), BinhostError> {
        let (binhost, package, url) = self.names();
        let listed = [(self.md5, &found.md5, "MD5"), (self.sha1, &found.sha1, "SHA-1")];
        let differing = listed.into_iter().find(|(listed, found, _)| listed.is_some_and(|l| !l.eq_ignore_ascii_case(found)));
        if let Some((_, _, hash)) = differing {
            return Err(BinhostError::Altered { binhost, package, url, hash });
        }
        match self.sha256 {
            Some(planned) if !planned.eq_ignore_ascii_case(&found.sha256) => {
                Err(BinhostError::Replaced { package, url, planned: planned.to_owned(), found: found.sha256.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The hashes that an index or a plan gives, in one pass.
pub(crate) struct Hashes {
    md5: String,
    sha1: String,
    pub(crate) sha256: String,
}

impl Hashes {
    pub(crate) fn of(file: &mut File) -> io::Result<Hashes> {
        let (mut md5, mut sha1, mut sha256) = (Md5::new(), Sha1::new(), Sha256::new());
        for_each_piece(file, |bytes| {
            md5.update(bytes);
            sha1.update(bytes);
            sha256.update(bytes);
        })?;
        let sha256 = hex::encode(sha256.finalize());
        Ok(Hashes { md5: hex::encode(md5.finalize()), sha1: hex::encode(sha1.finalize()), sha256 })
    }
}

/// Reads the whole file from its beginning.
pub(crate) fn for_each_piece(file: &mut File, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    file.seek(SeekFrom::Start(0))?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => take(buffer.get(..count).unwrap_or_default()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
