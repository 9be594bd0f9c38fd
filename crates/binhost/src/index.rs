//! The `Packages` index of a binhost: asked for once, kept, and asked for again only when it may have changed.

use std::collections::BTreeSet;
use std::io::Read;
use std::time::{Duration, SystemTime};

use contract::lease::BinhostAccess;
use gentoo::index::{IndexError, Packages};
use sha2::{Digest, Sha256};

use crate::address::{Address, Source};
use crate::cache;
use crate::error::BinhostError;
use crate::transport::{Answer, Conditions};
use crate::{Client, refused};

/// A TTL longer than this is not believed: the index would look fresh for ever.
const MAX_TTL: Duration = Duration::from_secs(7 * 86_400);
/// Bytes of an index, compressed or not; the largest known is below 2 MiB compressed and 17 MiB not.
const MAX_INDEX: u64 = 128 << 20;

/// An index at one moment.
#[derive(Clone, Debug)]
pub struct IndexSnapshot {
    pub packages: Packages,
    /// Of the uncompressed index, lower-case hexadecimal.
    pub sha256: String,
    /// The index's own TIMESTAMP, seconds since the epoch.
    pub timestamp: u64,
}

impl Client {
    /// The current index of a binhost. A kept one is used without asking while the TTL in its header lasts, and otherwise when the
    /// binhost says that it has not changed; at most one index is transferred.
    ///
    /// # Errors
    /// When the binhost cannot be reached, has no index, or has one that cannot be read.
    pub fn index(&self, access: &BinhostAccess) -> Result<IndexSnapshot, BinhostError> {
        let address = self.address(access)?;
        if let Address::Folder(_) = address {
            // Portage always writes the plain index, and the compressed one only when told to: here the plain one is the newer.
            let bytes = self.first_of(access, &address, ["Packages", "Packages.gz"], None)?.into_bytes(access, &address)?;
            return snapshot(access, &bytes);
        }
        let key = cache::key(&[&access.uri]);
        let kept = self.kept_index(access)?;
        if let Some((snapshot, age)) = &kept
            && *age < ttl(&snapshot.packages)
        {
            return Ok(snapshot.clone());
        }
        let since = kept.as_ref().map(|(snapshot, _)| snapshot.timestamp);
        match (self.first_of(access, &address, ["Packages.gz", "Packages"], since)?, kept) {
            (Found::NotModified, Some((snapshot, _))) => {
                self.cache.touch_index(&key).map_err(self.cache.error("an index"))?;
                Ok(snapshot)
            }
            (found, _) => {
                let bytes = found.into_bytes(access, &address)?;
                let snapshot = snapshot(access, &bytes)?;
                self.cache.keep_index(&key, &bytes).map_err(self.cache.error("an index"))?;
                Ok(snapshot)
            }
        }
    }

    /// The index as it was fetched last, however old, without asking the binhost; `None` when there is none. For use when the binhost
    /// cannot be reached.
    ///
    /// # Errors
    /// When the cache cannot be read.
    pub fn cached_index(&self, access: &BinhostAccess) -> Result<Option<IndexSnapshot>, BinhostError> {
        Ok(self.kept_index(access)?.map(|(snapshot, _)| snapshot))
    }

    /// The paths that an index lists and its binhost does not have, as a mirror that was copied in part. Looked up for a folder only:
    /// a server is not asked thousands of questions, so there a gone file shows when it is fetched.
    ///
    /// # Errors
    /// When the binhost's address cannot be used.
    pub fn absent(&self, access: &BinhostAccess, packages: &Packages) -> Result<BTreeSet<String>, BinhostError> {
        let address = self.address(access)?;
        let is_absent = |path: &String| matches!(address.join(path), Source::File(file) if !file.is_file());
        Ok(packages.entries.iter().map(|entry| entry.path.to_string()).filter(is_absent).collect())
    }

