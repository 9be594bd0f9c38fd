//! A build root: a Gentoo in a folder of this machine, on which packages are built from source. Nothing in it can be changed from inside.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::bubblewrap::GUEST;
use super::wire::Shown;
use super::{PhaseHost, SandboxError};

/// What is not a build's business, or is another inside.
const LEFT_OUT: [&str; 13] =
    ["boot", "dev", "home", "lost+found", "media", "mnt", "proc", "root", "run", "srv", "sys", "tmp", "var"];
/// What a package manager reads of /var.
const OF_VAR: [&str; 3] = ["var/db/pkg", "var/db/repos", "var/cache/distfiles"];
/// Folders of which a root that is laid over this machine's system replaces parts.
const LAID_OVER: [&str; 2] = ["etc", "usr"];

/// A folder with a system in it, or with what a build needs besides this machine's own system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildRoot {
    dir: PathBuf,
}

impl BuildRoot {
    /// The system in this folder. A folder without `usr/bin` is laid over this machine's system: only what is in `etc` and `usr`
    /// of it, and the further folders it has, take the place of this machine's.
    pub fn new(dir: impl Into<PathBuf>) -> BuildRoot {
        BuildRoot { dir: dir.into() }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts a helper whose commands can be shown it.
    ///
    /// # Errors
    /// As [`PhaseHost::start`], and when the folder is not there.
    pub fn host(&self, work_dir: &Path) -> Result<PhaseHost, SandboxError> {
        PhaseHost::start_on(work_dir, &self.dir)
    }

    /// What commands find there.
    ///
    /// # Errors
    /// When the folder cannot be read. Names that are no UTF-8 are left out.
    pub fn shown(&self) -> io::Result<Vec<Shown>> {
        let dir = fs::canonicalize(&self.dir)?;
        let whole = dir.join("usr/bin").is_dir();
        let mut shown = Vec::new();
        if !whole {
            let there = GUEST.iter().filter(|path| Path::new(path).exists());
            shown.extend(there.map(|path| Shown::Path { here: (*path).into(), inside: (*path).into() }));
        }
        for name in names(&dir)?.iter().filter(|name| !LEFT_OUT.contains(&name.as_str())) {
            if !whole && LAID_OVER.contains(&name.as_str()) {
                let parts = names(&dir.join(name))?;
                shown.extend(parts.iter().filter_map(|part| show(&dir, &format!("{name}/{part}"))));
            } else {
                shown.extend(show(&dir, name));
            }
        }
        shown.extend(OF_VAR.iter().filter(|path| dir.join(path).is_dir()).filter_map(|path| show(&dir, path)));
        Ok(shown)
    }
}

/// The names in a folder, sorted, so that one is shown before what lies in it.
fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = fs::read_dir(dir)?.map(|child| Ok(child?.file_name().into_string().ok()));
    let mut names: Vec<String> = names.filter_map(io::Result::transpose).collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

fn show(dir: &Path, path: &str) -> Option<Shown> {
    let (here, inside) = (dir.join(path), format!("/{path}"));
    // A link leads to what is inside, and to nothing of this machine.
    match fs::read_link(&here) {
        Ok(target) => Some(Shown::Link { target: target.to_str()?.to_owned(), inside }),
        // The folder is the helper's target.
        Err(_) => Some(Shown::Path { here: format!("target/{path}"), inside }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(here: String, inside: &str) -> Shown {
        Shown::Path { here, inside: inside.into() }
    }

    #[test]
    fn a_whole_system_is_shown_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["usr/bin", "etc", "home/me", "var/db/pkg", "var/lib/secret", "proc"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("usr/bin", dir.path().join("bin")).unwrap();
        let at = |name: &str| format!("target/{name}");
        let expected = vec![
            Shown::Link { target: "usr/bin".into(), inside: "/bin".into() },
            path(at("etc"), "/etc"),
            path(at("usr"), "/usr"),
            path(at("var/db/pkg"), "/var/db/pkg"),
        ];
        assert_eq!(BuildRoot::new(dir.path()).shown().unwrap(), expected);
    }

    #[test]
    fn a_part_is_laid_over_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["usr/local", "etc/portage", "share"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let at = |name: &str| format!("target/{name}");
        let shown = BuildRoot::new(dir.path()).shown().unwrap();
        let (machine, own) = shown.split_at(shown.len() - 3);
        assert!(machine.contains(&path("/usr".into(), "/usr")) && !machine.contains(&path("/etc".into(), "/etc")));
        assert_eq!(own, [("etc/portage"), ("share"), ("usr/local")].map(|name| path(at(name), &format!("/{name}"))));
    }
}
