//! One package: from the cache or the binhost, verified against the index, its own Manifest and signatures, and the plan.

use std::fs::File;
use std::sync::Arc;

use contract::lease::BinhostAccess;
use contract::plan::short_slot;
use contract::{PackageFormat, PlannedPackage};
use gentoo::binpkg::{BinaryPackage, Container};
use gentoo::gpkg::Signatures;

use crate::Client;
use crate::address::check_path;
use crate::cache;
use crate::error::BinhostError;
use crate::openpgp::Keyring;
use crate::transfer::Wanted;

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
        let (partial, sha256) = self.download(&request.file, progress)?;
        let file = partial.file.try_clone().map_err(self.cache.error("a package"))?;
        let package = request.verify(file)?;
        self.cache.keep(partial, &request.file.key, &sha256).map_err(self.cache.error("a package"))?;
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
        let file = Wanted {
            access,
            name: &planned.cpv,
            source: address.join(&planned.path),
            size: planned.size,
            md5: planned.md5.as_deref(),
            sha1: planned.sha1.as_deref(),
            sha256: planned.sha256.as_deref(),
            key,
        };
        Ok(Request { access, planned, file, keyring })
    }

    fn cached_package(&self, request: &Request<'_>) -> Result<Option<VerifiedPackage>, BinhostError> {
        let Some((file, sha256)) = self.kept(&request.file)? else { return Ok(None) };
        Ok(Some(VerifiedPackage { package: request.verify(file)?, sha256 }))
    }
}

/// A package that may be asked for: its binhost's settings allow it and its path is plain.
struct Request<'a> {
    access: &'a BinhostAccess,
    planned: &'a PlannedPackage,
    file: Wanted<'a>,
    keyring: Option<Arc<Keyring>>,
}

impl Request<'_> {
    /// Opens the package and holds it against the plan.
    fn verify(&self, file: File) -> Result<BinaryPackage, BinhostError> {
        let signatures = match (&self.keyring, self.access.allow_unsigned) {
            (Some(keyring), false) => Signatures::Required(keyring.as_ref()),
            (Some(keyring), true) => Signatures::WhenPresent(keyring.as_ref()),
            // Without a keyring the request is only made where unsigned packages are allowed.
            (None, _) => Signatures::Ignored,
        };
        let opened = BinaryPackage::open(file, &self.file.source.to_string(), signatures);
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
        let (binhost, package, _) = self.file.names();
        match listed == found {
            true => Ok(()),
            false => Err(BinhostError::Substituted { binhost, package, field, listed, found }),
        }
    }
}
