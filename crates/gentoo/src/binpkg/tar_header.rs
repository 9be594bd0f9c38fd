//! Tar headers as binary packages have them: ustar and GNU, read strictly for the containers, written deterministically. The image
//! archive of a package is read by whoever merges it; what is here reads the outer archive of a GPKG and the one of its metadata.

use super::error::Problem;
use super::section::ReadAt;

pub(crate) const BLOCK: u64 = 512;
/// Members of one archive; a package has seven outside and some forty of metadata.
const MAX_MEMBERS: usize = 4096;
const MAX_NAME: u64 = 4096;
/// Zeros after the end that are taken for padding: Portage pads to 10 KiB, tapes had larger records.
const MAX_PADDING: u64 = 1 << 20;

/// A regular file in an archive.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// Lists an archive that must hold nothing but regular files in ustar or GNU form, be complete and end there.
pub(crate) fn members(source: &(impl ReadAt + ?Sized)) -> Result<Vec<Member>, Problem> {
    let mut members = Vec::new();
    let mut offset = 0;
    let mut long_name = None;
    while let Some(header) = read_header(source, offset)? {
        let data = offset + BLOCK;
        let end = data.checked_add(header.size).ok_or_else(|| bad(offset, "has an impossible size"))?;
        if end > source.len() {
            return Err(Problem::truncated(format!("the member {}", header.name.escape_debug())));
        }
        match header.kind {
            b'0' | 0 => {
                let name = long_name.take().unwrap_or(header.name);
                members.push(Member { name, offset: data, size: header.size });
            }
            b'L' if long_name.is_none() && header.size <= MAX_NAME => {
                long_name = Some(read_long_name(source, data, header.size)?)
            }
            b'L' => return Err(bad(offset, "has a doubled or overlong name")),
            b'x' | b'g' => return Err(bad(offset, "is of the PAX form, which GLEP 78 excludes")),
            _ => return Err(bad(offset, "is not of a regular file")),
        }
        if members.len() > MAX_MEMBERS {
            return Err(bad(offset, "is one of too many"));
        }
        offset = end.next_multiple_of(BLOCK);
    }
    if long_name.is_some() {
        return Err(bad(offset, "has no file to its long name"));
    }
    check_end(source, offset)?;
    Ok(members)
}

struct Header {
    name: String,
    size: u64,
    kind: u8,
}

/// Reads the header at `offset`; `None` for the block of zeros that ends an archive.
fn read_header(source: &(impl ReadAt + ?Sized), offset: u64) -> Result<Option<Header>, Problem> {
    let mut block = [0; BLOCK as usize];
    if offset.checked_add(BLOCK).is_none_or(|end| end > source.len()) {
        return Err(Problem::truncated("its list of members"));
    }
    source.read_exact_at(&mut block, offset)?;
    if block.iter().all(|b| *b == 0) {
        return Ok(None);
    }
    if number(&block[148..156]) != Some(checksum(&block)) {
        return Err(bad(offset, "does not fit its checksum"));
    }
    let ustar = block[257..265] == *b"ustar\x0000";
    let gnu = block[257..265] == *b"ustar  \0";
    if !ustar && !gnu {
        return Err(bad(offset, "is neither ustar nor GNU"));
    }
    let mut name = text(&block[..100], offset)?;
    let prefix = text(&block[345..500], offset)?;
    if ustar && !prefix.is_empty() {
        name = format!("{prefix}/{name}");
    }
    let size = number(&block[124..136]).ok_or_else(|| bad(offset, "has an impossible size"))?;
    Ok(Some(Header { name, size, kind: block[156] }))
}

fn read_long_name(source: &(impl ReadAt + ?Sized), offset: u64, size: u64) -> Result<String, Problem> {
    // The caller holds the size to MAX_NAME.
    let mut name = vec![0; size as usize];
    source.read_exact_at(&mut name, offset)?;
    text(&name, offset)
}

/// Two blocks of zeros end an archive, more may follow, anything else may not.
fn check_end(source: &(impl ReadAt + ?Sized), offset: u64) -> Result<(), Problem> {
    let rest = source.len() - offset;
    if rest < 2 * BLOCK {
        return Err(Problem::truncated("the end of its archive"));
    }
    if rest > MAX_PADDING {
        return Err(Problem::Trailing { bytes: rest });
    }
    let mut padding = vec![0; rest as usize];
    source.read_exact_at(&mut padding, offset)?;
    if padding.iter().any(|b| *b != 0) {
        return Err(Problem::Trailing { bytes: rest - 2 * BLOCK });
    }
    Ok(())
}

