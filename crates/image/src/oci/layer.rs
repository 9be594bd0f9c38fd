//! What a stage changes, as a tree of its own (OCI image specification, "Image Layer Filesystem Changeset").

use std::collections::BTreeSet;

use crate::entry::{Entry, Kind, LinkId};
use crate::store::BlobId;
use crate::tree::Tree;
use crate::write::Error;

/// All that is new or different in `after`, with the directories it is in, and a whiteout for each thing that is gone.
pub(super) fn difference(before: &Tree, after: &Tree) -> Result<Tree, Error> {
    let mut layer = Tree::new();
    let changed_links = changed_links(before, after);
    for (path, entry) in after.iter() {
        let changed = before.get(path) != Some(entry);
        // A hard link needs the file it is a name of in its own layer.
        if changed || entry.link().is_some_and(|link| changed_links.contains(&link)) {
            add(&mut layer, after, path, entry.clone())?;
        }
    }
    for (path, entry) in before.iter().filter(|(path, _)| !after.contains(path)) {
        let (parent, name) = split(path);
        // What was in a directory that is gone too goes with it.
        if after.get(parent).is_some_and(Entry::is_dir) {
            let whiteout = Entry::file(BlobId::of(b""), 0, 0o644).with_mtime(entry.mtime);
            let path = if parent.is_empty() { [b".wh.", name].concat() } else { [parent, b"/.wh.", name].concat() };
            add(&mut layer, after, &path, whiteout)?;
        }
    }
    // Alone it would only repeat the root directory.
    if layer.len() == 1 && before.get("") == after.get("") {
        return Ok(Tree::new());
    }
    Ok(layer)
}

/// Inodes of which some name is new or different.
fn changed_links(before: &Tree, after: &Tree) -> BTreeSet<LinkId> {
    let changed = |(path, entry): (&[u8], &Entry)| entry.link().filter(|_| before.get(path) != Some(entry));
    after.iter().filter_map(changed).collect()
}

/// Puts an entry after the directories above it, which keep their metadata.
fn add(layer: &mut Tree, after: &Tree, path: &[u8], entry: Entry) -> Result<(), Error> {
    let mut above: Vec<&[u8]> =
        std::iter::successors(Some(split(path).0), |dir| Some(split(dir).0).filter(|_| !dir.is_empty())).collect();
    above.reverse();
    for dir in above {
        if let Some(entry) = after.get(dir).filter(|entry| matches!(entry.kind, Kind::Dir)) {
            layer.insert(dir, entry.clone())?;
        }
    }
    layer.insert(path, entry)?;
    Ok(())
}

/// A path's directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
        None => (b"", path),
    }
}
