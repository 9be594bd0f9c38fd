//! Reads and verifies a GPKG as Portage's `gpkg.py:_verify_binpkg` does, and more strictly where that costs nobody a good package.

use std::collections::BTreeMap;
use std::io::Read;

use super::manifest::{self, Record};
use super::{MANIFEST, Signatures, VERSION_MEMBER, Verifier};
use crate::binpkg::tar_header::{Member, members};
use crate::binpkg::{Problem, ReadAt, Section};
use crate::compression::Compression;

const MAX_MANIFEST: u64 = 1 << 20;
const MAX_SIGNATURE: u64 = 64 << 10;
/// The compressed metadata; Portage's own limit for remote ones is 10 MB.
const MAX_METADATA: u64 = 32 << 20;
/// The metadata after decompression. The largest part is environment.bz2, some 100 KB.
const MAX_METADATA_INFLATED: u64 = 64 << 20;

/// A verified GPKG.
pub(crate) struct Contents {
    pub(crate) prefix: String,
    pub(crate) metadata: BTreeMap<String, Vec<u8>>,
    pub(crate) image: Section,
    pub(crate) compression: Compression,
    /// Whether signatures were there and found good.
    pub(crate) verified: bool,
}

/// Verifies everything in the file, then reads its metadata.
pub(crate) fn read(file: &Section, signatures: Signatures<'_>) -> Result<Contents, Problem> {
    let container = Container::open(file)?;
    let raw_manifest = container.bounded(MANIFEST, MAX_MANIFEST)?.to_vec()?;
    let verifier = container.verifier(&raw_manifest, signatures)?;
    let records = manifest::parse(&manifest_text(raw_manifest, verifier)?)?;
    container.check_all(&records, verifier)?;
    let (metadata_name, metadata_compression) = container.archive("metadata")?;
    let (image_name, compression) = container.archive("image")?;
    let metadata = read_metadata(container.bounded(&metadata_name, MAX_METADATA)?, metadata_compression)?;
    let image = container.section(&image_name)?;
    Ok(Contents { prefix: container.prefix, metadata, image, compression, verified: verifier.is_some() })
}

struct Container<'a> {
    file: &'a Section,
    prefix: String,
    members: BTreeMap<String, Member>,
}

impl<'a> Container<'a> {
    fn open(file: &'a Section) -> Result<Self, Problem> {
        let mut prefix = None;
        let mut by_name = BTreeMap::new();
        for member in members(file)? {
            let (folder, name) = split_name(&member.name)?;
            if *prefix.get_or_insert_with(|| folder.to_owned()) != folder {
                return Err(Problem::Layout { why: "its members are not all in one folder".into() });
            }
            let name = name.to_owned();
            if by_name.insert(name.clone(), member).is_some() {
                return Err(Problem::Doubled { name });
            }
        }
        let container = Container { file, prefix: prefix.unwrap_or_default(), members: by_name };
        for name in [VERSION_MEMBER, MANIFEST] {
            container.member(name)?;
        }
        Ok(container)
    }

    fn member(&self, name: &str) -> Result<&Member, Problem> {
        self.members.get(name).ok_or_else(|| Problem::Missing { name: name.into() })
    }

    fn section(&self, name: &str) -> Result<Section, Problem> {
        let member = self.member(name)?;
        self.file.part(member.offset, member.size).ok_or_else(|| Problem::truncated(format!("the member {name}")))
    }

    /// A member that will be read into memory.
    fn bounded(&self, name: &str, limit: u64) -> Result<Section, Problem> {
        let section = self.section(name)?;
        match section.len() <= limit {
            true => Ok(section),
            false => Err(Problem::TooLarge { what: format!("its member {name}"), limit }),
        }
    }

