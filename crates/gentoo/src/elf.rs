//! As much of ELF as packages and booting need: what NEEDED.ELF.2, PROVIDES and REQUIRES say, a program's interpreter, a kernel
//! module's `.modinfo`.
//!
//! Reads little-endian files of either class (every architecture Hatchery builds for). Sources: System V gABI chapters 4 and 5.

use thiserror::Error;

/// Why a file could not be read as ELF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ElfError {
    #[error("it is not an ELF file")]
    NotElf,
    #[error("it is a big-endian ELF file, which is not supported")]
    BigEndian,
    #[error("it is cut short or damaged")]
    Damaged,
    #[error("a name in it is no UTF-8 text")]
    Name,
}

/// The most headers and entries looked at; real files have a few dozen, a module built with one section per function some thousand.
const MAX_HEADERS: u64 = 65_536;

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What the dynamic section says, in the words of NEEDED.ELF.2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// The name a library goes by.
    pub soname: Option<String>,
    /// The libraries it names (`DT_NEEDED`), in its order.
    pub needed: Vec<String>,
    /// RUNPATH, or else RPATH.
    pub runpath: Option<String>,
}

/// An ELF file in memory.
#[derive(Clone, Copy)]
pub struct Elf<'a> {
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
    pub fn parse(data: &'a [u8]) -> Result<Elf<'a>, ElfError> {
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
    pub fn machine(&self) -> Result<u64, ElfError> {
        self.number(18, 2)
    }

    /// The machine as the first field of NEEDED.ELF.2 has it: the name of its `EM_` constant without that prefix. None for machines
    /// that no Gentoo runs on with little-endian files.
    pub fn machine_name(&self) -> Option<&'static str> {
        Some(match self.machine().ok()? {
            3 => "386",
            8 => "MIPS",
            21 => "PPC64",
            40 => "ARM",
            62 => "X86_64",
            183 => "AARCH64",
            243 => "RISCV",
            258 => "LOONGARCH",
            _ => return None,
        })
    }

    /// The multilib category of REQUIRES, PROVIDES and NEEDED.ELF.2's last field (`portage.dep.soname.multilib_category`). None where
    /// Portage decides by more than machine and class (MIPS, RISC-V and 32-bit ARM by their ABI flags).
    pub fn multilib_category(&self) -> Option<&'static str> {
        Some(match (self.machine().ok()?, self.wide) {
            (3, false) => "x86_32",
            (62, true) => "x86_64",
            (62, false) => "x86_x32",
            (183, true) => "arm_64",
            (21, true) => "ppc_64",
            _ => return None,
        })
    }

    /// The bytes of the first section of this name, if there is one.
    pub fn section(&self, name: &str) -> Result<Option<&'a [u8]>, ElfError> {
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
    pub fn interpreter(&self) -> Result<Option<Vec<u8>>, ElfError> {
        for segment in self.segments()? {
            if segment.kind == PT_INTERP {
                let bytes = self.slice(segment.offset, segment.size)?;
                return Ok(Some(bytes.split(|b| *b == 0).next().unwrap_or_default().to_vec()));
            }
        }
        Ok(None)
    }

    /// The dynamic section; none in a statically linked program or a kernel module.
    pub fn dynamic(&self) -> Result<Option<Dynamic>, ElfError> {
        let segments = self.segments()?;
        let Some(section) = segments.iter().find(|s| s.kind == PT_DYNAMIC) else { return Ok(None) };
        let entries = self.dynamic_entries(section)?;
        let value = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let names = [DT_NEEDED, DT_SONAME, DT_RPATH, DT_RUNPATH];
        if !entries.iter().any(|entry| names.contains(&entry.0)) {
            return Ok(Some(Dynamic::default()));
        }
        let strings = self.strings(&segments, value(DT_STRTAB).ok_or(ElfError::Damaged)?)?;
        let name = |offset| {
            let bytes = string_at(strings, offset)?;
            std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| ElfError::Name)
        };
        Ok(Some(Dynamic {
            soname: value(DT_SONAME).map(name).transpose()?,
            needed: entries.iter().filter(|e| e.0 == DT_NEEDED).map(|e| name(e.1)).collect::<Result<_, _>>()?,
            runpath: value(DT_RUNPATH).or_else(|| value(DT_RPATH)).map(name).transpose()?,
        }))
    }

    fn dynamic_entries(&self, section: &Segment) -> Result<Vec<(u64, u64)>, ElfError> {
        let word = if self.wide { 8 } else { 4 };
        let mut entries = Vec::new();
        for index in 0..(section.size / (2 * word)).min(MAX_HEADERS) {
            let at = section.offset.checked_add(index * 2 * word).ok_or(ElfError::Damaged)?;
            let (tag, value) = (self.number(at, word)?, self.number(at.checked_add(word).ok_or(ElfError::Damaged)?, word)?);
            if tag == DT_NULL {
                break;
            }
            entries.push((tag, value));
        }
        Ok(entries)
    }

    /// The string table at an address, up to the end of the segment that holds it.
    fn strings(&self, segments: &[Segment], address: u64) -> Result<&'a [u8], ElfError> {
        let holds = |s: &&Segment| s.kind == PT_LOAD && address >= s.address && address - s.address < s.size;
        let holder = segments.iter().find(holds).ok_or(ElfError::Damaged)?;
        let skipped = address - holder.address;
        self.slice(holder.offset.checked_add(skipped).ok_or(ElfError::Damaged)?, holder.size - skipped)
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
                let field = |offset: u64, width| self.number(at.checked_add(offset).ok_or(ElfError::Damaged)?, width);
                let kind = field(0, 4)?;
                let (offset, address, size) = if self.wide {
                    (field(8, 8)?, field(16, 8)?, field(32, 8)?)
                } else {
                    (field(4, 4)?, field(8, 4)?, field(16, 4)?)
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
mod tests {
    use super::*;

    /// A 64-bit relocatable file with one section, `.modinfo`, as a kernel module has it.
    fn module_with(modinfo: &[u8]) -> Vec<u8> {
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
        let dynamic = elf.dynamic().unwrap().unwrap();
        assert!(dynamic.needed.iter().any(|n| n.starts_with("libc.so")), "{dynamic:?}");
        assert_eq!(dynamic.soname, None);
        let loader = std::fs::read(interpreter).unwrap();
        let soname = Elf::parse(&loader).unwrap().dynamic().unwrap().unwrap().soname.unwrap();
        assert!(soname.starts_with("ld-"), "{soname}");
        #[cfg(target_arch = "x86_64")]
        assert_eq!((elf.machine_name(), elf.multilib_category()), (Some("X86_64"), Some("x86_64")));
    }

    #[test]
    fn a_broken_program_is_an_answer_not_a_panic() {
        let whole = std::fs::read("/bin/true").unwrap();
        for cut in (0..whole.len()).step_by(97) {
            let _ = Elf::parse(&whole[..cut]).map(|e| (e.dynamic(), e.interpreter()));
        }
        for at in 0..1024 {
            let mut bent = whole.clone();
            bent[at] = 0xff;
            let _ = Elf::parse(&bent).map(|e| (e.dynamic(), e.interpreter(), e.multilib_category()));
        }
    }

    #[test]
    fn every_truncation_and_flipped_byte_is_an_answer_not_a_panic() {
        let file = module_with(b"depends=a,b\0");
        for cut in 0..file.len() {
            let _ = Elf::parse(&file[..cut]).map(|e| (e.section(".modinfo"), e.interpreter(), e.dynamic(), e.machine()));
        }
        assert_eq!(Elf::parse(&file[..50]).unwrap().section(".modinfo"), Err(ElfError::Damaged));
        for at in 0..file.len() {
            let mut broken = file.clone();
            broken[at] = 0xff;
            let _ = Elf::parse(&broken).map(|e| (e.section(".modinfo"), e.interpreter(), e.dynamic()));
        }
    }
}
