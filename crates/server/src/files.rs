//! The artifacts on disk: `artifacts/BUILD/ATTEMPT/NAME`. A file gets its name only when all of it is on the disk; which files are
//! images to be downloaded, the database says.

use std::io;
use std::path::{Path, PathBuf};

use attest::Hasher;
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use crate::db::{FilesToKeep, Upload};

/// The folder of artifacts.
pub struct Files {
    root: PathBuf,
}

/// A file on its way in. Dropped before [`Incoming::keep`], it leaves nothing.
pub struct Incoming {
    file: File,
    temporary: tempfile::TempPath,
    hasher: Hasher,
}

impl Files {
    pub fn open(root: PathBuf) -> io::Result<Files> {
        std::fs::create_dir_all(&root)?;
        Ok(Files { root })
    }

    fn folder(&self, build: &str, attempt: u32) -> PathBuf {
        self.root.join(build).join(attempt.to_string())
    }

    /// The place of an artifact.
    pub fn path(&self, build: &str, attempt: u32, name: &str) -> PathBuf {
        self.folder(build, attempt).join(name)
    }

    /// Starts to take a file.
    pub async fn receive(&self, build: &str, attempt: u32) -> io::Result<Incoming> {
        let folder = self.folder(build, attempt);
        fs::create_dir_all(&folder).await?;
        let (file, temporary) =
            tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix(".upload-").tempfile_in(folder))
                .await
                .map_err(io::Error::other)??
                .into_parts();
        Ok(Incoming { file: File::from_std(file), temporary, hasher: Hasher::default() })
    }

    /// Builds that have files here.
    pub async fn builds(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut entries = fs::read_dir(&self.root).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.extend(entry.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Removes the files of a build that are no longer needed.
    pub async fn remove_all_but(&self, build: &str, keep: FilesToKeep) -> io::Result<()> {
        let folder = self.root.join(build);
        let attempt = match keep {
            FilesToKeep::All => return Ok(()),
            FilesToKeep::None => return fs::remove_dir_all(&folder).await,
            FilesToKeep::OfAttempt(attempt) => attempt.to_string(),
        };
        let mut entries = fs::read_dir(&folder).await?;
        while let Some(entry) = entries.next_entry().await? {
            if entry.file_name().to_str() != Some(&attempt) {
                fs::remove_dir_all(entry.path()).await?;
            }
        }
        Ok(())
    }
}

impl Incoming {
    /// Adds bytes to the file.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).await
    }

    pub fn size(&self) -> u64 {
        self.hasher.size()
    }

    /// Gives the file its name, once its bytes and then its name are safely on the disk.
    pub async fn keep(mut self, files: &Files, build: &str, attempt: u32, name: &str) -> io::Result<Upload> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let path = files.path(build, attempt, name);
        let folder = files.folder(build, attempt);
        let temporary = self.temporary;
        tokio::task::spawn_blocking(move || {
            temporary.persist(&path).map_err(|e| e.error)?;
            sync_folder(&folder)
        })
        .await
        .map_err(io::Error::other)??;
        Ok(Upload { name: name.to_owned(), digests: self.hasher.finish() })
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
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
        let files = Files::open(dir.path().join("artifacts")).unwrap();
        let mut incoming = files.receive("b", 1).await.unwrap();
        incoming.write(b"half").await.unwrap();
        drop(incoming);
        assert_eq!(std::fs::read_dir(dir.path().join("artifacts/b/1")).unwrap().count(), 0);
        let mut incoming = files.receive("b", 1).await.unwrap();
        incoming.write(b"whole").await.unwrap();
        let upload = incoming.keep(&files, "b", 1, "x.iso").await.unwrap();
        assert_eq!(upload.digests, attest::Digests::of(b"whole"));
        assert_eq!(std::fs::read(files.path("b", 1, "x.iso")).unwrap(), b"whole");
        files.remove_all_but("b", FilesToKeep::OfAttempt(2)).await.unwrap();
        assert!(!files.path("b", 1, "x.iso").exists());
    }
}
