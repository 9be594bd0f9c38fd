//! A GUID partition table with its protective MBR (UEFI 2.10, chapter 5), and GRUB's place in both.

use super::SECTOR;
use crate::bytes::{put, put_u16, put_u32, put_u64};
use crate::write::Error;

/// Bytes at either end of a disk that belong to the table.
pub(crate) const TABLE: u64 = 34 * SECTOR;

const ENTRIES: u64 = 128;
const ENTRY: u64 = 128;
const HEADER_SIZE: u32 = 92;

/// What a partition is for, by the GUID that says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    BiosBoot,
    EfiSystem,
    Linux,
    /// What other systems show to people: "basic data" in the words of Windows.
    Data,
}

impl Purpose {
    fn guid(self) -> [u8; 16] {
        match self {
            Purpose::BiosBoot => *b"Hah!IdontNeedEFI",
            Purpose::EfiSystem => guid(0xc12a_7328, 0xf81f, 0x11d2, 0xba4b_00a0_c93e_c93b),
            Purpose::Data => guid(0xebd0_a0a2, 0xb9e5, 0x4433, 0x87c0_68b6_b726_99c7),
            Purpose::Linux => guid(0x0fc6_3daf, 0x8483, 0x4772, 0x8e79_3d69_d847_7de4),
        }
    }
}

/// A GUID as it is stored: its first three groups little-endian.
fn guid(a: u32, b: u16, c: u16, d: u64) -> [u8; 16] {
    let mut bytes = [0; 16];
    put_u32(&mut bytes, 0, a);
    put_u16(&mut bytes, 4, b);
    put_u16(&mut bytes, 6, c);
    put(&mut bytes, 8, &d.to_be_bytes());
    bytes
}

/// A partition; places in bytes, multiples of a sector.
pub(crate) struct Partition {
    pub purpose: Purpose,
    pub id: [u8; 16],
    pub name: &'static str,
    pub start: u64,
    pub size: u64,
}

/// Both copies of the table and the MBR of a disk of this size, each with its place.
pub(crate) fn table(size: u64, id: [u8; 16], partitions: &[Partition], boot_code: &[u8]) -> [(u64, Vec<u8>); 5] {
    let last = size / SECTOR - 1;
    let mut entries = vec![0; (ENTRIES * ENTRY) as usize];
    for (number, partition) in partitions.iter().enumerate() {
        let at = number * ENTRY as usize;
        put(&mut entries, at, &partition.purpose.guid());
        put(&mut entries, at + 16, &partition.id);
        put_u64(&mut entries, at + 32, partition.start / SECTOR);
        put_u64(&mut entries, at + 40, (partition.start + partition.size) / SECTOR - 1);
        for (place, unit) in partition.name.encode_utf16().enumerate().take(36) {
            put_u16(&mut entries, at + 56 + 2 * place, unit);
        }
    }
    let entry_sectors = ENTRIES * ENTRY / SECTOR;
    let header = |own: u64, other: u64, entries_at: u64| {
        let mut bytes = vec![0; SECTOR as usize];
        put(&mut bytes, 0, b"EFI PART");
        put_u32(&mut bytes, 8, 0x0001_0000);
        put_u32(&mut bytes, 12, HEADER_SIZE);
        put_u64(&mut bytes, 24, own);
        put_u64(&mut bytes, 32, other);
        put_u64(&mut bytes, 40, 2 + entry_sectors);
        put_u64(&mut bytes, 48, last - entry_sectors - 1);
        put(&mut bytes, 56, &id);
        put_u64(&mut bytes, 72, entries_at);
        put_u32(&mut bytes, 80, ENTRIES as u32);
        put_u32(&mut bytes, 84, ENTRY as u32);
        put_u32(&mut bytes, 88, crc32(&entries));
        let sum = crc32(bytes.get(..HEADER_SIZE as usize).unwrap_or_default());
        put_u32(&mut bytes, 16, sum);
        bytes
    };
    [
        (0, protective_mbr(last, boot_code)),
        (SECTOR, header(1, last, 2)),
        (2 * SECTOR, entries.clone()),
        ((last - entry_sectors) * SECTOR, entries.clone()),
        (last * SECTOR, header(last, 1, last - entry_sectors)),
    ]
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// An MBR whose one partition of type 0xee covers the disk, with boot code in its first 440 bytes.
fn protective_mbr(last: u64, boot_code: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; SECTOR as usize];
    put(&mut bytes, 0, boot_code.get(..440).unwrap_or(boot_code));
    // From sector 1 (as cylinder, head, sector: 0, 0, 2) to the end, or as far as 32 bits go.
    put(&mut bytes, 446, &[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff]);
    put_u32(&mut bytes, 454, 1);
    put_u32(&mut bytes, 458, u32::try_from(last).unwrap_or(u32::MAX));
    put(&mut bytes, 510, &[0x55, 0xaa]);
    bytes
}

/// GRUB's first two stages, joined for a core at this place: `boot.img` is told the core's first sector, and the core's own first
/// sector where the rest of it is. That is what `grub-bios-setup` does, which needs a device (GRUB's boot.S and diskboot.S).
///
/// # Errors
/// `Boot` when either is not what it should be, or the core is larger than `room`.
pub(super) fn join_grub(boot: &mut [u8], core: &mut Vec<u8>, at: u64, room: u64) -> Result<(), Error> {
    if boot.len() != SECTOR as usize || core.len() <= SECTOR as usize || core.len() as u64 > room {
        let (boot, core) = (boot.len(), core.len());
        return Err(Error::Boot(format!("GRUB's boot programs for BIOS have an odd size ({boot} and {core} bytes)")));
    }
    core.resize(core.len().next_multiple_of(SECTOR as usize), 0);
    let (first, sectors) = (at / SECTOR, core.len() as u64 / SECTOR);
    put_u64(boot, 0x5c, first);
    // The drive is the one the firmware booted from; two NOPs stand for the jump around the code that would check it.
    put(boot, 0x64, &[0xff]);
    put(boot, 0x66, &[0x90, 0x90]);
    put_u64(core, 0x1f4, first + 1);
    put_u16(core, 0x1fc, (sectors - 1) as u16);
    Ok(())
}
