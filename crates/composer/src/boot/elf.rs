//! As much of ELF as booting needs: a module's `.modinfo`, a program's interpreter and the libraries it names.
//!
//! Reads little-endian files of either class (every architecture Hatchery builds for). Sources: System V gABI chapters 4 and 5.

use thiserror::Error;

/// Why a file could not be read as ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum ElfError {
    #[error("it is not an ELF file")]
    NotElf,
    #[error("it is a big-endian ELF file, which is not supported")]
    BigEndian,
    #[error("it is cut short or damaged")]
    Damaged,
}

/// The most headers and entries looked at; real files have a few dozen, a module built with one section per function some thousand.
const MAX_HEADERS: u64 = 65_536;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;

/// An ELF file in memory.
#[derive(Clone, Copy)]
pub(crate) struct Elf<'a> {
    data: &'a [u8],
    wide: bool,
}

/// One program header.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl<'a> Elf<'a> {
    /// Checks the identification bytes; everything else is checked when it is read.
    pub(crate) fn parse(data: &'a [u8]) -> Result<Elf<'a>, ElfError> {
        if data.get(..4) != Some(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let wide = match data.get(4) {
            Some(1) => false,
            Some(2) => true,
            _ => return Err(ElfError::Damaged),
        };
        match data.get(5) {
            Some(1) => Ok(Elf { data, wide }),
            Some(2) => Err(ElfError::BigEndian),
            _ => Err(ElfError::Damaged),
        }
    }

    /// The machine the file is for (`e_machine`): 3 is i386, 62 is x86-64.
    pub(crate) fn machine(&self) -> Result<u64, ElfError> {
        self.number(18, 2)
    }

    /// The bytes of the first section of this name, if there is one.
    pub(crate) fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
        let (table, entry, count, names_index) = if self.wide {
            (self.number(0x28, 8)?, self.number(0x3a, 2)?, self.number(0x3c, 2)?, self.number(0x3e, 2)?)
        } else {
            (self.number(0x20, 4)?, self.number(0x2e, 2)?, self.number(0x30, 2)?, self.number(0x32, 2)?)
        };
        let header = |index: u64| table.checked_add(index * entry).ok_or(ElfError::Damaged);
        let names = self.section_bytes(header(names_index)?)?;
        for index in 0..count.min(MAX_HEADERS) {
            let at = header(index)?;
            let name_at = self.number(at, 4)?;
            if string_at(names, name_at)? == name.as_bytes() {
                return self.section_bytes(at).map(Some);
            }
        }
        Ok(None)
    }

    /// The program interpreter (`/lib64/ld-linux-x86-64.so.2`), none for a statically linked program.
    pub(crate) fn interpreter(&self) -> Result<Option<Vec<u8>>, ElfError> {
        for segment in self.segments()? {
            if segment.kind == PT_INTERP {
                let bytes = self.slice(segment.offset, segment.size)?;
                return Ok(Some(bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()));
            }
        }
        Ok(None)
    }

    /// The libraries the file names (`DT_NEEDED`), in its order.
    pub(crate) fn needed(&self) -> Result<Vec<Vec<u8>>, ElfError> {
        let segments = self.segments()?;
        let Some(dynamic) = segments.iter().find(|s| s.kind == PT_DYNAMIC) else { return Ok(Vec::new()) };
        let word = if self.wide { 8 } else { 4 };
        let mut name_offsets = Vec::new();
        let mut strings_address = None;
        for index in 0..(dynamic.size / (2 * word)).min(MAX_HEADERS) {
            let at = dynamic.offset.checked_add(index * 2 * word).ok_or(ElfError::Damaged)?;
            let (tag, value) = (self.number(at, word)?, self.number(at + word, word)?);
            match tag {
                DT_NULL => break,
                DT_NEEDED => name_offsets.push(value),
                DT_STRTAB => strings_address = Some(value),
                _ => {}
            }
        }
        if name_offsets.is_empty() {
            return Ok(Vec::new());
        }
        let address = strings_address.ok_or(ElfError::Damaged)?;
        let holder = segments
            .iter()
            .find(|s| s.kind == PT_LOAD && address >= s.address && address - s.address < s.size)
            .ok_or(ElfError::Damaged)?;
        let strings = self.slice(
            holder.offset.checked_add(address - holder.address).ok_or(ElfError::Damaged)?,
            holder.size - (address - holder.address),
        )?;
        name_offsets.into_iter().map(|offset| string_at(strings, offset).map(<[u8]>::to_vec)).collect()
    }

    fn segments(&self) -> Result<Vec<Segment>, ElfError> {
        let (table, entry, count) = if self.wide {
            (self.number(0x20, 8)?, self.number(0x36, 2)?, self.number(0x38, 2)?)
        } else {
            (self.number(0x1c, 4)?, self.number(0x2a, 2)?, self.number(0x2c, 2)?)
        };
        (0..count)
            .map(|index| {
                let at = table.checked_add(index * entry).ok_or(ElfError::Damaged)?;
                let kind = self.number(at, 4)?;
                let (offset, address, size) = if self.wide {
                    (self.number(at + 8, 8)?, self.number(at + 16, 8)?, self.number(at + 32, 8)?)
                } else {
                    (self.number(at + 4, 4)?, self.number(at + 8, 4)?, self.number(at + 16, 4)?)
                };
                Ok(Segment { kind, offset, address, size })
            })
            .collect()
    }

    fn section_bytes(&self, header: u64) -> Result<&'a [u8], ElfError> {
        let (offset, size) = if self.wide { (0x18, 8) } else { (0x10, 4) };
        let at = header.checked_add(offset).ok_or(ElfError::Damaged)?;
        self.slice(self.number(at, size)?, self.number(at.checked_add(size).ok_or(ElfError::Damaged)?, size)?)
    }

    fn number(&self, at: u64, size: u64) -> Result<u64, ElfError> {
        Ok(self.slice(at, size)?.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    fn slice(&self, at: u64, size: u64) -> Result<&'a [u8], ElfError> {
        let end = at.checked_add(size).ok_or(ElfError::Damaged)?;
        let range = usize::try_from(at).map_err(|_| ElfError::Damaged)?..usize::try_from(end).map_err(|_| ElfError::Damaged)?;
        self.data.get(range).ok_or(ElfError::Damaged)
    }
}

