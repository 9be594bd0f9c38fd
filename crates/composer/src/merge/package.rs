//! A package's image: its tar stream read once into the store and a tree of its own (what PMS calls `D`).

use std::collections::BTreeMap;
use std::io::{self, Read};

use gentoo::binpkg::BinaryPackage;
use image::{BlobId, Entry, Kind, LinkId, Store, StoreError, Tree};
use md5::{Digest, Md5};
use tar::{Archive, EntryType};

use super::accounts::Names;
use super::meter::Meter;
use crate::ComposeError;

/// Most entries that one package may have: the sources of a kernel are some 90,000.
const MAX_ENTRIES: usize = 500_000;
/// Where pax headers keep extended attributes.
const PAX_XATTR: &str = "SCHILY.xattr.";

/// Whether an archive may hold device nodes: a package may not (GLEP 78), a stage3 does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    Refused,
    Taken,
}

/// What an archive is held to, and whom its owners are.
#[derive(Clone, Copy, Debug)]
pub struct TarRules {
    /// Bytes of the archive as it is stored; what it may unpack to follows from it.
    pub compressed: u64,
    pub devices: Devices,
}

/// The image of one package.
#[derive(Clone, Debug)]
pub struct Image {
    pub tree: Tree,
    /// Hexadecimal MD5 of contents seen so far, as CONTENTS records it.
    pub md5: BTreeMap<BlobId, String>,
    /// Names of users and groups, by path, where they are others than root.
    named: BTreeMap<Vec<u8>, (Option<String>, Option<String>)>,
}

impl Image {
    /// The image that a tree is.
    pub fn of(tree: Tree) -> Image {
        Image { tree, md5: BTreeMap::new(), named: BTreeMap::new() }
    }

    /// Reads the image of a package. Owners are by number until [`Image::give_to`].
    pub fn read(package: &BinaryPackage, store: &Store) -> Result<Image, ComposeError> {
        let stream = package.image().map_err(|error| unreadable(&error))?;
        Image::read_tar(stream, &TarRules { compressed: package.image_size(), devices: Devices::Refused }, store)
    }

    /// Reads a tar stream to its end. Owners are by number.
    pub fn read_tar(stream: impl Read, rules: &TarRules, store: &Store) -> Result<Image, ComposeError> {
        let mut image = Image::of(Tree::new());
        let mut meter = Meter::new(rules.compressed);
        let mut archive = Archive::new(meter.stream(stream));
        let mut entries = archive.entries().map_err(unpackable)?;
        for _ in 0..=MAX_ENTRIES {
            meter.before_headers();
            let Some(entry) = entries.next() else {
                // To the end of the stream, where its own checksum is.
                io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unpackable)?;
                return Ok(image);
            };
            meter.after_headers();
            image.add(entry.map_err(unpackable)?, &mut meter, rules, store)?;
        }
        Err(refused(format!("it has more than {MAX_ENTRIES} files")))
    }

    fn add<R: Read>(
        &mut self,
        mut entry: tar::Entry<'_, R>,
        meter: &mut Meter,
        rules: &TarRules,
        store: &Store,
    ) -> Result<(), ComposeError> {
        let raw = entry.path_bytes().into_owned();
        let path = BinaryPackage::image_path(&raw).map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        let kind = match entry.header().entry_type() {
            EntryType::Directory => Kind::Dir,
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => self.file(meter.content(&mut entry), store)?,
            EntryType::Link => return self.hard_link(&entry, &path),
            EntryType::Symlink => {
                let target = entry.link_name_bytes().ok_or_else(|| refused(format!("{} is a link to nothing", shown(&path))))?;
                Kind::Symlink(target.into_owned())
            }
            EntryType::Fifo => Kind::Fifo,
            EntryType::Char | EntryType::Block if rules.devices == Devices::Taken => device(entry.header())?,
            EntryType::Char | EntryType::Block => {
                return Err(refused(format!("{} is a device, which no package may hold (GLEP 78)", shown(&path))));
            }
            // Headers for the archive itself say nothing about files.
            EntryType::XGlobalHeader => return Ok(()),
            other => return Err(refused(format!("{} is of a kind no file has ({other:?})", shown(&path)))),
        };
        let (mut mode, uid, gid, mtime) = numbers(entry.header()).map_err(|error| unreadable(&error))?;
        let header = entry.header();
        let owner = |name: Result<Option<&str>, _>| name.ok().flatten().filter(|name| !name.is_empty()).map(str::to_owned);
        let (user, group) = (owner(header.username()), owner(header.groupname()));
        if matches!(kind, Kind::Symlink(_)) {
            mode = 0o777;
        }
        let xattrs = xattrs(&mut entry).map_err(|error| unreadable(&error))?;
        let is_root = |name: &Option<String>, id| name.is_none() || (name.as_deref() == Some("root") && id == 0);
        match is_root(&user, uid) && is_root(&group, gid) {
            true => self.named.remove(&path),
            false => self.named.insert(path.clone(), (user, group)),
        };
        let entry = Entry { kind, mode, uid, gid, mtime, xattrs };
        self.tree.insert(&path, entry).map_err(|error| refused(error.to_string()))?;
        Ok(())
    }

    fn file<R: Read>(&mut self, content: R, store: &Store) -> Result<Kind, ComposeError> {
        let mut reader = Md5Reader::new(content);
        let (blob, size) = store.put(&mut reader).map_err(|error| match error {
            StoreError::Source(error) => unpackable(error),
            other => other.into(),
        })?;
        self.md5.insert(blob, reader.finish());
        Ok(Kind::File { blob, size, link: None })
    }

    fn hard_link<R: Read>(&mut self, entry: &tar::Entry<'_, R>, path: &[u8]) -> Result<(), ComposeError> {
        let target = entry.link_name_bytes().map(|target| target.into_owned()).unwrap_or_default();
        let target = BinaryPackage::image_path(&target).map_err(|error| refused(error.to_string()))?.unwrap_or_default();
        self.tree
            .hard_link(&target, path)
            .map_err(|error| refused(format!("{} is a hard link to what was not there before it: {error}", shown(path))))
    }

    /// Gives files to their owners in a root, by name first (GLEP 78 says so of extraction).
    pub fn give_to(&mut self, names: &Names) {
        let mut linked: BTreeMap<LinkId, (u32, u32)> = BTreeMap::new();
        for (path, (user, group)) in std::mem::take(&mut self.named) {
            let Some(entry) = self.tree.get_mut(&path) else { continue };
            (entry.uid, entry.gid) = (names.uid(user.as_deref(), entry.uid), names.gid(group.as_deref(), entry.gid));
            linked.extend(entry.link().map(|link| (link, (entry.uid, entry.gid))));
        }
        let groups = if linked.is_empty() { BTreeMap::new() } else { self.tree.link_groups() };
        let others = groups.into_iter().filter_map(|(link, paths)| Some((*linked.get(&link)?, paths)));
        let others: Vec<((u32, u32), Vec<u8>)> =
            others.flat_map(|(owner, paths)| paths.into_iter().map(move |path| (owner, path.to_vec()))).collect();
        for (owner, path) in others {
            if let Some(entry) = self.tree.get_mut(&path) {
                (entry.uid, entry.gid) = owner;
            }
        }
    }

    /// The MD5 of a content, from the store where it was not computed yet.
    pub fn md5_of(&mut self, blob: &BlobId, store: &Store) -> Result<String, ComposeError> {
        if let Some(known) = self.md5.get(blob) {
            return Ok(known.clone());
        }
        let mut reader = Md5Reader::new(store.reader(blob)?);
        io::copy(&mut reader, &mut io::sink()).map_err(|error| unreadable(&error))?;
        let sum = reader.finish();
        self.md5.insert(*blob, sum.clone());
        Ok(sum)
    }

    /// Portage's FEATURES=sfperms: nobody reads a set-id program who may only run it.
    pub fn restrict_set_id(&mut self) {
        let paths: Vec<Vec<u8>> = self.tree.iter().filter(|(_, entry)| entry.is_file()).map(|(path, _)| path.to_vec()).collect();
        for path in paths {
            if let Some(entry) = self.tree.get_mut(&path) {
                entry.mode &= match (entry.mode & 0o4000 != 0, entry.mode & 0o2000 != 0) {
                    (true, false) => !0o044,
                    (_, true) => !0o004,
                    (false, false) => !0,
                };
            }
        }
    }
}