fn bad(offset: u64, why: &'static str) -> Problem {
    Problem::Header { offset, why }
}

/// A field up to its first NUL. Names of containers are ASCII in practice; what is not UTF-8 is refused.
fn text(field: &[u8], offset: u64) -> Result<String, Problem> {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    let text =
        std::str::from_utf8(field.get(..end).unwrap_or_default()).map_err(|_| bad(offset, "has a name that is not UTF-8"))?;
    if text.chars().any(char::is_control) {
        return Err(bad(offset, "has a name with control characters"));
    }
    Ok(text.to_owned())
}

/// The sum of a header's bytes with its checksum field read as spaces.
fn checksum(block: &[u8; BLOCK as usize]) -> u64 {
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let field: u64 = block[148..156].iter().map(|b| u64::from(*b)).sum();
    sum - field + 8 * u64::from(b' ')
}

/// A numeric field: octal digits with blanks or NULs around, or GNU's base 256.
fn number(field: &[u8]) -> Option<u64> {
    if let [first, rest @ ..] = field
        && *first == 0x80
    {
        let (high, low) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
        return high.iter().all(|b| *b == 0).then(|| low.iter().fold(0, |n, b| n << 8 | u64::from(*b)));
    }
    let text = std::str::from_utf8(field).ok()?.trim_matches([' ', '\0']);
    match text.is_empty() {
        true => Some(0),
        false if text.bytes().all(|b| b.is_ascii_digit()) => u64::from_str_radix(text, 8).ok(),
        false => None,
    }
}

/// What a written header says about a file besides its name.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Permission bits, 07777.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    /// The owner's name, which counts more than the number when a package is merged; empty for none.
    pub user: &'a str,
    pub group: &'a str,
    /// Seconds since the epoch.
    pub mtime: u64,
}

impl Attributes<'_> {
    /// A file of the archive itself, as Portage writes them: mode 0644, no owner.
    pub(crate) fn plain(mtime: u64) -> Attributes<'static> {
        Attributes { mode: 0o644, uid: 0, gid: 0, user: "", group: "", mtime }
    }
}

/// A header in ustar form; `None` when the name does not fit it.
pub(crate) fn ustar(name: &str, size: u64, attributes: &Attributes) -> Option<Vec<u8>> {
    if size >= 8_000_000_000 {
        return None;
    }
    let (prefix, name) = match name.len() <= 100 {
        true => ("", name),
        false => name.rsplit_once('/').filter(|(prefix, name)| prefix.len() < 154 && name.len() <= 100)?,
    };
    let mut block = fields(name.as_bytes(), b"", b'0', size, attributes);
    block[257..265].copy_from_slice(b"ustar\x0000");
    put(&mut block[345..500], prefix.as_bytes());
    seal(&mut block);
    Some(block.to_vec())
}

/// A header in GNU form, with blocks for a long name and a long link before it where they are needed.
pub(crate) fn gnu(name: &[u8], link: &[u8], kind: u8, size: u64, attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    for (long, kind) in [(link, b'K'), (name, b'L')] {
        if long.len() > 100 {
            let mut block = fields(b"././@LongLink", b"", kind, long.len() as u64 + 1, &Attributes::plain(0));
            block[257..265].copy_from_slice(b"ustar  \0");
            seal(&mut block);
            out.extend_from_slice(&block);
            out.extend_from_slice(long);
            out.push(0);
            out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
        }
    }
    let mut block = fields(name, link, kind, size, attributes);
    block[257..265].copy_from_slice(b"ustar  \0");
    seal(&mut block);
    out.extend_from_slice(&block);
    out
}

