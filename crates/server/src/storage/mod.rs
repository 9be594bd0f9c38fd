//! Where images are kept: `BUILD/ATTEMPT/NAME`, in a folder or in a bucket. A file gets its name only when all of it is there; which files
//! are images to be downloaded, the database says.

mod disk;
mod s3;

use std::io;
use std::path::{Path, PathBuf};

use attest::{Digests, Hasher};

use crate::config::{Config, ConfigError};
use crate::db::FilesToKeep;

/// Makes a folder that only the server's own user may look into: orders and hashes of passwords are in what it keeps.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// The place of images.
pub enum Storage {
    Disk(disk::Disk),
    S3(Box<s3::Bucket>),
}

/// How a file is had.
pub enum Source {
    /// It is read from here.
    File(PathBuf),
    /// Whoever wants it asks there. The address holds a signature and is good for a while.
    Elsewhere(String),
}

/// A file on its way in. Dropped before [`Incoming::keep`], it leaves nothing.
pub struct Incoming {
    place: Place,
    hasher: Hasher,
}

enum Place {
    Disk(disk::Incoming),
    S3(Box<s3::Incoming>),
}

impl Storage {
    /// The storage that the configuration names.
    pub fn open(config: &Config) -> Result<Storage, ConfigError> {
        let folder = config.data_dir.join("artifacts");
        match &config.storage {
            Some(s3) => Ok(Storage::S3(Box::new(s3::Bucket::open(s3)?))),
            None => match disk::Disk::open(folder.clone()) {
                Ok(disk) => Ok(Storage::Disk(disk)),
                Err(source) => Err(ConfigError::Unreadable { key: "the folder of images", path: folder, source }),
            },
        }
    }

    /// Whether files can be kept now.
    pub async fn check(&self) -> io::Result<()> {
        match self {
            Storage::Disk(disk) => disk.check().await,
            Storage::S3(bucket) => bucket.check().await,
        }
    }

    /// Where a file is, for a download under the name it has; `inline` is for what a browser shows itself.
    pub fn source(&self, build: &str, attempt: u32, name: &str, media_type: &str, inline: bool) -> Source {
        match self {
            Storage::Disk(disk) => Source::File(disk.path(build, attempt, name)),
            Storage::S3(bucket) => Source::Elsewhere(bucket.download(build, attempt, name, media_type, inline)),
        }
    }

    /// The origin (RFC 6454) that browsers are sent on to for files; none when they come from the site itself.
    pub fn origin(&self) -> Option<String> {
        match self {
            Storage::Disk(_) => None,
            Storage::S3(bucket) => Some(bucket.origin()),
        }
    }

    /// Starts to take a file.
    pub async fn receive(&self, build: &str, attempt: u32, name: &str) -> io::Result<Incoming> {
        let place = match self {
            Storage::Disk(disk) => Place::Disk(disk.receive(build, attempt, name).await?),
            Storage::S3(bucket) => Place::S3(Box::new(bucket.receive(build, attempt, name))),
        };
        Ok(Incoming { place, hasher: Hasher::default() })
    }

    /// Builds that have files here.
    pub async fn builds(&self) -> io::Result<Vec<String>> {
        match self {
            Storage::Disk(disk) => disk.builds().await,
            Storage::S3(bucket) => bucket.builds().await,
        }
    }

    /// Removes the files of a build that are no longer needed.
    pub async fn remove_all_but(&self, build: &str, keep: FilesToKeep) -> io::Result<()> {
        let attempt = match keep {
            FilesToKeep::All => return Ok(()),
            FilesToKeep::None => None,
            FilesToKeep::OfAttempt(attempt) => Some(attempt),
        };
        match self {
            Storage::Disk(disk) => disk.remove_all_but(build, attempt).await,
            Storage::S3(bucket) => bucket.remove_all_but(build, attempt).await,
        }
    }
}

impl Incoming {
    /// Adds bytes to the file.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        match &mut self.place {
            Place::Disk(file) => file.write(bytes).await,
            Place::S3(object) => object.write(bytes).await,
        }
    }

    /// The digests of what was written.
    pub fn digests(&self) -> Digests {
        self.hasher.clone().finish()
    }

    /// Gives the file its name, once its bytes are safely kept.
    pub async fn keep(self) -> io::Result<()> {
        match self.place {
            Place::Disk(file) => file.keep().await,
            Place::S3(object) => object.keep().await,
        }
    }
}

/// Whether a name is a plain file name that we would store: one component, no surprises for shells or browsers.
pub fn is_plain_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 200
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_stored() {
        assert!(is_plain_name("hatchery-amd64-server-20261122.tar.bz2"));
        for bad in ["", ".", "..", "a/b", ".hidden", "a\nb", "a b", "-rf", "a\"b"] {
            assert!(!is_plain_name(bad), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_not_kept_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data_dir: dir.path().to_owned(), ..Config::default() };
        let storage = Storage::open(&config).unwrap();
        let folder = dir.path().join("artifacts/b/1");
        let mut incoming = storage.receive("b", 1, "x.iso").await.unwrap();
        incoming.write(b"half").await.unwrap();
        drop(incoming);
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        let mut incoming = storage.receive("b", 1, "x.iso").await.unwrap();
        incoming.write(b"whole").await.unwrap();
        assert_eq!(incoming.digests(), Digests::of(b"whole"));
        incoming.keep().await.unwrap();
        assert_eq!(std::fs::read(folder.join("x.iso")).unwrap(), b"whole");
        storage.remove_all_but("b", FilesToKeep::OfAttempt(2)).await.unwrap();
        assert!(!folder.exists());
        storage.check().await.unwrap();
    }
}