/// The zero-terminated string at an offset of a string table.
fn string_at(table: &[u8], offset: u64) -> Result<&[u8], ElfError> {
    let rest = usize::try_from(offset).ok().and_then(|o| table.get(o..)).ok_or(ElfError::Damaged)?;
    let end = rest.iter().position(|b| *b == 0).ok_or(ElfError::Damaged)?;
    rest.get(..end).ok_or(ElfError::Damaged)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A 64-bit relocatable file with one section, `.modinfo`, as a kernel module has it.
    pub(crate) fn module_with(modinfo: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut file = vec![0u8; 64];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[18] = 62;
        let modinfo_at = file.len() as u64;
        file.extend_from_slice(modinfo);
        let names_at = file.len() as u64;
        file.extend_from_slice(names);
        let table = file.len() as u64;
        for (name, offset, size) in
            [(0u32, 0u64, 0u64), (1, modinfo_at, modinfo.len() as u64), (10, names_at, names.len() as u64)]
        {
            let mut header = [0u8; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&offset.to_le_bytes());
            header[0x20..0x28].copy_from_slice(&size.to_le_bytes());
            file.extend_from_slice(&header);
        }
        file[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        file[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        file[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
        file[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
        file
    }

    #[test]
    fn a_section_is_found_by_name() {
        let file = module_with(b"name=loop\0depends=\0");
        let elf = Elf::parse(&file).unwrap();
        assert_eq!(elf.section(".modinfo").unwrap(), Some(&b"name=loop\0depends=\0"[..]));
        assert_eq!(elf.section(".text").unwrap(), None);
        assert_eq!(elf.machine().unwrap(), 62);
    }

    #[test]
    fn this_very_program_names_its_interpreter_and_libc() {
        let file = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let elf = Elf::parse(&file).unwrap();
        let interpreter = String::from_utf8(elf.interpreter().unwrap().unwrap()).unwrap();
        assert!(interpreter.contains("/ld-"), "{interpreter}");
        assert!(elf.needed().unwrap().iter().any(|n| n.starts_with(b"libc.so")), "{:?}", elf.needed());
    }

    #[test]
    fn every_truncation_and_flipped_byte_is_an_answer_not_a_panic() {
        let file = module_with(b"depends=a,b\0");
        for cut in 0..file.len() {
            let _ = Elf::parse(&file[..cut]).map(|e| (e.section(".modinfo"), e.interpreter(), e.needed(), e.machine()));
        }
        assert_eq!(Elf::parse(&file[..50]).unwrap().section(".modinfo"), Err(ElfError::Damaged));
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] = 0xff;
            let _ = Elf::parse(&broken).map(|e| (e.section(".modinfo"), e.interpreter(), e.needed()));
        }
    }
}