fn fields(name: &[u8], link: &[u8], kind: u8, size: u64, attributes: &Attributes) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    put(&mut block[..100], name);
    put_number(&mut block[100..108], u64::from(attributes.mode & 0o7777));
    put_number(&mut block[108..116], attributes.uid);
    put_number(&mut block[116..124], attributes.gid);
    put_number(&mut block[124..136], size);
    put_number(&mut block[136..148], attributes.mtime);
    block[156] = kind;
    put(&mut block[157..257], link);
    put(&mut block[265..296], attributes.user.as_bytes());
    put(&mut block[297..328], attributes.group.as_bytes());
    block
}

fn put(field: &mut [u8], bytes: &[u8]) {
    for (to, from) in field.iter_mut().zip(bytes) {
        *to = *from;
    }
}

/// Octal with a closing NUL where it fits, else GNU's base 256.
fn put_number(field: &mut [u8], value: u64) {
    let digits = format!("{value:0width$o}", width = field.len() - 1);
    if digits.len() < field.len() {
        return put(field, digits.as_bytes());
    }
    // A field of eight bytes keeps its first for the mark, so the highest byte of the value is lost there: no owner is that large.
    let bytes = value.to_le_bytes().into_iter().chain(std::iter::repeat(0));
    field.iter_mut().rev().zip(bytes).for_each(|(to, from)| *to = from);
    if let Some(mark) = field.first_mut() {
        *mark = 0x80;
    }
}

fn seal(block: &mut [u8; BLOCK as usize]) {
    let sum = format!("{:06o}\0 ", checksum(block));
    block[148..156].copy_from_slice(sum.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        for (name, data) in parts {
            let header = ustar(name, data.len() as u64, &Attributes::plain(7));
            out.extend(header.unwrap_or_else(|| gnu(name.as_bytes(), b"", b'0', data.len() as u64, &Attributes::plain(7))));
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    }

    #[test]
    fn names_of_any_length_come_back() {
        let names = ["p/a".to_owned(), format!("{}/b", "x".repeat(120)), format!("{}/c", "y".repeat(200))];
        let bytes = archive(&[(&names[0], b"1"), (&names[1], b""), (&names[2], &[3; 600])]);
        let found = members(&bytes[..]).unwrap();
        assert_eq!(found.iter().map(|m| m.name.clone()).collect::<Vec<_>>(), names);
        assert_eq!(found.iter().map(|m| m.size).collect::<Vec<_>>(), [1, 0, 600]);
    }

    #[test]
    fn the_tar_crate_reads_what_is_written() {
        let attributes = Attributes { mode: 0o4755, uid: 3_000_000, gid: 12, user: "u", group: "g", mtime: 99 };
        let mut bytes = gnu(&[b'n'; 150], &[b'l'; 140], b'2', 0, &attributes);
        bytes.resize(bytes.len() + 1024, 0);
        let mut archive = tar::Archive::new(&bytes[..]);
        let entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path_bytes().as_ref(), [b'n'; 150]);
        assert_eq!(entry.link_name_bytes().unwrap().as_ref(), [b'l'; 140]);
        let header = entry.header();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mode().unwrap()), (3_000_000, 12, 0o4755));
        assert_eq!((header.username_bytes(), header.mtime().unwrap()), (Some(&b"u"[..]), 99));
    }

    #[test]
    fn each_kind_of_damage_has_its_message() {
        let good = archive(&[("p/a", b"1")]);
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            members(&bytes[..]).unwrap_err()
        };
        assert!(matches!(with(0, b'q'), Problem::Header { why: "does not fit its checksum", .. }));
        assert!(matches!(with(good.len() - 1, 1), Problem::Trailing { .. }));
        assert!(matches!(members(&good[..good.len() - 512]).unwrap_err(), Problem::Truncated { .. }));
        assert!(matches!(members(&good[..700]).unwrap_err(), Problem::Truncated { .. }));
        let mut link = gnu(b"p/a", b"b", b'2', 0, &Attributes::plain(0));
        link.resize(link.len() + 1024, 0);
        assert!(matches!(members(&link[..]).unwrap_err(), Problem::Header { why: "is not of a regular file", .. }));
    }

    #[test]
    fn large_numbers_survive() {
        for value in [0, 1, 0o77777777777, 0o100000000000, u64::MAX >> 1] {
            let mut field = [0; 12];
            put_number(&mut field, value);
            assert_eq!(number(&field), Some(value));
        }
        assert_eq!(number(b"\x80\x01\0\0\0\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"12345678901x"), None);
    }
}
