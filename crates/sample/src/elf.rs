//! What the dynamic section of an ELF file says: the libraries it needs and the name it goes by (System V ABI, chapter 5).

/// The machine names that Portage uses in REQUIRES and PROVIDES (`portage.dep.soname.multilib_category`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    X86_32,
}

impl Machine {
    /// Portage's multilib category.
    pub fn category(self) -> &'static str {
        match self {
            Machine::X86_64 => "x86_64",
            Machine::X86_32 => "x86_32",
        }
    }

    /// The name in the first field of NEEDED.ELF.2.
    pub fn needed_name(self) -> &'static str {
        match self {
            Machine::X86_64 => "X86_64",
            Machine::X86_32 => "386",
        }
    }
}

/// The dynamic section of one ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dynamic {
    pub machine: Machine,
    pub soname: Option<String>,
    pub needed: Vec<String>,
    /// RUNPATH, or else RPATH.
    pub runpath: Option<String>,
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Reads the dynamic section. `None` when the bytes are not a little-endian x86 ELF file with such a section (static programs,
/// kernel modules, other machines).
pub fn dynamic(bytes: &[u8]) -> Option<Dynamic> {
    let image = Image::open(bytes)?;
    let segments = image.segments()?;
    let section = segments.iter().find(|s| s.kind == PT_DYNAMIC)?;
    let entries = image.dynamic_entries(section);
    let value = |tag| entries.iter().find(|e| e.0 == tag).map(|e| e.1);
    let strings = file_offset(&segments, value(DT_STRTAB)?)?;
    let string = |offset: u64| image.string(strings.checked_add(offset)?);
    Some(Dynamic {
        machine: image.machine,
        soname: value(DT_SONAME).and_then(string),
        needed: entries.iter().filter(|e| e.0 == DT_NEEDED).filter_map(|e| string(e.1)).collect(),
        runpath: value(DT_RUNPATH).or_else(|| value(DT_RPATH)).and_then(string),
    })
}

struct Image<'a> {
    bytes: &'a [u8],
    machine: Machine,
    wide: bool,
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl<'a> Image<'a> {
    fn open(bytes: &'a [u8]) -> Option<Image<'a>> {
        if bytes.get(..4)? != b"\x7fELF" || *bytes.get(5)? != 1 {
            return None;
        }
        let wide = *bytes.get(4)? == 2;
        let machine = match u16::from_le_bytes(bytes.get(18..20)?.try_into().ok()?) {
            62 => Machine::X86_64,
            3 => Machine::X86_32,
            _ => return None,
        };
        Some(Image { bytes, machine, wide })
    }

    /// An unsigned number of 2, 4 or 8 bytes.
    fn number(&self, offset: u64, width: u64) -> Option<u64> {
        let start = usize::try_from(offset).ok()?;
        let slice = self.bytes.get(start..start.checked_add(width as usize)?)?;
        Some(slice.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    fn segments(&self) -> Option<Vec<Segment>> {
        let (table, size, count) = match self.wide {
            true => (self.number(32, 8)?, self.number(54, 2)?, self.number(56, 2)?),
            false => (self.number(28, 4)?, self.number(42, 2)?, self.number(44, 2)?),
        };
        (0..count).map(|i| self.segment(table.checked_add(i.checked_mul(size)?)?)).collect()
    }

    fn segment(&self, at: u64) -> Option<Segment> {
        let field = |offset: u64, width| self.number(at.checked_add(offset)?, width);
        let kind = field(0, 4)?;
        Some(match self.wide {
            true => Segment { kind, offset: field(8, 8)?, address: field(16, 8)?, size: field(32, 8)? },
            false => Segment { kind, offset: field(4, 4)?, address: field(8, 4)?, size: field(16, 4)? },
        })
    }

    fn dynamic_entries(&self, section: &Segment) -> Vec<(u64, u64)> {
        let width = if self.wide { 8 } else { 4 };
        let entry = |i: u64| {
            let at = section.offset.checked_add(i * 2 * width)?;
            Some((self.number(at, width)?, self.number(at + width, width)?))
        };
        (0..section.size / (2 * width)).map_while(entry).take_while(|e| e.0 != 0).collect()
    }

    fn string(&self, offset: u64) -> Option<String> {
        let rest = self.bytes.get(usize::try_from(offset).ok()?..)?;
        let end = rest.iter().take(4096).position(|b| *b == 0)?;
        String::from_utf8(rest.get(..end)?.to_vec()).ok()
    }
}

fn file_offset(segments: &[Segment], address: u64) -> Option<u64> {
    let holds = |s: &&Segment| s.kind == PT_LOAD && address >= s.address && address - s.address < s.size;
    let segment = segments.iter().find(holds)?;
    segment.offset.checked_add(address - segment.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_program_of_this_machine() {
        let bytes = std::fs::read("/bin/bash").unwrap();
        let dynamic = dynamic(&bytes).unwrap();
        assert!(dynamic.needed.iter().any(|n| n == "libc.so.6"), "{dynamic:?}");
        assert_eq!(dynamic.soname, None);
    }

    #[test]
    fn broken_files_are_no_panic() {
        let whole = std::fs::read("/bin/true").unwrap();
        for cut in (0..whole.len()).step_by(97) {
            dynamic(&whole[..cut]);
        }
        for at in 0..512 {
            let mut bent = whole.clone();
            bent[at] = 0xff;
            dynamic(&bent);
        }
        assert_eq!(dynamic(b"#!/bin/sh\n"), None);
    }
}
