//! The index `Packages` of the channel's binhost.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use gentoo::Text;
use gentoo::index::{Entry, Packages};

use crate::SampleError;
use crate::arch::{Arch, Init};
use crate::package::{Metadata, REPOSITORY};
use crate::plan::Target;

/// What the index says of a package file.
pub(crate) struct Summary<'a> {
    pub size: u64,
    pub md5: &'a str,
    pub sha1: &'a str,
}

/// Writes the index and its compressed copy, unless they say the same already; the number of entries.
pub(crate) fn write(arch: Arch, binhost: &Path, entries: Vec<Entry>) -> Result<usize, SampleError> {
    let path = binhost.join("Packages");
    let count = entries.len();
    let mut index = Packages { header: header(arch, entries.len()), entries };
    // An index that says the same keeps its time, so that nobody fetches it again.
    let old = fs::read(&path).ok().and_then(|bytes| Packages::parse(&bytes).ok());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let old_time = old.as_ref().and_then(Packages::timestamp);
    index.header.insert("TIMESTAMP".to_owned(), old_time.unwrap_or(now).to_string());
    let mut bytes = index.to_bytes();
    if fs::read(&path).is_ok_and(|old| old == bytes) && binhost.join("Packages.gz").exists() {
        return Ok(count);
    }
    index.header.insert("TIMESTAMP".to_owned(), now.max(old_time.map_or(0, |t| t + 1)).to_string());
    bytes = index.to_bytes();
    binhost::put_index(binhost, &bytes).map_err(SampleError::io(&path))?;
    Ok(count)
}

fn header(arch: Arch, packages: usize) -> BTreeMap<String, String> {
    let keyword = arch.keyword();
    let implicit = format!("abi_x86_{} prefix prefix-guest prefix-stack", arch.abi_x86());
    let enabled = arch.implicit_use().join(" ");
    let mut values = BTreeMap::new();
    for (key, value) in [
        ("ACCEPT_KEYWORDS", keyword),
        ("ACCEPT_LICENSE", "*"),
        ("ACCEPT_PROPERTIES", "*"),
        ("ACCEPT_RESTRICT", "*"),
        ("ARCH", keyword),
        ("CBUILD", arch.chost()),
        ("CHOST", arch.chost()),
        ("CONFIG_PROTECT", "/etc"),
        ("CONFIG_PROTECT_MASK", "/etc/env.d /etc/gentoo-release"),
        ("DESC", "Hatchery's sample channel: in the shape of Gentoo's binary packages, made from Debian's binaries"),
        ("ELIBC", "glibc"),
        ("FEATURES", "binpkg-multi-instance"),
        ("IUSE_IMPLICIT", &implicit),
        ("KERNEL", "linux"),
        ("PROFILE", arch.profile(Init::OpenRc)),
        ("REPO", REPOSITORY),
        ("USE", &enabled),
        (
            "USE_EXPAND",
            "ABI_X86 CPU_FLAGS_X86 ELIBC GRUB_PLATFORMS INPUT_DEVICES KERNEL NGINX_MODULES_HTTP PERL_FEATURES VIDEO_CARDS",
        ),
        ("USE_EXPAND_HIDDEN", "ELIBC KERNEL"),
        ("USE_EXPAND_IMPLICIT", "ARCH ELIBC KERNEL"),
        ("USE_EXPAND_UNPREFIXED", "ARCH"),
        ("USE_EXPAND_VALUES_ARCH", "amd64 x86"),
        ("USE_EXPAND_VALUES_ELIBC", "glibc musl"),
        ("USE_EXPAND_VALUES_KERNEL", "linux"),
        ("VERSION", "0"),
    ] {
        values.insert(key.to_owned(), value.to_owned());
    }
    values.insert("PACKAGES".to_owned(), packages.to_string());
    values
}

/// The entry of one package.
pub(crate) fn entry(target: &Target, note: &Summary, metadata: &Metadata) -> Entry {
    let field = |key: &str| Text::from(metadata.fields.get(key).map_or("", String::as_str));
    let (slot, subslot) = &target.slot;
    let mut entry = Entry::new(target.cpv.clone());
    (entry.slot, entry.subslot) = (slot.as_str().into(), subslot.as_str().into());
    entry.eapi = field("EAPI");
    entry.keywords = field("KEYWORDS");
    entry.license = field("LICENSE");
    entry.properties = field("PROPERTIES");
    entry.iuse = field("IUSE").into();
    entry.use_flags = field("USE").into();
    entry.depend = field("DEPEND");
    entry.rdepend = field("RDEPEND");
    entry.pdepend = field("PDEPEND");
    entry.idepend = field("IDEPEND");
    entry.build_id = Some(target.build_id);
    entry.build_time = metadata.build_time;
    entry.mtime = metadata.build_time;
    entry.size = note.size;
    entry.path = target.path().into();
    entry.md5 = Some(note.md5.into());
    entry.sha1 = Some(note.sha1.into());
    entry.chost = Text::from_static(target.arch.chost());
    entry.repo = Text::from_static(REPOSITORY);
    entry.desc = field("DESCRIPTION");
    entry.defined_phases = field("DEFINED_PHASES");
    entry.requires = field("REQUIRES");
    entry.provides = field("PROVIDES");
    entry
}
