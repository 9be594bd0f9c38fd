//! Images in a folder of this machine.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

/// The folder of artifacts.
pub struct Disk {
    root: PathBuf,
}

/// A file that has no name yet.
pub struct Incoming {
    file: File,
    temporary: tempfile::TempPath,
    path: PathBuf,
}

impl Disk {
    pub fn open(root: PathBuf) -> io::Result<Disk> {
        super::make_private_folder(&root)?;
        Ok(Disk { root })
    }

    /// Whether a file can be written.
    pub async fn check(&self) -> io::Result<()> {
        let root = self.root.clone();
        let write = move || {
            let mut file = tempfile::Builder::new().prefix(".check-").tempfile_in(root)?;
            io::Write::write_all(&mut file, &[0; 4_096])
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    fn folder(&self, build: &str, attempt: u32) -> PathBuf {
        self.root.join(build).join(attempt.to_string())
    }

    /// The place of an artifact.
    pub fn path(&self, build: &str, attempt: u32, name: &str) -> PathBuf {
        self.folder(build, attempt).join(name)
    }

    /// Starts to take a file.
    pub async fn receive(&self, build: &str, attempt: u32, name: &str) -> io::Result<Incoming> {
        let folder = self.folder(build, attempt);
        let path = folder.join(name);
        fs::create_dir_all(&folder).await?;
        let (file, temporary) =
            tokio::task::spawn_blocking(move || tempfile::Builder::new().prefix(".upload-").tempfile_in(folder))
                .await
                .map_err(io::Error::other)??
                .into_parts();
        Ok(Incoming { file: File::from_std(file), temporary, path })
    }

    /// Builds that have files here.
    pub async fn builds(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut entries = fs::read_dir(&self.root).await?;
        while let Some(entry) = entries.next_entry().await? {
            names.extend(entry.file_name().into_string().ok().filter(|name| !name.starts_with('.')));
        }
        Ok(names)
    }

    /// Removes the files of a build, but for those of one attempt. What somebody else removed meanwhile is removed.
    pub async fn remove_all_but(&self, build: &str, attempt: Option<u32>) -> io::Result<()> {
        let folder = self.root.join(build);
        let Some(attempt) = attempt.map(|attempt| attempt.to_string()) else {
            return or_gone(fs::remove_dir_all(&folder).await);
        };
        let mut entries = match fs::read_dir(&folder).await {
            Ok(entries) => entries,
            Err(error) => return or_gone(Err(error)),
        };
        while let Some(entry) = or_gone(entries.next_entry().await)? {
            if entry.file_name().to_str() != Some(&attempt) {
                or_gone(fs::remove_dir_all(entry.path()).await)?;
            }
        }
        Ok(())
    }
}

impl Incoming {
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes).await
    }

    /// Gives the file its name, once its bytes and then its name are safely on the disk.
    pub async fn keep(mut self) -> io::Result<()> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let (temporary, path) = (self.temporary, self.path);
        tokio::task::spawn_blocking(move || {
            temporary.persist(&path).map_err(|e| e.error)?;
            path.parent().map_or(Ok(()), sync_folder)
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// What is not there has nothing more in it, and needs no removing.
fn or_gone<T: Default>(result: io::Result<T>) -> io::Result<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_sweep_removed_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path().join("artifacts")).unwrap();
        for attempt in [1, 2] {
            disk.receive("build", attempt, "image.zip").await.unwrap().keep().await.unwrap();
        }
        disk.remove_all_but("build", Some(2)).await.unwrap();
        assert!(!disk.path("build", 1, "image.zip").exists() && disk.path("build", 2, "image.zip").exists());
        for keep in [Some(2), None, None, Some(2)] {
            disk.remove_all_but("build", keep).await.unwrap();
        }
        assert_eq!(disk.builds().await.unwrap(), Vec::<String>::new());
    }
}
