//! One package: from the cache or the binhost, verified against the index, its own Manifest and signatures, and the plan.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use contract::lease::BinhostAccess;
use contract::{PackageFormat, PlannedPackage};
use gentoo::binpkg::{BinaryPackage, Container};
use gentoo::gpkg::Signatures;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::address::{Source, check_path};
use crate::cache::{self, Partial};
use crate::error::BinhostError;
use crate::openpgp::Keyring;
use crate::transport::{Answer, Conditions};
use crate::{Client, refused};

const BUFFER: usize = 128 << 10;

/// A package that passed every check.
#[derive(Debug)]
pub struct VerifiedPackage {
    pub package: BinaryPackage,
    /// Of the package file, lower-case hexadecimal.
    pub sha256: String,
}

impl Client {
    /// A package of a plan, from the cache where it is there. Either way everything is checked again: the content's hash, the
    /// signatures against the keyring of now, and that the package says of itself what the plan says of it. `progress` is told how
    /// many bytes of the file are there.
    ///
    /// # Errors
    /// When the binhost's settings forbid it, it cannot be had, or any check fails; the text names the package and the reason.
    pub fn package(
        &self,
        access: &BinhostAccess,
        planned: &PlannedPackage,
        progress: &mut dyn FnMut(u64),
    ) -> Result<VerifiedPackage, BinhostError> {
        let request = self.request(access, planned)?;
        if let Some(found) = self.cached_package(&request)? {
            progress(planned.size);
            return Ok(found);
        }
        let (partial, sha256) = self.download(&request, progress)?;
        let file = partial.file.try_clone().map_err(self.cache.error("a package"))?;
        let package = request.verify(file)?;
        self.cache.keep(partial, &request.key, &sha256).map_err(self.cache.error("a package"))?;
        Ok(VerifiedPackage { package, sha256 })
    }

    fn request<'a>(&self, access: &'a BinhostAccess, planned: &'a PlannedPackage) -> Result<Request<'a>, BinhostError> {
        let address = self.address(access)?;
        let (binhost, package) = (access.name.clone(), planned.cpv.clone());
        let keyring = self.keyring(access)?;
        if planned.format == PackageFormat::Xpak && !access.allow_unsigned {
            return Err(BinhostError::UnsignedContainer { binhost, package });
        }
        check_path(&planned.path).map_err(|why| BinhostError::Path { binhost, package, path: planned.path.clone(), why })?;
        let known = |hash: &Option<String>| hash.clone().unwrap_or_default();
        let (size, time) = (planned.size.to_string(), planned.build_time.to_string());
        let key = cache::key(&[&access.uri, &planned.path, &size, &known(&planned.md5), &known(&planned.sha1), &time]);
        Ok(Request { access, planned, source: address.join(&planned.path), keyring, key })
    }

    fn cached_package(&self, request: &Request<'_>) -> Result<Option<VerifiedPackage>, BinhostError> {
        let kept = self.cache.origin(&request.key).map_err(self.cache.error("a package"))?;
        let Some(sha256) = request.planned.sha256.clone().or(kept) else { return Ok(None) };
        let Some(mut file) = self.cache.package(&sha256).map_err(self.cache.error("a package"))? else { return Ok(None) };
        let found = Hashes::of(&mut file).map_err(self.cache.error("a package"))?;
        if found.sha256 != sha256 {
            tracing::warn!(package = request.planned.cpv, sha256, "a kept package file is damaged and is fetched again");
            self.cache.discard(&sha256).map_err(self.cache.error("a package"))?;
            return Ok(None);
        }
        request.check_hashes(&found)?;
        self.cache.touch(&file).map_err(self.cache.error("a package"))?;
        Ok(Some(VerifiedPackage { package: request.verify(file)?, sha256 }))
    }

