//! Reading a profile's files: lines with comments, from a file or (profile format `portage-1`) a folder of files.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::ProfileError;

/// Largest profile file that is read, in bytes.
const MAX_FILE: u64 = 16 << 20;
/// How deep folders that stand in for files may nest, and how many files they may hold.
const MAX_FOLDERS: usize = 8;
const MAX_FILES: usize = 4096;

/// A line that says something, without its comment.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub path: PathBuf,
    pub number: usize,
    pub text: String,
    /// The comment lines right above, joined; how `package.mask` gives its reasons.
    pub comment: String,
}

impl Line {
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.text.split_ascii_whitespace()
    }

    pub fn error(&self, reason: impl ToString) -> ProfileError {
        ProfileError::syntax(&self.path, self.number, reason)
    }
}

/// The text of a file; none when there is no such file.
pub(super) fn read_text(path: &Path) -> Result<Option<String>, ProfileError> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(ProfileError::io(path, e)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|e| ProfileError::io(path, e))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ProfileError::structure(path, format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// The files behind a name: itself, or for a folder everything in it in the order of names, hidden files and backups aside.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, ProfileError> {
    let mut found = Vec::new();
    let mut pending = vec![(path.to_owned(), 0)];
    while let Some((path, depth)) = pending.pop() {
        if !path.is_dir() {
            if path.exists() {
                found.push(path);
            }
            continue;
        }
        if depth >= MAX_FOLDERS || found.len() + pending.len() > MAX_FILES {
            return Err(ProfileError::structure(&path, "its folders hold too many files or nest too deep"));
        }
        let mut inside = Vec::new();
        for item in std::fs::read_dir(&path).map_err(|e| ProfileError::io(&path, e))? {
            let name = item.map_err(|e| ProfileError::io(&path, e))?.file_name();
            let shown = name.to_string_lossy();
            if !shown.starts_with('.') && !shown.ends_with('~') {
                inside.push((path.join(&name), depth + 1));
            }
        }
        inside.sort();
        pending.extend(inside.into_iter().rev());
    }
    Ok(found)
}

/// All lines that say something, of a file or a folder of files; none when it does not exist.
pub(super) fn read_lines(path: &Path) -> Result<Vec<Line>, ProfileError> {
    let mut lines = Vec::new();
    for path in files(path)? {
        let text = read_text(&path)?.unwrap_or_default();
        let mut comment: Vec<&str> = Vec::new();
        let mut after_line = false;
        for (index, raw) in text.lines().enumerate() {
            let said = strip_comment(raw);
            match raw.trim_start().strip_prefix('#') {
                Some(remark) => {
                    // A comment belongs to all lines up to the next blank line or comment.
                    if after_line {
                        comment.clear();
                    }
                    comment.push(remark.trim());
                }
                None if said.is_empty() => comment.clear(),
                None => lines.push(Line {
                    path: path.clone(),
                    number: index + 1,
                    text: said.to_owned(),
                    comment: comment.join("\n").trim().to_owned(),
                }),
            }
            after_line = !said.is_empty();
        }
    }
    Ok(lines)
}

/// A comment starts at a `#` at the line's start or after white space.
fn strip_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return line.get(..at).unwrap_or_default().trim();
        }
        before = c;
    }
    line.trim()
}