    /// The kept index with its age. One that cannot be read is as good as none: it will be fetched again.
    fn kept_index(&self, access: &BinhostAccess) -> Result<Option<(IndexSnapshot, Duration)>, BinhostError> {
        let kept = self.cache.index(&cache::key(&[&access.uri])).map_err(self.cache.error("an index"))?;
        let Some((bytes, time)) = kept else { return Ok(None) };
        // A time in the future says nothing about the age.
        let age = SystemTime::now().duration_since(time).unwrap_or(MAX_TTL);
        Ok(snapshot(access, &bytes).ok().map(|snapshot| (snapshot, age)))
    }

    /// Asks for the names in turn until one is there.
    fn first_of(
        &self,
        access: &BinhostAccess,
        address: &Address,
        names: [&str; 2],
        modified_since: Option<u64>,
    ) -> Result<Found, BinhostError> {
        for name in names {
            let source = address.join(name);
            let answer = self.transport.get(&source, Conditions { modified_since, from: 0 });
            match answer.map_err(|why| unreachable(access, &source, why))? {
                Answer::Content { body, .. } => return self.read(access, &source, body),
                Answer::NotModified => return Ok(Found::NotModified),
                Answer::Missing | Answer::Status(403) if name != names[1] => {}
                Answer::Missing => break,
                other => return Err(refused(access, &source, other)),
            }
        }
        Err(BinhostError::NoIndex { binhost: access.name.clone(), uri: access.uri.clone() })
    }

    fn read(&self, access: &BinhostAccess, source: &Source, body: Box<dyn Read>) -> Result<Found, BinhostError> {
        let mut bytes = Vec::new();
        let read = body.take(MAX_INDEX + 1).read_to_end(&mut bytes);
        read.map_err(|e| unreachable(access, source, format!("the transfer broke off: {e}")))?;
        if bytes.len() as u64 > MAX_INDEX {
            return Err(too_large(access));
        }
        Ok(Found::Bytes(bytes))
    }
}

enum Found {
    NotModified,
    Bytes(Vec<u8>),
}

impl Found {
    /// The uncompressed index. Servers that decompress on the way are known, so the content decides and not the name.
    fn into_bytes(self, access: &BinhostAccess, address: &Address) -> Result<Vec<u8>, BinhostError> {
        let bytes = match self {
            Found::Bytes(bytes) => bytes,
            Found::NotModified => {
                let why = "it answers “not modified” to a question without a condition".to_owned();
                return Err(unreachable(access, &address.join("Packages"), why));
            }
        };
        if !bytes.starts_with(b"\x1f\x8b") {
            return Ok(bytes);
        }
        let mut plain = Vec::new();
        let read = flate2::read::MultiGzDecoder::new(&bytes[..]).take(MAX_INDEX + 1).read_to_end(&mut plain);
        read.map_err(|e| BinhostError::BrokenIndex {
            binhost: access.name.clone(),
            why: format!("its compression is damaged or cut off ({e})"),
        })?;
        match plain.len() as u64 > MAX_INDEX {
            true => Err(too_large(access)),
            false => Ok(plain),
        }
    }
}

fn snapshot(access: &BinhostAccess, bytes: &[u8]) -> Result<IndexSnapshot, BinhostError> {
    let unusable = |source| BinhostError::Index { binhost: access.name.clone(), source };
    let packages = Packages::parse(bytes).map_err(unusable)?;
    let timestamp = packages.timestamp().ok_or_else(|| unusable(IndexError::NotAnIndex("it has no TIMESTAMP".into())))?;
    Ok(IndexSnapshot { packages, sha256: hex::encode(Sha256::digest(bytes)), timestamp })
}

fn ttl(packages: &Packages) -> Duration {
    let seconds = packages.header.get("TTL").and_then(|ttl| ttl.parse().ok()).unwrap_or(0);
    Duration::from_secs(seconds).min(MAX_TTL)
}

fn too_large(access: &BinhostAccess) -> BinhostError {
    let why = "it is larger than any index can be".to_owned();
    BinhostError::BrokenIndex { binhost: access.name.clone(), why }
}

fn unreachable(access: &BinhostAccess, source: &Source, why: String) -> BinhostError {
    BinhostError::Unreachable { binhost: access.name.clone(), url: source.to_string(), why }
}