    /// Decides whether signatures are checked: any trace of one makes all of them mandatory, unless they are ignored.
    fn verifier<'v>(&self, raw_manifest: &[u8], signatures: Signatures<'v>) -> Result<Option<&'v dyn Verifier>, Problem> {
        let signed = manifest::is_signed(raw_manifest) || self.members.keys().any(|name| name.ends_with(".sig"));
        match signatures {
            Signatures::Required(_) if !signed => Err(Problem::Unsigned),
            Signatures::Required(verifier) => Ok(Some(verifier)),
            Signatures::WhenPresent(verifier) => Ok(signed.then_some(verifier)),
            Signatures::Ignored => Ok(None),
        }
    }

    /// Holds every member against its record, and every record against the members.
    fn check_all(&self, records: &BTreeMap<String, Record>, verifier: Option<&dyn Verifier>) -> Result<(), Problem> {
        if let Some(name) = records.keys().find(|name| !self.members.contains_key(*name)) {
            return Err(Problem::Missing { name: name.clone() });
        }
        for (name, member) in self.members.iter().filter(|(name, _)| *name != MANIFEST) {
            let record = records.get(name).ok_or_else(|| Problem::Unlisted { name: name.clone() })?;
            if record.size != member.size {
                return Err(Problem::WrongSize { name: name.clone(), found: member.size, listed: record.size });
            }
            record.check(name, &Record::of(&mut self.section(name)?)?)?;
        }
        match verifier {
            Some(verifier) => self.check_signatures(verifier),
            None => Ok(()),
        }
    }

    /// Checks the detached signature of each member; only the empty version member needs none (GLEP 78).
    fn check_signatures(&self, verifier: &dyn Verifier) -> Result<(), Problem> {
        for name in self.members.keys().filter(|name| *name != MANIFEST) {
            if let Some(of) = name.strip_suffix(".sig") {
                self.member(of)?;
                continue;
            }
            let signature_name = format!("{name}.sig");
            if !self.members.contains_key(&signature_name) {
                match name == VERSION_MEMBER {
                    true => continue,
                    false => return Err(Problem::Unsealed { name: name.clone() }),
                }
            }
            let signature = self.bounded(&signature_name, MAX_SIGNATURE)?.to_vec()?;
            verifier
                .verify_detached(&mut self.section(name)?, &signature)
                .map_err(|problem| Problem::Signature { name: name.clone(), problem })?;
        }
        Ok(())
    }

    /// The one member `stem.tar[.suffix]`, and its compression.
    fn archive(&self, stem: &str) -> Result<(String, Compression), Problem> {
        let start = format!("{stem}.tar");
        let mut found = self.members.keys().filter(|name| name.starts_with(&start) && !name.ends_with(".sig"));
        let name = found.next().ok_or_else(|| Problem::Missing { name: start.clone() })?;
        if found.next().is_some() {
            return Err(Problem::Doubled { name: start });
        }
        let suffix = name.strip_prefix(&start).unwrap_or_default();
        match Compression::from_suffix(suffix) {
            Some(compression) if compression.is_readable() => Ok((name.clone(), compression)),
            Some(compression) => Err(Problem::Compression { compression: compression.name().into() }),
            None => Err(Problem::Compression { compression: format!("“{}”", suffix.escape_debug()) }),
        }
    }
}

/// Splits `PREFIX/name`, which has exactly one slash.
fn split_name(path: &str) -> Result<(&str, &str), Problem> {
    let layout = || Problem::Layout { why: format!("the member {} is not of the form FOLDER/NAME", path.escape_debug()) };
    let (folder, name) = path.split_once('/').ok_or_else(layout)?;
    match folder.is_empty() || name.is_empty() || name.contains('/') {
        true => Err(layout()),
        false => Ok((folder, name)),
    }
}

/// The text that counts: what was signed, where signatures are checked.
fn manifest_text(raw: Vec<u8>, verifier: Option<&dyn Verifier>) -> Result<Vec<u8>, Problem> {
    let signed = manifest::is_signed(&raw);
    match verifier {
        Some(_) if !signed => Err(Problem::Unsealed { name: MANIFEST.into() }),
        Some(verifier) => {
            verifier.verify_clear_signed(&raw).map_err(|problem| Problem::Signature { name: MANIFEST.into(), problem })
        }
        None if signed => manifest::unverified_text(&raw),
        None => Ok(raw),
    }
}

fn read_metadata(archive: Section, compression: Compression) -> Result<BTreeMap<String, Vec<u8>>, Problem> {
    let undecodable = |e: std::io::Error| Problem::Metadata { why: e.to_string() };
    let mut inflated = Vec::new();
    let reader = compression.reader(archive).map_err(undecodable)?;
    reader.take(MAX_METADATA_INFLATED + 1).read_to_end(&mut inflated).map_err(undecodable)?;
    if inflated.len() as u64 > MAX_METADATA_INFLATED {
        return Err(Problem::TooLarge { what: "its metadata".into(), limit: MAX_METADATA_INFLATED });
    }
    let mut metadata = BTreeMap::new();
    for member in members(&inflated[..])? {
        let key = member
            .name
            .strip_prefix("metadata/")
            .filter(|key| !key.is_empty() && !key.contains('/') && *key != ".." && *key != ".");
        let key =
            key.ok_or_else(|| Problem::Layout { why: format!("its metadata has a file {}", member.name.escape_debug()) })?;
        let start = usize::try_from(member.offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(usize::try_from(member.size).unwrap_or(usize::MAX));
        let value = inflated.get(start..end).ok_or_else(|| Problem::truncated(format!("its metadata {key}")))?;
        if metadata.insert(key.to_owned(), value.to_vec()).is_some() {
            return Err(Problem::Doubled { name: member.name });
        }
    }
    Ok(metadata)
}
