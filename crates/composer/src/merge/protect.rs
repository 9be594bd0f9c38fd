//! Protected configuration: what becomes of a file below CONFIG_PROTECT that a package brings (`vartree.py: _protect`,
//! `util: new_protect_filename`; make.conf(5), etc-update(1)).

use std::io;

use gentoo::version::Version;
use image::{Kind, Store, Tree};
use md5::{Digest, Md5};

use super::contents::{Contents, Node};
use super::files::Merge;
use super::package::Md5Reader;
use crate::ComposeError;

/// The instance that a package replaces, as far as the merge of files looks at it.
#[derive(Clone, Debug)]
pub struct Replaced {
    pub contents: Contents,
    /// The new version is older than it.
    pub downgrade: bool,
}

impl Replaced {
    pub fn new(contents: Contents, old: &Version, new: &Version) -> Replaced {
        Replaced { contents, downgrade: new < old }
    }
}

/// What becomes of a protected file.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// The new one takes its place.
    Overwrite,
    /// The old one stays and the new one gets this name.
    Aside(Vec<u8>),
    /// This very update was offered before.
    Skip,
}

impl Merge<'_> {
    pub(super) fn decide(&mut self, path: &[u8], real: &[u8], new: &Node) -> Result<Decision, ComposeError> {
        let there = fingerprint(self.root, self.store, real)?;
        let new_md5 = md5_of(new);
        let known = self.replaced.and_then(|replaced| replaced.contents.get(path));
        let mut force = false;
        match (known, &there) {
            // An administrator has removed or renamed it, and has to hear of the update.
            (Some(_), None) => force = true,
            (Some(Node::Obj { md5, .. }), Some(Present::File { md5: now })) if md5 == now => return Ok(Decision::Overwrite),
            (Some(Node::Sym { target, .. }), Some(Present::Link { target: now, .. })) if target == now => {
                return Ok(Decision::Overwrite);
            }
            _ => {}
        }
        if let Some(there) = &there {
            let name = format!("/{}", String::from_utf8_lossy(path));
            let remembered = self.memory.get(&name);
            let mut protected = true;
            let mut moved = true;
            if there.md5() == Some(new_md5.as_str()) {
                protected = false;
            } else if remembered == Some(new_md5.as_str()) {
                let ignore_memory = self.replaced.is_some_and(|replaced| replaced.downgrade);
                (protected, moved) = (ignore_memory, ignore_memory);
            }
            let (old_link, new_link) = (there.target(), target_of(new));
            force |= protected && (old_link.is_some() || new_link.is_some()) && old_link != new_link;
            if moved {
                self.memory.set(&name, &new_md5);
            } else if there.md5().is_some_and(|md5| remembered == Some(md5)) {
                self.memory.forget(&name);
            }
            match (protected, moved) {
                (_, false) => return Ok(Decision::Skip),
                (false, true) => return Ok(Decision::Overwrite),
                (true, true) => {}
            }
        }
        // A link that leads nowhere does not count as a file that is there.
        if !force && self.root.lookup(real).is_err() {
            return Ok(Decision::Overwrite);
        }
        let last_offer = there.as_ref().and_then(Present::target).map_or_else(|| new_md5.clone().into_bytes(), <[u8]>::to_vec);
        Ok(Decision::Aside(self.protected_name(real, &last_offer)?))
    }

    /// `._cfg0000_name`, with the number after the highest, or the highest again where it holds what is offered now.
    fn protected_name(&self, real: &[u8], offered: &[u8]) -> Result<Vec<u8>, ComposeError> {
        let at = real.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let (dir, name) = real.split_at(at);
        let number = |child: &[u8]| {
            let rest = child.strip_prefix(b"._cfg")?;
            let digits = std::str::from_utf8(rest.get(..4)?).ok()?;
            (rest.get(5..)? == name).then(|| digits.parse::<u32>().ok()).flatten()
        };
        let siblings = self.root.children(dir.strip_suffix(b"/").unwrap_or(dir));
        let highest = siblings.into_iter().filter_map(|(child, _)| number(child)).max();
        let numbered = |number: u32| [dir, format!("._cfg{number:04}_").as_bytes(), name].concat();
        let Some(highest) = highest else { return Ok(numbered(0)) };
        let last = numbered(highest);
        let holds = match fingerprint(self.root, self.store, &last)? {
            Some(Present::Link { target, .. }) => target == offered,
            Some(Present::File { md5 }) => md5.as_bytes() == offered,
            Some(Present::Other) | None => false,
        };
        Ok(if holds { last } else { numbered(highest.saturating_add(1)) })
    }
}

/// What is at a path.
#[derive(Debug)]
pub enum Present {
    File { md5: String },
    Link { target: Vec<u8>, md5: String },
    Other,
}

impl Present {
    fn md5(&self) -> Option<&str> {
        match self {
            Present::File { md5 } | Present::Link { md5, .. } => Some(md5),
            Present::Other => None,
        }
    }

    fn target(&self) -> Option<&[u8]> {
        match self {
            Present::Link { target, .. } => Some(target),
            Present::File { .. } | Present::Other => None,
        }
    }
}

/// What is at a real path, with its MD5 (of a link: of its target); `None` for nothing.
pub fn fingerprint(tree: &Tree, store: &Store, real: &[u8]) -> Result<Option<Present>, ComposeError> {
    let Some(entry) = tree.get(real) else { return Ok(None) };
    Ok(Some(match &entry.kind {
        Kind::File { blob, .. } => {
            let mut reader = Md5Reader::new(store.reader(blob)?);
            io::copy(&mut reader, &mut io::sink()).map_err(|error| ComposeError::new(error.to_string(), ""))?;
            Present::File { md5: reader.finish() }
        }
        Kind::Symlink(target) => Present::Link { target: target.clone(), md5: hex::encode(Md5::digest(target)) },
        Kind::Dir | Kind::Fifo | Kind::CharDevice { .. } | Kind::BlockDevice { .. } => Present::Other,
    }))
}

fn md5_of(node: &Node) -> String {
    match node {
        Node::Obj { md5, .. } => md5.clone(),
        Node::Sym { target, .. } => hex::encode(Md5::digest(target)),
        Node::Dir | Node::Fif | Node::Dev => String::new(),
    }
}

fn target_of(node: &Node) -> Option<&[u8]> {
    match node {
        Node::Sym { target, .. } => Some(target),
        Node::Obj { .. } | Node::Dir | Node::Fif | Node::Dev => None,
    }
}