    /// Fetches the file. What had arrived before is continued, and thrown away when the whole turns out to be wrong.
    fn download(&self, request: &Request<'_>, progress: &mut dyn FnMut(u64)) -> Result<(Partial, String), BinhostError> {
        let mut partial = self.cache.partial(&request.key).map_err(self.cache.error("a package"))?;
        let had = partial.len().map_err(self.cache.error("a package"))?;
        let mut outcome = self.fill_and_check(request, &mut partial, progress);
        if had > 0 && outcome.as_ref().is_err_and(|e| !matches!(e, BinhostError::Unreachable { .. })) {
            partial.cut(0).map_err(self.cache.error("a package"))?;
            outcome = self.fill_and_check(request, &mut partial, progress);
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
        request: &Request<'_>,
        partial: &mut Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<String, BinhostError> {
        let mut pause = self.patience.pause;
        let mut attempt = 1;
        while let Err(e) = self.fill(request, partial, progress) {
            let again = matches!(e, BinhostError::Unreachable { .. }) && attempt < self.patience.attempts;
            if !again {
                return Err(e);
            }
            tracing::info!(package = request.planned.cpv, attempt, "a transfer is taken up again: {e}");
            std::thread::sleep(pause);
            pause = pause.saturating_mul(2);
            attempt += 1;
        }
        let got = partial.len().map_err(self.cache.error("a package"))?;
        request.check_size(got)?;
        let found = Hashes::of(&mut partial.file).map_err(self.cache.error("a package"))?;
        request.check_hashes(&found)?;
        Ok(found.sha256)
    }

    /// Transfers what is missing, in one request. An `Unreachable` may be tried again.
    fn fill(&self, request: &Request<'_>, partial: &mut Partial, progress: &mut dyn FnMut(u64)) -> Result<(), BinhostError> {
        let size = request.planned.size;
        let mut have = partial.len().map_err(self.cache.error("a package"))?;
        if have >= size {
            have = if have == size { return Ok(()) } else { 0 };
        }
        let answer = self.transport.get(&request.source, Conditions { modified_since: None, from: have });
        let (from, mut body) = match answer.map_err(|why| request.unreachable(why))? {
            Answer::Content { from, body } => (from, body),
            Answer::Missing => return Err(request.gone()),
            Answer::BeyondEnd if have > 0 => return request.check_size(have),
            other => return Err(refused(request.access, &request.source, other)),
        };
        partial.cut(from).map_err(self.cache.error("a package"))?;
        let mut buffer = vec![0; BUFFER];
        let mut have = from;
        while have <= size {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(request.unreachable(format!("the transfer broke off after {have} of {size} bytes: {e}"))),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            partial.file.write_all(bytes).map_err(self.cache.error(&format!("{} ({size} bytes)", request.planned.cpv)))?;
            have += count as u64;
            progress(have.min(size));
        }
        Ok(())
    }
}

/// A package that may be asked for: its binhost's settings allow it and its path is plain.
struct Request<'a> {
    access: &'a BinhostAccess,
    planned: &'a PlannedPackage,
    source: Source,
    keyring: Option<Arc<Keyring>>,
    /// Names the package in the cache by all that the index says of it.
    key: String,
}

impl Request<'_> {
    fn names(&self) -> (String, String, String) {
        (self.access.name.clone(), self.planned.cpv.clone(), self.source.to_string())
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
        let expected = self.planned.size;
        match got.cmp(&expected) {
            std::cmp::Ordering::Less => Err(BinhostError::Truncated { binhost, package, url, got, expected }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(BinhostError::TooLong { binhost, package, url, expected }),
        }
    }

    /// Compares with the hashes of the index, and with the plan's own, which is binding.
    fn check_hashes(&self, found: &Hashes) -> Result<(), BinhostError> {
        let (binhost, package, url) = self.names();
        let listed = [(&self.planned.md5, &found.md5, "MD5"), (&self.planned.sha1, &found.sha1, "SHA-1")];
        let differing =
            listed.into_iter().find(|(listed, found, _)| listed.as_ref().is_some_and(|l| !l.eq_ignore_ascii_case(found)));
        if let Some((_, _, hash)) = differing {
            return Err(BinhostError::Altered { binhost, package, url, hash });
        }
        match &self.planned.sha256 {
            Some(planned) if !planned.eq_ignore_ascii_case(&found.sha256) => {
                Err(BinhostError::Replaced { package, url, planned: planned.clone(), found: found.sha256.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Opens the package and holds it against the plan.
    fn verify(&self, file: File) -> Result<BinaryPackage, BinhostError> {
        let signatures = match (&self.keyring, self.access.allow_unsigned) {
            (Some(keyring), false) => Signatures::Required(keyring.as_ref()),
            (Some(keyring), true) => Signatures::WhenPresent(keyring.as_ref()),
            // Without a keyring the request is only made where unsigned packages are allowed.
            (None, _) => Signatures::Ignored,
        };
        let opened = BinaryPackage::open(file, &self.source.to_string(), signatures);
        let package = opened.map_err(|source| BinhostError::Package { package: self.planned.cpv.clone(), source })?;
        self.check_container(&package)?;
        self.check_identity(&package)?;
        Ok(package)
    }

    fn check_container(&self, package: &BinaryPackage) -> Result<(), BinhostError> {
        let planned = match self.planned.format {
            PackageFormat::Gpkg => Container::Gpkg,
            PackageFormat::Xpak => Container::Xpak,
        };
        let name = |container| match container {
            Container::Gpkg => "GPKG",
            Container::Xpak => "XPAK",
        };
        let found = package.container();
        match planned == found {
            true => Ok(()),
            false => Err(BinhostError::Container {
                binhost: self.access.name.clone(),
                package: self.planned.cpv.clone(),
                planned: name(planned),
                found: name(found),
            }),
        }
    }

    /// The index is unsigned, the package is not: what it says of itself must be what the index said. This is what stops an old
    /// package, or another one, from being delivered under a new entry.
    fn check_identity(&self, package: &BinaryPackage) -> Result<(), BinhostError> {
        let missing = || "missing".to_owned();
        self.check_field("CATEGORY/PF", self.planned.cpv.clone(), package.cpv().unwrap_or_else(missing))?;
        let built = package.build_time().map_or_else(missing, |time| time.to_string());
        self.check_field("BUILD_TIME", self.planned.build_time.to_string(), built)?;
        let slot = package.text("SLOT").unwrap_or("0");
        self.check_field("SLOT", short_slot(&self.planned.slot).into(), short_slot(slot).into())?;
        match (self.planned.build_id, package.build_id()) {
            (Some(listed), Some(found)) => self.check_field("BUILD_ID", listed.to_string(), found.to_string()),
            // Binhosts with one build of a version have none in either place, and older ones only in one.
            _ => Ok(()),
        }
    }

    fn check_field(&self, field: &'static str, listed: String, found: String) -> Result<(), BinhostError> {
        let (binhost, package, _) = self.names();
        match listed == found {
            true => Ok(()),
            false => Err(BinhostError::Substituted { binhost, package, field, listed, found }),
        }
    }
}

/// A slot without the sub-slot that only repeats it (PMS: an absent sub-slot is the slot itself).
fn short_slot(slot: &str) -> &str {
    match slot.split_once('/') {
        Some((slot, sub_slot)) if slot == sub_slot => slot,
        _ => slot,
    }
}

/// The hashes that an index or a plan gives, in one pass.
struct Hashes {
    md5: String,
    sha1: String,
    sha256: String,
}

impl Hashes {
    fn of(file: &mut File) -> io::Result<Hashes> {
        let (mut md5, mut sha1, mut sha256) = (Md5::new(), Sha1::new(), Sha256::new());
        let mut buffer = vec![0; BUFFER];
        file.seek(SeekFrom::Start(0))?;
        loop {
            let count = match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            md5.update(bytes);
            sha1.update(bytes);
            sha256.update(bytes);
        }
        let sha256 = hex::encode(sha256.finalize());
        Ok(Hashes { md5: hex::encode(md5.finalize()), sha1: hex::encode(sha1.finalize()), sha256 })
    }
}
