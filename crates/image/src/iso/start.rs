//! What firmware starts from a medium: El Torito's catalog for CDs, and what GRUB's programs for BIOS have to know of their places.

use super::volume::{DESCRIPTORS, SECTOR};
use crate::bytes::{put, put_u16, put_u32, put_u64};
use crate::write::Error;

/// Where GRUB's `boot_hybrid.img` has the sector (of 512 bytes) of the rest of it, and how that is counted (GRUB's boot.S: `kernel_sector`).
const HYBRID_KERNEL: usize = 0x1b0;
/// Where the El Torito image has the same (GRUB's cdboot.S and diskboot.S).
const CORE_KERNEL: usize = 2548;
/// The boot information table of mkisofs, from byte 8 to 64.
const TABLE: usize = 8;
const TABLE_END: usize = 64;

/// Sectors of 512 bytes that firmware for BIOS loads; GRUB loads the rest.
const BIOS_LOAD: u16 = 4;

/// Platforms of the catalog.
const BIOS: u8 = 0;
const EFI: u8 = 0xef;

/// The boot catalog: for BIOS the image at a sector, for UEFI the partition at a sector with its bytes.
pub(super) fn catalog(bios: Option<u64>, efi: Option<(u64, u64)>) -> Vec<u8> {
    let mut bytes = validation(if bios.is_some() { BIOS } else { EFI });
    if let Some(sector) = bios {
        bytes.extend(entry(sector, BIOS_LOAD));
    }
    if let Some((sector, size)) = efi {
        if bios.is_some() {
            // The last section, with one entry.
            let mut header = vec![0x91, EFI, 1, 0];
            header.resize(32, 0);
            bytes.extend(header);
        }
        bytes.extend(entry(sector, u16::try_from(size.div_ceil(512)).unwrap_or(u16::MAX)));
    }
    bytes.resize(SECTOR as usize, 0);
    bytes
}

fn validation(platform: u8) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    put(&mut bytes, 0, &[1, platform]);
    put(&mut bytes, 30, &[0x55, 0xaa]);
    let sum = bytes.as_chunks().0.iter().fold(0u16, |sum, word| sum.wrapping_add(u16::from_le_bytes(*word)));
    put_u16(&mut bytes, 28, sum.wrapping_neg());
    bytes
}

/// An entry that is bootable and emulates no disk.
fn entry(sector: u64, load: u16) -> Vec<u8> {
    let mut bytes = vec![0; 32];
    put(&mut bytes, 0, &[0x88]);
    put_u16(&mut bytes, 6, load);
    put_u32(&mut bytes, 8, sector as u32);
    bytes
}

/// Tells GRUB's programs for BIOS where the El Torito image is: the one that starts from CD, and the one in a disk's first sector.
///
/// # Errors
/// `Boot` when either is too small to be what it should be.
pub(super) fn place_grub(core: &mut [u8], hybrid: &mut [u8], sector: u64) -> Result<(), Error> {
    if core.len() < CORE_KERNEL + 8 || hybrid.len() != 512 {
        let (core, hybrid) = (core.len(), hybrid.len());
        return Err(Error::Boot(format!("GRUB's boot programs for BIOS have an odd size ({core} and {hybrid} bytes)")));
    }
    let quarters = sector * (SECTOR / 512);
    put_u64(hybrid, HYBRID_KERNEL, quarters + 4);
    put_u64(core, CORE_KERNEL, quarters + 5);
    let words = core.get(TABLE_END..).unwrap_or_default().chunks(4);
    let sum = words.fold(0u32, |sum, word| {
        let mut bytes = [0; 4];
        put(&mut bytes, 0, word);
        sum.wrapping_add(u32::from_le_bytes(bytes))
    });
    put(core, TABLE, &[0; TABLE_END - TABLE]);
    for (at, number) in [(8, DESCRIPTORS as u32), (12, sector as u32), (16, core.len() as u32), (20, sum)] {
        put_u32(core, at, number);
    }
    Ok(())
}
