//! Packages are read one ahead: while one is merged and its phases run, another thread fetches, checks and unpacks the next into the store.
//! What is read so depends on the package alone, so the result is the same however long either takes.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;

use contract::PlannedPackage;
use gentoo::Cpv;
use gentoo::binpkg::BinaryPackage;
use image::Store;

use super::package::Image;
use super::scripts::Scripts;
use super::{FetchError, no_package};
use crate::ComposeError;

/// A package that was read, and knows nothing of the root yet.
pub struct Opened {
    pub cpv: Cpv,
    pub metadata: BTreeMap<String, Vec<u8>>,
    pub scripts: Scripts,
    pub image: Image,
}

impl Opened {
    /// Checks that the package is the planned one, and reads its image into the store.
    fn read(planned: &PlannedPackage, package: BinaryPackage, store: &Store) -> Result<Opened, ComposeError> {
        let cpv = check_identity(planned, &package)?;
        let scripts = Scripts::read(&package.metadata)?;
        let image = Image::read(&package, store)?;
        Ok(Opened { cpv, metadata: package.metadata, scripts, image })
    }
}

/// The package's CPV, which must be the planned one.
pub fn check_identity(planned: &PlannedPackage, package: &BinaryPackage) -> Result<Cpv, ComposeError> {
    if package.cpv().is_some_and(|cpv| cpv != planned.cpv) {
        let message = format!("the file at {} is {}", planned.path, package.cpv().unwrap_or_default());
        return Err(ComposeError::new(message, "The binhost's index is out of step with its files: order again later."));
    }
    Cpv::parse(&planned.cpv).map_err(|error| ComposeError::new(error.to_string(), ""))
}

/// Hands packages to `each` in order, and reads the next meanwhile. Two at most wait, so that memory does not depend on their number.
///
/// # Errors
/// The first in the order of packages, whether of reading one or of `each`.
pub fn read_ahead<E: Into<FetchError>>(
    order: &[&PlannedPackage],
    store: &Store,
    fetch: &mut (dyn FnMut(&PlannedPackage) -> Result<BinaryPackage, E> + Send),
    each: &mut dyn FnMut(&PlannedPackage, Opened) -> Result<(), ComposeError>,
) -> Result<(), ComposeError> {
    let (read, opened) = sync_channel(1);
    // The receiving end goes when `each` fails, and with it the other thread.
    std::thread::scope(move |scope| {
        scope.spawn(move || {
            for planned in order {
                let package = fetch(planned).map_err(|error| no_package(planned, error.into()));
                let package = package
                    .and_then(|package| Opened::read(planned, package, store).map_err(|error| error.for_package(&planned.cpv)));
                let failed = package.is_err();
                if read.send(package).is_err() || failed {
                    return;
                }
            }
        });
        for planned in order {
            let Ok(package) = opened.recv() else { break };
            each(planned, package?)?;
        }
        Ok(())
    })
}
