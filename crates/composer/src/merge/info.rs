//! The directory of info pages: `dir` in each folder of INFOPATH and INFODIR, made by the target's own install-info (Portage's
//! `util/_info_files.py`).

use std::collections::BTreeSet;

use super::Merger;
use super::env_update::Environment;
use crate::ComposeError;

/// Bash runs install-info for all files of a folder in one sandbox; one for each would take a minute.
const SCRIPT: &str = "dir=$1; shift; for file; do LANG=C LANGUAGE=C install-info --dir-file=\"$dir\" \"$file\"; done; :";
const ENDINGS: [&str; 8] = ["", ".gz", ".bz2", ".xz", ".lz", ".lz4", ".zst", ".lzma"];

impl Merger<'_> {
    /// Makes `dir` anew in the folders whose pages changed, where the root has install-info and can run it.
    pub(super) fn refresh_info(&mut self) -> Result<(), ComposeError> {
        let changed = std::mem::take(&mut self.info_changed);
        if changed.is_empty() || self.tree.lookup("usr/bin/install-info").is_err() || !self.is_ready()? {
            return Ok(());
        }
        let environment = Environment::read(&self.tree, self.request.store)?;
        let folders: BTreeSet<Vec<u8>> = environment.info_dirs().iter().filter_map(|dir| self.tree.resolve(dir).ok()).collect();
        for folder in folders.intersection(&changed) {
            self.make_info_dir(folder)?;
        }
        Ok(())
    }

    fn make_info_dir(&mut self, folder: &[u8]) -> Result<(), ComposeError> {
        let names: Vec<Vec<u8>> =
            self.tree.children(folder).into_iter().filter(|(_, entry)| !entry.is_dir()).map(|(name, _)| name.to_vec()).collect();
        let is_index = |name: &[u8]| {
            ENDINGS.iter().any(|end| name == format!("dir{end}").as_bytes() || name == format!("dir{end}.old").as_bytes())
        };
        if names.iter().any(|name| name.starts_with(b".keepinfodir")) {
            return Ok(());
        }
        let path = |name: &[u8]| String::from_utf8([b"/", folder, b"/", name].concat()).ok();
        let pages: Vec<String> =
            names.iter().filter(|name| !name.starts_with(b".") && !is_index(name)).filter_map(|name| path(name)).collect();
        let Some(index) = path(b"dir").filter(|_| !pages.is_empty()) else { return Ok(()) };
        let old: Vec<(Vec<u8>, image::Entry)> = names
            .iter()
            .filter(|name| is_index(name))
            .filter_map(|name| {
                let path = [folder, b"/", name.as_slice()].concat();
                self.tree.remove(&path).ok().map(|entry| (path, entry))
            })
            .collect();
        let mut argv = vec!["/bin/bash", "--noprofile", "--norc", "-c", SCRIPT, "install-info", &index];
        argv.extend(pages.iter().map(String::as_str));
        self.write_disk()?;
        if let Some(output) = self.tool(&argv)? {
            output.iter().for_each(|line| self.observer.log(line));
        }
        self.read_disk(self.request.plan.newest_build_time())?;
        if !self.tree.contains(&index) {
            for (path, entry) in old {
                self.tree.insert(path, entry)?;
            }
        }
        Ok(())
    }
}

/// The folder of an info page: any that is called `info` or that a package puts pages into.
pub(super) fn folder_of(path: &[u8]) -> Option<&[u8]> {
    let at = path.iter().rposition(|b| *b == b'/')?;
    let folder = path.get(..at)?;
    folder.windows(4).any(|part| part == b"info").then_some(folder)
}