/// A device node, with numbers as Linux has them.
fn device(header: &tar::Header) -> Result<Kind, ComposeError> {
    let number =
        |number: io::Result<Option<u32>>| number.ok().flatten().ok_or_else(|| refused("it has a device without numbers".into()));
    let (major, minor) = (number(header.device_major())?, number(header.device_minor())?);
    Ok(match header.entry_type() {
        EntryType::Char => Kind::CharDevice { major, minor },
        _ => Kind::BlockDevice { major, minor },
    })
}

/// Mode, uid, gid and mtime of a header.
fn numbers(header: &tar::Header) -> io::Result<(u32, u32, u32, i64)> {
    let id = |id: u64| u32::try_from(id).map_err(|_| io::Error::other("an owner's number is too large"));
    let mtime = i64::try_from(header.mtime()?).map_err(|_| io::Error::other("a time is too late"))?;
    Ok((header.mode()? & 0o7777, id(header.uid()?)?, id(header.gid()?)?, mtime))
}

fn xattrs<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut found = BTreeMap::new();
    if let Some(extensions) = entry.pax_extensions()? {
        for extension in extensions {
            let extension = extension?;
            if let Some(name) = extension.key_bytes().strip_prefix(PAX_XATTR.as_bytes()) {
                found.insert(name.to_vec(), extension.value_bytes().to_vec());
            }
        }
    }
    Ok(found)
}

/// Computes the MD5 of what is read through it.
pub struct Md5Reader<R> {
    inner: R,
    md5: Md5,
}

impl<R> Md5Reader<R> {
    pub fn new(inner: R) -> Md5Reader<R> {
        Md5Reader { inner, md5: Md5::new() }
    }

    /// Of all that was read, hexadecimal.
    pub fn finish(self) -> String {
        hex::encode(self.md5.finalize())
    }
}

impl<R: Read> Read for Md5Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.md5.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// A path for people.
pub fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path).escape_debug())
}

fn refused(why: String) -> ComposeError {
    ComposeError::new(
        format!("the package is refused: {why}"),
        "Tell the operator of the binhost; leave the package out meanwhile.",
    )
}

/// The stream is damaged, or gives more than it may.
fn unpackable(error: io::Error) -> ComposeError {
    match error.kind() {
        io::ErrorKind::FileTooLarge => refused(error.to_string()),
        _ => unreadable(&error),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> ComposeError {
    ComposeError::new(
        format!("its image cannot be read: {error}"),
        "The file may be damaged: fetch it again, or take another build.",
    )
}
