//! Fetches from binhosts: indexes and packages, verified and kept in a cache.
//!
//! A package that leaves here was checked in this order: the binhost's settings (unsigned packages only where its operator allows
//! them), size and hashes of the index, the hash of the plan where it has one, the container and its Manifest to the letter, every
//! signature against the binhost's keyring, and that the package says of itself what the index said of it. From then on it is read
//! from the very file that was checked, which is open and never written again.

// Nothing that is read may end the program (ARCHITECTURE.md, House rules).
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::string_slice, clippy::unwrap_used, clippy::expect_used))]

mod address;
mod cache;
mod error;
mod index;
pub mod openpgp;
mod own;
mod package;
mod stage3;
mod transfer;
mod transport;

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use contract::lease::BinhostAccess;

pub use error::BinhostError;
pub use index::IndexSnapshot;
pub use own::{AddError, Added, Asked, OwnBinhost, publish, put_index};
pub use package::VerifiedPackage;
pub use stage3::VerifiedStage3;
pub use transport::Patience;

use address::{Address, Source};
use cache::Cache;
use openpgp::Keyring;
use transport::{Answer, Transport};

/// Gets indexes and packages, and keeps them. One client may be used by many threads, and one cache by many clients.
pub struct Client {
    cache: Cache,
    transport: Transport,
    patience: Patience,
    /// Keyrings by their text: they are few and reading one takes longer than checking a signature.
    keyrings: Mutex<HashMap<String, Arc<Keyring>>>,
}

impl Client {
    /// A client that keeps what it fetches in `cache_dir`, which is made when it is needed.
    pub fn new(cache_dir: &Path) -> Client {
        Client::with_patience(cache_dir, Patience::default())
    }

    /// A client that waits as told.
    pub fn with_patience(cache_dir: &Path, patience: Patience) -> Client {
        let (cache, transport) = (Cache::new(cache_dir), Transport::new(&patience));
        Client { cache, transport, patience, keyrings: Mutex::default() }
    }

    /// Removes the packages not used for longest until the rest takes no more than `max_bytes`. Packages in use stay readable. Returns
    /// the bytes removed.
    ///
    /// # Errors
    /// What the disk reports.
    pub fn trim_cache(&self, max_bytes: u64) -> io::Result<u64> {
        self.cache.trim(max_bytes)
    }

    fn address(&self, access: &BinhostAccess) -> Result<Address, BinhostError> {
        // The address is shown as it is so that nothing hidden in it can pass for another one.
        let uri = || access.uri.escape_debug().to_string();
        Address::parse(&access.uri).map_err(|why| BinhostError::Address { binhost: access.name.clone(), uri: uri(), why })
    }

    /// The binhost's keyring; `None` for one without, which must then allow unsigned packages.
    fn keyring(&self, access: &BinhostAccess) -> Result<Option<Arc<Keyring>>, BinhostError> {
        if access.keyring.trim().is_empty() {
            return match access.allow_unsigned {
                true => Ok(None),
                false => Err(BinhostError::NoKeyring { binhost: access.name.clone() }),
            };
        }
        let mut keyrings = self.keyrings.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(keyring) = keyrings.get(&access.keyring) {
            return Ok(Some(keyring.clone()));
        }
        let keyring = Keyring::from_armored(&access.keyring);
        let keyring = Arc::new(keyring.map_err(|source| BinhostError::Keyring { binhost: access.name.clone(), source })?);
        keyrings.insert(access.keyring.clone(), keyring.clone());
        Ok(Some(keyring))
    }
}

/// The error for an answer that is neither content nor an honest absence.
fn refused(access: &BinhostAccess, source: &Source, answer: Answer) -> BinhostError {
    let (binhost, url) = (access.name.clone(), source.to_string());
    match answer {
        Answer::Status(status) => BinhostError::Refused { binhost, url, status },
        Answer::Redirect(location) => BinhostError::Redirect { binhost, url, location },
        Answer::Missing => BinhostError::Refused { binhost, url, status: 404 },
        Answer::BeyondEnd => BinhostError::Refused { binhost, url, status: 416 },
        Answer::NotModified => BinhostError::Refused { binhost, url, status: 304 },
        Answer::Content { .. } => BinhostError::Refused { binhost, url, status: 200 },
    }
}
